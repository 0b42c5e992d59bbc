"""What each notebook must have produced: a new notebook needs an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CHECKS", "Check"]


@dataclass(frozen=True)
class Check:
    """What is asked of a notebook that has run on a small set.

    Attributes:
        code: Python that runs in the notebook's kernel after its last cell, with the notebook's own names.
        pictures: how many PNG pictures its outputs have at least.
        given: variables of its second cell, and what the test sets them to, as a user would.
    """

    code: str
    pictures: int
    given: Mapping[str, object] = field(default_factory=dict)


CHECKS: dict[str, Check] = {
    "01_quickstart": Check(
        pictures=9,
        code="""
import av
changed = (before != result.image).any(axis=2)
assert len(result.detections) > 0
for x1, y1, x2, y2 in result.detections.boxes.clip(0).astype(int):
    assert changed[y1:y2, x1:x2].mean() > 0.9, "an object is not redacted"
assert not changed[result.binary_mask == 0].any()
# WebP and JPEG lose a little when they are written: the file shows what was redacted, not the same values
written = load_image(OUT / picture.name)
assert written.shape == before.shape
assert np.abs(written.astype(int) - result.image).mean() < 5
for ending in ("binary-mask.png", "instance-mask.png", "json"):
    assert (OUT / f"{picture.stem}.{ending}").stat().st_size > 0
assert [each.state for each in again] == ["skipped"] * 3 + ["failed"]
assert sum(path.suffix == ".json" for path in anonymised.iterdir()) == 3
assert video.counts["person"] + video.counts["face"] > 0
with av.open(str(both)) as file:
    assert file.streams.video[0].frames == len(frames) == video.frames
""",
    ),
    "02_tune_thresholds": Check(
        pictures=10,
        code="""
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
assert len(labelled.images) == len(whole.images) == 15
written = ThresholdProfile.load(OUT / "my-pictures.json")
assert written.thresholds == profile.thresholds
assert {each: row["target"] for each, row in written.figures.items()}.items() <= TARGETS.items()
assert {each.object_type for each in choices if each.objects} == set(defaults)
assert tuner.profile("by-hand").thresholds and tuner.saved_profile is None
assert command.startswith("cd ") and f"{sys.executable} -m anonymizer profile create my-pictures" in command
assert "--replace --activate" in command
""",
    ),
    "03_evaluate_detections": Check(
        pictures=6,
        code="""
assert len(result.images) == len(labelled.images) == 15
assert {each.name for each in models} == {"installed", "centerface"}
page = file.read_text()
assert "<script src" not in page and "data:image/" in page and all(each.words in page for each in result.types)
assert all(sentence.replace("'", "&#39;") in page for each in report.summaries for sentence in each.sentences)
assert matrix.counts[:-1].sum() == sum(of_type.objects for of_type in result.types.values()) > 0
assert face_comparison.objects == result[ObjectType.FACE].objects > 0
assert [each.names for each in report.comparisons] == [("installed", "centerface")]
""",
    ),
    "04_video_tracking": Check(
        pictures=4,
        code="""
assert tracked.counts["person"] > 0 and tracks.of_type("person").tracks
assert kind is not None and counts.keys() == {0, 0.1, 0.2, 0.3}
assert (OUT / "without-with.mp4").stat().st_size > 0
# tracking only adds
assert on.review_counts["found"] + on.review_counts["filled_by_tracker"] >= off.review_counts["found"] > 0
assert all(each.tracked <= each.without for each in counts.values())
""",
    ),
    "05_redaction_strength": Check(
        pictures=4,
        code="""
assert all(of_type.values()), "no face or no license plate was found"
assert all(abs(each.remaining_similarity(Options(method="blacken"))) < 0.05 for each in cutouts)
assert all(each.remaining_similarity(Options(method="blur")) < 0.95 for each in cutouts)
""",
    ),
    "06_your_own_detector": Check(
        pictures=2,
        given={"STEPS": 8},
        code="""
assert weights.stat().st_size > 1e6 and weights.is_relative_to(OUT)
assert not {each.id for each in learn.images} & {each.id for each in judge.images}
assert TYPES and all(store.serves()[kind] == [MODEL_ID] or store.serves()[kind] == (MODEL_ID,) for kind in TYPES)
assert MODEL_ID in result.models and len(comparisons) == len(TYPES)
assert MODEL_ID not in (MODELS_FOLDER / "registry.toml").read_text()
assert few, "15 pictures should be too few to conclude from"
again = LabelledSet.read(OUT / "for-cvat")
assert [sum(len(each.boxes) for each in one.objects.values()) for one in again.images] == [
    len(one.objects) for one in detected
]
""",
    ),
    "07_service_client": Check(
        pictures=2,
        code="""
assert sum(task["detections"].values()) > 0
assert len(metadata["detections"]) == sum(task["detections"].values())
sent, received = load_image(pictures[0]), load_image(after)
assert sent.shape == received.shape and (sent != received).any()
assert [each["status"] for each in tasks] == ["done"] * len(pictures)
assert headers["X-Anonymizer-Event"] == "task.done" and announced["id"] not in [each["id"] for each in tasks]
assert movie["status"] == "done" and movie["detections"]["person"] > 0
assert target.stat().st_size > 0 and part.status_code == 416
assert [each.status_code for each in wrong] == [415, 400, 404]
assert gone.status_code == 410 and left == []
assert process.returncode == 0
try:
    requests.get(f"{SERVER}/healthz", timeout=5)
    raise AssertionError("the server still answers")
except requests.ConnectionError:
    pass
""",
    ),
    "08_bulk_on_ray": Check(
        pictures=2,
        given={"COUNT": 16},
        code="""
assert len(manifest) == COUNT + 1 and manifest.index.is_unique
assert list(manifest[manifest.error.notna()].index) == ["broken.jpg"]
assert COUNT / 2 < len(log) < COUNT and len(set(log)) == len(log)
stopped = {each for each in log if each != "broken.jpg"}
assert summary.skipped == len(stopped) and summary.done == COUNT - len(stopped) and summary.failed == 1
assert all((results / each).is_file() for each in manifest.result.dropna())
import ray
assert not ray.is_initialized()
""",
    ),
}
