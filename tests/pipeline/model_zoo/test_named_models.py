"""Models as people name them."""

from __future__ import annotations

import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.named_models import named_models

FACE, PLATE, PERSON, VEHICLE = OBJECT_TYPES


@pytest.mark.parametrize(
    ("text", "types", "serving"),
    [
        ("centerface", (FACE,), {FACE: ("centerface",)}),
        ("own-2", (PLATE, PERSON, VEHICLE, FACE), dict.fromkeys(OBJECT_TYPES, ("own-2",))),
        ("embedded", OBJECT_TYPES, {FACE: ("centerface", "own-3"), PLATE: ("own-3",)}),
        ("face=own-2", (FACE,), {FACE: ("own-2",)}),
        ("face=own-2,vehicle=own-2", (FACE, VEHICLE), {FACE: ("own-2",), VEHICLE: ("own-2",)}),
        ("embedded,face=centerface", OBJECT_TYPES, {FACE: ("centerface",), PLATE: ("own-3",)}),
        ("masks=own-masks", OBJECT_TYPES, {}),
    ],
)
def test_a_name_says_which_models_serve_and_what_they_are_judged_by(
    text: str, types: tuple[ObjectType, ...], serving: dict[ObjectType, tuple[str, ...]]
) -> None:
    store, judged_by = named_models(text)
    assert set(judged_by) == set(types)
    assert {each: store.serves()[each] for each in serving} == serving


@pytest.mark.parametrize("text", ["nothing", "own-masks", "", "nothing,face=own-2"])
def test_an_unknown_name_is_named_with_what_there_is(text: str) -> None:
    with pytest.raises(DetectorFailed) as raised:
        named_models(text)
    assert repr(text) in str(raised.value)
    for known in ("embedded", "recommended"):
        assert known in str(raised.value)


def test_an_unknown_model_for_a_type_is_named() -> None:
    with pytest.raises(DetectorFailed, match=r"face may be served by .*, not by 'nothing'"):
        named_models("face=nothing")
