"""What each means of making a network fast gains: milliseconds for a frame, and the share of the network as written.

    python benchmarks/steps.py --model espcn --framework torch tensorflow

Each step is measured on the whole frame at once, but for the last ones, which are those of `super_resolve.py` in
tiles. Each framework is a process of its own.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "benchmarks"))

import numpy as np
from inference import repeated, weights_of, whole_input

from common import backend
from common.networks import NETWORKS, network


def by_torch(weights, batch, height, width):
    """Yield (step, function that does the work of a frame)."""
    import torch

    from torch_models.fused import can_fuse
    from torch_models.inference import fused
    from torch_models.layers import load_tensors
    from torch_models.runtime import build

    model = build(weights.network).eval().requires_grad_(False)
    load_tensors(model, weights.tensors)
    plain = torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())
    ordered = plain.contiguous(memory_format=torch.channels_last)
    yield "as written", lambda: model(plain)
    model = model.to(memory_format=torch.channels_last)
    yield "channels last", lambda: model(ordered)
    traced = torch.jit.freeze(torch.jit.trace(model, ordered))
    yield "frozen TorchScript", lambda: traced(ordered)
    if can_fuse():
        joined = fused(model, weights.network)
        yield "convolutions fused", lambda: joined(ordered)
    yield from as_the_program_does("torch", weights, height, width)


def by_tensorflow(weights, batch, height, width):
    """Yield (step, function that does the work of a frame)."""
    runtime = backend.load("tensorflow", "runtime")
    import tensorflow as tf

    made, tensor = runtime.Runtime(weights.network, weights.tensors, "cpu", "fp32"), tf.constant(batch)
    yield "as written", lambda: made.model(tensor).numpy()
    yield "tf.function", lambda: made.graph(tensor).numpy()
    linear = tf.function(made.model, jit_compile=True)
    yield "XLA", lambda: linear(tensor).numpy()
    yield from as_the_program_does("tensorflow", weights, height, width)


def as_the_program_does(framework, weights, height, width):
    from common.upscaler import Upscaler

    spec = weights.network
    low = np.random.default_rng(0).random((height // spec.scale, width // spec.scale, spec.inputs), np.float32)
    for precision in ("fp32", "bf16"):
        upscaler = Upscaler(weights, framework, "cpu", precision)
        yield f"in tiles, {precision}", lambda upscaler=upscaler: upscaler.planes(low)


STEPS = {"torch": by_torch, "tensorflow": by_tensorflow}


def measure_one(framework, name, scale, height, width, threads):
    """{step: milliseconds}, in this process."""
    backend.load(framework, "runtime").use_threads(threads)
    weights = weights_of(name, scale)
    batch = whole_input(weights.network, height, width)
    return {step: repeated(function) for step, function in STEPS[framework](weights, batch, height, width)}


def measured(framework, name, scale, height, width, threads):
    """{step: milliseconds} of a process of its own."""
    line = [sys.executable, __file__, "--one", "--framework", framework, "--model", name, "--scale", str(scale)]
    line += ["--height", str(height), "--width", str(width), "--threads", str(threads)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", choices=list(NETWORKS), default="espcn")
    parse.add_argument("--scale", type=int, help="default: 3, srresnet and srgan 4")
    parse.add_argument("--framework", nargs="+", choices=list(STEPS), default=list(STEPS))
    parse.add_argument("--height", type=int, default=1080, help="of the result (default: %(default)s)")
    parse.add_argument("--width", type=int, default=1920, help="default: %(default)s")
    parse.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parse.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parse.parse_args()
    scale = arguments.scale or network(arguments.model).scale
    place = arguments.model, scale, arguments.height, arguments.width, arguments.threads
    if arguments.one:
        print(json.dumps(measure_one(arguments.framework[0], *place)))
        return
    for framework in arguments.framework:
        steps = measured(framework, *place)
        for step, milliseconds in steps.items():
            print(f"{framework + ', ' + step:34}{milliseconds:9.1f} ms{milliseconds / steps['as written']:7.2f}")


if __name__ == "__main__":
    main()
