"""Measure how fast videos are anonymised, and what is covered, beside the `deface` command.

    python -m benchmarks.video [--table race|deface|types|bit-rate|memory|sizes|all] [--data ../shared/data]

It prints these tables:
race: frames per second and CPU time of this checkout, of another one (`--beside PATH`) and of the `deface` command, in
processes of their own that take turns: on a machine with other work, only their ratios tell something.
deface: faces only, one clip, the same cores and encoder preset, one run after the other. Recall counts the boxes of the
best detectors at hand, at full size and all of their scales. A box is covered if 90 % of the ellipse in it is black in
a result of the method `blacken`.
types: all four types, beside decoding and encoding alone, with the share of each stage.
bit-rate: how close `keep-bit-rate` comes to the size of the source, and how long it takes.
memory: the peak memory of a process for a clip of one minute and of ten.
sizes: the same for short clips of 1080p, 4K and 8K.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
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
TABLES = ("race", "deface", "types", "bit-rate", "memory", "sizes")
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
    return stage_shares(result.stage_seconds)


def stage_shares(seconds: Mapping[str, float]) -> str:
    total = sum(seconds.values())
    return "  ".join(f"{stage} {100 * seconds.get(stage, 0) / total:.0f} %" for stage in STAGES)


# --- race ---

#: Anonymises a clip with the default models, in any checkout since the class `Anonymizer` is there. It prints seconds
#: by the clock and on the CPU, the frames, and the busy seconds of each stage.
ONE_RUN = """
import json, sys, tempfile, time
from anonymizer import Anonymizer, Options
from anonymizer.pipeline.model_zoo.store import ModelStore
made = Anonymizer(store=ModelStore(device="cpu", models="embedded"))
for detector in made.store.detectors(tuple(made.store.serves())):
    detector.warm_up()
made.store.segmenter().warm_up()
with tempfile.TemporaryDirectory() as folder:
    started, on_cpu = time.perf_counter(), time.process_time()
    result = made.video(sys.argv[1], folder, Options(**json.loads(sys.argv[2])))
    print(json.dumps([time.perf_counter() - started, time.process_time() - on_cpu, result.frames,
                      dict(result.stage_seconds)]))
"""


def one_run(checkout: Path, clip: Path, options: dict[str, object]) -> tuple[float, float, str]:
    """Frames per second, CPU milliseconds a frame, and the share of each stage, in a process of its own."""
    command = [sys.executable, "-c", ONE_RUN, str(clip.resolve()), json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=checkout, env=environment)
    seconds, on_cpu, frames, stages = json.loads(done.stdout.splitlines()[-1])
    return frames / seconds, 1000 * on_cpu / frames, stage_shares(stages)


def deface_run(clip: Path) -> tuple[float, float, str]:
    """The same of the `deface` command, which loads its model meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        rate = deface(clip, Path(folder) / "deface.mp4")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    on_cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return rate, 1000 * on_cpu / sum(1 for _ in pictures(clip)), ""


def print_race(clips: dict[Path, dict[str, object]], beside: Path | None, rounds: int) -> None:
    checkouts = {"this checkout": Path.cwd(), **({} if beside is None else {"the other one": beside.resolve()})}
    for clip, options in clips.items():
        runs: dict[str, Callable[[], tuple[float, float, str]]] = {
            name: partial(one_run, path, clip, options) for name, path in checkouts.items()
        }
        if options.get("face"):
            runs["deface"] = partial(deface_run, clip)
        print(f"\n{clip.stem} {json.dumps(options)}, medians of {rounds} turns")
        got: dict[str, list[tuple[float, float, str]]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, measure in runs.items():
                got[name].append(measure())
        print(f"{'':<16}{'frames/s':>9}{'CPU ms/frame':>14}")
        for name, results in got.items():
            rate, on_cpu = (statistics.median(result[column] for result in results) for column in (0, 1))
            print(f"{name:<16}{rate:>9.2f}{on_cpu:>14.1f}   {results[-1][2]}")
        for name in list(runs)[1:]:
            ratios = [mine[0] / other[0] for mine, other in zip(got["this checkout"], got[name], strict=True)]
            print(f"times as fast as {name}: {', '.join(f'{ratio:.2f}' for ratio in ratios)}", flush=True)


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


def print_sizes(folder: Path, device: str) -> None:
    print("\nMemory: peak of a process that anonymises 24 frames, faces; and what one frame takes")
    for name, (width, height) in SIZES.items():
        command = [sys.executable, "-m", "benchmarks.video", "--peak", name, "--models", str(folder)]
        done = subprocess.run([*command, "--device", device], check=True, capture_output=True, text=True)
        frame = width * height * 1.5 / 2**20
        print(f"{name:<6} {int(done.stdout.split()[-1]) / 1024:.0f} MiB, a frame {frame:.0f} MiB", flush=True)


def peak(what: str, folder: Path, device: str) -> None:
    """Make a clip of so many minutes or of a size, anonymise it, and print the peak memory of the process in KiB."""
    width, height = SIZES.get(what, (320, 240))
    frames = 24 if what in SIZES else 600 * int(what)
    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary) / "clip.mp4"
        # made by a process of its own: its memory does not count
        subprocess.run([sys.executable, "-c", MAKE_CLIP, str(clip), *map(str, (width, height, frames))], check=True)
        anonymizer = with_models(folder, quick(folder), device)
        anonymizer.video(clip, temporary, Options(face=True, face_threshold=0.0, save_mask=SaveMask.NONE))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


#: width and height in pixels
SIZES = {"1080p": (1920, 1080), "4K": (3840, 2160), "8K": (7680, 4320)}
MAKE_CLIP = """
import sys
import av
import numpy as np
path, (width, height, frames) = sys.argv[1], map(int, sys.argv[2:])
noise = np.random.default_rng(1).integers(0, 64, (height // 8, width // 8), np.uint8)
with av.open(path, "w") as container:
    stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
    stream.width, stream.height = width, height
    for number in range(frames):
        grey = np.kron(np.roll(noise, number, 1), np.ones((8, 8), np.uint8))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "gray").reformat(format="yuv420p")))
    container.mux(stream.encode())
"""


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
    parser.add_argument("--table", choices=(*TABLES, "all"), default="all")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, default=MODELS_FOLDER, help="the folder with registry.toml and weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clip", action="append", help="the name of a clip; default: those of each table")
    parser.add_argument("--beside", type=Path, help="another checkout for the race, such as that of an older commit")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the race")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        peak(given.peak, given.models, given.device)
        return
    tables = TABLES if given.table == "all" else (given.table,)
    if "race" in tables:
        faces = {"face": True, "save_mask": "none", "re_encode": True}
        race = dict.fromkeys(given.clip or (), faces) | {"portrait-people": faces, "cars-from-above": {}}
        paths = {given.data / "videos" / f"{name}.mp4": race[name] for name in given.clip or race}
        print_race(paths, given.beside, given.rounds)
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
    if "sizes" in tables:
        print_sizes(given.models, given.device)


if __name__ == "__main__":
    main()
