"""`Options`: query strings, keyword arguments and what is wrong with them."""

from __future__ import annotations

import pytest

from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.formats import Auto, Pano, Thorough, Tiles, Whole
from anonymizer.pipeline.options.options import KeepMetadata, Method, Options, SaveMask, parameters
from anonymizer.pipeline.options.regions import Region


def read(**params: str) -> Options:
    return Options.from_params(params)[0]


def test_the_real_clients_query_string_is_understood() -> None:
    query = (
        "debug=False&score=False&save_mask=&watermark=False&method=blur&face=True&license_plate=False&person=False"
        "&vehicle=False&format=whole&bbox=False&quality=0&ignores=[]"
    )
    options, warnings = Options.from_params(dict(part.split("=") for part in query.split("&")))
    assert options.object_types() == (ObjectType.FACE,)
    assert options == Options(face=True, license_plate=False, person=False, vehicle=False, format=Whole())
    assert warnings == ["'watermark' is not a known parameter and was ignored."]


def test_images_are_looked_at_twice_and_videos_once_unless_the_client_names_a_format() -> None:
    assert (read().image_format, read().video_format) == (Auto(), Whole())
    for form in (Whole(), Auto(), Thorough()):
        assert (read(format=str(form)).image_format, read(format=str(form)).video_format) == (form, form)
    # the format that a client names is kept with a task, though it may be a default
    assert read(format="whole").as_params() == {"format": "whole"}
    assert read(format="").as_params() == {}


def test_an_empty_value_counts_as_not_given() -> None:
    assert read(save_mask="", method=" ", face_threshold="") == Options()


@pytest.mark.parametrize("name", ["license-plate-threshold", "license_plate_threshold"])
def test_names_are_written_with_either_line(name: str) -> None:
    assert Options.from_params({name: "0.25"})[0].license_plate_threshold == 0.25


@pytest.mark.parametrize("text", ["true", "True", "1", "YES", "on"])
def test_true_is_written_in_many_ways(text: str) -> None:
    assert read(bbox=text).bbox is True


@pytest.mark.parametrize("text", ["false", "FALSE", "0", "no", "Off"])
def test_false_is_written_in_many_ways(text: str) -> None:
    assert read(bbox=text).bbox is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("whole", Whole()),
        ("auto", Auto()),
        ("Thorough", Thorough()),
        ("pano:4096", Pano(4096)),
        ('{"number": [3, 2], "overlap": [0.1, 0.2]}', Tiles(3, 2, 0.1, 0.2)),
    ],
)
def test_formats(text: str, expected: object) -> None:
    assert read(format=text).format == expected


def test_ignores_are_rectangles() -> None:
    text = '[{"topLeftX": 1, "topLeftY": 2, "width": 3, "height": 4}]'
    assert read(ignores=text).ignores == (Region(1, 2, 3, 4),)


def test_the_deprecated_threshold_sets_persons_and_vehicles_that_are_not_given() -> None:
    options, warnings = Options.from_params({"segmentation-threshold": "0.2", "person-threshold": "0.6"})
    assert (options.person_threshold, options.vehicle_threshold) == (0.6, 0.2)
    assert "deprecated" in warnings[0]


