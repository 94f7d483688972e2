"""The layers, where PyTorch and TensorFlow differ: here is what is particular to PyTorch.

Tensors are (N, C, H, W), in channels-last memory order because convolutions are faster so. Kernels are (outputs,
inputs, rows, columns) in both frameworks. Sub-pixel convolution reads its channels in PyTorch's order, colour first.
"""

from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from common.processes import Alone

PRECISIONS = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOMENTUM = 0.1  # of the batch in the running statistics: PyTorch's sense, one minus that of Keras
EPSILON = 1e-5  # added to variances
IMAGENET_MEAN = (103.939, 116.779, 123.68)  # of blue, green, red


class Conv(nn.Conv2d):
    """Convolution: (N, inputs, H, W) to (N, outputs, H - kernel + 1, W - kernel + 1), over the stride.

    `padded` puts kernel // 2 zeros on every side, whatever the stride. Computed in `precision`, from weights that stay
    float32 (float64 for "fp64"). A `head`, which draws the picture, is computed in float32 at least, as rounding it
    to 8 binary digits would be visible; inference may store its distance from the small picture instead.
    """

    def __init__(self, inputs, outputs, kernel, stride=1, padded=False, head=False, bias=True):
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if padded else 0, bias=bias)
        self.head = head
        self.precision = torch.float32

    def forward(self, x):
        kind = self.precision
        bias = None if self.bias is None else self.bias.to(kind)
        return F.conv2d(x.to(kind), self.weight.to(kind), bias, self.stride, self.padding)


