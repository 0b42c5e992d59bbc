"""How far objects are enlarged by default."""

from __future__ import annotations

from anonymizer.pipeline.detected_object import ObjectType

__all__ = ["MARGINS"]

#: By type: how far an object is enlarged at full strength, as a share of its shorter side. Chosen with
#: benchmarks/coverage.py on val: found objects with more than a tenth bare, in percent, and the changed area.
#:                             .1          .2          .3
#:     face     fddb           6.3 2.03    1.2 2.03     .5 2.06
#:              wider          1.9 2.76     .4 2.76     .0 2.96
#:     plate    dashcam        3.1 1.58     .0 1.59     .0 1.67
#:              plates-world  11.1 2.03    2.5 2.03    2.5 2.17
#:              all four       5.4 1.82    1.3 1.83     .9 1.92
#:     person   street-masks   1.6 1.93    1.0 2.47    1.0 3.06
#:              coco           5.7 2.02    1.1 2.57     .0 3.17
#:     vehicle  street-masks   4.4 1.50    1.4 1.98     .3 2.52
MARGINS = {
    ObjectType.FACE: 0.2,
    ObjectType.LICENSE_PLATE: 0.3,
    ObjectType.PERSON: 0.2,
    ObjectType.VEHICLE: 0.2,
}
