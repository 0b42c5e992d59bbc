"""Threshold profiles in the service: which thresholds a request gets, and which profile is the active one."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from anonymizer.models import FileKind, Profile, Status, Task
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.formats import Auto, Pano, Whole
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.options.threshold_profile import ThresholdProfile
from anonymizer.service import profiles, work
from anonymizer.service.reports import report
from tests.fakes import FakeDetector
from tests.videos import moving_square

pytestmark = pytest.mark.django_db(transaction=True)
FACE, PLATE, PERSON, VEHICLE = ObjectType


def stored_profile(name: str = "street", **values: Any) -> ThresholdProfile:
    values = {"thresholds": {FACE: 0.2, PERSON: 0.1}} | values
    return profiles.save(ThresholdProfile(name=name, **values), accept_unproven=True)


def activate(name: str | None) -> None:
    profiles.activate(name, accept_unproven=True)


def options_of(**params: object) -> Options:
    return profiles.options_from(params)[0]


@pytest.fixture(autouse=True)
def served(detector: FakeDetector, settings: Any) -> None:
    """All four types, from a model with the key fake@1."""
    settings.DEFAULT_OPTIONS = {}


# --- which thresholds a request gets ---


def test_a_named_profile_gives_what_is_not_given() -> None:
    stored_profile(format=Auto())
    options = options_of(**{"profile": "street", "person-threshold": "0.7"})
    assert (options.face_threshold, options.person_threshold, options.vehicle_threshold) == (0.2, 0.7, 0.4)
    # videos stay as they are by default
    assert (options.image_format, options.video_format, options.profile) == (Auto(), Whole(), "street")
    assert options_of(profile="STREET", format="whole").format == Whole()


def test_the_deprecated_threshold_is_one_that_is_given() -> None:
    stored_profile(thresholds={FACE: 0.2, PERSON: 0.1, VEHICLE: 0.15})
    options = options_of(**{"profile": "street", "segmentation-threshold": "0.6"})
    assert (options.face_threshold, options.person_threshold, options.vehicle_threshold) == (0.2, 0.6, 0.6)


def test_the_active_profile_is_for_requests_that_name_none(settings: Any) -> None:
    settings.DEFAULT_OPTIONS = {"format": "pano:4096"}
    stored_profile("day", format=Auto())
    stored_profile("night", thresholds={FACE: 0.05})
    assert options_of() == Options(format=Pano(4096))
    activate("day")
    assert (options_of().profile, options_of().face_threshold, options_of().image_format) == ("day", 0.2, Auto())
    assert options_of().video_format == Whole()
    assert options_of(profile="  ").profile == "day"
    assert (options_of(profile="night").face_threshold, options_of(profile="night").format) == (0.05, Pano(4096))
    assert options_of(profile="None") == Options(format=Pano(4096))


def test_the_active_profile_costs_one_query() -> None:
    stored_profile()
    activate("street")
    with CaptureQueriesContext(connection) as queries:
        options_of()
    assert len(queries) == 1


def test_an_unknown_profile_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidParameter, match=r"profile is 'day', but must be .*no profiles here"):
        options_of(profile="day")
    for n in range(12):
        stored_profile(f"p{n:02}")
    with pytest.raises(InvalidParameter) as caught:
        options_of(profile="day")
    assert "one of the profiles p00, p01" in str(caught.value)
    assert "p09 and 2 more" in str(caught.value)
    assert "p10" not in str(caught.value)


def test_a_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"profile is '\.\./day', but must be a name of at most 63 letters"):
        options_of(profile="../day")


def test_thresholds_of_other_models_are_used_with_a_warning() -> None:
    stored_profile(models={FACE: "fake@1", PERSON: "old@7"})
    options, types, warnings = profiles.options_from({"profile": "street"})
    assert types == tuple(ObjectType)
    assert options.person_threshold == 0.1
    (warning,) = warnings
    assert "person threshold of profile street was chosen with old@7" in warning
    assert "uses fake@1" in warning
    # nobody looks for persons
    assert profiles.options_from({"profile": "street", "face": "1"})[2] == []


# --- what becomes of it ---


def test_a_task_keeps_what_it_came_in_with(upload: Callable[..., Task]) -> None:
    task = upload(**stored_profile(thresholds={FACE: 0.25}).options())
    kept_options = dict(task.options)
    profiles.save(ThresholdProfile(name="street", thresholds={FACE: 0.9}), replace=True, accept_unproven=True)
    work.process(str(task.pk))
    task = Task.objects.get(pk=task.pk)
    assert (task.status, task.options, task.detections["face"]) == (Status.DONE, kept_options, 2)
    assert report(task)["profile"] == "street"
    metadata = task.file(FileKind.METADATA)
    assert metadata is not None
    assert json.loads(metadata.read())["profile"] == "street"


def test_without_a_profile_none_is_named(upload: Callable[..., Task]) -> None:
    task = upload()
    work.process(str(task.pk))
    task = Task.objects.get(pk=task.pk)
    assert report(task)["profile"] is None
    metadata = task.file(FileKind.METADATA)
    assert metadata is not None
    assert json.loads(metadata.read())["profile"] is None


def test_each_frame_of_a_video_names_the_profile(upload: Callable[..., Task], tmp_path: Path) -> None:
    task = upload(moving_square(tmp_path / "a.mp4", seconds=0.2).read_bytes(), face=True, profile="street")
    assert work.process(str(task.pk)) == "done"
    metadata = Task.objects.get(pk=task.pk).file(FileKind.METADATA)
    assert metadata is not None
    assert [frame["profile"] for frame in json.loads(metadata.read())] == ["street"] * 5


# --- running again ---


def test_a_new_profile_takes_the_place_of_the_old_thresholds() -> None:
    stored_profile("day", thresholds={FACE: 0.2, PLATE: 0.15}, format=Auto())
    stored_profile("night", thresholds={FACE: 0.05})
    task = Task(options=options_of(profile="day", method="blacken").as_params(), object_types=["face"])
    options, types, _ = profiles.changed_options(task, {"profile": "night"})
    assert options == options_of(profile="night", method="blacken")
    assert types == (FACE,)
    assert profiles.changed_options(task, {"profile": "none"})[0] == Options(method="blacken")
    # chosen anew under the same name
    profiles.save(ThresholdProfile(name="day", thresholds={FACE: 0.3}), replace=True, accept_unproven=True)
    again = profiles.changed_options(task, {"profile": "day"})[0]
    assert (again.face_threshold, again.license_plate_threshold) == (0.3, 0.5)


def test_what_the_line_gives_wins_over_the_new_profile() -> None:
    stored_profile("night", thresholds={FACE: 0.05, PERSON: 0.1})
    task = Task(options={"face-threshold": 0.7}, object_types=["face"])
    options, types, _ = profiles.changed_options(task, {"profile": "night", "face_threshold": "0.9", "person": "1"})
    assert (options.face_threshold, options.person_threshold, options.profile) == (0.9, 0.1, "night")
    assert types == (PERSON,)


def test_a_format_of_the_callers_own_stays() -> None:
    stored_profile("day", format=Auto())
    stored_profile("night", format=Whole())
    task = Task(options=options_of(profile="day", format="pano:4096").as_params(), object_types=["face"])
    options, _, warnings = profiles.changed_options(task, {"profile": "night"})
    assert options.format == Pano(4096)
    assert "chosen with format whole, but pano:4096 is used" in warnings[0]
    # the old profile's goes with it
    task = Task(options=options_of(profile="day").as_params(), object_types=["face"])
    assert profiles.changed_options(task, {"profile": "night"})[0].format == Whole()


def test_without_a_new_profile_all_stays_though_another_is_active_or_it_is_gone() -> None:
    stored_profile("day")
    stored_profile("night", thresholds={FACE: 0.05})
    task = Task(options=options_of(profile="day").as_params(), object_types=["face"])
    activate("night")
    profiles.delete("day")
    options, _, _ = profiles.changed_options(task, {"method": "pixelate", "profile": ""})
    assert (options.face_threshold, options.profile, options.method) == (0.2, "day", "pixelate")


# --- keeping ---


def test_what_is_kept_comes_back_with_the_time() -> None:
    profile = stored_profile(models={FACE: "a@1"}, figures={FACE: {"recall": 0.9}}, target_recall=0.9)
    assert profile.created
    assert profiles.get("Street") == profile
    assert profiles.all_profiles() == [(profile, False)]


def test_a_name_that_is_taken_is_replaced_only_where_that_is_asked_for() -> None:
    first = stored_profile()
    activate("street")
    with pytest.raises(InvalidParameter, match=r"name is 'street'.*--replace"):
        stored_profile(thresholds={FACE: 0.9})
    assert profiles.get("street") == first
    second = profiles.save(ThresholdProfile(name="street", thresholds={FACE: 0.9}), replace=True, accept_unproven=True)
    assert profiles.active() == second


def test_one_is_active_or_none() -> None:
    stored_profile("day"), stored_profile("night")
    for name in ("day", "night", "night"):
        activate(name)
        assert [row.name for row in Profile.objects.filter(active=True)] == [name]
    with pytest.raises(InvalidParameter, match="profile is 'noon'"):
        activate("noon")
    assert profiles.active() == profiles.get("night")
    profiles.activate(None)
    assert profiles.active() is None


def test_the_database_refuses_a_second_active_one() -> None:
    stored_profile("day"), stored_profile("night")
    activate("day")
    with pytest.raises(IntegrityError), transaction.atomic():
        Profile.objects.filter(name="night").update(active=True)


def test_many_that_activate_at_once_leave_one_active() -> None:
    names = [stored_profile(f"p{n}").name for n in range(6)]
    failed: list[BaseException] = []
    together = threading.Barrier(len(names))

    def activate_often(name: str) -> None:
        try:
            together.wait()
            for _ in range(5):
                activate(name)
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=activate_often, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert Profile.objects.filter(active=True).count() == 1


def test_a_profile_that_is_not_proven_is_neither_saved_nor_activated_by_itself() -> None:
    proven = {"verdict": "reached"}
    both = ThresholdProfile(name="both", thresholds={FACE: 0.2, PERSON: 0.1}, figures={FACE: proven})
    with pytest.raises(profiles.UnprovenProfile, match=r"person 0\.1 is not proven: it has no verdict") as caught:
        profiles.save(both)
    assert "face" not in str(caught.value)
    assert not Profile.objects.exists()
    profiles.save(both, accept_unproven=True)
    with pytest.raises(profiles.UnprovenProfile):
        profiles.activate("both")
    assert profiles.active() is None

    good = dataclasses.replace(both, name="good", figures={FACE: proven, PERSON: proven})
    profiles.save(good)
    profiles.activate("good")
    assert profiles.active() == profiles.get("good")
    # what replaces the active one is active at once
    with pytest.raises(profiles.UnprovenProfile):
        profiles.save(dataclasses.replace(good, figures={}), replace=True)
    assert profiles.active() == profiles.get("good")


def test_the_active_one_is_not_deleted() -> None:
    stored_profile()
    activate("street")
    with pytest.raises(InvalidParameter, match="not active"):
        profiles.delete("street")
    profiles.activate(None)
    profiles.delete("street")
    with pytest.raises(InvalidParameter, match="profile is 'street'"):
        profiles.delete("street")


def test_all_that_is_known_of_each_type_is_in_the_table() -> None:
    profile = stored_profile(
        models={FACE: "a@1~f+b@2"},
        figures={FACE: {"recall": 0.98765, "verdict": "reached"}, PERSON: {"recall": None, "objects": 12}},
    )
    assert profiles.table(profile) == [
        ("", "face", "person"),
        ("threshold", "0.2", "0.1"),
        ("chosen with", "a+b", "-"),
        ("recall", "0.9877", "-"),
        ("verdict", "reached", "-"),
        ("objects", "-", "12"),
    ]
