"""Turn the errors of torch and of model code into the errors of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from anonymizer.pipeline.errors import AnonymizerError, DetectorFailed, OutOfMemory

__all__ = ["check_finite", "translate_errors"]


@contextmanager
def translate_errors(model: str) -> Iterator[None]:
    """Translate every exception of the block; errors of this package pass unchanged.

    Args:
        model: kind and id of the model, such as `detector own-2`; the error's sentence names it.

    Raises:
        OutOfMemory: the GPU has too little free memory.
        DetectorFailed: any other exception was raised.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemory(f"The {model} has too little memory on its device.") from error
    except AnonymizerError:
        raise
    except Exception as error:
        raise DetectorFailed(f"The {model} failed ({type(error).__name__}).") from error


def check_finite(model: str, *outputs: Tensor) -> None:
    """Make sure that a network returned finite numbers only.

    Args:
        model: kind and id of the model, such as `detector own-2`; the error's sentence names it.
        outputs: tensors of any shape.

    Raises:
        DetectorFailed: a value is NaN or infinite.
    """
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise DetectorFailed(f"The {model} returned values that are not finite numbers.")
