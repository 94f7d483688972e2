"""The journal of work on a film: what it is made of, how it is divided, and what of it is finished.

One JSON object a line, each on the disk before the work goes on, so that after a power cut at most the last is torn:

    {"journal": 1, "identity": {...}}      the input, the weights and the options, which must be the same to go on
    {"segment": {...}}                     a `common.segments.Segment`, in the order of the film
    {"planned": true}                      there are no further ones
    {"finished": 3, "bytes": ..., ...}     segment 3 is done, and its file has that size
    {"joined": ...}                        the whole film is done, has that size in bytes and is about to get its name
"""

import hashlib
import json
import os
from dataclasses import asdict

from common import __version__
from common.cli import CommandError
from common.files import put_in_place, temporary_beside
from common.segment_work import SegmentFile
from common.segments import MOST_FRAMES, Segment, SegmentError

VERSION = 1
NETWORK = {"--model", "--scale", "--motion"}  # options that choose the weights, too
SAMPLES = 64  # of a film, by which another one is told from it
SAMPLE_BYTES = 1 << 16


class Journal:
    """The journal in the file `path`, which is made if there is none. Use as a context manager.

    identity: {what it is: value}, as `identity_of` gives it. segments: those planned so far; planned: whether they are
    all. finished: {number: SegmentFile}. joined: size of the joined film in bytes, or None.
    Raises OtherWorkError if the journal in the file has another identity, or is damaged.
    """

    def __init__(self, path, identity):
        self.path = path
        self.segments, self.finished = [], {}
        self.planned, self.joined = False, None
        lines = self._read() if path.exists() else []
        if lines:
            self._check_identity(lines[0], identity)
        for number, line in enumerate(lines[1:], 2):
            self._take(line, number)
        self._write_anew([{"journal": VERSION, "identity": identity}, *lines[1:]])
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed with the journal

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def add(self, segment):
        """A further segment is planned."""
        self._note({"segment": segment.to_dict()})
        self.segments.append(segment)

    def end(self):
        """The last segment is planned."""
        self._note({"planned": True})
        self.planned = True

    def finish(self, number, file):
        """Segment `number` is in its `SegmentFile`."""
        self._note({"finished": number, **asdict(file)})
        self.finished[number] = file

    def join(self, size):
        """The film is joined and has `size` bytes."""
        self._note({"joined": size})

    @property
    def frames_finished(self):
        return sum(segment.frames for segment in self.segments if segment.number in self.finished)

    def _note(self, entry):
        _append(self._file, entry)

    # Reading

    def _read(self):
        """The entries of the file, without a last one that was torn."""
        texts = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        entries = []
        for number, text in enumerate(texts[:-1], 1):  # what is behind the last end of a line is nothing, or torn
            try:
                entry = json.loads(text)
            except (ValueError, RecursionError):
                entry = None
            if not isinstance(entry, dict):
                raise self._damage(number)
            entries.append(entry)
        return entries

    def _take(self, entry, line):
        match entry:
            case {"segment": dict(fields)} if not self.planned:
                self._take_segment(fields, line)
            case {"planned": True} if self.segments:
                self.planned = True
            case {"finished": int(number), "bytes": int(size), "delay": int(delay)} if (
                0 <= number < len(self.segments) and 0 <= delay < MOST_FRAMES
            ):
                self.finished[number] = SegmentFile(size, delay)
            case {"joined": int(size)}:
                self.joined = size
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
        return OtherWorkError(f"{self.path} is damaged in line {line}{why}; --overwrite begins anew.")

    def _check_identity(self, entry, identity):
        if entry.get("journal") != VERSION or not isinstance(entry.get("identity"), dict):
            raise self._damage(1)
        before = entry["identity"]
        changed = [key for key in identity if before.get(key) != identity[key]]
        if set(changed) & NETWORK:
            changed = [key for key in changed if key != "weights"]  # which it does not surprise
        if changed:
            what = " and ".join(dict.fromkeys(difference(key, before.get(key), identity[key]) for key in changed))
            raise OtherWorkError(
                f"{self.path.parent} holds unfinished work {what}; the command of then goes on with it, and "
                "--overwrite begins anew."
            )

    def _write_anew(self, entries):
        temporary = temporary_beside(self.path)
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        put_in_place(temporary, self.path)


def note_joined(path, size):
    """The same as `Journal.join` of the journal in the file `path`, which is open elsewhere and not written to now."""
    with open(path, "ab", buffering=0) as file:
        _append(file, {"joined": size})


def noted_size(path):
    """The size that `note_joined` noted last, or None."""
    *_, last = path.read_text(encoding="utf-8").splitlines()
    return json.loads(last).get("joined")


def _append(file, entry):
    rest = json.dumps(entry).encode() + b"\n"
    while rest:  # a full disk takes a part, and refuses the rest
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


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


def sampled(path):
    """A hash of parts of a file, spread over it evenly, the first and the last among them."""
    content = hashlib.sha256()
    with open(path, "rb") as file:
        last = max(0, file.seek(0, os.SEEK_END) - SAMPLE_BYTES)
        for place in sorted({last * i // (SAMPLES - 1) for i in range(SAMPLES)}):
            file.seek(place)
            content.update(file.read(SAMPLE_BYTES))
    return content.hexdigest()


def difference(key, before, now):
    """How to call it that something was `before`, and is not any more."""
    if key.startswith("input"):
        return "on another film, or on this one before it changed"
    if key == "weights":
        return "with other weights"
    if key == "versions":
        return "by another version of this program or of its video libraries"
    if now is None:
        return f"with {key} {before}"
    if before is None:
        return f"without {key} {now}"
    return f"with {key} {before} instead of {now}"
