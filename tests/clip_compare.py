"""Compare two videos stream by stream, and describe what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Discard, Disposition, Stream
from numpy.typing import NDArray

from tests.clip_maker import Video, box_at

__all__ = ["compare", "pictures", "seconds", "unredacted"]

#: metadata that a muxer writes itself
_MUXER_KEYS = {"encoder", "major_brand", "minor_version", "compatible_brands", "DURATION", "vendor_id", "creation_time"}
#: from stored to upright
_UPRIGHT: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    6: lambda a: np.rot90(a, -1),
    8: lambda a: np.rot90(a, 1),
}
_SIDE_DATA = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL, Type.DISPLAYMATRIX)


@dataclass(frozen=True)
class _Packets:
    """The packets of one stream; times and lengths in seconds."""

    content: list[bytes]
    times: list[float]
    lengths: list[float]


def compare(source: Path, result: Path, *, codec: bool = True) -> list[str]:
    """Describe every difference except those in pixels; an empty list means none.

    Args:
        codec: whether the video's codec and container have to be the same.
    """
    with av.open(str(source)) as before, av.open(str(result)) as after:
        return list(_differences(before, after, source, result, codec=codec))


def _differences(before: Any, after: Any, source: Path, result: Path, *, codec: bool) -> Iterator[str]:
    if codec:
        yield from _same("container", before.format.name, after.format.name)
    yield from _same(
        "metadata", _metadata(before.metadata, "creation_time"), _metadata(after.metadata, "creation_time")
    )
    yield from _same("chapters", _chapters(before), _chapters(after))
    tick = max(float(stream.time_base) for stream in [*_videos(before), *_videos(after)])
    # Matroska stores the length of a sound track, which may be less than that of its packets
    spare = 0.025 if before.format.name.startswith("matroska") else 0.0
    yield from _near("duration", [_length_s(before)], [_length_s(after)], 1.01 * tick + spare)
    copied = [_copied(file) for file in (before, after)]
    yield from _same("streams", *([stream.type for stream in streams] for streams in copied))
    packets = [_packets(path) for path in (source, result)]
    for was, now in zip(*copied, strict=False):
        name = f"{was.type} {was.index}"
        if was.codec_context is not None and now.codec_context is not None:
            yield from _same(f"codec of {name}", was.codec_context.name, now.codec_context.name)
            # a muxer adds its own bit rate to the header of MP4 subtitles
            length = None if was.type != "subtitle" else len(was.codec_context.extradata or b"")
            headers = [(stream.codec_context.extradata or b"")[:length] for stream in (was, now)]
            yield from _same(f"header of {name}", *headers)
            yield from _same(f"tag of {name}", was.codec_tag, now.codec_tag)
        yield from _description_differences(name, was, now)
        if was.type == "attachment":
            yield from _same(f"content of {name}", was.data, now.data)
            continue
        old, new = packets[0][was.index], packets[1][now.index]
        yield from _same(f"packets of {name}", old.content, new.content, show=False)
        step = 1.01 * float(max(was.time_base, now.time_base))
        yield from _near(f"times of {name}", old.times, new.times, step)
        yield from _near(f"lengths of {name}", old.lengths, new.lengths, step)
    yield from _same("video tracks", len(_videos(before)), len(_videos(after)))
    for was, now in zip(_videos(before), _videos(after), strict=False):
        yield from _video_differences(was, now, source, result, codec=codec)


def _video_differences(was: Any, now: Any, source: Path, result: Path, *, codec: bool) -> Iterator[str]:
    name = f"video {was.index}"
    old, new = was.codec_context, now.codec_context
    if codec:
        yield from _same(f"codec of {name}", old.codec.canonical_name, new.codec.canonical_name)
        yield from _same(f"pixel format of {name}", old.pix_fmt, new.pix_fmt)
        yield from _same(f"tag of {name}", was.codec_tag, now.codec_tag)
    yield from _same(f"size of {name}", (was.width, was.height), (now.width, now.height))
    yield from _same(f"pixel aspect of {name}", was.sample_aspect_ratio or 1, now.sample_aspect_ratio or 1)
    for attribute in ("color_range", "color_primaries", "color_trc", "colorspace"):
        yield from _same(f"{attribute} of {name}", getattr(old, attribute), getattr(new, attribute))
    yield from _description_differences(name, was, now)
    first, second = pictures(source, was.index), pictures(result, now.index)
    step = 1.01 * float(max(was.time_base, now.time_base))
    yield from _near(f"times of {name}", seconds(first), seconds(second), step)
    # a container's duration follows the decode times: it is right to a part of a frame
    part = 0.25 * (seconds(first)[-1] - seconds(first)[0]) / max(len(first) - 1, 1)
    yield from _near(f"end of {name}", [_end_s(was, first)], [_end_s(now, second)], step + part)
    yield from _same(f"interlacing of {name}", {frame.interlaced_frame for frame in first},
                     {frame.interlaced_frame for frame in second})  # fmt: skip
    if any(frame.is_corrupt for frame in second):
        yield f"{name} has damaged frames"
    for kind in _SIDE_DATA:
        yield from _same(f"{kind.name} of {name}", _side(first[0], kind), _side(second[0], kind))
    for attribute in ("color_range", "color_primaries", "color_trc", "colorspace"):
        yield from _same(
            f"{attribute} of frames of {name}", getattr(first[0], attribute), getattr(second[0], attribute)
        )


def _same(what: str, was: object, now: object, *, show: bool = True) -> Iterator[str]:
    if was != now:
        yield f"{what}: {was!r} became {now!r}" if show else f"{what}: not the same"


def _near(what: str, was: Sequence[float], now: Sequence[float], step: float) -> Iterator[str]:
    if len(was) != len(now):
        yield f"{what}: {len(was)} became {len(now)}"
    elif len(was) and (off := np.abs(np.array(was) - np.array(now))).max() > step:
        at = int(off.argmax())
        yield f"{what}: at {at}, {was[at]:.4f} became {now[at]:.4f} ({int((off > step).sum())} of {len(was)})"


def _description_differences(name: str, was: Stream, now: Stream) -> Iterator[str]:
    metadata = [_metadata(stream.metadata) for stream in (was, now)]
    if "timecode" in was.metadata and was.type == "data":
        # the muxer makes this stream again, under its own name
        metadata = [{**of_stream, "handler_name": ""} for of_stream in metadata]
    yield from _same(f"words of {name}", *metadata)
    yield from _same(f"disposition of {name}", was.disposition, now.disposition)


def _metadata(metadata: dict[str, str], *kept: str) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key not in _MUXER_KEYS - set(kept)}


def _chapters(file: Any) -> list[tuple[Any, ...]]:
    return [
        (
            float(chapter["start"] * chapter["time_base"]),
            float(chapter["end"] * chapter["time_base"]),
            chapter["metadata"].get("title"),
        )
        for chapter in file.chapters()
    ]


def _length_s(file: Any) -> float:
    return float((file.duration or 0) / av.time_base)


def _end_s(stream: Any, frames: Sequence[av.VideoFrame]) -> float:
    """When the last frame has been shown."""
    if stream.duration is not None and stream.start_time is not None:
        return float((stream.start_time + stream.duration) * stream.time_base)
    return seconds(frames)[-1] + float(frames[-1].duration * stream.time_base)


def _videos(file: Any) -> list[Any]:
    return [stream for stream in file.streams.video if not stream.disposition & Disposition.attached_pic]


def _copied(file: Any) -> list[Any]:
    # streams that a muxer makes of chapters are compared as chapters
    return [stream for stream in file.streams if stream.type != "video" and stream.discard is not Discard.all]


def _packets(path: Path) -> dict[int, _Packets]:
    with av.open(str(path)) as file:
        by_stream = {stream.index: _Packets([], [], []) for stream in file.streams}
        for packet in file.demux(*(stream for stream in file.streams if stream.type != "attachment")):
            if packet.size:
                packets, base = by_stream[packet.stream_index], float(packet.time_base)
                packets.content.append(bytes(packet))
                packets.times.append((packet.pts or 0) * base)
                packets.lengths.append((packet.duration or 0) * base)
        return by_stream


def pictures(path: Path, index: int = 0) -> list[av.VideoFrame]:
    """Decode every frame of a stream."""
    with av.open(str(path)) as file:
        file.streams[index].codec_context.flags |= 1 << 3
        return [frame for packet in file.demux(file.streams[index]) for frame in packet.decode()]


def seconds(frames: Sequence[av.VideoFrame]) -> list[float]:
    """When the frames are shown, in seconds."""
    return [float((frame.pts or 0) * frame.time_base) for frame in frames]


def _side(frame: av.VideoFrame, kind: Type) -> bytes | None:
    found = frame.side_data.get(kind)
    return None if found is None else bytes(found)


def unredacted(source: Path, result: Path, video: Video, frames: Sequence[dict[str, Any]], index: int = 0) -> list[str]:
    """Describe where a box of the scene can still be seen, and where pixels far from all detections have changed.

    Args:
        frames: the metadata of the track's frames.
    """
    wrong = []
    both = zip(pictures(source, index), pictures(result, index), frames, strict=True)
    for number, (was, now, metadata) in enumerate(both):
        old, new = (_UPRIGHT[video.orientation](_grey(frame)) for frame in (was, now))
        x1, y1, x2, y2 = box_at(number, video.upright_wh)
        stripes = [float(np.abs(np.diff(grey[y1:y2, x1:x2].mean(axis=1))).max()) for grey in (old, new)]
        if video.has_box(number) and stripes[1] > 0.5 * stripes[0]:
            wrong.append(f"frame {number}: the box is still seen")
        away = np.ones(old.shape, bool)
        for x1, y1, x2, y2 in (detection["bbox"] for detection in metadata["detections"]):
            away[max(y1 - 24, 0) : y2 + 24, max(x1 - 24, 0) : x2 + 24] = False
        if away.any() and (off := float(np.abs(old - new)[away].mean())) > 4:
            wrong.append(f"frame {number}: what is far from the box is off by {off:.1f}")
    return wrong


def _grey(frame: av.VideoFrame) -> NDArray[np.float32]:
    return frame.to_ndarray(format="gray").astype(np.float32)
