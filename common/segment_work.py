"""The work on one segment of a film: a segment in, a closed file out."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path

from common.film_frames import FilmFrames
from common.films import enlarge
from common.jobs import Clocks
from common.segments import InexactError
from common.video_codecs import choose_codec, find_encoder
from common.video_frames import VideoError
from common.video_writer import VideoWriter, container_by_suffix
from common.windows import windows

# Of containers that give the packets of an encoder back as they were; the first that can hold it is taken.
SUFFIXES = (".nut", ".mov")
WITH_ALPHA_BESIDE = ".mkv"  # holds the transparency of VP8 and VP9, which goes beside their packets


@dataclass(frozen=True)
class SegmentFile:
    """What is to be known of a finished file.

    bytes: its size. delay: by how many places a picture is decoded early. content: a hash of it.
    """

    bytes: int
    delay: int
    content: str

    @classmethod
    def of(cls, path, delay):
        """What is to be known of the file `path`."""
        return cls(Path(path).stat().st_size, delay, _hash(path))

    def is_in(self, path):
        """Whether the file `path` is there and as it was."""
        return path.is_file() and path.stat().st_size == self.bytes and _hash(path) == self.content


def _hash(path):
    content = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            content.update(part)
    return content.hexdigest()


class SegmentWorker(Clocks):
    """Enlarges segments of one film, each into a file of its own. Use as a context manager.

    path: of the film. upscaler: `common.upscaler.Upscaler`. target: the path of the finished film, whose suffix decides
    how it is encoded. encoder: codec, crf and preset, as for `common.video.VideoWriter`. suffix: of the files.
    codec: of the encoder. info: `VideoInfo` of the film. Raises VideoError.
    """

    def __init__(self, path, upscaler, target, **encoder):
        super().__init__()
        self._upscaler, self._encoder = upscaler, encoder
        self._radius = upscaler.spec.frames // 2
        self._film = FilmFrames(path, self._radius)
        self.info = self._film.info
        self._container = container_by_suffix(target)
        self.codec = choose_codec(encoder.get("codec"), self._container, self.info.layout)
        self.suffix = segment_suffix(self.codec, self.info.layout.alpha)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._film.close()

    @property
    def bytes_in_memory(self):
        """Of an enlarged frame."""
        layout, scale = self.info.layout, self._upscaler.scale
        rows, columns = self.info.height * scale, self.info.width * scale
        samples = rows * columns * (1 + layout.alpha)
        if layout.subsampling:
            samples += 2 * prod(layout.chroma_shape(rows, columns))
        return samples * layout.dtype.itemsize

    def work(self, segment, path, passed=lambda frames: None):
        """Enlarge a `common.segments.Segment` into the file `path`, which appears whole or not at all.

        passed: called with the number of frames done since the last call, less than none if they are done again.
        Returns a SegmentFile. Raises VideoError.
        """
        for frames in self._film.ways(segment):
            done = []
            with suppress(InexactError):
                return self._written(segment, frames, path, lambda *_, done=done: done.append(passed(1)))
            passed(-len(done))

    def _written(self, segment, frames, path, passed):
        begin = segment.times[0][0] * self._film.time_base
        with SegmentWriter(path, self._container, self.info, begin, self._upscaler.scale, self._encoder) as writer:
            inside = partial(self._windows, segment)
            enlarge(frames, inside, self._upscaler, self.info, partial(self._encode, writer), self, passed)
            if writer.frames_written != segment.frames:
                raise VideoError(f"{path} has {writer.frames_written} frames instead of {segment.frames}")
        return SegmentFile.of(path, writer.delay)

    def _windows(self, segment, frames):
        """The windows of the segment's own frames; its neighbours are only looked at."""
        cuts = iter([place in segment.cuts for place in range(len(segment.read))])
        every = windows(frames, self._radius, lambda frame: next(cuts))
        yield from islice(every, segment.before, segment.before + segment.frames)
        for _ in frames:
            pass  # behind the last of them it is said whether they were the right ones

    def _encode(self, writer, frame):
        with self.stage("encode"):
            writer.write(frame)


class SegmentWriter(VideoWriter):
    """Encodes the frames of one segment as those of a film in another `container`, whose packets they will become.

    info: `VideoInfo` of the film. begin: the time of the first frame in seconds. encoder: codec, crf and preset.
    delay: by how many places a picture is decoded before it is shown, at the most; known when the file is closed.
    """

    def __init__(self, path, container, info, begin, scale, encoder):
        self._film_container, self._pts, self.delay = container, [], 0
        info = replace(info, tags={}, stream_tags={}, streams=(), chapters=(), display_matrix=None)
        super().__init__(path, info=info, scale=scale, time_offset=begin, overwrite=True, **encoder)

    def _open_container(self):
        super()._open_container()
        self._format = self._film_container

    def _store(self, packets):
        self._pts += [packet.pts for packet in packets]
        super()._store(packets)

    def _say_what_was_lost(self):
        """Nothing: the film will say so itself. Only what it needs is found out."""
        ranks = {pts: rank for rank, pts in enumerate(sorted(self._pts))}
        self.delay = max(place - ranks[pts] for place, pts in enumerate(self._pts))


def segment_suffix(codec, alpha):
    """The suffix of files that hold the packets of the encoder `codec`, for frames with `alpha` or without.

    Raises VideoError if there is none.
    """
    import av

    encoder = find_encoder(codec)
    if alpha and encoder.canonical_name in ("vp8", "vp9"):
        return WITH_ALPHA_BESIDE
    for suffix in SUFFIXES:
        if encoder.canonical_name in av.open(f"segment{suffix}", "w").supported_codecs:
            return suffix
    raise VideoError(f"{encoder.name} cannot be worked in segments; choose another codec")
