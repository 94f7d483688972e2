"""What --compare shows: bicubic interpolation, a network's result, and the original where it is known."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.gallery import Entry, Page, Side, centre, check_page, part_of
from common.images import Picture
from common.metrics import psnr
from common.resize import resize
from common.upscaler import enlarged, from_unit, to_unit
from common.video import VideoWriter

SECONDS = 10  # shown of a film
FILM_PIXELS = 200_000_000  # of all its frames together
ENCODER = {"codec": "h264", "crf": 16, "preset": "fast", "pixel_format": "yuv420p", "full_range": False}
MATRIX_TAGS = {"bt709": 1, "bt601": 6}  # in H.273


class Comparison:
    """A page that is filled while a job works, and written when it is done.

    path: of the page. source, target: what is enlarged and where it goes, None where nobody said.
    Raises CommandError if the page would replace one of them, or a file without `overwrite`.
    """

    def __init__(self, path, source=None, target=None, overwrite=False):
        check_page(path, overwrite, *(other for other in (source, target) if other is not None))
        self.path, self.page, self.warnings = Path(path), Page(), []
        self.title = Path(source).resolve().name if source not in (None, "-") else None

    def picture(self, name, low, larger, upscaler, truth=None, figures=None):
        """Add a picture: `Picture`s of the input, of the network's result and, where it is known, of the truth.

        figures: {"bicubic" or the network's name: PSNR in dB}.
        """
        if not self.page.has_room():
            return
        scale, figures = upscaler.scale, figures or {}
        place = centre(low.height, low.width, scale)
        rows, columns = (slice(part.start * scale, part.stop * scale) for part in place)
        sides = [
            Side("bicubic", _bicubic(low, rows, columns, scale), figures.get("bicubic")),
            Side(upscaler.spec.title, _part(larger, rows, columns), figures.get(upscaler.name)),
            *([Side("original", _part(truth, rows, columns))] if truth else []),
            Side("input", _part(low, *place, scale)),
        ]
        caption = self._caption(upscaler, low.width, low.height)
        if (rows.stop - rows.start, columns.stop - columns.start) != (larger.height, larger.width):
            caption += " " + part_of(larger.height, larger.width)
        self.page.add(Entry(name, sides, caption))

    @contextmanager
    def film(self, name, info, upscaler):
        """Add the beginning of a film, described by a `VideoInfo`: yields the `Clip` that takes its frames."""
        with TemporaryDirectory() as folder:
            with Clip(folder, info, upscaler) as clip:
                yield clip
            caption = " ".join([self._caption(upscaler, info.width, info.height), *clip.notes])
            self.page.add(Entry(name, clip.sides(), caption))
        self.warnings += [f"{self.path}: {note}" for note in clip.notes]

    def write(self):
        """Write the page, unless nothing could be enlarged, and return a list of sentences on what is not on it."""
        if self.page.sections:
            self.page.write(self.path, self.title or self.page.names[0])
        if self.page.left_out:
            self.warnings.append(f"{self.path}: {self.page.note}")
        return self.warnings

    @staticmethod
    def _caption(upscaler, width, height):
        scale = upscaler.scale
        return f"{upscaler.spec.title} ×{scale}, {width} × {height} to {width * scale} × {height * scale} pixels."


class Clip:
    """The beginning of a film in several versions, as H.264 that every browser shows.

    Use as a context manager; the files are in `folder`. notes: a sentence on each thing that is not shown.
    """

    def __init__(self, folder, info, upscaler):
        self.folder, self.upscaler, self.notes = Path(folder), upscaler, []
        self.height, self.width = info.height * upscaler.scale, info.width * upscaler.scale
        self.place = tuple(map(_on_chroma, centre(self.height, self.width), (self.height, self.width)))
        rows, columns = (part.stop - part.start for part in self.place)
        if (rows, columns) != (self.height, self.width):
            self.notes.append(part_of(self.height, self.width))
        if info.layout.alpha:
            self.notes.append("Transparency is not shown.")
        self.size, self.steps = {"height": rows, "width": columns}, info.layout.subsampling or (1, 1)
        # Tagged, because browsers guess the matrix by the size, which is no longer that of the film.
        matrix = MATRIX_TAGS.get(info.matrix, info.color_space)
        self.info = replace(info, color_space=matrix, tags={}, stream_tags={}, chapters=(), streams=())
        self.frames_left = max(1, FILM_PIXELS // (rows * columns))
        self.begin = self.end = None
        self.writers, self.errors, self.is_cut = {}, {}, False
        self.stack = ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stack.__exit__(*exception)

    def add(self, low, larger, truth=None):
        """Take the next frame: the input, the network's result and, where it is known, the truth, as `Frame`s."""
        self.begin = low.time if self.begin is None else self.begin
        if self.is_cut or not self.frames_left or low.time >= self.begin + SECONDS:
            if not self.is_cut:
                self.notes.append(f"Only the first {float(self.end - self.begin):.1f} seconds are shown.")
            self.is_cut = True
            return
        self.frames_left -= 1
        self.end = low.time + low.duration * low.time_base
        luma = resize(low.luma.astype(np.float32), self.upscaler.scale)
        # Chroma is bicubic in the network's result, too.
        bicubic = replace(larger, luma=from_unit(luma, low.luma.dtype, 1, 2**low.bits - 1))
        frames = {"bicubic": bicubic, self.upscaler.spec.title: larger}
        if truth is not None:
            for label, frame in frames.items():
                self.errors.setdefault(label, []).append(psnr(truth.luma, frame.luma, peak=255))
            frames["original"] = replace(truth, pts=low.pts, time_base=low.time_base, duration=low.duration)
        for label, frame in frames.items():
            self._writer(label).write(self._shown(frame))

    def sides(self):
        """The finished clips as `Side`s; their PSNR is the mean of the frames'."""
        means = {label: float(np.mean(errors)) for label, errors in self.errors.items()}
        return [Side(label, writer.path.read_bytes(), means.get(label)) for label, writer in self.writers.items()]

    def _writer(self, label):
        if label not in self.writers:
            path = self.folder / f"{len(self.writers)}.mp4"
            writer = VideoWriter(path, info=self.info, time_offset=self.begin, **self.size, **ENCODER)
            self.writers[label] = self.stack.enter_context(writer)
        return self.writers[label]

    def _shown(self, frame):
        (rows, columns), (across, down) = self.place, self.steps
        samples = _every(rows, down), _every(columns, across)
        chroma = frame.chroma and tuple(plane[samples] for plane in frame.chroma)
        return replace(frame, luma=frame.luma[rows, columns], chroma=chroma, alpha=None)


def _every(part, step):
    """The samples of subsampled chroma that belong to a slice of luma."""
    return slice(part.start // step, -(-part.stop // step))


def _on_chroma(part, side):
    """A slice of an axis of `side` pixels that begins and ends between samples of chroma, whatever their size."""
    if part == slice(0, side):
        return part
    start, length = part.start // 4 * 4, max(4, (part.stop - part.start) // 4 * 4)
    return slice(start, start + length)


def _bicubic(low, rows, columns, scale):
    """Part of the bicubic enlargement of a `Picture`, without making all of it."""

    def larger(samples):
        return from_unit(enlarged(samples, rows, columns, scale, convert=to_unit), samples.dtype)

    alpha = None if low.alpha is None else larger(low.alpha[..., None])[..., 0]
    return Picture(larger(low.pixels), alpha, icc=low.icc)


def _part(picture, rows, columns, repeat=1):
    """Part of a `Picture`, every pixel of it `repeat` times in both directions."""

    def samples(array):
        return array[rows, columns].repeat(repeat, axis=0).repeat(repeat, axis=1)

    return Picture(samples(picture.pixels), None if picture.alpha is None else samples(picture.alpha), icc=picture.icc)
