"""The files of an image's result, ready to be stored."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from anonymizer.models import FileKind
from anonymizer.pipeline.images.io import encode_png
from anonymizer.pipeline.options.options import Method
from anonymizer.service import files
from anonymizer.service.previews import jobs

if TYPE_CHECKING:
    from anonymizer.pipeline.results import ImageResult

__all__ = ["image_artefacts"]


def image_artefacts(result: ImageResult, *, shared: bool = True) -> Iterator[files.Artefact]:
    """Return the files of a result.

    Args:
        result: of one image.
        shared: whether those are among them that all versions share: the detections, and the preview of the original.
    """
    options, info = result.options, result.picture.info
    if options.method is not Method.DETECT:
        yield files.Artefact(FileKind.ANONYMISED, result.encode(), info.media_type, info.extension)
    # masks are stored at full size: mask-scale is applied at the download
    if options.save_mask.binary:
        yield files.Artefact(FileKind.BINARY_MASK, encode_png(result.binary_mask), "image/png", ".png")
    if options.save_mask.instance:
        yield files.Artefact(FileKind.INSTANCE_MASK, encode_png(result.instance_mask), "image/png", ".png")
    yield files.Artefact(FileKind.METADATA, json.dumps(result.metadata).encode(), "application/json", ".json")
    yield from (each for each in jobs.of_result(result) if shared or each.kind != FileKind.PREVIEW_BEFORE)
    if shared:
        detections = io.BytesIO()
        result.found.save(detections)
        yield files.Artefact(FileKind.DETECTIONS, detections.getvalue(), "application/x-npz", ".npz")
