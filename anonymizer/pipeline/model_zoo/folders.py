"""Where the registry and the files of models lie.

The models that come with the project lie in `models/` of a checkout, or in the installed package. Another folder can be
given, or named by the environment variable ANONYMIZER_MODELS_DIR. A folder without a `registry.toml` of its own, such
as an empty volume, uses the registry and the files that come with the project, and takes downloads.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["MODELS_FOLDER", "default_folder", "find_model_file", "find_registry", "is_checkout"]

#: name of the project's registry in a folder of models
PROJECT = "registry.toml"
#: the environment variable that names the folder of the models
VARIABLE = "ANONYMIZER_MODELS_DIR"

_PACKAGE = Path(__file__).resolve().parents[2]
_CHECKOUT_FOLDER = _PACKAGE.parent / "models"


def is_checkout() -> bool:
    """Whether this is a checkout of the repository, and not an installed package."""
    return (_CHECKOUT_FOLDER / PROJECT).is_file()


#: the models that come with the project: `models/` of a checkout, else the data of the installed package
MODELS_FOLDER = _CHECKOUT_FOLDER if is_checkout() else _PACKAGE / "model_files"


def default_folder() -> Path:
    """The folder that ANONYMIZER_MODELS_DIR names; default: `MODELS_FOLDER`."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else MODELS_FOLDER


def find_registry(folder: Path) -> Path:
    """The registry of a folder of models; if it has none, the registry that comes with the project."""
    own = folder / PROJECT
    return own if own.exists() else MODELS_FOLDER / PROJECT


def find_model_file(folder: Path, name: str) -> Path:
    """Where the file of a model lies, or where it has to be put.

    Args:
        folder: of models.
        name: of the file.

    Returns:
        The path in the folder. If the folder has neither a registry of its own nor the file: the file that comes with
        the project, if there is one.
    """
    path = folder / name
    if path.exists() or (folder / PROJECT).exists():
        return path
    fallback = MODELS_FOLDER / name
    return fallback if fallback.is_file() else path
