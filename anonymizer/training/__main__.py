"""`python -m anonymizer.training`: from the data folder to the weights of the own detector."""

from __future__ import annotations

import argparse
import logging
from dataclasses import fields
from pathlib import Path

import torch

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.training.samples import read_samples
from anonymizer.training.train import Recipe, curve, evaluate, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of train.json and val.json")
    parser.add_argument("--teachers", type=Path, help="what python -m anonymizer.training.teachers wrote")
    parser.add_argument("--folder", type=Path, default=Path("build/training"), help="for checkpoint, log and weights")
    parser.add_argument("--start", type=Path, help="weights to start from; ImageNet's without")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=int, help="only so many pictures")
    recipe = Recipe()
    for each in fields(Recipe):
        value, name = getattr(recipe, each.name), f"--{each.name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=value)
            continue
        kind = int if isinstance(value, tuple) else type(value)
        several = "+" if isinstance(value, tuple) else None
        parser.add_argument(name, type=kind, nargs=several, default=value)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(given.folder / "log.txt")],
    )
    values = {each.name: getattr(given, each.name) for each in fields(Recipe)}
    recipe = Recipe(**values | {"sides": tuple(given.sides)})
    logging.info("%s", recipe)
    val = LabelledSet.read(given.data / "val.json")
    samples = read_samples(given.data / "train.json", given.teachers, limit=given.limit)
    weights = train(samples, recipe, given.folder, start=given.start, val=val, device=given.device)
    for side in (320, 416, 640):
        found = evaluate(weights, val, side=side, device=given.device)
        logging.info("AP50 at %d: %s", side, curve(found))


if __name__ == "__main__":
    torch.set_num_threads(min(2, torch.get_num_threads()))
    main()
