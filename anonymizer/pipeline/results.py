"""Results: of one image, and of one video with its progress."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer._html import html_images, html_table
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.files.whole import side_file, write_whole
from anonymizer.pipeline.images.in_memory import encode_as
from anonymizer.pipeline.images.io import Picture, encode_picture, encode_png
from anonymizer.pipeline.media_kinds import IMAGE_FORMATS, MediaInfo, image_format
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs import masks, metadata, overlay
from anonymizer.pipeline.proof.verification import Verification
from anonymizer.pipeline.receipts.receipt import Analysis, Receipt, make_receipt
from anonymizer.pipeline.receipts.signing import SigningKey
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.review.edits import AddedObject
from anonymizer.pipeline.review.state import ReviewState

__all__ = ["ImageResult", "VideoProgress", "VideoResult", "write_whole"]


@dataclass(frozen=True, repr=False)
class ImageResult:
    """The result of one image. A notebook shows it before and after.

    Examples:
        >>> result = Anonymizer().image("street.jpg")
        >>> result.save("out.jpg")
        >>> result.counts
        {'face': 2, 'license-plate': 1, 'person': 4, 'vehicle': 1}

    Attributes:
        picture: the image that was loaded.
        pixels: the redacted image, upright, in the shape and dtype of `picture.pixels`.
        detections: the objects whose scores reach the threshold of their type.
        found: all detections, whatever their scores.
        regions: where pixels were changed.
        options: the options of the request.
        object_types: the object types that were to be detected.
        models: ids of the models that were used.
        warnings: what may be wrong with the result, a sentence each.
        review_counts: numbers that tell whether a person should check the result (`metadata.review_counts`).
        seconds: duration of detection and redaction; reading and writing do not count.
        legacy_masks: whether instance masks have the older layout.
        not_fully_analysed: those of the warnings that say that a detector analysed a much smaller copy of the image, so
            that small objects may be missed.
        alpha: the redacted alpha, in the shape and dtype of `picture.alpha`; None if all pixels are opaque.
        miss_costs: by object type, how many needless blurs a miss is worth in the scores (`weigh_misses`).
        encoded: the bytes of the file that was verified, which `encode` returns; None without the option `verify`.
        verification: what the second look at the file showed; None without the option `verify`.
        analysis: the models' checksums and views, for the receipt.
        review: what persons changed; None: this is the first version.
        spared: objects that they decided not to redact, which a look at the result does not bring back.
        redacted: those of the detections that are redacted; None: all of them. Persons may leave some visible.
        notes: by row of the detections, what the metadata says of them besides.
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
    not_fully_analysed: tuple[str, ...] = ()
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None
    miss_costs: Mapping[ObjectType, float] = field(default_factory=dict)
    encoded: bytes | None = field(default=None, repr=False)
    verification: Verification | None = None
    analysis: Analysis | None = None
    review: ReviewState | None = None
    spared: Detections = field(default_factory=Detections.empty)
    redacted: Detections | None = None
    notes: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The name, the size, the counts and the duration."""
        height, width = self.picture.size_hw
        return f"ImageResult({self.name!r}, {width} x {height}, {_words(self.counts)}, {self.seconds:.2f} s)"

    def _repr_html_(self) -> str:
        """The image before and after; for the method `detect`, the detections drawn on it."""
        before = self.picture.rgb()
        if self.options.method is Method.DETECT:
            after = "detections", overlay.draw(before, self.detections, self.regions, scores=True)
        else:
            after = "after", self.image
        caption = f"{self.name}: {_words(self.counts)} in {self.seconds:.2f} s."
        return html_images([("before", before), after], caption=" ".join([caption, *self.warnings]))

    @property
    def name(self) -> str:
        """The name of the image in the metadata."""
        return self.picture.name or "image" + self.picture.info.extension

    @property
    def counts(self) -> dict[str, int]:
        """The number of redacted objects of each requested type."""
        drawn = {region.type for region in self.options.regions}
        drawn |= {each.type for each in self.review.added} if self.review else set()
        redacted = self.detections if self.redacted is None else self.redacted
        return metadata.counts(redacted, drawn.union(self.object_types))

    @property
    def image(self) -> NDArray[np.uint8]:
        """The redacted image as (h, w, 3) uint8 RGB, upright."""
        return self.picture.rgb(self.pixels)

    @property
    def binary_mask(self) -> NDArray[np.uint8]:
        """The binary mask, (h, w) uint8: 255 = redacted, 0 = not changed."""
        return masks.binary_mask(self.regions, self.picture.size_hw)

    @property
    def instance_mask(self) -> NDArray[np.uint8]:
        """The instance mask, (h, w, 3) uint8 RGB: number and type of the object (`masks.instance_mask`)."""
        return masks.instance_mask(self.regions, self.picture.size_hw, legacy=self.legacy_masks)

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata as the API returns it, as JSON values."""
        return metadata.image_metadata(
            self.name, self.picture.size_hw, self.detections, self.regions, self.options,
            seconds=self.seconds, miss_costs=self.miss_costs, notes=self.notes,
        )  # fmt: skip

    def encode(self, *, format: str | None = None) -> bytes:  # noqa: A002 (as PIL calls it)
        """Encode the redacted image as a file.

        Args:
            format: jpeg, png, webp, tiff, bmp, heic or avif. Default: the format of the source. An image that was given
                as an array or a PIL image has no format, so it must be named here.

        Raises:
            InvalidParameter: the format is missing, is not the format of the source, or cannot store this image; or the
                method is `detect`, which makes no image.
        """
        if self.options.method is Method.DETECT:
            raise InvalidParameter("method", "detect", "blur, pixelate or blacken for an anonymised picture")
        info = None if format is None else image_format(f".{format.strip().lower()}")
        if self.picture.in_memory:
            if info is None:
                raise InvalidParameter("format", format, f"one of {', '.join(IMAGE_FORMATS)}")
            return encode_as(
                self.picture,
                self.pixels,
                info.format,
                alpha=self.alpha,
                quality=self.options.quality,
                compress_level=self.options.compress_level,
            )
        if format is not None and info != self.picture.info:
            raise InvalidParameter("format", format, f"{self.picture.info.format}, the format of the source")
        if self.encoded is not None:
            # exactly what was verified
            return self.encoded
        return encode_picture(
            self.picture,
            self.pixels,
            alpha=self.alpha,
            redacted=self.binary_mask > 0 if self.regions and self.picture.has_palette else None,
            quality=self.options.quality,
            compress_level=self.options.compress_level,
            keep_metadata=self.options.keep_metadata,
        )

    def save(
        self,
        path: str | PathLike[str],
        *,
        format: str | None = None,  # noqa: A002 (as PIL calls it)
        any_ending: bool = False,
    ) -> None:
        """Write the redacted image to a file, which appears only when it is complete.

        Args:
            path: the file; missing folders are created. Its ending is one of the source's format. For an image that was
                given as an array or a PIL image, the ending chooses the format.
            format: as for `encode`; default: the format of the source, or of the ending.
            any_ending: allow the ending of another format.

        Raises:
            InvalidParameter: the ending is that of another format or of none, or `encode` cannot encode the image.
        """
        path = Path(path)
        info = self._new_format(path, format) if self.picture.in_memory else self.picture.info
        if not any_ending and not info.accepts(path.name):
            raise InvalidParameter("path", path.name, f"a name that ends in {info.extension}, the format that came in")
        write_whole(path, self.encode(format=info.format if self.picture.in_memory else format))

    def _new_format(self, path: Path, form: str | None) -> MediaInfo:
        """The format of an image that came from no file: the one that is named, or that of the ending."""
        info = image_format(path) if form is None else image_format(f".{form.strip().lower()}")
        if info is not None:
            return info
        if form is not None:
            raise InvalidParameter("format", form, f"one of {', '.join(IMAGE_FORMATS)}")
        endings = ", ".join(known.extension for known in IMAGE_FORMATS.values())
        raise InvalidParameter("path", path.name, f"a name that ends in {endings}")

    def save_extras(self, folder: str | PathLike[str], stem: str) -> None:
        """Write the metadata, and the masks that the options ask for.

        Args:
            folder: created if it is missing.
            stem: how the names of the files begin: `STEM.json`, `STEM.binary-mask.png`, `STEM.instance-mask.png`. A
                name of more than 255 bytes is made shorter (`files.whole.side_file`).
        """
        for _, ending, content in self._extras():
            write_whole(side_file(Path(folder) / stem, ending), content)

    def _extras(self) -> Iterator[tuple[str, str, bytes]]:
        """What `save_extras` writes: what it is, how its name ends, and its bytes."""
        masks_saved, percent = self.options.save_mask, self.options.mask_scale
        if masks_saved.binary:
            yield "binary-mask", ".binary-mask.png", encode_png(masks.scaled(self.binary_mask, percent))
        if masks_saved.instance:
            yield "instance-mask", ".instance-mask.png", encode_png(masks.scaled(self.instance_mask, percent))
        yield "metadata", ".json", json.dumps(self.metadata, indent=1).encode()

    def receipt(self, key: SigningKey | None = None, *, format: str | None = None) -> Receipt:  # noqa: A002 (as PIL calls it)
        """Make the receipt: the checksums of the original and of what is written, the models, options and counts.

        Examples:
            >>> result.receipt(SigningKey.load("receipt.pem")).save("street.receipt.json")

        Args:
            key: signs it. Default: it says that it is not signed.
            format: as for `encode`.

        Returns:
            The receipt of the files that `save` and `save_extras` write.

        Raises:
            InvalidParameter: the image has no format, as in `encode`.
        """
        outputs = {role: FileSum.of_bytes(content) for role, _, content in self._extras()}
        if self.options.method is not Method.DETECT:
            outputs["anonymised"] = FileSum.of_bytes(self.encode(format=format))
        return make_receipt(self, kind="image", source=self.picture.source, outputs=outputs, key=key)


