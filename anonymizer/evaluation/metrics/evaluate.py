"""From a labelled set and models to findings: look, match, and see what stays visible."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.datasets.issues import BadSet, Problem, ProblemKind, Problems
from anonymizer.evaluation.metrics.detection_cache import DetectionCache, Kept
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE, LeakCoverage, leak_coverage
from anonymizer.evaluation.metrics.matching import matches
from anonymizer.evaluation.metrics.predictions import Predictions, analyse, types_of
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.segmentation.heuristic import HeuristicSegmenter

__all__ = ["evaluate"]

#: raised where the same detections and labels are judged in another way than before
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
    """Look at every picture once, at the lowest score that is of any use, and judge what was found.

    Detections are kept in the cache by picture and model, so that asking again costs no inference.

    Args:
        name: of the models, for tables; their ids without.
        object_types: what to judge; without, all that are labelled and served.
        options: how pictures are looked at (`format`) and redacted (`margin`, soft edges, `bbox`); figures
            are quoted at its thresholds.
        segment: judge persons and vehicles by the outlines that the service would redact. It takes a segmentation of
            everything that was found. Without, by their boxes.
        strict: raise at the first problem of a picture.
        progress: show bars with the time left.

    Raises:
        BadSet: there is no picture to judge, or a picture cannot be read and `strict`.
        ModelMissing, DetectorFailed, OutOfMemory, TooManyObjects: there is no result.
    """
    whole = labelled if isinstance(labelled, LabelledSet) else LabelledSet(tuple(labelled))
    options, cache = options or Options(), cache or DetectionCache()
    problems = Problems(strict, list(whole.problems))
    served = anonymizer.store.serves()
    types = [each for each in object_types or types_of(whole.images) if each in served]
    images = [image for image in whole.images if set(types) & set(image.labelled)]
    if not images:
        where = whole.name or "the set"
        raise BadSet(Problem(ProblemKind.EMPTY_SET, where, "no picture is labelled for what is to be judged"))
    looked = analyse(images, anonymizer, types, options.format, cache=cache, problems=problems, progress=progress)
    judge = _Judge(images, anonymizer, options, cache, segment=segment, progress=progress)
    return EvaluationResult(
        name=name or _ids(anonymizer, types),
        set_name=whole.name,
        images=tuple(images),
        types={each: judge.of_type(each, looked) for each in types},
        keys={ObjectType(each): key for each, key in anonymizer.store.keys(types).items()},
        format=options.format,
        options=options,
        problems=problems,
        segment=segment,
    )


def _ids(anonymizer: Anonymizer, types: Sequence[ObjectType]) -> str:
    serves = anonymizer.store.serves()
    return ", ".join(dict.fromkeys(each for object_type in types for each in serves[object_type]))


@dataclass
class _Judge:
    images: Sequence[LabelledImage]
    anonymizer: Anonymizer
    options: Options
    cache: DetectionCache
    segment: bool = False
    progress: bool = True

    def of_type(self, object_type: ObjectType, looked: Predictions) -> TypeResult:
        of_place = looked.found[object_type]
        image_indices = sorted(of_place)
        covered = self._coverage(object_type, image_indices, looked)
        parts = [self._of_picture(object_type, of_place[place], self.images[place]) for place in image_indices]
        counts = np.array([len(part.match_score) for part in parts], int)
        of_found = np.array([len(part.scores) for part in parts], int)
        index = np.arange(len(image_indices))
        rows = [np.column_stack([np.full(len(each.excess), n), each.excess]) for n, each in enumerate(covered)]
        judged = [self.images[place].objects[object_type].ignored for place in image_indices]
        return TypeResult(
            object_type=object_type,
            image_indices=np.array(image_indices, np.intp),
            pixels=np.array([each.pixels for each in covered], float),
            object_picture=index.repeat(counts),
            object_boxes=_joined([part.objects for part in parts], (0, 4)),
            match_score=_joined([part.match_score for part in parts], (0,)),
            cover_score=_joined([each.scores[~out] for each, out in zip(covered, judged, strict=True)], (0,)),
            picture=index.repeat(of_found),
            boxes=_joined([part.boxes for part in parts], (0, 4)),
            scores=_joined([part.scores for part in parts], (0,)),
            hit=_joined([part.hit for part in parts], (0,)).astype(bool),
            excess=np.concatenate([np.zeros((0, 3)), *rows]),
        )

    def _of_picture(self, object_type: ObjectType, kept: Kept, image: LabelledImage) -> _Part:
        objects, found = image.objects[object_type], kept.detections
        order = np.argsort(-found.scores, kind="stable")
        boxes, scores = found.boxes[order], found.scores[order]
        hits = matches(boxes, objects)
        match_score = np.full(len(objects.boxes), -1, np.float32)
        # by falling score, and each once: what is found at a threshold is what a search among those above it finds
        for score, row in zip(scores, hits, strict=True):
            if row is not None:
                match_score[row] = max(match_score[row], score)
        counts = np.array([row is None or not objects.ignored[row] for row in hits], bool)
        hit = np.array([row is not None for row in hits], bool)
        known = ~objects.ignored
        return _Part(objects.boxes[known], match_score[known], boxes[counts], scores[counts], hit[counts])

    def _coverage(
        self, object_type: ObjectType, image_indices: Sequence[int], looked: Predictions
    ) -> list[LeakCoverage]:
        """Of each picture, from the cache where it is known."""
        key = self._cover_key(object_type, looked)
        labels = [_label_digest(self.images[place].objects[object_type]) for place in image_indices]
        names = [f"{looked.digests[place]} {digest}" for place, digest in zip(image_indices, labels, strict=True)]
        known = {name: LeakCoverage.from_bytes(data) for name, data in self.cache.covered(key, names).items()}
        new = {name: place for name, place in zip(names, image_indices, strict=True) if name not in known}
        bar = f"judging {object_type.words}s"
        for name, place in tqdm(new.items(), desc=bar, unit="picture", disable=not (self.progress and new)):
            known[name] = self._covered(object_type, looked.found[object_type][place], self.images[place])
        self.cache.keep_covered(key, {name: known[name].to_bytes() for name in new})
        return [known[name] for name in names]

    def _covered(self, object_type: ObjectType, kept: Kept, image: LabelledImage) -> LeakCoverage:
        found, options = kept.detections, self.options
        outlined = object_type in (ObjectType.PERSON, ObjectType.VEHICLE)
        if self.segment and outlined:
            found = self.anonymizer.engine.add_masks(kept.size_hw, image.pixels, found, np.ones(len(found), bool))
        return leak_coverage(found, image.objects[object_type], object_type, kept.size_hw, options)

    def _cover_key(self, object_type: ObjectType, looked: Predictions) -> str:
        """What coverage depends on besides picture and labels: detections, and how is redacted."""
        options = self.options
        masks = _segmenter_key(self.anonymizer) if self.segment else ""
        how = (options.margin, options.soft_edge(object_type), options.bbox, masks, options.ignores, VISIBLE)
        return f"{VERSION} {looked.keys[object_type]} {how}"


def _segmenter_key(anonymizer: Anonymizer) -> str:
    """What makes masks, and its sum: those of another one cover something else."""
    segmenter = anonymizer.store.segmenter()
    if segmenter is None:
        return HeuristicSegmenter.id
    entry = anonymizer.store.registry.models.get(segmenter.id)
    return f"{segmenter.id}@{(entry and entry.sha256) or ''}"


def _label_digest(objects: Objects) -> str:
    labels = hashlib.blake2b(objects.boxes.tobytes(), digest_size=8)
    for outline in objects.outlines:
        labels.update(b"".join(each.tobytes() for each in outline or ()) + b";")
    return labels.hexdigest()


@dataclass(frozen=True)
class _Part:
    """One picture's share of `TypeFindings`."""

    objects: NDArray[np.float32]
    match_score: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    hit: NDArray[np.bool_]


def _joined(parts: Sequence[NDArray[np.generic]], empty: tuple[int, ...]) -> NDArray[np.float32]:
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(empty, np.float32)
