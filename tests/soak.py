"""Runs a long film with sound through the program, and looks whether memory, open files and sound stay where they are.

    python tests/soak.py --minutes 60                       every network, with a table of figures
    python tests/soak.py --minutes 5 --ways espcn "vespcn --resume" --framework tensorflow

The film is made on the spot, small, with a cut every two seconds and, just before its end, a flash and a click at the
same moment. Each network enlarges it by the real command line, in a process that is looked at from outside, behind a
warm-up: its memory (that of its own, without the files it has mapped) and its open files. Then every frame's time and
every packet of sound are compared with the film's, and the flash with the click. The networks that are deep are small
here, with weights made on the spot; of the others the shipped weights are taken.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import av  # noqa: E402 - the checkout is on the path now
import numpy as np  # noqa: E402

from common.networks import network  # noqa: E402
from common.weights import Weights, initial_tensors, save_weights  # noqa: E402

WIDTH, HEIGHT, RATE, SAMPLES = 32, 24, 25, 16000
SCENE = 2 * RATE  # frames
BEFORE_END = 5  # frames from the flash to the end of the film
WARM_UP, WINDOW = 0.2, 0.2  # shares of the samples: those that do not count, and those that are compared
MEMORY, FILES = 16.0, 1  # by how many MB, and open files, the end may exceed the beginning
SYNC = 1.0  # milliseconds
DEEP = {
    "drcn": {"width": 8, "recursions": 2},
    "srresnet": {"width": 8, "blocks": 1},
    "srgan": {"width": 8, "blocks": 1},
}
WAYS = ("espcn", "espcn --resume", "vespcn", "vespcn --resume", "srcnn", *DEEP)


# ---- The film


def make_film(path, seconds):
    """Write a film of so many whole seconds; returns the moment of flash and click in seconds."""
    frames = seconds * RATE
    flash = frames - BEFORE_END
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "g": str(SCENE)})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = output.add_stream("aac", rate=SAMPLES, layout="mono")
        for number in range(frames):
            output.mux(video.encode(picture(number, number == flash)))
            if number % RATE == 0:
                output.mux(sound.encode(tone(number // RATE, Fraction(flash, RATE))))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
    return flash / RATE


def picture(number, flash):
    """The frame with a number: waves of a scene that move, or white."""
    scene, step = divmod(number, SCENE)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    luma = 90 + 60 * np.sin(x * (0.2 + 0.07 * (scene % 5)) + y * 0.3 + 0.2 * step + scene)
    luma = np.full_like(luma, 235) if flash else luma
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane, values in zip(frame.planes, (luma, 128, 128), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
        rows[:, : plane.width] = values
    frame.pts, frame.time_base = number, Fraction(1, RATE)
    return frame


def tone(second, click):
    """One second of sound: a low tone, and the click if it falls there."""
    samples = np.arange(second * SAMPLES, (second + 1) * SAMPLES)
    wave = 0.05 * np.sin(samples * 0.05)
    near = (samples - int(click * SAMPLES)) / (SAMPLES / 1000)  # milliseconds
    wave += 0.8 * np.exp(-(near**2) / 2)
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLES, samples[0], Fraction(1, SAMPLES)
    return frame


def packets(path):
    """(times of all frames in order, [(time, content)] of all packets of sound) of a film, in seconds."""
    frames, sound = [], []
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                moment = packet.pts * packet.time_base
                if packet.stream.type == "video":
                    frames.append(moment)
                else:
                    sound.append((moment, hash(bytes(packet))))
    return sorted(frames), sound


def flash_and_click(path, near):
    """The moments in seconds of the brightest frame and of the loudest sample in the last seconds, from `near` on."""
    with av.open(str(path)) as container:
        container.seek(int((near - 2) * av.time_base))
        bright = max((_luma(frame).mean(), frame.time) for frame in container.decode(video=0))[1]
        container.seek(int((near - 2) * av.time_base))
        loud, click = 0.0, None
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray()[0])
            if wave.max() > loud:
                loud, click = wave.max(), frame.time + int(wave.argmax()) / frame.sample_rate
    return float(bright), float(click)


def _luma(frame):
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width]


# ---- A run, looked at from outside


@dataclass
class Soaked:
    """What came of a run. memory in MB and files: (at the beginning, at the end). Times in milliseconds."""

    way: str
    frames: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    memory: tuple = (0.0, 0.0)
    files: tuple = (0, 0)
    last_frame: float = 0.0
    last_sound: float = 0.0
    flash_to_click: float = 0.0
    faults: list = field(default_factory=list)


def soak(way, film, flash, folder, framework="torch", interval=0.25):
    """Enlarge the film `film` in a `way`: the name of a network and flags. Returns a `Soaked`."""
    result, (model, *flags) = Soaked(way), way.split()
    target = folder / "out" / f"film{film.suffix}"
    target.parent.mkdir()
    line = [sys.executable, ROOT / "super_resolve.py", film, "--output", target, "--model", model, "--scale", "2"]
    line += [*flags, "--framework", framework, "--threads", "1", "--quiet", *weights_for_soaking(model, folder)]
    said, samples, begin = folder / "errors", [], time.monotonic()
    with said.open("w") as errors:
        process = subprocess.Popen([str(word) for word in line], stdout=subprocess.DEVNULL, stderr=errors)
    try:
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if any(target.parent.iterdir()):  # it has begun
                samples += observed(process.pid)
            time.sleep(interval)
        process.returncode = os.waitstatus_to_exitcode(ended[1])
    finally:
        process.kill()  # if we are interrupted
    result.seconds, result.cpu = time.monotonic() - begin, ended[2].ru_utime + ended[2].ru_stime
    if process.returncode or said.stat().st_size:
        result.faults.append(f"exit code {process.returncode}: {said.read_text()[-500:]}")
    if not process.returncode:
        look_at_process(result, samples)
        look_at_film(result, film, target, flash)
    shutil.rmtree(target.parent)
    return result


def weights_for_soaking(model, folder):
    """Flags for the weights of a network that would take too long as it is shipped."""
    if model not in DEEP:
        return []
    path, spec = folder / f"{model}.safetensors", network(model, scale=2, **DEEP[model])
    save_weights(path, Weights(model, spec, initial_tensors(spec, 0)))
    return ["--weights", path]


def observed(process):
    """[(MB of memory, open files)] of a process; empty if it has just ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        files = len(os.listdir(f"/proc/{process}/fd"))
        return [(int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024, files)]
    except (OSError, TypeError):
        return []


