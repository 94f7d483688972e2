"""What keeps a network in bf16 within a hundredth of a decibel of itself in float32, though bf16 has 8 binary digits.

Kernels are rounded so that their sums of products stay (`fitted` of common/bf16.py). The few maps of a network's input
are split in two, of which the second holds the digits that the first has no room for (`split`). Feature maps are stored
as their distance from where they mostly are (`Form`), and an enlarged picture as its distance from the small one
(`Nearness`), as a small number has small errors. Sums of products are float32 in any case.

What is lost without all this, and with it, benchmarks/precision.py prints; docs/performance.md has the figures.
"""

from dataclasses import dataclass

import numpy as np
import torch

FEW = 8  # maps that are split in two
SIDE = 64  # at least, of the picture for which it is looked up where feature maps are
CONTRAST = 0.2  # its standard deviation
REST = 0.1  # of the variance of an enlarged picture that the small one may leave


def split(x):
    """Maps (N, C, H, W) as (N, 2 C, H, W) in bf16: themselves, and what they have lost by that."""
    maps = x.to(torch.bfloat16)
    return torch.cat([maps, (x - maps).to(torch.bfloat16)], dim=1)


@dataclass(frozen=True)
class Form:
    """A way to store what a convolution and the pointwise function behind it make: y in the place of spread y + centre.

    spread, centre: for each map. y is `pointwise`, with the numbers `scalars`, of the convolution times `factor` plus
    `shift`, as oneDNN calls it.
    """

    spread: torch.Tensor
    centre: torch.Tensor
    factor: torch.Tensor
    shift: float
    pointwise: str
    scalars: tuple = ()

    def stored(self, maps):
        """y for maps (N, C, H, W)."""
        return (maps - self.centre[:, None, None]) / self.spread[:, None, None]

    def kept(self, maps):
        """What is left of maps (N, C, H, W) that are stored so in bf16."""
        stored = self.stored(maps).to(torch.bfloat16).to(maps.dtype)
        return self.spread[:, None, None] * stored + self.centre[:, None, None]

    def written(self, kernel, bias):
        """Kernel and bias of the convolution that makes y."""
        return kernel * self.factor[:, None, None, None], bias * self.factor + self.shift

    def read(self, kernel, bias):
        """Kernel and bias of a convolution without padding that is given y."""
        return kernel * self.spread[:, None, None], bias + kernel.sum((2, 3)) @ self.centre


def form_of(pointwise, maps):
    """The `Form` for maps that look like `maps` (N, C, H, W) float32.

    Rectified maps are 0, or else near their mean t: y = max(z / t - 1, -1), which keeps zeros exactly. Hyperbolic
    tangents near 1 or -1 are kept as logistic functions: tanh z = s (2 y - 1), y = 1 / (1 + exp(-2 s z)), where s is
    the sign for which y is near 0.
    """
    maps = maps.transpose(0, 1).flatten(1)
    if pointwise == "relu":
        mean = maps.sum(1) / (maps > 0).sum(1).clamp(min=1)
        mean = torch.where(mean > 0, mean, 1.0)
        return Form(mean, mean, 1 / mean, -1.0, "hardtanh", (-1.0, float("inf")))
    sign = torch.where(maps.mean(1) > 0, -1.0, 1.0)
    return Form(2 * sign, -sign, 2 * sign, 0.0, "sigmoid")


def moments_of(maps, side):
    """(I k k, I k k) mean products of all pairs of numbers in the windows of `side` x `side` of maps (N, I, H, W)."""
    windows = torch.nn.functional.unfold(maps, side).transpose(1, 2).flatten(0, 1).double().numpy()
    return windows.T @ windows / len(windows)


@dataclass(frozen=True)
class Nearness:
    """How a small picture comes near the enlarged one: `gain` times the pixel at the same place, plus `offset`.

    channels: of what the network is given, those of the picture that is enlarged.
    """

    gain: float
    offset: float
    channels: slice

    def of(self, given, rows, columns):
        """What is near a picture drawn in `rows` x `columns` blocks of pixels, (N, rows, columns, C).

        given: (N, C, H, W), of which the blocks cover the middle, or equal parts of a pixel.
        """
        near = (self.gain * given[:, self.channels] + self.offset).permute(0, 2, 3, 1)
        for axis, count in ((1, rows), (2, columns)):
            if near.shape[axis] < count:
                near = near.repeat_interleave(count // near.shape[axis], dim=axis)
            near = near.narrow(axis, (near.shape[axis] - count) // 2, count)
        return near


def nearness_of(given, maps, channels):
    """The `Nearness` of what a network is given, (N, C, H, W), to what becomes of it, maps (N, c f^2, h, w), the f^2
    finer pixels of each of the c colours; None if something else becomes of it.
    """
    small, margin = given[:, channels], max(0, given.shape[2] - maps.shape[2]) // 2
    small = small[..., margin : small.shape[2] - margin, margin : small.shape[3] - margin]
    colours = maps.float().unflatten(1, (small.shape[1], -1)).mean(2)
    means = torch.nn.functional.adaptive_avg_pool2d(colours, small.shape[2:])
    spread, mean = small - small.mean(), means.mean()
    gain = ((means - mean) * spread).mean() / spread.square().mean()
    if (means - mean - gain * spread).square().mean() > REST * (means - mean).square().mean():
        return None
    return Nearness(float(gain), float(mean - gain * small.mean()), channels)


def likely_picture(channels, side=SIDE):
    """(1, channels, side, side) in [0, 1]: noise with the spectrum of photographs, the same in every channel."""
    frequencies = np.fft.fftfreq(side)
    distance = np.hypot(frequencies[:, None], frequencies)
    distance[0, 0] = np.inf  # no mean
    white = np.random.default_rng(0).standard_normal((side, side))
    plane = np.fft.ifft2(np.fft.fft2(white) / distance).real
    plane = np.clip(0.5 + CONTRAST * plane / plane.std(), 0, 1).astype(np.float32)
    return torch.from_numpy(plane).expand(1, channels, -1, -1).contiguous(memory_format=torch.channels_last)
