"""Ask another process what libjpeg and libtiff say of a file.

Both only warn of damaged data, and fill the gap: with one colour, or with what they make of the next bytes. Pillow
drops these warnings. OpenCV, which has the same libraries, writes them to the standard error stream. All threads of a
process share that stream, so the files are decoded in another process. There is one for each process that asks.
"""

from __future__ import annotations

import atexit
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2

from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.images.decoder_checks.process import MANY, NOT_DECODED

__all__ = ["can_decode", "jpeg_warnings", "tiff_warnings"]

_SCRIPT = Path(__file__).with_name("process.py")
#: `imdecode` has limits of its own. Here the size was checked before.
_NO_LIMIT = {f"OPENCV_IO_MAX_IMAGE_{what}": str(2**40) for what in ("PIXELS", "WIDTH", "HEIGHT")}
#: Seconds that the process has to end.
_PATIENCE_S = 5.0


class _Decoder:
    """The process, which is started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def messages(self, file: bytes, mode: int) -> str:
        """What the decoders write while they decode a file.

        Args:
            file: its bytes.
            mode: how `cv2.imdecode` reads it, or `MANY`.

        Raises:
            BrokenMedia: the process ends without an answer, twice.
        """
        with self._lock:
            for _ in range(2):
                answer = self._ask(struct.pack("<qQ", mode, len(file)), file)
                if answer is not None:
                    return answer.decode(errors="replace")
                self.stop()
        raise BrokenMedia("The picture is broken: the decoder ended without an answer.")

    def _ask(self, *request: bytes) -> bytes | None:
        if self._process is None:
            environment = {**os.environ, **_NO_LIMIT, "OPENCV_LOG_LEVEL": "WARNING"}
            # without -P, the folder's own modules would stand before those of Python
            command = [sys.executable, "-P", str(_SCRIPT)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None:
            return None
        try:
            for part in request:
                requests.write(part)
            requests.flush()
            length = answers.read(8)
            answer = answers.read(*struct.unpack("<Q", length)) if len(length) == 8 else b""
        except OSError:
            return None
        return answer if len(length) == 8 and len(answer) == struct.unpack("<Q", length)[0] else None

    def stop(self) -> None:
        """End the process. It is started again when it is next needed."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


#: The decoders that were started in this process or, before a fork, in the one that it came from.
_decoders = [_Decoder()]


def _forget() -> None:
    # the pipes belong to the parent, whose threads may hold the lock; a reference keeps the object from being closed
    _decoders.append(_Decoder())


os.register_at_fork(after_in_child=_forget)
atexit.register(lambda: _decoders[-1].stop())


def jpeg_warnings(file: bytes) -> list[str]:
    """Decode a JPEG at an eighth of its size, for which all coded data are read, and list libjpeg's warnings of damage.

    Args:
        file: a whole JPEG file.

    Returns:
        Lines such as "Corrupt JPEG data: 30 extraneous bytes before marker 0xd9"; empty if there is no damage.

    Raises:
        BrokenMedia: the decoder's process ends without an answer.
    """
    lines = _decoders[-1].messages(file, cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION).splitlines()
    damage = ("Corrupt JPEG data", "Inconsistent progression", NOT_DECODED.decode())
    return [line for line in lines if line.startswith(damage)]


def tiff_warnings(file: bytes) -> list[str]:
    """Decode a TIFF, and list libtiff's warnings and errors.

    Args:
        file: a whole TIFF file, with no tag that is not needed.

    Returns:
        Lines such as "... Fax3DecodeRLE: Line length mismatch at line 3 of strip 0 (got 210, expected 208)"; empty if
        there are none.

    Raises:
        BrokenMedia: the decoder's process ends without an answer.
    """
    return _decoders[-1].messages(file, cv2.IMREAD_UNCHANGED).splitlines()


def can_decode(files: Sequence[bytes]) -> list[bool]:
    """Decode TIFF files of one page with Pillow, and tell for each whether that succeeds.

    Args:
        files: the bytes of each.

    Raises:
        BrokenMedia: the decoder's process ends without an answer.
    """
    if not files:
        return []
    request = b"".join(part for file in files for part in (struct.pack("<Q", len(file)), file))
    return [answer == "1" for answer in _decoders[-1].messages(request, MANY)]