@dataclass(frozen=True, slots=True)
class VideoProgress:
    """The progress of one video.

    Attributes:
        frames: number of finished frames, of all video tracks together; with `keep-bit-rate`, of all renderings.
        total: number of all frames; None if the file does not say.
        frames_per_s: mean speed so far.
        seconds_left: expected remaining time; None if it is not known.
    """

    frames: int
    total: int | None
    frames_per_s: float
    seconds_left: float | None

    @property
    def share(self) -> float:
        """The finished share, 0..1; 0 if the total is not known."""
        return min(self.frames / self.total, 1.0) if self.total else 0.0


@dataclass(frozen=True, slots=True, repr=False)
class VideoResult:
    """The result of one video.

    Attributes:
        name: the name of the video in the metadata.
        info: the format of the result.
        anonymised: path of the anonymised video; None for the method `detect`.
        metadata: path of the metadata, a JSON array with an object for each frame.
        binary_mask, instance_mask: paths of the masks, FFV1 in Matroska; None if the options do not ask for them.
        counts: by object type, the number of tracks; without tracking, the number of redacted objects in all frames.
        frames: number of frames, of all video tracks together.
        frames_copied: how many of them were copied without encoding them again.
        object_types: the object types that were to be detected.
        models: ids of the models that were used.
        warnings: what may be wrong with the result, a sentence each.
        review_counts: numbers that tell whether a person should check the result (`metadata.review_counts`).
        seconds: duration, including reading and writing.
        stage_seconds: by stage, how long it was busy; the stages run at the same time.
        options: the options of the request.
        not_fully_analysed: those of the warnings that say that a detector analysed much smaller copies of the frames,
            so that small objects may be missed.
        verification: what the second look at the file showed; None without the option `verify`.
        analysis: the models' checksums and views, for the receipt.
        review: what persons changed; None: this is the first version.
        kept: path of the detections of all frames, for reviews; None: they are not kept.
        finds: what only the look at the result found; it is redacted too.
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
    not_fully_analysed: tuple[str, ...] = ()
    verification: Verification | None = None
    analysis: Analysis | None = None
    review: ReviewState | None = None
    kept: Path | None = None
    finds: tuple[AddedObject, ...] = ()

    def __repr__(self) -> str:
        """The name, the frames, the counts and the duration."""
        return f"VideoResult({self.name!r}, {self.frames} frames, {_words(self.counts)}, {self.seconds:.1f} s)"

    def receipt(self, source: str | PathLike[str] | None = None, key: SigningKey | None = None) -> Receipt:
        """Make the receipt: the checksums of the original and of all files, the models, options and counts.

        Args:
            source: path of the original. Default: its checksum is left out.
            key: signs it. Default: it says that it is not signed.

        Raises:
            OSError: a file cannot be read.
        """
        files = {
            "anonymised": self.anonymised,
            "metadata": self.metadata,
            "binary-mask": self.binary_mask,
            "instance-mask": self.instance_mask,
        }
        outputs = {role: FileSum.of_file(path) for role, path in files.items() if path is not None}
        original = None if source is None else FileSum.of_file(source)
        return make_receipt(self, kind="video", source=original, outputs=outputs, key=key)

    def _repr_html_(self) -> str:
        """A table of the files and the figures."""
        files = {
            "anonymised": self.anonymised,
            "metadata": self.metadata,
            "binary mask": self.binary_mask,
            "instance mask": self.instance_mask,
        }
        rows: list[tuple[str, object]] = [(name, path) for name, path in files.items() if path is not None]
        rows += [("frames", self.frames), ("frames copied", self.frames_copied), ("seconds", self.seconds)]
        rows += self.counts.items()
        rows += [(name.replace("_", " "), count) for name, count in self.review_counts.items()]
        rows += [("models", ", ".join(self.models)), *(("warning", warning) for warning in self.warnings)]
        return html_table(["", "value"], rows, title=self.name)


def _words(counts: Mapping[str, int]) -> str:
    """Counts in words: "2 face, 1 person"."""
    return ", ".join(f"{count} {object_type}" for object_type, count in counts.items())
