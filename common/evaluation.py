"""Testing a network on pictures: shrink the truth, enlarge it again, compare by the papers' protocol."""

from dataclasses import dataclass

import numpy as np

from common.color import rgb_to_ycbcr, ycbcr_to_rgb
from common.metrics import compare, papers_protocol
from common.patches import crop_to_multiple, luma_or_rgb
from common.resize import resize
from common.upscaler import from_unit, to_unit


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


def mean(results):
    """Mean of each measure over `results`, as the papers average: of the figures, not of the errors."""
    return {key: float(np.mean([getattr(result, key) for result in results])) for key in MEASURES}


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


def viewable(output, pixels, scale):
    """The network's `output` (H, W, C) as a picture in the depth of `pixels`, its chroma from bicubic interpolation."""
    if output.shape[-1] == 3 or pixels.shape[-1] == 1:
        return from_unit(output, pixels.dtype)
    chroma = resize(resize(rgb_to_ycbcr(to_unit(pixels))[..., 1:], 1 / scale), scale)
    return from_unit(ycbcr_to_rgb(np.concatenate([output, chroma], axis=-1)), pixels.dtype)
