"""What does a cluster cost, and what does it gain? One film by `--resume`, then by `--cluster` with 1, 2, ... workers.

Workers compute on one thread each, and so does the run without Ray. Start-up is left aside: a film of one segment tells
how long it is. Beside the speed this says where the workers' time went. The machine should do nothing else.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from film_memory import ROOT, write_film

from common.cluster import ENVIRONMENT, STORE

RATE = 25


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", nargs="+", default=["espcn"])
    parse.add_argument("--minutes", type=float, default=2.0, help="of film (default: %(default)s)")
    parse.add_argument("--size", type=int, nargs=2, default=[640, 360], help="of its frames (default: 640 360)")
    parse.add_argument("--workers", type=int, nargs="+", default=list(range(1, os.cpu_count() + 1)))
    arguments = parse.parse_args()
    frames = round(arguments.minutes * 60 * RATE)
    with tempfile.TemporaryDirectory() as scratch:
        film, short = Path(scratch) / "film.mkv", Path(scratch) / "short.mkv"
        write_film(film, frames, *arguments.size)
        write_film(short, 10, *arguments.size)
        for model in arguments.model:
            compare(model, film, short, frames, arguments.workers)


def compare(model, film, short, frames, counts):
    """Print a line for the run without Ray, and two for each number of workers."""
    alone, _ = seconds_of(model, film, short, ["--resume"])
    print(f"{model}: {frames} frames without Ray in {alone:.1f} s, {frames / alone:.2f} frames/s")
    for count in counts:
        with cluster(count) as address:
            taken, report = seconds_of(model, film, short, ["--cluster", address])
        busy, gain = report["cluster"]["busy_seconds"], alone / taken
        stages = ", ".join(f"{name} {spent / busy:.0%}" for name, spent in report["stage_seconds"].items())
        print(f"{model}: {count} workers {taken:.1f} s, {gain:.2f} times as fast, overhead {count / gain - 1:+.1%};")
        print(f"    at work {busy / taken / count:.0%} of the time, of which {stages} (these overlap)")


@contextmanager
def cluster(count):
    """Inside, there is a Ray cluster of one node with `count` CPUs, whose address is given."""
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    node = {"num_cpus": count, "object_store_memory": STORE, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield nodes.address
    finally:
        nodes.shutdown()


def seconds_of(model, film, short, how):
    """(seconds for the film without those for start-up, report)."""
    whole, begin = (run(model, path, how) for path in (film, short))
    return whole["seconds"] - begin["seconds"], whole


def run(model, film, how):
    """The report of enlarging a film twice on one thread a worker."""
    target, report = film.with_name(f"out_{film.name}"), film.with_suffix(".json")
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "super_resolve.py"), str(film), "--model", model, "--scale", "2", "--quiet"),
            *(*how, "--threads", "1", "--output", str(target), "--overwrite", "--report", str(report)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(report.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
