"""Names that a package offers and imports at first use: Django imports `anonymizer` and does not need torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package (PEP 562).

    Examples:
        >>> __getattr__ = lazy_exports(__name__, {"show": "anonymizer.pipeline.outputs.show"})

    Args:
        package: full name of the package.
        modules: by name that the package offers, the full name of the module that defines it; `module:name` if it has
            another name there.

    Returns:
        The function; it raises AttributeError for a name that is not in `modules`.
    """

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, name_there = modules[name].partition(":")
        return getattr(import_module(module), name_there or name)

    return __getattr__
