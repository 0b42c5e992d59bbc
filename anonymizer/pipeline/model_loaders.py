"""How the files of models become detectors and segmenters: each library is imported where it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anonymizer.pipeline.detectors.base import Detector
    from anonymizer.pipeline.model_registry import ModelEntry
    from anonymizer.pipeline.segmentation import Segmenter

__all__ = ["DETECTORS", "SEGMENTERS"]


def _centerface(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.centerface import CenterFace

    return CenterFace(path, device=device)


def _own(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.own import OwnDetector

    return OwnDetector(path, device=device, model_id=entry.id)


def _yolox(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.yolox import YoloX

    return YoloX(path, device=device, model_id=entry.id)


def _yunet(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.yunet import YuNet

    return YuNet(path, device=device, model_id=entry.id)


def _y5fu(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.y5fu import Y5fu

    return Y5fu(path, device=device, model_id=entry.id)


def _mask_rcnn(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.mask_rcnn import MaskRCNN

    return MaskRCNN(path, device=device, model_id=entry.id)


def _egoblur(entry: ModelEntry, path: Path, device: str) -> Detector:
    from anonymizer.pipeline.detectors.egoblur import EgoBlur

    return EgoBlur(path, device=device, model_id=entry.id, object_type=entry.object_types[0])


def _sam(path: Path, base: Path | None, device: str) -> Segmenter:
    from anonymizer.pipeline.segmentation import Sam

    return Sam(path, device=device)


def _own_masks(path: Path, base: Path | None, device: str) -> Segmenter:
    from anonymizer.pipeline.segmentation import MaskHead

    if base is None:
        raise ValueError("it stands on no detector")
    return MaskHead(path, base, device=device)


#: by name in the registry: from an entry, its file and a device
DETECTORS: dict[str, Callable[[ModelEntry, Path, str], Detector]] = {
    "centerface": _centerface,
    "own": _own,
    "yolox": _yolox,
    "yunet": _yunet,
    "y5fu": _y5fu,
    "mask-rcnn": _mask_rcnn,
    "egoblur": _egoblur,
}
#: likewise from its file, that of the model it stands on, and a device
SEGMENTERS: dict[str, Callable[[Path, Path | None, str], Segmenter]] = {"sam": _sam, "own-masks": _own_masks}
