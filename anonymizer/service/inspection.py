"""Check uploads in a process of their own: no decoder runs in the web server, and one that crashes ends one check.

This module imports no Django, because the processes that check import it, too.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import resource
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from anonymizer.pipeline import errors
from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, OutOfMemory
from anonymizer.pipeline.images.io import check_header
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.service.queueing.processes import die_with_parent, limit_memory, memory_limit

__all__ = ["inspect_beginning", "inspect_picture", "inspect_video", "prepare"]

log = logging.getLogger(__name__)
#: how long a check may take, and how many seconds of a core; only a few frames are decoded
MOST_S = 60
#: the most memory of a check besides the file itself
MOST_BYTES = 2**32


def prepare() -> None:
    """Load the decoders now, in their process, so that the first upload does not wait for them."""
    _context()
    forkserver.ensure_running()


def inspect_picture(source: Path | bytes, *, limits: Limits) -> MediaInfo:
    """Check a picture as `check_header` does, apart from this process.

    Args:
        source: its path, or the bytes of a small one.
        limits: the largest picture that is accepted.

    Returns:
        Format and kind of the file.

    Raises:
        AnonymizerError: as `check_header` does.
        BrokenMedia: the check crashed, or took too long.
        OutOfMemory: the check needs too much memory.
    """
    return _inspect(source, limits, "picture")


def inspect_video(source: Path, *, limits: Limits) -> MediaInfo:
    """Check a video as `check_video` does, apart from this process.

    Args:
        source: its path.
        limits: the largest video that is accepted.

    Returns:
        Format and kind of the file.

    Raises:
        AnonymizerError: as `check_video` does.
        BrokenMedia: the check crashed, or took too long.
        OutOfMemory: the check needs too much memory.
    """
    return _inspect(source, limits, "video")


def inspect_beginning(source: Path, *, limits: Limits) -> MediaInfo:
    """Check the beginning of a video as `check_video_beginning` does, apart from this process.

    Args:
        source: the path of a file with the beginning.
        limits: the largest video that is accepted.

    Returns:
        Format and kind of the file.

    Raises:
        AnonymizerError: as `check_video_beginning` does.
        BrokenMedia: the check crashed, or took too long.
        OutOfMemory: the check needs too much memory.
    """
    return _inspect(source, limits, "beginning")


@functools.cache
def _context() -> ForkServerContext:
    # A process that has loaded the decoders forks one for each check, which takes some milliseconds. A fork of the web
    # server itself would copy its threads' locks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "anonymizer.pipeline.video.io.reader"])
    return context


def _inspect(source: Path | bytes, limits: Limits, what: str) -> MediaInfo:
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_check, args=(theirs, source, limits, what), daemon=True)
    try:
        process.start()
        theirs.close()
        answer = ours.recv() if ours.poll(MOST_S) else None
    except EOFError:
        # it ended without an answer
        answer = None
    finally:
        ours.close()
        if process.pid is not None:
            process.kill()
            process.join()
    if isinstance(answer, MediaInfo):
        return answer
    if answer is None:
        log.warning("The check of an upload ended with code %s.", process.exitcode)
        raise BrokenMedia("The file is broken: a decoder crashed or did not end when it read it.")
    name, sentence = answer
    # some classes are made from other words than their sentence
    kind: type[AnonymizerError] = getattr(errors, name)
    error = kind.__new__(kind)
    error.args = (sentence,)
    raise error


def _check(answers: Connection, source: Path | bytes, limits: Limits, what: str) -> None:
    """Check a file, and send the answer: a `MediaInfo`, or the name of an error's class and its sentence."""
    die_with_parent(os.getppid())
    share = memory_limit(0)
    most = MOST_BYTES + limits.bytes
    limit_memory(most if share is None else min(share, most))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_S, MOST_S + 1))
    answer: MediaInfo | tuple[str, str]
    try:
        if what == "picture":
            answer = check_header(source, limits=limits)
        else:
            # imported here because pictures do not need it
            from anonymizer.pipeline.video.io.reader import check_video, check_video_beginning

            check = check_video if what == "video" else check_video_beginning
            answer = check(Path(os.fsdecode(source)), limits=limits)
    except MemoryError:
        answer = OutOfMemory.__name__, "This server has too little memory to read the file."
    except AnonymizerError as error:
        known = next(each for each in type(error).__mro__ if each.__name__ in errors.__all__)
        answer = known.__name__, str(error)
    except Exception as error:
        # the outer edge of the process: a decoder found what it cannot read, and said so in its own way
        answer = BrokenMedia.__name__, f"The file cannot be read ({type(error).__name__})."
    answers.send(answer)
