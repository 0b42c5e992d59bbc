"""Measure how fast videos are anonymised, and what is covered, beside the `deface` command.

    python -m benchmarks.video [--table deface|types|bit-rate|memory|all] [--data ../shared/data] [--device auto]

It prints these tables:
deface: faces only, one clip, the same cores and encoder preset, one run after the other. Recall counts the boxes of the
best detectors at hand, at full size and all of their scales. A box is covered if 90 % of the ellipse in it is black in
a result of the method `blacken`.
types: all four types, beside decoding and encoding alone, with the share of each stage.
bit-rate: how close `keep-bit-rate` comes to the size of the source, and how long it takes.
memory: the peak memory of a process for a clip of one minute and of ten.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.model_zoo.store import MODELS_FOLDER, ModelStore
from anonymizer.pipeline.options.formats import Thorough
from anonymizer.pipeline.options.options import Options, SaveMask
from anonymizer.pipeline.results import VideoResult
from anonymizer.pipeline.tracking.tracker import Tracker
from anonymizer.pipeline.video.io.encoders import plan_output
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from anonymizer.pipeline.video.io.writer import VideoWriter
from anonymizer.pipeline.video.verify_file import video_sizes

PRESET = "veryfast"
COVERED, BLACK = 0.9, 40
#: boxes of the best detectors with at least this score are the truth
SURE = 0.5
#: recall is counted in one of so many frames
EVERY = 5
STAGES = ("decode-to-detect", "detect", "track", "decode-to-redact", "redact", "encode", "verify")
CLIPS = ("cars-from-above", "person-walking")


def faces_only(**more: object) -> Options:
    return Options(face=True, save_mask=SaveMask.NONE, re_encode=True, **more)  # type: ignore[arg-type]


def with_models(folder: Path, models: str, device: str) -> Anonymizer:
    """An anonymizer whose models and tracking library are loaded and warmed up."""
    made = Anonymizer(store=ModelStore(folder, device=device, models=models))
    for detector in made.store.detectors(tuple(made.store.serves())):
        detector.warm_up()
    Tracker((1, 1), Options(), tuple(ObjectType))
    segmenter = made.store.segmenter()
    if segmenter is not None:
        segmenter.warm_up()
    return made


def run(anonymizer: Anonymizer, clip: Path, options: Options, folder: Path) -> tuple[VideoResult, float]:
    """The result of a clip, and frames per second of the whole work, with models loaded."""
    started = time.perf_counter()
    result = anonymizer.video(clip, folder, options)
    return result, result.frames / (time.perf_counter() - started)


def shares(result: VideoResult) -> str:
    """Where the time goes: busy seconds of each stage in percent of all stages."""
    total = sum(result.stage_seconds.values())
    return "  ".join(f"{stage} {100 * result.stage_seconds.get(stage, 0) / total:.0f} %" for stage in STAGES)


# --- deface ---


def deface(clip: Path, target: Path) -> float:
    """Run the command with black ellipses; return frames per second by wall clock."""
    config = json.dumps({"codec": "libx264", "output_params": ["-preset", PRESET]})
    command = [
        str(Path(sys.executable).parent / "deface"),
        str(clip),
        "--output",
        str(target),
        "--replacewith",
        "solid",
    ]
    frames = sum(1 for _ in pictures(clip))
    started = time.perf_counter()
    subprocess.run([*command, "--ffmpeg-config", config], check=True, capture_output=True)
    return frames / (time.perf_counter() - started)


def pictures(clip: Path) -> Iterator[NDArray[np.uint8]]:
    """Every frame, (h, w, 3) uint8 RGB."""
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def truth(clip: Path, folder: Path, device: str) -> list[NDArray[np.float32]]:
    """For every `EVERY`th frame, the sure faces of the best detectors at hand: (n, 4) x1, y1, x2, y2."""
    names = "+".join(name for name in ("yunet-n", "centerface", "own-2") if installed(folder, name))
    best = with_models(folder, f"embedded,face={names}", device)
    boxes = []
    for picture in islice(pictures(clip), 0, None, EVERY):
        (found,) = best.engine.detect([picture], [ObjectType.FACE], Thorough())
        boxes.append(found[found.scores >= SURE].boxes)
    return boxes


def covered(clip: Path, boxes: Sequence[NDArray[np.float32]]) -> tuple[int, int]:
    """How many boxes of all frames are black in a result, and how many boxes there are."""
    hits = total = 0
    for picture, of_frame in zip(islice(pictures(clip), 0, None, EVERY), boxes, strict=True):
        grey = picture.max(axis=2)
        for x1, y1, x2, y2 in np.rint(of_frame).astype(int):
            crop = grey[max(y1, 0) : y2, max(x1, 0) : x2]
            if not crop.size:
                continue
            ellipse = np.zeros(crop.shape, np.uint8)
            middle = (crop.shape[1] / 2, crop.shape[0] / 2)
            cv2.ellipse(ellipse, (middle, (crop.shape[1], crop.shape[0]), 0), 1, -1)
            total += 1
            hits += (crop[ellipse > 0] < BLACK).mean() >= COVERED
    return hits, total


def print_deface(data: Path, folder: Path, device: str, name: str) -> None:
    clip = data / "videos" / f"{name}.mp4"
    boxes = truth(clip, folder, device)
    print(f"\n{name}, faces only, x264 {PRESET}; {sum(map(len, boxes))} faces in {len(boxes)} frames (every {EVERY}th)")
    print(f"{'':<26}{'frames/s':>9}{'ratio':>7}{'recall':>8}")
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "deface.mp4"
        base = deface(clip, target)
        hits, total = covered(target, boxes)
        print(f"{'deface':<26}{base:>9.1f}{1:>7.1f}{hits / total:>8.4f}", flush=True)
        for models in ("yunet-n", "own-2", "centerface", "centerface+own-2"):
            if not all(installed(folder, name) for name in models.split("+")):
                print(f"{models:<26}{'not installed':>9}")
                continue
            anonymizer = with_models(folder, f"embedded,face={models}", device)
            result, rate = run(anonymizer, clip, faces_only(method="blacken"), Path(temporary))
            assert result.anonymised is not None
            hits, total = covered(result.anonymised, boxes)
            print(f"{models:<26}{rate:>9.1f}{rate / base:>7.1f}{hits / total:>8.4f}   {shares(result)}", flush=True)


# --- all types ---


def floor(clip: Path, folder: Path) -> float:
    """Frames per second of decoding and encoding alone, with the same settings."""
    info, threads = check_video(clip), torch.get_num_threads()
    started, frames = time.perf_counter(), 0
    with VideoReader(clip, info, threads=threads) as reader:
        plan = plan_output(reader, Options())
        with VideoWriter(folder / f"floor{plan.info.extension}", reader, plan, threads=threads) as writer:
            for frame in reader.frames():
                writer.encode(frame.track, frame.picture, frame.picture.pts or 0, frame.picture.duration)
                frames += 1
    return frames / (time.perf_counter() - started)


def print_types(data: Path, folder: Path, device: str, clips: Sequence[str]) -> None:
    print("\nAll four types, blur")
    print(f"{'':<18}{'models':<14}{'masks':<6}{'frames/s':>9}{'floor':>8}{'copied':>8}")
    for models in ("embedded", "recommended"):
        if not complete(folder, models):
            print(f"{models}: not installed")
            continue
        anonymizer = with_models(folder, models, device)
        for name in clips:
            clip = data / "videos" / f"{name}.mp4"
            with tempfile.TemporaryDirectory() as temporary:
                least = floor(clip, Path(temporary))
                for masks in (SaveMask.NONE, SaveMask.ALL):
                    result, rate = run(anonymizer, clip, Options(save_mask=masks), Path(temporary))
                    print(
                        f"{name:<18}{models:<14}{masks:<6}{rate:>9.1f}{least:>8.0f}{result.frames_copied:>8}   "
                        f"{shares(result)}",
                        flush=True,
                    )


# --- keep-bit-rate ---


def print_bit_rate(data: Path, folder: Path, device: str, clips: Sequence[str]) -> None:
    print("\nkeep-bit-rate, faces, blacken")
    print(f"{'':<18}{'video bytes':>12}{'result':>12}{'off':>8}{'file off':>10}{'seconds':>9}{'without':>9}")
    anonymizer = with_models(folder, quick(folder), device)
    for name in clips:
        clip = data / "videos" / f"{name}.mp4"
        options = {"face": True, "method": "blacken", "save_mask": "none", "re_encode": True}
        with tempfile.TemporaryDirectory() as temporary:
            plain = anonymizer.video(clip, temporary, Options(**options))
            kept = anonymizer.video(clip, temporary, Options(**options, keep_bit_rate=True))
            assert kept.anonymised is not None
            before = sum(size for size, _ in video_sizes(clip, check_video(clip)).values())
            after = sum(size for size, _ in video_sizes(kept.anonymised, kept.info).values())
            size = kept.anonymised.stat().st_size / clip.stat().st_size - 1
        print(
            f"{name:<18}{before:>12}{after:>12}{100 * (after / before - 1):>7.1f}%{100 * size:>9.1f}%"
            f"{kept.seconds:>9.1f}{plain.seconds:>9.1f}",
            flush=True,
        )


# --- memory ---


def print_memory(folder: Path, device: str) -> None:
    print("\nMemory: peak of a process that anonymises a clip of 320 x 240 at 10 frames/s, faces")
    peaks = {}
    for minutes in (1, 10):
        command = [sys.executable, "-m", "benchmarks.video", "--peak", str(minutes), "--models", str(folder)]
        done = subprocess.run([*command, "--device", device], check=True, capture_output=True, text=True)
        peaks[minutes] = int(done.stdout.split()[-1])
        print(f"{minutes:>3} min: {peaks[minutes] / 1024:.0f} MiB", flush=True)
    print(f"ratio {peaks[10] / peaks[1]:.3f}")


def peak(minutes: int, folder: Path, device: str) -> None:
    """Make the clip, anonymise it, and print the peak memory of this process in KiB."""
    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary) / "clip.mp4"
        noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
            stream.width, stream.height = 320, 240
            for number in range(600 * minutes):
                frame = av.VideoFrame.from_ndarray(np.roll(noise, number, 1) // 4, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        anonymizer = with_models(folder, quick(folder), device)
        anonymizer.video(clip, temporary, Options(face=True, face_threshold=0.0))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def quick(folder: Path) -> str:
    """The models, with the quickest installed one for faces."""
    return "embedded,face=yunet-n" if installed(folder, "yunet-n") else "embedded,face=own-2"


def installed(folder: Path, name: str) -> bool:
    store = ModelStore(folder)
    return store.problem(store.registry.models[name]) is None


def complete(folder: Path, profile: str) -> bool:
    return not ModelStore(folder).unusable_models(profile)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=("deface", "types", "bit-rate", "memory", "all"), default="all")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, default=MODELS_FOLDER, help="the folder with registry.toml and weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clip", action="append", help="the name of a clip; default: those of each table")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        peak(given.peak, given.models, given.device)
        return
    tables = ("deface", "types", "bit-rate", "memory") if given.table == "all" else (given.table,)
    if "deface" in tables:
        for name in given.clip or ["portrait-people"]:
            print_deface(given.data, given.models, given.device, name)
    if "types" in tables:
        print_types(given.data, given.models, given.device, given.clip or CLIPS)
    if "bit-rate" in tables:
        clips = given.clip or ("portrait-people", "cars-from-above", "kitchen-faces")
        print_bit_rate(given.data, given.models, given.device, clips)
    if "memory" in tables:
        print_memory(given.models, given.device)


if __name__ == "__main__":
    main()
