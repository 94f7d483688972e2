"""How fast a data set is built from pictures: seconds, the ratio to plain scripts on the same pictures, and memory.

"plain NumPy" does the same as such scripts do: MATLAB's bicubic interpolation as a sum over gathered taps, a slice for
every sub-image, and all of them in memory until they are written. "plain OpenCV" is faster by another function, the
bicubic interpolation of OpenCV, which is not that of the papers. Every build is a process of its own, and they take
turns; the least of all rounds counts. Without folders the embedded photographs are cut.

    python benchmarks/dataset.py ../shared/data/train/T91 ../shared/data/train/BSD200
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.dataset import Source, build, split
from common.experiments import pictures_of
from common.jobs import peak_memory
from common.networks import NETWORKS, network
from common.resize import _taps

MORE = 4  # times as many pictures, to see whether memory grows
TARGET = 3  # times as fast as plain NumPy


def ours(spec, source, paths, target):
    build(target, paths, spec, source)


def plain(resized):
    """A contestant that shrinks and enlarges with resized(plane (H, W) float32, rows, columns)."""

    def cut(spec, source, paths, target):
        import cv2
        import h5py

        size, label, stride, scale = source.image_size, source.label_size, source.stride, spec.scale
        offset = (size * spec.factor - label) // 2
        data, labels = [], []
        for path in split(paths)[0]:
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            high, peak = pixels, np.iinfo(pixels.dtype).max
            if pixels.ndim == 3:
                blue, green, red = (pixels[..., channel] / peak for channel in range(3))
                high = np.round((16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255 * peak)
            high = high / peak
            rows, columns = (side // scale for side in high.shape)
            high = high[: rows * scale, : columns * scale].astype(np.float32)
            low = resized(high, rows, columns)
            if spec.upscale_first:
                low = resized(low, *high.shape)
            for top in range(0, low.shape[0] - size + 1, stride):
                for left in range(0, low.shape[1] - size + 1, stride):
                    data.append(low[top : top + size, left : left + size, None])
                    y, x = top * spec.factor + offset, left * spec.factor + offset
                    labels.append(high[y : y + label, x : x + label, None])
        with h5py.File(target, "w") as file:
            file["data"], file["label"] = np.asarray(data), np.asarray(labels)

    return cut


def gathered(plane, rows, columns):
    for length in (rows, columns):
        index, weight = _taps(len(plane), length, length / len(plane), 0.0, True, "mirror")
        plane = (plane[index] * weight[..., None].astype(np.float32)).sum(axis=1).T
    return plane


def by_opencv(plane, rows, columns):
    import cv2

    return cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_CUBIC)


CONTESTANTS = {"ours": ours, "plain NumPy": plain(gathered), "plain OpenCV": plain(by_opencv)}


def source_for(name):
    """(network, `Source`) of its default recipe."""
    spec = network(name)
    recipe = spec.recipe
    label = recipe.label_size or (recipe.image_size - 2 * spec.margin) * spec.factor
    return spec, Source(name, spec.to_json(), recipe.image_size, label, recipe.stride)


def build_one(contestant, name, paths, target):
    """{"seconds", "megabytes" at most in memory} of one build, in this process."""
    spec, source = source_for(name)
    begin = time.perf_counter()
    CONTESTANTS[contestant](spec, source, [Path(path) for path in paths], Path(target))
    return {"seconds": time.perf_counter() - begin, "megabytes": peak_memory()}


def in_a_process(contestant, name, paths, target):
    line = [sys.executable, __file__, "--one", contestant, "--model", name, "--target", str(target)]
    done = subprocess.run([*line, *map(str, paths)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def largest_difference(first, second):
    """Between the samples of two files, which must be as many, a few at a time."""
    import h5py

    with h5py.File(first) as one, h5py.File(second) as other:
        parts = [(key, slice(at, at + 1000)) for key in ("data", "label") for at in range(0, len(one[key]), 1000)]
        return max(float(np.abs(one[key][part] - other[key][part]).max()) for key, part in parts)


def measured(name, paths, rounds, folder):
    """{contestant: {"seconds", "megabytes"}}, with "more", ours of MORE times as many pictures, and "differs"."""
    best = {}
    for _ in range(rounds):
        for contestant in CONTESTANTS:
            done = in_a_process(contestant, name, paths, folder / f"{contestant}.h5")
            if contestant not in best or done["seconds"] < best[contestant]["seconds"]:
                best[contestant] = done
    best["more"] = in_a_process("ours", name, MORE * paths, folder / "more.h5")
    return best | {"differs": largest_difference(folder / "ours.h5", folder / "plain NumPy.h5")}


def show(name, paths, best):
    print(f"{name}, {len(paths)} pictures; ours differs from plain NumPy by at most {best['differs']:.0e}")
    for contestant in CONTESTANTS:
        seconds, ours = best[contestant]["seconds"], best["ours"]["seconds"]
        ratio = f"{seconds / ours:6.1f} times ours" if contestant != "ours" else ""
        wanted = f" (target {TARGET})" if contestant == "plain NumPy" else ""
        print(f"  {contestant:14}{seconds:7.2f} s{best[contestant]['megabytes']:7.0f} MB{ratio}{wanted}")
    growth = best["more"]["megabytes"] / best["ours"]["megabytes"]
    print(f"  ours, {MORE} times as many pictures: {growth:.2f} of the memory", flush=True)


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder", nargs="*", help="of pictures")
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=["srcnn", "espcn"])
    parse.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parse.add_argument("--one", help=argparse.SUPPRESS)
    parse.add_argument("--target", help=argparse.SUPPRESS)
    arguments = parse.parse_args()
    if arguments.one:
        print(json.dumps(build_one(arguments.one, arguments.model[0], arguments.folder, arguments.target)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        paths = pictures_of(arguments.folder or None, Path(scratch))
        for name in arguments.model:
            show(name, paths, measured(name, paths, arguments.rounds, Path(scratch)))


if __name__ == "__main__":
    main()
