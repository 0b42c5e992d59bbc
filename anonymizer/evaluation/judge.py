"""From a labelled set and models to findings: look, match, and see what stays visible."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from anonymizer.evaluation.cache import DetectionCache, Kept
from anonymizer.evaluation.coverage import VISIBLE, Coverage, coverage
from anonymizer.evaluation.detect import Looked, look, types_of
from anonymizer.evaluation.findings import Findings, TypeFindings
from anonymizer.evaluation.labelled import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.matching import matches
from anonymizer.evaluation.problems import BadSet, Problem, ProblemKind, Problems
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.objects import ObjectType
from anonymizer.pipeline.options import Options
from anonymizer.pipeline.refinement import Refinement

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
) -> Findings:
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
    looked = look(images, anonymizer, types, options.format, cache=cache, problems=problems, progress=progress)
    judge = _Judge(images, anonymizer, options, cache, segment=segment, progress=progress)
    return Findings(
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

    def of_type(self, object_type: ObjectType, looked: Looked) -> TypeFindings:
        of_place = looked.found[object_type]
        places = sorted(of_place)
        covered = self._coverage(object_type, places, looked)
        parts = [self._of_picture(object_type, of_place[place], self.images[place]) for place in places]
        counts = np.array([len(part.found_at) for part in parts], int)
        of_found = np.array([len(part.scores) for part in parts], int)
        index = np.arange(len(places))
        rows = [np.column_stack([np.full(len(each.excess), n), each.excess]) for n, each in enumerate(covered)]
        judged = [self.images[place].objects[object_type].ignored for place in places]
        return TypeFindings(
            object_type=object_type,
            places=np.array(places, np.intp),
            pixels=np.array([each.pixels for each in covered], float),
            object_picture=index.repeat(counts),
            object_boxes=_joined([part.objects for part in parts], (0, 4)),
            found_at=_joined([part.found_at for part in parts], (0,)),
            covered_at=_joined([each.scores[~out] for each, out in zip(covered, judged, strict=True)], (0,)),
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
        found_at = np.full(len(objects.boxes), -1, np.float32)
        # by falling score, and each once: what is found at a threshold is what a search among those above it finds
        for score, row in zip(scores, hits, strict=True):
            if row is not None:
                found_at[row] = max(found_at[row], score)
        counts = np.array([row is None or not objects.ignored[row] for row in hits], bool)
        hit = np.array([row is not None for row in hits], bool)
        known = ~objects.ignored
        return _Part(objects.boxes[known], found_at[known], boxes[counts], scores[counts], hit[counts])

    def _coverage(self, object_type: ObjectType, places: Sequence[int], looked: Looked) -> list[Coverage]:
        """Of each picture, from the cache where it is known."""
        key = self._cover_key(object_type, looked)
        labels = [_label_digest(self.images[place].objects[object_type]) for place in places]
        names = [f"{looked.digests[place]} {digest}" for place, digest in zip(places, labels, strict=True)]
        known = {name: Coverage.from_bytes(data) for name, data in self.cache.covered(key, names).items()}
        new = {name: place for name, place in zip(names, places, strict=True) if name not in known}
        bar = f"judging {object_type.words}s"
        for name, place in tqdm(new.items(), desc=bar, unit="picture", disable=not (self.progress and new)):
            known[name] = self._covered(object_type, looked.found[object_type][place], self.images[place])
        self.cache.keep_covered(key, {name: known[name].to_bytes() for name in new})
        return [known[name] for name in names]

    def _covered(self, object_type: ObjectType, kept: Kept, image: LabelledImage) -> Coverage:
        found, options = kept.detections, self.options
        outlined = object_type in (ObjectType.PERSON, ObjectType.VEHICLE)
        if self.segment and outlined:
            found = self.anonymizer.segmented(kept.size_hw, image.pixels, found, np.ones(len(found), bool))
        return coverage(found, image.objects[object_type], object_type, kept.size_hw, options)

    def _cover_key(self, object_type: ObjectType, looked: Looked) -> str:
        """What coverage depends on besides picture and labels: detections, and how is redacted."""
        options = self.options
        masks = _segmenter_key(self.anonymizer) if self.segment else ""
        how = (options.margin, options.soft_edge(object_type), options.bbox, masks, options.ignores, VISIBLE)
        return f"{VERSION} {looked.keys[object_type]} {how}"


def _segmenter_key(anonymizer: Anonymizer) -> str:
    """What makes masks, and its sum: those of another one cover something else."""
    segmenter = anonymizer.store.segmenter()
    if segmenter is None:
        return Refinement.id
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
    found_at: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    hit: NDArray[np.bool_]


def _joined(parts: Sequence[NDArray[np.generic]], empty: tuple[int, ...]) -> NDArray[np.float32]:
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(empty, np.float32)
