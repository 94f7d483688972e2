"""From a picture to pairs of low and high resolution, and from those to the sub-images that networks train on."""

import numpy as np

from common.color import luma
from common.motion import compensated
from common.resize import resize


def luma_or_rgb(pixels, colour):
    """(H, W, channels) float32 in [0, 1] of 8- or 16-bit `pixels` (H, W, 1 or 3), in the colours a network sees.

    "luma" is MATLAB's Y, rounded to the depth of the pixels as the papers have it; grey pictures are taken as Y
    unchanged. "rgb" repeats grey three times.
    """
    if colour == "luma":
        planes = luma(pixels)[..., None] if pixels.shape[-1] == 3 else pixels
    else:
        planes = pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)
    return planes.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def crop_to_multiple(image, scale):
    """(H, W, ...) without the last rows and columns that are no multiple of `scale`."""
    return image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]


def resized(picture, factor):
    """`picture` (H, W, C) in [0, 1] resized by `factor`, and still in [0, 1]."""
    return picture if factor == 1 else np.clip(resize(picture, factor), 0, 1)


def degrade(high, spec):
    """The input of network `spec` for the truth `high` (H, W, C), sides multiples of the scale.

    Shrunk by bicubic interpolation and, where the network wants it so, enlarged again; float, not rounded between.
    """
    low = resize(high, 1 / spec.scale)
    return resize(low, spec.scale) if spec.upscale_first else low


def label_offset(spec, image_size, label_size):
    """Where in the enlarged sub-image its centred label begins, in output pixels. Raises ValueError if nowhere."""
    spare = image_size * spec.factor - label_size
    if label_size < 1 or spare < 0 or spare % 2:
        raise ValueError(
            f"a label of {label_size} pixels does not lie in the centre of a sub-image that covers "
            f"{image_size * spec.factor}: take a --label_size (or --image_size) that is smaller by an even number."
        )
    return spare // 2


def sub_images(high, spec, image_size, label_size, stride, label=None):
    """(data, label) of all sub-images of one picture, row by row of their places: (rows, columns, image_size,
    image_size, C) and (rows, columns, label_size, label_size, C), both views of what they are cut from.

    high: (H, W, C) float32. `image_size` and `stride` are in pixels of the network's input, `label_size` in pixels of
    its output; the label is the centre of what the sub-image covers, of the picture `label` if there is one, as big as
    `high` cropped to a multiple of the scale. A picture too small for one gives no rows.
    """
    high = np.ascontiguousarray(crop_to_multiple(high, spec.scale))
    low = degrade(high, spec) if min(high.shape[:2]) >= spec.scale else high[:0]
    return _pairs(low, high if label is None else label, spec, image_size, label_size, stride)


def _pairs(low, high, spec, image_size, label_size, stride):
    """(data, label) of all sub-images of the network's input `low` and the truth `high`."""
    offset = label_offset(spec, image_size, label_size)
    data = _windows(low, image_size, stride)
    rows, columns = high.shape[0] - 2 * offset, high.shape[1] - 2 * offset
    inner = high[offset : offset + max(rows, 0), offset : offset + max(columns, 0)]
    return data, _windows(inner, label_size, stride * spec.factor)[: len(data)]


def neighbours(time, radius, first, last):
    """Frame numbers of the window around `time`, those outside [first, last] replaced by the nearest inside."""
    return [min(max(t, first), last) for t in range(time - radius, time + radius + 1)]


def sub_windows(clip, spec, image_size, label_size, stride, step=1):
    """(data, label) of all sub-images of all frames of a clip, for a network that sees several frames: (N, image_size,
    image_size, frames) and (N, label_size, label_size, 1).

    clip: (T, H, W) float32 luma. Each data is a window of frames `step` apart; the sizes are as for `sub_images`.
    """
    highs = [np.ascontiguousarray(crop_to_multiple(frame[..., None], spec.scale)) for frame in clip]
    lows = [degrade(high, spec) for high in highs]
    parts = []
    for time, high in enumerate(highs):
        chosen = neighbours(time, spec.frames // 2 * step, 0, len(clip) - 1)[::step]
        window = np.concatenate([lows[t] for t in chosen], axis=-1)
        if spec.optical_flow:
            window = compensated(window, spec.optical_flow)
        parts.append(_pairs(window, high, spec, image_size, label_size, stride))
    return tuple(np.concatenate([in_one_row(part) for part in kind]) for kind in zip(*parts, strict=True))


def in_one_row(windows):
    """(rows, columns, ...) as (rows * columns, ...)."""
    return windows.reshape(-1, *windows.shape[2:])


def moving(plane, frames, generator):
    """A clip (frames, H', W') made of one picture (H, W): a steady drift, with a little zoom and rotation.

    The drift is up to 3 pixels a frame, sampled by bicubic interpolation; the edges that come into view are cut off.
    """
    import cv2

    drift, zoom, turn = generator.uniform(-3, 3, 2), generator.normal(0, 0.004), generator.normal(0, 0.2)
    clip, (rows, columns) = [], plane.shape
    for time in np.arange(frames) - frames // 2:
        matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), turn * time, 1 + zoom * time)
        matrix[:, 2] += drift * time
        clip.append(
            cv2.warpAffine(plane, matrix, (columns, rows), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        )
    cut = min(rows, columns) // 12
    return np.clip(np.stack(clip)[:, cut : rows - cut, cut : columns - cut], 0, 1)


def _windows(image, size, stride):
    """(rows, columns, size, size, C) view of the windows of `image` at every `stride`."""
    if min(image.shape[:2]) < size:
        return np.empty((0, 0, size, size, image.shape[-1]), image.dtype)
    views = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))[::stride, ::stride]
    return views.transpose(0, 1, 3, 4, 2)
