"""A summary of the labels that were read: the format, the classes, and the images without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anonymizer._text import align_columns
from anonymizer.evaluation.datasets.class_names import LEFT_OUT, ClassNames
from anonymizer.evaluation.datasets.records import Labels

__all__ = ["ReadLabels"]

#: names that are written in full
_SHOWN = 5


@dataclass(frozen=True)
class ReadLabels:
    """What label files contain, before it is checked.

    Attributes:
        format: what the format is called; empty if the labels come from no file.
        classes: by class name, the number of labels.
        unlabelled: the names of images without a label file.
        categories: the class names by their number in the label files.
        class_names: what class names mean.
    """

    format: str = ""
    classes: Mapping[str, int] = field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()
    categories: Mapping[Any, str] = field(default_factory=dict)
    class_names: ClassNames = field(default_factory=ClassNames)

    @classmethod
    def of(cls, labels: Labels | None, class_names: ClassNames) -> ReadLabels:
        """Keep what the summary needs of some labels.

        Args:
            labels: what was read; None if there are no labels.
            class_names: what class names mean.
        """
        labels = labels or Labels()
        return cls(labels.format, dict(labels.classes), labels.unlabelled, labels.categories, class_names)

    def summary(self, images: int, empty: int) -> str:
        """Summarise the labels as lines of text.

        Args:
            images: the number of images in the set.
            empty: how many of them have no objects.
        """
        lines = [f"{self.format or 'no'} labels, {images} images, {empty} of them without objects."]
        if self.unlabelled:
            shown = ", ".join(self.unlabelled[:_SHOWN]) + ", ..." * (len(self.unlabelled) > _SHOWN)
            # an image without a text file has no objects in YOLO; other formats do not know it
            what = "they count as images without objects" if self.format == "YOLO" else "they are left out"
            lines.append(f"{len(self.unlabelled)} images have no label file, so {what}: {shown}")
        if self.classes:
            rows = [
                ("class", "labels", "read as"),
                *((name, n, self._meaning(name)) for name, n in self.classes.items()),
            ]
            lines += [f"  {line}" for line in align_columns(rows)]
        if unknown := [name for name in self.classes if self._is_unknown(name)]:
            lines.append(
                f"To read an unknown class: --map {unknown[0]}=TYPE, in Python names={{{unknown[0]!r}: TYPE}}."
            )
        return "\n".join(lines)

    def _is_unknown(self, name: str) -> bool:
        return self.class_names.parse(name) is None and not self.class_names.is_left_out(name)

    def _meaning(self, name: str) -> str:
        if (known := self.class_names.parse(name)) is not None:
            return f"{known[0]}, ignored" if known[1] else known[0].value
        return LEFT_OUT if self.class_names.is_left_out(name) else "unknown, left out"
