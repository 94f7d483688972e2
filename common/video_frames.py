"""Video frames as NumPy planes: the neutral form in which video passes between decoder, network and encoder.

YUV and grey video is unpacked as it is stored, plane by plane, so that no colour matrix touches it. RGB video (and
pictures) becomes YCbCr 4:4:4 with the BT.709 matrix in full range at 16 bits per sample: the rounding of that step is
far below one level of the original, so 8-bit RGB comes back exactly.
"""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from common.color import LUMA_WEIGHTS

RGB_MATRIX = "bt709"  # of the YCbCr that stands for RGB sources
RGB_BITS = 16
SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2), "411": (4, 1), "410": (4, 4)}
_PLANAR = re.compile(r"yuv(?P<alpha>a?)j?(?P<chroma>4\d\d)p(?P<bits>\d*)(le)?$")
_GREY = re.compile(r"gray(?P<bits>\d*)(le)?$")
_SEMI_PLANAR = re.compile(r"nv(12|21|16|24|42)$|p[024](10|12|16)le$")
_PLANAR_RGB = re.compile(r"gbr(?P<alpha>a?)p(?P<bits>\d*)(le)?$")


class VideoError(ValueError):
    """A video cannot be read or written; the message is one sentence that names the file."""


@dataclass(eq=False)
class Frame:
    """One frame of video.

    luma: (H, W) uint8, or uint16 where `bits` > 8; values 0 .. 2**bits - 1 in the range (studio or full) of the stream.
    chroma: (U, V), each of the same type at its own subsampling, ceil(H / rows) x ceil(W / columns); None for grey.
    alpha: (H, W) of the same type, always full range; None without transparency.
    bits: significant bits per sample of these arrays (8, 10, 12, 16, rarely 9 or 14).
    pts, duration: integers in units of `time_base` seconds; `duration` is the usual one if the container has none.
    key_frame: whether the source stored it as a key frame.
    repeated: True where a damaged packet made the reader show a neighbouring frame, whose arrays these are, again.
    """

    luma: np.ndarray
    chroma: tuple[np.ndarray, np.ndarray] | None = None
    alpha: np.ndarray | None = None
    bits: int = 8
    pts: int = 0
    time_base: Fraction = Fraction(1, 25)
    duration: int = 0
    key_frame: bool = False
    repeated: bool = False

    @property
    def time(self):
        """Presentation time in seconds, an exact Fraction."""
        return self.pts * self.time_base

    @property
    def unit(self):
        """The value of a sample that networks see as 1: 255 at 8 bits, whatever the range of the stream."""
        return 255 << (self.bits - 8)


