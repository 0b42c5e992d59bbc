"""What models find in labelled pictures, what they miss, and the thresholds that follow.

from anonymizer import Anonymizer, evaluation
findings = evaluation.evaluate(evaluation.LabelledSet.read("my-pictures"), Anonymizer())
evaluation.choose_thresholds(findings, target_recall=0.98).profile("street").save("street.json")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anonymizer.evaluation.cache import DetectionCache
    from anonymizer.evaluation.coco import average_precision
    from anonymizer.evaluation.comparison import compare
    from anonymizer.evaluation.gallery import false_blurs, worst_misses
    from anonymizer.evaluation.judge import evaluate
    from anonymizer.evaluation.labelled import LabelledSet
    from anonymizer.evaluation.report import write_report
    from anonymizer.evaluation.results import summary_table
    from anonymizer.evaluation.thresholds import choose_thresholds
    from anonymizer.evaluation.tracks import LabelledTracks

__all__ = [
    "DetectionCache",
    "LabelledSet",
    "LabelledTracks",
    "average_precision",
    "choose_thresholds",
    "compare",
    "evaluate",
    "false_blurs",
    "summary_table",
    "worst_misses",
    "write_report",
]

_HOMES = {
    "DetectionCache": "cache",
    "LabelledSet": "labelled",
    "LabelledTracks": "tracks",
    "average_precision": "coco",
    "choose_thresholds": "thresholds",
    "compare": "comparison",
    "evaluate": "judge",
    "false_blurs": "gallery",
    "summary_table": "results",
    "worst_misses": "gallery",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    # at first use: who reads labels for a training needs no detector
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"anonymizer.evaluation.{_HOMES[name]}"), name)
