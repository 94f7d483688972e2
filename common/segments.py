"""Segments of a film: pieces that can be enlarged one by one, in any order and place, with the result of one go.

A segment says which frames of the film are its own, and which before and after them the network must see. It begins
where a scene or a group of pictures does, if that makes it neither too short nor too long. Planning decodes the film
once, ahead of the network, which takes many times as long.
"""

import zlib
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain, islice
from math import isfinite
from typing import NamedTuple

import numpy as np

from common.video_reader import exact_seconds
from common.windows import CutDetector

SECONDS = 10.0  # of film in a segment, at the most
MOST_FRAMES = 300  # ... and frames
FEWEST_FRAMES = 2  # for H.264 wants something between two pictures that stand alone
MOST = 1 << 62  # of any number in a segment, which libraries keep in 64 bits
LEAST = 2  # a segment is at most this many times shorter than the longest, unless its film ends


class SegmentError(ValueError):
    """What is said to be a segment is none; the message is a part of a sentence."""


class InexactError(Exception):
    """The frames that were read are not those that the segment was planned for."""


class Moment(NamedTuple):
    """When a frame is shown: `pts` and `duration` in units of `time_base` seconds."""

    pts: int
    duration: int
    time_base: Fraction

    @property
    def time(self):
        return self.pts * self.time_base


@dataclass(frozen=True)
class Segment:
    """Some frames of a film that follow each other.

    number: of the segment in the film. first: number of its first frame in the film; frames: how many it has.
    before, after: how many neighbours of the same scene the network sees on either side.
    begin: the time of the first frame to be read, which is a neighbour or its own, in units of the stream.
    times: (time, duration) of each of its own frames in these units.
    cuts: places of new scenes among the frames to be read. change: of the `CutDetector` at its last frame.
    fingerprint: of the times and pixels of all frames to be read, by which they are known to be the right ones.
    damaged, concealed: frames of the film so far that were repeated or patched up by the decoder.
    warnings: sentences on what the reader found in these frames.
    """

    number: int
    first: int
    frames: int
    before: int
    after: int
    begin: int
    times: tuple[tuple[int, int], ...]
    cuts: tuple[int, ...]
    change: float
    fingerprint: int
    damaged: int = 0
    concealed: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def read(self):
        """Numbers in the film of the frames to be read, as a range."""
        return range(self.first - self.before, self.first + self.frames + self.after)

    def moments(self, time_base):
        """The `Moment` of each of its own frames; `time_base` is that of the stream."""
        return [Moment(pts, duration, time_base) for pts, duration in self.times]

    def to_dict(self):
        """The same as numbers, strings, lists and dictionaries for JSON, the times as runs of equal steps."""
        return {**asdict(self), "times": _runs(self.times)}

    @classmethod
    def from_dict(cls, fields):
        """The Segment that `to_dict` made `fields` of. Raises SegmentError if they describe none."""
        try:
            parts = {"times": _times(fields["times"]), **{key: tuple(fields[key]) for key in ("cuts", "warnings")}}
            segment = cls(**{**fields, **parts})
        except (TypeError, KeyError, ValueError) as error:
            raise SegmentError(f"no segment is described by it ({error})") from None
        if not segment._makes_sense():
            raise SegmentError("no segment has the numbers in it")
        return segment

    def _makes_sense(self):
        sizes = self.number, self.first, self.frames, self.before, self.after, self.fingerprint
        numbers = [*sizes, self.damaged, self.concealed, *self.cuts]
        times = [self.begin, *chain.from_iterable(self.times)]
        return (
            all(type(number) is int for number in [*numbers, *times])
            and all(type(text) is str for text in self.warnings)
            and type(self.change) is float
            and isfinite(self.change)
            and min(numbers) >= 0
            and max(*numbers, *map(abs, times)) < MOST
            and self.before <= self.first
            and max(self.before, self.after) <= MOST_FRAMES
            and 0 < self.frames == len(self.times)
        )


def _runs(times):
    """(time, duration) pairs as [first time, duration, step, count] wherever steps and durations are equal."""
    runs = []
    for time, duration in times:
        if runs:
            first, usual, step, count = runs[-1]
            if duration == usual and (count == 1 or time == first + step * count):
                runs[-1] = [first, usual, time - first if count == 1 else step, count + 1]
                continue
        runs.append([time, duration, 0, 1])
    return runs


def _times(runs):
    """What `_runs` was made of; raises ValueError or TypeError for anything else."""
    if not all(type(number) is int for run in runs for number in run):
        raise ValueError("times are whole numbers")
    counts = [count for *_, count in runs]
    if min(counts) < 1 or sum(counts) > MOST_FRAMES:
        raise ValueError(f"it has no frames, or more than {MOST_FRAMES}")
    return tuple((first + step * i, duration) for first, duration, step, count in runs for i in range(count))


