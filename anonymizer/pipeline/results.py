"""What the library gives back: the result of one picture, and the result and the progress of one video."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.images.io import Picture, encode_picture, encode_png
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs import masks, metadata
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["ImageResult", "VideoProgress", "VideoResult", "write_whole"]


@dataclass(frozen=True)
class ImageResult:
    """All that came of one picture.

    Attributes:
        picture: what was loaded.
        pixels: the redacted picture, upright, in the shape and dtype of `picture.pixels`.
        detections: what reached its threshold.
        found: all that the detectors gave, whatever the score.
        shapes: where pixels were changed.
        object_types: what was looked for.
        models: the models that looked.
        warnings: what a caller should know of how it was looked at.
        coverage: what a reviewer would want to look at, in numbers.
        seconds: of detection and redaction, without reading and writing.
    """

    picture: Picture
    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    detections: Detections
    found: Detections
    regions: Sequence[RedactionRegion]
    options: Options
    object_types: tuple[ObjectType, ...]
    models: tuple[str, ...]
    warnings: tuple[str, ...]
    review_counts: Mapping[str, int]
    seconds: float
    legacy_masks: bool = False

    @property
    def name(self) -> str:
        return self.picture.name or "image" + self.picture.info.extension

    @property
    def counts(self) -> dict[str, int]:
        """How many were redacted of each object type that was looked for."""
        return metadata.counts(self.detections, self.object_types)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The redacted picture as (h, w, 3) uint8 RGB, upright."""
        return replace(self.picture, pixels=self.pixels).rgb()

    @property
    def binary_mask(self) -> NDArray[np.uint8]:
        """(h, w) uint8, 255 = anonymised."""
        return masks.binary_mask(self.regions, self.picture.size_hw)

    @property
    def instance_mask(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8, as the contract says."""
        return masks.instance_mask(self.regions, self.picture.size_hw, legacy=self.legacy_masks)

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the contract."""
        return metadata.image_metadata(
            self.name, self.picture.size_hw, self.detections, self.regions, self.options, seconds=self.seconds
        )

    def encode(self) -> bytes:
        """The redacted picture as a file of the format that came in.

        Raises:
            InvalidParameter: the method is `detect`, which makes no picture.
        """
        if self.options.method is Method.DETECT:
            raise InvalidParameter("method", "detect", "blur, pixelate or blacken for an anonymised picture")
        return encode_picture(
            self.picture,
            self.pixels,
            quality=self.options.quality,
            compress_level=self.options.compress_level,
            strip_metadata=self.options.strip_metadata,
        )

    def save(self, path: str | PathLike[str], *, any_ending: bool = False) -> None:
        """Write the redacted picture, in the format that came in; the file appears whole or not at all.

        Args:
            any_ending: do not mind an ending of another format.

        Raises:
            InvalidParameter: the path's ending is of another format, or the method is `detect`.
        """
        path = Path(path)
        if not any_ending and not self.picture.info.accepts(path.name):
            ending = self.picture.info.extension
            raise InvalidParameter("path", path.name, f"a name that ends in {ending}, the format that came in")
        write_whole(path, self.encode())

    def save_extras(self, folder: str | PathLike[str], stem: str) -> None:
        """Write the masks that the options ask for, and the metadata, beside each other in a folder."""
        folder, options = Path(folder), self.options
        if options.save_mask.binary:
            write_whole(
                folder / f"{stem}.binary-mask.png", encode_png(masks.scaled(self.binary_mask, options.mask_scale))
            )
        if options.save_mask.instance:
            write_whole(
                folder / f"{stem}.instance-mask.png", encode_png(masks.scaled(self.instance_mask, options.mask_scale))
            )
        write_whole(folder / f"{stem}.json", json.dumps(self.metadata, indent=1).encode())


@dataclass(frozen=True, slots=True)
class VideoProgress:
    """How far the work on a video is.

    Attributes:
        frames: that are done, of all tracks together; with `keep-bit-rate`, of all renderings.
        total: how many there are to do; None where the file does not say.
        frames_per_s: so far.
        seconds_left: None where it cannot be said.
    """

    frames: int
    total: int | None
    frames_per_s: float
    seconds_left: float | None

    @property
    def share(self) -> float:
        """0..1; 0 where the total is unknown."""
        return min(self.frames / self.total, 1.0) if self.total else 0.0


@dataclass(frozen=True, slots=True)
class VideoResult:
    """All that came of one video.

    Attributes:
        info: the result's format.
        anonymised: the result; None for the method `detect`.
        metadata: a JSON array, an object for each frame.
        binary_mask, instance_mask: FFV1 in Matroska, where the options ask for them.
        counts: objects by type: tracks, each once; where there is no tracking, what was redacted in all frames.
        frames: of all tracks together.
        frames_copied: of these, those whose packets were copied as they were.
        object_types: what was looked for.
        models: the models that looked.
        warnings: what a caller should know of how it was made.
        coverage: what a reviewer would want to look at, in numbers.
        seconds: that it took, with reading and writing.
        stage_seconds: how long each stage was busy; stages work side by side.
    """

    name: str
    info: MediaInfo
    anonymised: Path | None
    metadata: Path
    binary_mask: Path | None
    instance_mask: Path | None
    counts: dict[str, int]
    frames: int
    frames_copied: int
    object_types: tuple[ObjectType, ...]
    models: tuple[str, ...]
    warnings: tuple[str, ...]
    review_counts: Mapping[str, int]
    seconds: float
    stage_seconds: Mapping[str, float]
    options: Options


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is visible only when it is complete; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
