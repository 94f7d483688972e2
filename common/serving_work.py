"""The work behind the local page: limits, visitors and their jobs, and files that go when their visitor does.

It is that of the command line, done on a copy of what was dropped, so results, their names and all sentences are those
of `super_resolve.py` for the same options.
"""

import argparse
import os
import secrets
import shutil
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from common.comparison import Comparison
from common.errors import CommandError, sentence
from common.films import is_film
from common.images import picture_size
from common.upscaler import Upscaler
from common.video import open_video
from common.weights import weights_for

UPLOADS = "uploads"  # the folder of what was dropped
KEPT = 3600.0  # seconds that files are kept, if their visitor stays that long
NETWORKS_KEPT = 4  # loaded and ready for use
PATIENCE = 10.0  # seconds that work has to end when the page does
STOPPED = "Stopped."


@dataclass(frozen=True)
class Limits:
    """What is taken at most. megapixels: of a picture or frame. seconds: of a clip. megabytes: of a file."""

    megapixels: float = 25
    seconds: float = 60
    megabytes: float = 500

    def __str__(self):
        return f"{self.megapixels:g} megapixels, {self.seconds:g} seconds and {self.megabytes:g} MB"

    def check(self, name, *, width=0, height=0, seconds=0.0, size=0):
        """Raise CommandError, one sentence, if what is called `name` is above a limit; size: of the file in bytes."""
        for value, limit, above in (
            (size / 1e6, self.megabytes, "has {:.0f} MB, and this page takes up to {:g}"),
            (width * height / 1e6, self.megapixels, "has {:.1f} megapixels, and this page takes up to {:g}"),
            (float(seconds), self.seconds, "lasts {:.1f} seconds, and this page takes up to {:g}"),
        ):
            if value > limit:
                raise CommandError(f"{name} {above.format(value, limit)}; the command line has no such limit.")


@dataclass(frozen=True)
class Sight:
    """What was dropped. seconds: of a clip, None for a picture; frames: of a clip, None where nobody knows."""

    width: int
    height: int
    seconds: float | None = None
    frames: int | None = None

    def __str__(self):
        size = f"{self.width} × {self.height} pixels"
        return size if self.seconds is None else f"{size}, {self.seconds:.1f} seconds"


def look_at(path, limits):
    """The `Sight` of a picture or clip. Raises what reading it raises, and CommandError for more than the limits."""
    path = Path(path)
    limits.check(path.name, size=path.stat().st_size)
    if is_film(path, None):
        with open_video(path) as reader:
            info = reader.info
        sight = Sight(info.width, info.height, float(info.duration or 0), info.frame_count)
    else:
        sight = Sight(*picture_size(path))
    limits.check(path.name, width=sight.width, height=sight.height, seconds=sight.seconds or 0)
    return sight


