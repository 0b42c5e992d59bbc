"""Threshold profiles of this server: kept, activated, and used where a caller's parameters become options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from anonymizer.models import Profile, Task
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import profile_name
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.options.threshold_profile import Figure, ThresholdProfile
from anonymizer.service import engine

__all__ = [
    "activate",
    "active",
    "changed",
    "delete",
    "doubts",
    "doubts_by_default",
    "every",
    "find",
    "get",
    "model_ids",
    "named",
    "options_from",
    "save",
    "table",
    "thresholds",
]

#: how many names a sentence has
NAMED = 10


def options_from(params: Mapping[str, object]) -> tuple[Options, tuple[ObjectType, ...], list[str]]:
    """What a caller asks for: parameters, then the profile, then this server's defaults, then the built-in ones.

    The profile is the one that `profile` names, none for `none`, and the active one where it is not given.

    Returns:
        The options, the object types to look for, and warnings.

    Raises:
        InvalidParameter: a value is not allowed, or there is no such profile.
    """
    profile = named(params["profile"]) if _names_one(params) else active()
    defaults = settings.DEFAULT_OPTIONS | (profile.options() if profile else {})
    options, warnings = Options.from_params(params, defaults=defaults)
    types = options.object_types(engine.served_types())
    return options, types, warnings + doubts(profile, options, types)


def changed(task: Task, changes: Mapping[str, object]) -> tuple[Options, tuple[ObjectType, ...], list[str]]:
    """What a task asked for, with changes, to run it again.

    Where they name a profile, the task's thresholds are forgotten, as which of them the caller gave is not known any
    more; so is its format, where it is that of the profile it had.

    Returns, Raises:
        As `options_from`.
    """
    old, new = dict(task.options), dict(changes)
    given: dict[str, object] = {}
    profile = before = find(task.profile)
    if not _names_one(changes):
        # empty: not given, and not a wish for none
        new.pop("profile", None)
    else:
        profile = named(changes["profile"])
        for each in OBJECT_TYPES:
            old.pop(f"{each}-threshold", None)
        if before is not None and before.format == Options.from_params(task.options)[0].format:
            old.pop("format", None)
            given = {name: value for name, value in settings.DEFAULT_OPTIONS.items() if name == "format"}
        given |= profile.options() if profile else {}
    options, warnings = Options.from_params(old | new, defaults=given)
    names_types = any(name.replace("_", "-") in OBJECT_TYPES for name in changes)
    types = options.object_types(engine.served_types()) if names_types else tuple(map(ObjectType, task.object_types))
    return options, types, warnings + doubts(profile, options, types)


def doubts(profile: ThresholdProfile | None, options: Options, types: tuple[ObjectType, ...]) -> list[str]:
    """Why the profile's thresholds may not do on this server what they did where they were chosen, a sentence each."""
    return [] if profile is None else profile.doubts(options, engine.store().keys(types))


def doubts_by_default(profile: ThresholdProfile) -> list[str]:
    """As `doubts`, of a request that gives no parameters but the profile."""
    options, _ = Options.from_params({}, defaults=settings.DEFAULT_OPTIONS | profile.options())
    return doubts(profile, options, engine.served_types())


def active() -> ThresholdProfile | None:
    """The profile that requests get which name none. Asked for each time, so that all processes see it at once."""
    row = Profile.objects.filter(active=True).first()
    return None if row is None else ThresholdProfile.from_dict(row.data)


def every() -> list[tuple[ThresholdProfile, bool]]:
    """All of them by name, and whether each is active."""
    return [(ThresholdProfile.from_dict(row.data), row.active) for row in Profile.objects.all()]


def find(name: str | None) -> ThresholdProfile | None:
    """A profile by its name; None where there is none, any longer."""
    row = Profile.objects.filter(name=name).first() if name else None
    return None if row is None else ThresholdProfile.from_dict(row.data)


def get(name: str) -> ThresholdProfile:
    """A profile by its name.

    Raises:
        InvalidParameter: there is none of this name; the sentence names those that there are.
    """
    profile = find(profile_name("profile", name))
    if profile is None:
        raise InvalidParameter("profile", name, _known())
    return profile


def named(value: object) -> ThresholdProfile | None:
    """The profile that a parameter's value names; None for `none`.

    Raises:
        InvalidParameter: it is no name, or there is none of this name.
    """
    name = profile_name("profile", value)
    return get(name) if name else None


def save(profile: ThresholdProfile, *, replace: bool = False) -> ThresholdProfile:
    """Keep a profile under its name, with the time where it has none; one that takes the active one's place is active.

    Raises:
        InvalidParameter: there is one of this name, and it is not to be replaced.
    """
    kept = dataclasses.replace(profile, created=profile.created or timezone.now().isoformat(timespec="seconds"))
    with transaction.atomic():
        if not replace and Profile.objects.filter(name=kept.name).exists():
            raise InvalidParameter("name", kept.name, "a new one: there is such a profile, and --replace was not given")
        Profile.objects.update_or_create(name=kept.name, defaults={"data": kept.to_dict()})
    return kept


def activate(name: str | None) -> ThresholdProfile | None:
    """Have requests that name no profile get this one; None: no one. What came in before keeps what it had.

    Raises:
        InvalidParameter: there is none of this name; nothing has changed.
    """
    with transaction.atomic():
        profile = None if name is None else get(name)
        # all rows at once, so that of two that activate the later one waits: databases other than SQLite lock rows
        list(Profile.objects.select_for_update().values_list("pk"))
        Profile.objects.filter(active=True).update(active=False)
        if profile is not None:
            Profile.objects.filter(name=profile.name).update(active=True)
    return profile


def delete(name: str) -> None:
    """Forget a profile.

    Raises:
        InvalidParameter: there is none of this name, or it is active.
    """
    profile = get(name)
    with transaction.atomic():
        if Profile.objects.filter(name=profile.name, active=True).exists():
            raise InvalidParameter("profile", profile.name, "one that is not active: activate another one, or none")
        Profile.objects.filter(name=profile.name).delete()


def thresholds(profile: ThresholdProfile) -> str:
    """Its thresholds in words: "face 0.3, license plate 0.45"."""
    return ", ".join(f"{each.words} {value:.4g}" for each, value in profile.thresholds.items())


def table(profile: ThresholdProfile) -> list[tuple[str, ...]]:
    """What a profile says of each object type, in words: a heading, then rows of as many cells."""
    columns = [
        {"threshold": value, "chosen with": model_ids(profile.models.get(each, "-")), **profile.figures.get(each, {})}
        for each, value in profile.thresholds.items()
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    return [
        ("", *(each.words for each in profile.thresholds)),
        *((name.replace("_", " "), *(_words(column.get(name)) for column in columns)) for name in names),
    ]


def model_ids(key: str) -> str:
    """The ids in a key of `ModelStore.keys`, without the sums."""
    return "+".join(part.split("@")[0] for part in key.split("+"))


def _words(figure: Figure) -> str:
    if figure is None:
        return "-"
    return f"{figure:.4g}" if isinstance(figure, float) else str(figure)


def _names_one(params: Mapping[str, object]) -> bool:
    return str(params.get("profile", "")).strip() != ""


def _known() -> str:
    names = list(Profile.objects.values_list("name", flat=True))
    if not names:
        return "the name of a profile, and there are no profiles here"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"one of the profiles {', '.join(names[:NAMED])}{more}"
