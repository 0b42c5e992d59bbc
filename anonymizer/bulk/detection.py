"""Detections of many images on a Ray cluster, for evaluations: nothing is redacted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from anonymizer.bulk.cluster import LOCAL, ActorPool, BulkFailed, connected, quiet_data
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.images.io import load_image
from anonymizer.pipeline.jobs.workers import set_threads
from anonymizer.pipeline.options.formats import Format

__all__ = ["DetectedImage", "detect"]


@dataclass(frozen=True)
class DetectedImage:
    """What was detected in one image.

    Attributes:
        path: of the image.
        size_hw: height and width of the upright image in pixels.
        detections: whatever their scores, without masks.
    """

    path: Path
    size_hw: tuple[int, int]
    detections: Detections


class DetectionWorker:
    """The class of the actors: each holds the models, and reads images itself."""

    def __init__(
        self, make: Callable[[], Anonymizer], object_types: Sequence[ObjectType], form: Format, threads: int
    ) -> None:
        set_threads(threads)
        self._anonymizer, self._types, self._form = make(), list(object_types), form

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Detect objects in the images of a batch; those that cannot be read are left out."""
        rows = [row for path in batch["path"].to_pylist() if (row := self._row(path)) is not None]
        return pa.Table.from_pylist(rows, schema=_ROWS)

    def _row(self, path: str) -> dict[str, object] | None:
        try:
            image = load_image(path)
        except (AnonymizerError, OSError):
            # whoever evaluates reads it again, and tells what is wrong
            return None
        (found,) = self._anonymizer.engine.detect_images([image], self._types, self._form)
        return {
            "path": path, "height": image.shape[0], "width": image.shape[1], "boxes": found.boxes.ravel().tolist(),
            "scores": found.scores.tolist(), "types": found.types.tolist(), "models": found.models.tolist(),
        }  # fmt: skip


_ROWS = pa.schema(
    [
        ("path", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("boxes", pa.list_(pa.float32())),
        ("scores", pa.list_(pa.float32())),
        ("types", pa.list_(pa.int64())),
        ("models", pa.list_(pa.string())),
    ]
)


def detect(
    paths: Sequence[Path],
    object_types: Sequence[ObjectType],
    form: Format,
    *,
    make_anonymizer: Callable[[], Anonymizer] = Anonymizer,
    address: str = LOCAL,
    pool: ActorPool | None = None,
) -> Iterator[DetectedImage]:
    """Detect objects in many images, and yield each image as soon as its batch is done.

    Args:
        paths: of the images, on a disk that every node sees.
        object_types: what to detect.
        form: how images are divided into windows.
        make_anonymizer: is called in each actor; it must be picklable.
        address: of the cluster, as for `anonymise`.
        pool: how actors share the cluster; default: `ActorPool()`.

    Yields:
        The images that can be read, in any order.

    Raises:
        BulkFailed: the cluster cannot be reached, has no room, or cannot go on.
    """
    pool = pool or ActorPool()
    with connected(address), quiet_data():
        import ray
        from ray.exceptions import RayError

        count = -(-len(paths) // pool.batch_files)
        rows = ray.data.from_items([{"path": str(path)} for path in paths], override_num_blocks=count).map_batches(
            DetectionWorker, batch_size=None, batch_format="pyarrow", compute=pool.strategy(count),
            num_cpus=pool.num_cpus, num_gpus=pool.num_gpus or None,
            fn_constructor_args=(make_anonymizer, object_types, form, pool.threads),
        )  # fmt: skip
        try:
            for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                yield from map(_image, batch.to_pylist())
        except RayError as error:
            raise BulkFailed(f"The cluster could not go on: {error}") from error


def _image(row: dict[str, Any]) -> DetectedImage:
    boxes = np.array(row["boxes"], np.float32).reshape(-1, 4)
    scores, types = np.array(row["scores"], np.float32), np.array(row["types"], np.uint8)
    found = Detections(boxes, scores, types, np.array(row["models"], np.str_))
    return DetectedImage(Path(row["path"]), (row["height"], row["width"]), found)
