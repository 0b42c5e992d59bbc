"""Many images in batches: they are loaded, detected together and rendered, in order and with bounded memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, Never

from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import AnonymizerError, ModelMissing
from anonymizer.pipeline.images.io import Picture
from anonymizer.pipeline.images.sources import Source, load_source, source_name
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.results import ImageResult

__all__ = ["BATCH_IMAGES", "BATCH_MEGAPIXELS", "ImageBatches", "is_full", "warn_unsearched"]

#: how many images, and how many megapixels of them, go through the detectors together
BATCH_IMAGES, BATCH_MEGAPIXELS = 8, 50

_log = logging.getLogger("anonymizer")


def warn_unsearched(folder: Path, reason: str) -> None:
    """Log a folder whose images are not taken, as those are that have no result."""
    _log.warning("Skipped the folder %s: %s", folder, reason)


def is_full(images: Sequence[NDArray[Any]], most: int = BATCH_IMAGES) -> bool:
    """Whether a batch has enough images, or enough megapixels, to be detected.

    Args:
        images: the batch, (h, w) or (h, w, c) each, of any dtype.
        most: number of images from which on a batch is full; default: `BATCH_IMAGES` (8).

    Returns:
        True if there are `most` images, or `BATCH_MEGAPIXELS` (50) megapixels in all images together.
    """
    megapixels = sum(image.shape[0] * image.shape[1] for image in images) / 1e6
    return len(images) >= most or megapixels >= BATCH_MEGAPIXELS


class ImageBatches:
    """One run over many images.

    Args:
        detect: takes images, returns the detections of each.
        render: takes an image, its detections and the seconds that they took, returns the result.
        limits: the largest image that is accepted.
        skip: log images that have no result, and go on; otherwise their error is raised.
        most: how many images go through the detectors together.
    """

    def __init__(
        self,
        detect: Callable[[Sequence[Picture]], list[Detections]],
        render: Callable[[Picture, Detections, float], ImageResult],
        limits: Limits,
        *,
        skip: bool,
        most: int = BATCH_IMAGES,
    ) -> None:
        self._detect, self._render, self._limits = detect, render, limits
        self._skip, self._most = skip, most

    def results(self, sources: Iterable[Source], *, progress: bool = False) -> Iterator[ImageResult]:
        """Get the results in the order of the sources, as soon as each batch is done.

        Args:
            sources: what `load_source` takes.
            progress: show a progress bar.

        Raises:
            ModelMissing: always, as it is not the fault of one image.
            AnonymizerError, OSError: one image has no result, unless such images are skipped.
        """
        total = len(sources) if isinstance(sources, Sized) else None
        bar: tqdm[Never]
        with tqdm(total=total, desc="anonymising", unit="image", disable=not progress) as bar:
            for name, outcome in self.outcomes(sources):
                bar.update()
                if isinstance(outcome, ImageResult):
                    yield outcome
                else:
                    self._report(name, outcome)

    def outcomes(self, sources: Iterable[Source]) -> Iterator[tuple[str, ImageResult | AnonymizerError | OSError]]:
        """Get what became of each source, in their order: its name, and its result or why there is none.

        Args:
            sources: what `load_source` takes.

        Raises:
            ModelMissing: always, as it is not the fault of one image.
        """
        batch: list[tuple[str, Picture]] = []
        for index, source in enumerate(sources):
            name = source_name(source, index)
            failure: AnonymizerError | OSError | None = None
            try:
                batch.append((name, self._load(source, index)))
            except (AnonymizerError, OSError) as error:
                failure = error
            if failure is not None or is_full([picture.pixels for _, picture in batch], self._most):
                # the results before a failure come first
                yield from self._batch_outcomes(batch)
                batch = []
            if failure is not None:
                yield name, failure
        yield from self._batch_outcomes(batch)

    def _load(self, source: Source, index: int) -> Picture:
        picture = load_source(source, limits=self._limits)
        # so that no two results have one name
        return picture if picture.name else replace(picture, name=f"image-{index + 1}{picture.info.extension}")

    def _batch_outcomes(
        self, batch: Sequence[tuple[str, Picture]]
    ) -> Iterator[tuple[str, ImageResult | AnonymizerError]]:
        started = time.perf_counter()
        together = self._detect_together([picture for _, picture in batch])
        seconds = (time.perf_counter() - started) / max(len(batch), 1)
        for (name, picture), found in zip(batch, together, strict=True):
            outcome: ImageResult | AnonymizerError
            try:
                outcome = self._result(picture, found, seconds)
            except AnonymizerError as error:
                outcome = error
            yield name, outcome

    def _detect_together(self, pictures: Sequence[Picture]) -> Sequence[Detections | None]:
        """The detections of a batch; None for each image if the batch fails: then each image is tried alone."""
        if len(pictures) > 1:
            try:
                return self._detect(pictures)
            except ModelMissing:
                raise
            except AnonymizerError as error:
                _log.info("Detection failed for a batch of %d images, each is tried alone: %s", len(pictures), error)
        return [None] * len(pictures)

    def _result(self, picture: Picture, found: Detections | None, seconds: float) -> ImageResult:
        if found is None:
            started = time.perf_counter()
            (found,) = self._detect([picture])
            seconds = time.perf_counter() - started
        return self._render(picture, found, seconds)

    def _report(self, name: str, error: AnonymizerError | OSError) -> None:
        """Raise the error of an image, or log it."""
        if not self._skip or isinstance(error, ModelMissing):
            error.add_note(f"There is no result for {name}.")
            raise error
        _log.warning("Skipped %s: %s", name, error)
