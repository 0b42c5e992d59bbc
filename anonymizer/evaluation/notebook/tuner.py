"""Thresholds moved by hand: a slider for each type, and at once what it does to a picture and to the figures."""

from __future__ import annotations

import html
import math
import shlex
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cv2
import ipywidgets
import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import Interval
from anonymizer.evaluation.notebook.preview import Order, Preview, in_order
from anonymizer.evaluation.thresholds.choose import Choices, choose_thresholds
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.options.options import Method
from anonymizer.pipeline.options.threshold_profile import Figure, ThresholdProfile
from anonymizer.pipeline.outputs.overlay import COLOURS

__all__ = ["Tuner"]

#: a slider moves in thousandths
_STEPS = 1000
_JPEG = 85
_HEADS = ("", "threshold", "recall", "leak rate", "false blurs a picture", "objects in pictures")
_KEY = "Solid: found. Dashed: missed. Dotted: false blur. Thin grey: counts neither way."


class Tuner(ipywidgets.HBox):  # type: ignore[misc]  # ipywidgets has no types
    """A picture as it would be redacted, and sliders that change it; detections come from the cache.

    Args:
        findings: what `evaluate` gave.
        anonymizer, cache: those that `evaluate` was called with (see `Preview`).
        pictures: those to choose from; all that were judged without.
        profile: thresholds to begin with; those of the findings' options without, and for types that it has not.
        folder: where profiles are written; made where it is missing.

    Attributes:
        sliders: by object type.
        picture, order, method, boxes: which picture is shown, and how.
        view: the picture, as JPEG.
        caption: what is right and wrong in it.
        figures: recall, leak rate and false blurs a picture at the sliders' thresholds, with 95 % intervals.
        target, choose, sentences: choosing by a recall to be reached, and what came of it.
        name, save, saved: keeping the thresholds as a profile, and what to do with the file.
        message: what went wrong.
    """

    def __init__(
        self,
        findings: EvaluationResult,
        anonymizer: Anonymizer | None = None,
        pictures: Sequence[LabelledImage] | None = None,
        *,
        cache: DetectionCache | None = None,
        profile: ThresholdProfile | None = None,
        folder: Path | str = ".",
    ) -> None:
        self._findings, self._anonymizer, self._cache, self._folder = findings, anonymizer, cache, Path(folder)
        self._offered = None if pictures is None else {each.path for each in pictures}
        self._preview: Preview | None = None
        self._rows: dict[ObjectType, str] = {}
        self._choices: Choices | None = None
        #: what the sliders were set to by a target
        self._chosen: dict[ObjectType, float] = {}
        self._quiet = False
        begin = profile.thresholds if profile else {}
        self.sliders = {
            each: _slider(each, begin.get(each, findings.options.threshold(each))) for each in findings.types
        }
        self.order = ipywidgets.Dropdown(options=[str(each) for each in Order], description="order")
        self.picture = ipywidgets.Dropdown(description="picture")
        methods = [("nothing redacted" if each is Method.DETECT else str(each), str(each)) for each in Method]
        self.method = ipywidgets.Dropdown(options=methods, description="method")
        self.boxes = ipywidgets.Checkbox(value=True, description="boxes", indent=False)
        self.view = ipywidgets.Image(format="jpeg", layout={"max_width": "100%", "object_fit": "contain"})
        self.caption, self.figures, self.sentences, self.saved, self.message = (ipywidgets.HTML() for _ in range(5))
        self.target = ipywidgets.FloatSlider(value=0.95, min=0.8, max=0.99, step=0.01, description="target recall")
        self.choose = ipywidgets.Button(description="choose", tooltip="set the sliders so that this recall is reached")
        self.name = ipywidgets.Text(value="my-pictures", description="name")
        self.save = ipywidgets.Button(description="save as profile")
        super().__init__(self._arranged())
        self._connect()
        self._guarded(self._begin)(None)

    def thresholds(self) -> dict[ObjectType, float]:
        """What the sliders say."""
        return {each: float(slider.value) for each, slider in self.sliders.items()}

    def profile(self, name: str) -> ThresholdProfile:
        """The sliders' thresholds for the service, with what they come to; types without objects are left out.

        Raises:
            InvalidParameter: no type has objects, or the name is not allowed.
        """
        known = {each: at for each, at in self.thresholds().items() if self._findings[each].objects}
        asked = next(iter(self._choices)).target if self._choices and known == self._chosen else None
        return ThresholdProfile(
            name=name,
            thresholds=known,
            format=self._findings.format,
            models={each: self._findings.keys[each] for each in known},
            target_recall=asked,
            figures={each: self._figures(each) for each in known},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _arranged(self) -> list[ipywidgets.Widget]:
        left = [self.order, self.picture, ipywidgets.HBox([self.method, self.boxes]), self.view, self.caption]
        choosing, saving = ipywidgets.HBox([self.target, self.choose]), ipywidgets.HBox([self.name, self.save])
        right = [*self.sliders.values(), self.figures, choosing, self.sentences, saving, self.saved, self.message]
        return [ipywidgets.VBox(left, layout={"width": "48%"}), ipywidgets.VBox(right, layout={"width": "52%"})]

    def _connect(self) -> None:
        for each, slider in self.sliders.items():
            slider.observe(self._guarded(partial(self._moved, each)), "value")
        self.order.observe(self._guarded(self._sort), "value")
        for widget in (self.picture, self.method, self.boxes):
            widget.observe(self._guarded(self._draw), "value")
        self.choose.on_click(self._guarded(self._choose))
        self.save.on_click(self._guarded(self._save))

    def _guarded(self, act: Callable[[], None]) -> Callable[[object], None]:
        """The act as a callback; what goes wrong is shown, as Jupyter would only log it."""

        def callback(_: object) -> None:
            self.message.value = ""
            try:
                act()
            except (AnonymizerError, OSError, ValueError) as error:
                self.message.value = _red(str(error))
            except Exception:
                self.message.value = _red(traceback.format_exc())

        return callback

    def _begin(self) -> None:
        for each in self.sliders:
            self._count(each)
        self._sort()

    def _sort(self) -> None:
        """Offer the pictures in the order asked for, and show the first."""
        places = in_order(self._findings, self.thresholds(), Order(self.order.value))
        images = self._findings.images
        places = [each for each in places if self._offered is None or images[each].path in self._offered]
        names = [f"{number}. {images[place].path.name}" for number, place in enumerate(places, start=1)]
        # another picture than before draws itself
        self.picture.options = list(zip(names, places, strict=True))
        if places and self.picture.index is None:
            self.picture.index = 0

    def _moved(self, object_type: ObjectType) -> None:
        if not self._quiet:
            self._draw()
            self._count(object_type)

    def _draw(self) -> None:
        jpeg, words = b"", ""
        try:
            if self.picture.value is not None:
                jpeg, words = self._drawn(self.picture.value)
        finally:
            # never a picture of other thresholds than the sliders'
            self.view.value, self.caption.value = jpeg, words

    def _drawn(self, place: int) -> tuple[bytes, str]:
        if self._preview is None or self._preview.place != place:
            self._preview = Preview(self._findings, place, self._anonymizer, self._cache)
        at = self.thresholds()
        pixels = self._preview.draw(at, method=Method(self.method.value), boxes=self.boxes.value)
        seen = [f"{each.words}: {of}" for each, of in self._preview.seen(at).items()]
        return _jpeg(pixels), _lines([*seen, f"<small>{_KEY}</small>"])

    def _count(self, object_type: ObjectType) -> None:
        """The figures of one type anew, in the table of all."""
        found = self._findings[object_type]
        cells = [
            f'<span style="color: {_css(object_type)}">&#9632;</span> {object_type.words}',
            f"{self.sliders[object_type].value:.3f}",
            *map(_with_range, self._measured(object_type)),
            f"{found.objects} in {found.pictures}",
        ]
        self._rows[object_type] = _row("td", cells)
        rows = [self._rows[each] for each in self.sliders if each in self._rows]
        self.figures.value = f'<table style="line-height: 1.2">{_row("th", _HEADS)}{"".join(rows)}</table>'

    def _measured(self, object_type: ObjectType) -> tuple[Interval, Interval, Interval]:
        """Recall, leak rate and false blurs a picture at the slider's threshold."""
        found, at = self._findings[object_type], self.sliders[object_type].value
        return found.recall(at), found.leak_rate(at), found.false_blurs(at)

    def _figures(self, object_type: ObjectType) -> dict[str, Figure]:
        """The same for a profile, under the names that `Choices` gives them."""
        recall, leaks, wrong = self._measured(object_type)
        return {
            "recall": round(recall.value, 4),
            "recall_low": round(recall.low, 4),
            "recall_high": round(recall.high, 4),
            "leak_rate": round(leaks.value, 4),
            "false_blurs_per_picture": round(wrong.value, 4),
            "objects": self._findings[object_type].objects,
            "pictures": self._findings[object_type].pictures,
        }

    def _choose(self) -> None:
        choices = choose_thresholds(self._findings, self.target.value)
        # rounded down: a threshold rounded up would miss what was promised
        at = {each.object_type: math.floor(each.threshold * _STEPS) / _STEPS for each in choices if each.objects}
        self._quiet = True
        try:
            for each, threshold in at.items():
                self.sliders[each].value = threshold
        finally:
            self._quiet = False
        self._choices, self._chosen = choices, at
        self.sentences.value = _lines(html.escape(str(each)) for each in choices)
        self._draw()
        for each in at:
            self._count(each)

    def _save(self) -> None:
        self.saved.value = ""
        profile = self.profile(self.name.value)
        self._folder.mkdir(parents=True, exist_ok=True)
        file = (self._folder / f"{profile.name}.json").resolve()
        profile.save(file)
        command = shlex.join(
            ["python", "manage.py", "profile", "create", profile.name, "--from", str(file), "--activate"]
        )
        left_out = [each.words for each in self.sliders if each not in profile.thresholds]
        without = f" Without {' and '.join(left_out)}: none labelled, so nothing was measured." if left_out else ""
        self.saved.value = f"Written.{without} To have the service use it:<pre>{html.escape(command)}</pre>"


def _slider(object_type: ObjectType, value: float) -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(
        value=value,
        min=0,
        max=1,
        step=1 / _STEPS,
        readout_format=".3f",
        description=object_type.words,
        style={"description_width": "7em", "handle_color": _css(object_type)},
        layout={"width": "98%"},
    )


def _css(object_type: ObjectType) -> str:
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[object_type])


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
    return data.tobytes()


def _with_range(figure: Interval) -> str:
    if math.isnan(figure.value):
        return "-"
    return f"{figure.value:.3f}<br><small>{figure.low:.3f}&ndash;{figure.high:.3f}</small>"


def _row(kind: str, cells: Sequence[str]) -> str:
    wrap = "nowrap" if kind == "td" else "normal"
    style = f"text-align: left; vertical-align: top; padding: 0 1em 0 0; white-space: {wrap}"
    inside = "".join(f'<{kind} style="{style}">{each}</{kind}>' for each in cells)
    return f"<tr>{inside}</tr>"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f'<div style="line-height: 1.3; margin-bottom: 0.4em">{each}</div>' for each in lines)


def _red(text: str) -> str:
    return f'<pre style="color: #b00; white-space: pre-wrap">{html.escape(text)}</pre>'