class Watched(Upscaler):
    """The same as `lender`, whose network it uses, but it says how far it is and ends when it is told to.

    name, sight: of what is enlarged. tell: called with the fraction of a picture that is done, or with (frames done,
    frames or None). stop: an Event. Raises CommandError once `stop` is set, and for a clip that goes on for longer than
    it said it would.
    """

    def __init__(self, lender, name, sight, limits, tell, stop):
        vars(self).update(vars(lender), warnings=[], working_set=0, largest_tile=(0, 0))
        self.source, self.sight, self.limits, self.tell, self.stop = name, sight, limits, tell, stop
        self.frames, self.begin = 0, None

    def frame(self, window, **colours):
        shown = window[len(window) // 2].time
        self.begin = shown if self.begin is None else self.begin
        self.limits.check(self.source, seconds=shown - self.begin)
        larger = super().frame(window, **colours)
        self.frames += 1
        self.tell((self.frames, self.sight.frames and max(self.frames, self.sight.frames)))
        return larger

    def tiles(self, low, convert=lambda crop: crop):
        done, whole = 0, low.shape[0] * low.shape[1] * self.scale**2
        for (rows, columns), output in super().tiles(low, convert):
            if self.stop.is_set():
                raise CommandError(STOPPED)
            yield (rows, columns), output
            done += output.shape[0] * output.shape[1]
            if self.sight.seconds is None:
                self.tell(min(1.0, done / whole))


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the files that hold the result and the comparison, and sentences on how it was done."""

    result: Path
    comparison: Path
    summary: str
    warnings: list[str]


@dataclass
class Visitor:
    """One open page. folders: of its jobs; uploads: what was dropped; stop: set when its work shall end."""

    folders: list[Path] = field(default_factory=list)
    uploads: set[Path] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)


class Workshop:
    """Enlarges what visitors drop, each job in a new folder inside `folder`, as many at once as --jobs says.

    arguments: of the command line, which hold for all jobs. enlarge: a function of (source, arguments, upscaler,
    comparison) that returns the finished `Job`, as the command line does it.
    """

    def __init__(self, folder, arguments, enlarge, limits):
        self.folder, self.arguments, self.enlarge, self.limits = Path(folder), arguments, enlarge, limits
        self.upscaler = lru_cache(NETWORKS_KEPT)(self._upscaler)
        self.visitors = {}  # by session
        self.jobs, self.most, self.change = 0, arguments.jobs or 1, threading.Condition(threading.RLock())

    def look(self, session, upload):
        """The `Sight` of what visitor `session` has dropped. Raises CommandError, one sentence."""
        with self.change:
            self._visitor(session).uploads.add(Path(upload))
        with self._one_sentence(Path(upload).parent):
            return look_at(upload, self.limits)

    def work(self, session, upload, choice, tell):
        """Enlarge `upload` for visitor `session`; returns an `Outcome`.

        choice: {"model", "scale", "framework", "precision"} as the flags of these names. tell: that of `Watched`.
        Raises CommandError, the sentence of the command line.
        """
        with self._job(session) as (folder, stop), self._one_sentence(folder):
            return self._enlarged(folder, Path(upload), choice, tell, stop)

    def stop(self, session):
        """Let the work of a visitor end, at the next tile if it has begun."""
        with self.change:
            if session in self.visitors:
                self.visitors[session].stop.set()
                self.change.notify_all()

    def leave(self, session):
        """Forget a visitor who has closed the page, and remove what that visitor dropped and got."""
        with self.change:
            self.stop(session)
            if visitor := self.visitors.pop(session, None):
                others = set().union(*(other.uploads for other in self.visitors.values()))
                for upload in visitor.uploads - others:  # what two have dropped is there once
                    upload.unlink(missing_ok=True)
                for folder in visitor.folders:
                    remove(folder)

    def sweep(self):
        """Remove what is too old, results and what was dropped."""
        with self.change:
            for visitor in self.visitors.values():
                visitor.folders = [folder for folder in visitor.folders if not self._removed(folder)]
            for upload in (self.folder / UPLOADS).glob("*"):
                self._removed(upload)

    @staticmethod
    def _removed(path):
        """Whether `path` was too old, and so removed."""
        is_old = time.time() - path.stat().st_mtime > KEPT
        if is_old:
            remove(path)
        return is_old

    def close(self):
        """End all work, and wait a little for it; what comes of it then is not kept."""
        with self.change:
            for session in self.visitors:
                self.stop(session)
            self.visitors = {}
            self.change.wait_for(lambda: not self.jobs, PATIENCE)

    def file(self, folder, name):
        """The path of a result by the names of its folder and file, or None if there is none."""
        with self.change:
            for visitor in self.visitors.values():
                for path in visitor.folders:
                    if path.name == folder and (path / name) in path.iterdir():
                        return path / name
        return None

    @contextmanager
    def _job(self, session):
        """Yields (a new folder, the Event that ends the job) in its turn; the folder is kept if all goes well."""
        folder = self.folder / secrets.token_urlsafe(16)
        with self.change:
            visitor = self._visitor(session)
            visitor.stop = stop = threading.Event()
            self.change.wait_for(lambda: self.jobs < self.most or stop.is_set())
            if stop.is_set():
                raise CommandError(STOPPED)
            self.jobs += 1
        try:
            folder.mkdir()
            yield folder, stop
            with self.change:
                if self.visitors.get(session) is not visitor:
                    raise CommandError(STOPPED)
                visitor.folders.append(folder)
        except BaseException:
            remove(folder)
            raise
        finally:
            with self.change:
                self.jobs -= 1
                self.change.notify_all()

    @contextmanager
    def _one_sentence(self, folder):
        """Turn an error into the sentence of the command line, in which files of `folder` go by their names alone."""
        try:
            yield
        except Exception as error:
            if self.arguments.debug:
                traceback.print_exc()
            raise CommandError(bare(sentence(error), folder)) from error

    def _enlarged(self, folder, upload, choice, tell, stop):
        if not upload.exists():
            raise CommandError(f"{upload.name} is no longer here; drop it again.")
        source = folder / upload.name
        try:
            os.link(upload, source)
        except OSError:  # on another disk
            shutil.copyfile(upload, source)
        sight = look_at(source, self.limits)
        upscaler = Watched(self.upscaler(**choice), source.name, sight, self.limits, tell, stop)
        page = folder / f"{source.stem}_{upscaler.name}_x{upscaler.scale}.html"
        arguments = argparse.Namespace(**{**vars(self.arguments), **choice, "quiet": True})
        job = self.enlarge(source, arguments, upscaler, Comparison(page, source))
        source.unlink()
        return Outcome(job.target, page, upscaler.summary(), [bare(warning, folder) for warning in job.warnings])

    def _upscaler(self, model, scale, framework, precision):
        return Upscaler(weights_for(model, scale), framework, self.arguments.device, precision, self.arguments.tile)

    def _visitor(self, session):
        return self.visitors.setdefault(session, Visitor())


def bare(sentence, folder):
    """`sentence` with the names alone of the files in `folder`."""
    return sentence.replace(f"{folder}{os.sep}", "")


def remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
