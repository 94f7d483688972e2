"""PSNR and SSIM by the protocol of the papers, every switch of which has a name.

The literature compares 8-bit luma (MATLAB's studio-range Y) after cutting `scale` pixels from every side, PSNR against
a peak of 255 although that luma spans 16..235, and SSIM as Wang et al. 2004 published it (11 x 11 Gaussian window of
sigma 1.5, 'valid' positions only, no downsampling).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from common.color import luma

RUN = 1 << 13  # numbers that are compared at a time: caches hold what they are on the way, and BLAS wakes no threads
ROWS, COLUMNS = 32, 160  # of the places whose SSIM is computed at a time, likewise


@dataclass(frozen=True)
class Protocol:
    """How two pictures are compared.

    colour: "luma" compares MATLAB's Y, "rgb" all three channels as they are (about 2 dB lower).
    border: pixels cut from every side first.
    rounding: round both to 8 bits first, as a saved picture is; luma of RGB is rounded both before and after.
    """

    colour: str = "luma"
    border: int = 0
    rounding: bool = True


def papers_protocol(scale):
    """The protocol of SRCNN, VDSR, DRCN and most later papers (their evaluation code, not their text)."""
    return Protocol(colour="luma", border=scale, rounding=True)


def compare(truth, estimate, protocol):
    """{"psnr": dB, "ssim": at most 1} of two pictures, float in [0, 1], (H, W) luma or (H, W, 3) RGB.

    Raises ValueError if the shapes differ or nothing is left inside the border.
    """
    truth, estimate = _prepare(truth, protocol), _prepare(estimate, protocol)
    return {"psnr": psnr(truth, estimate), "ssim": ssim(truth, estimate)}


def psnr(truth, estimate, peak=1.0):
    """Peak signal-to-noise ratio in dB of two arrays of one shape; infinite if they are equal."""
    _same_shape(truth, estimate)
    kind = np.result_type(truth, estimate)
    kind = np.result_type(kind, np.float32) if np.issubdtype(kind, np.floating) else np.float64
    truth, estimate, error = np.ravel(truth), np.ravel(estimate), 0.0
    for run in (slice(first, first + RUN) for first in range(0, len(truth), RUN)):
        difference = np.subtract(truth[run], estimate[run], dtype=kind)
        error += float(difference @ difference) / len(truth)
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(truth, estimate, peak=1.0, window=11, sigma=1.5, k1=0.01, k2=0.03):
    """Mean structural similarity (Wang et al. 2004, their `ssim_index.m`) of two (H, W) or (H, W, C) arrays.

    Returns NaN for pictures smaller than the window, for which the index is not defined.
    """
    _same_shape(truth, estimate)
    if min(np.shape(truth)[:2]) < window:
        return float("nan")
    constants = 2 * (k1 * peak) ** 2, 2 * (k2 * peak) ** 2
    total, width = 0.0, window - 1
    for x, y in zip(*(np.moveaxis(np.atleast_3d(image), -1, 0) for image in (truth, estimate)), strict=True):
        rows, columns = (length - width for length in x.shape)
        for top in range(0, rows, ROWS):
            for left in range(0, columns, COLUMNS):
                part = slice(top, top + ROWS + width), slice(left, left + COLUMNS + width)
                total += _similarity(x[part], y[part], window, sigma, *constants)
    return total / (rows * columns * np.size(truth) / x.size)


def _similarity(x, y, window, sigma, c1, c2):
    """Sum of the index over all windows that lie in two planes.

    It is written with the sum and the difference of both, so that four Gaussian means do, of these and of their
    squares, where the published form has five: with s = x + y, d = x - y and <> for the mean, 4 <x> <y> is <s>^2 -
    <d>^2, 2 (<x>^2 + <y>^2) is <s>^2 + <d>^2, and likewise with variances.
    """
    maps = np.empty((4, *x.shape))
    np.add(x, y, out=maps[0], dtype=np.float64)
    np.subtract(x, y, out=maps[1], dtype=np.float64)
    np.square(maps[:2], out=maps[2:])
    sums, differences, sums_varying, differences_varying = _gaussian(maps, window, sigma)
    sums *= sums
    differences *= differences
    sums_varying -= sums
    differences_varying -= differences
    similarity = (sums - differences + c1) / (sums + differences + c1)
    similarity *= (sums_varying - differences_varying + c2) / (sums_varying + differences_varying + c2)
    return similarity.sum()


def _prepare(image, protocol):
    image = np.asarray(image, np.float64)
    if protocol.colour == "luma" and image.ndim == 3:
        # Colours are rounded before they become luma, too, as those of a saved picture are.
        saved = _rounded(image) if protocol.rounding else image
        image = luma(saved) if image.shape[-1] == 3 else image[..., 0]
    if protocol.rounding:
        image = _rounded(image)
    cut = protocol.border
    image = image[cut : image.shape[0] - cut, cut : image.shape[1] - cut]
    if image.size == 0:
        raise ValueError(f"nothing of the picture is left inside a border of {cut} pixels")
    return image


def _rounded(image):
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5) / 255


def _same_shape(truth, estimate):
    if np.shape(truth) != np.shape(estimate):
        raise ValueError(f"pictures of different sizes cannot be compared: {np.shape(truth)} and {np.shape(estimate)}")


def _gaussian(maps, window, sigma):
    """Separable Gaussian mean of every full window of (n, H, W) maps, as products with small banded matrices."""
    rows, columns = maps.shape[1] - window + 1, maps.shape[2] - window + 1
    bands = _bands(window, sigma)
    maps = bands[:rows, : rows + window - 1] @ maps
    result = np.empty((len(maps), rows, columns))
    for left in range(0, columns, ROWS):
        width = min(ROWS, columns - left)
        band = bands[:width, : width + window - 1].T
        np.matmul(maps[..., left : left + width + window - 1], band, out=result[..., left : left + width])
    return result


@lru_cache
def _bands(window, sigma):
    """(ROWS, ROWS + window - 1): the weights of as many neighbouring windows, each a place further."""
    taps = np.exp(-((np.arange(window) - (window - 1) / 2) ** 2) / (2 * sigma**2))
    bands = np.zeros((ROWS, ROWS + window - 1))
    for place in range(ROWS):
        bands[place, place : place + window] = taps / taps.sum()
    return bands
