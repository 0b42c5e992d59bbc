"""The functions that load the files of models. Each library is imported only if a model needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.model_zoo.registry import Loader, ModelEntry
from anonymizer.pipeline.segmentation.protocol import Segmenter

__all__ = ["DETECTORS", "SEGMENTERS"]


def _centerface(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detection.models.centerface import CenterFace

    return CenterFace(path, device=device)


def _own(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detection.models.own import OwnDetector

    return OwnDetector(path, device=device, model_id=entry.id)


def _yolox(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detection.models.yolox import YoloX

    return YoloX(path, device=device, model_id=entry.id)


def _yunet(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detection.models.yunet import YuNet

    return YuNet(path, device=device, model_id=entry.id)


def _y5fu(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detection.models.y5fu import Y5fu

    return Y5fu(path, device=device, model_id=entry.id)


def _mask_rcnn(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detection.models.mask_rcnn import MaskRCNN

    return MaskRCNN(path, device=device, model_id=entry.id)


def _egoblur(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detection.models.egoblur import EgoBlur

    return EgoBlur(path, device=device, model_id=entry.id, object_type=entry.object_types[0])


def _sam(path: Path, base: Path | None, device: str) -> Segmenter:
    from anonymizer.pipeline.segmentation.sam import Sam

    return Sam(path, device=device)


def _own_masks(path: Path, base: Path | None, device: str) -> Segmenter:
    from anonymizer.pipeline.segmentation.mask_head import MaskHead

    if base is None:
        raise ValueError("its entry in the registry has no base")
    return MaskHead(path, base, device=device)


#: by loader: a function of the entry, the path of the file, and the device
DETECTORS: dict[Loader, Callable[[ModelEntry, Path, str], Detector]] = {
    Loader.CENTERFACE: _centerface,
    Loader.OWN: _own,
    Loader.YOLOX: _yolox,
    Loader.YUNET: _yunet,
    Loader.Y5FU: _y5fu,
    Loader.MASK_RCNN: _mask_rcnn,
    Loader.EGOBLUR: _egoblur,
}
#: by loader: a function of the path of the file, the path of its base model's file, and the device
SEGMENTERS: dict[Loader, Callable[[Path, Path | None, str], Segmenter]] = {
    Loader.SAM: _sam,
    Loader.OWN_MASKS: _own_masks,
}
