"""What all jobs of `super_resolve.py` share: what is measured, warned of and reported."""

import re
import resource
import sys
import time
from contextlib import contextmanager
from pathlib import Path


class Clocks:
    """How many seconds were spent in each stage of the work: `stages`."""

    def __init__(self):
        self.stages = {"decode": 0.0, "network": 0.0, "encode": 0.0}

    @contextmanager
    def stage(self, name):
        """Count the time spent inside as that of stage `name`; each stage is in one thread at a time."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] += time.perf_counter() - begin

    def timed(self, name, iterable):
        """The items of `iterable`, the time they take to come counted as that of stage `name`."""
        items = iter(iterable)
        while True:
            with self.stage(name):
                item = next(items, None)
            if item is None:
                return
            yield item


class Job(Clocks):
    """One call of the program: enlarges what it is given and remembers what a report says of it.

    upscaler: `common.upscaler.Upscaler`. comparison: a `common.comparison.Comparison` to fill, or None. warnings: a
    sentence each. frames_in, frames_out: pictures or frames taken and written. failed: pictures that could not be
    enlarged.
    """

    def __init__(self, upscaler, overwrite=False, quiet=False, comparison=None):
        super().__init__()
        self.upscaler, self.overwrite, self.quiet, self.comparison = upscaler, overwrite, quiet, comparison
        self.source = self.target = None
        self.frames_in = self.frames_out = self.failed = 0
        self.warnings = []
        self.begin = time.perf_counter()

    @property
    def failure(self):
        """A sentence on what could not be enlarged."""
        return f"{self.failed} of {self.frames_in} pictures could not be enlarged."

    def report(self):
        """What was done so far, for --report."""
        upscaler, seconds = self.upscaler, time.perf_counter() - self.begin
        return {
            "model": upscaler.name,
            "scale": upscaler.scale,
            "framework": upscaler.framework,
            "device": upscaler.runtime.device,
            "precision": upscaler.runtime.precision,
            "input": str(self.source),
            "output": str(self.target),
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "seconds": round(seconds, 3),
            "fps": round(self.frames_out / max(seconds, 1e-9), 3),
            "stage_seconds": {stage: round(spent, 3) for stage, spent in self.stages.items()},
            "tile": list(upscaler.largest_tile),
            "working_set_mb": round(upscaler.working_set / (1 << 20), 3),
            "peak_rss_mb": peak_memory(),
            "warnings": self.warnings,
        }


def peak_memory():
    """Largest memory this process has held so far, in MB."""
    status = Path("/proc/self/status")  # of Linux, where getrusage counts what the parent held before as well
    held = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8")) if status.exists() else None
    kilobytes = int(held[1]) if held else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
