"""Send mutated files and query strings to a running server, and watch what it answers and how its processes fare.

    python -m tests.faults.fuzz http://127.0.0.1:7000 --files 3000 --queries 2000

The server must never answer with a 5xx other than 503 and 507. Each task ends as `done` or `failed`; a worker that dies
is replaced, and its task is `failed`. The memory of all its processes comes back to its level. The run says what it
counted, and exits with 1 if any of this does not hold.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import av
import numpy as np
import requests
from PIL import Image
from pillow_heif import register_heif_opener

from anonymizer.pipeline.options.options import parameters
from tests.pictures import drawn, encoded

__all__ = ["Outcome", "fuzz_files", "fuzz_queries", "mutated", "seeds", "wait_for_end"]

#: statuses with which a server may say that it cannot help now
ALLOWED_5XX = (503, 507)
ENDED = ("done", "failed", "deleted")
VIDEOS = {"mp4": "libx264", "mkv": "libx264", "avi": "mpeg4"}
#: values that parsers have failed at
ODD = (
    "", "0", "-1", "1e400", "nan", "Infinity", "-inf", "9" * 400, "1_0", "٣", " 5 ", "\x00", "true", "[]", "{}", "null",
    "[" * 900, '{"a":' * 300, "\ud7ff", "\ufffe", "%", "%zz", "a\nb", "'", '"', "\\", "<script>", "../../etc/passwd",
    '[{"topLeftX":1e999,"topLeftY":0,"width":1,"height":1}]', '{"number":[1e999,1],"overlap":[0,0]}',
    "pano:99999999999", "http://[::1", "http://a:99999/", "http://127.0.0.1:1/", "ftp://x", "x" * 3000, "none", "auto",
    "strict", "required",
)  # fmt: skip


@dataclass
class Outcome:
    """What happened: how often each status was answered, the tasks that were made, and what must not happen."""

    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    tasks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def note(self, answer: requests.Response, what: str) -> None:
        """Count an answer; it is a fault if it is a server error, or an error that is no JSON object."""
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code not in ALLOWED_5XX:
            self.faults.append(f"{answer.status_code} for {what}: {answer.text[:200]}")
        if answer.status_code >= 400:
            try:
                assert {"status_code", "error", "code"} <= answer.json().keys()
            except (ValueError, AssertionError, AttributeError):
                self.faults.append(f"{answer.status_code} is no JSON for {what}: {answer.text[:200]}")


def seeds() -> dict[str, bytes]:
    """Return a small valid file of each format, made with the encoders that the pipeline itself uses."""
    register_heif_opener()
    picture = drawn(96, 64)
    deep = Image.fromarray(np.asarray(picture.convert("I"), np.uint16))
    found = {
        "jpeg": encoded(picture, "JPEG"),
        "progressive.jpeg": encoded(picture, "JPEG", progressive=True),
        "png": encoded(picture, "PNG"),
        "palette.png": encoded(picture.convert("P"), "PNG"),
        "deep.png": encoded(deep, "PNG"),
        "webp": encoded(picture, "WEBP"),
        "lossless.webp": encoded(picture, "WEBP", lossless=True),
        "tiff": encoded(picture, "TIFF"),
        "lzw.tiff": encoded(picture, "TIFF", compression="tiff_lzw"),
        "heic": encoded(picture, "HEIF"),
        "avif": encoded(picture, "AVIF"),
    }
    with TemporaryDirectory() as folder:
        for ending, codec in VIDEOS.items():
            path = Path(folder) / f"seed.{ending}"
            with av.open(str(path), "w") as file:
                stream = file.add_stream(codec, rate=10)
                stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
                for number in range(5):
                    frame = av.VideoFrame.from_ndarray(np.asarray(drawn(96, 64, seed=number)), format="rgb24")
                    file.mux(stream.encode(frame))
                file.mux(stream.encode(None))
            found[ending] = path.read_bytes()
    return found


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a file in which some bytes were flipped, cut out, repeated, moved or made extreme."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) or 1)
        # headers are short, and parsers live in them
        if chance.random() < 0.5:
            at = min(at, chance.randrange(200))
        length = chance.choice((1, 2, 4, 8, 64, 700))
        match chance.randrange(7):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + length] = chance.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * min(length, 8)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * chance.choice((1, 2, 50))
            case 4:
                data[at:at] = chance.randbytes(length)
            case 5:
                del data[at:]
            case _:
                other = chance.randrange(len(data) or 1)
                data[at : at + length], data[other : other + length] = (
                    data[other : other + length],
                    data[at : at + length],
                )
    return bytes(data)


def fuzz_files(url: str, count: int, seed: int, outcome: Outcome, *, headers: dict[str, str] | None = None) -> None:
    """Upload mutated files, half of them with the answer at once and half with the answer at the end.

    Args:
        url: of the server.
        count: of the files.
        seed: of the mutations.
        outcome: gets what happened.
        headers: to send with each request, such as a token.
    """
    chance, originals = random.Random(seed), seeds()
    names = list(originals)
    with requests.Session() as session:
        session.headers.update(headers or {})
        for number in range(count):
            name = names[number % len(names)]
            content = mutated(originals[name], chance)
            later = chance.random() < 0.5
            query = chance.choice(("face=1", "face=1&method=blacken", "method=detect", "face=1&format=whole&bbox=1"))
            answer = session.post(
                f"{url}/v1/file?{query}", files={"fileobject": (f"{number}.{name}", content)}, timeout=300,
                headers={"x-is-async": str(later)},
            )  # fmt: skip
            outcome.note(answer, f"file {number} of seed {seed} ({name})")
            body = answer.json()
            if task := body.get("id") or body.get("task"):
                outcome.tasks.append(task)


def fuzz_queries(url: str, count: int, seed: int, outcome: Outcome, *, headers: dict[str, str] | None = None) -> None:
    """Send mutated query strings to all addresses.

    Args:
        url: of the server.
        count: of the requests.
        seed: of the mutations.
        outcome: gets what happened.
        headers: to send with each request, such as a token.
    """
    chance, content = random.Random(seed), encoded(drawn(64, 48))
    names = [*parameters(), "webhook", "name", "web-auth-header-name", "web-auth-header-value", "unknown"]
    paths = ("/v1/task/list", "/v1/task", "/v1/file/{}/binary-mask", "/v1/file/{}/anonymised", "/v1/task/{}", "/readyz")
    with requests.Session() as session:
        session.headers.update(headers or {})
        for number in range(count):
            if chance.random() < 0.7:
                query = _query(chance, names)
                answer = session.post(
                    f"{url}/v1/file?{query}", files={"fileobject": ("a.jpg", content)}, timeout=300,
                    headers={"x-is-async": chance.choice(("true", "true", "1", "maybe", ""))},
                )  # fmt: skip
                if task := answer.json().get("id"):
                    outcome.tasks.append(task)
            else:
                query = _query(chance, ["status", "kind", "page", "page_size", "mask-scale", "mask_scale", "format"])
                path = chance.choice(paths).format(chance.choice(outcome.tasks[-20:] or ["x"]))
                answer = session.get(f"{url}{path}?{query}", timeout=300)
            outcome.note(answer, f"query {number} of seed {seed} ({query[:300]})")


def _query(chance: random.Random, names: list[str]) -> str:
    pairs = []
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        name = chance.choice(names).replace("-", chance.choice("-_"))
        value = chance.choice(ODD)
        if chance.random() < 0.3:
            value = "".join(
                chr(chance.choice((chance.randrange(1, 128), chance.randrange(1, 0xD800)))) for _ in range(9)
            )
        text = quote(value, safe="")
        if chance.random() < 0.1:
            # bytes that are no UTF-8, and escapes that are cut off
            text = chance.choice(("%ff%fe", "%ed%a0%80", "%", "%2", text[:-1], text + "&&=&"))
        pairs.append(f"{name}={text}")
    return "&".join(pairs)


def wait_for_end(url: str, outcome: Outcome, seconds: float, *, headers: dict[str, str] | None = None) -> None:
    """Wait until all tasks have ended; one that has not is a fault.

    Args:
        url: of the server.
        outcome: whose tasks are asked for; gets how they ended.
        seconds: how long to wait.
        headers: to send with each request.
    """
    until, waiting = time.monotonic() + seconds, list(dict.fromkeys(outcome.tasks))
    while waiting:
        task = requests.get(f"{url}/v1/task/{waiting[0]}", timeout=60, headers=headers).json()
        if task["status"] in ENDED:
            outcome.ends[f"{task['status']} {task['failure_cause'] or ''}".strip()] += 1
            waiting.pop(0)
        elif time.monotonic() > until:
            outcome.faults.append(f"{len(waiting)} tasks have not ended, the first is {task['status']}: {waiting[0]}")
            return
        else:
            time.sleep(0.1)


def _memory(pid: int) -> Iterator[tuple[int, str, float]]:
    """The process and all below it: number, command and memory in MB."""
    children: dict[int, list[int]] = collections.defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(stat.read_text().rpartition(")")[2].split()[1])].append(int(stat.parent.name))
        except OSError:
            continue
    todo = [pid]
    while todo:
        current = todo.pop()
        todo += children[current]
        try:
            pages = int(Path(f"/proc/{current}/statm").read_text().split()[1])
            command = Path(f"/proc/{current}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        yield current, command[-60:], pages * 4096 / 1e6


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("url")
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pid", type=int, help="of `serve`, to watch its memory and its processes")
    parser.add_argument("--token", help="to send as Authorization: Bearer")
    given = parser.parse_args()
    headers = {"Authorization": f"Bearer {given.token}"} if given.token else {}
    outcome, before = Outcome(), list(_memory(given.pid)) if given.pid else []
    parts: list[Callable[[], None]] = [
        lambda: fuzz_files(given.url, given.files, given.seed, outcome, headers=headers),
        lambda: fuzz_queries(given.url, given.queries, given.seed, outcome, headers=headers),
        lambda: wait_for_end(given.url, outcome, 600, headers=headers),
    ]
    for part in parts:
        part()
    shown = {
        "statuses": dict(sorted(outcome.statuses.items())),
        "tasks": dict(outcome.ends),
        "memory_mb": {"before": round(sum(mb for *_, mb in before)), "after": 0},
        "faults": outcome.faults,
    }
    if given.pid:
        after = list(_memory(given.pid))
        shown["memory_mb"]["after"] = round(sum(mb for *_, mb in after))  # type: ignore[index]
        shown["processes"] = {
            "before": len(before),
            "gone": len({pid for pid, *_ in before} - {pid for pid, *_ in after}),
        }
    sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
