"""Bicubic resizing, pixel for pixel that of MATLAB's `imresize(image, scale, 'bicubic')`.

Every published figure of classic super-resolution starts from this function: the low-resolution input is made by it,
and the bicubic row of every table is its enlargement. Other libraries differ (Keys' a = -0.75 in OpenCV and PyTorch,
no antialiasing, renormalised instead of mirrored borders), which costs up to 2 dB.
"""

from functools import lru_cache

import numpy as np

KEYS_A = -0.5  # Keys 1981, the value MATLAB uses; it makes the kernel reproduce quadratics
BLOCK = 32  # output samples that share one small matrix product; half as many where each is made of more
LARGEST = 1 << 18  # multiply-adds of a product; OpenBLAS wakes threads for more, which cost more than they do
CACHED_AXES = 64  # a video asks for the same few axes over and over


def resize(image, scale=None, *, size=None, antialias=True, border="mirror", axes=(0, 1), shift=(0.0, 0.0)):
    """Enlarge or shrink `image` by bicubic interpolation.

    image: array with rows and columns on `axes`, (H, W) or (H, W, C) by default. Floating point is computed in its own
        precision and neither rounded nor clipped; integers are computed in float64 and, as in MATLAB, rounded and
        clipped to their type after each of the two passes.
    scale: factor for both axes, > 0; the new size is ceil(scale * old size).
    size: (rows, columns) instead of `scale`.
    antialias: widen the kernel when shrinking.
    border: "mirror" repeats the picture mirrored with its edge pixel (MATLAB since 2007), "clamp" its edge pixel only
        (older releases).
    shift: (rows, columns) by which the result is displaced, in its own pixels; positive shows what lies further down
        and to the right. Chroma whose samples do not lie between those of luma needs it.
    Raises ValueError unless exactly one of `scale` and `size` is given, or if one of them is not positive.
    """
    image = np.asarray(image)
    if (scale is None) == (size is None):
        raise ValueError("give either a scale or a size")
    old = [image.shape[axis] for axis in axes]
    new = [int(np.ceil(n * scale - 1e-9)) for n in old] if size is None else [int(n) for n in size]
    if min(new) < 1 or min(old) < 1:
        raise ValueError(f"cannot resize {tuple(old)} to {tuple(new)}: every side must have at least one pixel")
    scales = [n / o for n, o in zip(new, old, strict=True)] if size is not None else [float(scale)] * 2
    planes = np.moveaxis(image, axes, (-2, -1))
    # MATLAB works first along the axis that shrinks most; of equals, along the rows' axis.
    for axis in sorted((0, 1), key=lambda axis: scales[axis]):
        planes = _resize_axis(planes, axis - 2, old[axis], new[axis], scales[axis], shift[axis], antialias, border)
    return np.ascontiguousarray(np.moveaxis(planes, (-2, -1), axes))


def _resize_axis(planes, axis, old, new, scale, shift, antialias, border):
    if old == new and scale == 1 and not shift:
        return planes
    kind = planes.dtype
    real = kind if np.issubdtype(kind, np.floating) else np.dtype(np.float64)
    shape = list(planes.shape)
    shape[axis] = new
    result = np.empty(shape, real)
    across = planes.shape[-3 - axis]
    for begin, end, low, high, weights in _blocks(old, new, scale, shift, antialias, border, real.char):
        parts = -(-across * weights.size // LARGEST)
        width = -(-across // parts)
        for part in (slice(first, first + width) for first in range(0, across, width)):
            if axis == -2:
                band = planes[..., low:high, part].astype(real, copy=False)
                np.matmul(weights, band, out=result[..., begin:end, part])
            else:
                band = planes[..., part, low:high].astype(real, copy=False)
                np.matmul(band, weights.T, out=result[..., part, begin:end])
    if real == kind:
        return result
    limits = np.iinfo(kind)
    return np.clip(np.floor(result + 0.5), limits.min, limits.max).astype(kind)


@lru_cache(maxsize=CACHED_AXES)
def _blocks(old, new, scale, shift, antialias, border, real):
    """The banded matrix of one axis as dense blocks [(first output, end, first input, end, weights)]."""
    index, weight = _taps(old, new, scale, shift, antialias, border)
    blocks, block = [], BLOCK if scale > 1 else BLOCK // 2
    for begin in range(0, new, block):
        end = min(begin + block, new)
        low, high = index[begin:end].min(), index[begin:end].max() + 1
        dense = np.zeros((end - begin, high - low))
        np.add.at(dense, (np.arange(end - begin)[:, None], index[begin:end] - low), weight[begin:end])
        blocks.append((begin, end, int(low), int(high), dense.astype(real)))
    return blocks


def _taps(old, new, scale, shift, antialias, border):
    """Input positions and weights, both (new, taps), of every output sample of one axis."""
    stretch = min(scale, 1.0) if antialias else 1.0
    width = 4.0 / stretch
    centre = (np.arange(new) + 0.5 + shift) / scale - 0.5
    first = np.floor(centre - width / 2)
    index = (first[:, None] + np.arange(int(np.ceil(width)) + 2)).astype(np.int64)
    weight = _keys(stretch * (centre[:, None] - index))
    weight /= weight.sum(1, keepdims=True)
    used = np.any(weight != 0, axis=0)
    index, weight = index[:, used], weight[:, used]
    if border == "mirror":
        around = np.mod(index, 2 * old)
        return np.where(around < old, around, 2 * old - 1 - around), weight
    if border == "clamp":
        return np.clip(index, 0, old - 1), weight
    raise ValueError(f"border is 'mirror' or 'clamp', not {border!r}")


def _keys(x):
    """Keys' cubic convolution kernel, support [-2, 2]."""
    x = np.abs(x)
    near = (KEYS_A + 2) * x**3 - (KEYS_A + 3) * x**2 + 1
    far = KEYS_A * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
