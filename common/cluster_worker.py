"""What is done on a machine of a cluster, by a process that holds the network; it knows nothing of Ray.

Paths and segments come, and files appear at their places; no frame travels. Whatever goes wrong is raised as one of a
few exceptions with a sentence, which can travel as well.
"""

import errno
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common import __version__, backend
from common.errors import CommandError, sentence
from common.files import put_in_place, temporary_beside
from common.film_frames import FilmFrames
from common.images import PictureError, read_picture, write_picture
from common.jobs import Clocks
from common.joining import join
from common.journal import is_noted, note_joined
from common.segment_work import SegmentFile, SegmentWorker
from common.segments import Planner
from common.upscaler import Upscaler
from common.workplace import is_full

PLANS = 4  # films whose planning is kept going


@dataclass(frozen=True)
class Equipment:
    """What a worker computes with: `device`, `precision`, and the `versions` that must be the same everywhere."""

    device: str
    precision: str
    versions: dict


@dataclass(frozen=True)
class Done:
    """What became of a task.

    result: a SegmentFile, or a list of warnings. stages: seconds in each stage, as in `common.jobs.Clocks`. seconds:
    all in all. pixels: of the input.
    """

    result: SegmentFile | list
    stages: dict
    seconds: float
    pixels: int


class Worker:
    """Enlarges segments and pictures, one at a time; `plan` and `join` may be called beside, from one thread each.

    `stop`, from any thread, ends what it is at, if it can, and whatever comes then.
    """

    def __init__(self, framework):
        self._stopped = False
        with suppress(Exception):  # which `begin` will meet again, and can tell of
            backend.load(framework, "runtime")  # in the main thread, as not all libraries can be loaded in another

    def begin(self, weights, framework, device, precision, tile, threads, paths):
        """Load the network; returns an `Equipment`.

        threads: of the CPU, or None for as many as pay. paths: what must be there, on a disk that all machines see.
        """
        with sendable():
            for path in paths:
                if not Path(path).exists():
                    raise CommandError(f"{path} is not to be seen there")
            if threads:
                backend.load(framework, "runtime").use_threads(threads)
            self._upscaler = Upscaler(weights, framework, device, precision, tile)
            self._film, self._open, self._plans = None, ExitStack(), {}
            runtime = self._upscaler.runtime
            return Equipment(runtime.device, runtime.precision, versions())

    def stop(self):
        """Give up the work, so that what is unfinished is removed before this process is ended."""
        self._stopped = True

    def plan(self, source, seconds, last):
        """The `Segment` of the film `source` that follows `last`, or None behind the last one."""
        with sendable():
            place = last.number if last else -1
            known, plan = self._plans.pop(str(source), (None, None))
            if known != place:
                radius = self._upscaler.spec.frames // 2
                plan = _segments(source, radius, seconds, last)
            segment = next(plan, None)
            if segment is not None:
                self._plans[str(source)] = segment.number, plan
            while len(self._plans) > PLANS:
                self._plans.pop(next(iter(self._plans)))[1].close()
            return segment

    def work(self, source, target, encoder, segment, path):
        """Enlarge a `Segment` of the film `source` into the file `path`; returns a `Done` with a SegmentFile."""
        with sendable():
            begin, worker = time.perf_counter(), self._worker(source, target, encoder)
            before = dict(worker.stages)
            self._go_on()
            file = worker.work(segment, path, self._go_on)
            stages = {name: spent - before[name] for name, spent in worker.stages.items()}
            pixels = segment.frames * worker.info.width * worker.info.height
            return Done(file, stages, time.perf_counter() - begin, pixels)

    def picture(self, source, target, place):
        """Enlarge a picture, which grows in the folder `place`; returns a `Done` with warnings."""
        with sendable():
            begin, clocks = time.perf_counter(), Clocks()
            self._go_on()
            with clocks.stage("decode"):
                picture = read_picture(source)
            with clocks.stage("network"):
                larger = self._upscaler.picture(picture)
            with clocks.stage("encode"):
                warnings = _written(place, target, larger)
            warnings = [*(f"{source}: {warning}" for warning in picture.warnings), *warnings]
            pixels = picture.pixels.shape[0] * picture.pixels.shape[1]
            return Done(warnings, clocks.stages, time.perf_counter() - begin, pixels)

    def join(self, source, target, segments, files, journal, delay, options):
        """Put the `files` of all segments together as the film `target`; returns a `Done` with warnings."""
        with sendable():
            begin, clocks = time.perf_counter(), Clocks()
            self._go_on()
            temporary = temporary_beside(Path(journal).with_name(f"film{Path(target).suffix}"))
            target, joined = Path(target), partial(note_joined, journal, source)
            if is_noted(journal, target):
                return Done([], clocks.stages, time.perf_counter() - begin, 0)  # by one that was lost just afterwards
            with clocks.stage("encode"):
                warnings = join(source, target, segments, files, temporary, delay=delay, whole=joined, **options)
            return Done(warnings, clocks.stages, time.perf_counter() - begin, 0)

    def _go_on(self, *frames):
        if self._stopped:
            raise CommandError("The work was given up.")

    def _worker(self, source, target, encoder):
        """The SegmentWorker of a film, which stays open until another film comes."""
        film = str(source), str(target)
        if self._film is None or self._film[0] != film:
            self._film = None
            self._open.close()
            worker = SegmentWorker(source, self._upscaler, target, **encoder)
            self._film = film, self._open.enter_context(worker)
        return self._film[1]


def versions():
    """What decides, beside the weights, which pixels and packets come out."""
    import av

    return {"video-super-resolution": __version__, **{name: list(v) for name, v in av.library_versions.items()}}


def _segments(source, radius, seconds, last):
    with FilmFrames(source, radius) as film:
        yield from Planner(film, radius, seconds, last)


def _written(place, target, picture):
    """Warnings of writing a picture in the folder `place` and then giving it its name."""
    temporary = temporary_beside(Path(place) / Path(target).name)
    try:
        warnings = write_picture(temporary, picture)
        put_in_place(temporary, target)
    except PictureError as error:
        raise PictureError(str(error).replace(str(temporary), str(target))) from error
    finally:
        temporary.unlink(missing_ok=True)
    return warnings


@contextmanager
def sendable():
    """Inside, an error becomes one that another process can be told of."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        if isinstance(error, PictureError):  # which is no fault of the other pictures
            raise PictureError(str(error)) from None
        raise CommandError(sentence(error)) from None
