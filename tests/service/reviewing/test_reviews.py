"""Reviews of images: the real pipeline on a real database, with a detector that is passed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from anonymizer.models import File, FileKind, ResultVersion, Status, Task
from anonymizer.pipeline.errors import InvalidParameter, StorageAway
from anonymizer.pipeline.review.edits import parse_review
from anonymizer.service import deletion, work
from anonymizer.service.reviewing import leases, renders, versions
from anonymizer.service.reviewing.errors import NoOriginal, NotReviewable, VersionConflict
from tests.fakes import FakeDetector
from tests.pictures import decoded

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(task: Task) -> Task:
    return Task.objects.prefetch_related("files").get(pk=task.pk)


def done(upload: Callable[..., Task], **options: Any) -> Task:
    task = upload(method="blacken", margin=0.0, face_anonymization_gradient_start=0.0, **options)
    assert work.process(str(task.pk)) == "done"
    return fresh(task)


def reviewed(task: Task, **body: Any) -> Task:
    """Send a review, and render it if it changes something."""
    if versions.review(fresh(task), parse_review(body), "client:tester"):
        version = ResultVersion.objects.filter(task=task).first()
        assert version is not None
        assert renders.render(str(version.pk)) == "done", fresh(task).review_status
    return fresh(task)


def rows(task: Task, version: int | None = None) -> list[dict[str, Any]]:
    stored = task.file(FileKind.METADATA, version)
    assert stored is not None
    return list(json.loads(stored.read())["detections"])


def pixels(task: Task, version: int | None = None) -> Any:
    stored = task.file(FileKind.ANONYMISED, version)
    assert stored is not None
    return decoded(stored.read())


def test_a_review_makes_a_version_without_detecting_again(upload: Any, detector: FakeDetector) -> None:
    task, calls = done(upload), detector.calls
    before = pixels(task)
    assert [row["type_label"] for row in rows(task)] == ["face", "license-plate"]
    task = reviewed(
        task, add=[{"type": "person", "box": [200, 150, 230, 200]}], drop=[{"id": 0}], comment="one was a lamp"
    )
    assert detector.calls == calls
    assert (task.version, task.review_status, task.status) == (2, None, Status.DONE)
    assert task.detections["person"] == 1
    assert task.detections["face"] == 0
    assert [row["type_label"] for row in rows(task)] == ["license-plate", "person"]
    after = pixels(task)
    assert after[160:190, 205:225].mean() < 20
    assert before[25:65, 25:55].mean() < 20
    assert after[25:65, 25:55].mean() > 30
    # the first version is still there, byte for byte
    assert (pixels(task, 1) == before).all()
    assert [row["type_label"] for row in rows(task, 1)] == ["face", "license-plate"]
    mask = task.file(FileKind.BINARY_MASK)
    assert mask is not None
    assert decoded(mask.read())[160:190, 205:225].min() == 255


def test_thresholds_visible_objects_and_methods_add_up_over_versions(upload: Any, detector: FakeDetector) -> None:
    task = done(upload)
    calls = detector.calls
    task = reviewed(task, thresholds={"face": 0.25})
    assert [round(row["score"], 1) for row in rows(task)] == [0.9, 0.7, 0.3]
    task = reviewed(task, visible=[{"id": 1}], change=[{"id": 2, "method": "pixelate", "kernel_size": 0.5}])
    assert [row["is_anonymised"] for row in rows(task)] == [True, False, True]
    assert rows(task)[1]["mask_rle"] is None
    assert (rows(task)[2]["method"], rows(task)[2]["kernel_size"]) == ("pixelate", 0.5)
    assert task.detections["license-plate"] == 0
    # the file is a JPEG
    assert pixels(task)[30:60, 25:55].mean() < 20
    assert pixels(task)[55:85, 205:235].mean() > 30
    receipt = task.file(FileKind.RECEIPT)
    assert receipt is not None
    named = json.loads(receipt.read())["receipt"]["review"]
    assert (named["version"], named["visible"]) == (3, ["c1"])
    assert detector.calls == calls


def test_a_candidate_below_the_threshold_is_taken(upload: Any) -> None:
    task = done(upload)
    with pytest.raises(InvalidParameter, match="take is 'candidate 9', but must be an id of the candidates"):
        reviewed(task, take=[{"candidate": 9}])
    task = reviewed(task, take=[{"candidate": 2}])
    assert [(round(row["score"], 1), row["source"]) for row in rows(task)][2] == (0.3, "detector")
    assert task.detections["face"] == 2
    assert versions.listing(task)[0]["taken"] == 1
    assert pixels(task)[55:85, 205:235].mean() < 20
    task = reviewed(task, drop=[{"id": 2}])
    assert task.detections["face"] == 1
    assert reviewed(task, take=[{"candidate": 2}]).detections["face"] == 2


def test_an_earlier_version_comes_back_and_the_next_review_starts_from_it(upload: Any) -> None:
    task = reviewed(done(upload), drop=[{"id": 0}])
    task = reviewed(task, restore=1)
    assert (task.version, task.detections["face"]) == (1, 1)
    task = reviewed(task, drop=[{"id": 1}])
    assert task.version == 3
    assert [row["type_label"] for row in rows(task)] == ["face"]
    listed = versions.listing(task)
    assert [(row["version"], row["base"], row["served"], row["dropped"]) for row in listed] == [
        (3, 1, True, 1), (2, 1, False, 1), (1, None, False, 0),
    ]  # fmt: skip


def test_what_a_review_cannot_do_is_said(upload: Any, settings: Any) -> None:
    task = done(upload)
    with pytest.raises(InvalidParameter, match="drop is 'id 7', but must be an id of the current version's"):
        reviewed(task, drop=[{"id": 7}])
    with pytest.raises(InvalidParameter, match="restore is '4'"):
        reviewed(task, restore=4)
    with pytest.raises(VersionConflict, match="of version 2, but the current version is 1"):
        reviewed(task, drop=[{"id": 0}], base=2)
    assert versions.review(task, parse_review({"drop": [{"id": 0}]}), "anonymous")
    with pytest.raises(NotReviewable, match="is being rendered"):
        versions.review(fresh(task), parse_review({"drop": [{"id": 1}]}), "anonymous")
    settings.KEEP_ORIGINALS = False
    with pytest.raises(NoOriginal):
        reviewed(done(upload), drop=[{"id": 0}])


def test_a_review_that_fails_leaves_the_version_before_it(upload: Any, monkeypatch: Any) -> None:
    task = done(upload)
    versions.review(task, parse_review({"drop": [{"id": 0}]}), "anonymous")
    (version,) = ResultVersion.objects.filter(number=2)
    original = fresh(task).file(FileKind.ORIGINAL)
    assert original is not None
    original.storage.delete(original.key)
    assert renders.render(str(version.pk)).startswith("failed")
    task = fresh(task)
    assert (task.version, task.status) == (1, Status.DONE)
    assert "FileNotFound" in str(task.review_status)
    assert len(rows(task)) == 2
    assert File.objects.filter(version=2).count() == 0


def test_a_lost_worker_is_replaced_and_a_review_that_loses_many_fails(upload: Any, settings: Any) -> None:
    task = done(upload)
    versions.review(task, parse_review({"drop": [{"id": 0}]}), "anonymous")
    version = ResultVersion.objects.get(number=2)
    ResultVersion.objects.filter(pk=version.pk).update(leases=settings.MAX_LEASES)
    assert leases.recover() == 0
    assert fresh(task).review_status == "The worker was lost 3 times while it rendered this review."
    task = reviewed(task, drop=[{"id": 0}])
    assert (task.version, task.review_status) == (3, None)


def test_deletion_leaves_no_version(upload: Any, media: Any) -> None:
    task = reviewed(done(upload), drop=[{"id": 0}])
    deletion.delete_files(task)
    assert not ResultVersion.objects.exists()
    assert not File.objects.exists()
    assert not [path for path in media.rglob("*") if path.is_file() and "sqlite" not in path.name]


def test_a_review_waits_while_the_storage_is_away(upload: Any, detector: FakeDetector, monkeypatch: Any) -> None:
    task = done(upload)
    assert versions.review(fresh(task), parse_review({"drop": [{"id": 0}]}), "client:tester")
    version = ResultVersion.objects.get(task=task, number=2)

    def away(*args: object) -> None:
        raise StorageAway

    with monkeypatch.context() as patch:
        patch.setattr(File, "read", away)
        assert "the review waits" in renders.render(str(version.pk))
    version.refresh_from_db()
    assert (version.status, version.leases, version.lease_until) == ("rendering", 0, None)
    assert fresh(task).version == 1
    assert renders.render(str(version.pk)) == "done"
    assert fresh(task).version == 2


def test_a_reviewed_version_is_looked_at_again_but_not_what_was_left_visible(
    upload: Any, detector: FakeDetector
) -> None:
    task = done(upload)
    # the look at a result finds what reaches half of a threshold: the faint face, which nobody has decided about
    Task.objects.filter(pk=task.pk).update(options=fresh(task).options | {"verify": "true"})
    calls = detector.calls
    task = reviewed(task, visible=[{"id": 0}], drop=[{"id": 1}])
    assert detector.calls > calls
    assert [(row["type_label"], row["source"], row["is_anonymised"]) for row in rows(task)] == [
        ("face", "detector", False), ("face", "verification", True),
    ]  # fmt: skip
    assert any("looked at again" in warning for warning in task.warnings)
    # the next review can name what the look has found, and nothing brings it back
    task = reviewed(task, drop=[{"id": 1}])
    assert [row["source"] for row in rows(task)] == ["detector"]
    assert pixels(task)[55:85, 205:235].mean() > 30
    # a find is one below half of the lowered threshold's score only where nobody has raised the threshold
    task = reviewed(task, thresholds={"face": 0.95})
    assert rows(task) == []


def test_a_strict_look_fails_the_review_and_the_version_before_stays(upload: Any) -> None:
    task = done(upload)
    Task.objects.filter(pk=task.pk).update(options=fresh(task).options | {"verify": "strict"})
    assert versions.review(fresh(task), parse_review({"visible": [{"id": 0}]}), "client:tester")
    version = ResultVersion.objects.get(task=task, number=2)
    assert renders.render(str(version.pk)).startswith("failed: ")
    assert fresh(task).version == 1
    # with a decision on the faint face, nothing is left to find
    task = reviewed(task, visible=[{"id": 0}], take=[{"candidate": 2}])
    assert task.version == 3
