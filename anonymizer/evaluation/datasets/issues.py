"""What is wrong with a labelled set: each problem said by name, all of them counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["BadSet", "Problem", "ProblemKind", "Problems"]


class ProblemKind(StrEnum):
    """What can be wrong; what the problem is about is left out, but for a clipped box."""

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
    """One thing that is wrong.

    Attributes:
        where: the file or picture, with the line or annotation where there is one.
        detail: what is wrong there, one sentence.
    """

    kind: ProblemKind
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}: {self.detail.removesuffix('.')}."


class BadSet(ValueError):
    """A set has a problem, and it was asked to have none (`strict`)."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.kind}: {problem}")
        self.problem = problem


@dataclass
class Problems:
    """Collects problems as they are found.

    Attributes:
        strict: the first one raises instead.
    """

    strict: bool = False
    _found: list[Problem] = field(default_factory=list)

    def add(self, kind: ProblemKind, where: str, detail: str) -> None:
        """Take note of one.

        Raises:
            BadSet: where strict.
        """
        problem = Problem(kind, where, detail)
        self._found.append(problem)
        if self.strict:
            raise BadSet(problem)

    def copy(self, *, strict: bool) -> Problems:
        """The same problems, to be added to apart from these."""
        return Problems(strict, list(self._found))

    def counts(self) -> dict[ProblemKind, int]:
        """How many there are of each kind that occurs, in the order of the kinds."""
        counted = Counter(each.kind for each in self._found)
        return {kind: counted[kind] for kind in ProblemKind if kind in counted}

    def summary(self, limit: int = 5) -> str:
        """Lines of text: for each kind the count, and the first `limit` problems in full."""
        if not self._found:
            return "No problems."
        lines = []
        for kind, count in self.counts().items():
            lines.append(f"{kind}: {count}")
            shown = [each for each in self._found if each.kind is kind][:limit]
            lines += [f"  {each}" for each in shown]
            if count > len(shown):
                lines.append(f"  and {count - len(shown)} more")
        return "\n".join(lines)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
