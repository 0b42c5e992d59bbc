"""Evaluate models on a labelled set: detect objects, match them to the labels, and measure what stays visible."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.datasets.issues import InvalidDataset, Problem, ProblemKind, Problems
from anonymizer.evaluation.metrics.detection_cache import CachedDetections, DetectionCache
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE, LeakCoverage, leak_coverage
from anonymizer.evaluation.metrics.matching import match_detections
from anonymizer.evaluation.metrics.predictions import Predictions, labelled_types, predict
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter

__all__ = ["evaluate", "evaluate_detections"]

#: part of the cache key; raise it if the same detections and labels give another leak coverage than before
VERSION = 1


def evaluate(
    labelled: LabelledSet | Sequence[LabelledImage],
    anonymizer: Anonymizer,
    *,
    name: str = "",
    object_types: Sequence[ObjectType] | None = None,
    options: Options | None = None,
    cache: DetectionCache | None = None,
    segment: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> EvaluationResult:
    """Evaluate models on a labelled set: detect objects in every image, and compare them with the labels.

    Objects are detected down to the lowest useful scores, so the result holds the figures for every threshold.
    Detections are kept in the cache by image and model. A second call with the same models does not run them again.

    Args:
        labelled: the labelled set, or its images.
        anonymizer: with the models that are evaluated.
        name: what tables and plots call the models; default: their ids.
        object_types: the types that are evaluated; default: all that are labelled and that the models detect.
        options: how images are divided into windows (`format`) and redacted (margins, soft edges, `bbox`). Tables
            show the figures at its thresholds. Default: `Options()`.
        cache: where detections are kept; default: `DetectionCache()`, a file in the user's cache folder.
        segment: evaluate persons and vehicles with the segmentation masks that the service would redact. All
            detections are segmented, which takes long. Default: evaluate their boxes.
        strict: raise an error for the first unreadable image; default: note it in `result.problems`.
        progress: show bars with the time left.

    Returns:
        The result for each object type.

    Raises:
        InvalidDataset: there is no image to evaluate, or an image cannot be read and `strict` is set.
        ModelMissing: no model is installed for one of the object types.
        DetectorFailed: a detector failed.
        OutOfMemory: the memory is not enough.
        TooManyObjects: an image has more detections than are allowed.

    Examples:
        >>> result = evaluate(LabelledSet.read("my-images"), Anonymizer())
        >>> print(result)
    """
    dataset = labelled if isinstance(labelled, LabelledSet) else LabelledSet(tuple(labelled))
    options, cache = options or Options(), cache or DetectionCache()
    problems = Problems(strict, list(dataset.problems))
    served = anonymizer.store.serves()
    types = [one for one in object_types or labelled_types(dataset.images) if one in served]
    images = [image for image in dataset.images if set(types) & set(image.labelled)]
    if not images:
        where = dataset.name or "the set"
        raise InvalidDataset(
            Problem(ProblemKind.EMPTY_SET, where, "no image is labelled for an object type to evaluate")
        )
    form = options.image_format
    predictions = predict(images, anonymizer, types, form, cache=cache, problems=problems, progress=progress)
    evaluator = _Evaluator(images, anonymizer, options, cache, segment=segment, progress=progress)
    return EvaluationResult(
        name=name or _model_ids(anonymizer, types),
        set_name=dataset.name,
        images=tuple(images),
        types={object_type: evaluator.evaluate_type(object_type, predictions) for object_type in types},
        keys={ObjectType(name): key for name, key in anonymizer.store.keys(types).items()},
        format=form,
        options=options,
        problems=problems,
        segment=segment,
    )


def evaluate_detections(
    labelled: LabelledSet,
    detections: Mapping[int, Detections],
    *,
    name: str = "detections",
    object_types: Sequence[ObjectType] | None = None,
    options: Options | None = None,
    cache: DetectionCache | None = None,
    progress: bool = True,
) -> EvaluationResult:
    """Evaluate detections of any model, without an `Anonymizer`.

    Args:
        labelled: the labelled set.
        detections: by the index of the image in `labelled.images`. Images that are left out have no detections.
            `read_detections` reads COCO's results.
        name: what tables and plots call the model.
        object_types: the types that are evaluated; default: those that are labelled and detected at least once.
        options: how objects are redacted, for the leak rate, and the thresholds in use. Default: `Options()`.
        cache: where leak coverage is kept; default: `DetectionCache()`.
        progress: show bars with the time left.

    Returns:
        The result for each object type.

    Raises:
        InvalidDataset: there is no image to evaluate, or no detection of a labelled type.

    Examples:
        >>> labelled = LabelledSet.read("labels.json")
        >>> result = evaluate_detections(labelled, read_detections("results.json", labelled), name="my-model")
    """
    options, cache, problems = options or Options(), cache or DetectionCache(), labelled.problems.copy(strict=False)
    detected = {kind for each in detections.values() for kind in each.count_by_type()}
    types = [kind for kind in labelled_types(labelled.images) if kind in (object_types or detected)]
    predictions = _given_predictions(labelled.images, detections, types, cache, problems)
    if not types or not any(predictions.detections.values()):
        detail = "no image is labelled for an object type that was detected"
        raise InvalidDataset(Problem(ProblemKind.EMPTY_SET, labelled.name or "the set", detail))
    evaluator = _Evaluator(labelled.images, None, options, cache, progress=progress)
    return EvaluationResult(
        name=name,
        set_name=labelled.name,
        images=labelled.images,
        types={object_type: evaluator.evaluate_type(object_type, predictions) for object_type in types},
        keys=dict.fromkeys(types, name),
        format=options.image_format,
        options=options,
        problems=problems,
    )


def _given_predictions(
    images: Sequence[LabelledImage],
    detections: Mapping[int, Detections],
    types: Sequence[ObjectType],
    cache: DetectionCache,
    problems: Problems,
) -> Predictions:
    """Detections that were given, in the form of those that `predict` makes; unreadable images are left out."""
    digests = cache.digests(dict.fromkeys(image.path for image in images))
    predictions = Predictions()
    for index, image in enumerate(images):
        if image.path not in digests or image.size_hw is None:
            problems.add(ProblemKind.PICTURE_BROKEN, str(image.path), "it cannot be read")
            continue
        of_image = detections.get(index, Detections.empty())
        masks = b"".join(mask.pixels.tobytes() for mask in of_image.masks if mask)
        sides = of_image.boxes.tobytes() + of_image.scores.tobytes() + of_image.types.tobytes()
        own = hashlib.blake2b(sides + masks, digest_size=12).hexdigest()
        # the coverage of other detections in the same image is another one
        predictions.digests[index] = f"{digests[image.path]} given {own}"
        for object_type in types:
            if object_type in image.labelled:
                of_type = CachedDetections(image.size_hw, of_image.of_type(object_type))
                predictions.detections[object_type][index] = of_type
    predictions.keys = dict.fromkeys(types, "given")
    return predictions


def _model_ids(anonymizer: Anonymizer, types: Sequence[ObjectType]) -> str:
    serves = anonymizer.store.serves()
    return ", ".join(dict.fromkeys(model_id for object_type in types for model_id in serves[object_type]))


@dataclass
class _Evaluator:
    """Turns detections into results, one object type after the other."""

    images: Sequence[LabelledImage]
    anonymizer: Anonymizer | None
    options: Options
    cache: DetectionCache
    segment: bool = False
    progress: bool = True

    def evaluate_type(self, object_type: ObjectType, predictions: Predictions) -> TypeResult:
        cached = predictions.detections[object_type]
        image_indices = sorted(cached)
        coverages = self._coverages(object_type, image_indices, predictions)
        objects = [self.images[index].objects[object_type] for index in image_indices]
        matched = [_match_image(of, cached[index].detections) for of, index in zip(objects, image_indices, strict=True)]
        numbers = np.arange(len(image_indices))
        excess = [np.column_stack([np.full(len(c.excess), n), c.excess]) for n, c in enumerate(coverages)]
        cover_scores = [c.scores[~of.ignored] for c, of in zip(coverages, objects, strict=True)]
        return TypeResult(
            object_type=object_type,
            image_indices=np.array(image_indices, np.intp),
            pixels=np.array([c.pixels for c in coverages], float),
            object_picture=numbers.repeat(np.array([len(m.match_score) for m in matched], int)),
            object_boxes=_concatenate([m.objects for m in matched], (0, 4)),
            match_score=_concatenate([m.match_score for m in matched], (0,)),
            cover_score=_concatenate(cover_scores, (0,)),
            picture=numbers.repeat(np.array([len(m.scores) for m in matched], int)),
            boxes=_concatenate([m.boxes for m in matched], (0, 4)),
            scores=_concatenate([m.scores for m in matched], (0,)),
            hit=_concatenate([m.hit for m in matched], (0,)).astype(bool),
            excess=np.concatenate([np.zeros((0, 3)), *excess]),
            ignored_picture=numbers.repeat(np.array([len(m.ignored_scores) for m in matched], int)),
            ignored_boxes=_concatenate([m.ignored_boxes for m in matched], (0, 4)),
            ignored_scores=_concatenate([m.ignored_scores for m in matched], (0,)),
        )

    def _coverages(
        self, object_type: ObjectType, image_indices: Sequence[int], predictions: Predictions
    ) -> list[LeakCoverage]:
        """The leak coverage of each image, from the cache if it is there."""
        key = self._coverage_key(object_type, predictions)
        labels = [_label_digest(self.images[index].objects[object_type]) for index in image_indices]
        names = [f"{predictions.digests[index]} {digest}" for index, digest in zip(image_indices, labels, strict=True)]
        known = {name: LeakCoverage.from_bytes(data) for name, data in self.cache.get_coverage(key, names).items()}
        new = {name: index for name, index in zip(names, image_indices, strict=True) if name not in known}
        bar = f"measuring {object_type.words}s"
        for name, index in tqdm(new.items(), desc=bar, unit="image", disable=not (self.progress and new)):
            cached = predictions.detections[object_type][index]
            known[name] = self._coverage(object_type, cached, self.images[index])
        self.cache.put_coverage(key, {name: known[name].to_bytes() for name in new})
        return [known[name] for name in names]

    def _coverage(self, object_type: ObjectType, cached: CachedDetections, image: LabelledImage) -> LeakCoverage:
        detections = cached.detections
        if self.segment and self.anonymizer and object_type in (ObjectType.PERSON, ObjectType.VEHICLE):
            everything = np.ones(len(detections), bool)
            detections = self.anonymizer.engine.add_masks(cached.size_hw, image.pixels, detections, everything)
        return leak_coverage(detections, image.objects[object_type], object_type, cached.size_hw, self.options)

    def _coverage_key(self, object_type: ObjectType, predictions: Predictions) -> str:
        """What leak coverage depends on besides the image and its labels: detections, and how they are redacted."""
        options = self.options
        masks = _segmenter_key(self.anonymizer) if self.segment and self.anonymizer else ""
        reach = options.margin_of(object_type), options.soft_edge(object_type)
        how = (*reach, options.bbox, masks, options.ignores, VISIBLE)
        return f"{VERSION} {predictions.keys[object_type]} {how}"


@dataclass(frozen=True)
class _MatchedImage:
    """One image's share of the arrays of `TypeResult`."""

    objects: NDArray[np.float32]
    match_score: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    hit: NDArray[np.bool_]
    ignored_boxes: NDArray[np.float32]
    ignored_scores: NDArray[np.float32]


