"""Choose thresholds by hand in a notebook: a slider for each type, an image and figures that follow at once."""

from __future__ import annotations

import html
import math
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cv2
import ipywidgets
import numpy as np
from numpy.typing import NDArray

import anonymizer
from anonymizer.evaluation.datasets.dataset import LabelledImage
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.evaluation.metrics.statistics import Interval
from anonymizer.evaluation.notebook.preview import ImageOrder, Preview, order_images
from anonymizer.evaluation.thresholds.choose import ThresholdChoice, ThresholdChoices, Verdict, choose_thresholds
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.options.options import Method
from anonymizer.pipeline.options.threshold_profile import Figure, ThresholdProfile
from anonymizer.pipeline.outputs.overlay import COLOURS

__all__ = ["ThresholdTuner", "activation_command"]

#: A slider moves in steps of 0.001.
_STEPS = 1000
_JPEG = 85
_HEADS = ("", "threshold", "recall", "leak rate", "false blurs a picture", "objects in pictures")
_KEY = "Solid: detected. Dashed: missed. Dotted: false blur. Thin grey: ignored object."


def activation_command(profile: ThresholdProfile, file: Path) -> str:
    """The command that gives a profile to the service of this checkout, and makes it the default profile.

    Args:
        profile: the profile. If the target is not proven for a type, the command accepts that.
        file: where it was saved.

    Returns:
        A command for a shell. It uses the Python of this process, and replaces a profile of the same name.
    """
    folder = Path(anonymizer.__file__).resolve().parents[1]
    words = [sys.executable, "-m", "anonymizer", "profile", "create", profile.name, "--from", str(file.resolve())]
    accept = ["--accept-unproven"] if profile.unproven() else []
    return f"cd {shlex.quote(str(folder))} && {shlex.join([*words, '--replace', '--activate', *accept])}"


