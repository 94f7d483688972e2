"""RGB to YCbCr and back: MATLAB's `rgb2ycbcr` by default, and the matrices and ranges that video uses.

The papers measure on the luma of MATLAB's function, BT.601 in studio range (Y in 16..235 of 255). Full-range luma reads
1.3 dB lower for the same picture, so the range is never implied: it is the argument `full_range`.
"""

from functools import lru_cache

import numpy as np

BLOCK = 1 << 13  # pixels that are converted at a time, as the caches hold what they are on the way
PLANAR_BLOCK = 1 << 15  # ... of float32 planes, which are less

# Weights of red and blue in the luma; green has the rest.
LUMA_WEIGHTS = {
    "bt601": (0.299, 0.114),  # ITU-R BT.601, also MATLAB, JPEG and SD video
    "bt709": (0.2126, 0.0722),  # HD video
    "bt2020": (0.2627, 0.0593),  # UHD video, non-constant luminance
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}


def rgb_to_ycbcr(rgb, matrix="bt601", full_range=False):
    """(..., 3) RGB to (..., 3) YCbCr of the same type.

    Floating point is in [0, 1] both ways (Y of black is 16/255 in studio range, neutral chroma is 128/255); uint8 and
    uint16 are scaled by their peak and rounded, as MATLAB does. Raises KeyError for an unknown matrix.
    """
    forward, offset = _conversion(matrix, full_range)
    return _apply(rgb, forward, offset)


def ycbcr_to_rgb(ycbcr, matrix="bt601", full_range=False):
    """The inverse of `rgb_to_ycbcr`; colours outside the RGB cube are clipped to it."""
    forward, offset = _conversion(matrix, full_range)
    inverse = np.linalg.inv(forward)
    ycbcr = np.asarray(ycbcr)
    result = _apply(ycbcr, inverse, -inverse @ offset)
    return result if np.issubdtype(result.dtype, np.integer) else np.clip(result, 0, 1)


def rgb_of_planes(y, cb, cr, kind):
    """`ycbcr_to_rgb` of float32 planes (H, W), 1 to the peak of the integer type `kind`, and rounded: (H, W, 3)."""
    forward, offset = _conversion("bt601", False)
    inverse, peak = np.linalg.inv(forward), np.iinfo(kind).max
    of_y, of_cb, of_cr = (peak * inverse).T.astype(np.float32)
    constant = (0.5 - peak * inverse @ offset).astype(np.float32)  # a half more, as what is behind the point is cut off
    rgb = np.empty((*y.shape, 3), kind)
    step = max(1, PLANAR_BLOCK // y.shape[1])
    for rows in (slice(first, first + step) for first in range(0, len(y), step)):
        grey = y[rows] * of_y[0]
        for channel, chroma in enumerate(([(cr, of_cr)], [(cb, of_cb), (cr, of_cr)], [(cb, of_cb)])):
            values = grey + constant[channel]
            for plane, weight in chroma:
                values += plane[rows] * weight[channel]
            rgb[rows, :, channel] = np.clip(values, 0, peak, out=values)
    return rgb


def luma(rgb):
    """The Y of the papers, (..., 3) RGB to (...): BT.601 in studio range, same type as `rgb`."""
    forward, offset = _conversion("bt601", False)
    return _apply(rgb, forward[:1], offset[:1])[..., 0]


@lru_cache
def _conversion(matrix, full_range):
    red, blue = LUMA_WEIGHTS[matrix]
    y = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0, 0, 1]) - y) / (2 * (1 - blue))
    cr = (np.array([1, 0, 0]) - y) / (2 * (1 - red))
    luma_span, chroma_span, black = (1, 1, 0) if full_range else (219 / 255, 224 / 255, 16 / 255)
    return np.stack([y * luma_span, cb * chroma_span, cr * chroma_span]), np.array([black, 128 / 255, 128 / 255])


def _apply(pixels, matrix, offset):
    pixels = np.asarray(pixels)
    kind, peak, real = pixels.dtype, 1, pixels.dtype
    whole = np.issubdtype(kind, np.integer)
    if whole:
        peak, real = np.iinfo(kind).max, np.float64
    matrix, offset = matrix.T.astype(real), (offset * peak).astype(real)
    flat = pixels.reshape(-1, pixels.shape[-1])
    result = np.empty((len(flat), len(offset)), kind)
    for block in (slice(first, first + BLOCK) for first in range(0, len(flat), BLOCK)):
        values = flat[block].astype(real, copy=False) @ matrix
        values += offset
        if whole:
            values += 0.5
            np.clip(np.floor(values, out=values), 0, peak, out=values)
        result[block] = values
    return result.reshape(*pixels.shape[:-1], len(offset))
