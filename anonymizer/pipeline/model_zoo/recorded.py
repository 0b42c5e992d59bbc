"""The checksums that were recorded at first downloads, of models whose publishers give none."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from anonymizer.pipeline.errors import DetectorFailed

__all__ = ["RecordedSums", "read_recorded", "write_recorded"]


@dataclass(frozen=True, slots=True)
class RecordedSums:
    """The checksums of a model that were recorded at its first download.

    Attributes:
        file: sha256 of the model's file.
        archive: sha256 of the archive that the file came in; None: it came without an archive.
    """

    file: str
    archive: str | None = None


def read_recorded(folder: Path) -> dict[str, RecordedSums]:
    """Read the checksums that were recorded at first downloads into a folder, by id of the model.

    Raises:
        DetectorFailed: `recorded.toml` exists and cannot be read.
    """
    file = folder / "recorded.toml"
    try:
        return {name: RecordedSums(**sums) for name, sums in tomllib.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise DetectorFailed(f"{file} cannot be read: {error}.") from error


def write_recorded(folder: Path, model_id: str, sums: RecordedSums) -> None:
    """Record the checksums of a model in a folder, in `recorded.toml`.

    Raises:
        DetectorFailed: `recorded.toml` exists and cannot be read.
        OSError: it cannot be written.
    """
    rows = read_recorded(folder) | {model_id: sums}
    text = "# sha256 of models whose publisher gives none, recorded at the first download\n"
    for name, row in rows.items():
        text += f'\n[{name}]\nfile = "{row.file}"\n' + (f'archive = "{row.archive}"\n' if row.archive else "")
    part = folder / "recorded.toml.part"
    part.write_text(text)
    part.replace(folder / "recorded.toml")
