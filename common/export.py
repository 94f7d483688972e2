"""Writes a network with its weights as a file that other programs load, and proves that they compute the same.

    python -m common.export --model espcn --scale 3 --format onnx espcn_x3.onnx
    python -m common.export --model srresnet --format saved_model srresnet_x4

The file takes whole pictures of any height and width, in [0, 1]. It is run in the loader for its format at three sizes
and compared with every framework that is installed; if it differs by more than 1e-5, it is not kept. What each format
takes and gives, and what reads it, is in docs/exports.md.
"""

import argparse
import importlib.util
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import __version__, cli
from common.backend import FRAMEWORKS, load
from common.errors import CommandError, UsageError
from common.files import check_place, temporary_beside, written_whole

TOLERANCE = 1e-5  # of a sample, whose range is 1
SIZES = ((2, 24, 32), (1, 17, 29), (1, 3, 1))  # pictures, rows and columns at which a file is tested


@dataclass(frozen=True)
class Format:
    """framework: whose exporter writes it; suffix: of its files, "" for a folder; needs: modules of the extra."""

    framework: str
    suffix: str = ""
    needs: tuple[str, ...] = ()


FORMATS = {
    "onnx": Format("torch", ".onnx", ("onnx", "onnxscript", "onnxruntime")),
    "torchscript": Format("torch", ".pt"),
    "saved_model": Format("tensorflow"),
    "litert": Format("tensorflow", ".tflite", ("ai_edge_litert",)),
}


def export(arguments):
    """Write, test and print."""
    kind, target = arguments.format, Path(arguments.output)
    check_target(kind, target, arguments.overwrite)
    check_modules(kind)
    from common.weights import weights_for

    weights = weights_for(arguments.model, arguments.scale, arguments.weights)
    exporting = load(FORMATS[kind].framework, "exporting")
    with (written_whole if FORMATS[kind].suffix else folder_written_whole)(target) as temporary:
        exporting.export(kind, weights.network, weights.tensors, temporary, facts_of(weights))
        frameworks = [name for name in FRAMEWORKS if importlib.util.find_spec(name)]
        differences = [difference(exporting.opened(kind, temporary), weights, name) for name in frameworks]
        if not max(differences) <= TOLERANCE:
            raise CommandError(f"The {kind} file was not kept, as it differs by {max(differences):.1e}.")
    sizes = ", ".join(f"{rows}x{columns}" for _, rows, columns in SIZES)
    print(f"differs from {' and '.join(frameworks)} by at most {max(differences):.1e}, at {sizes}")
    print(target.resolve())


def check_target(kind, target, overwrite):
    """Raise CommandError now, and not when the work is done, if `target` is no place for a file of the format."""
    suffix = FORMATS[kind].suffix
    if target.suffix.lower() != suffix and suffix:  # by which several loaders choose
        raise UsageError(f"{target} does not end in {suffix}, as a {kind} file does.")
    check_place(target, "file" if suffix else "folder")
    if target.exists() and not overwrite:
        raise CommandError(f"{target} exists already; --overwrite replaces it.")
    if target.is_dir() and not (kind == "saved_model" and (target / "saved_model.pb").is_file()):
        raise CommandError(f"{target} is a folder of something else, which is not replaced.")
    if target.exists() and not target.is_dir() and not suffix:
        raise CommandError(f"{target} is a file, and a SavedModel is a folder.")


def check_modules(kind):
    """Raise CommandError if the format needs a module that is not installed."""
    if missing := [name for name in FORMATS[kind].needs if importlib.util.find_spec(name) is None]:
        extra = "pip install 'video-super-resolution[export]'"
        raise CommandError(f"--format {kind} needs {' and '.join(missing)}: {extra}.")


def facts_of(weights):
    """{key: text} that a file says of itself."""
    spec = weights.network
    return {
        "name": weights.name,
        "scale": str(spec.scale),
        "colour": spec.colour,
        "frames": str(spec.frames),
        "factor": str(spec.factor),
        "network": spec.to_json(),
        "version": __version__,
    }


def difference(run, weights, framework):
    """The largest difference between the outputs of the function `run` and those of a framework; NaN if either has any.

    Infinite if their shapes differ.
    """
    spec = weights.network
    runtime = load(framework, "runtime").Runtime(spec, weights.tensors, "cpu", "fp32")
    largest = []
    for size in SIZES:
        batch = sample(*size, spec.inputs)
        ours, theirs = run(batch), whole(runtime, spec, batch)
        largest.append(np.abs(ours - theirs).max() if ours.shape == theirs.shape else np.inf)
    return float(np.max(largest))


def whole(runtime, spec, batch):
    """What a `Runtime` makes of whole pictures: (N, H, W, inputs) to (N, factor H, factor W, C)."""
    rows, columns = batch.shape[1:3]
    margins = [(spec.beyond, spec.beyond + -side % spec.grid) for side in (rows, columns)]
    output = runtime(np.pad(batch, ((0, 0), *margins, (0, 0)), mode="edge"))
    spare = (spec.beyond - spec.margin) * spec.factor
    return output[:, spare : spare + rows * spec.factor, spare : spare + columns * spec.factor]


def sample(count, rows, columns, inputs):
    """Seeded pictures (count, rows, columns, inputs), float32 in [0, 1]: waves that move from input to input, noise."""
    number, y, x, t = np.mgrid[0:count, 0:rows, 0:columns, 0:inputs]
    waves = np.sin((x + 1.3 * t) / 3 + number) * np.cos((y - 0.7 * t) / 4) + np.sin((x + y + 0.6 * t) * 0.9)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, waves.shape)
    return (0.5 + 0.2 * waves + noise).astype(np.float32)


@contextmanager
def folder_written_whole(path):
    """Yield a temporary path in the folder of `path`, for a folder; rename it to `path` on success, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, former = temporary_beside(path), temporary_beside(path)
    try:
        yield temporary
        if path.exists():
            os.rename(path, former)
        try:
            os.rename(temporary, path)
        except OSError:
            if former.exists():
                os.rename(former, path)
            raise
    finally:
        for folder in (temporary, former):
            shutil.rmtree(folder, ignore_errors=True)


def parser():
    parse = cli.Parser(
        prog="python -m common.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("output", metavar="OUT", help="the file to write, for saved_model the folder")
    parse.add_argument("--model", choices=cli.model_names(), default="espcn", help="default: %(default)s")
    parse.add_argument("--scale", type=cli.positive(int), help="enlargement factor (default: 3, srresnet and srgan 4)")
    parse.add_argument("--weights", metavar="FILE", help="weights to write instead of ours")
    parse.add_argument("--format", choices=list(FORMATS), default="onnx", help="default: %(default)s")
    parse.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parse.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parse


def main(argv=None):
    return cli.run_command(export, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
