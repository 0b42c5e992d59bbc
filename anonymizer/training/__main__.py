"""Train the own detector on labelled images. The weights are written to `weights.safetensors` in --folder.

A training that was interrupted continues if it is started again with the same folder.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER
from anonymizer.training.samples import add_turned, read_samples
from anonymizer.training.train import Recipe, evaluate, format_ap50, train

_HELP = {
    "minutes": "duration of the training",
    "steps": "number of steps in place of a duration",
    "sides": "widths of training canvases in pixels; one is drawn for each batch",
    "batch": "canvases of 320 x 320 pixels in a batch",
    "rate": "highest learning rate of neck and head",
    "backbone_rate": "learning rate of the backbone, as a share of --rate",
    "weight_decay": "weight decay of AdamW",
    "frozen": "stages of the backbone that are not trained; -1: everything is trained",
    "fixed_norms": "batch norms keep their statistics",
    "distillation": "weight of the loss for changed predictions of unlabelled types; 0: none",
    "mosaic": "probability that a canvas has four images",
    "average": "decay of the moving average of the weights",
    "warm_up": "steps in which the learning rate rises from zero",
    "checkpoint_s": "seconds of training between two checkpoints",
    "evaluate_s": "seconds of training between two evaluations",
    "seed": "seed of the canvases and of the initial weights",
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m anonymizer.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"),
        help="folder with train.json and val.json (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--teachers", type=Path,
        help="file of pseudo-labels from python -m anonymizer.training.teachers (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, default=Path("build/training"),
        help="folder for checkpoint, log and weights (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--start", type=Path, default=MODELS_FOLDER / "nanodet-plus-m-1.5x_416.onnx",
        help="initial weights: NanoDet-Plus-m-1.5x, or the own detector's (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="SOURCE", help="data sources that are left out (default: none)"
    )
    parser.add_argument(
        "--turned", type=float, default=0.12,
        help="share of images that are also shown turned by 90, 180 or 270 degrees (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="device for torch, cpu or cuda (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="the most training images (default: all)")
    _add_recipe_options(parser)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(given.folder / "log.txt")],
    )
    values = {field.name: getattr(given, field.name) for field in fields(Recipe)}
    recipe = Recipe(**values | {"sides": tuple(given.sides)})
    logging.info("%s", recipe)
    val = LabelledSet.read(given.data / "val.json")
    samples = read_samples(given.data / "train.json", given.teachers, without=given.without, limit=given.limit)
    samples = add_turned(samples, given.turned, np.random.default_rng(recipe.seed))
    weights = train(samples, recipe, given.folder, start=given.start, val=val, device=given.device)
    for side in (320, 416, 640):
        counts = evaluate(weights, val, side=side, device=given.device)
        logging.info("AP50 at %d: %s", side, format_ap50(counts))


def _add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Add one option for each hyperparameter of `Recipe`."""
    group = parser.add_argument_group("hyperparameters", "The attributes of anonymizer.training.train.Recipe.")
    recipe = Recipe()
    for field in fields(Recipe):
        value, name = getattr(recipe, field.name), f"--{field.name.replace('_', '-')}"
        text = f"{_HELP[field.name]} (default: %(default)s)"
        if isinstance(value, bool):
            group.add_argument(name, action=argparse.BooleanOptionalAction, default=value, help=text)
            continue
        # a number that is not given by default is one of steps
        kind = int if value is None or isinstance(value, tuple) else type(value)
        group.add_argument(name, type=kind, nargs="+" if isinstance(value, tuple) else None, default=value, help=text)


if __name__ == "__main__":
    torch.set_num_threads(min(2, torch.get_num_threads()))
    main()
