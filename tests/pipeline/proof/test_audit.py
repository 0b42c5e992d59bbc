"""`anonymizer audit`: any folder, ours or not, with and without the originals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anonymizer import Anonymizer, Detections, Options
from anonymizer.management.commands import audit as command
from anonymizer.pipeline.audit.folder import AuditedFile, Grade, audit_file
from tests.fakes import FakeDetector, FakeStore
from tests.pictures import encoded
from tests.pipeline.proof.test_pictures import textured
from tests.pipeline.video.test_sabotage import made

FACES = ((20, 20, 80, 90), (200, 60, 260, 130))


@dataclass
class TwoFaces(FakeDetector):
    """Detects a clear and a faint face wherever it looks, also where they are redacted."""

    scores: Sequence[float] = field(default=(0.9, 0.3))

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        found = Detections(np.array(FACES, np.float32), np.array(self.scores), [0, 0], ["fake"] * 2)
        return [found] * len(images)


@pytest.fixture
def anonymizer(monkeypatch: pytest.MonkeyPatch) -> Anonymizer:
    store = FakeStore(TwoFaces())
    monkeypatch.setattr(command, "ModelStore", lambda *_, **__: store)
    return Anonymizer(store=store, noise_key=b"key")


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    folder = tmp_path / "originals"
    (folder / "trip").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded(textured(1)))
    (folder / "trip" / "b.png").write_bytes(encoded(textured(2), "PNG"))
    return folder


@pytest.fixture
def results(anonymizer: Anonymizer, originals: Path, tmp_path: Path) -> Path:
    """Results of ours: the faint face is redacted in b.png only."""
    out = tmp_path / "out"
    for name, threshold in (("a.jpg", 0.5), ("trip/b.png", 0.2)):
        result = anonymizer.image(originals / name, Options(face_threshold=threshold))
        result.save(out / name)
        result.save_extras((out / name).parent, Path(name).name)
    return out


def audited(anonymizer: Anonymizer, path: Path, original: Path | None = None) -> AuditedFile:
    return audit_file(anonymizer.engine, path, Options(), original=original, frames=5)


@pytest.mark.parametrize("method", ["blur", "pixelate", "blacken"])
@pytest.mark.parametrize("with_original", [True, False])
def test_what_is_bare_is_a_finding_and_what_is_redacted_is_not(
    anonymizer: Anonymizer, originals: Path, tmp_path: Path, method: str, with_original: bool
) -> None:
    anonymizer.image(originals / "a.jpg", Options(method=method)).save(tmp_path / "half.jpg")
    anonymizer.image(originals / "a.jpg", Options(method=method, face_threshold=0.2)).save(tmp_path / "all.jpg")
    original = originals / "a.jpg" if with_original else None
    half = audited(anonymizer, tmp_path / "half.jpg", original)
    (finding,) = half.findings
    assert (half.error, half.redacted, finding.grade, finding.box) == ("", 1, Grade.FAINT, FACES[1])
    assert finding.left is None if original is None else finding.left is not None and finding.left > 0.5
    assert audited(anonymizer, tmp_path / "all.jpg", original).findings == ()
    bare = audited(anonymizer, originals / "a.jpg", original)
    assert [found.grade for found in bare.findings] == [Grade.CLEAR, Grade.FAINT]


def test_an_original_of_another_size_is_compared_and_one_of_another_shape_is_an_error(
    anonymizer: Anonymizer, results: Path, originals: Path, tmp_path: Path
) -> None:
    large, tall = tmp_path / "large.png", tmp_path / "tall.png"
    textured(1).resize((640, 480), Image.Resampling.BICUBIC).save(large)
    textured(1).resize((240, 320)).save(tall)
    (finding,) = audited(anonymizer, results / "a.jpg", large).findings
    assert finding.box == FACES[1]
    assert "has another shape" in audited(anonymizer, results / "a.jpg", tall).error
    (results / "broken.jpg").write_bytes(encoded()[:700])
    assert audited(anonymizer, results / "broken.jpg").error


@pytest.mark.slow
def test_videos_are_looked_at_in_some_frames(anonymizer: Anonymizer, tmp_path: Path) -> None:
    clip = made(tmp_path / "clip.mp4", 12)
    result = anonymizer.video(clip, tmp_path, Options(face=True, save_mask="none"))
    assert result.anonymised is not None
    for original in (None, clip):
        outcome = audited(anonymizer, result.anonymised, original)
        assert (outcome.error, outcome.frames, outcome.redacted) == ("", 5, 5)
        assert {(found.box, found.grade) for found in outcome.findings} == {(FACES[1], Grade.FAINT)}
        times = [found.time_s for found in outcome.findings]
        assert len(set(times)) == 5
        assert all(time is not None and 0 <= time < 0.5 for time in times)
    longer = made(tmp_path / "short.mp4", 3)
    assert "has other frames" in audited(anonymizer, result.anonymised, longer).error


def run(*words: object) -> int:
    try:
        command.Command().run_from_argv(["anonymizer", "audit", *map(str, words)])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_tells_by_its_exit_code(
    results: Path, originals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(results / "trip", "--face") == 0
    # the masks beside the results are no pictures to audit
    assert "1 file(s) audited, 0 finding(s)" in capsys.readouterr().err
    assert run(results, "--against", originals, "--face") == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"faint {results}/a.jpg: face, score 0.30, 60 x 70 pixels at x 200, y 60, keeps ")
    assert run(originals, "--against", originals) == 1
    grades = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert grades == ["clear", "clear", "faint", "faint"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_command_prints_json_and_errors_come_before_findings(
    results: Path, originals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (results / "more.jpg").write_bytes(encoded(textured(3)))
    assert run(results, "--against", originals, "--json", "--face") == 2
    lines = {Path(line["file"]).name: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    states = {name: line["state"] for name, line in lines.items()}
    assert states == {"a.jpg": "findings", "b.png": "clean", "broken.jpg": "error", "more.jpg": "error"}
    (finding,) = lines["a.jpg"]["findings"]
    assert (finding["grade"], finding["type"], finding["size"], finding["time"]) == ("faint", "face", 60, None)
    assert "no original of this name" in lines["more.jpg"]["error"]
    for wrong in ([tmp_path / "none"], [results, "--frames", "0"], [results, "--face-threshold", "7"], []):
        assert run(*wrong) == 2
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 2