def checksum(frame):
    """Of the time and all planes of a `Frame`."""
    result = zlib.crc32(b"%d" % frame.pts)
    for plane in (frame.luma, *(frame.chroma or ()), frame.alpha):
        result = result if plane is None else zlib.crc32(np.ascontiguousarray(plane), result)
    return result


def fingerprint(checksums):
    """Of several frames by the `checksum` of each."""
    return zlib.crc32(b"".join(number.to_bytes(4, "big") for number in checksums))


class _Seen(NamedTuple):
    """What the planner remembers of a frame.

    change: of the cut detector after it. damaged, concealed, warnings: how many the reader counts up to it.
    """

    moment: Moment
    begins_group: bool  # of pictures: it is a key frame
    is_cut: bool
    change: float
    checksum: int
    damaged: int
    concealed: int
    warnings: int


class Planner:
    """The segments of a film, one after the other, found as far as they are asked for. Iterate once.

    film: `common.film_frames.FilmFrames`. radius: neighbours that the network sees on either side. seconds: of film in
    a segment, at the most. last: the `Segment` behind which to go on, or None.
    Raises VideoError if the film cannot be read, or is not the one that `last` is of.
    """

    def __init__(self, film, radius, seconds=SECONDS, last=None):
        self._film, self._radius, self._last = film, radius, last
        self._longest = int(exact_seconds(seconds) / film.time_base)
        self._detector = CutDetector()
        self._seen = deque()  # from the neighbours before the next segment on
        self._start = 0  # where its own frames begin among these
        self._number = self._first = self._warned = self._damaged = self._concealed = 0

    def __iter__(self):
        if self._last is not None:
            self._go_on_behind(self._last)
        for frame in self._film.onwards(self._first):
            self._look_at(frame)
            while (length := self._length(final=False)) is not None:
                yield self._closed(length)
        while (length := self._length(final=True)) is not None:
            yield self._closed(length)

    def _go_on_behind(self, last):
        for frames in self._film.ways(last):
            self._seen.clear()
            with suppress(InexactError):
                for place, frame in enumerate(frames):
                    if place < last.before + last.frames:
                        self._look_at(frame, place in last.cuts)
                        latest = frame
                break
        self._detector.go_on(latest, last.change)
        newest = self._seen[-1]
        self._number, self._first, self._warned = last.number + 1, last.first + last.frames, newest.warnings
        # What was counted before the place where this reader began.
        self._damaged, self._concealed = last.damaged - newest.damaged, last.concealed - newest.concealed
        self._start = len(self._seen)
        self._forget()

    def _look_at(self, frame, is_cut=None):
        is_cut = self._detector.is_cut(frame) if is_cut is None else is_cut
        moment, reader = Moment(frame.pts, frame.duration, frame.time_base), self._film.reader
        counts = reader.damaged + self._damaged, reader.concealed + self._concealed, len(reader.warnings)
        self._seen.append(_Seen(moment, frame.key_frame, is_cut, self._detector.change, checksum(frame), *counts))

    def _length(self, final):
        """Frames of the next segment, or None if there is none, or more of the film must be seen to tell."""
        own = list(islice(self._seen, self._start, None))
        length = self._end(own) or (len(own) if final else None)
        return length if length and (final or len(own) >= length + self._radius) else None

    def _end(self, own):
        """Where a segment that begins with the first of `own` ends: at a cut, else a group of pictures, else anyway."""
        group = None
        for place, seen in enumerate(own[FEWEST_FRAMES:], FEWEST_FRAMES):
            ticks = abs(seen.moment.pts - own[0].moment.pts)  # less than nothing where recordings were put together
            if place >= MOST_FRAMES or ticks + seen.moment.duration > self._longest:
                return group or place
            if place * LEAST >= MOST_FRAMES or ticks * LEAST >= self._longest:
                if seen.is_cut:
                    return place
                group = place if seen.begins_group else group
        return None

    def _closed(self, length):
        seen, start = list(self._seen), self._start
        end = start + length
        before = after = 0
        while before < min(self._radius, start) and not seen[start - before].is_cut:
            before += 1
        while after < min(self._radius, len(seen) - end) and not seen[end + after].is_cut:
            after += 1
        read, own, newest = seen[start - before : end + after], seen[start:end], seen[end - 1]
        segment = Segment(
            number=self._number,
            first=self._first,
            frames=length,
            before=before,
            after=after,
            begin=read[0].moment.pts,
            times=tuple((frame.moment.pts, frame.moment.duration) for frame in own),
            cuts=tuple(place for place, frame in enumerate(read) if place and frame.is_cut),
            change=newest.change,
            fingerprint=fingerprint(frame.checksum for frame in read),
            damaged=newest.damaged,
            concealed=newest.concealed,
            warnings=tuple(self._film.reader.warnings[self._warned : newest.warnings]),
        )
        self._number, self._first, self._warned = self._number + 1, self._first + length, newest.warnings
        self._start = end
        self._forget()
        return segment

    def _forget(self):
        """Drop what is no neighbour of the next segment."""
        while self._start > self._radius:
            self._seen.popleft()
            self._start -= 1
