from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np

from anonymizer.pipeline.tracking.scene_cuts import SceneSignature, count_frames_before_cut
from tests.pipeline.tracking.scenes import INDOORS, PICTURE_HW, STREET


def test_a_scene_goes_on_where_it_is_seen_again_after_flashes() -> None:
    street, flash, indoors = (SceneSignature.of(each) for each in (STREET, np.full(PICTURE_HW, 255, np.uint8), INDOORS))

    assert count_frames_before_cut(street, [flash, street, flash, street, indoors]) == 4
    assert count_frames_before_cut(street, [flash, indoors]) == 0
    assert count_frames_before_cut(street, []) == 0


def signatures(data: Path, name: str, count: int = 120) -> list[SceneSignature]:
    with av.open(data / "videos" / f"{name}.mp4") as container:
        small = (each.reformat(320, 180, "gray").to_ndarray() for each in container.decode(video=0))
        return [SceneSignature.of(each) for each in islice(small, count)]


CLIPS = ["portrait-people", "person-walking", "cars-from-above", "kitchen-faces", "parking-plates"]


def test_clips_of_one_shot_have_no_cut_and_joined_ones_have(data: Path) -> None:
    clips = {name: signatures(data, name) for name in CLIPS}

    for name, clip in clips.items():
        cuts = [n for n, pair in enumerate(pairwise(clip)) if not pair[1].shows_same_scene(pair[0])]
        assert cuts == [], name
    joins = [(a, b) for a in CLIPS for b in CLIPS if a != b]
    told = [count_frames_before_cut(clips[a][-1], clips[b][:4]) == 0 for a, b in joins]
    assert sum(told) >= 0.9 * len(joins), [join for join, cut in zip(joins, told, strict=True) if not cut]
