"""Numbered pictures as a video, and a video as numbered pictures, with the interface of VideoReader and VideoWriter."""

import os
import re
import shutil
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.files import temporary_beside
from common.images import PICTURE_SUFFIXES, Picture, PictureError, find_pictures, read_picture, write_picture
from common.video_frames import (
    RGB_BITS,
    RGB_MATRIX,
    Frame,
    PixelLayout,
    VideoError,
    frame_of_rgb,
    requantised,
    rgb_of_frame,
)
from common.video_info import VideoInfo
from common.video_reader import NUMBER, clear_errors, is_pattern

NUMBERED = "%05d.png"
# Pictures are sRGB, whose primaries are those of BT.709.
SRGB = {"primaries": 1, "transfer": 13, "color_space": 1, "color_range": 2}

HDR_TRANSFERS = (16, 18)  # PQ and HLG


class PictureReader:
    """The pictures of a folder or of a pattern such as "frames/%05d.png" as frames at a constant rate.

    source: a folder (in the order of the numbers in its file names), a pattern, or one picture. rate: frames a second.
    info, damaged, warnings: as in `common.video_reader.VideoReader`; a damaged picture repeats the one before it.
    icc: the colour profile of the first picture, or None.
    Raises VideoError if there are no pictures, the first is damaged, or one has another size than the first.
    """

    concealed = 0

    def __init__(self, source, rate=25):
        self.path, self.name = Path(source), str(source)
        self.rate = Fraction(rate).limit_denominator(100_000)
        if self.rate <= 0:
            raise VideoError(f"{self.name} cannot be shown at {rate} pictures a second")
        self.damaged, self.warnings = 0, []
        self._position, self._last = 0, None
        try:
            self.pictures = self._find()
            first = read_picture(self.pictures[0])
        except PictureError as error:
            raise VideoError(str(error)) from error
        self.icc = first.icc
        self.info = self._describe(first)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        if self._position == len(self.pictures):
            if self.damaged:
                text = f"{self.name} has {self.damaged} damaged pictures, in whose place the one before is repeated."
                self.warnings += [text] if text not in self.warnings else []
            raise StopIteration
        path, number = self.pictures[self._position], self._position
        self._position += 1
        repeated = False
        try:
            self._last = self._planes(read_picture(path), path)
        except PictureError as error:
            if self._last is None:
                raise VideoError(str(error)) from error
            self.damaged += 1
            repeated = True
        luma, chroma, alpha, bits = self._last
        return Frame(luma, chroma, alpha, bits, number, 1 / self.rate, 1, not repeated, repeated)

    def close(self):
        """Nothing stays open between two pictures."""

    def _find(self):
        if is_pattern(self.path):
            pictures = self._matching()
        elif self.path.is_dir():
            pictures = sorted(find_pictures(self.path), key=_natural_order)
        elif self.path.exists():
            pictures = [self.path]
        else:
            raise VideoError(f"{self.name} does not exist")
        if not pictures:
            raise VideoError(f"{self.name} has no pictures")
        return pictures

    def _matching(self):
        numbered = numbered_files(self.path)
        missing = max(numbered, default=0) - min(numbered, default=0) + 1 - len(numbered)
        if numbered and missing:
            self.warnings.append(f"{self.name} has gaps: {missing} numbers have no picture, and no frame.")
        return [numbered[number] for number in sorted(numbered)]

    def _describe(self, first):
        subsampling = None if first.is_grey else (1, 1)
        colour = {**SRGB, "color_space": 2} if first.is_grey else SRGB
        return VideoInfo(
            width=first.width,
            height=first.height,
            layout=PixelLayout(subsampling, first.depth, first.alpha is not None),
            time_base=1 / self.rate,
            rate=self.rate,
            codec=(first.format or "png").lower(),
            container="pictures",
            is_rgb=not first.is_grey,
            frame_count=len(self.pictures),
            frame_count_exact=True,
            duration=len(self.pictures) / self.rate,
            **colour,
        )

    def _planes(self, picture, path):
        info = self.info
        if (picture.width, picture.height) != (info.width, info.height):
            expected = f"{info.width}x{info.height} of the first picture"
            raise VideoError(f"{path} has {picture.width}x{picture.height} pixels, not the {expected}")
        if info.layout.subsampling is None:
            if not picture.is_grey:
                raise VideoError(f"{path} is in colour, while the first picture is grey")
            luma, chroma, bits = requantised(picture.pixels[..., 0], picture.depth, info.bits), None, info.bits
        else:
            pixels = np.repeat(picture.pixels, 3, axis=-1) if picture.is_grey else picture.pixels
            frame = frame_of_rgb(pixels, PixelLayout((1, 1), RGB_BITS), RGB_MATRIX, True, peak=picture.peak)
            luma, chroma, bits = frame.luma, frame.chroma, RGB_BITS
        return luma, chroma, self._alpha(picture, luma, bits), bits

    def _alpha(self, picture, luma, bits):
        if not self.info.layout.alpha:
            return None
        if picture.alpha is None:
            return np.full_like(luma, 2**bits - 1)
        return requantised(picture.alpha, picture.depth, bits)


