"""The layers, where PyTorch and TensorFlow differ: here is what is particular to PyTorch.

Tensors are (N, C, H, W), in channels-last memory order because convolutions are faster so. Kernels are (outputs,
inputs, rows, columns) in both frameworks. Sub-pixel convolution reads its channels in PyTorch's order, colour first.
"""

from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

PRECISIONS = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Conv(nn.Conv2d):
    """Convolution with bias: (N, inputs, H, W) to (N, outputs, H - kernel + 1, W - kernel + 1), over the stride.

    `padded` puts kernel // 2 zeros on every side, whatever the stride. Computed in `precision`, from weights that stay
    float32 (float64 for "fp64"). A `head`, which draws the picture, is never computed in less than float32: rounding
    its output to 8 bits of mantissa would be visible.
    """

    def __init__(self, inputs, outputs, kernel, stride=1, padded=False, head=False):
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if padded else 0)
        self.head = head
        self.precision = torch.float32

    def forward(self, x):
        kind = self.precision
        return F.conv2d(x.to(kind), self.weight.to(kind), self.bias.to(kind), self.stride, self.padding)


def activation(name):
    """The pointwise function called `name`."""
    return {"tanh": torch.tanh, "relu": F.relu}[name]


def pixel_shuffle(x, factor):
    """Periodic shuffling (Shi et al. 2016, eq. 4): (N, C factor^2, H, W) to (N, C, factor H, factor W)."""
    return F.pixel_shuffle(x, factor)


def stack(layers):
    """Layers as a list that belongs to its network."""
    return nn.ModuleList(layers)


def frame(x, t):
    """Frame `t` of a window (N, frames, H, W), as (N, 1, H, W)."""
    return x[:, t : t + 1]


def concat(tensors):
    """Join the channels of several tensors, in the highest of their precisions."""
    kind = max((tensor.dtype for tensor in tensors), key=lambda kind: kind.itemsize)
    return torch.cat([tensor.to(kind) for tensor in tensors], dim=1)


def warp(image, flow):
    """Sample `image` (N, C, H, W) where `flow` (N, 2, H, W) points: I'(x, y) = I(x + dx, y + dy), bilinear.

    flow: (dx, dy) in pixels. What lies outside is the nearest pixel of the edge.
    """
    batch, channels, rows, columns = image.shape
    whole = torch.floor(flow)  # kept apart from the place, whose size would cost digits of the shares
    left = torch.arange(columns, device=flow.device)[None, None, :] + whole[:, 0].long()
    top = torch.arange(rows, device=flow.device)[None, :, None] + whole[:, 1].long()
    right_share, lower_share = flow[:, 0] - whole[:, 0], flow[:, 1] - whole[:, 1]
    pixels = image.to(flow.dtype).reshape(batch, channels, rows * columns)

    def corner(down, right):
        row = torch.clamp(top + down, 0, rows - 1)
        column = torch.clamp(left + right, 0, columns - 1)
        place = (row * columns + column).reshape(batch, 1, -1).expand(-1, channels, -1)
        share = (lower_share if down else 1 - lower_share) * (right_share if right else 1 - right_share)
        return torch.gather(pixels, 2, place).reshape(image.shape) * share[:, None]

    return corner(0, 0) + corner(0, 1) + corner(1, 0) + corner(1, 1)


@contextmanager
def storage(precision):
    """Networks built in this context keep their weights in float32, for "fp64" in float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if precision == "fp64" else torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def set_precision(model, precision):
    """Compute in "fp64" or "fp32" throughout, or hidden layers in "bf16" or "fp16" and heads in "fp32"."""
    kind = PRECISIONS[precision]
    for _, layer in parts(model):
        if isinstance(layer, Conv):
            layer.precision = PRECISIONS["fp32"] if layer.head and precision != "fp64" else kind


def parts(model):
    """Yield (attribute path, layer or tensor) of everything in `model`."""
    yield from model.named_modules()
    yield from model.named_parameters()


def named_weights(model):
    """The tensors of `model` by attribute path."""
    return {path: part for path, part in parts(model) if isinstance(part, nn.Parameter)}


@torch.no_grad()
def load_tensors(model, tensors):
    """Give `model` the weights `tensors`, arrays by attribute path; raises KeyError if one is missing."""
    for name, variable in named_weights(model).items():
        variable.copy_(torch.from_numpy(tensors[name]))


def from_nhwc(batch, device):
    """(N, H, W, C) array to a tensor (N, C, H, W) on `device`, channels last in memory."""
    tensor = torch.from_numpy(batch).to(device)
    return tensor.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def to_nhwc(tensor):
    """Tensor (N, C, H, W) to an array (N, H, W, C)."""
    return tensor.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_numpy(tensor):
    """A copy of `tensor`, as it is, as an array."""
    return tensor.detach().cpu().numpy().copy()
