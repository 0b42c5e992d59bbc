"""Measure how long a review takes to render, beside the detection that it does not need.

    python -m benchmarks.review [--video FILE] [--frames 1000] [--picture FILE] [--megapixels 12] [--runs 3]

Video: a clip is joined to itself until it has so many frames, and is anonymised (faces, or --types). Then one object is
added with ten key frames, over a tenth of the video. The table shows the seconds of the first result, of the detection
alone (the busy time of its stages), and of the review; and how many frames the review copied. Picture: it is scaled and
analysed, and then rendered with another threshold: seconds of detection, of rendering, and of writing all files.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from anonymizer import Anonymizer, Options
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.images.io import load_picture
from anonymizer.pipeline.media_kinds import HEAD_BYTES, sniff
from anonymizer.pipeline.review.edits import parse_review
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.video.review.base import BaseFiles
from anonymizer.pipeline.video.review.kept import KeptVideo
from anonymizer.pipeline.video.review.work import plan_review

KEY_FRAMES = 10


def joined(source: Path, path: Path, frames: int) -> None:
    """Write a video of so many frames: the source, again and again, as H.264 with a key frame each second."""
    with av.open(str(path), "w") as out:
        stream, number = None, 0
        while number < frames:
            with av.open(str(source)) as file:
                for picture in file.decode(video=0):
                    if stream is None:
                        stream = out.add_stream("libx264", rate=25)
                        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
                        stream.options = {"preset": "veryfast", "crf": "21", "g": "25"}
                    picture = picture.reformat(format="yuv420p")
                    picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, 25), 0
                    out.mux(stream.encode(picture))
                    number += 1
                    if number == frames:
                        break
        assert stream is not None
        out.mux(stream.encode(None))


def time_video(anonymizer: Anonymizer, source: Path, options: Options, frames: int) -> None:
    """Anonymise a video, review it, and print both times."""
    with tempfile.TemporaryDirectory() as folder:
        clip, first, second = (Path(folder) / name for name in ("clip.mp4", "first", "second"))
        joined(source, clip, frames)
        first.mkdir()
        second.mkdir()
        started = time.perf_counter()
        result = anonymizer.video(clip, first, options, keep=True)
        whole_s = time.perf_counter() - started
        detect_s = sum(result.stage_seconds.get(name, 0.0) for name in ("decode-to-detect", "detect", "track"))
        assert result.kept is not None
        assert result.anonymised is not None
        seconds = frames / 25
        times = np.linspace(0.4 * seconds, 0.5 * seconds, KEY_FRAMES)
        keys = [{"time": float(at), "box": [50 + 4 * n, 40, 110 + 4 * n, 120]} for n, at in enumerate(times)]
        edits = parse_review({"add": [{"type": "face", "keyframes": keys}]}).edits
        started = time.perf_counter()
        kept = KeptVideo.load(result.kept)
        masks = tuple(path for path in (result.binary_mask, result.instance_mask) if path is not None)
        base = BaseFiles(result.anonymised, result.info, result.metadata, masks)
        before = ReviewState()
        after = before.apply(edits, lambda name, reference: "")
        with clip.open("rb") as file:
            info = sniff(file.read(HEAD_BYTES))
        review = plan_review((clip, info), kept, (before, after), options, base)
        reviewed = anonymizer.video(clip, second, review.after.options, review=review)
        review_s = time.perf_counter() - started
        print(
            f"{source.name}: {frames} frames, first result {whole_s:.1f} s (detection {detect_s:.1f} s busy), review "
            f"{review_s:.1f} s, {reviewed.frames_copied} frames copied; review / first result "
            f"{review_s / whole_s:.2f}, review / detection {review_s / detect_s:.2f}"
        )


def time_picture(anonymizer: Anonymizer, source: Path, megapixels: float, runs: int) -> None:
    """Analyse a picture, render it with another threshold, and print the times."""
    pixels = cv2.imread(str(source))
    assert pixels is not None
    scale = (megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    scaled = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    content = cv2.imencode(".jpg", scaled, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    started = time.perf_counter()
    first = anonymizer.image(content)
    detect_s = time.perf_counter() - started
    kept = io.BytesIO()
    first.found.save(kept)
    rendered, written = [], []
    for run in range(runs):
        state = ReviewState(thresholds={ObjectType.FACE: 0.3 + 0.1 * run})
        started = time.perf_counter()
        picture = load_picture(content, limits=anonymizer.limits)
        result = anonymizer.render(picture, first.found, first.object_types, first.options, review=state)
        rendered.append(time.perf_counter() - started)
        started = time.perf_counter()
        result.encode()
        written.append(time.perf_counter() - started)
    print(
        f"{source.name} at {megapixels:g} megapixels: first result {detect_s:.2f} s, rendering with another "
        f"threshold {statistics.median(rendered):.2f} s, encoding {statistics.median(written):.2f} s"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--types", nargs="*", default=["face"])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    anonymizer = Anonymizer()
    if given.video is not None:
        options = Options(**{name.replace("-", "_"): True for name in given.types})
        time_video(anonymizer, given.video, options, given.frames)
    if given.picture is not None:
        time_picture(anonymizer, given.picture, given.megapixels, given.runs)


if __name__ == "__main__":
    main()
