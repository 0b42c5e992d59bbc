"""Connections to PostgreSQL: given back to the pool where a thread only waits, and never shared over a fork.

A child that used a connection of its parent would mix its answers with those of the parent.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from django.db import connection, connections

from anonymizer.service.queueing import notices

__all__ = ["close_connections", "forget_in_children", "give_back"]

#: what a child inherited is kept, because its end would close the connection of the parent
_inherited: list[Any] = []


@functools.cache
def forget_in_children() -> None:
    """Have each process that is forked from now on forget the connections and pools that it inherits."""
    os.register_at_fork(after_in_child=_forget)


def give_back() -> None:
    """Leave this thread's connection to others, if it is one of a pool and no transaction is open."""
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        connection.close()


def close_connections() -> None:
    """Close the connections of this thread, and the pool of this process. The next query connects again."""
    for each in connections.all(initialized_only=True):
        each.close()
        if each.vendor == "postgresql":
            each.close_pool()  # type: ignore[attr-defined]


def _forget() -> None:
    notices.forget()
    for each in connections.all(initialized_only=True):
        if each.vendor == "postgresql":
            _inherited.append((each, each.connection, dict(each._connection_pools)))  # type: ignore[attr-defined]
            each._connection_pools.clear()  # type: ignore[attr-defined]
            # the next use makes a new one
            del connections[each.alias]
