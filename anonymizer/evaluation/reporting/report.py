"""The report for people: one HTML page that needs nothing else, neither a network nor a script."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.reporting import error_cases, plots
from anonymizer.evaluation.reporting.error_cases import ErrorCase
from anonymizer.evaluation.reporting.tables import TARGETS, Results, version
from anonymizer.evaluation.thresholds.choose import Verdict
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.outputs.overlay import COLOURS

__all__ = ["render", "write_report"]

#: problems of a kind that are shown in full
_NAMED = 5
#: models in one plot, as more lines could not be told apart
_LINES = 4
_SECTIONS = (
    ("short", "In short"), ("set", "The pictures"), ("figures", "All figures"), ("sizes", "By size"),
    ("curves", "Curves"), ("thresholds", "Thresholds"), ("comparison", "Models compared"), ("misses", "Worst misses"),
    ("visible", "Found, yet visible"), ("blurs", "False blurs"), ("how", "How it was measured"),
    ("not", "What it does not say"),
)  # fmt: skip
_GALLERIES = {
    "misses": error_cases.worst_misses, "visible": error_cases.found_but_visible, "blurs": error_cases.false_blurs,
}  # fmt: skip
_VERDICTS = {
    Verdict.REACHED: "reached",
    Verdict.TOO_FEW: "few",
    Verdict.OUT_OF_REACH: "out",
    Verdict.NO_OBJECTS: "none",
}


@dataclass(frozen=True)
class _Shown:
    """A picture in the page: a data URL, and what is to be said of it."""

    source: str
    words: str


@dataclass(frozen=True)
class _Gallery:
    """Thumbnails of one model and type; only those of the first model are unfolded."""

    title: str
    rows: list[_Shown]
    first: bool


def write_report(
    path: Path | str,
    findings: Sequence[EvaluationResult],
    *,
    targets: Sequence[float] = TARGETS,
    comparisons: bool = True,
    thumbnails: int = 24,
    seconds: Mapping[str, float] | None = None,
) -> Results:
    """Judge what models found in one set, and write the page.

    Args:
        findings: of each model, each with a name of its own; the first is compared with the others.
        targets, comparisons: as `Results.of` takes them.
        thumbnails: how many of the worst misses, of what leaks though it was found, and of the false blurs of each
            model and type are shown, as they are; 0: the page holds no picture of anybody.
        seconds: by the name of the models, how long looking took.

    Raises:
        ValueError: what `Results.of` raises.
        OSError: the file cannot be written.
    """
    results = Results.of(findings, targets=targets, comparisons=comparisons)
    Path(path).write_text(render(results, shown=thumbnails, seconds=seconds), encoding="utf-8")
    return results


def render(results: Results, *, shown: int = 24, seconds: Mapping[str, float] | None = None) -> str:
    """The page as text; `shown` and `seconds` as `write_report` has `thumbnails` and `seconds`."""
    source = (
        resources.files("anonymizer.evaluation.reporting").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    there = {"thresholds": results.choices, "comparison": results.comparisons} | dict.fromkeys(_GALLERIES, shown)
    return environment.from_string(source).render(
        results=results,
        sections=[(id_, title) for id_, title in _SECTIONS if there.get(id_, True)],
        shows_pictures=shown > 0,
        visible=VISIBLE,
        version=version(),
        seconds=seconds or {},
        types={each: _widest(results, each) for each in results.types},
        counts=TypeResult.size_counts,
        sizes=sorted({(row.size, row.words) for each in results.summaries for row in each.sizes}),
        sources=sorted(Counter(image.source for image in results.images).items()),
        problems=_problems(results.problems),
        colours={each: "#{:02x}{:02x}{:02x}".format(*rgb) for each, rgb in COLOURS.items()},
        verdict_class=_VERDICTS,
        percent="{:.1%}".format,
        number="{:.2f}".format,
        points=lambda value: f"{100 * value:+.1f}",
        size_plots=list(_size_plots(results)),
        curve_plots=list(_curve_plots(results)),
        comparison_plots=list(_comparison_plots(results)),
        galleries={each: list(_galleries(results, choose, shown)) for each, choose in _GALLERIES.items()},
    )


def _widest(results: Results, object_type: ObjectType) -> TypeResult:
    """Of the model that was judged by the most pictures."""
    return max((of[object_type] for of in results.findings if object_type in of.types), key=lambda of: of.pictures)


def _problems(problems: Problems) -> list[tuple[str, int, list[str]]]:
    return [
        (kind.value, count, [str(each) for each in problems if each.kind is kind][:_NAMED])
        for kind, count in problems.counts().items()
    ]


def _size_plots(results: Results) -> Iterator[_Shown]:
    for of in results.findings:
        yield _plot(plots.by_size(of), f"{of.name}: recall and leak rate by size of object, and how many there are")


def _curve_plots(results: Results) -> Iterator[_Shown]:
    first, *others = results.findings
    if not others:
        yield _plot(plots.by_threshold(first), "Recall, leak rate and false blurs at each threshold")
        yield _plot(plots.cost(first), "What finding more costs in false blurs")
        yield _plot(plots.precision_recall(first), "Precision and recall at all thresholds")
        return
    for each in results.types:
        models = [(of.name, of) for of in results.findings if each in of.types]
        for some in [models[:1] + models[n : n + _LINES - 1] for n in range(1, max(len(models), 2), _LINES - 1)]:
            yield _plot(plots.by_threshold(some, each), f"{each.words}: recall, leak rate and false blurs")
            yield _plot(plots.cost(some, object_type=each), f"{each.words}: what finding more costs in false blurs")
            yield _plot(plots.precision_recall(some, each), f"{each.words}: precision and recall at all thresholds")


def _comparison_plots(results: Results) -> Iterator[_Shown]:
    if results.comparisons:
        words = "How much more the second model finds, with 95% ranges: right of the line is more"
        yield _plot(plots.comparison(results.comparisons), words)


def _galleries(results: Results, choose: Callable[..., list[ErrorCase]], count: int) -> Iterator[_Gallery]:
    """One for each model and type of which there are some."""
    for number, of in enumerate(results.findings if count else ()):
        for each in of.types:
            if shown := list(_thumbnails(of, choose(of, each, of.options.threshold(each), count=count))):
                words = f"{each.words}s"
                title = f"{of.name}: {words}" if len(results.findings) > 1 else words.capitalize()
                yield _Gallery(title, shown, first=number == 0)


def _thumbnails(of: EvaluationResult, cases: Sequence[ErrorCase]) -> Iterator[_Shown]:
    def changed(each: ErrorCase, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if each.kind != "leak":
            return pixels
        return error_cases.what_is_left(of, each, of.options.threshold(each.object_type), pixels)

    for each, view in zip(cases, error_cases.thumbnails(cases, changed=changed), strict=True):
        if view is not None:
            yield _Shown(_jpeg(Image.fromarray(view)), f"{each.path.name}: {each.words}")


def _plot(figure: Figure, words: str) -> _Shown:
    file = io.BytesIO()
    # neither a date nor random ids: the same findings make the same page
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _Shown(_url("image/svg+xml", file.getvalue()), words)


def _jpeg(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=82)
    return _url("image/jpeg", file.getvalue())


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
