"""Store and activate threshold profiles, and turn the parameters of a request into options."""

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
    "UnprovenProfile",
    "activate",
    "active",
    "all_profiles",
    "changed_options",
    "default_mismatches",
    "delete",
    "find",
    "get",
    "load_named",
    "mismatches",
    "model_ids",
    "options_from",
    "save",
    "table",
    "thresholds",
]

#: the most names that an error sentence lists
MAX_LISTED_NAMES = 10


class UnprovenProfile(InvalidParameter):
    """A profile has thresholds of which no measurement shows that they reach the target recall.

    The sentences name each of them, and why it is not proven.

    Args:
        profile: the profile.
    """

    def __init__(self, profile: ThresholdProfile) -> None:
        super().__init__("profile", profile.name, "a profile whose thresholds are all proven")
        reasons = (
            f"{object_type.words} {profile.thresholds[object_type]:.4g} is not proven: {reason}."
            for object_type, reason in profile.unproven().items()
        )
        self.args = (" ".join([str(self), *reasons]),)


def options_from(params: Mapping[str, object]) -> tuple[Options, tuple[ObjectType, ...], list[str]]:
    """Turn the parameters of a request into options.

    A parameter wins over the profile, the profile over this server's defaults, and these over the built-in defaults.
    The parameter `profile` names the profile (`none`: no profile). Default: the active profile.

    Returns:
        The options, the object types to detect, and warnings.

    Raises:
        InvalidParameter: a value is not allowed, or there is no such profile.
    """
    profile = load_named(params["profile"]) if _has_profile(params) else active()
    defaults = settings.DEFAULT_OPTIONS | (profile.options() if profile else {})
    options, warnings = Options.from_params(params, defaults=defaults)
    types = options.object_types(engine.served_types())
    return options, types, warnings + mismatches(profile, options, types)


def changed_options(task: Task, changes: Mapping[str, object]) -> tuple[Options, tuple[ObjectType, ...], list[str]]:
    """Return the options of a task with changes, to run the task again.

    If the changes name a profile, the task's thresholds are dropped: nobody knows any more which of them the caller
    gave. The task's format is dropped, too, if it is the format of the task's profile.

    Args:
        task: the task to run again.
        changes: parameters as in `options_from`.

    Returns:
        The options, the object types to detect, and warnings.

    Raises:
        InvalidParameter: a value is not allowed, or there is no such profile.
    """
    old, new = dict(task.options), dict(changes)
    given: dict[str, object] = {}
    profile = before = find(task.profile)
    if not _has_profile(changes):
        # an empty value counts as not given, and does not mean `none`
        new.pop("profile", None)
    else:
        profile = load_named(changes["profile"])
        for object_type in OBJECT_TYPES:
            old.pop(f"{object_type}-threshold", None)
        if before is not None and before.format == Options.from_params(task.options)[0].image_format:
            old.pop("format", None)
            given = {name: value for name, value in settings.DEFAULT_OPTIONS.items() if name == "format"}
        given |= profile.options() if profile else {}
    options, warnings = Options.from_params(old | new, defaults=given)
    names_types = any(name.replace("_", "-") in OBJECT_TYPES for name in changes)
    types = options.object_types(engine.served_types()) if names_types else tuple(map(ObjectType, task.object_types))
    return options, types, warnings + mismatches(profile, options, types)


def mismatches(profile: ThresholdProfile | None, options: Options, types: tuple[ObjectType, ...]) -> list[str]:
    """Say how this server differs from the one where the profile's thresholds were chosen.

    Returns:
        A sentence for each difference, of models or of the format. Empty if there is none, or no profile.
    """
    return [] if profile is None else profile.mismatches(options, engine.store().keys(types))


def default_mismatches(profile: ThresholdProfile) -> list[str]:
    """Return the `mismatches` for a request with no other parameter than the profile."""
    options, _ = Options.from_params({}, defaults=settings.DEFAULT_OPTIONS | profile.options())
    return mismatches(profile, options, engine.served_types())


def active() -> ThresholdProfile | None:
    """Return the profile of requests that name no profile, or None if no profile is active.

    It is read from the database at each call, so that all processes see a change at once.
    """
    row = Profile.objects.filter(active=True).first()
    return None if row is None else ThresholdProfile.from_dict(row.data)


def all_profiles() -> list[tuple[ThresholdProfile, bool]]:
    """Return all profiles, sorted by name, and whether each is active."""
    return [(ThresholdProfile.from_dict(row.data), row.active) for row in Profile.objects.all()]


def find(name: str | None) -> ThresholdProfile | None:
    """Return the profile of this name, or None if there is none."""
    row = Profile.objects.filter(name=name).first() if name else None
    return None if row is None else ThresholdProfile.from_dict(row.data)


