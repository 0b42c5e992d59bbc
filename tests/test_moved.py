"""Old paths of modules and old names: they go on working, and say where things are now."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

import pytest

from anonymizer import _moved

#: what the notebooks, the README and the benchmarks imported before the modules were sorted into packages
OLD_IMPORTS = """
anonymizer Anonymizer Detections ObjectType Options ThresholdProfile load_image show samples clips evaluation
anonymizer.samples pictures
anonymizer.clips contact_sheet side_by_side
anonymizer.evaluation DetectionCache LabelledSet average_precision choose_thresholds compare evaluate plots
anonymizer.evaluation.cache DetectionCache
anonymizer.evaluation.calibrate reliability_error
anonymizer.evaluation.coco CocoRows average_precision
anonymizer.evaluation.detect detection_key
anonymizer.evaluation.findings Findings
anonymizer.evaluation.flicker Watched bursts flicker share_of_frames small_grey watch
anonymizer.evaluation.judge evaluate
anonymizer.evaluation.labelled LabelledImage LabelledSet Objects
anonymizer.evaluation.matching SIZES Tally joined
anonymizer.evaluation.named_models named_models
anonymizer.evaluation.preview Preview in_order
anonymizer.evaluation.strength Cutout linked one_type pattern similarity
anonymizer.evaluation.thresholds Choice Verdict choose_thresholds size_words
anonymizer.evaluation.track_plots flicker_plot objects_over_time timeline
anonymizer.evaluation.tracks LabelledTracks
anonymizer.evaluation.video_leaks video_leaks
anonymizer.evaluation.widgets Tuner
anonymizer.pipeline batch
anonymizer.pipeline.anonymizer Anonymizer ImageResult
anonymizer.pipeline.batch jobs run
anonymizer.pipeline.detectors.base Detector
anonymizer.pipeline.detectors.centerface CenterFace
anonymizer.pipeline.image_io load_image load_picture encode_png
anonymizer.pipeline.mask_cover box_mask
anonymizer.pipeline.model_store FOLDER ModelStore
anonymizer.pipeline.objects OBJECT_TYPES Detections Mask ObjectType
anonymizer.pipeline.options Auto Format Method Options SaveMask Whole
anonymizer.pipeline.overlay COLOURS
anonymizer.pipeline.planes PlaneFormat redact_planes
anonymizer.pipeline.profile ThresholdProfile
anonymizer.pipeline.redaction cell_px redact
anonymizer.pipeline.segmentation MaskHead Refinement Sam
anonymizer.pipeline.shapes Shape shapes
anonymizer.pipeline.show show
anonymizer.pipeline.stills upright
anonymizer.pipeline.tiling find
anonymizer.pipeline.track_association byte_track
anonymizer.pipeline.tracking Tracking
anonymizer.pipeline.video VideoProgress VideoResult anonymise_video
anonymizer.pipeline.video_codecs plan
anonymizer.pipeline.video_io VideoReader check_video
anonymizer.pipeline.video_proof video_sizes
anonymizer.pipeline.video_sink VideoSink
anonymizer.training.finetune calibrations finetune split
anonymizer.training.install install
anonymizer.training.turned turned
"""


@pytest.mark.parametrize("line", OLD_IMPORTS.strip().splitlines(), ids=lambda line: line.split()[0])
def test_what_was_imported_is_still_there(line: str) -> None:
    module, *names = line.split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in names:
            # an import statement, as it finds modules too
            scope: dict[str, object] = {}
            exec(f"from {module} import {name}", scope)
            assert scope[name] is not None


@pytest.mark.parametrize("old", _moved.MODULES)
def test_a_module_that_moved_is_served_and_names_its_new_path(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = old.rpartition(".")[0]
    if parent in _moved.MODULES:
        monkeypatch.setitem(sys.modules, f"anonymizer.{parent}", _imported(parent))
    monkeypatch.delitem(sys.modules, f"anonymizer.{old}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"^anonymizer.{old} is now anonymizer.{_moved.MODULES[old]}: "):
        import_module(f"anonymizer.{old}")
    assert import_module(f"anonymizer.{_moved.MODULES[old]}")


@pytest.mark.parametrize(("old", "new"), _moved.NAMES.items(), ids=list(_moved.NAMES))
def test_a_name_that_moved_is_the_new_one(old: str, new: str) -> None:
    module, _, name = old.rpartition(".")
    new_module, _, new_name = new.partition(":")
    assert getattr(_imported(module), name) is getattr(import_module(f"anonymizer.{new_module}"), new_name)


def test_the_warning_points_to_the_import() -> None:
    sys.modules.pop("anonymizer.pipeline.objects", None)
    with pytest.warns(DeprecationWarning) as caught:
        import anonymizer.pipeline.objects  # noqa: F401
    assert caught[0].filename == __file__


def test_what_never_was_is_still_not_there() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("anonymizer.pipeline.nothing")
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _imported("pipeline.objects").Nothing  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _imported("pipeline.options").Nothing  # noqa: B018


def _imported(module: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_module(f"anonymizer.{module}")
