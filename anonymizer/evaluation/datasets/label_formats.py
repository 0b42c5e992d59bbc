"""Tell the format of a labelled set, and read its labels."""

from __future__ import annotations

from pathlib import Path

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.coco import coco_file, read_coco
from anonymizer.evaluation.datasets.cvat import is_cvat, read_cvat
from anonymizer.evaluation.datasets.issues import Problems
from anonymizer.evaluation.datasets.label_studio import is_label_studio, read_label_studio
from anonymizer.evaluation.datasets.records import Labels
from anonymizer.evaluation.datasets.voc import label_files, read_voc
from anonymizer.evaluation.datasets.yolo import is_yolo, read_yolo

__all__ = ["read_labels"]

_YAML = (".yaml", ".yml")


def read_labels(path: Path, problems: Problems, class_names: ClassNames) -> Labels | None:
    """Read labels in the format that a path has.

    Args:
        path: of a label file or a folder.
        problems: problems are added to it.
        class_names: what class names mean.

    Returns:
        The labels; None if there are none.

    Raises:
        InvalidDataset: there is a problem, and `problems` is strict.
        FileNotFoundError: the path does not exist.
        ValueError: the path is not a labelled set of a known format, or it contains several sets.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.is_file():
        return _read_file(path, problems, class_names)
    if is_yolo(path):
        return read_yolo(path, problems, class_names)
    if files := label_files(path):
        if len(files) == 1 and is_cvat(files[0]):
            return read_cvat(files[0], problems, class_names)
        return read_voc(path, files, problems, class_names)
    if file := coco_file(path):
        return _read_file(file, problems, class_names)
    return None


def _read_file(file: Path, problems: Problems, class_names: ClassNames) -> Labels:
    ending = file.suffix.lower()
    if ending == ".json":
        read = read_label_studio if is_label_studio(file) else read_coco
        return read(file, problems, class_names)
    if ending in _YAML:
        return read_yolo(file, problems, class_names)
    if ending == ".xml":
        return read_cvat(file, problems, class_names)
    raise ValueError(
        f"path is {str(file)!r}, but must be a folder, a COCO or Label Studio file (.json), a CVAT file (.xml), "
        "or a YOLO file (.yaml)."
    )
