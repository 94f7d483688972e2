"""Enlarging films, pictures and folders of them on many machines: `super_resolve.py --cluster`.

Each film has a thread here, which keeps its journal and waits; the crew does the work, planning and joining as well.
Journal, segments and result are those of `--resume`, so either goes on where the other was stopped.
"""

import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

from common.cluster import Crew, DismissedError
from common.errors import CommandError, UsageError, sentence
from common.films import is_film
from common.images import PictureError, find_pictures
from common.jobs import Job
from common.progress import ProgressBar
from common.resuming import ResumableFilmJob, file_in
from common.segment_work import SegmentWorker
from common.stills import StillsJob
from common.stills import check_target as check_still
from common.video_frames import VideoError
from common.video_reader import VIDEO_SUFFIXES, VideoReader, is_pattern
from common.video_writer import check_target as check_film
from common.video_writer import holds_films
from common.workplace import Workplace, is_full

FILMS_AT_ONCE = 256  # each of which is a thread and an open journal
AHEAD = 2  # tasks that lie ready for each worker


class ClusterJob(Job):
    """Enlarges a film, a picture or a folder of them on a Ray cluster; what is finished is kept until all of it is.

    address: as for `common.cluster.Crew`. weights: `common.weights.Weights`. network: further options of an
    `common.upscaler.Upscaler`. threads: CPUs of a worker. seconds: of film in a segment, at the most. encoder: codec,
    crf, preset and rate of films; None leaves the choice to it.
    """

    def __init__(
        self, address, weights, network, threads=None, overwrite=False, quiet=False, *, seconds=None, **encoder
    ):
        super().__init__(RemoteNetwork(weights, network["framework"]), overwrite, quiet)
        self._seconds, self._encoder = seconds, encoder
        self._crew = Crew(address, weights, **network, threads=threads)
        self._jobs = []
        self._failures = []  # jobs that came to nothing

    def run(self, source, target=None):
        """Enlarge `source` into `target`, both paths, and both folders if one is; returns the path of the result.

        Without a target it goes beside the source. Raises CommandError, VideoError or PictureError.
        """
        if source in (None, "-") or is_pattern(source) or target == "-":
            raise UsageError("--cluster is for films and pictures in files, and for folders of them.")
        self.source, source = source, Path(source).absolute()
        todo = self._folder(source, target) if source.is_dir() else [self._file(source, target)]
        if todo:
            self._crew.paths = [source, next(path for path in self.target.parents if path.exists())]
            try:
                self._run_all(todo)
            except KeyboardInterrupt:
                self._say_how_to_go_on()
                raise
        for job in self._jobs:
            self._count(job)
        return self.target

    @property
    def failure(self):
        films = sum(isinstance(job, ClusterFilmJob) for job in self._failures)
        stills = [job for job in self._jobs if isinstance(job, ClusterStillsJob)]
        pictures = sum(job.expected - job.frames_out if job in self._failures else job.failed for job in stills)
        return f"{said(films, pictures)} could not be enlarged."

    def report(self):
        """What was done, for --report; the speed is that of this run, the stages' seconds those of all workers."""
        report = super().report()
        kept = sum(job.frames_kept for job in self._jobs if isinstance(job, ClusterFilmJob))
        speed = (self.frames_out - kept) / max(report["seconds"], 1e-9)
        crew, busy, tasks = self._crew, sum(job.busy for job in self._jobs), sum(job.tasks for job in self._jobs)
        about = {"machines": len(crew.nodes), "workers": crew.most, "workers_lost": crew.lost}
        about |= {"tasks": tasks, "busy_seconds": round(busy, 3)}
        return {**report, "fps": round(speed, 3), "frames_kept": kept, "cluster": about}

    # What there is to do: (job, source, target) each

    def _file(self, source, target):
        if is_film(source, target):
            job = self._film_job()
            self.target = Path(target or job._beside(source)).absolute()
            job._check_options(source, self.target)
            if not Workplace(self.target).path.exists():
                check_film(self.target, source, self.overwrite)
        else:
            self._refuse_film_options()
            job = self._stills_job(1)
            self.target = Path(target or job._beside(source)).absolute()
            check_still(source, self.target, self.overwrite)
        return job, source, self.target

    def _folder(self, source, target):
        films, pictures = find_films(source), find_pictures(source)
        if not films and not pictures:
            raise CommandError(f"{source} holds neither films nor pictures.")
        if not films:
            self._refuse_film_options()
        if target is not None and is_film(None, target):
            raise UsageError("--cluster makes no film of a folder of pictures.")
        self.target = Path(target or StillsJob(self.upscaler)._beside(source)).absolute()
        if self.target.exists() and self.target.samefile(source):
            raise CommandError(f"{target} is the folder of the input itself; the result needs another one.")
        todo = [(self._film_job(), film, result) for film, result in self._films(films)]
        for job, film, result in todo:
            job._check_options(film, result)
        return [*todo, *([(self._stills_job(len(pictures)), source, self.target)] if pictures else [])]

    def _films(self, films):
        """(film, result) of those that are not finished."""
        results = film_names(films, self.target)
        todo = [
            (film, result)
            for film, result in zip(films, results, strict=True)
            if self.overwrite or not result.exists() or Workplace(result).path.exists()
        ]
        if len(todo) < len(films):
            self.warnings.append(f"{len(films) - len(todo)} of {len(films)} films were finished before.")
        return todo

    def _film_job(self):
        job = ClusterFilmJob(self._crew, len(self._jobs), self.upscaler, self.overwrite, **self._options)
        self._jobs.append(job)
        return job

    def _stills_job(self, pictures):
        self._jobs.append(ClusterStillsJob(self._crew, len(self._jobs), pictures, self.upscaler, self.overwrite))
        return self._jobs[-1]

    @property
    def _options(self):
        return {"seconds": self._seconds, **self._encoder}

    def _refuse_film_options(self):
        """Raise UsageError if there are options of films."""
        flags = {"seconds": "--segment", **{name: f"--{name}" for name in self._encoder}}
        if given := [flags[name] for name, value in self._options.items() if value is not None]:
            raise UsageError(f"{' and '.join(given)} are for films, and there are none.")

    # Having it done

    def _run_all(self, todo):
        films = sum(isinstance(job, ClusterFilmJob) for job, *_ in todo)
        pictures = sum(job.expected for job, *_ in todo if isinstance(job, ClusterStillsJob))
        with self._crew as crew, Progress(f"Enlarging {said(films, pictures)}", self.quiet, crew) as progress:
            self.upscaler.runtime = crew.equipment
            for job, source, _ in todo:
                job.progress = progress
                job.look_at(source)
            with ThreadPoolExecutor(min(len(todo), FILMS_AT_ONCE)) as threads:
                ended, running = [], []
                for job, source, target in todo:
                    running.append(threads.submit(job.run, source, target))
                    running[-1].add_done_callback(lambda future: (ended.append(future), crew.nudge()))
                try:
                    crew.serve(lambda: len(ended) == len(todo))
                except BaseException:
                    crew.dismiss()
                    threads.shutdown(cancel_futures=True)
                    raise
        self.warnings += crew.warnings
        if crew.lost:
            self.warnings.append(f"Workers lost: {crew.lost}; what they were at was done by others.")
        for (job, source, _), future in zip(todo, running, strict=True):
            if error := future.exception():
                if len(todo) == 1:
                    raise error
                self._failures.append(job)
                self.failed += 1
                self.warnings.append(f"{source}: {sentence(error)}")

    def _say_how_to_go_on(self):
        frames = sum(job.frames_done for job in self._jobs if isinstance(job, ClusterFilmJob))
        pictures = sum(job.frames_out for job in self._jobs if isinstance(job, ClusterStillsJob))
        if kept := counted((frames, "frame"), (pictures, "picture")):
            print(f"Stopped: {kept} finished and kept; the same command goes on from there.", file=sys.stderr)

    def _count(self, job):
        self.frames_in += job.frames_in
        self.frames_out += job.frames_out
        self.failed += job.failed
        for name, spent in job.stages.items():
            self.stages[name] += spent
        named = f"{job.source}: " if len(self._jobs) > 1 and isinstance(job, ClusterFilmJob) else ""
        self.warnings += [f"{named}{warning}" for warning in job.warnings]


