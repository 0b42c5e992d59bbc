"""`anonymizer folder` where there is no cluster; runs on one are in tests/bulk."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from anonymizer.bulk import cluster
from tests.pictures import encoded


def test_without_ray_it_is_the_local_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.jpg").write_bytes(encoded()[:900])
    with pytest.raises(CommandError, match=r"1 file\(s\) failed") as failed:
        call_command("folder", input=str(tmp_path / "in"), output=str(tmp_path / "out"), face="true")
    assert failed.value.returncode == 1
    assert "0 done, 0 skipped (have a result), 1 failed" in capsys.readouterr().out
    assert not (tmp_path / "out" / "_manifest").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"input": "s3://bucket/raw"},
            "--input s3://bucket/raw is no folder of this machine",
        ),
        ({"ray": "local", "num_cpus": 0.0}, "has a number that is too small"),
        ({"ray": "local", "face_threshold": "high"}, "face-threshold is 'high'"),
        ({"noise_key": Path("none")}, "--noise-key none cannot be read"),
        ({"noise_key": Path(__file__).parent / "__init__.py"}, "but must have 16 or more"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(given: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError) as error:
        call_command("folder", **{"input": str(tmp_path), "output": str(tmp_path / "out"), **given})
    assert sentence in str(error.value) and error.value.returncode == 2


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["folder", "evaluate"])
def test_a_machine_without_ray_is_told_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    given = {"input": str(tmp_path), "output": str(tmp_path / "out")}
    if name == "evaluate":
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "a.jpg").write_bytes(encoded())
        (tmp_path / "set" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        (tmp_path / "set" / "classes.txt").write_text("face\n")
        given = {"set": tmp_path / "set", "cache": tmp_path / "cache"}
    with pytest.raises(CommandError, match=r'pip install "anonymizer\[ray\]"') as error:
        call_command(name, ray="local", **given)
    assert error.value.returncode == 2
