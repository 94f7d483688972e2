"""How fast the networks are: milliseconds for a frame, and the ratio to the best of what else runs the same network.

Peers: PyTorch as written ("eager"), TensorFlow's `tf.function`, ONNX Runtime and OpenCV on the graph that PyTorch
exports; each is given the whole frame at once, with what the network sees beyond it. All take and give floats. Every
runner is a process of its own, and they take turns; the least of all rounds counts. The share is of the speed of a
matrix product in the same run.

    python benchmarks/inference.py --model espcn vespcn --threads 2

ONNX Runtime and OpenCV need the packages onnx, onnxscript and onnxruntime; without them they are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from common.complexity import operations_seen
from common.networks import NETWORKS, network
from common.weights import Weights, initial_tensors, shipped, weights_for

PEERS = ["eager", "tf.function", "onnxruntime", "opencv"]
OURS = ["torch fp32", "torch auto", "torch bf16", "tensorflow fp32", "tensorflow auto"]
SECONDS = 2.0  # of repetitions in a round


def repeated(function):
    """Least milliseconds of a call, after one that warms up."""
    function()
    least, begin = np.inf, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        before = time.perf_counter()
        function()
        least = min(least, time.perf_counter() - before)
    return 1000 * least


def weights_of(name, scale):
    """The shipped weights, or random ones, which take as long."""
    if shipped(name, scale).exists():
        return weights_for(name, scale)
    spec = network(name, scale=scale)
    return Weights(name, spec, initial_tensors(spec, 0))


def whole_input(spec, height, width):
    """(1, H, W, C) float32 of noise: what the network sees for a frame that becomes height x width."""
    factor, beyond = spec.factor, spec.beyond
    sides = (-(-(side // factor + 2 * beyond) // spec.grid) * spec.grid for side in (height, width))
    return np.random.default_rng(0).random((1, *sides, spec.inputs), np.float32)


def ours(runner, weights, height, width):
    from common.upscaler import Upscaler

    framework, precision = runner.split()
    upscaler = Upscaler(weights, framework, "cpu", precision)
    spec = weights.network
    low = np.random.default_rng(0).random((height // spec.scale, width // spec.scale, spec.inputs), np.float32)
    return repeated(lambda: upscaler.planes(low)), upscaler.runtime.precision


def eager(weights, batch):
    import torch

    from torch_models.layers import load_tensors
    from torch_models.runtime import build

    model = build(weights.network).to(memory_format=torch.channels_last).eval()
    load_tensors(model, weights.tensors)
    tensor = torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return repeated(lambda: model(tensor).numpy())


def tf_function(weights, batch):
    from common import backend

    runtime = backend.load("tensorflow", "runtime").Runtime(weights.network, weights.tensors, "cpu", "fp32")
    return repeated(lambda: runtime(batch))


def exported(weights, batch, folder):
    """Path of the network as PyTorch exports it to ONNX, its sizes free."""
    import torch

    from torch_models.layers import load_tensors
    from torch_models.runtime import build

    path = Path(folder) / "network.onnx"
    if not path.exists():
        model = build(weights.network).eval()
        load_tensors(model, weights.tensors)
        sizes = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
        tensor = torch.from_numpy(batch.transpose(0, 3, 1, 2).copy())
        torch.onnx.export(model, (tensor,), path, dynamo=True, dynamic_shapes=(sizes,), verbose=False)
    return path


def onnxruntime(weights, batch, folder, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(exported(weights, batch, folder), options, ["CPUExecutionProvider"])
    name, batch = session.get_inputs()[0].name, batch.transpose(0, 3, 1, 2).copy()
    return repeated(lambda: session.run(None, {name: batch}))


def opencv(weights, batch, folder, threads):
    import cv2

    cv2.setNumThreads(threads)
    net, batch = cv2.dnn.readNetFromONNX(str(exported(weights, batch, folder))), batch.transpose(0, 3, 1, 2).copy()

    def forward():
        net.setInput(batch)
        return net.forward()

    return repeated(forward)


def peak(kind):
    """10^9 operations a second of a large matrix product in "fp32" or "bf16", as a product or as a convolution."""
    import torch
    import torch.nn.functional as F

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
    first, second = (torch.rand(2048, 2048).to(kind) for _ in range(2))
    maps = first.reshape(1, 32, 64, 2048).permute(0, 3, 1, 2)  # channels last
    kernel = second.reshape(2048, 2048, 1, 1).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        milliseconds = min(repeated(lambda: first @ second), repeated(lambda: F.conv2d(maps, kernel)))
    return 2 * 2048**3 / milliseconds / 1e6


def run_one(runner, name, scale, height, width, threads, folder):
    """{"ms", "precision"} of one runner, in this process, or {"gflops"} of "peak fp32"."""
    if runner.startswith("peak"):
        return {"gflops": peak(runner.split()[1])}
    weights = weights_of(name, scale)
    if runner in OURS:
        milliseconds, precision = ours(runner, weights, height, width)
        return {"ms": milliseconds, "precision": precision}
    batch = whole_input(weights.network, height, width)
    function = {"eager": eager, "tf.function": tf_function, "onnxruntime": onnxruntime, "opencv": opencv}[runner]
    more = (folder, threads) if runner in ("onnxruntime", "opencv") else ()
    return {"ms": function(weights, batch, *more), "precision": "fp32"}


def in_a_process(runner, name, scale, arguments, folder):
    """What `run_one` says in a fresh process, or None where the runner cannot be had."""
    line = [sys.executable, __file__, "--one", runner, "--model", name, "--scale", str(scale), "--folder", folder]
    line += ["--height", str(arguments.height), "--width", str(arguments.width), "--threads", str(arguments.threads)]
    threads = str(arguments.threads)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, **quiet})
    if done.returncode:
        print(f"  {runner} left out: {(done.stderr.strip().splitlines() or ['?'])[-1][:150]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def measured(name, scale, arguments):
    """{runner: {"ms", "precision"}} of one network, the least of all rounds."""
    best, runners = {}, [*arguments.ours, *arguments.peers]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for runner in list(runners):
                result = in_a_process(runner, name, scale, arguments, folder)
                if result is None:
                    runners.remove(runner)
                elif runner not in best or result["ms"] < best[runner]["ms"]:
                    best[runner] = result
    return best


def measured_peaks(arguments):
    """{precision: 10^9 operations a second of a matrix product}."""
    return {kind: in_a_process(f"peak {kind}", "espcn", 3, arguments, "")["gflops"] for kind in ("fp32", "bf16")}


def show(name, scale, arguments, peaks):
    """Measure one network and print its table."""
    operations = operations_seen(network(name, scale=scale), arguments.height, arguments.width) / 1e9
    best = measured(name, scale, arguments)
    peers = {runner: best[runner]["ms"] for runner in PEERS if runner in best}
    print(f"{name} x{scale}, {arguments.width} x {arguments.height}, {operations:.1f} G operations")
    print(f"  {'':18}{'ms':>9}" + "".join(f"{'/' + peer:>13}" for peer in peers) + f"{'/best peer':>12}{'of peak':>9}")
    for runner, one in best.items():
        milliseconds = one["ms"]
        ratios = "".join(f"{milliseconds / peer:13.2f}" for peer in peers.values())
        least = f"{milliseconds / min(peers.values()):12.2f}" if runner in arguments.ours and peers else f"{'':12}"
        share = operations / milliseconds * 1000 / peaks[one["precision"]]
        print(f"  {runner:18}{milliseconds:9.1f}{ratios}{least}{share:9.0%}  {one['precision']}", flush=True)


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=["espcn", "vespcn", "srcnn"])
    parse.add_argument("--scale", type=int, help="default: 3, srresnet and srgan 4")
    parse.add_argument("--height", type=int, default=1080, help="of the result (default: %(default)s)")
    parse.add_argument("--width", type=int, default=1920, help="default: %(default)s")
    parse.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parse.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    parse.add_argument("--ours", nargs="+", choices=OURS, default=["torch fp32", "torch auto", "tensorflow fp32"])
    parse.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parse.add_argument("--one", help=argparse.SUPPRESS)
    parse.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parse.parse_args()
    if arguments.one:
        place = arguments.model[0], arguments.scale, arguments.height, arguments.width
        print(json.dumps(run_one(arguments.one, *place, arguments.threads, arguments.folder)))
        return
    peaks = measured_peaks(arguments)
    print(f"matrix product: fp32 {peaks['fp32']:.0f}, bf16 {peaks['bf16']:.0f} G operations a second")
    for name in arguments.model:
        show(name, arguments.scale or NETWORKS[name]().scale, arguments, peaks)


if __name__ == "__main__":
    main()
