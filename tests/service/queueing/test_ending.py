"""Processes that end with others, and the limits of a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from anonymizer.service.queueing import processes

#: starts a child, which starts a child, and prints the numbers of all
FAMILY = """
import os, subprocess, sys, time
from anonymizer.service.queueing.processes import die_with_parent, tie_children
parent = os.getpid()
subprocess.Popen(["sleep", "600"], preexec_fn=lambda: die_with_parent(parent))
tie_children()
if os.fork() == 0:
    if os.fork() == 0:
        print(os.getpid(), os.getppid(), flush=True)
    time.sleep(600)
time.sleep(600)
"""
LIMITED = """
import resource, numpy
from anonymizer.service.queueing.processes import limit_memory
limit_memory(500 * 2**20)
try:
    numpy.ones(2**30, numpy.uint8)
except MemoryError:
    print("refused", resource.getrlimit(resource.RLIMIT_CORE)[0])
numpy.ones(2**20, numpy.uint8)
"""


def family() -> tuple[subprocess.Popen[str], list[int]]:
    started = subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert started.stdout
    started.stdout.readline()
    members = processes.members(started.pid)
    assert len(members) == 4
    return started, members


def until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 5
    while any(processes.exists(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_children_and_their_children_die_with_a_killed_process() -> None:
    started, members = family()
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    until_gone(members)


def test_a_session_is_killed_whole_and_others_are_left_alone() -> None:
    started, members = family()
    assert sorted(processes.kill_session(started.pid)) == sorted(members)
    started.wait()
    until_gone(members)
    assert processes.exists(os.getpid())
    assert processes.kill_session(started.pid) == []


def test_an_allocation_above_the_limit_fails_and_leaves_no_core() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout == "refused 0\n"


def test_the_limit_is_a_share_of_the_memory_unless_it_is_set() -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert processes.memory_limit(300) == 300 * 2**20
    share = processes.memory_limit(0)
    assert share is not None and 0 < share <= processes.MEMORY_SHARE * whole
