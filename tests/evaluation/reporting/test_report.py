"""The page for people: whole in itself, right in its figures, and safe with any name."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from anonymizer.evaluation.datasets.issues import ProblemKind
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.reporting.report import write_report
from anonymizer.evaluation.reporting.summary import summarise
from anonymizer.evaluation.thresholds.choose import choose_thresholds
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import Picture, evaluate_pictures

pytestmark = pytest.mark.slow

FACE, PLATE, PERSON, VEHICLE = ObjectType
BOX, OTHER, ELSEWHERE = (10, 10, 30, 40), (40, 0, 140, 98), (150, 50, 170, 80)
#: elements that have no end
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """What is in a page; elements that are not closed are a fault."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def values(self, name: str) -> list[str]:
        return [value for attribute, value in self.attributes if attribute == name]

    @property
    def photos(self) -> list[str]:
        return [each for each in self.values("src") if each.startswith("data:image/jpeg")]


def pictures(hits: int = 6) -> list[Picture]:
    """Ten pictures with two faces, of which some are found, and one false face."""
    return [
        {FACE: ([BOX, OTHER], [(*BOX, 0.9), *([(*OTHER, 0.8)] if number < hits else [(*ELSEWHERE, 0.7)])])}
        for number in range(10)
    ]


def page(folder: Path, *made: EvaluationResult, **given: object) -> Page:
    file = folder / "report.html"
    write_report(file, made, **given)  # type: ignore[arg-type]
    return Page(file.read_text(encoding="utf-8"))


