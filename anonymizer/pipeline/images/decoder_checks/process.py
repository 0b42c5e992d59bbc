"""Decode files in a process of its own, and answer what the decoders write to the standard error stream.

This file is run as a script, and imports nothing of the package. A request is a mode of `cv2.imdecode`, the length of
the file, and the file. The answer is the text. Or a request is `MANY`, the length of all files together, and for each
its length and its bytes: TIFF files that Pillow decodes. Then the answer has a "1" for each that can be decoded, and a
"0" for each other one. The process ends with its standard input.
"""

from __future__ import annotations

import io
import os
import signal
import struct
import sys
import tempfile
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

#: Stands in the place of a mode.
MANY = 2**32
#: The answer begins with it if there is no image.
NOT_DECODED = b"not decoded: "


def serve(requests: BinaryIO, answers: BinaryIO, messages: BinaryIO) -> None:
    """Answer requests until there are no more.

    Args:
        requests, answers: the pipes.
        messages: the file that stands for the standard error stream.
    """
    while len(header := requests.read(16)) == 16:
        mode, length = struct.unpack("<qQ", header)
        content = requests.read(length)
        answer = _decode_many(content) if mode == MANY else _decode(content, mode)
        messages.seek(0)
        answer += b"" if mode == MANY else messages.read()
        messages.seek(0)
        messages.truncate()
        answers.write(struct.pack("<Q", len(answer)) + answer)
        answers.flush()


def _decode(file: bytes, mode: int) -> bytes:
    """Decode a file, and say why that fails; empty if it does not."""
    try:
        found = cv2.imdecode(np.frombuffer(file, np.uint8), mode)
    except (cv2.error, MemoryError) as error:
        return NOT_DECODED + str(error).encode() + b"\n"
    return NOT_DECODED + b"\n" if found is None else b""


def _decode_many(files: bytes) -> bytes:
    answer, at = b"", 0
    while at < len(files):
        (length,) = struct.unpack_from("<Q", files, at)
        try:
            with Image.open(io.BytesIO(files[at + 8 : at + 8 + length]), formats=["TIFF"]) as image:
                image.load()
            answer += b"1"
        except (OSError, SyntaxError, ValueError, MemoryError):
            answer += b"0"
        at += 8 + length
    return answer


if __name__ == "__main__":
    # Ctrl-C reaches the whole group of processes. The one that asks still needs the answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    # the size was checked before
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryFile(buffering=0) as stream:
        os.dup2(stream.fileno(), 2)
        serve(sys.stdin.buffer, sys.stdout.buffer, stream)