def look_at_process(result, samples):
    samples = samples[int(len(samples) * WARM_UP) :]
    window = max(1, int(len(samples) * WINDOW))
    if len(samples) < 2 * window:
        result.faults.append("it ended too soon to be looked at")
        return
    for name, place, of_all in (("memory", 0, statistics.median), ("files", 1, max)):
        values = [sample[place] for sample in samples]
        setattr(result, name, (of_all(values[:window]), of_all(values[-window:])))
    for name, (first, last), bound in (("MB", result.memory, MEMORY), ("open files", result.files, FILES)):
        if last - first > bound:
            result.faults.append(f"{last - first:.0f} {name} more at the end")


def look_at_film(result, film, target, flash):
    (frames, sound), (our_frames, our_sound) = packets(film), packets(target)
    result.frames = len(our_frames)
    result.last_frame = 1000 * float(our_frames[-1] - frames[-1])
    result.last_sound = 1000 * float(our_sound[-1][0] - sound[-1][0])
    for name, ours, theirs in (("frames", our_frames, frames), ("packets of sound", our_sound, sound)):
        if ours != theirs:
            result.faults.append(f"{len(ours)} {name}, not those {len(theirs)} of the film")
    (bright, click), (our_bright, our_click) = flash_and_click(film, flash), flash_and_click(target, flash)
    result.flash_to_click = 1000 * (our_click - our_bright)
    for name, off in (
        ("the flash", our_bright - bright),
        ("the click", our_click - click),
        ("the click from the flash", our_click - our_bright),
    ):
        if abs(1000 * off) > SYNC:
            result.faults.append(f"{name} is {1000 * off:.1f} ms off")


# ---- The command line

COLUMNS = ("way", "frames", "seconds", "CPU s", "MB", "MB more", "files", "files more", "last frame, ms off",
           "last sound, ms off", "flash to click, ms", "faults")  # fmt: skip


def row(cells):
    """A line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def cells(result):
    """The cells of a `Soaked`."""
    memory, files = result.memory, result.files
    return (
        *(result.way, result.frames, f"{result.seconds:.0f}", f"{result.cpu:.1f}"),
        *(f"{memory[0]:.0f}", f"{memory[1] - memory[0]:.1f}", files[0], files[1] - files[0]),
        *(f"{off:.1f}" for off in (result.last_frame, result.last_sound, result.flash_to_click)),
        len(result.faults),
    )


def main(argv=None):
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--minutes", type=float, default=60, help="of film (default: %(default)s)")
    parse.add_argument("--ways", nargs="+", default=WAYS, help=f"networks, and flags (default: {', '.join(WAYS)})")
    parse.add_argument("--framework", choices=["torch", "tensorflow"], default="torch", help="default: %(default)s")
    parse.add_argument("--suffix", default=".mkv", help="of the films (default: %(default)s)")
    arguments = parse.parse_args(argv)
    faults = []
    with tempfile.TemporaryDirectory() as name:
        film = Path(name) / f"film{arguments.suffix}"
        flash = make_film(film, max(4, round(60 * arguments.minutes)))
        print(row(COLUMNS))
        print("|" + "---|" * len(COLUMNS), flush=True)
        for way in arguments.ways:
            result = soak(way, film, flash, Path(name), arguments.framework)
            print(row(cells(result)), flush=True)
            faults += [f"{way}: {fault}" for fault in result.faults]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
