"""The pipeline: picture -> planes -> tiles with the network's halo -> network -> planes -> picture.

Luma goes through the network, chroma through bicubic interpolation, alpha the way of luma. Whatever the size of the
picture, floating-point work is done tile by tile; only the integer pixels of input and output are held whole. A tile
sees its true neighbourhood, so the result does not depend on the tiles. Beyond the picture's edge most networks see the
edge repeated, because they were trained on outputs that saw no padding; DRCN and SRResNet see the zeros of their
padding, as they did in training.
"""

from dataclasses import replace
from itertools import pairwise, product
from math import lcm

import numpy as np

from common import backend
from common.color import luma, rgb_of_planes, rgb_to_ycbcr
from common.motion import compensated
from common.patches import luma_or_rgb
from common.resize import resize
from common.video_frames import frame_of_ycbcr, layout_of_frame, rgb_of_frame, ycbcr_of_rgb

WORKING_SET = 256 << 20  # bytes of feature maps that a tile chosen by "auto" may need
LEAST_HALOS = 8  # sides of such a tile in halos, even if it needs more: what tiles share is computed twice
AMPLE_HALOS = 15  # ... from which on little is computed twice, so that the framework may choose by its caches
MULTIPLE = 4  # of which sides of such a tile are: pixels that a framework may draw at a time
BYTES = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}  # of a number in a feature map, by precision
SUPPORT = 3  # pixels that bicubic enlargement reaches to each side


