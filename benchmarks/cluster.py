"""What does a cluster cost, and what does it gain? One film by `--resume`, then by `--cluster` with 1, 2, ... workers.

Workers compute on one thread each, and so does the run without Ray. Start-up is left aside: a film of one segment tells
how long it is. Beside the speed this says where the workers' time went. At last one of two nodes dies half-way: the
ideal is half the time of two workers and half that of one. The machine should do nothing else.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from film_memory import ROOT, write_film

from common.cluster import ENVIRONMENT, STORE

RATE = 25


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", nargs="+", default=["espcn"])
    parse.add_argument("--minutes", type=float, default=2.0, help="of film (default: %(default)s)")
    parse.add_argument("--size", type=int, nargs=2, default=[640, 360], help="of its frames (default: 640 360)")
    parse.add_argument("--workers", type=int, nargs="*", default=list(range(1, os.cpu_count() + 1)))
    parse.add_argument("--no_loss", action="store_true", help="let no node die")
    arguments = parse.parse_args()
    frames = round(arguments.minutes * 60 * RATE)
    with tempfile.TemporaryDirectory() as scratch:
        film, short = Path(scratch) / "film.mkv", Path(scratch) / "short.mkv"
        write_film(film, frames, *arguments.size)
        write_film(short, 10, *arguments.size)
        for model in arguments.model:
            if arguments.workers:
                compare(model, film, short, frames, arguments.workers)
            if not arguments.no_loss:
                lose_a_node(model, film, short)


def compare(model, film, short, frames, counts):
    """Print a line for the run without Ray, and three for each number of workers."""
    alone, _, _ = difference(model, film, short, ["--resume"])
    print(f"{model}: {frames} frames without Ray in {alone:.1f} s, {frames / alone:.2f} frames/s")
    for count in counts:
        with cluster(count) as nodes:
            taken, processor, report = difference(model, film, short, ["--cluster", nodes.address])
        about, gain = report["cluster"], alone / taken
        busy = about["busy_seconds"]
        stages = ", ".join(f"{name} {spent / busy:.0%}" for name, spent in report["stage_seconds"].items())
        print(f"{model}: {count} workers {taken:.1f} s, {gain:.2f} times as fast, overhead {count / gain - 1:+.1%};")
        print(f"    at work {busy / taken / count:.0%} of the time, of which {stages} (these overlap);")
        print(f"    the scheduler computes {1000 * processor / (about['tasks'] - 2):.1f} ms for a segment")


def lose_a_node(model, film, short):
    """Print a line for two nodes of one worker each, of which one dies half-way."""
    with cluster(1) as nodes:
        one, _, _ = difference(model, film, short, ["--cluster", nodes.address])
    with cluster(1) as nodes:
        other = nodes.add_node(**node_of(1))
        two, _, _ = difference(model, film, short, ["--cluster", nodes.address])
        begin = time.monotonic()
        (before, _) = run(model, short, ["--cluster", nodes.address])
        start = time.monotonic() - begin
        Timer(start + two / 2, nodes.remove_node, [other], {"allow_graceful": False}).start()
        report, _ = run(model, film, ["--cluster", nodes.address])
    taken, ideal = report["seconds"] - before["seconds"], (one + two) / 2
    lost = report["cluster"]["workers_lost"]
    print(f"{model}: one worker {one:.1f} s, two {two:.1f} s; with {lost} lost half-way {taken:.1f} s,")
    print(f"    {taken / ideal:.2f} times the ideal {ideal:.1f} s")


@contextmanager
def cluster(count):
    """Inside, there is a Ray cluster, given as its `Cluster`, of one node with `count` CPUs."""
    os.environ.update(ENVIRONMENT)
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={**node_of(count), "include_dashboard": False})
    try:
        yield nodes
    finally:
        nodes.shutdown()


def node_of(count):
    """What Ray is told of a node with `count` CPUs."""
    return {"num_cpus": count, "object_store_memory": STORE}


def difference(model, film, short, how):
    """(seconds, CPU seconds of the program itself, report) for a film, the seconds without those for the short one."""
    (whole, computed), (begin, before) = (run(model, path, how) for path in (film, short))
    return whole["seconds"] - begin["seconds"], computed - before, whole


def run(model, film, how):
    """(report, CPU seconds) of enlarging a film twice on one thread a worker."""
    target, report = film.with_name(f"out_{film.name}"), film.with_suffix(".json")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "super_resolve.py"), str(film), "--model", model, "--scale", "2", "--quiet"),
            *(*how, "--threads", "1", "--output", str(target), "--overwrite", "--report", str(report)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(report.read_text(encoding="utf-8")), computed


if __name__ == "__main__":
    main()
