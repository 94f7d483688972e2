"""PSNR and SSIM by the protocol of the papers, every switch of which has a name.

The literature compares 8-bit luma (MATLAB's studio-range Y) after cutting `scale` pixels from every side, PSNR against
a peak of 255 although that luma spans 16..235, and SSIM as Wang et al. 2004 published it (11 x 11 Gaussian window of
sigma 1.5, 'valid' positions only, no downsampling).
"""

from dataclasses import dataclass

import numpy as np

from common.color import luma


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
    """{"psnr": dB, "ssim": 0..1} of two pictures, float in [0, 1], (H, W) luma or (H, W, 3) RGB.

    Raises ValueError if the shapes differ or nothing is left inside the border.
    """
    truth, estimate = _prepare(truth, protocol), _prepare(estimate, protocol)
    return {"psnr": psnr(truth, estimate), "ssim": ssim(truth, estimate)}


def psnr(truth, estimate, peak=1.0):
    """Peak signal-to-noise ratio in dB of two arrays of one shape; infinite if they are equal."""
    _same_shape(truth, estimate)
    error = np.mean(np.square(np.asarray(truth, np.float64) - np.asarray(estimate, np.float64)))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(truth, estimate, peak=1.0, window=11, sigma=1.5, k1=0.01, k2=0.03):
    """Mean structural similarity (Wang et al. 2004, their `ssim_index.m`) of two (H, W) or (H, W, C) arrays.

    Returns NaN for pictures smaller than the window, for which the index is not defined.
    """
    _same_shape(truth, estimate)
    if min(np.shape(truth)[:2]) < window:
        return float("nan")
    x, y = (np.asarray(image, np.float64) for image in (truth, estimate))
    mean_x, mean_y, xx, yy, xy = (_gaussian(image, window, sigma) for image in (x, y, x * x, y * y, x * y))
    c1, c2 = (k1 * peak) ** 2, (k2 * peak) ** 2
    similarity = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    similarity *= (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    return float(similarity.mean())


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


def _gaussian(image, window, sigma):
    """Separable Gaussian mean of every full window ('valid')."""
    taps = np.exp(-((np.arange(window) - (window - 1) / 2) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    rows, columns = image.shape[0] - window + 1, image.shape[1] - window + 1
    image = sum(tap * image[i : i + rows] for i, tap in enumerate(taps))
    return sum(tap * image[:, i : i + columns] for i, tap in enumerate(taps))
