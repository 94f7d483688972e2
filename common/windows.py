"""Windows of frames for networks that see several, never across a cut.

At the ends of a film, and of a scene, the nearest frame of the same scene stands in for those that are not there.
"""

from collections import deque

import numpy as np

from common.patches import neighbours

GRID = 16  # blocks along each side on which two frames are compared
CHANGED = 0.6  # change of the blocks' brightness that a cut has at the least, in units of their spread
SUDDEN = 3.0  # and how many times the change before it, so that a flickering or fast scene is no row of cuts
FAINT = 0.01  # difference of blocks, of the whole range, below which a picture is taken for an even one with noise


def windows(frames, radius, is_cut=None):
    """Yield a list of 2 radius + 1 frames for every one of `frames`, which lies in its middle.

    is_cut: says of each frame in turn whether a new scene begins with it; by default a `CutDetector` does.
    """
    held = deque()  # (frame, scene) from `radius` before the middle on
    is_cut, scene = is_cut or CutDetector().is_cut, 0
    middle, begun = 0, 0  # position of the next middle, and of the first frame held
    for frame in frames:
        scene += bool(radius) and is_cut(frame)
        held.append((frame, scene))
        if len(held) + begun > middle + radius:
            yield _window(held, middle - begun, radius)
            middle += 1
            while begun < middle - radius:
                held.popleft()
                begun += 1
    while middle - begun < len(held):
        yield _window(held, middle - begun, radius)
        middle += 1


def _window(held, middle, radius):
    scene = held[middle][1]
    same = [place for place, (_, other) in enumerate(held) if other == scene]
    return [held[place][0] for place in neighbours(middle, radius, same[0], same[-1])]


class CutDetector:
    """Says of each frame in turn whether a new scene begins with it, by the brightness of 16 x 16 blocks.

    Blocks of two unrelated pictures differ from each other about as much as those of one picture do among themselves,
    by day and by night; those of a moving one differ less.
    """

    def __init__(self):
        self.before, self.change = None, 0.0

    def is_cut(self, frame):
        blocks = _shares(frame)
        before, self.before = self.before, blocks
        if before is None or before.shape != blocks.shape:
            return False
        change = float(np.abs(blocks - before).mean()) / (FAINT + (spread(before) + spread(blocks)) / 2)
        usual = self.change
        cut = change > CHANGED and change > SUDDEN * usual
        self.change = 0.0 if cut else change
        return cut

    def go_on(self, frame, change):
        """Come to the state behind `frame`, in which `change` was that of another detector."""
        self.before, self.change = _shares(frame), change


def _shares(frame):
    """The blocks of a frame as shares of the brightest possible."""
    return block_means(frame.luma) / (2**frame.bits - 1)


def spread(blocks):
    """Mean distance of the blocks of a picture from their mean."""
    return float(np.abs(blocks - blocks.mean()).mean())


def block_means(plane):
    """Mean of each block of (H, W), at most GRID x GRID of them."""
    rows, columns = (max(1, side // GRID) for side in plane.shape)
    down, across = plane.shape[0] // rows, plane.shape[1] // columns
    cropped = plane[: rows * down, : columns * across].astype(np.float32)
    return cropped.reshape(down, rows, across, columns).mean(axis=(1, 3))