class ClusterFilmJob(ResumableFilmJob):
    """Enlarges one film by a crew. order: by which tasks are taken up. Other arguments: as for ResumableFilmJob.

    progress: a `Progress`, which must be given before the work. busy: seconds that workers spent on `tasks`,
    which are segments and the joining. frames_done: those in finished segments.
    """

    def __init__(self, crew, order, upscaler, overwrite, **options):
        super().__init__(upscaler, overwrite, quiet=True, **options)
        self._crew, self._order, self.progress, self.busy = crew, order, None, 0.0
        self.tasks = self.frames_done = 0

    def look_at(self, source):
        """Tell the progress what is to be expected; what cannot be opened will say so when it is its turn."""
        with suppress(VideoError, OSError), VideoReader(source) as reader:
            info = reader.info
            self.progress.expect(source, (info.frame_count or 0) * info.width * info.height)

    def _work(self, source, place, journal):
        place.sweep()
        with SegmentWorker(source, self.upscaler, self.target, **self.encoder) as worker:
            suffix, pixels = worker.suffix, worker.info.width * worker.info.height
            self._drop_lost_files(place, journal, suffix)
            self.frames_kept = self.frames_done = journal.frames_finished
            self._check_room(place, journal, worker)
        self.progress.add(source, self.frames_kept * pixels)
        try:
            self._all_segments(source, place, journal, suffix)
            if place.room < sum(file.bytes for file in journal.finished.values()):
                raise self._full(place, journal)
            self._join(source, place, journal, suffix)
        except DismissedError:
            place.sweep()
            raise
        self._count(journal)
        self.progress.finish(source)

    def _all_segments(self, source, place, journal, suffix):
        """Have all segments planned, and those done that are not in the journal yet."""

        def submit(segment):
            path = file_in(place, segment.number, suffix)
            return self._submit("work", source, self.target, self.encoder, segment, path)

        doing = {submit(segment): segment for segment in journal.segments if segment.number not in journal.finished}
        planning = None
        while True:
            if not journal.planned and planning is None and len(doing) < AHEAD * self._crew.size + 1:
                last = journal.segments[-1] if journal.segments else None
                planning = self._submit("plan", source, self.seconds, last)
            awaited = [*doing, *([planning] if planning else [])]
            if not awaited:
                return
            for future in wait(awaited, return_when=FIRST_COMPLETED).done:
                if future is planning:
                    planning, segment = None, future.result()
                    if segment is None:
                        journal.end()
                    else:
                        journal.add(segment)
                        doing[submit(segment)] = segment
                else:
                    self._finish(source, place, journal, doing.pop(future), future.result())

    def _finish(self, source, place, journal, segment, done):
        journal.finish(segment.number, done.result)
        self.frames_done += segment.frames
        self._take(source, done)
        if place.room < done.result.bytes:  # the next may be as large
            raise self._full(place, journal)

    def _join(self, source, place, journal, suffix):
        files = [file_in(place, segment.number, suffix) for segment in journal.segments]
        delay = max(file.delay for file in journal.finished.values())
        options = {"scale": self.upscaler.scale, "overwrite": self.overwrite, **self.encoder}
        known = source, self.target, journal.segments, files, journal.path, delay, options
        self.warnings += self._take(source, self._submit("join", *known).result())

    def _submit(self, method, *arguments):
        return self._crew.submit(self._order, method, *arguments)

    def _take(self, source, done):
        """Count what a task took, and return its result."""
        take_time(self, done)
        self.progress.add(source, done.pixels)
        return done.result


