"""Kill a run of the program again and again at random moments, resume it, and compare the film with that of one go.

    python tests/kill_and_resume.py --kills 20

prints a line for each kill, and ends with an error if a frame, a time, a packet of sound or finished work was lost.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from clips import make_clip, packets_of

import super_resolve
from common import backend
from common.networks import network
from common.video import open_video
from common.weights import Weights, initial_tensors, save_weights

FRAMES = 150


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--kills", type=int, default=20, help="default: %(default)s")
    parse.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    options = parse.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kill_and_resume(Path(folder), options.kills, random.Random(options.seed))


def kill_and_resume(folder, kills, chance):
    film, target = folder / "film.mkv", folder / "out" / "film.mkv"
    # Frames from 20 to 60 ms long, with sound.
    times = np.cumsum(np.random.default_rng(0).integers(20, 61, FRAMES)).tolist()
    make_clip(film, times, width=48, height=32, audio=[("aac", times[-1] / 1000, {})], options={"g": "25", "bf": "2"})
    save_weights(folder / "w.safetensors", small_vespcn())
    line = [film, "--output", target, "--model", "vespcn", "--scale", 2, "--weights", folder / "w.safetensors"]
    backend.load("torch", "runtime")  # before the program is forked
    line = [*map(str, line), "--resume", "--segment", "0.4", "--threads", "1", "--quiet"]
    begin = time.monotonic()
    assert wait_for(start(line)) == 0
    length, whole = time.monotonic() - begin, read(target)
    target.unlink()
    print(f"{FRAMES} frames in {length:.1f} s in one go")
    killed = 0
    while killed < kills:
        process = start(line)
        time.sleep(chance.uniform(0, length))
        os.kill(process, signal.SIGKILL)
        if wait_for(process) == 0:  # it was done before
            compare(target, whole)
            target.unlink()
            continue
        killed += 1
        finished = finished_segments(target)
        assert len(finished) == len(set(finished)), "a segment was done twice"
        print(f"kill {killed}: {len(finished)} segments finished, {'a film' if target.exists() else 'no film'}")
    assert wait_for(start(line)) == 0
    compare(target, whole)
    print(f"{kills} kills; every frame, time and packet of sound is that of one go")


def small_vespcn(frames=3):
    """Weights that are random but not dull, and look at the neighbours."""
    spec = network("vespcn", scale=2, frames=frames, depth=3, width=4, motion="none")
    tensors = initial_tensors(spec, 0)
    last = spec.convolutions[-1].name
    tensors[f"{last}.weight"] *= 10
    tensors[f"{last}.bias"] += 0.4
    return Weights("vespcn", spec, tensors)


def start(line):
    """The process id of the program, forked when everything slow to import is there."""
    process = os.fork()
    if not process:
        os._exit(super_resolve.main(line))
    return process


def wait_for(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def finished_segments(target):
    journal = target.with_name(f"{target.name}.segments") / "journal.jsonl"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return [entry["finished"] for entry in map(json.loads, lines) if "finished" in entry]


def read(path):
    with open_video(path) as reader:
        frames = [(frame.time, frame.luma.tobytes(), *(plane.tobytes() for plane in frame.chroma)) for frame in reader]
    return frames, packets_of(path, "audio")


def compare(target, whole):
    frames, sound = read(target)
    assert len(frames) == FRAMES, "frames are missing"
    assert (frames, sound) == whole, "the film is another"
    assert [path.name for path in target.parent.iterdir()] == [target.name], "something was left behind"


if __name__ == "__main__":
    main()
