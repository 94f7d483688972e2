"""The frames of a segment out of a film, exactly those it was planned for, wherever it lies.

Seeking is fast and not always exact: a film may have no index, pictures that hang on others before the key frame, or
damage. So what comes is compared with the fingerprint of the plan; if it differs, reading begins further ahead, and at
last from the beginning, which is how the film was planned. Segments that follow each other are read in one go.
"""

from collections import deque
from contextlib import suppress
from fractions import Fraction
from itertools import chain, islice

from common.segments import InexactError, checksum, fingerprint
from common.video_frames import VideoError
from common.video_reader import VideoReader, has_index

RUN_UPS = (0, 1, 10, 60)  # seconds ahead of a segment from which reading begins, one after the other
NEAR = 100  # frames that are read over rather than sought


class FilmFrames:
    """The frames of the film at `path` by their numbers, for a network that sees `radius` neighbours on either side.

    reader: the `VideoReader` at work. info, time_base: of the film. Use as a context manager, from one thread at a
    time. Raises VideoError.
    """

    def __init__(self, path, radius):
        self.path, self.reader = path, None
        self._held = deque(maxlen=2 * radius)  # (number, frame) of the frames read last
        self._begin()
        self.info, self.time_base = self.reader.info, self.reader.time_base

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Release the file."""
        if self.reader is not None:
            self.reader.close()

    def ways(self, segment):
        """Iterables of the frames that a `Segment` needs, to be tried one after the other.

        Each raises InexactError at its end if its frames were not those of the plan. Raises VideoError if there is no
        further way.
        """
        if self._is_near(segment.read.start):
            yield self._verified(segment)
        if segment.read.start and has_index(self.reader.container):
            for run_up in RUN_UPS:
                if self._seek(segment, run_up):
                    yield self._verified(segment)
        self._begin()
        yield self._verified(segment)
        raise VideoError(f"{self.path} is not the film any more that it was when the work on it began")

    def onwards(self, number):
        """All frames from that with a `number` on, which was read lately or is still to come."""
        yield from [frame for place, frame in self._held if place >= number]
        for frame in self._frames:
            self._held.append((self._next, frame))
            self._next += 1
            if self._next > number:
                yield frame

    def _verified(self, segment):
        checksums = []
        for frame in islice(self.onwards(segment.read.start), len(segment.read)):
            checksums.append(checksum(frame))
            yield frame
        if len(checksums) < len(segment.read) or fingerprint(checksums) != segment.fingerprint:
            self._next = None  # the frames here have other numbers
            raise InexactError

    def _is_near(self, number):
        if self._next is None:
            return False
        first = self._held[0][0] if self._held else self._next
        return first <= number and (number <= self._next + NEAR or not has_index(self.reader.container))

    def _begin(self):
        self._read_from(0, VideoReader(self.path))

    def _seek(self, segment, run_up):
        """Whether the first frame of the segment was found by seeking to `run_up` seconds ahead of it."""
        wanted = segment.begin * self.time_base
        with suppress(VideoError):  # there may be no frame that can be decoded
            reader = VideoReader(self.path, start=max(Fraction(0), wanted - run_up - self.reader.begin))
            first = next((frame for frame in reader if frame.time >= wanted), None)
            if first is not None and first.pts == segment.begin:
                self._read_from(segment.read.start, reader, first)
                return True
            reader.close()
        return False

    def _read_from(self, number, reader, *read):
        """Go on with the frames already `read` from `reader`, the first of which has a `number`, and those behind."""
        self.close()
        self.reader, self._next = reader, number
        self._frames = chain(read, reader)
        self._held.clear()
