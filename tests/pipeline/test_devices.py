"""Names of devices."""

from __future__ import annotations

import subprocess
import sys

import pytest

from anonymizer import Anonymizer
from anonymizer.pipeline.devices import check_device, resolve_device
from anonymizer.pipeline.errors import DetectorFailed, InvalidParameter
from anonymizer.pipeline.model_zoo.store import ModelStore
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_known_names_are_accepted(name: str) -> None:
    assert check_device(name) == name


@pytest.mark.parametrize("name", ["gpu", "", "CPU", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps", "cuda:0\n", None, 0])
def test_other_names_are_refused_at_once_with_what_is_allowed(name: str) -> None:
    for make in (Anonymizer, ModelStore, lambda device: resolve_device(device)):
        with pytest.raises(InvalidParameter, match=r"^device is .*, but must be auto, cpu, cuda or cuda:N\.$"):
            make(device=name)


def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(DetectorFailed, match="device is 'cuda:99', but this machine has"):
        resolve_device("cuda:99")


def test_the_name_is_checked_without_torch() -> None:
    script = """
import sys
from anonymizer.pipeline.devices import check_device
check_device("cuda:1")
assert "torch" not in sys.modules, "torch was imported"
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
