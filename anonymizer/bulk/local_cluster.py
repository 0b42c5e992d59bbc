"""A Ray cluster of several nodes on this machine, to try what happens when one of them is lost."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from anonymizer.bulk.cluster import OBJECT_BYTES, prepare_local, require_ray

__all__ = ["LocalCluster"]

#: so often the start of a node is tried
_STARTS = 3
_NODE = {"object_store_memory": OBJECT_BYTES, "node_ip_address": "127.0.0.1"}


class LocalCluster:
    """A cluster whose nodes are processes of this machine; only this machine can reach them.

    Examples:
        >>> with LocalCluster(nodes=2) as cluster:
        ...     anonymise("photos", output="out")

    Args:
        nodes: how many.
        cpus: cores that each node offers.

    Raises:
        BulkFailed: Ray is not installed, or was imported before.
    """

    def __init__(self, nodes: int = 2, *, cpus: float = 1) -> None:
        require_ray()
        prepare_local()
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.ERROR)
        self._cpus = cpus
        # a short path: that of a socket has 107 bytes at most
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        head = {"num_cpus": cpus, "include_dashboard": False, "temp_dir": self._folder, **_NODE}
        # not at once with the head: what has begun can be closed
        self._cluster = Cluster()
        _patiently(lambda: self._cluster.add_node(**head))
        self._others: list[Any] = []
        for _ in range(nodes - 1):
            self.add_node()

    def __enter__(self) -> Self:
        """Connect this process to it."""
        import ray

        ray.init(self._cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The address for other drivers."""
        return str(self._cluster.address)

    def add_node(self) -> None:
        """Start another node."""
        self._others.append(_patiently(lambda: self._cluster.add_node(num_cpus=self._cpus, **_NODE)))

    def kill_node(self) -> None:
        """Kill the node that was added last, with all that runs on it, as when a machine loses its power."""
        self._cluster.remove_node(self._others.pop(), allow_graceful=False)

    def close(self) -> None:
        """Disconnect, and end all nodes."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


def _patiently(start: Callable[[], Any]) -> Any:
    """Start a node: on a busy machine it may not be ready in the 30 seconds that Ray waits for it."""
    for _ in range(_STARTS - 1):
        with suppress(Exception):
            return start()
    return start()