class ClusterStillsJob(StillsJob):
    """Enlarges pictures by a crew; expected: how many. Other arguments and attributes: as for ClusterFilmJob."""

    def __init__(self, crew, order, expected, upscaler, overwrite):
        super().__init__(upscaler, overwrite, quiet=True, resume=True)
        self._crew, self._order, self.expected = crew, order, expected
        self.progress, self.busy, self.tasks = None, 0.0, 0

    def look_at(self, source):
        """Nothing is known of the pictures before they are read: all are expected to be as large as those so far."""
        self.progress.expect(source, self.expected)

    def _file(self, source, target):
        check_still(source, target, self.overwrite)
        self._enlarge([(source, target)], Workplace(target), source)
        if self.failed:
            self.failed = 0
            raise PictureError(self.warnings.pop())
        return target

    def _files(self, todo):
        self.expected = len(todo)
        if todo:
            target = todo[0][1].parent
            self._enlarge(todo, Workplace(target), self.source)
        self.progress.finish(self.source)

    def _enlarge(self, todo, place, key):
        todo, expected, pixels, doing = iter(todo), len(todo), 0, {}
        with place:
            try:
                while True:
                    for picture, result in islice(todo, max(0, 2 * AHEAD * self._crew.size + 1 - len(doing))):
                        check_still(picture, result, self.overwrite)
                        doing[self._crew.submit(self._order, "picture", picture, result, place.path)] = picture
                    if not doing:
                        break
                    for future in wait(doing, return_when=FIRST_COMPLETED).done:
                        pixels += self._take(doing.pop(future), future)
                        self.progress.expect(key, expected * pixels / max(1, self.frames_in))
                        self.progress.add(key, 0)
            except OSError as error:
                raise self._full(place) if is_full(error) else error from None
            finally:
                place.remove()

    def _take(self, picture, future):
        """Count what became of a picture, and return its pixels."""
        self.frames_in += 1
        try:
            done = future.result()
        except PictureError as error:
            self.failed += 1
            self.warnings.append(str(error))
            return 0
        take_time(self, done)
        self.frames_out += 1
        self.warnings += done.result
        self.progress.add(self.source, done.pixels)
        return done.pixels

    def _full(self, place):
        return CommandError(f"The disk of {place.path.parent} is full; with more room the same command goes on.")


