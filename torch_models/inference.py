"""A network made ready for inference on a CPU: each convolution takes over what follows it, in one pass over memory.

oneDNN computes a convolution and the pointwise function behind it together, from kernels that are kept in the order in
which its inner loops read them. PyTorch offers that to its own compiler only, under names that may change; where they
are missing, and on a GPU, the network is used as it is.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from common.bf16 import fitted
from torch_models import layers
from torch_models.bf16 import FEW, form_of, likely_picture, moments_of, nearness_of, split
from torch_models.layers import BatchNorm, Conv, ConvOfShuffled, coarse_kernel, pixel_shuffle

POINTWISE = {torch.tanh: "tanh", F.relu: "relu"}  # by what oneDNN calls them
LANES = 16  # maps that a convolution makes in the time of one
BLOCKS = (4, 2)  # sides of blocks of pixels that are drawn at a time where there are so few maps


def compiled(model, spec, device, precision):
    """A function on tensors that computes what `model`, of the dataclass `spec`, does with the weights it has now."""
    if device != "cpu" or precision not in ("fp32", "bf16") or not can_fuse(precision):
        return model
    try:
        return fused(model, spec)
    except fx.proxy.TraceError:  # a network that decides by what it sees
        return model


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
        maps = split(x) if self.splits else x.to(self.kind)
        maps = torch.ops.mkldnn._convolution_pointwise(maps, kernel, bias, *geometry, *self.pointwise)
        factor = self.factor * block
        return shuffled(maps, factor) if factor > 1 else maps


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
        torch.ops.mkldnn._convolution_pointwise_.binary(maps, x.to(self.kind), *settings)
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


STANDS_FOR = {pixel_shuffle: shuffled, layers.warp: sampled}


class Tracer(fx.Tracer):
    """Follows a network down to its layers, and not into them."""

    def __init__(self):
        super().__init__(autowrap_functions=(layers.add, layers.concat, layers.frame, pixel_shuffle, layers.warp))

    def is_leaf_module(self, module, name):
        return module.__module__ == layers.__name__ or super().is_leaf_module(module, name)


@dataclass(frozen=True)
class Convolution:
    """A convolution in a graph with what it takes over: `last` is the node whose result it makes."""

    conv: Conv
    last: fx.Node
    norm: BatchNorm | None = None
    pointwise: str = "none"


@torch.no_grad()
def fused(model, spec):
    """`model` as it is now, for inference on a CPU: its convolutions are `FusedConv`s, others what stands for them."""
    graph = Tracer().trace(model)
    parts, ready = dict(layers.parts(model)), {}
    for node in graph.nodes:
        node.target = STANDS_FOR.get(node.target, node.target)
    found = {node: convolution_at(node, parts) for node in graph.nodes if isinstance(called(node, parts), Conv)}
    forms, near, moments = looked_up(graph, model, spec, found, parts)
    pictures = next(iter(graph.nodes))
    for node, one in found.items():
        name = f"fused_{node.target}_{one.pointwise}".replace(".", "_")  # shared where the convolution is
        before, last, arguments = forms.get(node.args[0]), one.last, node.args
        if near.get(node):
            last, factor = drawn_by(node, one, parts)
            ready[name] = FusedHead(one.conv, factor, near[node], before, moments.get(node))
            arguments = *arguments, pictures
        elif name not in ready:
            ready[name] = FusedConv(one.conv, one.norm, one.pointwise, before, forms.get(last), moments.get(node))
        with graph.inserting_before(node):
            made = graph.call_module(name, arguments)
        last.replace_all_uses_with(made)
        forms[made] = forms.get(last)
    model = fx.GraphModule({**parts, **ready}, graph)
    graph.eliminate_dead_code()
    model.recompile()
    return model


def called(node, parts):
    """The layer that a node calls, or None."""
    return parts.get(node.target) if node is not None and node.op == "call_module" else None


def only_user(node):
    """The one node that uses the result of `node`, or None if there are several."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def convolution_at(node, parts):
    """The `Convolution` that begins at a node."""
    last, norm, after = node, None, only_user(node)
    if isinstance(called(after, parts), BatchNorm):
        last, norm, after = after, called(after, parts), only_user(after)
    if after is not None and after.op == "call_function" and after.target in POINTWISE:
        return Convolution(called(node, parts), after, norm, POINTWISE[after.target])
    return Convolution(called(node, parts), last, norm)


def drawn_by(node, one, parts):
    """(node whose result it is, factor of the shuffling) of a picture that `one`, the `Convolution` at a node, draws
    block by block; None if it draws none.
    """
    after = only_user(node)
    if one.last is node and isinstance(one.conv, ConvOfShuffled):
        return node, one.conv.factor
    return (after, after.args[1]) if one.last is node and after and after.target is shuffled else None


def looked_up(graph, model, spec, found, parts):
    """({node: `Form`}, {node: `Nearness`}, {node: moments}) of what bf16 needs to know, from a likely picture.

    found: {node: `Convolution`}. A form have maps that a convolution without padding reads, as the zeros of padding
    would not be zeros in another form, and only if less is lost by it in the end. Near a picture is what a convolution
    draws of it block by block. Moments are of what a convolution without padding reads, in its form.
    """
    pointwise, factors, unpadded = {}, {}, set()
    forms, near, moments = {}, {}, {}
    kinds = {node: one.conv.precision for node, one in found.items()}
    for node, one in found.items() if torch.bfloat16 in kinds.values() else ():
        reader = called(only_user(one.last), parts)
        if kinds[node] == torch.bfloat16 and one.pointwise != "none" and type(reader) is Conv and not reader.padding[0]:
            pointwise[one.last] = one.pointwise
        if drawn_by(node, one, parts):
            factors[node] = one.conv.factor if isinstance(one.conv, ConvOfShuffled) else 1
        if not one.conv.padding[0] and (kinds[node] == torch.bfloat16 or node in factors):
            unpadded.add(node)
    if not (pointwise or factors or unpadded):
        return forms, near, moments
    picture = likely_picture(spec.inputs)

    class Looking(fx.Interpreter):
        def run_node(self, node):
            result = super().run_node(node)
            if node in pointwise:
                form = form_of(pointwise[node], result)
                plain, formed = (
                    fx.Interpreter(model, graph=graph).run(picture, initial_env={**self.env, node: maps})
                    for maps in (result.to(torch.bfloat16).to(result.dtype), form.kept(result))
                )
                if (formed - exact).square().mean() < (plain - exact).square().mean():
                    forms[node] = form
            if node in factors:
                first = spec.frames // 2 * spec.channels
                maps = nn.functional.pixel_unshuffle(result, factors[node])
                near[node] = nearness_of(picture, maps, slice(first, first + spec.channels))
            if node in unpadded:
                form, maps = forms.get(node.args[0]), self.env[node.args[0]]
                moments[node] = moments_of(form.stored(maps) if form else maps, found[node].conv.kernel_size[0])
            return result

    for one in found.values():
        one.conv.precision = torch.float32
    exact = fx.Interpreter(model, graph=graph).run(picture) if pointwise else None
    Looking(model, garbage_collect_values=False, graph=graph).run(picture)
    for node, one in found.items():
        one.conv.precision = kinds[node]
    return forms, near, moments
