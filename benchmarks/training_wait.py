"""Does training wait for its data? Steps a second of the loop on a data set, as a share of the bare step's.

The bare step trains on one batch that never changes. Both take turns in the same process, round by round.
"""

import argparse
import tempfile
import time
from pathlib import Path
from sys import path

path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common import backend
from common.dataset import Dataset, Source, build
from common.networks import NETWORKS, network
from common.samples import write_photographs
from common.weights import initial_tensors


def steps_a_second(training, batches, steps):
    loss = 0.0
    begin = time.perf_counter()
    for _ in range(steps):
        loss = training.step(*next(batches), 1e-3)
    float(loss)
    return steps / (time.perf_counter() - begin)


def endless(batch):
    while True:
        yield batch


def measure(name, framework, steps, rounds, folder, memory):
    """(steps/s on a constant batch, steps/s on the data set), medians over rounds."""
    spec = network(name)
    recipe = spec.recipe
    label = recipe.label_size or (recipe.image_size - 2 * spec.margin) * spec.factor
    target = folder / f"{name}.h5"
    if not target.exists():
        build(
            target, write_photographs(folder / name), spec, Source(name, spec.to_json(), recipe.image_size, label, 14)
        )
    training = backend.load(framework, "training").Training(spec, initial_tensors(spec, 0), recipe)
    with Dataset(target, recipe.batch_size, memory=memory) as dataset:
        constant, real = endless(dataset.batch(0)), dataset.batches()
        steps_a_second(training, constant, 3)
        steps_a_second(training, real, 3)
        speeds = [[steps_a_second(training, source, steps) for source in (constant, real)] for _ in range(rounds)]
        real.close()
    return np.median(speeds, axis=0)


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--steps", type=int, default=40, help="steps a round")
    parse.add_argument("--rounds", type=int, default=5)
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=["srcnn", "espcn"])
    parse.add_argument("--framework", nargs="+", default=["tensorflow", "torch"])
    arguments = parse.parse_args()
    print(f"{'':28}{'bare steps/s':>14}{'data set steps/s':>18}{'share':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.model:
            for framework in arguments.framework:
                for where, memory in (("memory", 2 << 30), ("disk", 0)):
                    bare, real = measure(name, framework, arguments.steps, arguments.rounds, Path(folder), memory)
                    print(f"{name + ', ' + framework + ', ' + where:28}{bare:14.1f}{real:18.1f}{real / bare:8.2f}")


if __name__ == "__main__":
    main()