def test_it_needs_nothing_from_outside(tmp_path: Path) -> None:
    made = page(
        tmp_path, evaluate_pictures(tmp_path, pictures(), name="a"), evaluate_pictures(tmp_path, pictures(8), name="b")
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert {each.split(":")[0] for each in made.values("src")} == {"data"}
    assert {each[0] for each in made.values("href")} == {"#"}
    assert not {"script", "link", "iframe", "object", "embed"} & set(made.tags)
    assert not [name for name, _ in made.attributes if name.startswith("on")]
    # plots neither
    for each in made.values("src"):
        kind, data = each.removeprefix("data:").split(";base64,")
        content = base64.b64decode(data)
        if kind == "image/svg+xml":
            links = re.findall(rb'(?:href|src)="([^"]*)"', content)
            assert all(link.startswith((b"#", b"data:")) for link in links)
        else:
            assert Image.open(io.BytesIO(content)).size == (160, 160)


def test_every_section_is_there_and_linked(tmp_path: Path) -> None:
    made = page(
        tmp_path, evaluate_pictures(tmp_path, pictures(), name="a"), evaluate_pictures(tmp_path, pictures(8), name="b")
    )
    links = [each[1:] for each in made.values("href")]
    assert links == made.values("id")
    assert {"short", "set", "figures", "sizes", "curves", "thresholds", "comparison", "misses", "blurs", "how"} <= set(
        links
    )


def test_what_was_not_asked_for_has_no_section(tmp_path: Path) -> None:
    models = [evaluate_pictures(tmp_path, pictures(hits), name=f"model-{hits}") for hits in (4, 6)]
    made = page(tmp_path, *models, targets=(), comparisons=False, thumbnails=0)
    assert made.values("id") == ["short", "set", "figures", "sizes", "curves", "how", "not"]
    assert [each[1:] for each in made.values("href")] == made.values("id")


def test_figures_are_those_that_were_computed(tmp_path: Path) -> None:
    judged = evaluate_pictures(tmp_path, pictures(), name="a")
    made = page(tmp_path, judged, targets=(0.5,))
    (face,) = summarise(judged)
    for sentence in face.sentences:
        assert sentence in made.text
    assert "4 of 20 faces are missed: 20.0% (" in made.text
    assert f"80.0%{face.recall.low:.1%} to {face.recall.high:.1%}" in made.text
    assert f"0.40{face.false_blurs.low:.2f} to {face.false_blurs.high:.2f}" in made.text
    assert f"{face.ap.value:.2f}{face.ap.low:.2f} to {face.ap.high:.2f}" in made.text
    assert str(choose_thresholds(judged, 0.5)[FACE]) in made.text
    assert "a@1" in made.text
    assert "format auto. Persons and vehicles were evaluated with their boxes" in made.text


def test_several_models_are_shown_side_by_side_and_the_first_compared(tmp_path: Path) -> None:
    models = [evaluate_pictures(tmp_path, pictures(hits), name=f"model-{hits}") for hits in (4, 6, 10)]
    made = page(tmp_path, *models, seconds={"model-6": 12.34})
    for each in models:
        assert f"{each.name}@1" in made.text
    assert "difference +0.100" in made.text
    assert "difference +0.300" in made.text
    assert "The evaluation took 12.3 s" in made.text
    # of the thumbnails only those of the first model are unfolded
    assert made.tags.count("details") > len(made.values("open")) > 0
    alone = page(tmp_path, models[0])
    assert "Models compared" not in alone.text
    assert len(alone.values("src")) < len(made.values("src"))


def test_names_are_text_whatever_is_in_them(tmp_path: Path) -> None:
    judged = evaluate_pictures(tmp_path, pictures(), name="<b>bold</b> & <script>alert(1)</script>")
    nasty = "<script>x</script>\"'.png"
    path = tmp_path / nasty.replace("/", "_")
    judged.images[9].path.rename(path)
    images = (*judged.images[:9], replace(judged.images[9], path=path, source="<i>source"))
    judged = replace(judged, images=images, set_name="<img src=x onerror=alert(1)>")
    judged.problems.add(ProblemKind.PICTURE_BROKEN, nasty, "it's <broken>")
    made = page(tmp_path, judged)
    assert not {"script", "b", "i"} & set(made.tags)
    assert "<script>alert(1)</script>" in made.text
    assert path.name in made.text
    assert f"{nasty}: it's <broken>." in made.text
    assert "<img src=x onerror=alert(1)>" in made.text


def test_it_says_that_it_holds_pictures_and_shows_each_error_case(tmp_path: Path) -> None:
    judged = evaluate_pictures(tmp_path, pictures())
    made = page(tmp_path, judged)
    assert "This page contains pictures that are not anonymised." in made.text
    assert len(made.photos) == 4 + 4
    assert "9.png: 100 x 98 px, detected at no threshold" in made.text
    assert "9.png: 20 x 30 px, score 0.70" in made.text
    assert len(page(tmp_path, judged, thumbnails=3).photos) == 3 + 3


def test_without_thumbnails_it_shows_nobody(tmp_path: Path) -> None:
    made = page(tmp_path, evaluate_pictures(tmp_path, pictures()), thumbnails=0)
    assert {each.split(";")[0] for each in made.values("src")} == {"data:image/svg+xml"}
    assert not any(b"<image" in base64.b64decode(each.split(",")[1]) for each in made.values("src"))
    assert "contains pictures that are not anonymised" not in made.text
    assert "This page contains no pictures of people or vehicles" in made.text


def test_pictures_that_are_gone_are_left_out(tmp_path: Path) -> None:
    judged = evaluate_pictures(tmp_path, pictures())
    (tmp_path / "9.png").unlink()
    (tmp_path / "8.png").write_bytes(b"no picture")
    assert len(page(tmp_path, judged).photos) == 2 + 2


def test_problems_are_counted_and_the_first_ones_named(tmp_path: Path) -> None:
    judged = evaluate_pictures(tmp_path, pictures())
    assert "No problems were found in the set or its pictures." in page(tmp_path, judged).text
    for number in range(7):
        judged.problems.add(ProblemKind.PICTURE_BROKEN, f"broken-{number}.png", "it cannot be read")
    made = page(tmp_path, judged)
    assert "picture-broken: 7" in made.text
    assert "broken-4.png: it cannot be read." in made.text
    assert "broken-5.png" not in made.text
    assert "and 2 more" in made.text


@pytest.mark.parametrize(
    "of_type",
    [
        {FACE: ([], [])},
        {FACE: ([BOX], [])},
        {FACE: ([], [(*BOX, 0.9)])},
        {FACE: ([BOX], [(*BOX, 0.9)]), PLATE: ([], []), PERSON: ([], [(*OTHER, 0.6)]), VEHICLE: ([OTHER], [])},
    ],
    ids=["nothing at all", "no detection", "no object", "four types"],
)
def test_types_without_objects_or_detections_have_a_report_too(tmp_path: Path, of_type: Picture) -> None:
    names = "ab" if len(of_type) == 1 else "a"
    made = page(tmp_path, *(evaluate_pictures(tmp_path, [of_type] * 3, name=name) for name in names))
    assert "nan" not in made.text.lower()
    for each, (known, _) in of_type.items():
        said = f"No {each.words}s are labelled in these pictures, so misses cannot be counted." in made.text
        assert said == (not known)


def test_the_same_results_make_the_same_page(tmp_path: Path) -> None:
    judged = evaluate_pictures(tmp_path, pictures())
    texts = []
    for _ in range(2):
        page(tmp_path, judged)
        texts.append(re.sub(r"20\d\d-\d\d-\d\d[T ][\d:+]+", "", (tmp_path / "report.html").read_text()))
    assert texts[0] == texts[1]