def _match_image(objects: Objects, detections: Detections) -> _MatchedImage:
    order = np.argsort(-detections.scores, kind="stable")
    boxes, scores = detections.boxes[order], detections.scores[order]
    rows = match_detections(boxes, objects)
    match_score = np.full(len(objects.boxes), -1, np.float32)
    # Detections are matched by falling score. So the matches above any threshold are those of all detections above it.
    for score, row in zip(scores, rows, strict=True):
        if row is not None:
            match_score[row] = max(match_score[row], score)
    counted = np.array([row is None or not objects.ignored[row] for row in rows], bool)
    hit = np.array([row is not None for row in rows], bool)
    known = ~objects.ignored
    return _MatchedImage(
        objects.boxes[known],
        match_score[known],
        boxes[counted],
        scores[counted],
        hit[counted],
        boxes[~counted],
        scores[~counted],
    )


def _segmenter_key(anonymizer: Anonymizer) -> str:
    """The model that makes masks, with its checksum: masks of another model cover other pixels."""
    segmenter = anonymizer.store.segmenter()
    if segmenter is None:
        return HeuristicSegmenter.id
    entry = anonymizer.store.registry.models.get(segmenter.id)
    return f"{segmenter.id}@{(entry and entry.sha256) or ''}"


def _label_digest(objects: Objects) -> str:
    labels = hashlib.blake2b(objects.boxes.tobytes(), digest_size=8)
    for outline in objects.outlines:
        labels.update(b"".join(polygon.tobytes() for polygon in outline or ()) + b";")
    return labels.hexdigest()


def _concatenate(parts: Sequence[NDArray[np.generic]], empty: tuple[int, ...]) -> NDArray[np.float32]:
    """All parts as float32; an array of shape `empty` if there are none."""
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(empty, np.float32)
