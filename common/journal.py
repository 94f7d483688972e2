"""The journal of work on a film: what it is made of, how it is divided, and what of it is finished.

A `common.sealed.SealedFile` with the lines

    {"journal": 2, "identity": {...}}      the input, the weights and the options, which must be the same to go on
    {"segment": {...}}                     a `common.segments.Segment`, in the order of the film
    {"planned": true}                      there are no further ones
    {"finished": 3, "bytes": ..., ...}     segment 3 is done, in a file of that size and content
    {"joined": ..., "time": ...}           the whole film is done, in a file of that size in bytes, last changed at that
                                           time in nanoseconds, which is about to get its name
"""

import os
from contextlib import closing
from dataclasses import asdict

from common import __version__
from common.errors import CommandError
from common.files import sampled
from common.sealed import DamageError, SealedFile
from common.segment_work import SegmentFile
from common.segments import MOST_FRAMES, Segment, SegmentError

VERSION = 2
NETWORK = {"--model", "--scale", "--motion"}  # options that choose the weights, too


class Journal:
    """The journal in the file `path`, which is made if there is none. Use as a context manager.

    identity: {what it is: value}, as `identity_of` gives it. segments: those planned so far; planned: whether they are
    all. finished: {number: SegmentFile}. joined: the line of the joined film, or None.
    Raises OtherWorkError if the journal in the file has another identity, or is damaged; OSError.
    """

    def __init__(self, path, identity):
        self.path, self._identity = path, identity
        self.segments, self.finished = [], {}
        self.planned, self.joined = False, None
        self._file = SealedFile(path)
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def add(self, segment):
        """A further segment is planned."""
        self._file.add({"segment": segment.to_dict()})
        self.segments.append(segment)

    def end(self):
        """The last segment is planned."""
        self._file.add({"planned": True})
        self.planned = True

    def finish(self, number, file):
        """Segment `number` is in its `SegmentFile`."""
        self._file.add({"finished": number, **asdict(file)})
        self.finished[number] = file

    def join(self, source, path):
        """The enlarged film `source` is joined, in the file `path`, which is about to get another name.

        Raises CommandError if `source` is not what it was when the work on it began.
        """
        _check_unchanged(source, self._identity)
        self._file.add(_joined(path))

    def is_joined(self, path):
        """Whether the file `path`, which need not be there, is the joined film."""
        return os.path.lexists(path) and _joined(path) == self.joined

    @property
    def frames_finished(self):
        return sum(segment.frames for segment in self.segments if segment.number in self.finished)

    # Reading

    def _read(self):
        line = 0
        try:
            for line, entry in self._file.entries():
                if line == 1:
                    self._check_identity(entry)
                else:
                    self._take(entry, line)
        except DamageError as error:
            raise self._damage(error.line) from None
        if not line:
            self._file.add({"journal": VERSION, "identity": self._identity})

    def _take(self, entry, line):
        match entry:
            case {"segment": dict(fields)} if not self.planned:
                self._take_segment(fields, line)
            case {"planned": True} if self.segments:
                self.planned = True
            case {"finished": int(number), "bytes": int(size), "delay": int(delay), "content": str(content)} if (
                0 <= number < len(self.segments) and 0 <= delay < MOST_FRAMES
            ):
                self.finished[number] = SegmentFile(size, delay, content)
            case {"joined": int(), "time": int()}:
                self.joined = entry
            case _:
                raise self._damage(line)

    def _take_segment(self, fields, line):
        try:
            segment = Segment.from_dict(fields)
        except SegmentError as error:
            raise self._damage(line, f", {error}") from None
        first = self.segments[-1].first + self.segments[-1].frames if self.segments else 0
        if (segment.number, segment.first) != (len(self.segments), first):
            raise self._damage(line)
        self.segments.append(segment)

    def _damage(self, line, why=""):
        if line == 1:
            why = ", or was written by another version of this program"
        return OtherWorkError(f"{self.path} is damaged in line {line}{why}; --overwrite begins anew.")

    def _check_identity(self, entry):
        match entry:
            case {"journal": number, "identity": dict(before)} if number == VERSION:
                pass
            case _:
                raise self._damage(1)
        identity = self._identity
        changed = [key for key in identity if before.get(key) != identity[key]]
        if set(changed) & NETWORK:
            changed = [key for key in changed if key != "weights"]  # which it does not surprise
        if changed:
            what = " and ".join(dict.fromkeys(difference(key, before.get(key), identity[key]) for key in changed))
            raise OtherWorkError(
                f"{self.path.parent} holds unfinished work {what}; the command of then goes on with it, and "
                "--overwrite begins anew."
            )


def note_joined(journal, source, path):
    """The same as `Journal.join` of the journal in the file `journal`, which is open elsewhere and not added to now."""
    with closing(SealedFile(journal)) as file:
        (_, first), *_ = file.entries()
        _check_unchanged(source, first["identity"])
        file.add(_joined(path))


def is_noted(journal, path):
    """Whether the file `path`, which need not be there, is the film that `note_joined` noted last."""
    last = None
    with closing(SealedFile(journal)) as file:
        for _, entry in file.entries():
            last = entry
    return os.path.lexists(path) and _joined(path) == last


def _check_unchanged(source, identity):
    """Raise CommandError if the film `source` is not that with an identity any more; that it was touched is nothing."""
    if os.stat(source).st_size != identity["input size"] or sampled(source) != identity["input content"]:
        raise CommandError(f"{source} is not the film any more that it was when the work on it began.")


def _joined(path):
    """The line of the joined film: renaming changes neither its size nor its time."""
    status = os.lstat(path)
    return {"joined": status.st_size, "time": status.st_mtime_ns}


class OtherWorkError(CommandError):
    """There is unfinished work, but not this; the message is one sentence that says what differs."""


def identity_of(source, weights, **options):
    """What must be the same for work to go on: {what it is: value}.

    source: path of the film. weights: `common.weights.Weights`. options: by their flags, those that decide pixels or
    their encoding; tiles, threads and devices do not.
    """
    import av

    status = os.stat(source)
    versions = {"program": __version__, **{name: list(version) for name, version in av.library_versions.items()}}
    return {
        "input size": status.st_size,
        "input time": status.st_mtime_ns,
        "input content": sampled(source),
        "weights": weights.fingerprint(),
        **{f"--{name}": value for name, value in options.items()},
        "versions": versions,
    }


def difference(key, before, now):
    """How to call it that something was `before`, and is not any more."""
    if key.startswith("input"):
        return "on another film, or on this one before it changed"
    if key == "weights":
        return "with other weights"
    if key == "versions":
        return "by another version of this program or of its video libraries"
    if not (before is None or isinstance(before, (int, float, str))) or len(str(before)) > 100:
        return f"with another {key}"
    if now is None:
        return f"with {key} {before}"
    if before is None:
        return f"without {key} {now}"
    return f"with {key} {before} instead of {now}"