class PictureWriter:
    """Frames as numbered pictures: 8 or 16 bits a channel, RGB by the matrix and range of the stream, or grey.

    target: a pattern such as "frames/%05d.png", or a folder, which means that pattern in it.
    template, info, scale, overwrite: as in `common.video_writer.VideoWriter`. first_number: that of the first picture.
    The pictures appear in their folder all together on `close`, or not at all. With `overwrite`, earlier pictures of
    the same pattern are removed. Raises VideoError.
    """

    def __init__(self, target, template=None, *, info=None, scale=1, first_number=1, overwrite=False):
        path = Path(target)
        if path.suffix.lower() in PICTURE_SUFFIXES and not is_pattern(path) and not path.is_dir():
            pattern = path.with_stem(f"{path.stem}_%05d")
            raise VideoError(f"{target} is the name of one picture, and the frames need many; {pattern} numbers them")
        self.path = path if is_pattern(path) else path / NUMBERED
        self.name = str(target)
        self.info = info or template.info
        self.width, self.height = round(self.info.width * scale), round(self.info.height * scale)
        self.frames_written = 0
        self.warnings = []
        self._icc = getattr(template, "icc", None)
        self._number, self._last, self._steps = first_number, None, set()
        self._check(template, overwrite)
        folder = self.path.parent
        self._temporary = temporary_beside(Path(os.path.abspath(folder)))
        self._overwrite = overwrite
        with clear_errors(self.name, "written"):
            self._temporary.mkdir(parents=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, frame):
        """Write one `Frame` as the next picture. Raises VideoError if its size is wrong or the disk is full."""
        if frame.luma.shape != (self.height, self.width):
            raise VideoError(f"{self.name} takes frames of {self.width}x{self.height}, not {frame.luma.shape[::-1]}")
        temporary = self._temporary
        try:
            warnings = write_picture(temporary / _numbered(self.path.name, self._number), self._picture(frame))
        except BaseException as error:
            self.abort()
            if isinstance(error, PictureError):
                raise VideoError(str(error).replace(f"{temporary}", f"{self.path.parent}")) from error
            raise
        self.warnings += [warning for warning in warnings if warning not in self.warnings]
        self._steps |= set() if self._last is None else {frame.time - self._last}
        self._number, self._last = self._number + 1, frame.time
        self.frames_written += 1

    def close(self):
        """Move the pictures to their folder."""
        if self._temporary is None:
            return
        if not self.frames_written:
            self.abort()
            raise VideoError(f"{self.name} was not written, because there was no frame to write")
        if len(self._steps) > 1:
            self.warnings.append(f"{self.name} does not tell that the frames were not equally long.")
        try:
            with clear_errors(self.name, "written"):
                self._move()
        finally:
            self.abort()

    def _move(self):
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        earlier = numbered_files(self.path).values()
        if earlier and not self._overwrite:
            raise VideoError(f"{self.name} has got pictures meanwhile, which are not overwritten")
        for picture in earlier:
            picture.unlink()
        for picture in sorted(self._temporary.iterdir()):
            os.replace(picture, folder / picture.name)

    def abort(self):
        """Give up and leave nothing behind; harmless after `close`."""
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            with suppress(OSError):
                shutil.rmtree(temporary)

    def _check(self, template, overwrite):
        folder, source = self.path.parent, getattr(template, "path", None)
        if folder.exists() and not folder.is_dir():
            raise VideoError(f"{folder} is a file, not a folder")
        earlier = numbered_files(self.path)
        sources = {picture.resolve() for picture in getattr(template, "pictures", ())}
        if sources & {picture.resolve() for picture in earlier.values()}:
            raise VideoError(f"{self.name} holds the input itself, which is never overwritten")
        if earlier and not overwrite:
            raise VideoError(f"{self.name} has pictures already, which are not overwritten")
        if source is not None and self.info.streams:
            kinds = sorted({stream.kind for stream in self.info.streams if "attached_pic" not in stream.disposition})
            self.warnings.append(f"{self.name} holds pictures only; the streams of {' and '.join(kinds)} are left out.")
        if self.info.rotation % 360:
            self.warnings.append(f"{self.name} has its pictures as stored: turn them by {self.info.rotation} degrees.")
        if self.info.sample_aspect_ratio != 1:
            self.warnings.append(f"{self.name} lost the pixel aspect {self.info.sample_aspect_ratio}.")
        if self.info.transfer in HDR_TRANSFERS:
            self.warnings.append(f"{self.name} holds the numbers of HDR video, which pictures do not say.")

    def _picture(self, frame):
        depth = 8 if self.info.bits == 8 else 16
        if frame.chroma is None:
            pixels = requantised(frame.luma, frame.bits, depth, self.info.full_range, True)[..., None]
        else:
            rgb = rgb_of_frame(frame, self.info.matrix, self.info.full_range, self.info.chroma_siting)
            pixels = np.floor(rgb * (2**depth - 1) + 0.5).astype(np.uint8 if depth == 8 else np.uint16)
        alpha = None if frame.alpha is None else requantised(frame.alpha, frame.bits, depth)
        return Picture(pixels, alpha, icc=self._icc)


