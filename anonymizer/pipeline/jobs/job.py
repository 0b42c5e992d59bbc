"""One file of a run, and how the work on it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anonymizer.pipeline.results import VideoProgress

__all__ = ["Job", "OnProgress", "Outcome", "State"]


class State(StrEnum):
    """How a job ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One image or video and the path of its result; the result of a video may get another ending appended."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job ended.

    Attributes:
        detail: why it failed or was skipped, as a sentence.
        counts: by object type, how many objects were redacted.
        warnings: what a user should know about the analysis of the file.
        models: ids of the models that were used.
        output: the file with the result; None if there is none.
        seconds: how long the job took.
    """

    job: Job
    state: State
    detail: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    output: Path | None = None
    seconds: float = 0.0


#: is called with a job and the progress within its video
OnProgress = Callable[[Job, "VideoProgress"], None]
