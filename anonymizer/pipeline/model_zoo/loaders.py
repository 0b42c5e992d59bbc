"""The functions that load the files of models. Each library is imported only if a model needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.model_zoo.registry import Loader, ModelEntry
from anonymizer.pipeline.segmentation.protocol import Segmenter

__all__ = ["DETECTORS", "SEGMENTERS", "Target"]


class Target(NamedTuple):
    """Where a model runs.

    Attributes:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtime: `auto`, `torch`, `openvino` or `onnxruntime`.
    """

    device: str
    runtime: str


def _centerface(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.centerface import CenterFace

    return CenterFace(path, device=target.device, runtime=target.runtime)


def _own(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.own import OwnDetector

    return OwnDetector(path, device=target.device, runtime=target.runtime, model_id=entry.id)


def _own_nanodet(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.nanodet.own import OwnNanoDet

    return OwnNanoDet(path, device=target.device, runtime=target.runtime, model_id=entry.id)


def _nanodet(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.nanodet.detector import NanoDet

    return NanoDet(path, device=target.device, runtime=target.runtime, model_id=entry.id)


def _yolox(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.yolox import YoloX

    return YoloX(path, device=target.device, runtime=target.runtime, model_id=entry.id)


def _yunet(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.yunet import YuNet

    return YuNet(path, device=target.device, runtime=target.runtime, model_id=entry.id)


def _y5fu(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.y5fu import Y5fu

    return Y5fu(path, device=target.device, runtime=target.runtime, model_id=entry.id)


def _mask_rcnn(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.mask_rcnn import MaskRCNN

    return MaskRCNN(path, device=target.device, model_id=entry.id)


def _egoblur(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.egoblur import EgoBlur

    return EgoBlur(path, device=target.device, model_id=entry.id, object_type=entry.object_types[0])


def _d_fine(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.detr.detectors import DFine

    return DFine(path, device=target.device, model_id=entry.id)


def _deimv2(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.detr.detectors import DEIMv2

    return DEIMv2(path, device=target.device, model_id=entry.id)


def _rf_detr(entry: ModelEntry, path: Path, target: Target) -> Detector:
    from anonymizer.pipeline.detection.models.detr.detectors import RFDETR

    return RFDETR(path, device=target.device, model_id=entry.id)


def _sam(path: Path, base: Path | None, target: Target) -> Segmenter:
    from anonymizer.pipeline.segmentation.sam import Sam

    return Sam(path, device=target.device)


def _own_masks(path: Path, base: Path | None, target: Target) -> Segmenter:
    from anonymizer.pipeline.segmentation.mask_head import MaskHead

    if base is None:
        raise ValueError("its entry in the registry has no base")
    return MaskHead(path, base, device=target.device, runtime=target.runtime)


#: by loader: a function of the entry, the path of the file, and where the model runs
DETECTORS: dict[Loader, Callable[[ModelEntry, Path, Target], Detector]] = {
    Loader.CENTERFACE: _centerface,
    Loader.OWN: _own,
    Loader.OWN_NANODET: _own_nanodet,
    Loader.NANODET: _nanodet,
    Loader.YOLOX: _yolox,
    Loader.YUNET: _yunet,
    Loader.Y5FU: _y5fu,
    Loader.MASK_RCNN: _mask_rcnn,
    Loader.EGOBLUR: _egoblur,
    Loader.D_FINE: _d_fine,
    Loader.DEIMV2: _deimv2,
    Loader.RF_DETR: _rf_detr,
}
#: by loader: a function of the path of the file, the path of its base model's file, and where it runs
SEGMENTERS: dict[Loader, Callable[[Path, Path | None, Target], Segmenter]] = {
    Loader.SAM: _sam,
    Loader.OWN_MASKS: _own_masks,
}
