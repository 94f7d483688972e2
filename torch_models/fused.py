"""Layers for inference on a CPU: a convolution that takes over what follows it, in one pass over memory.

oneDNN computes a convolution and the pointwise function behind it together, from kernels that are kept in the order in
which its inner loops read them. PyTorch offers that to its own compiler only, under names that may change.
"""

import torch
import torch.nn.functional as F
from torch import nn

from common.bf16 import fitted
from torch_models import layers
from torch_models.bf16 import FEW, split
from torch_models.layers import ConvOfShuffled, coarse_kernel, pixel_shuffle

LANES = 16  # maps that a convolution makes in the time of one
BLOCKS = (4, 2)  # sides of blocks of pixels that are drawn at a time where there are so few maps


def can_fuse(precision="fp32"):
    """Whether this PyTorch has the operators, and in bf16 on this processor if that is the precision."""
    operators = (
        "_convolution_pointwise",
        "_convolution_pointwise_",
        "_reorder_convolution_weight",
        "_is_mkldnn_bf16_supported",
    )
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in operators):
        return False
    return precision != "bf16" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


class FusedConv(nn.Module):
    """The convolution `conv`, the normalisation and the pointwise function behind it, in one pass over memory.

    Its kernel is kept in the order in which oneDNN reads it. Where it makes so few maps that most of a vector register
    would be idle, the pixels of a block are its maps first, if the sides of the result are multiples of the block's.
    before, after: `Form` in which its input comes and its output is to be stored, if not as it is. moments: of its
    input, to which a kernel in bf16 is `fitted`. kind: type of number to compute in, if not that of `conv`.
    """

    def __init__(self, conv, norm=None, pointwise="none", before=None, after=None, moments=None, kind=None):
        super().__init__()
        kernel, bias, self.factor = conv.weight, conv.bias, 1
        self.padding, self.stride = conv.padding[0], conv.stride[0]
        if isinstance(conv, ConvOfShuffled):
            kernel, self.factor = coarse_kernel(kernel, conv.factor), conv.factor
            bias, self.padding = torch.repeat_interleave(bias, self.factor**2), kernel.shape[-1] // 2
        if norm is not None:
            scale = norm.weight * torch.rsqrt(norm.running_var + layers.EPSILON)
            kernel = kernel * scale[:, None, None, None]
            bias = ((0 if bias is None else bias) - norm.running_mean) * scale + norm.bias
        if before is not None:
            kernel, bias = before.read(kernel, bias)
        self.kind, self.pointwise = kind or conv.precision, (pointwise, [], "")
        if after is not None:
            kernel, bias = after.written(kernel, bias)
            self.pointwise = after.pointwise, list(after.scalars), ""
        self.splits = self.kind == torch.bfloat16 and kernel.shape[1] <= FEW
        if moments is not None and self.kind == torch.bfloat16:
            kernel = torch.from_numpy(fitted(kernel.detach().numpy(), moments))
        outputs, _, self.side, _ = kernel.shape
        self.block = next((n for n in BLOCKS if outputs * n**2 <= LANES and self.stride == self.factor == 1), 1)
        self.plain = self._prepared(kernel, bias, 1)
        self.blocks = self.plain if self.block == 1 else self._prepared(kernel, bias, self.block)

    def _prepared(self, kernel, bias, block):
        kernel = block_kernel(torch.cat([kernel, kernel], dim=1) if self.splits else kernel, block).to(self.kind)
        geometry = [self.padding] * 2, [self.stride * block] * 2, [1, 1], 1
        bias = None if bias is None else torch.repeat_interleave(bias, block**2)  # float32 whatever the kind
        return torch.ops.mkldnn._reorder_convolution_weight(kernel.contiguous(), *geometry), bias, *geometry

    def forward(self, x):
        drawn = [side + 2 * self.padding - self.side + 1 for side in x.shape[2:]]
        block = 1 if any(side % self.block for side in drawn) else self.block
        kernel, bias, *geometry = self.plain if block == 1 else self.blocks
        maps = torch.ops.mkldnn._convolution_pointwise(self._read(x), kernel, bias, *geometry, *self.pointwise)
        factor = self.factor * block
        return shuffled(maps, factor) if factor > 1 else maps

    def _read(self, x):
        """Maps as the kernel reads them."""
        return split(x) if self.splits else x.to(self.kind)


class FusedHead(FusedConv):
    """The convolution `conv` that draws the picture, in bf16, and the shuffling of its maps into place.

    What is stored of it in bf16 is the distance from what is near, to which oneDNN adds the products in float32.
    factor: of the shuffling. near: `Nearness` of the network's input, which comes second. before, moments: as in
    `FusedConv`.
    """

    def __init__(self, conv, factor, near, before=None, moments=None):
        super().__init__(conv, before=before, moments=moments, kind=torch.bfloat16)
        self.factor, self.near = factor, near
        self.bias = self.plain[1].reshape(-1, 1, factor, factor)  # by colour and place in its block
        self.level = self.bias.mean((1, 2, 3))

    def forward(self, x, pictures):
        kernel, _, *geometry = self.plain
        rows, columns = (side + 2 * self.padding - self.side + 1 for side in x.shape[2:])
        less = (self.level - self.near.of(pictures, rows, columns)).to(self.kind)
        maps = less[..., None].expand(*less.shape, self.factor**2).contiguous().flatten(3).permute(0, 3, 1, 2)
        settings = kernel, None, *geometry, "add", None, None, [], None
        torch.ops.mkldnn._convolution_pointwise_.binary(maps, self._read(x), *settings)
        drawn = shuffled(maps.to(torch.float32), self.factor)
        blocks = drawn.unflatten(2, (rows, self.factor))  # (N, C, rows, factor, factor columns)
        blocks -= less.to(torch.float32).repeat_interleave(self.factor, dim=2).permute(0, 3, 1, 2).unsqueeze(3)
        blocks += self.bias.repeat(1, 1, 1, columns)
        return drawn


def block_kernel(kernel, block):
    """Kernels (O, C, k, k) as (O block^2, C, K, K), which draw block x block pixels from one place."""
    shifts = [(a, b) for a in range(block) for b in range(block)]
    kernels = [F.pad(kernel, (b, block - 1 - b, a, block - 1 - a)) for a, b in shifts]
    return torch.stack(kernels, dim=1).reshape(-1, *kernels[0].shape[1:])


def shuffled(x, factor):
    """`pixel_shuffle` of maps that are channels last in memory; if they become one, in a quarter of PyTorch's time."""
    batch, maps, rows, columns = x.shape
    if maps != factor**2:
        return pixel_shuffle(x, factor)
    pixels = x.permute(0, 2, 3, 1).reshape(batch, rows, columns, factor, factor)
    return pixels.transpose(2, 3).reshape(batch, 1, factor * rows, factor * columns)


def sampled(image, flow):
    """`warp` by PyTorch's own sampling, in half the time; in double precision, as it counts in halves of a picture."""
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in image.shape[2:])
    half_height, half_width = (max(1, side - 1) / 2 for side in image.shape[2:])
    x = torch.add(columns / half_width - 1, flow[:, 0], alpha=1 / half_width)
    y = torch.add(rows[:, None] / half_height - 1, flow[:, 1], alpha=1 / half_height)
    settings = {"mode": "bilinear", "padding_mode": "border", "align_corners": True}
    return F.grid_sample(image.to(torch.float64), torch.stack([x, y], dim=-1), **settings).to(flow.dtype)
