"""A network made ready for inference on a CPU: each convolution takes over what follows it, in one pass over memory.

oneDNN computes a convolution and the pointwise function behind it together, from kernels that are kept in the order in
which its inner loops read them. PyTorch offers that to its own compiler only, under names that may change; where they
are missing, and on a GPU, the network is used as it is.
"""

import torch
import torch.nn.functional as F
from torch import fx, nn

from torch_models import layers
from torch_models.layers import BatchNorm, Conv, ConvOfShuffled, coarse_kernel, pixel_shuffle

POINTWISE = {torch.tanh: "tanh", F.relu: "relu"}  # by what oneDNN calls them
LANES = 16  # maps that a convolution makes in the time of one
BLOCKS = (4, 2)  # sides of blocks of pixels that are drawn at a time where there are so few maps


def compiled(model, spec, device, precision):
    """A function on tensors that computes what `model`, of the dataclass `spec`, does with the weights it has now."""
    if device != "cpu" or precision not in ("fp32", "bf16") or not can_fuse():
        return model
    try:
        return fused(model)
    except fx.proxy.TraceError:  # a network that decides by what it sees
        return model


def can_fuse():
    """Whether this PyTorch has the operators."""
    operators = ("_convolution_pointwise", "_reorder_convolution_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in operators)


class FusedConv(nn.Module):
    """The convolution `conv`, the normalisation and the pointwise function behind it, in one pass over memory.

    Its kernel is kept in the order in which oneDNN reads it. Where it makes so few maps that most of a vector register
    would be idle, the pixels of a block are its maps first, if the sides of the result are multiples of the block's.
    """

    def __init__(self, conv, norm=None, pointwise="none"):
        super().__init__()
        kernel, bias, padding, self.factor = conv.weight, conv.bias, conv.padding[0], 1
        if isinstance(conv, ConvOfShuffled):
            kernel, self.factor = coarse_kernel(kernel, conv.factor), conv.factor
            bias, padding = torch.repeat_interleave(bias, self.factor**2), kernel.shape[-1] // 2
        if norm is not None:
            scale = norm.weight * torch.rsqrt(norm.running_var + layers.EPSILON)
            kernel = kernel * scale[:, None, None, None]
            bias = ((0 if bias is None else bias) - norm.running_mean) * scale + norm.bias
        self.kind, self.pointwise = conv.precision, pointwise
        self.padding, self.stride = padding, conv.stride[0]
        outputs, _, self.side, _ = kernel.shape
        self.block = next((n for n in BLOCKS if outputs * n**2 <= LANES and self.stride == self.factor == 1), 1)
        self.plain = self._prepared(kernel, bias, 1)
        self.blocks = self._prepared(block_kernel(kernel, self.block), bias, self.block)

    def _prepared(self, kernel, bias, block):
        geometry = [self.padding] * 2, [self.stride * block] * 2, [1, 1], 1
        kernel = torch.ops.mkldnn._reorder_convolution_weight(kernel.to(self.kind).contiguous(), *geometry)
        bias = None if bias is None else torch.repeat_interleave(bias, block**2).to(self.kind)
        return kernel, bias, *geometry

    def forward(self, x):
        drawn = [side + 2 * self.padding - self.side + 1 for side in x.shape[2:]]
        block = 1 if any(side % self.block for side in drawn) else self.block
        kernel, bias, *geometry = self.plain if block == 1 else self.blocks
        settings = *geometry, self.pointwise, [], ""
        maps = torch.ops.mkldnn._convolution_pointwise(x.to(self.kind), kernel, bias, *settings)
        factor = self.factor * block
        return shuffled(maps, factor) if factor > 1 else maps


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


STANDS_FOR = {pixel_shuffle: shuffled, layers.warp: sampled}


class Tracer(fx.Tracer):
    """Follows a network down to its layers, and not into them."""

    def __init__(self):
        super().__init__(autowrap_functions=(layers.add, layers.concat, layers.frame, pixel_shuffle, layers.warp))

    def is_leaf_module(self, module, name):
        return module.__module__ == layers.__name__ or super().is_leaf_module(module, name)


@torch.no_grad()
def fused(model):
    """`model` as it is now, for inference on a CPU: its convolutions are `FusedConv`s, others what stands for them."""
    graph = Tracer().trace(model)
    parts, ready = dict(layers.parts(model)), {}

    def only_user(node):
        return next(iter(node.users)) if len(node.users) == 1 else None

    for node in list(graph.nodes):
        node.target = STANDS_FOR.get(node.target, node.target)
        conv = parts.get(node.target) if node.op == "call_module" else None
        if not isinstance(conv, Conv):
            continue
        last, norm, pointwise = node, None, "none"
        after = only_user(last)
        if after is not None and after.op == "call_module" and isinstance(parts[after.target], BatchNorm):
            last, norm = after, parts[after.target]
            after = only_user(last)
        if after is not None and after.op == "call_function" and after.target in POINTWISE:
            last, pointwise = after, POINTWISE[after.target]
        name = f"fused_{node.target}_{pointwise}".replace(".", "_")  # shared where the convolution is
        ready[name] = ready.get(name) or FusedConv(conv, norm, pointwise)
        with graph.inserting_before(node):
            last.replace_all_uses_with(graph.call_module(name, node.args))
    model = fx.GraphModule({**parts, **ready}, graph)
    graph.eliminate_dead_code()
    model.recompile()
    return model
