"""The evaluation report for people: one HTML page that needs no network and no script."""

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

from anonymizer import __version__
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.evaluation.reporting import error_cases, plots
from anonymizer.evaluation.reporting.error_cases import ErrorCase
from anonymizer.evaluation.reporting.tables import TARGETS, EvaluationReport
from anonymizer.evaluation.thresholds.choose import Verdict
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.outputs.overlay import COLOURS

__all__ = ["render", "write_report"]

#: How many problems of a kind are shown in full.
_NAMED = 5
#: How many models share a plot: more lines could not be told apart.
_LINES = 4
_SECTIONS = (
    ("short", "In short"), ("set", "The pictures"), ("figures", "All figures"), ("sizes", "By size"),
    ("curves", "Curves"), ("thresholds", "Thresholds"), ("comparison", "Models compared"), ("misses", "Worst misses"),
    ("visible", "Detected but visible"), ("blurs", "False blurs"), ("how", "How it was measured"),
    ("not", "Limits"),
)  # fmt: skip
_GALLERIES = {
    "misses": error_cases.worst_misses, "visible": error_cases.detected_but_visible, "blurs": error_cases.false_blurs,
}  # fmt: skip
_VERDICTS = {
    Verdict.REACHED: "reached",
    Verdict.TOO_FEW: "few",
    Verdict.OUT_OF_REACH: "out",
    Verdict.NO_OBJECTS: "none",
}


@dataclass(frozen=True)
class _PageImage:
    """An image in the page: its data URL and its caption."""

    source: str
    words: str


@dataclass(frozen=True)
class _ThumbnailGroup:
    """The thumbnails of one model and one object type; only those of the first model are unfolded."""

    title: str
    rows: list[_PageImage]
    first: bool


def write_report(
    path: Path | str,
    results: Sequence[EvaluationResult],
    *,
    targets: Sequence[float] = TARGETS,
    comparisons: bool = True,
    thumbnails: int = 24,
    seconds: Mapping[str, float] | None = None,
) -> EvaluationReport:
    """Write the report of one or more models as an HTML page.

    Args:
        path: the HTML file to write.
        results: one or more results on the same set, each with its own name. The first model is compared with the
            others.
        targets: the recalls, 0..1, for which thresholds are chosen; default: 0.90, 0.95 and 0.98.
        comparisons: compare the first model with the others.
        thumbnails: the most thumbnails for each model, object type and kind of error; default: 24. They show people
            without redaction. With 0, the page contains no photos.
        seconds: how long the evaluation of each model took, by the model's name; default: not shown.

    Returns:
        The figures that the page shows.

    Raises:
        ValueError: there are no results, two results have the same name, or a target is not between 0 and 1.
        OSError: the file cannot be written.

    Examples:
        >>> write_report("report.html", [evaluate(labelled, Anonymizer())], thumbnails=0)  # doctest: +SKIP
    """
    report = EvaluationReport.of(results, targets=targets, comparisons=comparisons)
    Path(path).write_text(render(report, shown=thumbnails, seconds=seconds), encoding="utf-8")
    return report


