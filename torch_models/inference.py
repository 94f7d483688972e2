"""A network made ready for inference on a CPU: each convolution takes over what follows it.

Where PyTorch lacks what torch_models/fused.py needs, and on a GPU, the network is used as it is.
"""

import torch
from torch import fx

from torch_models.calibration import Calibration
from torch_models.fused import FusedConv, FusedHead, can_fuse
from torch_models.graph import graph_of


def compiled(model, spec, device, precision):
    """A function on tensors that computes what `model`, of the dataclass `spec`, does with the weights it has now."""
    if device != "cpu" or precision not in ("fp32", "bf16") or not can_fuse(precision):
        return model
    try:
        return fused(model, spec)
    except fx.proxy.TraceError:  # a network that decides by what it sees
        return model


@torch.no_grad()
def fused(model, spec):
    """`model` as it is now, for inference on a CPU: its convolutions are `FusedConv`s, others what stands for them."""
    graph, parts, found = graph_of(model)
    seen, ready, pictures = Calibration(model, spec, graph, parts, found), {}, next(iter(graph.nodes))
    for node, one in found.items():
        name = f"fused_{node.target}_{one.pointwise}".replace(".", "_")  # shared where the convolution is
        before, moments = seen.forms.get(node.args[0]), seen.moments.get(node)
        last, arguments = one.last, node.args
        if near := seen.near.get(node):
            ready[name] = FusedHead(one.conv, one.factor, near, before, moments)
            last, arguments = one.picture, (*arguments, pictures)
        elif name not in ready:
            ready[name] = FusedConv(one.conv, one.norm, one.pointwise, before, seen.forms.get(last), moments)
        with graph.inserting_before(node):
            made = graph.call_module(name, arguments)
        last.replace_all_uses_with(made)
        seen.forms[made] = seen.forms.get(last)
    model = fx.GraphModule({**parts, **ready}, graph)
    graph.eliminate_dead_code()
    model.recompile()
    return model
