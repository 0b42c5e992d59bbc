"""Old paths of modules, which go on working: importing one gives a DeprecationWarning that names the new path.

Whoever moves or renames something public adds a line here. `MODULES` has modules that are gone. `NAMES` has names that
were renamed or went to another module, and all names of modules that are packages now.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["MODULES", "NAMES", "install", "names_of"]

_ROOT = "anonymizer."

#: by old module, the new one
MODULES = {
    "builtin_samples": "examples.builtin",
    "clips": "examples.clips",
    "evaluation.ap_interval": "evaluation.metrics.ap_interval",
    "evaluation.bands": "evaluation.metrics.confidence_bands",
    "evaluation.cache": "evaluation.metrics.detection_cache",
    "evaluation.calibrate": "evaluation.thresholds.calibrate",
    "evaluation.coco": "evaluation.metrics.average_precision",
    "evaluation.comparison": "evaluation.metrics.comparison",
    "evaluation.coverage": "evaluation.metrics.leak_coverage",
    "evaluation.detect": "evaluation.metrics.predictions",
    "evaluation.findings": "evaluation.metrics.results",
    "evaluation.flicker": "evaluation.video.dropout_test",
    "evaluation.gallery": "evaluation.reporting.error_cases",
    "evaluation.judge": "evaluation.metrics.evaluate",
    "evaluation.labelled": "evaluation.datasets.dataset",
    "evaluation.labels": "evaluation.datasets.records",
    "evaluation.labels_coco": "evaluation.datasets.coco",
    "evaluation.labels_voc": "evaluation.datasets.voc",
    "evaluation.labels_yolo": "evaluation.datasets.yolo",
    "evaluation.leaks": "evaluation.video.leaks",
    "evaluation.matching": "evaluation.metrics.matching",
    "evaluation.named_models": "pipeline.model_zoo.named_models",
    "evaluation.picture_files": "evaluation.datasets.image_files",
    "evaluation.plot_parts": "evaluation.reporting.plot_panels",
    "evaluation.plots": "evaluation.reporting.plots",
    "evaluation.preview": "evaluation.notebook.preview",
    "evaluation.problems": "evaluation.datasets.issues",
    "evaluation.report": "evaluation.reporting.report",
    "evaluation.results": "evaluation.reporting.tables",
    "evaluation.statistics": "evaluation.metrics.statistics",
    "evaluation.strength": "evaluation.metrics.redaction_strength",
    "evaluation.summary": "evaluation.reporting.summary",
    "evaluation.track_labels": "evaluation.datasets.mot",
    "evaluation.track_plots": "evaluation.reporting.track_plots",
    "evaluation.tracks": "evaluation.datasets.tracks",
    "evaluation.type_names": "evaluation.datasets.class_names",
    "evaluation.video_leaks": "evaluation.video.mask_leaks",
    "evaluation.widgets": "evaluation.notebook.tuner",
    "pipeline.batch": "pipeline.folders",
    "pipeline.calibration": "pipeline.detection.calibration",
    "pipeline.crops": "pipeline.segmentation.crops",
    "pipeline.detectors": "pipeline.detection.models",
    "pipeline.detectors.base": "pipeline.detection.batching",
    "pipeline.detectors.centerface": "pipeline.detection.models.centerface",
    "pipeline.detectors.egoblur": "pipeline.detection.models.egoblur",
    "pipeline.detectors.mask_rcnn": "pipeline.detection.models.mask_rcnn",
    "pipeline.detectors.onnx_network": "pipeline.detection.models.onnx_network",
    "pipeline.detectors.own": "pipeline.detection.models.own",
    "pipeline.detectors.own_network": "pipeline.detection.models.own_network",
    "pipeline.detectors.y5fu": "pipeline.detection.models.y5fu",
    "pipeline.detectors.yolox": "pipeline.detection.models.yolox",
    "pipeline.detectors.yunet": "pipeline.detection.models.yunet",
    "pipeline.exif_tags": "pipeline.images.exif_tags",
    "pipeline.image_bmp": "pipeline.images.bmp",
    "pipeline.image_heif": "pipeline.images.heif",
    "pipeline.image_io": "pipeline.images.io",
    "pipeline.image_jpeg": "pipeline.images.jpeg",
    "pipeline.image_png": "pipeline.images.png",
    "pipeline.image_tiff": "pipeline.images.tiff",
    "pipeline.image_webp": "pipeline.images.webp",
    "pipeline.mask_cover": "pipeline.segmentation.mask_rules",
    "pipeline.mask_head": "pipeline.segmentation.mask_head",
    "pipeline.masks": "pipeline.outputs.masks",
    "pipeline.metadata": "pipeline.outputs.metadata",
    "pipeline.model_fetch": "pipeline.model_zoo.download",
    "pipeline.model_loaders": "pipeline.model_zoo.loaders",
    "pipeline.model_registry": "pipeline.model_zoo.registry",
    "pipeline.model_store": "pipeline.model_zoo.store",
    "pipeline.objects": "pipeline.detections",
    "pipeline.overlay": "pipeline.outputs.overlay",
    "pipeline.planes": "pipeline.redaction.yuv",
    "pipeline.png_chunks": "pipeline.images.png_chunks",
    "pipeline.previews": "pipeline.outputs.previews",
    "pipeline.profile": "pipeline.options.threshold_profile",
    "pipeline.refinement": "pipeline.segmentation.heuristic",
    "pipeline.sam": "pipeline.segmentation.sam",
    "pipeline.scene_cuts": "pipeline.tracking.scene_cuts",
    "pipeline.shapes": "pipeline.redaction.regions",
    "pipeline.show": "pipeline.outputs.show",
    "pipeline.stages": "pipeline.video.thread_stages",
    "pipeline.stills": "pipeline.images.decoded",
    "pipeline.tiling": "pipeline.detection.windows",
    "pipeline.track_association": "pipeline.tracking.association",
    "pipeline.track_gaps": "pipeline.tracking.motion",
    "pipeline.track_state": "pipeline.tracking.state",
    "pipeline.video_check": "pipeline.video.verify_frame",
    "pipeline.video_codecs": "pipeline.video.io.encoders",
    "pipeline.video_ends": "pipeline.video.io.truncation",
    "pipeline.video_io": "pipeline.video.io.reader",
    "pipeline.video_look": "pipeline.video.analysis",
    "pipeline.video_masks": "pipeline.video.io.mask_writer",
    "pipeline.video_proof": "pipeline.video.verify_file",
    "pipeline.video_render": "pipeline.video.rendering",
    "pipeline.video_sink": "pipeline.video.io.writer",
    "pipeline.video_splice": "pipeline.video.io.splice",
    "samples": "examples.samples",
    "training.data": "training.samples",
    "training.masks": "training.train_masks",
    "training.turned": "training.upside_down",
}
#: by old module and name, the new module and name
NAMES = {
    "clips.contact_sheet": "examples.contact_sheets:contact_sheet",
    "clips.side_by_side": "examples.comparison_clips:side_by_side",
    "evaluation.bands.Bands": "evaluation.metrics.confidence_bands:ConfidenceBands",
    "evaluation.bands.bands": "evaluation.metrics.confidence_bands:confidence_bands",
    "evaluation.cache.Kept": "evaluation.metrics.detection_cache:CachedDetections",
    "evaluation.calibrate.LEAST_FOUND": "evaluation.thresholds.calibrate:MIN_DETECTIONS",
    "evaluation.calibrate.entry_of": "evaluation.thresholds.calibrate:find_entry",
    "evaluation.calibrate.fit": "evaluation.thresholds.calibrate:fit_calibration",
    "evaluation.calibrate.line": "evaluation.thresholds.calibrate:format_calibrations",
    "evaluation.calibrate.tallies": "evaluation.thresholds.calibrate:judge_detections",
    "evaluation.calibrate.write": "evaluation.thresholds.calibrate:write_calibrations",
    "evaluation.comparison.threshold_for": "evaluation.metrics.comparison:threshold_at_false_blurs",
    "evaluation.coverage.Coverage": "evaluation.metrics.leak_coverage:LeakCoverage",
    "evaluation.coverage.coverage": "evaluation.metrics.leak_coverage:leak_coverage",
    "evaluation.detect.Looked": "evaluation.metrics.predictions:Predictions",
    "evaluation.detect.look": "evaluation.metrics.predictions:predict",
    "evaluation.detect.types_of": "evaluation.metrics.predictions:labelled_types",
    "evaluation.findings.Findings": "evaluation.metrics.results:EvaluationResult",
    "evaluation.findings.TypeFindings": "evaluation.metrics.results:TypeResult",
    "evaluation.flicker.Tally": "evaluation.video.dropout_test:DropoutCounts",
    "evaluation.flicker.Watched": "evaluation.video.dropout_test:Recording",
    "evaluation.flicker.flicker": "evaluation.video.dropout_test:dropout_test",
    "evaluation.flicker.watch": "evaluation.video.dropout_test:record_detections",
    "evaluation.gallery.Mishap": "evaluation.reporting.error_cases:ErrorCase",
    "evaluation.gallery.by_picture": "evaluation.reporting.error_cases:group_by_picture",
    "evaluation.gallery.found_but_visible": "evaluation.reporting.error_cases:detected_but_visible",
    "evaluation.gallery.what_is_left": "evaluation.reporting.error_cases:grey_out_covered",
    "evaluation.matching.SAME": "evaluation.metrics.matching:MATCH_IOU",
    "evaluation.matching.Tally": "evaluation.metrics.matching:DetectionCounts",
    "evaluation.matching.joined": "evaluation.metrics.matching:merge_counts",
    "evaluation.matching.matches": "evaluation.metrics.matching:match_detections",
    "evaluation.picture_files.Pictures": "evaluation.datasets.image_files:PictureFinder",
    "evaluation.picture_files.is_there": "evaluation.datasets.image_files:path_exists",
    "evaluation.plots.colour": "evaluation.reporting.plot_panels:colour",
    "evaluation.preview.Order": "evaluation.notebook.preview:ImageOrder",
    "evaluation.preview.Seen": "evaluation.notebook.preview:ImageCounts",
    "evaluation.preview.in_order": "evaluation.notebook.preview:order_images",
    "evaluation.problems.BadSet": "evaluation.datasets.issues:InvalidDataset",
    "evaluation.results.Results": "evaluation.reporting.tables:EvaluationReport",
    "evaluation.statistics.interval_of": "evaluation.metrics.statistics:interval_from_draws",
    "evaluation.statistics.needed": "evaluation.metrics.statistics:objects_needed",
    "evaluation.statistics.sign_test": "evaluation.metrics.statistics:mcnemar_test",
    "evaluation.strength.linked": "evaluation.metrics.redaction_strength:linkage_rate",
    "evaluation.strength.one_type": "evaluation.metrics.redaction_strength:detections_of_type",
    "evaluation.strength.pattern": "evaluation.metrics.redaction_strength:random_pattern",
    "evaluation.thresholds.Choice": "evaluation.thresholds.choose:ThresholdChoice",
    "evaluation.thresholds.Choices": "evaluation.thresholds.choose:ThresholdChoices",
    "evaluation.thresholds.Verdict": "evaluation.thresholds.choose:Verdict",
    "evaluation.thresholds.choose_thresholds": "evaluation.thresholds.choose:choose_thresholds",
    "evaluation.thresholds.size_words": "evaluation.thresholds.choose:size_words",
    "evaluation.track_plots.flicker_plot": "evaluation.reporting.track_plots:dropout_plot",
    "evaluation.type_names.known_type": "evaluation.datasets.class_names:parse_class_name",
    "evaluation.type_names.types_named": "evaluation.datasets.class_names:types_of_class_names",
    "evaluation.widgets.Tuner": "evaluation.notebook.tuner:ThresholdTuner",
    "pipeline.batch.Shown": "pipeline.folders:OnProgress",
    "pipeline.batch.jobs": "pipeline.folders:list_jobs",
    "pipeline.batch.run": "pipeline.folders:run_jobs",
    "pipeline.detectors.base.Detector": "pipeline.detection.protocol:Detector",
    "pipeline.detectors.base.check_finite": "pipeline.detection.inference_errors:check_finite",
    "pipeline.detectors.base.on_device": "pipeline.devices:on_device",
    "pipeline.detectors.base.resolve_device": "pipeline.devices:resolve_device",
    "pipeline.detectors.mask_rcnn.pasted": "pipeline.detection.models.mask_rcnn:paste_mask",
    "pipeline.detectors.onnx_network.Letterbox": "pipeline.detection.models.letterbox:Letterbox",
    "pipeline.detectors.onnx_network.chosen": "pipeline.detection.models.boxes:suppress_overlaps",
    "pipeline.detectors.onnx_network.decoded": "pipeline.detection.models.boxes:decode_boxes",
    "pipeline.exif_tags.scrub": "pipeline.images.exif_tags:scrub_directory",
    "pipeline.image_io.Limits": "pipeline.limits:Limits",
    "pipeline.image_io.MediaInfo": "pipeline.media_kinds:MediaInfo",
    "pipeline.image_io.MediaKind": "pipeline.media_kinds:MediaKind",
    "pipeline.image_io.encode_png": "pipeline.images.png:encode_png",
    "pipeline.image_io.sniff": "pipeline.media_kinds:sniff",
    "pipeline.mask_cover.LEAST": "pipeline.segmentation.mask_rules:LEAST_SIDE",
    "pipeline.mask_cover.covering": "pipeline.segmentation.mask_rules:apply_mask_rules",
    "pipeline.mask_head.backbone_sum": "pipeline.segmentation.mask_head:backbone_sha256",
    "pipeline.mask_head.features": "pipeline.segmentation.mask_head:backbone_features",
    "pipeline.metadata.coverage": "pipeline.outputs.metadata:review_counts",
    "pipeline.model_fetch.Fetched": "pipeline.model_zoo.download:FetchResult",
    "pipeline.model_registry.Choice": "pipeline.model_zoo.registry:ModelChoice",
    "pipeline.model_registry.PROJECT": "pipeline.model_zoo.folders:PROJECT",
    "pipeline.model_registry.Recorded": "pipeline.model_zoo.recorded:RecordedSums",
    "pipeline.model_store.FOLDER": "pipeline.model_zoo.folders:MODELS_FOLDER",
    "pipeline.objects.Mask": "pipeline.detected_object:Mask",
    "pipeline.objects.OBJECT_TYPES": "pipeline.detected_object:OBJECT_TYPES",
    "pipeline.objects.ObjectType": "pipeline.detected_object:ObjectType",
    "pipeline.objects.Source": "pipeline.detected_object:Source",
    "pipeline.options.Auto": "pipeline.options.formats:Auto",
    "pipeline.options.DamagedFrames": "pipeline.options.options:DamagedFrames",
    "pipeline.options.Format": "pipeline.options.formats:Format",
    "pipeline.options.Method": "pipeline.options.options:Method",
    "pipeline.options.Options": "pipeline.options.options:Options",
    "pipeline.options.Pano": "pipeline.options.formats:Pano",
    "pipeline.options.Parameter": "pipeline.options.options:Parameter",
    "pipeline.options.Region": "pipeline.options.regions:Region",
    "pipeline.options.SaveMask": "pipeline.options.options:SaveMask",
    "pipeline.options.Tiles": "pipeline.options.formats:Tiles",
    "pipeline.options.VideoEncoder": "pipeline.options.options:VideoEncoder",
    "pipeline.options.Whole": "pipeline.options.formats:Whole",
    "pipeline.options.boolean": "pipeline.options.converters:boolean",
    "pipeline.options.parameters": "pipeline.options.options:parameters",
    "pipeline.options.profile_name": "pipeline.options.converters:profile_name",
    "pipeline.options.share": "pipeline.options.converters:share",
    "pipeline.planes.draw_planes": "pipeline.outputs.overlay_yuv:draw_planes",
    "pipeline.planes.planar_name": "pipeline.redaction.yuv:planar_format_name",
    "pipeline.redaction.DEFAULT_CELLS": "pipeline.redaction.effects:DEFAULT_CELLS",
    "pipeline.redaction.MAX_CELLS": "pipeline.redaction.effects:MAX_CELLS",
    "pipeline.redaction.MIN_CELL_PX": "pipeline.redaction.effects:MIN_CELL_PX",
    "pipeline.redaction.NOISE": "pipeline.redaction.effects:NOISE",
    "pipeline.redaction.TINT_NOISE": "pipeline.redaction.effects:TINT_NOISE",
    "pipeline.redaction.cell_grid": "pipeline.redaction.effects:cell_grid",
    "pipeline.redaction.cell_px": "pipeline.redaction.effects:cell_px",
    "pipeline.redaction.coarse": "pipeline.redaction.effects:pixelate_cells",
    "pipeline.redaction.mix": "pipeline.redaction.effects:blend",
    "pipeline.redaction.redact": "pipeline.redaction.effects:redact",
    "pipeline.refinement.Refinement": "pipeline.segmentation.heuristic:HeuristicSegmenter",
    "pipeline.refinement.by_colour": "pipeline.segmentation.heuristic:colour_probability",
    "pipeline.refinement.by_shape": "pipeline.segmentation.heuristic:shape_probability",
    "pipeline.sam.build": "pipeline.segmentation.sam:build_network",
    "pipeline.scene_cuts.Glance": "pipeline.tracking.scene_cuts:SceneSignature",
    "pipeline.scene_cuts.first_cut": "pipeline.tracking.scene_cuts:count_frames_before_cut",
    "pipeline.segmentation.MaskHead": "pipeline.segmentation.mask_head:MaskHead",
    "pipeline.segmentation.Refinement": "pipeline.segmentation.heuristic:HeuristicSegmenter",
    "pipeline.segmentation.Sam": "pipeline.segmentation.sam:Sam",
    "pipeline.segmentation.Segmenter": "pipeline.segmentation.protocol:Segmenter",
    "pipeline.shapes.Shape": "pipeline.redaction.regions:RedactionRegion",
    "pipeline.shapes.shapes": "pipeline.redaction.regions:redaction_regions",
    "pipeline.stages.Pipe": "pipeline.video.thread_stages:StageQueue",
    "pipeline.stages.Run": "pipeline.video.thread_stages:StageThreads",
    "pipeline.stills.Limits": "pipeline.limits:Limits",
    "pipeline.stills.Still": "pipeline.images.decoded:DecodedImage",
    "pipeline.stills.as_samples": "pipeline.images.decoded:contiguous_samples",
    "pipeline.stills.clean_icc": "pipeline.images.metadata.icc:scrub_icc_profile",
    "pipeline.stills.nearest_indices": "pipeline.images.decoded:nearest_palette_indices",
    "pipeline.stills.stored": "pipeline.orientation:stored",
    "pipeline.stills.translated": "pipeline.images.decoded:translate_errors",
    "pipeline.stills.upright": "pipeline.orientation:upright",
    "pipeline.tiling.MAX_OBJECTS": "pipeline.detection.merging:MAX_OBJECTS",
    "pipeline.tiling.View": "pipeline.detection.merging:View",
    "pipeline.tiling.at_sides": "pipeline.detection.windows:with_scales",
    "pipeline.tiling.find": "pipeline.detection.windows:detect_windows",
    "pipeline.tiling.merged": "pipeline.detection.merging:merge_views",
    "pipeline.tiling.views": "pipeline.detection.windows:plan_views",
    "pipeline.track_association.TrackerMaker": "pipeline.tracking.association:TrackerFactory",
    "pipeline.track_gaps.Carried": "pipeline.tracking.motion:MotionState",
    "pipeline.track_gaps.Sighting": "pipeline.tracking.motion:Observation",
    "pipeline.track_gaps.apart": "pipeline.tracking.boxes:is_displaced",
    "pipeline.track_gaps.between": "pipeline.tracking.motion:interpolate",
    "pipeline.track_gaps.carry": "pipeline.tracking.motion:predict",
    "pipeline.track_gaps.covers": "pipeline.tracking.boxes:covers",
    "pipeline.track_gaps.grown": "pipeline.tracking.boxes:enlarge",
    "pipeline.track_gaps.ious": "pipeline.tracking.boxes:ious",
    "pipeline.track_gaps.joined": "pipeline.tracking.boxes:union",
    "pipeline.track_gaps.speed": "pipeline.tracking.motion:estimate_velocity",
    "pipeline.track_gaps.step": "pipeline.tracking.optical_flow:follow_boxes",
    "pipeline.track_state.Added": "pipeline.tracking.state:AddedDetection",
    "pipeline.track_state.SPEED_S": "pipeline.tracking.state:VELOCITY_WINDOW_S",
    "pipeline.tracking.EXTENSION_S": "pipeline.tracking.state:EXTENSION_S",
    "pipeline.tracking.GAIT_S": "pipeline.tracking.final_frames:GAIT_S",
    "pipeline.tracking.MAX_FRAMES": "pipeline.tracking.tracker:MAX_FRAMES",
    "pipeline.tracking.Tracking": "pipeline.tracking.tracker:Tracker",
    "pipeline.video.VideoProgress": "pipeline.results:VideoProgress",
    "pipeline.video.VideoResult": "pipeline.results:VideoResult",
    "pipeline.video.anonymise_video": "pipeline.video.job:anonymise_video",
    "pipeline.video_check.Difference": "pipeline.video.verify_frame:FrameDifference",
    "pipeline.video_check.Region": "pipeline.video.verify_frame:RegionCheck",
    "pipeline.video_codecs.Encoding": "pipeline.video.io.encoders:EncoderSettings",
    "pipeline.video_codecs.Output": "pipeline.video.io.encoders:OutputPlan",
    "pipeline.video_codecs.plan": "pipeline.video.io.encoders:plan_output",
    "pipeline.video_ends.ends_early": "pipeline.video.io.truncation:find_truncation",
    "pipeline.video_io.Frame": "pipeline.video.io.tracks:DecodedFrame",
    "pipeline.video_io.FrameDecoder": "pipeline.video.io.frame_decoder:FrameDecoder",
    "pipeline.video_io.VideoTrack": "pipeline.video.io.tracks:VideoTrack",
    "pipeline.video_look.Findings": "pipeline.video.detection_queue:DetectionQueue",
    "pipeline.video_look.Found": "pipeline.video.detection_queue:FrameDetections",
    "pipeline.video_look.look": "pipeline.video.analysis:start_analysis",
    "pipeline.video_look.looks_smaller": "pipeline.video.analysis:downscale_warnings",
    "pipeline.video_proof.Samples": "pipeline.video.verify_file:FrameSamples",
    "pipeline.video_proof.prove": "pipeline.video.verify_file:verify_file",
    "pipeline.video_render.Extras": "pipeline.video.frame_outputs:FrameOutputs",
    "pipeline.video_render.Rendered": "pipeline.video.rendering:RenderStats",
    "pipeline.video_render.Rendering": "pipeline.video.rendering:Renderer",
    "pipeline.video_sink.CannotSplice": "pipeline.video.io.track_writer:CannotSplice",
    "pipeline.video_sink.VideoSink": "pipeline.video.io.writer:VideoWriter",
    "pipeline.video_splice.is_closed_start": "pipeline.video.io.splice:is_idr_packet",
    "pipeline.video_splice.joined": "pipeline.video.io.splice:join_headers",
    "pipeline.video_splice.length_prefixed": "pipeline.video.io.splice:to_length_prefixed",
    "training.masks.sample": "training.train_masks:augment_sample",
    "training.turned.turned": "training.upside_down:upside_down",
}


def names_of(module: str) -> dict[str, str]:
    """Get the old names of a module or package and where they are now, as `lazy_exports` takes them.

    Args:
        module: the full old name of the module.

    Returns:
        By name, `module:name` with the full name of the new module.
    """
    return {
        old.rpartition(".")[2]: _ROOT + new for old, new in NAMES.items() if _ROOT + old.rpartition(".")[0] == module
    }


class _OldModules(MetaPathFinder, Loader):
    """Finds and loads modules that are gone: their attributes come from the new places."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        old = fullname.removeprefix(_ROOT)
        if old == fullname or old not in MODULES:
            return None
        is_package = any(module.startswith(f"{old}.") for module in MODULES)
        return ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        new, names = _ROOT + MODULES[module.__name__.removeprefix(_ROOT)], names_of(module.__name__)
        warnings.warn(f"{module.__name__} is now {new}: import it from there.", DeprecationWarning, stacklevel=2)

        def __getattr__(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            home, _, name_there = names.get(name, f"{new}:{name}").partition(":")
            return getattr(import_module(home), name_there)

        module.__dict__["__getattr__"] = __getattr__


def install() -> None:
    """Make the old paths importable; modules that exist are found first."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())
