"""Enlarging a film so that no power cut costs more than a segment of it: `super_resolve.py --resume`."""

import sys
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from common.errors import CommandError, UsageError
from common.film_frames import FilmFrames
from common.films import FilmJob
from common.joining import join
from common.journal import Journal, OtherWorkError, identity_of
from common.segment_work import SegmentWorker
from common.segments import SECONDS, Planner
from common.stages import ahead
from common.video import becomes_pictures, is_pictures
from common.video_codecs import LOSSLESS
from common.video_writer import check_target
from common.workplace import Workplace, is_full

PLANNED_AHEAD = 2  # segments
# The least share of its size in memory that a frame has in a file, by which a disk is found too small from the start.
LEAST_SHARE, LEAST_SHARE_LOSSLESS = 1 / 400, 1 / 30


class ResumableFilmJob(FilmJob):
    """Enlarges a film segment by segment; what is finished is kept in a folder beside the result until all of it is.

    seconds: of film in a segment, at the most. Other arguments: as for `common.films.FilmJob`. frames_kept: frames that
    earlier runs had finished.
    """

    def __init__(self, upscaler, overwrite=False, quiet=False, *, seconds=None, **encoder):
        super().__init__(upscaler, overwrite, quiet, **encoder)
        self.seconds = seconds or SECONDS
        self.frames_kept = 0

    def report(self):
        """What was done, for --report; the speed is that of this run."""
        report = super().report()
        speed = (self.frames_out - self.frames_kept) / max(report["seconds"], 1e-9)
        return {**report, "fps": round(speed, 3), "frames_kept": self.frames_kept}

    def _check_options(self, source, target):
        super()._check_options(source, target)
        if source in (None, "-") or target == "-":
            raise UsageError("--resume is for films in files.")
        if is_pictures(source) or (target is not None and becomes_pictures(target)):
            raise UsageError("--resume is for films in files, and not for numbered pictures.")

    def _film(self, source, target, name):
        self.source, self.target = source, Path(target).absolute()  # of a link that itself, not what it leads to
        place, identity = Workplace(self.target), self._identity(source)
        if not place.path.exists():
            check_target(self.target, source, self.overwrite)
        with place, self._journal(place, identity) as journal:
            if journal.is_joined(self.target):
                self._count(journal)  # what was killed had nothing left to do but to clear up
            else:
                with self._keeping(place, journal):
                    check_target(self.target, source, self.overwrite)
                    self._work(source, place, journal)
            place.remove()
        self.target = self.target.resolve()

    def _identity(self, source):
        upscaler = self.upscaler
        options = {"model": upscaler.name, "scale": upscaler.scale, "motion": getattr(upscaler.spec, "motion", None)}
        options |= {"framework": upscaler.framework, "precision": upscaler.runtime.precision}
        options |= {**self.encoder, "segment": float(self.seconds)}
        return identity_of(source, upscaler.weights, **options)

    def _journal(self, place, identity):
        """The journal of the earlier run, or, if there is none or --overwrite goes over it, a new one."""
        try:
            return Journal(place / "journal.jsonl", identity)
        except OtherWorkError:
            if not self.overwrite:
                raise
        place.clear()
        return Journal(place / "journal.jsonl", identity)

    @contextmanager
    def _keeping(self, place, journal):
        """Whatever ends the work inside, what is finished is kept, and it is said how to go on."""
        try:
            yield
        except BaseException as error:
            if not journal.finished:
                place.remove()
            elif isinstance(error, KeyboardInterrupt):
                print(f"Stopped: {self._kept(place, journal)}; the same command goes on from there.", file=sys.stderr)
            if is_full(error):
                raise self._full(place, journal) from error
            raise

    def _work(self, source, place, journal):
        place.sweep()
        with SegmentWorker(source, self.upscaler, self.target, **self.encoder) as worker:
            self.stages = worker.stages
            self._drop_lost_files(place, journal, worker.suffix)
            self.frames_kept = journal.frames_finished
            self._check_room(place, journal, worker)
            with self._bar(worker.info, self.frames_kept) as bar, closing(self._plan(source, journal)) as plan:
                for segment in plan:
                    if segment.number not in journal.finished:
                        path = file_in(place, segment.number, worker.suffix)
                        journal.finish(segment.number, worker.work(segment, path, bar.update))
                        if place.room < journal.finished[segment.number].bytes:  # the next may be as large
                            raise self._full(place, journal)
            suffix = worker.suffix
        if place.room < sum(file.bytes for file in journal.finished.values()):
            raise self._full(place, journal)
        with self.stage("encode"):
            self._join(source, place, journal, suffix)
        self._count(journal)

    def _plan(self, source, journal):
        """All segments: those in the journal, and those that are planned while the network works."""
        yield from list(journal.segments)
        if journal.planned:
            return
        radius, last = self.upscaler.spec.frames // 2, journal.segments[-1] if journal.segments else None
        with FilmFrames(source, radius) as film:
            with closing(ahead(Planner(film, radius, self.seconds, last), PLANNED_AHEAD)) as further:
                for segment in further:
                    journal.add(segment)
                    yield segment
            journal.end()

    def _join(self, source, place, journal, suffix):
        self.warnings += join(
            source,
            self.target,
            journal.segments,
            [file_in(place, segment.number, suffix) for segment in journal.segments],
            place / f"film{self.target.suffix}",
            delay=max(file.delay for file in journal.finished.values()),
            whole=partial(journal.join, source),
            scale=self.upscaler.scale,
            overwrite=self.overwrite,
            **self.encoder,
        )

    def _count(self, journal):
        self.frames_in = self.frames_out = sum(segment.frames for segment in journal.segments)

    @staticmethod
    def _drop_lost_files(place, journal, suffix):
        for number, file in list(journal.finished.items()):
            if not file.is_in(file_in(place, number, suffix)):
                del journal.finished[number]

    # The disk

    def _check_room(self, place, journal, worker):
        """Raise CommandError if the film cannot fit: there must be room for all segments and for the joined film."""
        info, done = worker.info, journal.frames_finished
        if not info.frame_count:
            return
        stored = sum(file.bytes for file in journal.finished.values())
        per_frame = stored / done if done else worker.bytes_in_memory * least_share(worker.codec)
        needed = per_frame * (max(0, info.frame_count - done) + info.frame_count)
        if needed > place.room:
            raise CommandError(
                f"{self.target.parent} has {in_megabytes(place.room)} left, and this film with its segments is going "
                f"to need {in_megabytes(needed)} or more; make room, or choose another --output."
            )

    def _full(self, place, journal):
        kept = self._kept(place, journal) if journal.finished else "nothing was finished"
        return CommandError(f"The disk of {self.target} is full: {kept}; with more room the same command goes on.")

    @staticmethod
    def _kept(place, journal):
        return f"{journal.frames_finished} frames are finished and kept in {place.path}"


def file_in(place, number, suffix):
    """The path of the file of segment `number`."""
    return place / f"{number:05d}{suffix}"


def least_share(codec):
    """The least share of its size in memory that a frame may be expected to have in a file."""
    return LEAST_SHARE_LOSSLESS if codec in LOSSLESS else LEAST_SHARE


def in_megabytes(size):
    return f"{size / (1 << 20):,.0f} MB"
