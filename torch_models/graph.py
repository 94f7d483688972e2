"""The graph of a network: its layers, and where in it each convolution begins and ends."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx

from torch_models import layers
from torch_models.fused import sampled, shuffled
from torch_models.layers import BatchNorm, Conv, ConvOfShuffled, pixel_shuffle

POINTWISE = {torch.tanh: "tanh", F.relu: "relu"}  # by what oneDNN calls them
STANDS_FOR = {pixel_shuffle: shuffled, layers.warp: sampled}


@dataclass(frozen=True)
class Convolution:
    """A convolution in a graph, and what it can take over.

    last: the node whose result it makes, with `norm` and the function `pointwise` behind it. picture: the node whose
    result is the picture, where it draws one in blocks of `factor` x `factor` pixels.
    """

    conv: Conv
    last: fx.Node
    norm: BatchNorm | None = None
    pointwise: str = "none"
    picture: fx.Node | None = None
    factor: int = 1


class Tracer(fx.Tracer):
    """Follows a network down to its layers, and not into them."""

    def __init__(self):
        super().__init__(autowrap_functions=(layers.add, layers.concat, layers.frame, pixel_shuffle, layers.warp))

    def is_leaf_module(self, module, name):
        return module.__module__ == layers.__name__ or super().is_leaf_module(module, name)


def graph_of(model):
    """(graph, {name: layer}, {node: `Convolution`}) of a network, with faster functions in the place of some.

    Raises torch.fx.proxy.TraceError for a network that decides by what it sees.
    """
    graph, parts = Tracer().trace(model), dict(layers.parts(model))
    for node in graph.nodes:
        node.target = STANDS_FOR.get(node.target, node.target)
    return graph, parts, {n: convolution_at(n, parts) for n in graph.nodes if isinstance(called(n, parts), Conv)}


def convolution_at(node, parts):
    """The `Convolution` that begins at a node."""
    conv, last, norm, after = called(node, parts), node, None, only_user(node)
    if isinstance(called(after, parts), BatchNorm):
        last, norm, after = after, called(after, parts), only_user(after)
    if after and after.op == "call_function" and after.target in POINTWISE:
        return Convolution(conv, after, norm, POINTWISE[after.target])
    if isinstance(conv, ConvOfShuffled) and last is node:
        return Convolution(conv, last, picture=node, factor=conv.factor)
    if after and after.target is shuffled and last is node:
        return Convolution(conv, last, picture=after, factor=after.args[1])
    return Convolution(conv, last, norm)


def called(node, parts):
    """The layer that a node calls, or None."""
    return parts.get(node.target) if node is not None and node.op == "call_module" else None


def only_user(node):
    """The one node that uses the result of `node`, or None if there are several."""
    return next(iter(node.users)) if len(node.users) == 1 else None