class ConvOfShuffled(Conv):
    """conv(pixel_shuffle(x, factor)) of a padded convolution, computed on the maps that are not shuffled yet.

    All factor^2 outputs of a place come from one convolution, which is three times as fast for the few outputs that
    draw a picture. The weights are those of the plain convolution.
    """

    def __init__(self, inputs, outputs, kernel, factor, head=False):
        super().__init__(inputs, outputs, kernel, padded=True, head=head)
        self.factor = factor

    def forward(self, x):
        kind = self.precision
        kernel = coarse_kernel(self.weight, self.factor).to(kind)
        bias = torch.repeat_interleave(self.bias, self.factor**2).to(kind)
        return pixel_shuffle(F.conv2d(x.to(kind), kernel, bias, padding=kernel.shape[-1] // 2), self.factor)


def coarse_kernel(kernel, factor):
    """Kernels (O, C, k, k) as (O factor^2, C factor^2, K, K), which do the same to what is not shuffled yet.

    Output pixel factor i + a is drawn by the taps t = factor m + p - a, of input pixel p of place i + m.
    """
    outputs, inputs, side, _ = kernel.shape
    reach = -(-(side // 2) // factor)  # in places
    kernels = []
    for a in range(factor):
        for b in range(factor):
            before = [factor * reach + shift - side // 2 for shift in (a, b)]
            after = [factor * reach + factor - 1 - shift - side // 2 for shift in (a, b)]
            taps = F.pad(kernel, (before[1], after[1], before[0], after[0]))
            taps = taps.reshape(outputs, inputs, 2 * reach + 1, factor, 2 * reach + 1, factor)
            kernels.append(taps.permute(0, 1, 3, 5, 2, 4).reshape(outputs, -1, 2 * reach + 1, 2 * reach + 1))
    return torch.stack(kernels, dim=1).reshape(-1, *kernels[0].shape[1:])


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) of `width` feature maps, in the precision of its input.

    With `measuring` on, as in training, by mean and variance of the batch, which move the running ones a tenth of the
    way towards them, the variance as the unbiased estimate; else by the running ones. Computed in float32 at least.
    `group` (of common/processes.py) shares the batch, whose mean and variance are those of all shares together.
    """

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.measuring = False
        self.group = Alone()

    def forward(self, x):
        if not self.measuring or self.group.shares == 1:
            statistics = self.running_mean, self.running_var
            return F.batch_norm(x, *statistics, self.weight, self.bias, self.measuring, MOMENTUM, EPSILON)
        exact = x.to(self.weight.dtype)  # by hand, as PyTorch's SyncBatchNorm is for GPUs only
        (mean,) = self.group.mean([exact.mean((0, 2, 3))])
        centred = exact - mean[:, None, None]
        (variance,) = self.group.mean([torch.square(centred).mean((0, 2, 3))])
        count = x.numel() / len(mean) * self.group.shares
        with torch.no_grad():
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(variance * count / (count - 1), MOMENTUM)
        scale = self.weight * torch.rsqrt(variance + EPSILON)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class PReLU(nn.Module):
    """A rectifier with a slope below zero for each of `width` feature maps (He et al. 2015, "Delving Deep").

    Maps that are still to be shuffled may come, several to each slope.
    """

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), 0.25))

    def forward(self, x):
        slopes = torch.repeat_interleave(self.weight, x.shape[1] // len(self.weight))
        return F.prelu(x, slopes.to(x.dtype))


class Dense(nn.Linear):
    """(N, inputs) to (N, outputs), with bias; precision and `head` as in `Conv`."""

    def __init__(self, inputs, outputs, head=False):
        super().__init__(inputs, outputs)
        self.head = head
        self.precision = torch.float32

    def forward(self, x):
        kind = self.precision
        return F.linear(x.to(kind), self.weight.to(kind), self.bias.to(kind))


def leaky_relu(x):
    """A rectifier with slope 0.2 below zero."""
    return F.leaky_relu(x, 0.2)


def largest_of_four(x):
    """The largest of every 2 x 2 pixels: (N, C, H, W) to (N, C, H / 2, W / 2), rounded down."""
    return F.max_pool2d(x, 2)


def flatten(x):
    """(N, C, H, W) to (N, C H W), one map after the other."""
    return x.flatten(1)


def as_vgg_sees(x):
    """RGB in [0, 1] to what VGG was trained on: BGR in [0, 255], less the mean of ImageNet."""
    # Number by number, as for a tensor of the means the host would wait until the device has fetched it.
    return torch.cat([255 * x[:, 2 - i : 3 - i] - mean for i, mean in enumerate(IMAGENET_MEAN)], dim=1)


class Vector(nn.Module):
    """`size` learned numbers, `weight`, in float32 (float64 for "fp64")."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))


def activation(name):
    """The pointwise function called `name`."""
    return {"tanh": torch.tanh, "relu": F.relu, "linear": lambda x: x}[name]


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


def add(first, second):
    """Sum of two tensors of one shape, in the higher of their precisions."""
    return first + second


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
        return torch.gather(pixels, 2, place).reshape(image.shape) * torch.unsqueeze(share, 1)

    return corner(0, 0) + corner(0, 1) + corner(1, 0) + corner(1, 1)


def recomputed(function, *tensors):
    """function(*tensors), of which only `tensors` are kept for the way back; the rest is computed again there."""
    return checkpoint(function, *tensors, use_reentrant=False, preserve_rng_state=False)  # nothing in it is random


def after(first, tensor):
    """`tensor`, with which nothing is computed before `first` is there: here all is computed as it is written."""
    return tensor


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
        if isinstance(layer, (Conv, Dense)):
            layer.precision = PRECISIONS["fp32"] if layer.head and precision != "fp64" else kind


def set_measuring(model, measuring, group=None):
    """Whether batch normalisation takes the statistics of the batch, as in training, or the running ones.

    group: those that share the batch.
    """
    for _, layer in parts(model):
        if isinstance(layer, BatchNorm):
            layer.measuring, layer.group = measuring, group or Alone()


def parts(model):
    """Yield (attribute path, layer or tensor) of everything in `model`."""
    yield from model.named_modules()
    yield from model.named_parameters()
    yield from model.named_buffers()


def named_weights(model):
    """The tensors of `model` by attribute path."""
    return {path: part for path, part in parts(model) if isinstance(part, torch.Tensor)}


def trained_weights(model):
    """Those of them that have a gradient: all but running statistics."""
    return {path: part for path, part in parts(model) if isinstance(part, nn.Parameter)}


def freeze(model):
    """Keep nothing on the way forward for gradients of the weights of `model`."""
    model.requires_grad_(False)


@torch.no_grad()
def load_tensors(model, tensors):
    """Give `model` the weights `tensors`, arrays by attribute path; raises KeyError if one is missing."""
    for name, variable in named_weights(model).items():
        variable.copy_(torch.from_numpy(tensors[name]))


def from_nhwc(batch, device):
    """(N, H, W, C) array to a tensor (N, C, H, W) on `device`, channels last in memory."""
    tensor = torch.from_numpy(batch)
    if device == "cuda":  # from where the device fetches it by itself, while the host goes on
        tensor = tensor.pin_memory()
    tensor = tensor.to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def to_nhwc(tensor):
    """Tensor (N, C, H, W) to an array (N, H, W, C)."""
    return tensor.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_numpy(tensor):
    """A copy of `tensor`, as it is, as an array."""
    return tensor.detach().cpu().numpy().copy()
