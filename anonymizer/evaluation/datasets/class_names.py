"""Which object type a name in a labelled set means."""

from __future__ import annotations

import re
from collections.abc import Iterable

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["known_type", "types_named"]

_FACE, _PLATE, _PERSON, _VEHICLE = OBJECT_TYPES

#: Names that common data sets and tools use (COCO, Open Images, Pascal VOC, KITTI, Cityscapes, BDD100K, VisDrone, WIDER
#: FACE, public plate sets). A head is no face: it is labelled from behind as well. Boats and aircraft are no vehicles
#: to the detectors here, and not on the road.
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
#: Whether these count as the type is open: neither to be found nor to be missed. The box of a cyclist holds the bicycle
#: as well as the person.
_IGNORED = {
    _PERSON: "crowd, person group, cyclist, bicyclist, motorcyclist, biker",
    _VEHICLE: "bicycle, bike, scooter, train, tram, on rails, streetcar, tractor",
}
_IRREGULAR = {"buses": "bus", "lorries": "lorry"}


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


_TABLE = {
    _bare(name): (object_type, ignored)
    for table, ignored in ((_NAMES, False), (_IGNORED, True))
    for object_type, names in table.items()
    for name in names.split(",")
}


def known_type(name: str) -> tuple[ObjectType, bool] | None:
    """The type, and whether such objects are ignored; None where the name is unknown.

    Args:
        name: in any case, in the plural too, with whatever between its words.
    """
    bare = _bare(name)
    bare = _IRREGULAR.get(bare, bare)
    return _TABLE.get(bare) or _TABLE.get(bare.removesuffix("s"))


def types_named(names: Iterable[str]) -> tuple[ObjectType, ...]:
    """The types that are meant by any of the names, other than to be ignored."""
    found = {known[0] for name in names if (known := known_type(name)) and not known[1]}
    return tuple(each for each in OBJECT_TYPES if each in found)
