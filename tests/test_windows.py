"""Windows of frames: every frame in the middle of one, the nearest of its scene where there is no other."""

import numpy as np
import pytest

from common.samples import photograph
from common.video_frames import Frame
from common.windows import windows


def film(*scenes):
    """Frames of a camera that moves over photographs: scenes are (name, number of frames)."""
    frames = []
    for name, count in scenes:
        luma = photograph(name).pixels[..., 0]
        frames += [Frame(luma[2 * t : 2 * t + 120, 3 * t : 3 * t + 160], pts=len(frames) + t) for t in range(count)]
    return frames


def numbers(frames, radius):
    return [[frame.pts for frame in window] for window in windows(iter(frames), radius)]


def test_the_ends_repeat_the_nearest_frame():
    assert numbers(film(("coffee", 4)), 1) == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert numbers(film(("coffee", 3)), 2) == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 2]]


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
def test_every_frame_is_in_the_middle_once(count, radius):
    rows = numbers(film(("coffee", count)), radius)
    assert [row[radius] for row in rows] == list(range(count))
    assert all(len(row) == 2 * radius + 1 for row in rows)


def test_no_window_reaches_across_a_cut():
    rows = numbers(film(("coffee", 3), ("chelsea", 1), ("astronaut", 3)), 1)
    assert rows == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 3], [4, 4, 5], [4, 5, 6], [5, 6, 6]]


@pytest.mark.parametrize("brightness", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("names", [("coffee", "chelsea"), ("chelsea", "astronaut"), ("astronaut", "coffee")])
def test_scenes_are_told_apart_by_day_and_by_night(names, brightness):
    frames = film(*((name, 3) for name in names))
    dark = [Frame((16 + brightness * frame.luma).clip(0, 255).astype(np.uint8), pts=frame.pts) for frame in frames]
    assert numbers(dark, 1) == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 4], [3, 4, 5], [4, 5, 5]]


def test_an_even_picture_with_noise_is_no_row_of_cuts():
    noise = np.random.default_rng(0).integers(-3, 4, (8, 120, 160))
    even = [Frame((20 + noise[t]).astype(np.uint8), pts=t) for t in range(8)]
    assert [row[0] for row in numbers(even, 1)] == [0, *range(7)]


def test_fast_motion_noise_and_a_fade_are_no_cuts():
    luma = photograph("coffee").pixels[..., 0]
    noise = np.random.default_rng(0).integers(-20, 21, (8, 120, 160))
    fast = [Frame(luma[:120, 20 * t : 20 * t + 160], pts=t) for t in range(8)]
    noisy = [Frame(np.clip(luma[:120, :160] + noise[t], 0, 255).astype(np.uint8), pts=t) for t in range(8)]
    fade = [Frame((luma[:120, :160] * (1 - t / 8)).astype(np.uint8), pts=t) for t in range(8)]
    for frames in (fast, noisy, fade):
        assert [row[1] for row in numbers(frames, 1)] == list(range(8))
        assert [row[0] for row in numbers(frames, 1)] == [0, *range(7)]


def test_deep_video_is_cut_where_shallow_is():
    frames = film(("coffee", 3), ("chelsea", 3))
    deep = [Frame(frame.luma.astype(np.uint16) << 2, bits=10, pts=frame.pts) for frame in frames]
    assert numbers(deep, 1) == numbers(frames, 1)


def test_memory_is_that_of_one_window():
    taken = []

    def source():
        for frame in film(("coffee", 9)):
            taken.append(frame.pts)
            yield frame

    for row in windows(source(), 2):
        assert taken[-1] <= row[2].pts + 2
