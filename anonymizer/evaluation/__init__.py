"""Evaluate models on labelled images: recall, leaks, false blurs, and the thresholds that follow from them.

Examples:
    >>> from anonymizer import Anonymizer, evaluation
    >>> result = evaluation.evaluate(evaluation.LabelledSet.read("my-images"), Anonymizer())
    >>> print(result)
    >>> evaluation.choose_thresholds(result, target_recall=0.98).profile("street").save("street.json")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anonymizer._lazy import lazy_exports

if TYPE_CHECKING:
    from anonymizer.evaluation.datasets.dataset import LabelledSet
    from anonymizer.evaluation.datasets.tracks import LabelledTracks
    from anonymizer.evaluation.metrics.average_precision import average_precision, precision_by_size
    from anonymizer.evaluation.metrics.comparison import compare
    from anonymizer.evaluation.metrics.confusion import confusion_matrix
    from anonymizer.evaluation.metrics.detection_cache import DetectionCache
    from anonymizer.evaluation.metrics.evaluate import evaluate, evaluate_detections
    from anonymizer.evaluation.reporting.error_cases import false_blurs, worst_misses
    from anonymizer.evaluation.reporting.label_hints import label_hints
    from anonymizer.evaluation.reporting.report import write_report
    from anonymizer.evaluation.reporting.tables import summary_table
    from anonymizer.evaluation.thresholds.choose import choose_thresholds

__all__ = [
    "DetectionCache",
    "LabelledSet",
    "LabelledTracks",
    "average_precision",
    "choose_thresholds",
    "compare",
    "confusion_matrix",
    "evaluate",
    "evaluate_detections",
    "false_blurs",
    "label_hints",
    "precision_by_size",
    "summary_table",
    "worst_misses",
    "write_report",
]

_MODULES = {
    "DetectionCache": "anonymizer.evaluation.metrics.detection_cache",
    "LabelledSet": "anonymizer.evaluation.datasets.dataset",
    "LabelledTracks": "anonymizer.evaluation.datasets.tracks",
    "average_precision": "anonymizer.evaluation.metrics.average_precision",
    "choose_thresholds": "anonymizer.evaluation.thresholds.choose",
    "compare": "anonymizer.evaluation.metrics.comparison",
    "confusion_matrix": "anonymizer.evaluation.metrics.confusion",
    "evaluate": "anonymizer.evaluation.metrics.evaluate",
    "evaluate_detections": "anonymizer.evaluation.metrics.evaluate",
    "label_hints": "anonymizer.evaluation.reporting.label_hints",
    "precision_by_size": "anonymizer.evaluation.metrics.average_precision",
    "false_blurs": "anonymizer.evaluation.reporting.error_cases",
    "summary_table": "anonymizer.evaluation.reporting.tables",
    "worst_misses": "anonymizer.evaluation.reporting.error_cases",
    "write_report": "anonymizer.evaluation.reporting.report",
}

__getattr__ = lazy_exports(__name__, _MODULES)
