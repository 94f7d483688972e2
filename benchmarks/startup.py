"""How long the whole program takes for one picture: seconds, and the ratio to a process that imports the framework.

The picture is 512 x 512, enlarged by ESPCN x2. The commands take turns; the least of all rounds counts. Without a
folder it is an embedded photograph, with one its first picture.

    python benchmarks/startup.py --framework torch tensorflow
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.experiments import pictures_of
from common.images import Picture, read_picture, write_picture
from common.resize import resize

SIDE, MODEL, SCALE = 512, "espcn", 2
TARGET = 1.6  # times the bare import
HELP = 0.3  # seconds at most


def seconds(line):
    begin = time.perf_counter()
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, *line], check=True, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def write_square(folders, path):
    """The first picture of `folders`, or an embedded photograph, as SIDE x SIDE pixels."""
    with tempfile.TemporaryDirectory() as scratch:
        pixels = read_picture(pictures_of(folders or None, Path(scratch))[0]).pixels
    write_picture(path, Picture(resize(pixels, size=(SIDE, SIDE))))


def measured(folders, frameworks, rounds):
    """{"--help", "import FRAMEWORK" and "picture FRAMEWORK" of each: least seconds}."""
    program = str(ROOT / "super_resolve.py")
    with tempfile.TemporaryDirectory() as scratch:
        picture, larger = Path(scratch) / "in.png", Path(scratch) / "out.png"
        write_square(folders, picture)
        lines = {"--help": [program, "--help"]}
        for framework in frameworks:
            enlarge = [program, str(picture), "--model", MODEL, "--scale", str(SCALE), "--framework", framework]
            lines[f"import {framework}"] = ["-c", f"import {framework}"]
            lines[f"picture {framework}"] = [*enlarge, "--output", str(larger), "--overwrite", "--quiet"]
        every = [{name: seconds(line) for name, line in lines.items()} for _ in range(rounds)]
    return {name: min(one[name] for one in every) for name in lines}


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder", nargs="*", help="of pictures")
    parse.add_argument("--framework", nargs="+", default=["torch"])
    parse.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parse.parse_args()
    least = measured(arguments.folder, arguments.framework, arguments.rounds)
    print(f"{'--help':22}{least['--help']:8.2f} s (target {HELP})")
    for framework in arguments.framework:
        bare, ours = least[f"import {framework}"], least[f"picture {framework}"]
        print(f"{'import ' + framework:22}{bare:8.2f} s")
        print(f"{'picture ' + framework:22}{ours:8.2f} s, {ours / bare:.2f} times the import (target {TARGET})")


if __name__ == "__main__":
    main()