@dataclass(frozen=True)
class PixelLayout:
    """Which planes a frame has. `subsampling` is (columns, rows) of luma per sample of chroma, or None for grey."""

    subsampling: tuple[int, int] | None = (2, 2)
    bits: int = 8
    alpha: bool = False

    @property
    def dtype(self):
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    @property
    def pixel_format(self):
        """The name FFmpeg has for this layout, such as "yuv420p10le"."""
        depth = "" if self.bits == 8 else f"{self.bits}le"
        if self.subsampling is None:
            return ("ya8" if self.bits == 8 else "ya16le") if self.alpha else f"gray{depth}"
        chroma = next(name for name, steps in SUBSAMPLING.items() if steps == self.subsampling)
        return f"yuv{'a' if self.alpha else ''}{chroma}p{depth}"

    def chroma_shape(self, height, width):
        """(rows, columns) of a chroma plane, or None for grey."""
        if self.subsampling is None:
            return None
        columns, rows = self.subsampling
        return -(-height // rows), -(-width // columns)


def layout_of(pixel_format):
    """The PixelLayout of a planar YUV or grey format by its FFmpeg name; None for every other format."""
    if pixel_format in ("ya8", "ya16le"):
        return PixelLayout(None, 8 if pixel_format == "ya8" else 16, True)
    if match := _GREY.match(pixel_format):
        return PixelLayout(None, int(match["bits"] or 8))
    if match := _PLANAR.match(pixel_format):
        return PixelLayout(SUBSAMPLING[match["chroma"]], int(match["bits"] or 8), bool(match["alpha"]))
    return None


def layout_of_frame(frame):
    """The PixelLayout that the arrays of `frame` have."""
    if frame.chroma is None:
        return PixelLayout(None, frame.bits, frame.alpha is not None)
    rows, columns = (_step(full, part) for full, part in zip(frame.luma.shape, frame.chroma[0].shape, strict=True))
    return PixelLayout((columns, rows), frame.bits, frame.alpha is not None)


def _step(full, part):
    for step in (1, 2, 4):
        if -(-full // step) == part:
            return step
    raise ValueError(f"{part} samples of chroma do not go with {full} of luma")


# From and to PyAV


def planes_of(av_frame):
    """(luma, chroma, alpha, bits) of an av.VideoFrame, as copies without line padding; see `Frame` for the shapes."""
    if av_frame.format.is_rgb or av_frame.format.has_palette:
        return _planes_of_rgb(av_frame)
    if _SEMI_PLANAR.match(av_frame.format.name):
        return _semi_planar(av_frame)
    layout = layout_of(av_frame.format.name)
    if layout is None:
        av_frame = _same_samples(av_frame, planar_equivalent(av_frame.format))
        layout = layout_of(av_frame.format.name)
    if layout.subsampling is None and layout.alpha:
        grey = _samples(av_frame.planes[0], layout.dtype, channels=2)
        return grey[..., 0].copy(), None, grey[..., 1].copy(), layout.bits
    planes = [_samples(plane, layout.dtype) for plane in av_frame.planes]
    chroma = tuple(planes[1:3]) if layout.subsampling else None
    return planes[0], chroma, planes[-1] if layout.alpha else None, layout.bits


def av_frame_of(frame):
    """The av.VideoFrame with the planes of `frame`; its time is left to the caller."""
    import av

    layout = layout_of_frame(frame)
    height, width = frame.luma.shape
    av_frame = av.VideoFrame(width, height, layout.pixel_format)
    planes = [frame.luma, *(frame.chroma or ()), *(() if frame.alpha is None else (frame.alpha,))]
    if layout.subsampling is None and layout.alpha:
        planes = [np.stack(planes, axis=-1).reshape(height, 2 * width)]
    for plane, samples in zip(av_frame.planes, planes, strict=True):
        lines = np.frombuffer(plane, samples.dtype).reshape(samples.shape[0], -1)
        lines[:, : samples.shape[1]] = samples
    return av_frame


def _samples(plane, dtype, channels=1):
    """The samples of one plane, (rows, columns) or (rows, columns, channels), copied without the line padding."""
    lines = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    if plane.line_size < 0:  # stored bottom line first
        lines = lines[::-1]
    lines = lines[:, : plane.width * channels]
    return lines.copy() if channels == 1 else lines.reshape(plane.height, plane.width, channels).copy()


def _semi_planar(av_frame):
    """NV12 and its like, with U and V in one plane; the P formats have their bits at the upper end of 16.

    Not left to libswscale, which forgets the last column of chroma of odd widths.
    """
    name = av_frame.format.name
    bits = 8 if name.startswith("nv") else int(name[2:4])
    luma, both = (
        _samples(plane, PixelLayout(bits=bits).dtype, n) for plane, n in zip(av_frame.planes, (1, 2), strict=True)
    )
    if bits > 8:
        luma, both = luma >> (16 - bits), both >> (16 - bits)
    chroma = tuple(both[..., i].copy() for i in ((1, 0) if name in ("nv21", "nv42") else (0, 1)))
    return luma, chroma, None, bits


def planar_equivalent(pixel_format):
    from av.codec.codec import find_best_pix_fmt_of_list

    alpha = any(component.is_alpha for component in pixel_format.components)
    best, _ = find_best_pix_fmt_of_list(planar_formats(), pixel_format, has_alpha=alpha)
    return best.name


def planar_formats():
    """Names of all planar YUV and grey formats that FFmpeg knows."""
    from av.video.format import names

    return sorted(name for name in names if layout_of(name) is not None and "j" not in name)


def _same_samples(av_frame, pixel_format):
    """Repacked by libswscale; equal matrix and range on both sides keep it from touching the values.

    One thread only: with more, libswscale 9.5 overwrites samples at the seams when rows are not aligned.
    """
    same = {"src_colorspace": 1, "dst_colorspace": 1, "src_color_range": 1, "dst_color_range": 1}
    return av_frame.reformat(format=pixel_format, threads=1, **same)


def _planes_of_rgb(av_frame):
    name = av_frame.format.name
    alpha = av_frame.format.has_palette or any(component.is_alpha for component in av_frame.format.components)
    if planar := _PLANAR_RGB.match(name):
        bits = int(planar["bits"] or 8)
        green, blue, red, *rest = (_samples(p, PixelLayout(bits=bits).dtype) for p in av_frame.planes)
        channels = [red, green, blue, *rest]
    else:
        bits = 8 if max(component.bits for component in av_frame.format.components) <= 8 else 16
        packed = ("rgba" if alpha else "rgb24") if bits == 8 else ("rgba64le" if alpha else "rgb48le")
        if name != packed:
            av_frame = _same_samples(av_frame, packed)
        pixels = _samples(av_frame.planes[0], PixelLayout(bits=bits).dtype, channels=4 if alpha else 3)
        channels = [pixels[..., i] for i in range(pixels.shape[-1])]
    rgb, layout = np.stack(channels[:3], axis=-1), PixelLayout((1, 1), RGB_BITS)
    frame = frame_of_rgb(rgb, layout, RGB_MATRIX, True, peak=2**bits - 1)
    return frame.luma, frame.chroma, requantised(channels[3], bits, RGB_BITS) if alpha else None, RGB_BITS


# Depth, range and subsampling


def quantisation(bits, full_range):
    """(black, span of luma, neutral chroma, span of chroma) in code values, as in Rec. ITU-T H.273."""
    if full_range:
        return 0, 2**bits - 1, 2 ** (bits - 1), 2**bits - 1
    unit = 2 ** (bits - 8) if bits >= 8 else 1
    return 16 * unit, 219 * unit, 128 * unit, 224 * unit


def requantised(samples, bits, new_bits, full_range=True, new_full_range=None, chroma=False):
    """`samples` at another depth and range, rounded to nearest and clipped."""
    new_full_range = full_range if new_full_range is None else new_full_range
    if bits == new_bits and full_range == new_full_range:
        return samples
    part = slice(2, 4) if chroma else slice(0, 2)
    zero, span = quantisation(bits, full_range)[part]
    new_zero, new_span = quantisation(new_bits, new_full_range)[part]
    values = (samples.astype(np.float32) - zero) * (new_span / span) + new_zero
    return _rounded(values, new_bits)


def converted(frame, layout, full_range=False, new_full_range=None, siting="left"):
    """`frame` in another PixelLayout: depth and range by rounding, chroma by linear filters at the given siting.

    siting: "left" (H.264, HEVC, VP9) or "center" (JPEG): where a chroma sample lies between its columns of luma.
    Alpha that `layout` lacks is dropped; alpha that `frame` lacks becomes opaque; grey gets neutral chroma.
    """
    new_full_range = full_range if new_full_range is None else new_full_range
    luma = requantised(frame.luma, frame.bits, layout.bits, full_range, new_full_range)
    chroma = _converted_chroma(frame, layout, full_range, new_full_range, siting)
    alpha = None
    if layout.alpha and frame.alpha is not None:
        alpha = requantised(frame.alpha, frame.bits, layout.bits)
    elif layout.alpha:
        alpha = np.full(luma.shape, 2**layout.bits - 1, layout.dtype)
    return replace(frame, luma=luma, chroma=chroma, alpha=alpha, bits=layout.bits)


def _converted_chroma(frame, layout, full_range, new_full_range, siting):
    height, width = frame.luma.shape
    if layout.subsampling is None:
        return None
    if frame.chroma is None:
        shape = layout.chroma_shape(height, width)
        return tuple(np.full(shape, 2 ** (layout.bits - 1), layout.dtype) for _ in range(2))
    source = layout_of_frame(frame)
    planes = frame.chroma
    if source.subsampling != layout.subsampling:
        full = [_enlarged(plane, (height, width), source.subsampling, siting) for plane in planes]
        planes = [_rounded(_shrunk(plane, layout.subsampling, siting), frame.bits) for plane in full]
    return tuple(requantised(p, frame.bits, layout.bits, full_range, new_full_range, chroma=True) for p in planes)


def _enlarged(plane, shape, subsampling, siting):
    """Chroma at the size of luma, float32, by linear interpolation."""
    columns, rows = subsampling
    plane = _interpolated(plane.astype(np.float32, copy=False), shape[0], rows, centred=True)
    return _interpolated(plane.T, shape[1], columns, centred=siting != "left").T


def _interpolated(plane, length, factor, centred):
    if factor == 1:
        return plane[:length]
    position = (np.arange(length, dtype=np.float32) + 0.5 * centred) / factor - 0.5 * centred
    position = np.clip(position, 0, plane.shape[0] - 1)
    low = np.floor(position).astype(int)
    weight = (position - low)[:, None].astype(np.float32)
    return plane[low] * (1 - weight) + plane[np.minimum(low + 1, plane.shape[0] - 1)] * weight


def _shrunk(plane, subsampling, siting):
    """Chroma at the size of luma, float32, averaged down to its subsampling."""
    columns, rows = subsampling
    plane = _averaged(plane, rows, centred=True)
    return _averaged(plane.T, columns, centred=siting != "left").T


def _averaged(plane, factor, centred):
    if factor == 1:
        return plane
    # A sample on the first column of its group looks as far to the left as to the right.
    before = 0 if centred else factor // 2
    weights = np.ones(factor) if centred else np.convolve(np.ones(factor), [0.5, 0.5])
    groups = -(-plane.shape[0] // factor)
    padded = np.pad(plane, ((before, groups * factor - plane.shape[0] + 1), (0, 0)), mode="edge")
    total = sum(w * padded[i : i + groups * factor : factor][:groups] for i, w in enumerate(weights))
    return (total / weights.sum()).astype(np.float32)


def _rounded(values, bits):
    return np.clip(np.floor(values + 0.5), 0, 2**bits - 1).astype(np.uint8 if bits <= 8 else np.uint16)


# RGB by the matrix and range of a stream


def rgb_of_frame(frame, matrix, full_range, siting="left", clip=True):
    """(H, W, 3) float32 RGB in [0, 1] by the stream's own matrix ("bt601", "bt709", ...) and range; grey: R = G = B.

    Without `clip`, what a frame holds beyond black, white and pure colours goes beyond [0, 1].
    """
    black, luma_span, neutral, chroma_span = quantisation(frame.bits, full_range)
    y = (frame.luma.astype(np.float32) - black) / luma_span
    if frame.chroma is None:
        rgb = np.stack([y, y, y], axis=-1)
        return np.clip(rgb, 0, 1) if clip else rgb
    steps = layout_of_frame(frame).subsampling
    cb, cr = ((_enlarged(plane, y.shape, steps, siting) - neutral) / chroma_span for plane in frame.chroma)
    red, blue = LUMA_WEIGHTS[matrix]
    r = y + 2 * (1 - red) * cr
    b = y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    rgb = np.stack([r, g, b], axis=-1)
    return np.clip(rgb, 0, 1) if clip else rgb


def frame_of_rgb(rgb, layout, matrix, full_range, peak=1):
    """The Frame of (H, W, 3) RGB in [0, peak] in the given PixelLayout, matrix and range.

    `layout.alpha` is ignored: alpha is not a colour.
    """
    return frame_of_ycbcr(ycbcr_of_rgb(rgb, matrix, peak), layout, full_range)


def ycbcr_of_rgb(rgb, matrix, peak=1):
    """(H, W, 3) float32 of RGB in [0, peak]: luma in [0, 1] and the two colour differences in [-0.5, 0.5]."""
    red, blue = LUMA_WEIGHTS[matrix]
    r, g, b = (np.asarray(rgb)[..., i].astype(np.float32) / np.float32(peak) for i in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    return np.stack([y, (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))], axis=-1)


def frame_of_ycbcr(ycbcr, layout, full_range, siting="left", like=None):
    """The Frame of what `ycbcr_of_rgb` returns; see `frame_of_rgb`. like: one whose time and flags are taken over."""
    black, luma_span, neutral, chroma_span = quantisation(layout.bits, full_range)
    chroma = None
    if layout.subsampling:
        parts = (_shrunk(ycbcr[..., i], layout.subsampling, siting) for i in (1, 2))
        chroma = tuple(_rounded(part * chroma_span + neutral, layout.bits) for part in parts)
    luma = _rounded(ycbcr[..., 0] * luma_span + black, layout.bits)
    planes = {"luma": luma, "chroma": chroma, "bits": layout.bits}
    return replace(like, **planes, alpha=None) if like is not None else Frame(**planes)