def numbered_files(pattern):
    """{number: Path} of the files that a pattern such as "frames/%05d.png" stands for."""
    pattern = Path(pattern)
    if not NUMBER.search(pattern.name):
        raise VideoError(f"{pattern} has no number such as %05d in its name")
    before, _, after = _parts(pattern.name)
    name = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    files = pattern.parent.iterdir() if pattern.parent.is_dir() else ()
    matches = ((name.fullmatch(path.name), path) for path in files)
    return {int(match[1]): path for match, path in matches if match and path.name == _numbered(pattern.name, match[1])}


def pattern_of(pictures):
    """The pattern of several paths that differ in one number only, or None."""
    names = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.name) for path in pictures]
    if len(names) < 2 or not all(names) or len({(name[1], name[3]) for name in names}) > 1:
        return None
    before, digits, after = names[0].groups()
    same_length = len({len(name[2]) for name in names}) == 1
    number = f"%0{len(digits)}d" if same_length and len(digits) > 1 else "%d"
    return pictures[0].with_name(before.replace("%", "%%") + number + after.replace("%", "%%"))


def _numbered(pattern, number):
    """The file name that a pattern stands for with a number."""
    before, digits, after = _parts(pattern)
    return f"{before}{int(number):{digits or ''}d}{after}"


def _parts(pattern):
    """("frame", "05", ".png") of "frame%05d.png"; %% is a percent sign, as is % before anything else."""
    before, digits, after = NUMBER.split(pattern, maxsplit=1)
    return before.replace("%%", "%"), digits, after.replace("%%", "%")


def _natural_order(path):
    """Numbers in names count as numbers: frame9 comes before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
