"""Testing a network on pictures: shrink the truth, enlarge it again, compare by the papers' protocol."""

from dataclasses import dataclass, replace
from itertools import tee

import numpy as np

from common.color import rgb_of_planes, rgb_to_ycbcr
from common.metrics import Protocol, compare, papers_protocol
from common.networks import Network
from common.patches import crop_to_multiple, luma_or_rgb
from common.resize import resize
from common.upscaler import from_unit, to_unit
from common.video_frames import Frame
from common.windows import windows


@dataclass(frozen=True)
class Result:
    """One tested picture. psnr in dB and ssim on luma; the pictures are (H, W, 1 or 3) in the depth of the truth."""

    name: str
    psnr: float
    ssim: float
    bicubic_psnr: float
    bicubic_ssim: float
    pixels: np.ndarray
    bicubic_pixels: np.ndarray
    low_pixels: np.ndarray

    @property
    def figures(self):
        """The row of a report."""
        return {key: getattr(self, key) for key in ("name", *MEASURES)}


MEASURES = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")
CLIPS_PROTOCOL = Protocol(colour="luma", border=0, rounding=True)


class Bicubic:
    """Bicubic interpolation of luma, in the place of an `Upscaler`."""

    name = "bicubic"

    def __init__(self, scale):
        self.scale, self.spec = scale, Network(scale)

    def planes(self, low):
        """Enlarge (H, W, C) float32 in [0, 1]; not clipped."""
        return resize(low, self.scale)

    def frame(self, window):
        """Enlarge the luma of the middle `Frame` of `window`, in its depth."""
        frame = window[len(window) // 2]
        unit = frame.unit
        high = self.planes(to_unit(frame.luma, unit))
        return replace(frame, luma=from_unit(high, frame.luma.dtype, unit, 2**frame.bits - 1), chroma=None, alpha=None)


def mean(rows):
    """Mean of each measure over the rows of a report, as the papers average: of the figures, not of the errors.

    Pictures too small for SSIM do not count in its mean, nor those drawn without any error in that of PSNR.
    """
    return {key: finite_mean(row[key] for row in rows) for key in MEASURES}


def finite_mean(figures):
    """Mean of those figures that are finite; of all, if none is."""
    figures = np.array(list(figures))
    finite = figures[np.isfinite(figures)]
    return float(np.mean(finite if finite.size else figures))


def evaluate(upscaler, name, pixels):
    """Test on one picture, (H, W, 1 or 3) in 8 or 16 bit; returns a `Result`.

    The low-resolution input is kept in floating point between shrinking and enlarging, as the papers' code does.
    Raises ValueError if the picture is too small for the protocol.
    """
    scale, colour = upscaler.scale, upscaler.spec.colour
    pixels = crop_to_multiple(pixels, scale)
    if min(pixels.shape[:2]) <= 2 * scale:
        raise ValueError(f"{name} is too small to be tested at x{scale}.")
    truth = luma_or_rgb(pixels, colour)
    low = resize(truth, 1 / scale)
    output, bicubic = upscaler.planes(low), resize(low, scale)
    if pixels.shape[-1] == 1:  # compared as the Y that it is, by whatever network it was enlarged
        truth, output, bicubic = (planes.mean(axis=-1, keepdims=True) for planes in (truth, output, bicubic))
    protocol = papers_protocol(scale)
    ours, theirs = compare(truth, output, protocol), compare(truth, bicubic, protocol)
    return Result(
        name,
        **ours,
        bicubic_psnr=theirs["psnr"],
        bicubic_ssim=theirs["ssim"],
        pixels=viewable(output, pixels, scale),
        bicubic_pixels=viewable(bicubic, pixels, scale),
        low_pixels=resize(pixels, 1 / scale),
    )


def evaluate_clip(upscaler, name, frames):
    """Test on the luma of a clip, a list of `Frame`s; returns the figures of a report with one more, "frames".

    The low-resolution luma is rounded to the depth of the clip; every frame counts, no border is cut, and the figures
    of the clip are means over its frames. "frames" lists [psnr, bicubic psnr] of each.
    """
    ours, theirs = clip_figures(upscaler, frames), clip_figures(Bicubic(upscaler.scale), frames)
    figures = {measure: float(np.mean(ours[measure])) for measure in ours}
    figures |= {f"bicubic_{measure}": float(np.mean(theirs[measure])) for measure in theirs}
    frames = [list(pair) for pair in zip(ours["psnr"], theirs["psnr"], strict=True)]
    return {"name": name, **figures, "frames": frames}


def clip_figures(upscaler, frames):
    """{"psnr": [dB], "ssim": [0..1]} of every frame of a clip by the protocol of `evaluate_clip`.

    frames: any iterable of `Frame`s; only those that the network looks back or ahead at are held in memory.
    """
    scale, figures = upscaler.scale, {"psnr": [], "ssim": []}
    frames, others = tee(frames)
    lows = (Frame(resize(crop_to_multiple(other.luma, scale), 1 / scale), bits=other.bits) for other in others)
    for frame, window in zip(frames, windows(lows, upscaler.spec.frames // 2), strict=True):
        planes = crop_to_multiple(frame.luma, scale), upscaler.frame(window).luma
        truth, enlarged = (to_unit(plane, frame.unit) for plane in planes)
        for measure, value in compare(truth, enlarged, CLIPS_PROTOCOL).items():
            figures[measure].append(value)
    return figures


def blur(pixels):
    """Perceptual blur of the luma of a picture (H, W, 1 or 3), 0 (sharp) to 1 (Crete et al. 2007); needs no truth."""
    from skimage.measure import blur_effect

    return float(blur_effect(luma_or_rgb(pixels, "luma")[..., 0]))


def viewable(output, pixels, scale):
    """The network's `output` (H, W, C) as a picture in the depth of `pixels`, its chroma from bicubic interpolation."""
    if output.shape[-1] == 3 or pixels.shape[-1] == 1:
        return from_unit(output, pixels.dtype)
    chroma = resize(resize(rgb_to_ycbcr(to_unit(pixels))[..., 1:], 1 / scale), scale)
    return rgb_of_planes(output[..., 0], chroma[..., 0], chroma[..., 1], pixels.dtype)
