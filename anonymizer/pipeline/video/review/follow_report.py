"""How far an object was followed, as values and as a sentence for the person who drew it."""

from __future__ import annotations

from typing import Any

from anonymizer.pipeline.review.edits import AddedObject
from anonymizer.pipeline.video.review.follow import FollowedPath, FollowEnd

__all__ = ["follow_report"]

_WHY = {
    FollowEnd.CUT: "there is a cut",
    FollowEnd.LOST: "it was lost",
    FollowEnd.LEFT: "it left the picture",
    FollowEnd.LIMIT: "the tracker looks back no further",
}
#: times that are so near count as the same, in seconds
_TOLERANCE_S = 1e-3


def follow_report(added: AddedObject, path: FollowedPath, track_id: int) -> dict[str, Any]:
    """Return how far an object was followed, as JSON values.

    Args:
        added: the object, with one key frame.
        path: where it was followed to.
        track_id: of the object in the metadata.

    Returns:
        `from` and `to` in seconds and `from_frame` and `to_frame`, within the times that were asked for; why it was
        followed no further (`begins`, `ends`, a `FollowEnd`); and `warning`: what a person should know, or None.
    """
    spans = (added.start_s - _TOLERANCE_S, added.end_s + _TOLERANCE_S)
    inside = {number: time_s for number, time_s in path.frames.items() if spans[0] <= time_s <= spans[1]}
    first, last = (min(inside), max(inside)) if inside else (None, None)
    report: dict[str, Any] = {
        "track_id": track_id, "type": added.type.value, "time": added.keys[0].time_s,
        "from": None if first is None else round(inside[first], 6),
        "to": None if last is None else round(inside[last], 6),
        "from_frame": first, "to_frame": last, "begins": path.begins.value, "ends": path.ends.value,
        "even_frames": path.even_frames,
    }  # fmt: skip
    # where the wanted time ended before it was lost, nothing is missing
    began = first is not None and first > min(path.frames)
    ended = last is not None and last < max(path.frames)
    return report | {"warning": _warning(report, path, is_all=(began, ended))}


def _warning(report: dict[str, Any], path: FollowedPath, *, is_all: tuple[bool, bool]) -> str | None:
    name = f"The {report['type'].replace('-', ' ')} that was drawn at {report['time']:.2f} s"
    if not path.frames:
        return f"{name} is in no frame of the video: nothing is redacted for it."
    if report["from"] is None:
        return f"{name} is redacted in no frame, as it was followed to no time that was asked for."
    why = [
        f"{word} {report[side]:.2f} s {_WHY[end]}"
        for word, side, end, is_covered in (
            ("before", "from", path.begins, is_all[0]), ("after", "to", path.ends, is_all[1]),
        )
        if end in _WHY and not is_covered
    ]  # fmt: skip
    sentences = []
    if why:
        frames = f"frames {report['from_frame']} to {report['to_frame']}"
        span = f"from {report['from']:.2f} s to {report['to']:.2f} s ({frames})"
        sentences.append(
            f"{name} was followed {span}: {' and '.join(why)}. In the rest of the video it is not covered."
        )
    if path.even_frames:
        start = "In" if why else f"{name}: in"
        sentences.append(
            f"{start} {path.even_frames} frame(s) the surface there is so even that a movement cannot be seen. "
            "Check that it is still at its place."
        )
    return " ".join(sentences) or None
