"""`anonymizer labels`: detections as labels for other tools, and labels back as regions or as a labelled set."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.datasets.issues import InvalidDataset
from anonymizer.evaluation.exchange.pictures import (
    BrokenMetadata,
    ExchangedPicture,
    of_labelled_set,
    of_metadata,
    read_metadata_files,
)
from anonymizer.evaluation.exchange.regions import write_regions
from anonymizer.evaluation.exchange.videos import of_video_metadata, read_video_metadata, write_cvat_videos
from anonymizer.evaluation.exchange.writing import LOCAL_FILES, LabelFormat, write_labels
from anonymizer.management.base import AnonymizerCommand, UsageError
from anonymizer.management.label_options import add_map, read_map
from anonymizer.models import Kind
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.service.labels.finished import FinishedPicture, finished_pictures

_FORMATS = ", ".join(LabelFormat)


class Command(AnonymizerCommand):
    """Exchange labels with other tools."""

    help = (
        "Give detections to label tools (COCO, YOLO, CVAT XML 1.1, Label Studio JSON), and take labels back: "
        "as regions to redact, or as a labelled set for evaluation and training."
    )
    examples = """
  anonymizer labels export anonymised --format cvat --output for-cvat
      the boxes that `anonymizer run` found, for an import into CVAT; --pictures photos copies the originals too;
      of each video, its tracks as NAME.xml
  anonymizer labels export --tasks --format label-studio --output for-label-studio
      the boxes of all finished tasks of the service
  anonymizer labels import annotations.xml --regions regions
      corrected labels as NAME.regions.json, the parameter `regions` of POST /v1/file and of a review
  anonymizer labels convert annotations.xml --output my-set --map visage=face
      a labelled set (COCO with its pictures) for `anonymizer evaluate --set my-set` and the notebooks
  anonymizer labels from-reviews --output reviewed
      pictures and labels of the tasks that were reviewed, as a labelled set