def get(name: str) -> ThresholdProfile:
    """Return the profile of this name.

    Raises:
        InvalidParameter: there is no such profile; the message lists the profiles that exist.
    """
    profile = find(profile_name("profile", name))
    if profile is None:
        raise InvalidParameter("profile", name, _known_names())
    return profile


def load_named(value: object) -> ThresholdProfile | None:
    """Return the profile that the value of the parameter `profile` names, or None for `none`.

    Raises:
        InvalidParameter: the value is not a valid name, or there is no such profile.
    """
    name = profile_name("profile", value)
    return get(name) if name else None


def save(profile: ThresholdProfile, *, replace: bool = False, accept_unproven: bool = False) -> ThresholdProfile:
    """Store a profile under its name.

    Args:
        profile: the current time is added if the profile has none.
        replace: whether an existing profile of the same name may be replaced. The new one is active if the old one was.
        accept_unproven: whether thresholds are accepted of which nothing shows that they reach the target recall.

    Returns:
        The profile as it is stored.

    Raises:
        UnprovenProfile: a threshold is not proven (`ThresholdProfile.unproven`), and this is not accepted.
        InvalidParameter: a profile of this name exists, and `replace` is false.
    """
    stored = dataclasses.replace(profile, created=profile.created or timezone.now().isoformat(timespec="seconds"))
    with transaction.atomic():
        if not replace and Profile.objects.filter(name=stored.name).exists():
            raise InvalidParameter(
                "name", stored.name, "a new name: a profile of this name exists, and --replace was not given"
            )
        if not accept_unproven:
            _refuse_unproven(stored)
        Profile.objects.update_or_create(name=stored.name, defaults={"data": stored.to_dict()})
    return stored


def activate(name: str | None, *, accept_unproven: bool = False) -> ThresholdProfile | None:
    """Use this profile as the default profile, or no profile for None. Earlier tasks keep their thresholds.

    Args:
        name: of the profile.
        accept_unproven: whether thresholds are accepted of which nothing shows that they reach the target recall.

    Raises:
        UnprovenProfile: a threshold is not proven (`ThresholdProfile.unproven`), and this is not accepted; nothing has
            changed.
        InvalidParameter: there is no such profile; nothing has changed.
    """
    with transaction.atomic():
        profile = None if name is None else get(name)
        if profile is not None and not accept_unproven:
            _refuse_unproven(profile)
        # lock all rows at once, so that the second of two activations waits: databases other than SQLite lock rows
        list(Profile.objects.select_for_update().values_list("pk"))
        Profile.objects.filter(active=True).update(active=False)
        if profile is not None:
            Profile.objects.filter(name=profile.name).update(active=True)
    return profile


def _refuse_unproven(profile: ThresholdProfile) -> None:
    if profile.unproven():
        raise UnprovenProfile(profile)


def delete(name: str) -> None:
    """Delete a profile.

    Raises:
        InvalidParameter: there is no such profile, or it is active.
    """
    profile = get(name)
    with transaction.atomic():
        if Profile.objects.filter(name=profile.name, active=True).exists():
            raise InvalidParameter("profile", profile.name, "a profile that is not active; activate another one first")
        Profile.objects.filter(name=profile.name).delete()


def thresholds(profile: ThresholdProfile) -> str:
    """Return the thresholds as text: "face 0.3, license plate 0.45"."""
    return ", ".join(f"{object_type.words} {value:.4g}" for object_type, value in profile.thresholds.items())


def table(profile: ThresholdProfile) -> list[tuple[str, ...]]:
    """Return all that a profile says of each object type as a table of texts: a heading, then rows."""
    columns = [
        {
            "threshold": value,
            "chosen with": model_ids(profile.models.get(object_type, "-")),
            **profile.figures.get(object_type, {}),
        }
        for object_type, value in profile.thresholds.items()
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    return [
        ("", *(object_type.words for object_type in profile.thresholds)),
        *((name.replace("_", " "), *(_cell(column.get(name)) for column in columns)) for name in names),
    ]


def model_ids(key: str) -> str:
    """Return the model ids in a key of `ModelStore.keys`, without the checksums."""
    return "+".join(part.split("@")[0] for part in key.split("+"))


def _cell(figure: Figure) -> str:
    if figure is None:
        return "-"
    return f"{figure:.4g}" if isinstance(figure, float) else str(figure)


def _has_profile(params: Mapping[str, object]) -> bool:
    return str(params.get("profile", "")).strip() != ""


def _known_names() -> str:
    names = list(Profile.objects.values_list("name", flat=True))
    if not names:
        return "the name of a profile, but there are no profiles here"
    more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
    return f"one of the profiles {', '.join(names[:MAX_LISTED_NAMES])}{more}"
