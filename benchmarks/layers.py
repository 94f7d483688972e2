"""Where the time of a network goes in PyTorch on a CPU: the share of each layer, beside its share of the operations.

    python benchmarks/layers.py --model espcn srcnn

Layers are measured one after the other on one tile, each as the least of several runs; those of one kind are added up.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

import numpy as np
from inference import weights_of

from common.complexity import multiply_adds, work
from common.networks import NETWORKS, network

SIDE = 96  # of the tile, in pixels of the network's input
RUNS = 5


def kind(node, modules):
    """What a part of the graph is called here: the first part of a layer's name, or of a function its own."""
    if node.op != "call_module":
        return getattr(node.target, "__name__", str(node.target))
    name = node.target.removeprefix("fused_").replace(".", "_")
    return type(modules[node.target]).__name__ if name.endswith(("prelu", "prelu1")) else name.split("_")[0]


def measured(name, scale):
    """({part: share of the time}, {part: share of the operations}, precision) of a network in "auto"."""
    import torch
    from torch import fx

    from torch_models.runtime import Runtime

    weights = weights_of(name, scale)
    spec = weights.network
    runtime, least = Runtime(spec, weights.tensors, "cpu"), {}
    graph = runtime.graph if isinstance(runtime.graph, fx.GraphModule) else fx.symbolic_trace(runtime.graph)
    modules = dict(graph.named_modules())

    class Timed(fx.Interpreter):
        def run_node(self, node):
            begin = time.perf_counter()
            result = super().run_node(node)
            least[node] = min(least.get(node, np.inf), time.perf_counter() - begin)
            return result

    side = -(-SIDE // spec.grid) * spec.grid
    tile = torch.rand(1, spec.inputs, side, side).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(RUNS):
            Timed(graph).run(tile)
    times, operations = {}, {}
    for node, seconds in least.items():
        part = kind(node, modules)
        times[part] = times.get(part, 0) + seconds / sum(least.values())
    for one in work(spec):
        part = one.layer.name.split(".")[0]
        operations[part] = operations.get(part, 0) + float(one.multiply_adds / multiply_adds(spec))
    return times, operations, runtime.precision


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parse.add_argument("--scale", type=int, help="default: 3, srresnet and srgan 4")
    arguments = parse.parse_args()
    for name in arguments.model:
        scale = arguments.scale or network(name).scale
        times, operations, precision = measured(name, scale)
        print(f"{name} x{scale} in {precision:22}{'time':>8}{'operations':>12}")
        for part, share in sorted(times.items(), key=lambda pair: -pair[1]):
            if share >= 0.01:
                print(f"  {part:30}{share:8.0%}" + (f"{operations[part]:12.0%}" if part in operations else ""))


if __name__ == "__main__":
    main()