def test_what_the_server_defaults_to_is_overridden_by_the_request() -> None:
    defaults = {"format": "auto", "save_mask": "none"}
    options, _ = Options.from_params({"save-mask": "binary"}, defaults=defaults)
    assert (options.format, options.save_mask) == (Auto(), SaveMask.BINARY)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("face-threshold", "2", "from 0 to 1"),
        ("face-threshold", "abc", "from 0 to 1"),
        ("face-threshold", "nan", "from 0 to 1"),
        ("face-threshold", "inf", "from 0 to 1"),
        ("method", "erase", "blur, pixelate, blacken, detect"),
        ("save-mask", "both", "all, binary, instance, none"),
        ("bbox", "maybe", "true, false"),
        ("ignores", "[{]", "JSON list"),
        ("ignores", "7", "JSON list"),
        ("ignores", '[{"topLeftX": 1e999, "topLeftY": 0, "width": 3, "height": 4}]', "JSON list"),
        ("format", '{"number": [1e999, 1]}', "pano:WIDTH"),
        ("ignores", '{"topLeftX": 1}', "JSON list"),
        ("ignores", '[{"topLeftX": -1, "topLeftY": 0, "width": 3, "height": 4}]', "from 0 up"),
        ("ignores", '[{"topLeftX": 1.5, "topLeftY": 0, "width": 3, "height": 4}]', "whole pixels"),
        ("ignores", "[" * 5000, "JSON list"),
        ("format", "pano:12", "512 to 32768"),
        ("format", '{"number": [0, 1], "overlap": [0, 0]}', "1 to 32"),
        ("format", '{"number": [2, 1], "overlap": [0.95, 0]}', "0 to 0.9"),
        ("format", "tiles", "whole, auto, thorough"),
        ("quality", "101", "from 1 to 100"),
        ("compress-level", "10", "from 0 to 9"),
        ("mask-scale", "0", "from 1 to 100"),
        ("kernel-size-face", "0", "above 0"),
        ("kernel-size-person", "-1", "from 0"),
        ("margin", "1.5", "from 0 to 1"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Options.from_params({name: value})
    sentence = str(caught.value)
    assert sentence.startswith(name)
    assert repr(value)[:40].rstrip("'") in sentence
    assert allowed in sentence
    assert len(sentence) < 400


def test_keyword_arguments_are_validated_as_well() -> None:
    with pytest.raises(InvalidParameter, match="person_threshold is '7'"):
        Options(person_threshold=7)


def test_no_type_named_means_every_served_one() -> None:
    assert Options().object_types() == OBJECT_TYPES
    assert Options().object_types((ObjectType.FACE,)) == (ObjectType.FACE,)


def test_a_type_that_is_not_served_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"person is 'true'.*serves face only"):
        Options(person=True).object_types((ObjectType.FACE,))


def test_looking_for_nothing_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="at least one"):
        Options(face=False).object_types()


def test_options_survive_being_written_down() -> None:
    options = Options(
        method=Method.PIXELATE,
        face=True,
        ignores=(Region(0, 1, 2, 3),),
        format=Tiles(2, 2, 0.25, 0.25),
        kernel_size_face=0.5,
        save_mask=SaveMask.NONE,
        quality=80,
    )
    assert Options.from_params(options.as_params())[0] == options


def test_every_parameter_of_the_contract_is_there() -> None:
    contract = (
        "method face license-plate person vehicle bbox debug score ignores face-threshold license-plate-threshold "
        "person-threshold vehicle-threshold format no-object-tracking keep-bit-rate quality compress-level save-mask "
        "mask-scale kernel-size-face kernel-size-license-plate kernel-size-person kernel-size-vehicle "
        "face-anonymization-gradient-start face-anonymization-gradient-stop "
        "license-plate-anonymization-gradient-start license-plate-anonymization-gradient-stop strip-metadata "
        "keep-metadata"
    ).split()
    assert set(contract) <= set(parameters())


def test_strip_metadata_is_another_name_for_keep_metadata_none() -> None:
    stripped = Options(strip_metadata=True)
    assert Options().keep_metadata == "technical"
    assert stripped.keep_metadata == "none"
    assert Options(keep_metadata=KeepMetadata.NONE) == stripped
    assert Options.from_params(stripped.as_params()) == (stripped, [])
    assert Options.from_params({"keep_metadata": "ALL"})[0].keep_metadata is KeepMetadata.ALL
    both, warnings = Options.from_params({"keep-metadata": "all", "strip-metadata": "yes"})
    assert both == stripped
    assert warnings == ["keep-metadata=all has no effect: strip-metadata is true."]
    with pytest.raises(InvalidParameter, match=r"^keep-metadata is 'some', but must be one of all, technical, none"):
        Options.from_params({"keep-metadata": "some"})


def test_errors_name_a_parameter_as_it_was_given() -> None:
    with pytest.raises(InvalidParameter, match=r"^face_threshold is '2', but must be a number from 0 to 1"):
        Options(face_threshold=2)
    with pytest.raises(InvalidParameter, match=r"^face-threshold is '2', but must be a number from 0 to 1"):
        Options.from_params({"face_threshold": "2"})
    with pytest.raises(TypeError, match="unknown"):
        Options(unknown=1)  # type: ignore[call-arg]


def test_a_long_value_is_shown_shortened() -> None:
    regions = [{"topLeftX": 0, "topLeftY": 0, "width": 10, "height": 10}] * 50
    assert len(repr(Options(ignores=regions))) < 100
