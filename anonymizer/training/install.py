"""A model of the user's own in the store: its file, and its entry in `registry.local.toml`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from anonymizer.evaluation.thresholds.calibrate import entry_of, line
from anonymizer.pipeline.detection.calibration import Calibration
from anonymizer.pipeline.detection.models.own import OwnDetector
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo.registry import AUTO, LOCAL, PROJECT, Registry
from anonymizer.pipeline.results import write_whole

__all__ = ["install"]

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_HEAD = f"# Models of this installation, on top of those in {PROJECT}; git ignores this file.\n"


def install(
    weights: Path,
    model_id: str,
    *,
    models_folder: Path,
    object_types: Sequence[ObjectType],
    calibration: Mapping[ObjectType, Calibration],
    description: str,
    source: str = "fine-tuned from the own detector on the user's own pictures",
    licence: str = "the user's own",
    replace: bool = False,
) -> None:
    """Put weights of the own detector's network into a store, under an id that `models` (ANONYMIZER_MODELS) can name.

    The file comes first, under a name with its sum, then the entry: whoever reads in between sees the store as it was.
    A service that runs keeps the models that it has until it is started again.

    Args:
        models_folder: with `registry.toml`; the entry goes to `registry.local.toml` beside it.
        object_types: that it is to serve.
        calibration: by type, from its scores to the chance that a box is right.
        description: one line for people.
        replace: a model of this id that was installed before gives way, its file too.

    Raises:
        DetectorFailed: the registry cannot be read.
        OSError: a file cannot be read or written.
        ValueError: the id is none or taken, there is no type, or the file holds no such weights.
    """
    registry, local = Registry.read(models_folder / PROJECT), models_folder / LOCAL
    _check_id(model_id, registry, replace=replace)
    if not object_types:
        raise ValueError("object_types is empty, but must name at least one.")
    OwnDetector(weights, device="cpu", model_id=model_id)
    data = weights.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    values = {
        "id": model_id,
        "description": description,
        "object_types": list(object_types),
        "loader": "own",
        "file": f"{model_id}-{digest[:12]}.safetensors",
        "size": len(data),
        "sha256": digest,
        "licence": licence,
        "source": source,
        "input": "as own-2",
    }
    text = local.read_text(encoding="utf-8") if local.exists() else _HEAD
    old = registry.models.get(model_id)
    if old is not None:
        text = text.replace(_found(text, model_id, local), "")
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    if served := {each: calibration[each] for each in object_types if each in calibration}:
        lines.append(line(served))
    write_whole(models_folder / str(values["file"]), data)
    write_whole(local, "\n".join([text.rstrip("\n"), "", "[[model]]", *lines, ""]).encode())
    if old is not None and old.file != values["file"]:
        (models_folder / old.file).unlink(missing_ok=True)


def _check_id(model_id: str, registry: Registry, *, replace: bool) -> None:
    if not _ID.fullmatch(model_id) or model_id in (AUTO, *registry.profiles):
        raise ValueError(
            f"model_id is {model_id!r}, but must be at most 63 small letters, digits, '.', '_' and '-', begin with a "
            f"letter or a digit, and be none of {', '.join([AUTO, *registry.profiles])}."
        )
    there = registry.models.get(model_id)
    if there is not None and there.registry == PROJECT:
        raise ValueError(f"model_id is {model_id!r}, but that is a model of the project ({PROJECT}): take another id.")
    if there is not None and not replace:
        raise ValueError(f"model_id is {model_id!r}, but {LOCAL} has it already: take another id, or replace=True.")


def _found(text: str, model_id: str, file: Path) -> str:
    entry = entry_of(text, model_id)
    if not entry:
        raise ValueError(f"{file} has an entry {model_id!r} that does not begin with its id: take it out by hand.")
    return entry
