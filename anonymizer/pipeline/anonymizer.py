"""The library's entry point: `Anonymizer` anonymises images and videos."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from anonymizer.pipeline.audit.delivered import verify_image
from anonymizer.pipeline.detection.downscaling import downscale_warnings
from anonymizer.pipeline.detection.windows import plan_views
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import AnonymizerError, InvalidParameter, NotFullyAnalysed
from anonymizer.pipeline.image_batches import BATCH_IMAGES, ImageBatches, is_full, warn_unsearched
from anonymizer.pipeline.images.decoded import Samples
from anonymizer.pipeline.images.io import Picture
from anonymizer.pipeline.images.sources import Source, Sources, expand_sources, load_source
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import open_file
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.converters import choice
from anonymizer.pipeline.options.formats import Auto, Format, parse_format
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs import metadata, overlay
from anonymizer.pipeline.receipts.receipt import Analysis
from anonymizer.pipeline.redaction.planes import varies_in_boxes
from anonymizer.pipeline.results import ImageResult, VideoProgress, VideoResult
from anonymizer.pipeline.review.selection import select, spared_objects
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.segmentation.mask_rules import BOX, with_box_masks

if TYPE_CHECKING:
    from anonymizer.pipeline.video.plan import Reviewed

__all__ = ["Anonymizer"]

_object_type = choice(ObjectType)


class Anonymizer:
    """Detects and redacts faces, license plates, persons and vehicles in images and videos.

    It loads each model once. Several threads may use it at once. A video uses all cores by itself, so that several
    videos at the same time take as long as one after the other, and more memory.

    Examples:
        >>> from anonymizer import Anonymizer, Options
        >>> anonymizer = Anonymizer()
        >>> result = anonymizer.image("street.jpg", Options(face=True, license_plate=True))
        >>> result.save("out.jpg")

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`; `auto` is the first GPU, or the CPU on a machine without a GPU.
        store: the models; default: the installed models.
        limits: the largest file that is accepted; default: `Limits()`.
        noise_key: secret from which, together with the image, the noise of `blur` and `pixelate` is made;
            default: a random one, so that the same image gets other noise in another process.
        legacy_masks: write instance masks in the older layout.
        segment: the object types that get a segmentation mask; default: persons and vehicles.

    Raises:
        InvalidParameter: the device has another name.
        DetectorFailed: the registry of models cannot be read.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        store: ModelStore | None = None,
        limits: Limits | None = None,
        noise_key: bytes | None = None,
        legacy_masks: bool = False,
        segment: Sequence[ObjectType] = (ObjectType.PERSON, ObjectType.VEHICLE),
    ) -> None:
        self.engine = Engine(
            device=device, store=store, limits=limits, noise_key=noise_key, legacy_masks=legacy_masks, segment=segment
        )

    def __repr__(self) -> str:
        """The models by object type."""
        return f"Anonymizer({self.store!r})"

    @property
    def store(self) -> ModelStore:
        """The models."""
        return self.engine.store

    @property
    def limits(self) -> Limits:
        """The largest file that is accepted."""
        return self.engine.limits

    def image(self, source: Source, options: Options | None = None, *, name: str | None = None) -> ImageResult:
        """Anonymise one image.

        Examples:
            >>> anonymizer.image("street.jpg").save("out.jpg")
            >>> anonymizer.image(frame_rgb, Options(method="pixelate")).image

        Args:
            source: a path, bytes, a binary file, a PIL image, or an array. An array is (h, w, 3) RGB, (h, w) grey or
                (h, w, 4) RGBA, uint8 or uint16.
            options: what is redacted, and how; default: all installed object types are blurred.
            name: the name in the metadata; default: the name of the file.

        Raises:
            SourceNotFound: there is no such file.
            InvalidParameter: the source is a folder, or an array of another shape or dtype; or an option does not fit
                the installed models.
            BrokenMedia, TooLarge, UnsupportedMedia: the file is no image that is supported.
            NotFullyAnalysed: it was analysed much smaller than it is, and `strict` of the options is set.
            VerificationFailed: the finished image still shows something, and `verify` of the options is set.
            ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        options = options or Options()
        picture = load_source(source, limits=self.limits, name=name)
        started = time.perf_counter()
        object_types = options.object_types(tuple(self.store.serves()))
        (found,) = self.engine.detect_pictures([picture], object_types, options.image_format)
        return self.verify(self.render(picture, found, object_types, options, seconds=time.perf_counter() - started))

    def images(
        self,
        source: Sources,
        options: Options | None = None,
        *,
        on_error: str = "raise",
        progress: bool = False,
        batch_size: int | None = None,
    ) -> Iterator[ImageResult]:
        """Anonymise many images. Detectors run in batches, and results come in order as soon as a batch is done.

        The results are those of `image`. The arguments are checked at once, not when the first result is requested.

        Examples:
            >>> for result in anonymizer.images("photos/*.jpg", on_error="skip", progress=True):
            ...     result.save(Path("out") / result.name)

        Args:
            source: a folder, a glob, or an iterable of what `image` takes: a list of paths, an array (n, h, w, 3).
                The images of a folder are taken in sorted order, with those of its sub-folders. Hidden files are left
                alone.
            options: as for `image`, the same for all images.
            on_error: `raise`, or `skip`: log a warning that names the image, or the sub-folder that cannot be read or
                is a link, and go on with the next one. A missing model is always raised.
            progress: show a progress bar.
            batch_size: the most images that go through the detectors together; default: 8, or fewer large images.

        Returns:
            An iterator; it holds one batch of images in memory. An image that is no file has its number as its name:
            `image-1.png`.

        Raises:
            SourceNotFound: there is no image in the folder, or none matches the glob.
            InvalidParameter: an argument has a value that is not allowed.
            OSError: a sub-folder cannot be read or is a link, and `on_error` is `raise`.
            AnonymizerError: one image has no result, as for `image`, and `on_error` is `raise`. The results of the
                images before it are returned first.
        """
        if on_error not in ("raise", "skip"):
            raise InvalidParameter("on_error", on_error, "raise or skip")
        if batch_size is not None and batch_size < 1:
            raise InvalidParameter("batch_size", batch_size, "a whole number from 1 up")
        sources = expand_sources(source, on_unsearched=warn_unsearched if on_error == "skip" else None)
        batches = self._batches(options or Options(), batch_size or BATCH_IMAGES, skip=on_error == "skip")
        return batches.results(sources, progress=progress)

    def outcomes(
        self, sources: Sequence[Source], options: Options, *, batch_size: int
    ) -> Iterator[ImageResult | AnonymizerError | OSError]:
        """Anonymise many images as `images` does, and yield for each one its result or why there is none.

        Args:
            sources: the images.
            options: as for `images`.
            batch_size: the most images that go through the detectors together.

        Raises:
            ModelMissing: always, as it is not the fault of one image.
        """
        return (outcome for _, outcome in self._batches(options, batch_size, skip=True).outcomes(sources))

    def _batches(self, options: Options, most: int, *, skip: bool) -> ImageBatches:
        object_types = options.object_types(tuple(self.store.serves()))

        def detect(pictures: Sequence[Picture]) -> list[Detections]:
            return self.engine.detect_pictures(pictures, object_types, options.image_format)

        def render(picture: Picture, found: Detections, seconds: float) -> ImageResult:
            return self.verify(self.render(picture, found, object_types, options, seconds=seconds))

        return ImageBatches(detect, render, self.limits, skip=skip, most=most)

    def detect(
        self,
        images: Sources,
        object_types: Sequence[ObjectType | str] | None = None,
        format: Format | str | None = None,  # noqa: A002 (the API's name)
    ) -> list[Detections]:
        """Detect objects, and return all of them whatever their scores. Nothing is redacted.

        Examples:
            >>> (detections,) = anonymizer.detect("street.jpg", ["face"])
            >>> detections[detections.scores > 0.5]

        Args:
            images: one image or many: what `image` or `images` takes.
            object_types: the types to detect; default: all installed types.
            format: how images are cut into views, such as `"auto"`; default: `Auto()`.

        Returns:
            A list with one `Detections` for each image, also for a single image.

        Raises:
            SourceNotFound: there is no such file, or no image in the folder.
            InvalidParameter: an array has another shape or dtype; or another argument is not allowed.
            AnonymizerError: an image has no result, as for `image`.
        """
        types = [cast("ObjectType", _object_type("object_types", name)) for name in object_types or self.store.serves()]
        form = Auto() if format is None else parse_format("format", format)
        found: list[Detections] = []
        batch: list[Picture] = []
        for index, source in enumerate(expand_sources(images, parameter="images")):
            batch.append(load_source(source, limits=self.limits, parameter=f"images[{index}]"))
            if is_full([picture.pixels for picture in batch]):
                found += self.engine.detect_pictures(batch, types, form)
                batch = []
        return found + self.engine.detect_pictures(batch, types, form)

    def render(
        self,
        picture: Picture,
        found: Detections,
        object_types: Sequence[ObjectType],
        options: Options,
        *,
        seconds: float = 0.0,
        added: Detections | None = None,
        review: ReviewState | None = None,
    ) -> ImageResult:
        """Redact an image by detections that are there already: no detector runs.

        Objects that are redacted and have no segmentation mask get one here, unless `bbox` is set. `found` of the
        result has these masks, so the same image can be rendered again quickly with other options.

        Args:
            picture: the image.
            found: its detections, whatever their scores.
            object_types: the types to redact; other detections are dropped.
            options: what is redacted, and how.
            seconds: duration of the detection, which is added to that of the redaction.
            added: objects that are redacted besides, whatever their scores; `found` of the result is without them.
            review: what persons changed; its thresholds replace those of the options.

        Raises:
            NotFullyAnalysed: the image was analysed much smaller than it is, and `strict` of the options is set.
            ModelMissing, DetectorFailed, OutOfMemory: masks could not be made.
        """
        started = time.perf_counter()
        detectors = self.store.detectors(object_types)
        downscaled = tuple(downscale_warnings("picture", picture.size_hw, options.image_format, detectors))
        if options.strict and downscaled:
            raise NotFullyAnalysed(downscaled)
        state = review or ReviewState()
        found, requested, options = found.of_type(*object_types), options, state.options(options)
        over = state.reaching(metadata.over_threshold(found, options))
        alpha = picture.alpha
        if not options.bbox:
            if alpha is not None:
                # the colours alone do not show the outline of an object there
                found = with_box_masks(found, over & varies_in_boxes(alpha, found.boxes), picture.size_hw)
            found = self.engine.add_masks(picture.size_hw, picture.rgb, found, over)
        selection = select(found, over, picture.size_hw, options, state, added)
        chosen, regions = selection.objects, selection.regions(picture.size_hw, options)
        seed, spare_bits = self._seed(picture), picture.spare_bits
        pixels = selection.redact_colours(picture.pixels, spare_bits, regions, options, seed=seed)
        if alpha is not None:
            alpha = selection.redact_alpha(alpha, regions, options, seed=self._seed(picture, alpha))
        if options.debug:
            pixels = overlay.draw(pixels, chosen, regions, scores=options.score)
        models = tuple(dict.fromkeys([*(detector.id for detector in detectors), *_mask_models(chosen, options)]))
        views = {each.id: len(plan_views(picture.size_hw, options.image_format, each)) for each in detectors}
        return ImageResult(
            picture=picture,
            pixels=pixels,
            alpha=alpha,
            detections=chosen,
            found=found,
            regions=regions,
            options=options,
            object_types=tuple(object_types),
            models=models,
            warnings=downscaled,
            not_fully_analysed=downscaled,
            review_counts=metadata.review_counts(
                found, picture.size_hw, options, {detector.id: detector.least_size for detector in detectors}
            ),
            seconds=seconds + time.perf_counter() - started,
            legacy_masks=self.engine.legacy_masks,
            miss_costs=self.store.miss_costs(object_types),
            analysis=Analysis(self.store.sums(models), views, picture.size_hw),
            review=review,
            spared=spared_objects(found, requested, state, picture.size_hw),
            redacted=selection.redacted,
            notes=selection.notes,
        )

    def verify(self, result: ImageResult) -> ImageResult:
        """Verify a result of `render`, as its option `verify` says: decode its file, and look at it again.

        `image` and `images` do so by themselves.

        Args:
            result: of an image; it comes back as it is without the option, and with the method `detect`.

        Returns:
            The result with its verification. Objects that only this look found are redacted too; their `source` is
            `verification`.

        Raises:
            VerificationFailed: a region is not redacted; or the look found an object, and `verify` is `strict`.
            AnonymizerError: the look failed for another reason: there is no result.
        """

        def render(added: Detections, options: Options) -> ImageResult:
            types, seconds = result.object_types, result.seconds
            return self.render(
                result.picture, result.found, types, options, seconds=seconds, added=added, review=result.review
            )

        return verify_image(self.engine, result, render)

    def video(
        self,
        source: str | PathLike[str],
        folder: str | PathLike[str],
        options: Options | None = None,
        *,
        name: str | None = None,
        progress: Callable[[VideoProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        keep: bool = False,
        review: Reviewed | None = None,
    ) -> VideoResult:
        """Anonymise one video.

        Examples:
            >>> result = anonymizer.video("street.mp4", "out", Options(face=True))
            >>> result.anonymised
            PosixPath('out/anonymised.mp4')

        Args:
            source: path of the video.
            folder: an existing folder for the files of the result.
            options: what is redacted, and how; default: all installed object types are blurred.
            name: the name in the metadata; default: the name of the file.
            progress: called about twice a second in the calling thread.
            stop: called as often; the work ends when it returns True.
            keep: also write the detections of all frames into the folder, from which reviews are rendered.
            review: what a person changed in an earlier result (`plan_review`). Nothing is detected then.

        Raises:
            SourceNotFound: there is no such file.
            Cancelled: `stop` returned True.
            BrokenMedia, TooLarge, UnsupportedMedia: the file is no video that is supported.
            NotFullyAnalysed: its frames would be analysed much smaller, and `strict` of the options is set.
            ModelMissing, DetectorFailed, EncoderFailed, OutOfMemory, TooManyObjects: there is no result.
        """
        # at first use: images need no FFmpeg
        from anonymizer.pipeline.audit.finished_video import Looks
        from anonymizer.pipeline.video.job import anonymise_video
        from anonymizer.pipeline.video.plan import Hooks

        options = options or Options()
        with open_file(source):
            pass
        looks = Looks() if options.verify else None
        hooks = Hooks(progress, stop, looks, keep, review)
        return anonymise_video(self.engine, Path(source), Path(folder), options, name=name, hooks=hooks)

    def _seed(self, picture: Picture, alpha: Samples | None = None) -> int:
        digest = hashlib.blake2b(cast("Any", np.ascontiguousarray(picture.pixels)), key=self.engine.noise_key)
        if alpha is not None:
            digest.update(cast("Any", alpha))
        return int.from_bytes(digest.digest()[:8], "big")


def _mask_models(chosen: Detections, options: Options) -> list[str]:
    """The models that made masks of the redacted objects."""
    if options.bbox:
        return []
    return [mask.source for mask in chosen.masks if mask is not None and mask.source not in ("", BOX)]