"""
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the actions."""
        actions = parser.add_subparsers(dest="action", required=True, title="actions", metavar="ACTION")
        exporting = actions.add_parser("export", help="write detections as labels that a label tool imports")
        exporting.add_argument("source", nargs="?", type=Path, help="folder or file of metadata that `run` wrote")
        exporting.add_argument(
            "--tasks", nargs="*", metavar="ID", help="take finished tasks of the service: these, or all without an ID"
        )
        exporting.add_argument(
            "--pictures", type=Path, metavar="FOLDER", help="copy the originals of a folder; default: labels only"
        )
        exporting.add_argument("--url-prefix", default=LOCAL_FILES, help="Label Studio: the beginning of addresses")
        _add_output(exporting)
        importing = actions.add_parser("import", help="read labels, and write them as regions to redact")
        _add_labels(importing)
        importing.add_argument(
            "--regions", required=True, type=Path, metavar="FOLDER", help="folder for NAME.regions.json; required"
        )
        converting = actions.add_parser("convert", help="read labels, and write them as a labelled set with pictures")
        _add_labels(converting)
        _add_output(converting, default=LabelFormat.COCO)
        showing = actions.add_parser("summary", help="read labels, and say what was read and what is wrong")
        _add_labels(showing)
        reviewing = actions.add_parser("from-reviews", help="write reviewed tasks as a labelled set with pictures")
        reviewing.add_argument("--tasks", nargs="+", default=[], metavar="ID", help="only these; default: all")
        _add_output(reviewing, default=LabelFormat.COCO)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action.

        Raises:
            CommandError: it is not possible, or there is no database.
        """
        try:
            getattr(self, f"_{options['action'].replace('-', '_')}")(options)
        except (AnonymizerError, InvalidDataset, BrokenMetadata) as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"The database does not answer ({error}): run `anonymizer manage migrate`.") from error
        except OSError as error:
            raise CommandError(str(error)) from error
        except ValueError as error:
            raise UsageError(f"{error}.") from error

    def _export(self, options: dict[str, Any]) -> None:
        if (options["source"] is None) == (options["tasks"] is None):
            raise UsageError("export takes a folder of metadata, or --tasks.")
        label_format = LabelFormat(options["format"])
        if options["tasks"] is None:
            pictures = list(read_metadata_files(options["source"], options["pictures"]))
            videos = list(read_video_metadata(options["source"]))
        else:
            finished = list(finished_pictures(options["tasks"], kinds=(Kind.IMAGE, Kind.VIDEO)))
            is_video = [each.task.kind == Kind.VIDEO for each in finished]
            pictures = [
                of_metadata(each.metadata, name=each.name, labelled=_types(each))
                for each, video in zip(finished, is_video, strict=True)
                if not video
            ]
            videos = [
                of_video_metadata(each.metadata, name=each.name)
                for each, video in zip(finished, is_video, strict=True)
                if video
            ]
            if not finished:
                raise CommandError("There is no finished task with a picture or a video.")
        left_out = f"{len(videos)} video(s) left out: only --format cvat exports videos."
        if videos and label_format is not LabelFormat.CVAT:
            if not pictures:
                raise CommandError(left_out)
            self.stderr.write(left_out)
            videos = []
        if pictures:
            copied = options["pictures"] is not None and options["tasks"] is None
            file = write_labels(
                pictures, options["output"], label_format, copy_pictures=copied, url_prefix=options["url_prefix"]
            )
            self._report(pictures, file)
        for video, file in zip(videos, write_cvat_videos(videos, options["output"]), strict=True):
            self.stdout.write(f"{file}: {len(video.tracks)} tracks in {video.frames} frames")

    def _import(self, options: dict[str, Any]) -> None:
        count = write_regions(of_labelled_set(self._read(options)), options["regions"])
        self.stdout.write(f"{options['regions']}: {count} files")

    def _convert(self, options: dict[str, Any]) -> None:
        labelled = self._read(options)
        pictures = list(of_labelled_set(labelled))
        label_format = LabelFormat(options["format"])
        self._report(pictures, write_labels(pictures, options["output"], label_format, copy_pictures=True))
        ignored = sum(each.ignored for picture in pictures for each in picture.objects)
        if label_format is not LabelFormat.COCO and ignored:
            self.stderr.write(f"Only COCO can say that objects are ignored: {ignored} became ordinary objects.")

    def _summary(self, options: dict[str, Any]) -> None:
        self._read(options)

    def _from_reviews(self, options: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            finished = list(finished_pictures(options["tasks"], reviewed=True))
            pictures = list(_with_originals(finished, Path(folder), stack))
            if not pictures:
                raise CommandError("There is no reviewed task with a picture that still has its original.")
            file = write_labels(pictures, options["output"], LabelFormat(options["format"]), copy_pictures=True)
        self._report(pictures, file)
        if gone := len(finished) - len(pictures):
            self.stderr.write(f"{gone} reviewed tasks have no original any more, and were left out.")
        self.stdout.write("The pictures in it are not anonymised.")

    def _read(self, options: dict[str, Any]) -> LabelledSet:
        """Read labels, and say what was read.

        Raises:
            CommandError: nothing can be used.
        """
        labelled = LabelledSet.read(options["labels"], names=read_map(options["map"]))
        self.stderr.write(labelled.summary())
        if labelled.problems:
            self.stderr.write(f"{len(labelled.problems)} problem(s):\n{labelled.problems.summary()}")
        if not labelled.images:
            raise CommandError(f"{options['labels']}: there is no picture with labels.")
        return labelled

    def _report(self, pictures: list[ExchangedPicture], file: Path) -> None:
        objects = sum(len(picture.objects) for picture in pictures)
        self.stdout.write(f"{file}: {objects} objects in {len(pictures)} pictures")


def _add_labels(parser: ArgumentParser) -> None:
    parser.add_argument("labels", type=Path, help="COCO, YOLO, Pascal VOC, CVAT XML 1.1 or Label Studio JSON")
    add_map(parser)


def _add_output(parser: ArgumentParser, default: str | None = None) -> None:
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where to write; required")
    parser.add_argument(
        "--format", required=default is None, default=default, choices=[*LabelFormat], metavar="FORMAT", help=_FORMATS
    )


def _types(finished: FinishedPicture) -> list[ObjectType]:
    return [ObjectType(name) for name in finished.task.object_types]


def _with_originals(finished: list[FinishedPicture], folder: Path, stack: ExitStack) -> Iterator[ExchangedPicture]:
    for each in finished:
        if each.original is not None:
            path = stack.enter_context(each.open_original(folder))
            yield of_metadata(each.metadata, name=each.name, path=path, labelled=_types(each), is_checked=True)