class RemoteNetwork:
    """What there is to know of a network that others hold, by the names of `common.upscaler.Upscaler`.

    function: device and precision, known when there is a worker.
    """

    def __init__(self, weights, framework):
        self.weights = weights
        self.name, self.spec, self.framework = weights.name, weights.network, framework
        self.runtime = SimpleNamespace(device="cluster", precision=None)
        self.working_set, self.largest_tile, self.warnings = 0, (0, 0), []

    @property
    def scale(self):
        return self.spec.scale


class Progress:
    """One bar for all films and pictures, in pixels of the input. Use as a context manager, from any thread."""

    def __init__(self, title, quiet, crew):
        self._bar, self._crew, self._lock = ProgressBar(title, quiet), crew, Lock()
        self._expected, self._done = {}, {}
        self._all, self._sum, self._finished = 0, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._bar.close()

    def expect(self, key, pixels):
        """A film or the pictures of a folder have that many pixels in all."""
        with self._lock:
            self._all += pixels - self._expected.get(key, 0)
            self._expected[key] = pixels

    def add(self, key, pixels):
        """So many of them are done."""
        with self._lock:
            self._done[key] = self._done.get(key, 0) + pixels
            self._sum += pixels
            self._show()

    def finish(self, key):
        """There are no more of them."""
        self.expect(key, self._done.get(key, 0))
        with self._lock:
            self._finished += 1
            self._show()

    def _show(self):
        fraction = self._sum / max(1, self._sum, self._all)
        self._bar(fraction, self._finished, {"workers": self._crew.size})


def take_time(job, done):
    """Count the seconds of a `common.cluster_worker.Done` as those of `job`."""
    job.busy, job.tasks = job.busy + done.seconds, job.tasks + 1
    for name, spent in done.stages.items():
        job.stages[name] += spent


def find_films(folder):
    """The films directly inside `folder`, known by their suffix, sorted by name, without hidden files."""
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(path for path in files if path.suffix.lower() in VIDEO_SUFFIXES)


def film_names(films, folder):
    """Path in `folder` of the result of each film: its own name, with .mkv where that kind of file is not written.

    Raises CommandError if two films would get the same.
    """
    names = [film.name if holds_films(film.suffix) else f"{film.stem}.mkv" for film in films]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"Two films of the folder would both be saved as {name}; rename one of them.")
    return [folder / name for name in names]


def said(films, pictures):
    """Such as "2 films and 1 picture"."""
    return counted((films, "film"), (pictures, "picture"))


def counted(*things):
    """(count, name) pairs in words, without those of which there are none."""
    return " and ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in things if count)
