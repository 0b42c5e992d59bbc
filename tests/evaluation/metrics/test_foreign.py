"""Detections of other programs, the confusion matrix, precision by size and data frames."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from anonymizer.evaluation import (
    DetectionCache,
    LabelledSet,
    average_precision,
    choose_thresholds,
    confusion_matrix,
    evaluate_detections,
    label_hints,
    precision_by_size,
)
from anonymizer.evaluation.datasets.issues import InvalidDataset
from anonymizer.evaluation.exchange.results import BrokenResults, read_detections
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.detections import ObjectType
from tests.evaluation.found import evaluate_pictures
from tests.evaluation.metrics.test_average_precision import drawn
from tests.evaluation.sets import coco, save_picture

FACE, PLATE, PERSON = ObjectType.FACE, ObjectType.LICENSE_PLATE, ObjectType.PERSON
A, B, C = (10, 10, 50, 50), (60, 10, 90, 40), (100, 50, 140, 90)


def write_foreign(folder: Path) -> tuple[Path, Path]:
    """A COCO file of 20 pictures and COCO results for it, with crowds and all sizes."""
    rows, results = [], []
    for number, (boxes, scores, known) in enumerate(drawn(20), start=1):
        for box, ignored in zip(known.boxes.tolist(), known.ignored.tolist(), strict=True):
            at = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            rows.append({"image_id": number, "bbox": at, "area": at[2] * at[3], "iscrowd": int(ignored)})
        for box, score in zip(boxes.clip(0, 600).tolist(), scores.tolist(), strict=True):
            at = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append({"image_id": number, "category_id": 1, "bbox": at, "score": score})
    size = {"width": 600, "height": 600}
    labels = coco(folder, rows, names=("visage",), pictures=[size] * 20, save=False)
    for number in range(1, 21):
        save_picture(folder / "set" / f"{number}.png", (600, 600))
    file = folder / "results.json"
    file.write_text(json.dumps(results))
    return labels, file


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationResult, Path, Path]:
    folder = tmp_path_factory.mktemp("foreign")
    labels, file = write_foreign(folder)
    names = {"visage": "face"}
    labelled = LabelledSet.read(labels, names=names)
    cache = DetectionCache(folder / "cache.sqlite3")
    detections = read_detections(file, labelled, names=names)
    return evaluate_detections(labelled, detections, name="mine", cache=cache, progress=False), labels, file


def test_foreign_detections_get_the_figures_of_cocos_own_table(foreign: tuple[EvaluationResult, Path, Path]) -> None:
    result, labels, file = foreign
    truth = COCO(str(labels))
    run = COCOeval_faster(truth, truth.loadRes(str(file)), "bbox", print_function=lambda *_: None)
    run.evaluate()
    run.accumulate()
    run.summarize()
    assert result.name == "mine" and result.types.keys() == {FACE}
    assert average_precision(result, FACE, iou=None) == pytest.approx(run.stats[0], abs=1e-4)
    rows = {row.size.split(" ")[0]: row for row in precision_by_size(result) if row.size_by in ("all", "area")}
    assert (rows["all"].ap, rows["all"].ap50, rows["all"].ap75) == pytest.approx(tuple(run.stats[:3]), abs=1e-4)
    assert rows["all"].ar == pytest.approx(run.stats[8], abs=1e-4)
    by_size = [(row.ap, row.ar) for name, row in rows.items() if name != "all"]
    wanted = [(run.stats[3 + n], run.stats[9 + n]) for n in range(len(by_size))]
    assert np.array(by_size) == pytest.approx(np.array(wanted), abs=1e-4)
    assert len(by_size) == 2, "the made objects are small and medium"


def test_sizes_by_the_shorter_side_hold_all_objects_and_the_right_ones(
    foreign: tuple[EvaluationResult, Path, Path],
) -> None:
    result = foreign[0]
    rows = [row for row in precision_by_size(result) if row.size_by == "shorter side"]
    assert [row.objects for row in rows] == list(result[FACE].size_counts().values())
    assert [row.size for row in rows] == ["less than 16 px", "16 to 32 px", "32 to 96 px"]
    # larger objects are hit by the same noise at a higher overlap
    assert rows[0].ar < rows[1].ar < rows[2].ar
    frame = precision_by_size(result).to_pandas()
    assert list(frame["objects"])[-3:] == [row.objects for row in rows]
    assert "shorter side" in str(precision_by_size(result))


def test_thresholds_can_be_chosen_for_foreign_detections(foreign: tuple[EvaluationResult, Path, Path]) -> None:
    (choice,) = choose_thresholds(foreign[0], 0.1)
    assert choice.verdict == "reached" and choice.threshold > 0


def test_results_are_data_frames(foreign: tuple[EvaluationResult, Path, Path]) -> None:
    result = foreign[0]
    (row,) = result.to_pandas().to_dict("records")
    at = result.options.threshold(FACE)
    assert (row["type"], row["model"], row["objects"]) == ("face", "mine", result[FACE].objects)
    assert row["recall_low"] < row["recall"] == result[FACE].recall(at).value < row["recall_high"]
    assert row["precision"] == result[FACE].curve([at]).precision[0]
    frame = result[FACE].curve([0.2, 0.8]).to_pandas()
    assert frame["thresholds"].tolist() == [0.2, 0.8] and frame["recall"][0] > frame["recall"][1]


def test_types_are_confused_and_the_background_has_a_row_and_a_column(tmp_path: Path) -> None:
    pictures = [
        # a person is found as a face too, and B as a license plate; C is missed; a false person in the corner
        {
            FACE: ([], [(*A, 0.9)]),
            PLATE: ([], [(*B, 0.8), (*A, 0.1)]),
            PERSON: ([A, B, C], [(*A, 0.7), (150, 0, 199, 40, 0.6)]),
        },
        # only faces are labelled here, so the detected person says nothing
        {FACE: ([A], [(*A, 0.9)])},
    ]
    matrix = confusion_matrix(evaluate_pictures(tmp_path, pictures))
    assert matrix.types == (FACE, PLATE, PERSON)
    #        face, plate, person, missed
    wanted = [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1], [1, 0, 1, 0]]
    assert matrix.counts.tolist() == wanted
    assert matrix.shares[2].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3]) and math.isnan(matrix.shares[1, 0])
    frame = matrix.to_pandas()
    assert frame.loc["person", "background"] == 1 and frame.loc["background", "face"] == 1
    assert "detected as license plate" in str(matrix) and "<table" in matrix._repr_html_()
    low = confusion_matrix(evaluate_pictures(tmp_path, pictures), thresholds=dict.fromkeys(ObjectType, 0.05))
    # the plate in A lies on an object that is found already
    assert low.counts[-1].tolist() == [1, 1, 1, 0]


def test_confident_detections_without_labels_are_a_hint(tmp_path: Path) -> None:
    corners = [(x, y, x + 12, y + 12, 0.95) for x in range(0, 180, 30) for y in (0, 60)]
    labelled = evaluate_pictures(tmp_path, [{FACE: ([row[:4] for row in corners], corners)}])
    assert label_hints(labelled) == []
    (tmp_path / "half").mkdir()
    half = evaluate_pictures(tmp_path / "half", [{FACE: ([row[:4] for row in corners[:6]], corners)}])
    (hint,) = label_hints(half)
    assert hint.startswith("Labels of faces look incomplete: 6 of 12 detections with a score of 0.9 or more have no l")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"category_id": 1}], "row 1 has no image_id"),
        ([{"image_id": 1, "category_id": 9, "bbox": [1, 1, 2, 2]}], "row 1 has category_id 9; names are: 1 face"),
        ([{"image_id": 1, "category_id": 1, "score": 0.5}], "a row of image 1 is broken: KeyError"),
        ([{"image_id": 7, "category_id": 1, "bbox": [1, 1, 2, 2]}], "rows of other images: 1 of 1"),
        ({"rows": []}, "is no list of detections, and has no list of annotations"),
    ],
)
def test_what_is_wrong_with_foreign_detections_is_said(tmp_path: Path, rows: object, said: str) -> None:
    labelled = LabelledSet.read(coco(tmp_path, [{"bbox": [2, 2, 8, 8]}], names=("face",)))
    file = tmp_path / "results.json"
    file.write_text(json.dumps(rows))
    with pytest.raises(BrokenResults, match=said):
        read_detections(file, labelled)


def test_images_are_found_by_name_too_and_nothing_to_evaluate_is_an_error(tmp_path: Path) -> None:
    labelled = LabelledSet.read(coco(tmp_path, [{"bbox": [2, 2, 8, 8]}]))
    file = tmp_path / "results.json"
    whole = {
        "images": [{"id": 77, "file_name": "some/where/1.png"}],
        "annotations": [{"image_id": 77, "category_id": 5, "bbox": [2, 2, 8, 8]}],
        "categories": [{"id": 5, "name": "human face"}],
    }
    file.write_text(json.dumps(whole))
    (detections,) = read_detections(file, labelled).values()
    assert detections.boxes.tolist() == [[2, 2, 10, 10]] and detections.object_type(0) is FACE
    file.write_text(json.dumps([{"image_id": "1", "category_name": "face", "bbox": [2, 2, 8, 8], "score": 0.9}]))
    assert list(read_detections(file, labelled)) == [0]
    with pytest.raises(InvalidDataset, match="no image is labelled for an object type that was detected"):
        evaluate_detections(labelled, {}, cache=DetectionCache(tmp_path / "cache"), progress=False)
