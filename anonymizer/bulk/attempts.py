"""How often files were begun and not finished: a file that kills its process must not kill processes for ever.

Ray runs the batches of a lost node or a dead process again. One process counts, so that the third death during the same
file is the outcome of this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["MOST_ATTEMPTS", "AttemptLedger", "start_ledger"]

#: so many times the work on a file may end with the process that did it
MOST_ATTEMPTS = 3


class AttemptLedger:
    """Counts the attempts on each file that is in work."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begun(self, names: Sequence[str]) -> list[int]:
        """How many attempts on each file were begun and did not end."""
        return [self._begun[name] for name in names]

    def begin(self, names: Sequence[str]) -> list[int]:
        """Count an attempt on each file; returns how many were begun before and did not end."""
        before = self.begun(names)
        self._begun.update(names)
        return before

    def end(self, names: Sequence[str]) -> None:
        """Forget files whose work has ended, in whatever way."""
        for name in names:
            self._begun.pop(name, None)


def start_ledger() -> Any:
    """Start the ledger as an actor on the machine of the driver, with which it ends."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(AttemptLedger).remote()