class Upscaler:
    """A network with its weights, ready to enlarge.

    weights: `common.weights.Weights`. framework: "torch" or "tensorflow". tile: side of a tile in pixels of the
    network's input, "auto" for as large as a fixed memory allows, 0 for the whole picture at once; where memory is too
    short for it, it is halved, which `warnings` says in a sentence.
    """

    def __init__(self, weights, framework="torch", device="auto", precision="auto", tile="auto"):
        self.weights = weights
        self.name = weights.name
        self.spec = weights.network
        self.framework = framework
        self.tile = tile
        self.batches = True  # several tiles at once
        self.working_set, self.largest_tile = 0, (0, 0)  # bytes of feature maps at most, and rows and columns, so far
        self.warnings = []
        self.runtime = backend.load(framework, "runtime").Runtime(self.spec, weights.tensors, device, precision)

    @property
    def scale(self):
        return self.spec.scale

    @property
    def _bytes(self):
        """Of feature maps for each pixel of a tile."""
        return BYTES[self.runtime.precision] * self.spec.widest

    def summary(self):
        """A sentence on how the work was done."""
        rows, columns = self.largest_tile
        return (
            f"{self.name} x{self.scale} by {self.framework} on {self.runtime.device} in {self.runtime.precision}, in "
            f"tiles of up to {columns} x {rows} pixels, which overlap by {2 * self.spec.halo}: "
            f"{self.working_set / (1 << 20):.0f} MB of feature maps."
        )

    def planes(self, low):
        """Enlarge (H, W, C) float32 in [0, 1], C the network's channels, to (scale H, scale W, C), not clipped."""
        high = np.empty((low.shape[0] * self.scale, low.shape[1] * self.scale, self.spec.channels), np.float32)
        for place, output in self.tiles(self._still(low)):
            if output.shape == high.shape:
                return output
            high[place] = output
        return high

    def picture(self, picture):
        """Enlarge a `common.images.Picture`: colour, depth, alpha and everything attached to it are kept."""
        pixels = self._luma_and_bicubic(picture.pixels) if self.spec.colour == "luma" else self._rgb(picture.pixels)
        alpha = None if picture.alpha is None else self._alpha(picture.alpha)
        return replace(picture, pixels=pixels, alpha=alpha)

    def _luma_and_bicubic(self, pixels):
        high = np.empty((pixels.shape[0] * self.scale, pixels.shape[1] * self.scale, pixels.shape[2]), pixels.dtype)
        if pixels.shape[2] == 1:
            for place, output in self.tiles(pixels, to_unit):
                high[place] = from_unit(output, pixels.dtype)
            return high
        for place, output in self.tiles(pixels, lambda crop: luma(to_unit(crop))[..., None]):
            chroma = enlarged(pixels, *place, self.scale, convert=lambda crop: rgb_to_ycbcr(to_unit(crop))[..., 1:])
            high[place] = rgb_of_planes(output[..., 0], chroma[..., 0], chroma[..., 1], pixels.dtype)
        return high

    def _rgb(self, pixels):
        high = np.empty((pixels.shape[0] * self.scale, pixels.shape[1] * self.scale, pixels.shape[2]), pixels.dtype)
        grey = (pixels == pixels[..., :1]).all()
        for place, output in self.tiles(pixels, lambda crop: luma_or_rgb(crop, "rgb")):
            output = output.mean(axis=-1, keepdims=True) if grey else output  # grey stays grey
            high[place] = from_unit(output, pixels.dtype)
        return high

    def _alpha(self, alpha):
        if alpha.min() == alpha.max():  # opaque, as most are
            return np.full((alpha.shape[0] * self.scale, alpha.shape[1] * self.scale), alpha[0, 0])
        high = (self._luma_and_bicubic if self.spec.colour == "luma" else self._rgb)(alpha[..., None])[..., 0]
        return between_neighbours(high, alpha, self.scale)

    def frame(self, window, left_sited=True, matrix="bt709", full_range=False):
        """Enlarge the middle one of the `common.video_frames.Frame`s of `window`, as many as the network sees.

        Luma goes through the network and chroma through bicubic interpolation, in the depth of the frame; or both as
        RGB through a network that sees colours, there and back by the `matrix` and range of the stream.
        left_sited: samples of subsampled chroma lie on a luma column, as in MPEG video, and not between two.
        """
        frame = window[len(window) // 2]
        scale, bits = self.scale, frame.bits
        alpha = None
        if frame.alpha is not None:
            alpha = self._plane(frame.alpha[..., None], 2**bits - 1, bits)
            alpha = between_neighbours(alpha, frame.alpha, scale)
        if self.spec.colour == "rgb":
            siting = "left" if left_sited else "center"
            return replace(self._rgb_frame(frame, matrix, full_range, siting), alpha=alpha)
        chroma = frame.chroma and self._chroma(frame, left_sited)
        # Studio range is 16 .. 235 in the unit of 255 at any depth, as the networks have learnt it.
        luma = self._plane(np.stack([other.luma for other in window], axis=-1), frame.unit, bits)
        return replace(frame, luma=luma, chroma=chroma, alpha=alpha)

    def _rgb_frame(self, frame, matrix, full_range, siting):
        low = rgb_of_frame(frame, matrix, full_range, siting, clip=False)
        high = np.empty((low.shape[0] * self.scale, low.shape[1] * self.scale, 3), np.float32)
        grey = all((plane == 1 << (frame.bits - 1)).all() for plane in frame.chroma or ())
        for place, output in self.tiles(low):
            output = output.mean(axis=-1, keepdims=True).repeat(3, axis=-1) if grey else output  # grey stays grey
            high[place] = ycbcr_of_rgb(output, matrix)
        return frame_of_ycbcr(high, layout_of_frame(frame), full_range, siting, like=frame)

    def _plane(self, planes, unit, bits):
        high = np.empty((planes.shape[0] * self.scale, planes.shape[1] * self.scale), planes.dtype)
        for place, output in self.tiles(self._still(planes, unit), lambda crop: to_unit(crop, unit)):
            grey = output[..., 0] if output.shape[-1] == 1 else output.mean(axis=-1)
            high[place] = from_unit(grey, planes.dtype, unit, 2**bits - 1)
        return high

    def _still(self, window, unit=1.0):
        """`window` (H, W, frames) with the motion taken out of it where the network does not do so itself."""
        method = self.spec.optical_flow
        return compensated(window, method, unit) if method and window.shape[-1] == self.spec.frames else window

    def _chroma(self, frame, left_sited):
        layout = layout_of_frame(frame)
        columns, _ = layout.subsampling  # of luma per sample
        shift = (self.scale - 1) / 2 * (1 - 1 / columns) if left_sited else 0.0
        # 33 columns of chroma become 99, where the 195 columns of luma want 98.
        height, width = layout.chroma_shape(*(length * self.scale for length in frame.luma.shape))
        planes = (resize(p.astype(np.float32), self.scale, shift=(0.0, shift))[:height, :width] for p in frame.chroma)
        return tuple(from_unit(high, frame.luma.dtype, 1, 2**frame.bits - 1) for high in planes)

    def tiles(self, low, convert=lambda crop: crop):
        """Yield ((rows, columns) of the result, (h, w, C) float32) until the result is covered.

        low: (H, W, ...) of any type; `convert` makes a part of it the (h, w, C) float32 that the network wants, pixel
        by pixel. Tiles go through the network in batches, as many as fit in the working set. Where memory is too short
        for them they are made smaller, and parts of the result come again. Raises MemoryError if that is of no use.
        """
        grow = self.scale if self.spec.upscale_first else 1
        size = low.shape[0] * grow, low.shape[1] * grow
        while True:
            side = self._side(size)
            try:
                yield from self._tiles_of(low, convert, size, self._division(size, side))
                return
            except MemoryError:
                self._halve(min(side, max(size)))

    def _halve(self, side):
        tile = side // 2 // self.spec.grid * self.spec.grid
        if tile < max(8, self.spec.grid):
            raise MemoryError
        self.tile, self.batches = tile, False
        self.warnings[:] = [f"Memory was too short for tiles of {side} pixels, so that they are of {self.tile} now."]

    def _tiles_of(self, low, convert, size, division):
        spec = self.spec
        tiles = list(product(*division))
        shape = tuple(seen.stop - seen.start for _, seen in tiles[0])
        one = self._bytes * shape[0] * shape[1]
        batch = min(len(tiles), max(1, self.runtime.working_set // one)) if self.batches else 1
        if batch * one > self.working_set:
            self.working_set, self.largest_tile = batch * one, shape
        for first in range(0, len(tiles), batch):
            chosen = tiles[first : first + batch]
            windows = [self._window(low, [seen for _, seen in axes], size, convert) for axes in chosen]
            for axes, output in zip(chosen, self.runtime(np.stack(windows)), strict=True):
                place = tuple(slice(kept.start * spec.factor, kept.stop * spec.factor) for kept, _ in axes)
                begins = [(seen.start + spec.margin) * spec.factor for _, seen in axes]
                drawn = (slice(a.start - begin, a.stop - begin) for a, begin in zip(place, begins, strict=True))
                yield place, output[tuple(drawn)]

    def _window(self, low, axes, size, convert):
        """What the network sees in the rows and columns `axes`, the picture's edge repeated beyond it."""
        if self.spec.upscale_first:
            return enlarged(low, *axes, self.scale, convert=convert)
        (rows, columns), beyond = inside(axes, 0, size)
        crop = convert(low[rows, columns])
        repeats = self.spec.inputs // crop.shape[-1]  # a picture is a film that stands still
        return np.repeat(edge_repeated(crop, *beyond, (0, 0)), repeats, axis=-1)

    def _side(self, size):
        """Of the largest tile, in pixels of the network's input, without what it shares with others."""
        if self.tile != "auto":
            return self.tile or max(size)
        sets = self.runtime.working_set, WORKING_SET
        cached, largest = (int((memory // self._bytes) ** 0.5) - 2 * self.spec.halo for memory in sets)
        return max(8, LEAST_HALOS * self.spec.halo, min(largest, max(AMPLE_HALOS * self.spec.halo, cached)))

    def _division(self, size, side):
        """The tiles of each axis, as `divided` says; wider than high where few rows leave memory for more columns."""
        multiple = lcm(self.spec.grid, MULTIPLE if self.tile == "auto" else 1)
        rows = divided(size[0], side, self.spec, multiple)
        if self.tile == "auto":
            _, seen = rows[0]
            pixels = self.runtime.working_set // self._bytes
            side = max(side, pixels // (seen.stop - seen.start) - 2 * self.spec.halo)
        return rows, divided(size[1], side, self.spec, multiple)


def divided(length, side, spec, multiple=1):
    """Tiles of an axis of `length` pixels of the network's input: [(kept, seen)], two slices each.

    The parts `kept` cover the axis, and are no longer than `side` where a part has neighbours on both sides. Those
    `seen`, all of one length, reach a halo further, or to `spec.beyond` beyond the ends. multiple: of which the steps
    between them are.
    """
    halo, beyond = spec.halo, spec.beyond
    inner = max(1, length + 2 * (beyond - halo))
    step = -(-inner // -(-inner // side))
    step += -step % multiple
    count, seen = -(-inner // step), step + 2 * halo
    if beyond < halo:  # what the network sees ends with the picture
        seen = min(seen, length)
    ends = [step * number + halo - beyond for number in range(1, count)]
    begins = [step * number - beyond for number in range(count)]
    if beyond < halo:
        begins[-1] = length - seen
    kept = pairwise([0, *ends, length])
    return [(slice(*part), slice(begin, begin + seen)) for part, begin in zip(kept, begins, strict=True)]


def enlarged(low, rows, columns, scale, halo=0, convert=lambda crop: crop):
    """Rows and columns (slices, widened by `halo`) of the bicubic enlargement of `low`, without making all of it.

    Beyond the edge of the enlargement its edge is repeated. Returns (h, w, C) float32, in memory plane by plane.
    """
    wanted, beyond = inside((rows, columns), halo, [length * scale for length in low.shape[:2]])
    begin = [max(0, axis.start // scale - SUPPORT) for axis in wanted]
    end = [(axis.stop - 1) // scale + 1 + SUPPORT for axis in wanted]
    crop = convert(low[begin[0] : end[0], begin[1] : end[1]])
    high = resize(np.ascontiguousarray(np.moveaxis(crop, -1, 0)), scale, axes=(1, 2))
    places = (slice(axis.start - scale * b, axis.stop - scale * b) for axis, b in zip(wanted, begin, strict=True))
    return np.moveaxis(edge_repeated(high[(slice(None), *places)], (0, 0), *beyond), 0, -1)


def inside(axes, halo, size):
    """(slices, beyond): what of slices widened by `halo` to both sides lies inside [0, length) of `size`, and how much
    of each lies (before, behind) it.
    """
    slices, beyond = [], []
    for axis, length in zip(axes, size, strict=True):
        begin, end = axis.start - halo, axis.stop + halo
        slices.append(slice(max(0, begin), min(length, end)))
        beyond.append((max(0, -begin), max(0, end - length)))
    return slices, beyond


def edge_repeated(array, *beyond):
    """`array`, its edges repeated (before, behind) each axis."""
    return np.pad(array, beyond, mode="edge") if np.any(beyond) else array


def between_neighbours(high, low, scale):
    """`high` (scale H, scale W) kept between the least and the greatest of the 3 x 3 pixels of `low` around its place.

    Ringing that nobody sees in a picture shows as dots in transparency, where it should be nothing or all.
    """
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(low, 1, mode="edge"), (3, 3))
    least, greatest = (
        np.repeat(np.repeat(limit, scale, axis=0), scale, axis=1)
        for limit in (windows.min((2, 3)), windows.max((2, 3)))
    )
    return np.clip(high, least, greatest)


def to_unit(pixels, unit=None):
    """Integers to float32, `unit` (by default the largest of their type) to 1."""
    return pixels.astype(np.float32) / np.float32(unit or np.iinfo(pixels.dtype).max)


def from_unit(values, kind, unit=None, peak=None):
    """Float to integers of type `kind`, 1 to `unit`, rounded and clipped to 0 .. `peak`; by default its greatest."""
    peak = peak or np.iinfo(kind).max
    scaled = values * np.float32(unit or peak)
    scaled += np.float32(0.5)
    return np.clip(scaled, 0, peak, out=scaled).astype(kind)  # which cuts what is behind the point
