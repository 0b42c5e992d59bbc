"""Which files of a folder are jobs, and where their results go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.files.walk import OnLeftAlone, OnUnsearched, walk_files
from anonymizer.pipeline.files.whole import side_file
from anonymizer.pipeline.jobs.job import Job
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, sniff

__all__ = ["OTHER_ENDINGS", "is_media", "list_jobs", "media_info", "refuse_originals"]

#: A file with one of these endings should be an image or a video. If it is neither, it fails; it is not passed over.
MEDIA_ENDINGS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .avif .gif "
    ".mp4 .m4v .mov .qt .mkv .webm .avi .m2ts .m2t .3gp .3g2 .wmv .asf .flv .f4v "
    ".mpg .mpeg .m1v .m2v .vob .mxf .ogv .ogm .divx .dv .rm .rmvb .insv .lrv .h264 .h265 .hevc .ivf .y4m".split()
)
#: these are endings of programs, of music and of texts too: a text with such an ending is no video
OTHER_USES = frozenset((".ts", ".mts", ".mod", ".tod", ".trp", ".264", ".265", ".360"))
#: how the AppleDouble files of macOS (`._IMG_1.jpg`) begin
APPLE_DOUBLE = b"\0\x05\x16\x07"
#: the endings that the result of a video may get if its own container cannot be written
OTHER_ENDINGS = (".mp4", ".mkv")


def list_jobs(
    source: Path,
    target: Path,
    *,
    on_unsearched: OnUnsearched | None = None,
    on_left_alone: OnLeftAlone | None = None,
) -> tuple[list[Job], int]:
    """List the images and videos of a folder and its sub-folders, and count the other files.

    Hidden files, files in hidden folders, and what is no regular file (a FIFO, a device) are counted as other files.

    Args:
        source: a folder, or one file. A hidden file that is named here is a job, unless it is one of the AppleDouble
            files that macOS puts beside others.
        target: a folder. Sub-folders of the source are kept below it. Files in it are never taken as input.
        on_unsearched: is called for each sub-folder that cannot be read or is a link; default: an error.
        on_left_alone: is called for each of the other files.

    Returns:
        The jobs in the order of their names, and the number of files that are neither images nor videos.

    Raises:
        ValueError: the target is where the source lies, or it holds the source or a file that a link leads to. Results
            could replace originals there, or originals be taken for results.
        OSError: a folder cannot be read or is a link, and there is no `on_unsearched`.
    """
    if source.is_file():
        if _is_apple_double(source):
            if on_left_alone is not None:
                on_left_alone(source)
            return [], 1
        _refuse_inside(source, target)
        jobs = [Job(source, target / source.name)]
        refuse_originals(jobs)
        return jobs, 0
    if source.resolve() == target.resolve():
        raise ValueError("the output folder is the input folder: results would replace originals")
    if source.resolve().is_relative_to(target.resolve()):
        raise ValueError("the output folder holds the input folder: results could replace originals")
    others: list[Path] = []
    found = []
    for file in walk_files(source, leave_out=target, on_unsearched=on_unsearched, on_left_alone=others.append):
        if is_media(file.name, partial(_head, file)):
            if file.is_symlink():
                _refuse_inside(file, target)
            found.append(Job(file, target / file.relative_to(source)))
        else:
            others.append(file)
    refuse_originals(found)
    if on_left_alone is not None:
        for file in others:
            on_left_alone(file)
    return found, len(others)


def refuse_originals(jobs: Iterable[Job]) -> None:
    """Make sure that no result has the place of an original, by whatever name: links lead to one file too.

    Args:
        jobs: all jobs of a run.

    Raises:
        ValueError: a result that exists already is one of the files to be worked on; the sentence names it.
    """
    jobs = list(jobs)
    places = {place: file_id for job in jobs for place in result_places(job) if (file_id := _file_id(place))}
    originals = {file_id: job.source for job in jobs if places and (file_id := _file_id(job.source))}
    for place, file_id in places.items():
        if file_id in originals:
            raise ValueError(f"{place} is the original {originals[file_id]}: a result would replace it")


def result_places(job: Job) -> Iterator[Path]:
    """The paths that the image or video of a job's result may have."""
    yield job.target
    for ending in OTHER_ENDINGS:
        yield side_file(job.target, ending)


def media_info(file: Path) -> MediaInfo:
    """Find the format of a file by its first bytes.

    Args:
        file: a regular file.

    Raises:
        BrokenMedia: it is empty.
        UnsupportedMedia: it is no image or video that is supported.
        OSError: it cannot be read.
    """
    return sniff(_head(file, HEAD_BYTES))


def _refuse_inside(file: Path, target: Path) -> None:
    """Refuse a file that lies in the output folder, by its own name or by that of the file it links to."""
    folder = target.resolve()
    if (folder / file.name).resolve() == file.resolve():
        raise ValueError(f"the output folder is where the input {file} lies: results would replace originals")
    for place in (file.parent.resolve() / file.name, file.resolve()):
        if place.is_relative_to(folder):
            raise ValueError(f"the output folder holds the input {file}: results could replace originals")


def _file_id(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_apple_double(file: Path) -> bool:
    if not file.name.startswith("._"):
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(len(APPLE_DOUBLE)) == APPLE_DOUBLE
    except OSError:
        return False


def is_media(name: str, head: Callable[[int], bytes]) -> bool:
    """Whether a file is to be worked on: an image, a video, or a file that its ending calls one.

    Args:
        name: of the file.
        head: reads so many of its first bytes. It is called where the name alone does not tell.
    """
    ending = PurePosixPath(name).suffix.lower()
    try:
        if ending in OTHER_USES and b"\0" in head(HEAD_BYTES):
            return True
        if ending not in MEDIA_ENDINGS:
            sniff(head(HEAD_BYTES))
    except AnonymizerError:
        return False
    except OSError:
        # a broken link or a file without the right to read it: it fails as a job, which names it
        return ending in MEDIA_ENDINGS | OTHER_USES
    return True


def _head(file: Path, count: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(count)
