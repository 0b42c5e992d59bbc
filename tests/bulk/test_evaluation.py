"""`evaluate --ray` on a cluster of two nodes: the figures of the plain command, but for what batches change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from anonymizer.bulk.local_cluster import LocalCluster

pytestmark = [
    pytest.mark.slow,
    # Ray sets its own deprecated settings when it copies them
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


def figures(folder: Path, data: Path, *arguments: str) -> dict[str, Any]:
    """What the command writes as JSON, with a cache of its own."""
    folder.mkdir()
    call_command(
        "evaluate", "--set", str(data / "val.json"), "--source", "fddb", "cars", "--limit", "12", "--device", "cpu",
        "--model", "embedded", "--cache", str(folder / "cache.sqlite3"), "--json", str(folder / "figures.json"),
        *arguments,
    )  # fmt: skip
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return found


def test_the_figures_of_a_cluster_are_those_of_the_plain_command(
    cluster: LocalCluster, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.add_node()
    try:
        on_cluster = figures(tmp_path / "cluster", data, "--ray", "auto")
        # all came from the cluster: nothing was left for this process
        assert "detecting" not in capsys.readouterr().err
    finally:
        cluster.kill_node()
    plain = figures(tmp_path / "plain", data)
    assert "detecting" in capsys.readouterr().err
    found, expected = (each["models"][0]["types"] for each in (on_cluster, plain))
    assert {kind: row["objects"] for kind, row in found.items()} == {
        kind: row["objects"] for kind, row in expected.items()
    }
    for kind, row in expected.items():
        # actors take one image at a time, and the plain command several: networks in bfloat16 differ a little
        assert found[kind]["recall"]["value"] == pytest.approx(row["recall"]["value"], abs=0.05), kind
        assert row["recall"]["value"] > 0.5
