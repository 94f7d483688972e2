"""How good a network in training is on the pictures held back, by the papers' protocol."""

import numpy as np

from common.dataset import crop_for_measuring
from common.errors import TrainingError
from common.evaluation import finite_mean
from common.metrics import compare, papers_protocol
from common.patches import crop_to_multiple, neighbours
from common.resize import resize
from common.upscaler import Upscaler, from_unit
from common.weights import Weights


def centre(picture, size):
    """The middle (at most size, at most size, C) of a picture (H, W, C); all of it if `size` is 0."""
    top, left = (max(0, side - size) // 2 for side in picture.shape[:2])
    return picture[top : top + size, left : left + size] if size else picture


def middle_of(window, spec):
    """The frame that is enlarged, (H, W, C), of a window (H, W, C frames)."""
    first = spec.frames // 2 * spec.channels
    return window[..., first : first + spec.channels]


class Validator:
    """PSNR on the pictures held back, by the papers' protocol; call it with weights."""

    def __init__(self, run, dataset, tensors):
        self.spec = spec = run.spec
        self.scale = spec.scale
        self.size = run.recipe.validation_size // self.scale * self.scale
        self.upscaler = Upscaler(Weights(run.name, run.spec, tensors), run.framework, run.device, "fp32")
        self.truths, self.lows = [], []
        for _, pixels in dataset.validation():
            self._add(pixels)
        if not self.truths:
            raise TrainingError(f"{run.dataset} holds back no picture large enough to validate with.")
        self.bicubic = self._mean_psnr([resize(middle_of(low, spec), self.scale) for low in self.lows])

    def _add(self, pixels):
        """Hold a picture (H, W, C), or the middle frame of a clip (T, H, W, 1) with those around it."""
        spec = self.spec
        clip = pixels if pixels.ndim == 4 else pixels[None]
        times = neighbours(len(clip) // 2, spec.frames // 2, 0, len(clip) - 1)
        frames = [centre(crop_for_measuring(clip[time], spec), self.size) for time in times]
        truth = frames[len(frames) // 2]
        if min(truth.shape[:2]) > 2 * self.scale:
            self.truths.append(truth)
            self.lows.append(np.concatenate([resize(frame, 1 / self.scale) for frame in frames], axis=-1))

    def __call__(self, tensors):
        """(mean figures in dB by name, the first picture as (H, W, C) uint8).

        For a network that estimates motion, the PSNR of a neighbour to the middle frame as it is and moved onto it:
        one that learns nothing leaves them equal.
        """
        self.upscaler.runtime.load(tensors)
        outputs = [self.upscaler.planes(low) for low in self.lows]
        figures = {"psnr": self._mean_psnr(outputs), "bicubic_psnr": self.bicubic}
        if self.spec.estimates_motion:
            moved = [self.upscaler.runtime.compensated(low[None])[0] for low in map(self._whole_grid, self.lows)]
            figures["neighbour_psnr"] = self._neighbours_psnr(self.lows)
            figures["compensated_psnr"] = self._neighbours_psnr(moved)
        return figures, from_unit(np.nan_to_num(outputs[0]), np.uint8)

    def _whole_grid(self, low):
        return crop_to_multiple(low, self.spec.grid)

    def _neighbours_psnr(self, windows):
        """Mean PSNR of the neighbours to the middle frame of `windows` (H, W, frames)."""
        protocol, figures = papers_protocol(self.scale), []
        for window in map(self._whole_grid, windows):
            middle = middle_of(window, self.spec)
            others = [window[..., [t]] for t in range(self.spec.frames) if t != self.spec.frames // 2]
            figures += [compare(middle, other, protocol)["psnr"] for other in others]
        return finite_mean(figures)

    def _mean_psnr(self, outputs):
        protocol = papers_protocol(self.scale)
        pairs = zip(self.truths, outputs, strict=True)
        return finite_mean(compare(truth, output, protocol)["psnr"] for truth, output in pairs)
