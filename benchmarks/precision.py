"""What lower precision costs and gains: PSNR lost on pictures, and time, against float32 in the same run.

    python benchmarks/precision.py ../shared/data/test/Set5 --model espcn srresnet

What loses less than 0.01 dB on the mean here is what --precision auto may take: `keeps_bf16` in common/networks.py.
"plain" is bf16 in PyTorch without what torch_models/bf16.py does for it.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.evaluation import evaluate
from common.images import find_pictures, read_picture
from common.networks import NETWORKS
from common.upscaler import Upscaler
from common.weights import shipped_scales, weights_for


def measured(model, scale, framework, precision, pictures, plain=False):
    """(PSNR of each picture, seconds for all of them without reading and comparing)."""
    upscaler, spent = Upscaler(weights_for(model, scale), framework, "cpu", precision), 0.0
    if plain:
        upscaler.runtime.graph = upscaler.runtime.model
    network = upscaler.planes

    def timed(low):
        nonlocal spent
        begin = time.perf_counter()
        high = network(low)
        spent += time.perf_counter() - begin
        return high

    evaluate(upscaler, "to warm up", pictures[0])
    upscaler.planes = timed
    return np.array([evaluate(upscaler, str(i), pixels).psnr for i, pixels in enumerate(pictures)]), spent


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("folder", nargs="+", help="of pictures")
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=["srcnn", "espcn", "srresnet"])
    parse.add_argument("--scale", nargs="+", type=int, help="default: all with weights")
    parse.add_argument("--framework", nargs="+", default=["torch", "tensorflow"])
    arguments = parse.parse_args()
    pictures = [read_picture(path).pixels for folder in arguments.folder for path in find_pictures(folder)]
    print(f"{'':24}{'fp32 dB':>9}{'bf16 less':>11}{'worst':>8}{'time':>7}{'plain less':>12}")
    for model in arguments.model:
        for scale in arguments.scale or shipped_scales(model):
            for framework in arguments.framework:
                whole, seconds = measured(model, scale, framework, "fp32", pictures)
                half, fewer = measured(model, scale, framework, "bf16", pictures)
                lost, plain = whole - half, ""
                if framework == "torch":
                    rounded, _ = measured(model, scale, framework, "bf16", pictures, plain=True)
                    plain = f"{(whole - rounded).mean():12.4f}"
                print(
                    f"{model + ' x' + str(scale) + ' ' + framework:24}{whole.mean():9.3f}{lost.mean():11.4f}"
                    f"{lost.max():8.3f}{fewer / seconds:7.2f}{plain}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
