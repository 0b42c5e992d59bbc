"""The Ray cluster: how it is reached, and how many actors of which size work on it."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from anonymizer.pipeline.image_batches import BATCH_IMAGES

if TYPE_CHECKING:
    from ray.data import ActorPoolStrategy

__all__ = [
    "LOCAL",
    "OBJECT_BYTES",
    "ActorPool",
    "BulkFailed",
    "connected",
    "prepare_local",
    "quiet_data",
    "require_ray",
]

#: in place of an address: a cluster of this machine alone, which ends with the run
LOCAL = "local"
#: bytes of memory for objects of a local cluster: only names and rows go through it
OBJECT_BYTES = 100_000_000
#: Ray reads these when it is imported. It reports no usage, and prints nothing about its own actors.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
#: Ray takes 127.0.0.1 for the address of this machine: whoever reaches a cluster can run programs on it
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
#: actors have the priority of the processes of `anonymizer run`; Ray's default is nice 15
_LOCAL = _ENVIRONMENT | _LOOPBACK | {"RAY_worker_niceness": "0"}


class BulkFailed(RuntimeError):
    """The run cannot start or go on; `str(error)` is a sentence for the caller."""


@dataclass(frozen=True)
class ActorPool:
    """How the actors that hold the models share the cluster.

    Attributes:
        num_cpus: cores of each actor, which is also the number of its threads.
        num_gpus: GPUs of each actor; 0.5 lets two actors share one. With 0, networks run on the CPU.
        actors: the most actors; default: as many as the cluster has room for when the run starts.
        batch_files: images that an actor takes at a time; they are what a lost node costs at most twice over.
        detector_batch: images that go through the detectors together; default: 8 on a GPU, 1 on a CPU, which gains
            nothing from more.
        video_cpus: cores of an actor for videos; default: `num_cpus`.
    """

    num_cpus: float = 1
    num_gpus: float = 0
    actors: int | None = None
    batch_files: int = 16
    detector_batch: int | None = None
    video_cpus: float | None = None

    def __post_init__(self) -> None:
        given = (self.num_cpus, self.actors, self.batch_files, self.detector_batch, self.video_cpus)
        if self.num_gpus < 0 or any(number is not None and number <= 0 for number in given):
            raise ValueError(f"{self} has a number that is too small")

    @property
    def threads(self) -> int:
        """Threads of each actor."""
        return max(1, int(self.num_cpus))

    @property
    def together(self) -> int:
        """Images that go through the detectors together."""
        return self.detector_batch or (BATCH_IMAGES if self.num_gpus else 1)

    def of_videos(self) -> ActorPool:
        """The pool for videos: each is a task of its own."""
        return replace(self, num_cpus=self.video_cpus or self.num_cpus, batch_files=1)

    def strategy(self, batches: int) -> ActorPoolStrategy:
        """Choose the number of actors.

        Args:
            batches: how many there are to work on.

        Returns:
            A pool that may shrink to one actor: after the loss of a node, actors that have ended make room for those
            that start again.

        Raises:
            BulkFailed: the cluster has no room for one actor.
        """
        import ray
        from ray.data import ActorPoolStrategy

        has = ray.cluster_resources()
        fit = int(has.get("CPU", 0) / self.num_cpus)
        if self.num_gpus:
            fit = min(fit, int(has.get("GPU", 0) / self.num_gpus))
        if fit < 1:
            raise BulkFailed(
                f"An actor needs {self.num_cpus:g} CPU(s) and {self.num_gpus:g} GPU(s), but the cluster has "
                f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}."
            )
        count = max(1, min(self.actors or fit, fit, batches))
        return ActorPoolStrategy(min_size=1, max_size=count, initial_size=count, max_tasks_in_flight_per_actor=2)


def require_ray() -> None:
    """Make sure that Ray is installed.

    Raises:
        BulkFailed: it is not.
    """
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise BulkFailed('Ray is not installed: pip install "anonymizer[ray]".')


def prepare_local() -> None:
    """Set what a cluster of this machine needs, before Ray is imported.

    Raises:
        BulkFailed: Ray is imported already, so that its cluster would be open to other machines.
    """
    if "ray" in sys.modules and not sys.modules["ray"].is_initialized():
        wrong = [f"{name}={value}" for name, value in _LOOPBACK.items() if os.environ.get(name) != value]
        if wrong:
            raise BulkFailed(f"Ray was imported before: set {' '.join(wrong)} before that, or call ray.init yourself.")
    os.environ.update(_LOCAL)
    # actors run the code that this process runs, wherever it lies: Ray hands no search path on
    here = str(Path(__file__).resolve().parents[2])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if here not in (sysconfig.get_path("purelib"), *paths):
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, paths)])


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, until the block ends. A connection that is there already is used, and stays.

    Args:
        address: `local`, `auto`, `HOST:PORT`, or `ray://HOST:PORT`.

    Raises:
        BulkFailed: Ray is not installed, or the cluster cannot be reached.
    """
    require_ray()
    if address == LOCAL:
        prepare_local()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    local = {"include_dashboard": False, "object_store_memory": OBJECT_BYTES} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:
        # whatever Ray raises: it has no common class for it
        raise BulkFailed(f"The Ray cluster {address} cannot be reached: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def quiet_data() -> Iterator[None]:
    """Let Ray Data print nothing of its own until the block ends: the caller shows the progress of files."""
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with DataContext.current(context):
            yield
    finally:
        log.setLevel(level)
