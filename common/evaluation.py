"""Testing a network on pictures: shrink the truth, enlarge it again, compare by the papers' protocol."""

from dataclasses import dataclass

import numpy as np

from common.color import rgb_to_ycbcr, ycbcr_to_rgb
from common.metrics import Protocol, compare, papers_protocol
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


def mean(rows):
    """Mean of each measure over the rows of a report, as the papers average: of the figures, not of the errors.

    Pictures too small for SSIM do not count in its mean, which is NaN if there are no others.
    """
    figures = {key: [row[key] for row in rows if not np.isnan(row[key])] for key in MEASURES}
    return {key: float(np.mean(values)) if values else float("nan") for key, values in figures.items()}


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
    scale, protocol = upscaler.scale, Protocol(colour="luma", border=0, rounding=True)
    truths = [crop_to_multiple(frame.luma, scale) for frame in frames]
    bits = frames[0].bits
    unit = 255 << (bits - 8)
    lows = [Frame(resize(truth, 1 / scale), bits=bits) for truth in truths]
    ours, theirs = [], []
    for truth, window in zip(truths, windows(lows, upscaler.spec.frames // 2), strict=True):
        bicubic = resize(to_unit(window[len(window) // 2].luma, unit), scale)
        ours.append(compare(to_unit(truth, unit), to_unit(upscaler.frame(window).luma, unit), protocol))
        theirs.append(compare(to_unit(truth, unit), bicubic, protocol))
    figures = {measure: float(np.mean([row[measure] for row in ours])) for measure in ("psnr", "ssim")}
    figures |= {f"bicubic_{measure}": float(np.mean([row[measure] for row in theirs])) for measure in ("psnr", "ssim")}
    frames = [[one["psnr"], other["psnr"]] for one, other in zip(ours, theirs, strict=True)]
    return {"name": name, **figures, "frames": frames}


def viewable(output, pixels, scale):
    """The network's `output` (H, W, C) as a picture in the depth of `pixels`, its chroma from bicubic interpolation."""
    if output.shape[-1] == 3 or pixels.shape[-1] == 1:
        return from_unit(output, pixels.dtype)
    chroma = resize(resize(rgb_to_ycbcr(to_unit(pixels))[..., 1:], 1 / scale), scale)
    return from_unit(ycbcr_to_rgb(np.concatenate([output, chroma], axis=-1)), pixels.dtype)
