"""How long a network takes for one frame of 1920 x 1080, on the machine at hand."""

import os
import time
from dataclasses import dataclass

import numpy as np

from common import backend
from common.video_frames import Frame

HEIGHT, WIDTH = 1080, 1920  # of the result
REPETITIONS = 3
PATIENCE = 20.0  # seconds for a frame, above which a sixteenth of it has to tell
PART = 4  # one side of the frame to that of the part
BUSY = 0.8  # seconds of computing in a second, below which other work held the machine


@dataclass(frozen=True)
class FrameTime:
    """milliseconds: for the luma of one frame. extrapolated: from a part of it. busy: other work was in the way."""

    milliseconds: float
    extrapolated: bool = False
    busy: bool = False


def time_per_frame(upscaler):
    """The `FrameTime` of a `common.upscaler.Upscaler`, uint8 in and uint8 out.

    The least of a few repetitions counts, after one on a part of the frame, which warms the network up. If that part
    says that the frame would take very long, sixteen times it is the answer.
    """
    part = _window(upscaler, PART)
    _seconds(upscaler, part)
    seconds, busy = _seconds(upscaler, part)
    if seconds * PART**2 > PATIENCE:
        return FrameTime(1000 * seconds * PART**2, True, busy)
    whole = _window(upscaler, 1)
    seconds, busy = min(_seconds(upscaler, whole) for _ in range(REPETITIONS))
    return FrameTime(1000 * seconds, False, busy)


def _window(upscaler, part):
    """As many small frames of noise as the network sees."""
    size = HEIGHT // part // upscaler.scale, WIDTH // part // upscaler.scale
    generator = np.random.default_rng(0)
    return [Frame(generator.integers(16, 236, size, np.uint8)) for _ in range(upscaler.spec.frames)]


def _seconds(upscaler, window):
    """(seconds, whether this process was kept waiting for much of them)."""
    begun, computed = time.perf_counter(), time.process_time()
    upscaler.frame(window)
    seconds, computed = time.perf_counter() - begun, time.process_time() - computed
    return seconds, computed < BUSY * seconds


def threads():
    """CPU threads that a framework may use: OMP_NUM_THREADS, or one for each CPU that this process may run on."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(os.environ.get("OMP_NUM_THREADS") or allowed or 1)


def same_threads_everywhere():
    """Hold TensorFlow to the threads that PyTorch takes from OMP_NUM_THREADS; to be called before either is loaded."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads()))


def machine(framework, device="auto"):
    """What `framework` runs the benchmark on, in words that name no machine: "CPU, 2 threads, fp32"."""
    device = backend.load(framework, "runtime").choose_device(device)
    place = "GPU" if device == "cuda" else f"CPU, {threads()} thread{'s' if threads() > 1 else ''}"
    return f"{place}, fp32"
