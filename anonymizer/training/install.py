"""Install fine-tuned weights in a model store: the weights file, and an entry in `registry.local.toml`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from anonymizer.evaluation.thresholds.calibrate import find_entry, format_calibrations
from anonymizer.pipeline.detection.calibration import Calibrations
from anonymizer.pipeline.detection.models.nanodet.own import OwnNanoDet
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo.registry import AUTO, LOCAL, PROJECT, Registry
from anonymizer.pipeline.results import write_whole

__all__ = ["install"]

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_HEAD = f"# Models of this installation, in addition to those in {PROJECT}. Git ignores this file.\n"


def install(
    weights: Path,
    model_id: str,
    *,
    models_folder: Path,
    object_types: Sequence[ObjectType],
    calibrations: Calibrations,
    description: str,
    source: str = "fine-tuned from the own detector on the user's own pictures",
    licence: str = "the user's own",
    replace: bool = False,
) -> None:
    """Install weights of the own detector's network in a model store.

    The setting `models` (ANONYMIZER_MODELS) can then name the model. The weights file is written before the entry, so
    that a process that reads the store in between sees no half-installed model. A running service uses the model after
    its next start.

    Args:
        weights: the safetensors file.
        model_id: the new id: up to 63 lower-case letters, digits, ".", "_" and "-".
        models_folder: the folder with `registry.toml`. The entry is written to `registry.local.toml` beside it.
        object_types: the types that the model detects.
        calibrations: the maps from scores to probabilities; those of other types are left out.
        description: one line that describes the model.
        source: where the weights come from.
        licence: the licence of the weights.
        replace: replace an installed model with the same id, and delete its file; default: False.

    Raises:
        DetectorFailed: the registry cannot be read.
        OSError: a file cannot be read or written.
        ValueError: the id is invalid or in use, `object_types` is empty, or the file holds weights of another network.

    Examples:
        >>> install(
        ...     weights, "my-detector", models_folder=Path("models"), object_types=[ObjectType.FACE],
        ...     calibrations=Calibrations(), description="own-3, fine-tuned on our pictures",
        ... )  # doctest: +SKIP
    """
    registry, local = Registry.of_folder(models_folder), models_folder / LOCAL
    _check_id(model_id, registry, replace=replace)
    if not object_types:
        raise ValueError("object_types is empty, but must name at least one type.")
    OwnNanoDet(weights, device="cpu", model_id=model_id)
    data = weights.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    values = {
        "id": model_id,
        "description": description,
        "object_types": list(object_types),
        "loader": "own-nanodet",
        "file": f"{model_id}-{digest[:12]}.safetensors",
        "size": len(data),
        "sha256": digest,
        "licence": licence,
        "source": source,
        "input": "as own-3",
    }
    text = local.read_text(encoding="utf-8") if local.exists() else _HEAD
    old = registry.models.get(model_id)
    if old is not None:
        text = text.replace(_entry(text, model_id, local), "")
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    lines += format_calibrations(Calibrations.merge(calibrations.of_type(each) for each in object_types))
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
    installed = registry.models.get(model_id)
    if installed is not None and installed.registry == PROJECT:
        raise ValueError(
            f"model_id is {model_id!r}, but that is a model of the project ({PROJECT}). Choose another id."
        )
    if installed is not None and not replace:
        raise ValueError(
            f"model_id is {model_id!r}, but {LOCAL} has it already. Choose another id, or use replace=True."
        )


def _entry(text: str, model_id: str, file: Path) -> str:
    entry = find_entry(text, model_id)
    if not entry:
        raise ValueError(f"{file} has an entry {model_id!r} that does not begin with its id. Remove it by hand.")
    return entry
