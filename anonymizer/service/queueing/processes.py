"""Processes that end together: children that die with their parent, and the end of a whole group. Nothing here asks a
database."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = [
    "die_with_parent",
    "exists",
    "host",
    "kill_session",
    "limit_memory",
    "members",
    "memory_limit",
    "tie_children",
]

#: of prctl(2)
_PR_SET_PDEATHSIG = 1
#: how long killed processes may take to be gone; the system ends them, so it is a matter of milliseconds
KILL_S = 5.0
#: the share of the memory that one worker may take, where no other limit is set
MEMORY_SHARE = 0.85
#: of a container, as version 2 and version 1 of control groups show them
_CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def _prctl() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)


def die_with_parent(parent: int) -> None:
    """Have the system kill this process as soon as its parent has ended, however the parent ends.

    A system without prctl(2) leaves this out; there the processes are ended by those that watch them.

    Args:
        parent: the number of the parent process. If it has ended already, this process ends at once.
    """
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def tie_children() -> None:
    """Have every process that this one forks die with the process that forked it."""
    forking = [os.getpid()]

    def remember() -> None:
        forking[0] = os.getpid()

    # found now: a child must not load a library
    _prctl()
    os.register_at_fork(before=remember, after_in_child=lambda: die_with_parent(forking[0]))


@functools.cache
def host() -> str:
    """Return the name of this machine, with a code of its start and of the container.

    Process numbers may be compared only where this is the same: another start or another container counts anew.
    """
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    code = hashlib.blake2b("/".join(parts).encode(), digest_size=6).hexdigest()
    return f"{socket.gethostname()[:70]}:{code}"


def exists(pid: int) -> bool:
    """Return whether a process of this machine lives. One that has ended and was not waited for does not live."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def members(session: int) -> list[int]:
    """Return the numbers of the living processes of a session, as `start_new_session` begins one.

    Args:
        session: the number of the process that began the session; it may have ended.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        stat = _stat(int(folder.name))
        if len(stat) > 3 and stat[0] not in ("Z", "X") and int(stat[3]) == session:
            found.append(int(folder.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, group, session ...; none if there is no such
    process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def kill_session(session: int, *, spare: int = 0) -> list[int]:
    """Kill all processes of a session, and wait until they are gone.

    Args:
        session: the number of the process that began it.
        spare: a process that is left alone.

    Returns:
        The numbers of the killed processes.
    """
    killed: list[int] = []
    deadline = time.monotonic() + KILL_S
    # a process may fork while the others are being killed: look again until nobody is left
    while (left := [pid for pid in members(session) if pid != spare]) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed += [pid for pid in left if pid not in killed]
        time.sleep(0.01)
    return killed


def limit_memory(most_bytes: int | None) -> None:
    """Limit the memory of this process, and keep its content out of core dumps.

    An allocation above the limit fails in the one task that asks for it. Without a limit the system would choose a
    process to kill.

    Args:
        most_bytes: the most private memory. None: as much as the system gives.
    """
    # a dump of a crashed decoder would hold the pictures of the task
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if most_bytes is not None:
        # RLIMIT_DATA and not RLIMIT_AS: drivers of GPUs reserve more addresses than any machine has memory
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def memory_limit(megabytes: int) -> int | None:
    """Return the limit for `limit_memory`, in bytes.

    Args:
        megabytes: what the operator has set. 0: a share of the memory of this machine, or of this container.
    """
    if megabytes:
        return megabytes * 2**20
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CONTAINER_LIMITS:
        with suppress(OSError, ValueError):
            # "max" is no number
            sizes.append(int(Path(file).read_text()))
    return int(MEMORY_SHARE * min(sizes))
