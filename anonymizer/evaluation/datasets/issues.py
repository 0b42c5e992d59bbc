"""What is wrong with a labelled set: every problem by its kind, with a count of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from anonymizer._html import html_table

__all__ = ["InvalidDataset", "Problem", "ProblemKind", "Problems"]

#: rows that a notebook shows
_SHOWN = 20


class ProblemKind(StrEnum):
    """What can be wrong with a labelled set.

    What has a problem is left out of the set, with one exception: a clipped box is used.
    """

    EMPTY_SET = "empty-set"
    PICTURE_MISSING = "picture-missing"
    PICTURE_BROKEN = "picture-broken"
    LABEL_BROKEN = "label-broken"
    TYPE_UNKNOWN = "type-unknown"
    SIZE_DIFFERS = "size-differs"
    BOX_OUTSIDE = "box-outside"
    BOX_CLIPPED = "box-clipped"
    BOX_EMPTY = "box-empty"


@dataclass(frozen=True)
class Problem:
    """One problem of a labelled set.

    Attributes:
        kind: what is wrong.
        where: the file or image, with the line or annotation if there is one.
        detail: one sentence that describes the problem.
    """

    kind: ProblemKind
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail.removesuffix('.')}."


class InvalidDataset(ValueError):
    """A labelled set cannot be used: it has a problem and `strict` is set, or it has no image to evaluate.

    Attributes:
        problem: the first problem.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.kind}: {problem}")
        self.problem = problem


@dataclass
class Problems:
    """Collects the problems of a labelled set. It can be iterated, and `print(problems)` prints a summary.

    Attributes:
        strict: raise an error for the first problem; default: collect all of them.
    """

    strict: bool = False
    _found: list[Problem] = field(default_factory=list)

    def add(self, kind: ProblemKind, where: str, detail: str) -> None:
        """Add a problem.

        Args:
            kind: what is wrong.
            where: the file or image, with the line or annotation if there is one.
            detail: one sentence that describes the problem.

        Raises:
            InvalidDataset: `strict` is set.
        """
        problem = Problem(kind, where, detail)
        self._found.append(problem)
        if self.strict:
            raise InvalidDataset(problem)

    def copy(self, *, strict: bool) -> Problems:
        """Copy the collection. Problems that are added to the copy are not added to this one.

        Args:
            strict: whether the copy raises an error for the next problem.
        """
        return Problems(strict, list(self._found))

    def counts(self) -> dict[ProblemKind, int]:
        """Count the problems of each kind, in the order of `ProblemKind`; kinds without problems are left out."""
        counted = Counter(problem.kind for problem in self._found)
        return {kind: counted[kind] for kind in ProblemKind if kind in counted}

    def summary(self, limit: int = 5) -> str:
        """Summarise the problems as lines of text.

        Args:
            limit: the most problems of each kind that are printed in full.

        Returns:
            For each kind the count and the first problems.
        """
        if not self._found:
            return "No problems."
        lines = []
        for kind, count in self.counts().items():
            lines.append(f"{kind}: {count}")
            shown = [problem for problem in self._found if problem.kind is kind][:limit]
            lines += [f"  {problem}" for problem in shown]
            if count > len(shown):
                lines.append(f"  and {count - len(shown)} more")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind}: {count}" for kind, count in self.counts().items())
        return f"Problems({counts or 'none'})"

    def _repr_html_(self) -> str:
        rows = [(problem.kind, problem.where, problem.detail) for problem in self._found[:_SHOWN]]
        more = len(self) - len(rows)
        note = f"... {more} more" if more else ""
        return html_table(["problem", "where", "detail"], rows, title=f"{len(self)} problems", note=note)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
