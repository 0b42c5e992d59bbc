"""Read the keys of many rows in batches, so that no cursor is open while the caller writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from django.db.models import Model, QuerySet

__all__ = ["BATCH_ROWS", "key_batches"]

#: rows that one transaction changes: it must end long before the time limit of other writers
BATCH_ROWS = 100
#: Seconds between two batches. A writer of SQLite that waits looks at the lock again only after up to a tenth of a
#: second: without a pause, a long row of short transactions would leave it no turn.
PAUSE_S = 0.1


def key_batches(rows: QuerySet[Any], size: int = BATCH_ROWS) -> Iterator[list[Any]]:
    """Return the primary keys of the rows in batches, in their order.

    SQLite refuses to write in a connection that still reads. Each batch is therefore a query of its own.
    Rows that are added after the first batch are left out, so the loop always ends.

    Args:
        rows: any query; its order is not used.
        size: the largest number of keys in a batch, at least 1.
    """
    last: Model | None = rows.order_by("-pk").values_list("pk", flat=True).first()
    if last is None:
        return
    rest = rows.filter(pk__lte=last).order_by("pk").values_list("pk", flat=True)
    keys = list(rest[:size])
    while keys:
        yield keys
        keys = list(rest.filter(pk__gt=keys[-1])[:size])
        if keys:
            time.sleep(PAUSE_S)
