"""The training loop of the own detector: from samples to weights. A training can be stopped and resumed."""

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
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.matching import DetectionCounts
from anonymizer.pipeline.detection.models.nanodet.network import NanoDetNetwork, cells_of
from anonymizer.pipeline.detection.models.nanodet.own import OwnNanoDet, load_own
from anonymizer.pipeline.detections import ObjectType
from anonymizer.training.augment import SampleChooser, draw, plan
from anonymizer.training.augment_gpu import draw_torch
from anonymizer.training.coco_start import is_coco, load_coco, start_from, unfold_norms
from anonymizer.training.loss import Prediction, Truth, distillation_loss, loss
from anonymizer.training.samples import Sample, Targets

__all__ = ["Recipe", "evaluate", "format_ap50", "save_weights", "train"]

log = logging.getLogger(__name__)

#: the sources of the validation set that are evaluated; `street-masks` is only for masks
SOURCES = (
    "fddb", "wider", "masks", "anpr", "cars", "dashcam", "plates-world",
    "voc", "highway", "coco-person", "coco", "kitti", "cctv-traffic",
)  # fmt: skip
#: batches that give the norms of a network with folded norms their statistics
NORM_BATCHES = 6
#: After this share of the training, canvases have only one image.
CALM = 0.8


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hyperparameters of a training.

    Attributes:
        minutes: duration of the training. The learning rate falls to zero in this time, on any machine.
        steps: number of steps of the training, which gives the same weights on slow and fast machines. Default: as many
            as fit into `minutes`.
        sides: widths of canvases in pixels; one is drawn for each batch.
        batch: canvases in a batch if they have 320 x 320 pixels. Batches of larger canvases have fewer, of smaller
            canvases more.
        rate: highest learning rate of neck and head.
        backbone_rate: learning rate of the backbone, as a share of `rate`.
        weight_decay: of AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101).
        frozen: this many stages of the backbone, and the stem, are not trained; -1: everything is trained.
        fixed_norms: batch norms keep their statistics. Useful for a few images, which give unreliable statistics.
        distillation: weight of the loss for changed predictions of unlabelled types (`distillation_loss`); 0: none.
        mosaic: probability that a canvas has four images, 0..1.
        average: decay of the moving average of the weights, 0..1.
        warm_up: steps in which the learning rate rises from zero.
        checkpoint_s: seconds of training between two checkpoints.
        evaluate_s: seconds of training between two evaluations.
        seed: of the canvases and of the initial weights.
    """

    minutes: float = 120.0
    steps: int | None = None
    sides: tuple[int, ...] = (320, 384, 416)
    batch: int = 16
    rate: float = 8e-4
    backbone_rate: float = 0.25
    weight_decay: float = 0.02
    frozen: int = 1
    fixed_norms: bool = False
    distillation: float = 0.0
    mosaic: float = 0.3
    average: float = 0.9985
    warm_up: int = 200
    checkpoint_s: float = 60.0
    evaluate_s: float = 1200.0
    seed: int = 1


class _Run:
    """The state of a training, which a checkpoint saves."""

    def __init__(self, recipe: Recipe, network: NanoDetNetwork, device: torch.device) -> None:
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.start = copy.deepcopy(self.network).eval().requires_grad_(False) if recipe.distillation else None
        self.frozen = [network.backbone.stem, *network.backbone.stages[: recipe.frozen]] if recipe.frozen >= 0 else []
        for module in self.frozen:
            module.requires_grad_(False)
        self.same_maps = recipe.fixed_norms and recipe.frozen >= len(network.backbone.stages)
        names = dict(network.named_parameters())
        backbone = [weight for name, weight in names.items() if weight.requires_grad and name.startswith("backbone")]
        rest = [weight for name, weight in names.items() if weight.requires_grad and not name.startswith("backbone")]
        self.optimizer = torch.optim.AdamW(
            [{"params": backbone, "share": recipe.backbone_rate}, {"params": rest, "share": 1.0}],
            weight_decay=recipe.weight_decay,
        )
        moving = get_ema_multi_avg_fn(recipe.average)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(network, multi_avg_fn=moving, use_buffers=True)
        self.rng = np.random.default_rng(recipe.seed)
        self.steps = self.canvases = 0
        self.seconds = 0.0
        self._fixed_norms = recipe.fixed_norms

    def done(self, recipe: Recipe) -> float:
        """The share of the training that is done; 1 and more at its end."""
        return self.seconds / 60 / recipe.minutes if recipe.steps is None else self.steps / recipe.steps

    def training(self) -> None:
        # only batch norms behave differently in training
        self.network.train(not self._fixed_norms)
        for module in self.frozen:
            # their batch norms keep their statistics
            module.eval()

    def save(self, file: Path, recipe: Recipe) -> None:
        state = {
            "recipe": asdict(recipe),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "steps": self.steps,
            "seen": self.canvases,
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
        self.steps, self.canvases, self.seconds = state["steps"], state["seen"], state["seconds"]


def train(
    samples: Sequence[Sample],
    recipe: Recipe,
    folder: Path,
    *,
    start: Path,
    val: LabelledSet | None = None,
    device: str = "cpu",
    resume: bool = True,
    progress: bool = False,
) -> Path:
    """Train the own detector, or resume an interrupted training in the same folder.

    Args:
        samples: what to learn from.
        recipe: the hyperparameters.
        folder: where `checkpoint.pt` and the weights are written. It is created if it does not exist.
        start: the initial weights: of the own detector, or those of COCO as `load_coco` reads them.
        val: a labelled set that is evaluated regularly, and the result logged; default: none.
        device: device for torch; default: "cpu".
        resume: resume from a checkpoint in the folder; default: True.
        progress: show a progress bar with the remaining time; default: False.

    Returns:
        The file `weights.safetensors` with the averaged weights.

    Raises:
        OSError, ValueError: the file `start` holds other weights.
    """
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    run = _Run(recipe, _initial_network(start, samples, recipe), torch.device(device))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, weights = folder / "checkpoint.pt", folder / "weights.safetensors"
    if resume and checkpoint.exists():
        run.resume(checkpoint)
        log.info("resuming at %.1f min, %d canvases", run.seconds / 60, run.canvases)
    batches = _batches(samples, recipe, run, torch.device(device))
    last_save = last_evaluation = run.seconds
    sums = torch.zeros(2)
    run.training()
    # without a number of steps, the bar counts seconds
    bar_format = "{l_bar}{bar}| {remaining} left" if recipe.steps is None else None
    total = 60 * recipe.minutes if recipe.steps is None else recipe.steps
    done = total * run.done(recipe)
    with tqdm(
        total=total, initial=done, desc="training", unit="step", bar_format=bar_format, disable=not progress
    ) as bar:
        while run.done(recipe) < 1:
            began = time.monotonic()
            sums += _step(run, recipe, *next(batches))
            run.seconds += time.monotonic() - began
            bar.update(total * min(run.done(recipe), 1) - bar.n)
            if run.steps % 50 == 0:
                scores, boxes = (sums / 50).tolist()
                log.info(
                    "step %d, %d canvases, %.1f min, %.1f canvases/s, loss of scores %.3f, of boxes %.3f",
                    run.steps, run.canvases, run.seconds / 60, run.canvases / run.seconds, scores, boxes,
                )  # fmt: skip
                sums.zero_()
            if run.seconds - last_save > recipe.checkpoint_s:
                run.save(checkpoint, recipe)
                last_save = run.seconds
            if val is not None and run.seconds - last_evaluation > recipe.evaluate_s:
                save_weights(run.average.module, weights)
                log.info("AP50 at %.0f min: %s", run.seconds / 60, format_ap50(evaluate(weights, val, limit=30)))
                last_evaluation = run.seconds
    run.save(checkpoint, recipe)
    save_weights(run.average.module, weights)
    return weights


def _initial_network(start: Path, samples: Sequence[Sample], recipe: Recipe) -> NanoDetNetwork:
    if not is_coco(start):
        return load_own(start)
    network, rng, side = start_from(load_coco(start)), np.random.default_rng(recipe.seed), recipe.sides[0]
    choose = SampleChooser(samples)
    for_norms = [
        np.stack([draw(plan(samples, choose, side, rng, mosaic=recipe.mosaic), samples) for _ in range(recipe.batch)])
        for _ in range(NORM_BATCHES)
    ]
    unfold_norms(network, (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() for pixels in for_norms))
    return network


def _batches(
    samples: Sequence[Sample], recipe: Recipe, run: _Run, device: torch.device
) -> Iterator[tuple[Tensor, list[Truth]]]:
    """Endless batches: canvases (b, 3, side, side) uint8, and the objects of each."""
    # no thread of its own: on two cores, a third busy thread makes the two threads of torch wait for each other
    choose, on_gpu = SampleChooser(samples), device.type == "cuda"
    images = [torch.from_numpy(sample.pixels).to(device).permute(2, 0, 1) for sample in samples] if on_gpu else []
    while True:
        side = int(run.rng.choice(recipe.sides))
        count = max(1, round(recipe.batch * (320 / side) ** 2))
        mosaic = recipe.mosaic if run.done(recipe) < CALM else 0.0
        canvases = [plan(samples, choose, side, run.rng, mosaic=mosaic) for _ in range(count)]
        if on_gpu:
            pixels = torch.stack([draw_torch(canvas, images) for canvas in canvases])
        else:
            pixels = torch.from_numpy(np.stack([draw(canvas, samples) for canvas in canvases])).permute(0, 3, 1, 2)
        yield pixels, [_truth(canvas.targets, canvas.unlabelled, device) for canvas in canvases]


def _truth(targets: Targets, unlabelled: np.ndarray[Any, np.dtype[np.bool_]], device: torch.device) -> Truth:
    arrays = (targets.boxes, targets.types, targets.ignored, unlabelled)
    return Truth(*(torch.from_numpy(array).to(device) for array in arrays))


def _step(run: _Run, recipe: Recipe, pixels: Tensor, truths: list[Truth]) -> Tensor:
    """Train on one batch, and return the two losses, (2,)."""
    done = run.done(recipe)
    rate = recipe.rate * min(1.0, (run.steps + 1) / recipe.warm_up) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group["share"]
    x = pixels.float().contiguous(memory_format=torch.channels_last)
    height, width = pixels.shape[-2:]
    cells = cells_of(height, width, pixels.device)
    # not on a CPU: there the backward pass of depth-wise convolutions is slower in bf16
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type == "cuda"):
        maps = run.network.features(x)
        logits, bins = run.network.head_outputs(maps)
        now = Prediction(logits.float(), bins.float(), cells)
        with torch.no_grad():
            before = (
                None
                if run.start is None
                else Prediction(*run.start.head_outputs(maps if run.same_maps else run.start.features(x)), cells)
            )
    score_loss, box_loss = loss(now, truths)
    total = score_loss + box_loss
    if before is not None:
        total = total + recipe.distillation * distillation_loss(now, before, truths)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.network.parameters(), 10.0)
    run.optimizer.step()
    run.average.update_parameters(run.network)
    run.steps, run.canvases = run.steps + 1, run.canvases + len(pixels)
    return torch.stack([score_loss.detach(), box_loss.detach()]).cpu()


def save_weights(network: nn.Module, file: Path) -> None:
    """Write the weights of a network in the form that `OwnNanoDet` reads, filters in half precision.

    Args:
        network: a `NanoDetNetwork` of four types.
        file: the safetensors file to write.
    """
    state = {
        # vectors are few, and the statistics of norms pass the range of half precision
        name: (value.half() if value.ndim > 1 else value.float()).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(state, file)


def evaluate(
    weights: Path, val: LabelledSet, *, side: int = 416, limit: int | None = None, device: str = "cpu"
) -> dict[tuple[ObjectType, str], DetectionCounts]:
    """Evaluate weights with one pass at one scale.

    Args:
        weights: the safetensors file.
        val: a labelled set.
        side: the longer side in pixels to which an image is scaled; default: 416.
        limit: the most images of each source; default: all.
        device: device for torch; default: "cpu".

    Returns:
        The detection counts by object type and source.
    """
    detector = OwnNanoDet(weights, device=device)
    counts: dict[tuple[ObjectType, str], DetectionCounts] = {}
    for image in val.of(SOURCES, limit):
        (detections,) = detector.detect([image.pixels()], side)
        for object_type in image.labelled:
            of_type = detections.of_type(object_type)
            counts.setdefault((object_type, image.source), DetectionCounts(0.5)).add(
                of_type.boxes, of_type.scores, image.objects[object_type]
            )
    return counts


def format_ap50(counts: dict[tuple[ObjectType, str], DetectionCounts]) -> str:
    """Format AP50 by object type and source as one line of text.

    Args:
        counts: what `evaluate` returned.
    """
    return ", ".join(f"{name} {source} {each.average_precision:.3f}" for (name, source), each in sorted(counts.items()))
