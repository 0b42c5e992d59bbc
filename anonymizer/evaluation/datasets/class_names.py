"""Translate the class names of labelled sets to object types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["LEFT_OUT", "ClassNames", "parse_class_name", "types_of_class_names"]

#: what a map gives for a class name whose labels are left out without a problem
LEFT_OUT = "none"

_FACE, _PLATE, _PERSON, _VEHICLE = OBJECT_TYPES

#: Names that common data sets and tools use: COCO, Open Images, Pascal VOC, KITTI, Cityscapes, BDD100K, VisDrone, WIDER
#: FACE, and public sets of license plates. A head is not a face, because heads are also labelled from behind. Boats and
#: aircraft are not vehicles: the detectors here do not detect them, and they are not on the road.
_NAMES = {
    _FACE: "face, human face, person face",
    _PLATE: """license plate, licence plate, license, licence, number plate, plate, lp, plate number, car plate,
        registration plate, vehicle registration plate, vehicle license plate, vehicle licence plate,
        car license plate, car licence plate""",
    _PERSON: """person, pedestrian, people, human, human body, man, woman, men, women, boy, girl, child, children,
        adult, rider, person sitting, walker, passer by""",
    _VEHICLE: """vehicle, car, automobile, auto, taxi, bus, minibus, coach, truck, lorry, pickup, pickup truck,
        fire truck, heavy truck, van, minivan, suv, jeep, sedan, hatchback, ambulance, police car, caravan, trailer,
        motorbike, motorcycle, motor, moped, motor scooter, tricycle, awning tricycle, rickshaw, auto rickshaw,
        motor vehicle, land vehicle, other vehicle, large vehicle, small vehicle""",
}
#: Names of objects that may or may not count as the type: they are ignored, neither hits nor misses. For example, the
#: box of a cyclist contains the bicycle as well as the person.
_IGNORED_NAMES = {
    _PERSON: "crowd, person group, cyclist, bicyclist, motorcyclist, biker",
    _VEHICLE: "bicycle, bike, scooter, train, tram, on rails, streetcar, tractor",
}
_IRREGULAR_PLURALS = {"buses": "bus", "lorries": "lorry"}


def _normalize(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


_TYPE_OF_NAME = {
    _normalize(name): (object_type, ignored)
    for table, ignored in ((_NAMES, False), (_IGNORED_NAMES, True))
    for object_type, names in table.items()
    for name in names.split(",")
}


def parse_class_name(name: str) -> tuple[ObjectType, bool] | None:
    """Translate a class name of a labelled set.

    Args:
        name: singular or plural; case, spaces and punctuation do not matter.

    Returns:
        The object type, and whether objects with this name are ignored; None if the name is unknown.

    Examples:
        >>> parse_class_name("License_Plates")
        (<ObjectType.LICENSE_PLATE: 'license-plate'>, False)
    """
    normalized = _normalize(name)
    normalized = _IRREGULAR_PLURALS.get(normalized, normalized)
    return _TYPE_OF_NAME.get(normalized) or _TYPE_OF_NAME.get(normalized.removesuffix("s"))


def types_of_class_names(names: Iterable[str]) -> tuple[ObjectType, ...]:
    """Get the object types that a list of class names stands for, without names of ignored objects.

    Args:
        names: the class names of a labelled set.
    """
    return ClassNames().types(names)


class ClassNames:
    """What the class names of a labelled set mean: those of a map, and the known ones.

    Args:
        given: by class name, an object type, or `none` for labels that are left out. Case, spaces and punctuation of
            the class name do not matter. Default: no map.

    Raises:
        ValueError: a name is given something else.

    Examples:
        >>> ClassNames({"visage": "face"}).parse("Visage")
        (<ObjectType.FACE: 'face'>, False)
    """

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        self._given: dict[str, ObjectType | None] = {}
        for name, value in (given or {}).items():
            if value != LEFT_OUT and value not in OBJECT_TYPES:
                allowed = ", ".join(OBJECT_TYPES)
                raise ValueError(f"the class {name!r} is mapped to {value!r}, but must be {allowed} or {LEFT_OUT}")
            self._given[_normalize(name)] = None if value == LEFT_OUT else ObjectType(value)

    def parse(self, name: str) -> tuple[ObjectType, bool] | None:
        """Translate a class name; see `parse_class_name`. The map comes first."""
        if (key := _normalize(name)) in self._given:
            given = self._given[key]
            return None if given is None else (given, False)
        return parse_class_name(name)

    def is_left_out(self, name: str) -> bool:
        """Tell whether the map leaves the labels of a class out."""
        return self._given.get(_normalize(name), ...) is None

    def types(self, names: Iterable[str]) -> tuple[ObjectType, ...]:
        """Get the object types that a list of class names stands for, without names of ignored objects."""
        parsed = [entry for name in names if (entry := self.parse(name))]
        known = {object_type for object_type, ignored in parsed if not ignored}
        return tuple(object_type for object_type in OBJECT_TYPES if object_type in known)