def render(report: EvaluationReport, *, shown: int = 24, seconds: Mapping[str, float] | None = None) -> str:
    """Render a report as an HTML page.

    Args:
        report: the figures to show.
        shown: the most thumbnails for each model, object type and kind of error; default: 24.
        seconds: how long the evaluation of each model took, by the model's name; default: not shown.

    Returns:
        The page as text.
    """
    source = (
        resources.files("anonymizer.evaluation.reporting").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    there = {"thresholds": report.choices, "comparison": report.comparisons} | dict.fromkeys(_GALLERIES, shown)
    return environment.from_string(source).render(
        report=report,
        sections=[(id_, title) for id_, title in _SECTIONS if there.get(id_, True)],
        shows_pictures=shown > 0,
        visible=VISIBLE,
        version=__version__,
        seconds=seconds or {},
        types={object_type: _most_pictures(report, object_type) for object_type in report.types},
        counts=TypeResult.size_counts,
        sizes=sorted({(size.size, size.words) for summary in report.summaries for size in summary.sizes}),
        sources=sorted(Counter(image.source for image in report.images).items()),
        problems=_first_problems(report.problems),
        colours={object_type: "#{:02x}{:02x}{:02x}".format(*rgb) for object_type, rgb in COLOURS.items()},
        verdict_class=_VERDICTS,
        percent="{:.1%}".format,
        number="{:.2f}".format,
        points=lambda value: f"{100 * value:+.1f}",
        size_plots=list(_size_plots(report)),
        curve_plots=list(_curve_plots(report)),
        comparison_plots=list(_comparison_plots(report)),
        galleries={name: list(_galleries(report, choose, shown)) for name, choose in _GALLERIES.items()},
    )


def _most_pictures(report: EvaluationReport, object_type: ObjectType) -> TypeResult:
    """The result of the model that was evaluated on the most pictures of this type."""
    of_type = (result[object_type] for result in report.results if object_type in result.types)
    return max(of_type, key=lambda type_result: type_result.pictures)


def _first_problems(problems: Problems) -> list[tuple[str, int, list[str]]]:
    """For each kind its name, how many problems there are, and the first ones in full."""
    return [
        (kind.value, count, [str(problem) for problem in problems if problem.kind is kind][:_NAMED])
        for kind, count in problems.counts().items()
    ]


def _size_plots(report: EvaluationReport) -> Iterator[_PageImage]:
    for result in report.results:
        yield _plot(plots.by_size(result), f"{result.name}: recall, leak rate and number of objects by object size")


def _curve_plots(report: EvaluationReport) -> Iterator[_PageImage]:
    first, *others = report.results
    if not others:
        yield _plot(plots.by_threshold(first), "Recall, leak rate and false blurs at each threshold")
        yield _plot(plots.cost(first), "Recall against false blurs")
        yield _plot(plots.precision_recall(first), "Precision and recall at all thresholds")
        return
    for object_type in report.types:
        models = [(result.name, result) for result in report.results if object_type in result.types]
        words = object_type.words
        for some in [models[:1] + models[n : n + _LINES - 1] for n in range(1, max(len(models), 2), _LINES - 1)]:
            yield _plot(plots.by_threshold(some, object_type), f"{words}: recall, leak rate and false blurs")
            yield _plot(plots.cost(some, object_type=object_type), f"{words}: recall against false blurs")
            yield _plot(plots.precision_recall(some, object_type), f"{words}: precision and recall at all thresholds")


def _comparison_plots(report: EvaluationReport) -> Iterator[_PageImage]:
    if report.comparisons:
        words = "Difference of recall, with 95% ranges. To the right of the line, the second model finds more."
        yield _plot(plots.comparison(report.comparisons), words)


def _galleries(
    report: EvaluationReport, choose: Callable[..., list[ErrorCase]], count: int
) -> Iterator[_ThumbnailGroup]:
    """One group for each model and type that has such error cases."""
    for number, result in enumerate(report.results if count else ()):
        for object_type in result.types:
            cases = choose(result, object_type, result.options.threshold(object_type), count=count)
            if shown := list(_thumbnails(result, cases)):
                words = f"{object_type.words}s"
                title = f"{result.name}: {words}" if len(report.results) > 1 else words.capitalize()
                yield _ThumbnailGroup(title, shown, first=number == 0)


def _thumbnails(result: EvaluationResult, cases: Sequence[ErrorCase]) -> Iterator[_PageImage]:
    def grey_out(case: ErrorCase, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if case.kind != "leak":
            return pixels
        return error_cases.grey_out_covered(result, case, result.options.threshold(case.object_type), pixels)

    for case, view in zip(cases, error_cases.thumbnails(cases, changed=grey_out), strict=True):
        if view is not None:
            yield _PageImage(_jpeg(Image.fromarray(view)), f"{case.path.name}: {case.words}")


def _plot(figure: Figure, words: str) -> _PageImage:
    file = io.BytesIO()
    # no date and no random ids: the same results give the same page
    with matplotlib.rc_context({"svg.hashsalt": "report"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _PageImage(_url("image/svg+xml", file.getvalue()), words)


def _jpeg(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=82)
    return _url("image/jpeg", file.getvalue())


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