class ThresholdTuner(ipywidgets.HBox):  # type: ignore[misc]  # ipywidgets has no types
    """A notebook widget that shows a picture as it would be redacted, and sliders for the thresholds.

    Args:
        result: what `evaluate` returned.
        anonymizer: the anonymizer that `evaluate` was called with; default: none (see `Preview`).
        pictures: the pictures to choose from; default: all that were evaluated.
        cache: the cache that `evaluate` used; default: the default cache.
        profile: thresholds to start with; default: the thresholds of the result's options. They are also used for types
            that the profile does not have.
        folder: where profiles are written; default: the current folder. It is created if it does not exist.
        name: the name of the profile that is offered.
        target: the target recall that is offered, 0.8 to 0.99.

    Attributes:
        sliders: a slider for each object type.
        picture, order, method, boxes: widgets that choose what is shown.
        view: the picture, as JPEG.
        caption: the counts of the picture.
        figures: recall, leak rate and false blurs a picture at the sliders' thresholds, with 95% intervals.
        target, choose, sentences: widgets that choose thresholds by a target recall, and explain the choice.
        name, save, saved: widgets that save the thresholds as a profile, and explain how to use the file.
        message: the last error.
        saved_profile: what was saved last, until a slider is moved; None if nothing was saved.

    Examples:
        >>> tuner = ThresholdTuner(result, anonymizer, cache=cache)  # doctest: +SKIP
        >>> tuner  # in a notebook  # doctest: +SKIP
    """

    def __init__(
        self,
        result: EvaluationResult,
        anonymizer: Anonymizer | None = None,
        pictures: Sequence[LabelledImage] | None = None,
        *,
        cache: DetectionCache | None = None,
        profile: ThresholdProfile | None = None,
        folder: Path | str = ".",
        name: str = "by-hand",
        target: float = 0.95,
    ) -> None:
        self._result, self._anonymizer, self._cache, self._folder = result, anonymizer, cache, Path(folder)
        self._offered = None if pictures is None else {picture.path for picture in pictures}
        self._preview: Preview | None = None
        self._rows: dict[ObjectType, str] = {}
        self._choices: ThresholdChoices | None = None
        #: thresholds that the button "choose" has set
        self._chosen: dict[ObjectType, float] = {}
        self._quiet = False
        self.saved_profile: ThresholdProfile | None = None
        begin = profile.thresholds if profile else {}
        self.sliders = {
            object_type: _slider(object_type, begin.get(object_type, result.options.threshold(object_type)))
            for object_type in result.types
        }
        self.order = ipywidgets.Dropdown(options=[str(order) for order in ImageOrder], description="order")
        self.picture = ipywidgets.Dropdown(description="picture")
        methods = [("nothing redacted" if method is Method.DETECT else str(method), str(method)) for method in Method]
        self.method = ipywidgets.Dropdown(options=methods, description="method")
        self.boxes = ipywidgets.Checkbox(value=True, description="boxes", indent=False)
        self.view = ipywidgets.Image(format="jpeg", layout={"max_width": "100%", "object_fit": "contain"})
        self.caption, self.figures, self.sentences, self.saved, self.message = (ipywidgets.HTML() for _ in range(5))
        self.target = ipywidgets.FloatSlider(value=target, min=0.8, max=0.99, step=0.01, description="target recall")
        self.choose = ipywidgets.Button(description="choose", tooltip="set the sliders so that this recall is reached")
        self.name = ipywidgets.Text(value=name, description="name")
        self.save = ipywidgets.Button(description="save as profile")
        super().__init__(self._columns())
        self._connect()
        self._guarded(self._begin)(None)

    def thresholds(self) -> dict[ObjectType, float]:
        """Return the thresholds of the sliders, 0..1, by object type."""
        return {object_type: float(slider.value) for object_type, slider in self.sliders.items()}

    def profile(self, name: str) -> ThresholdProfile:
        """Make a profile for the service from the sliders' thresholds.

        Args:
            name: the name of the profile.

        Returns:
            The profile with the figures at these thresholds. Types without labelled objects are left out.

        Raises:
            InvalidParameter: no type has objects, or the name is not allowed.
        """
        thresholds = {
            object_type: value for object_type, value in self.thresholds().items() if self._result[object_type].objects
        }
        target = next(iter(self._choices)).target if self._choices and thresholds == self._chosen else None
        return ThresholdProfile(
            name=name,
            thresholds=thresholds,
            format=self._result.format,
            models={object_type: self._result.keys[object_type] for object_type in thresholds},
            target_recall=target,
            figures={object_type: self._figures(object_type) for object_type in thresholds},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _columns(self) -> list[ipywidgets.Widget]:
        left = [self.order, self.picture, ipywidgets.HBox([self.method, self.boxes]), self.view, self.caption]
        choosing, saving = ipywidgets.HBox([self.target, self.choose]), ipywidgets.HBox([self.name, self.save])
        right = [*self.sliders.values(), self.figures, choosing, self.sentences, saving, self.saved, self.message]
        return [ipywidgets.VBox(left, layout={"width": "48%"}), ipywidgets.VBox(right, layout={"width": "52%"})]

    def _connect(self) -> None:
        for object_type, slider in self.sliders.items():
            slider.observe(self._guarded(partial(self._on_slider, object_type)), "value")
        self.order.observe(self._guarded(self._sort), "value")
        for widget in (self.picture, self.method, self.boxes):
            widget.observe(self._guarded(self._draw), "value")
        self.choose.on_click(self._guarded(self._choose))
        self.save.on_click(self._guarded(self._save))

    def _guarded(self, action: Callable[[], None]) -> Callable[[object], None]:
        """Turn a method into a callback that shows errors. Jupyter would only log them."""

        def callback(_: object) -> None:
            self.message.value = ""
            try:
                action()
            except (AnonymizerError, OSError, ValueError) as error:
                self.message.value = _red(str(error))
            except Exception:
                self.message.value = _red(traceback.format_exc())

        return callback

    def _begin(self) -> None:
        for object_type in self.sliders:
            self._count(object_type)
        self._sort()

    def _sort(self) -> None:
        """List the pictures in the chosen order, and show the first."""
        indices = order_images(self._result, self.thresholds(), ImageOrder(self.order.value))
        images = self._result.images
        indices = [index for index in indices if self._offered is None or images[index].path in self._offered]
        names = [f"{number}. {images[index].path.name}" for number, index in enumerate(indices, start=1)]
        # if the picture changes, its own callback draws it
        self.picture.options = list(zip(names, indices, strict=True))
        if indices and self.picture.index is None:
            self.picture.index = 0

    def _on_slider(self, object_type: ObjectType) -> None:
        if not self._quiet:
            self._forget_saved()
            self._draw()
            self._count(object_type)
            self._explain()

    def _forget_saved(self) -> None:
        """A saved profile has other thresholds than the sliders now."""
        if self.saved_profile is not None:
            self.saved.value = (
                f"The sliders were moved after {html.escape(self.saved_profile.name)} was saved: save it again."
            )
            self.saved_profile = None

    def _explain(self) -> None:
        """Say what was chosen, and for sliders that were moved since then, what holds there."""
        if self._choices is not None:
            lines = [self._sentence(choice) for choice in self._choices]
            self.sentences.value = _lines(html.escape(line) for line in lines)

    def _sentence(self, choice: ThresholdChoice) -> str:
        object_type = choice.object_type
        at, chosen = float(self.sliders[object_type].value), self._chosen.get(object_type)
        if chosen is None or math.isclose(at, chosen):
            return str(choice)
        recall, _, wrong = self._intervals(object_type)
        where = f"{object_type.words}: threshold {at:.3f} by hand, {'above' if at > chosen else 'below'} {chosen:.3f}"
        kept = at < chosen and choice.verdict is Verdict.REACHED
        proof = f"{choice.target:.0%} is {'still' if kept else 'not'} proven"
        return f"{where}; recall {recall}, {proof}; {wrong.value:.2f} false blurs an image"

    def _draw(self) -> None:
        jpeg, words = b"", ""
        try:
            if self.picture.value is not None:
                jpeg, words = self._preview_jpeg(self.picture.value)
        finally:
            # after an error, no picture of other thresholds may stay
            self.view.value, self.caption.value = jpeg, words

    def _preview_jpeg(self, index: int) -> tuple[bytes, str]:
        if self._preview is None or self._preview.index != index:
            self._preview = Preview(self._result, index, self._anonymizer, self._cache)
        thresholds = self.thresholds()
        pixels = self._preview.draw(thresholds, method=Method(self.method.value), boxes=self.boxes.value)
        lines = [f"{object_type.words}: {counts}" for object_type, counts in self._preview.counts(thresholds).items()]
        return _jpeg(pixels), _lines([*lines, f"<small>{_KEY}</small>"])

    def _count(self, object_type: ObjectType) -> None:
        """Compute the figures of one type again, and update the table."""
        of_type = self._result[object_type]
        cells = [
            f'<span style="color: {_css(object_type)}">&#9632;</span> {object_type.words}',
            f"{self.sliders[object_type].value:.3f}",
            *map(_with_range, self._intervals(object_type)),
            f"{of_type.objects} in {of_type.pictures}",
        ]
        self._rows[object_type] = _row("td", cells)
        rows = [self._rows[shown] for shown in self.sliders if shown in self._rows]
        self.figures.value = (
            f'<table style="line-height: 1.2; font-size: 92%">{_row("th", _HEADS)}{"".join(rows)}</table>'
        )

    def _intervals(self, object_type: ObjectType) -> tuple[Interval, Interval, Interval]:
        """Recall, leak rate and false blurs a picture at the slider's threshold."""
        of_type, at = self._result[object_type], self.sliders[object_type].value
        return of_type.recall(at), of_type.leak_rate(at), of_type.false_blurs(at)

    def _figures(self, object_type: ObjectType) -> dict[str, Figure]:
        """The figures for a profile, under the names that `ThresholdChoices.profile` uses."""
        recall, leaks, wrong = self._intervals(object_type)
        return {
            **self._verdict(object_type),
            "recall": round(recall.value, 4),
            "recall_low": round(recall.low, 4),
            "recall_high": round(recall.high, 4),
            "leak_rate": round(leaks.value, 4),
            "false_blurs_per_picture": round(wrong.value, 4),
            "objects": self._result[object_type].objects,
            "pictures": self._result[object_type].pictures,
        }

    def _verdict(self, object_type: ObjectType) -> dict[str, Figure]:
        """What was chosen, if the slider is where it was chosen or lower: there at least as many objects are found."""
        at = float(self.sliders[object_type].value)
        if self._choices is None or at > self._chosen.get(object_type, -1.0):
            return {}
        choice = self._choices[object_type]
        proven = self._chosen[object_type] if choice.verdict is Verdict.REACHED else None
        return {
            "target": choice.target,
            "verdict": choice.verdict.value,
            "proven_threshold": proven,
            "pictures_needed": choice.pictures_needed,
        }

    def _choose(self) -> None:
        choices = choose_thresholds(self._result, self.target.value)
        # rounded down, because a higher threshold could miss the target
        thresholds = {
            choice.object_type: math.floor(choice.threshold * _STEPS) / _STEPS for choice in choices if choice.objects
        }
        self._quiet = True
        try:
            for object_type, threshold in thresholds.items():
                self.sliders[object_type].value = threshold
        finally:
            self._quiet = False
        self._choices, self._chosen = choices, thresholds
        self._forget_saved()
        self._explain()
        self._draw()
        for object_type in thresholds:
            self._count(object_type)

    def _save(self) -> None:
        self.saved.value, self.saved_profile = "", None
        profile = self.profile(self.name.value)
        self._folder.mkdir(parents=True, exist_ok=True)
        file = (self._folder / f"{profile.name}.json").resolve()
        profile.save(file)
        self.saved_profile = profile
        command = activation_command(profile, file)
        left_out = [object_type.words for object_type in self.sliders if object_type not in profile.thresholds]
        note = f" No threshold for {' and '.join(left_out)}, because none are labelled." if left_out else ""
        unproven = "".join(
            f" The {object_type.words} threshold is not proven: {reason}."
            for object_type, reason in profile.unproven().items()
        )
        accept = " The command accepts this with --accept-unproven." if unproven else ""
        self.saved.value = _lines(
            [f"Saved.{note}{html.escape(unproven)} To use it in the service:<pre>{html.escape(command)}</pre>{accept}"]
        )


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
    return f"{figure.value:.3f}<br><small>{figure.low:.3f}&ndash;{figure.high:.3f}{figure.mark}</small>"


def _row(kind: str, cells: Sequence[str]) -> str:
    wrap = "nowrap" if kind == "td" else "normal"
    style = f"text-align: left; vertical-align: top; padding: 0 0.5em 0 0; white-space: {wrap}"
    inside = "".join(f'<{kind} style="{style}">{cell}</{kind}>' for cell in cells)
    return f"<tr>{inside}</tr>"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f'<div style="line-height: 1.3; margin-bottom: 0.4em">{line}</div>' for line in lines)


def _red(text: str) -> str:
    return f'<pre style="color: #b00; white-space: pre-wrap">{html.escape(text)}</pre>'
