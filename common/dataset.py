"""Sub-images on disk: an HDF5 file with `data` and `label` as in the original SRCNN code, built picture by picture.

`data` (N, size, size, C) and `label` (N, size, size, C) are float32 in [0, 1]. Attributes of the file say what made it.
The group `validation` keeps the whole pictures that were held back, as planes (H, W, C) in 8 or 16 bit, so that one
file is all that a training machine needs.
"""

import hashlib
import json
import os
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from common.files import sampled, written_whole
from common.hdf5 import UnfailingFile, check_readable, damage_explained
from common.images import PictureError
from common.patches import crop_to_multiple, luma_or_rgb, moving, resized, sub_images, sub_windows
from common.stages import ahead, made_by
from common.video_frames import VideoError
from common.video_reader import VIDEO_SUFFIXES

HELD_BACK_EVERY = 20  # every 20th picture of the folder is for validation, at least one, at most 10
HELD_BACK_MOST = 10
FRAME_STEPS = (1, 2)  # frames apart in the windows cut from a clip; 2 shows faster motion
READERS = 2  # threads; decompressing pictures is most of the work
LARGE = 16 << 20  # samples of a picture from which on no two are in memory as floats
LARGEST_SIDE = 2048  # of a sub-image, 32 of which HDF5 still takes as a chunk
LARGEST_FACTOR = 16  # by which pictures are resized, or its inverse
CHUNK = 32  # sub-images an HDF5 chunk holds
TRIED_MEMORY = 64 << 20  # bytes of sub-images up to which a file is tried as a whole, see common/hdf5.py
HELD = 1 << 20  # bytes that HDF5 holds of its notes on where chunks are
LARGEST_RATIO = 1032  # by which deflate makes anything smaller
AHEAD = 4  # batches that are kept ready
PARTS = 4  # of each picture, by which it is told from another one; whole folders are looked at before each run
WRITTEN = {"model": str, "network": str}  # attributes that a data set has, and their types
WRITTEN |= dict.fromkeys(("image_size", "label_size", "stride"), (int, np.integer))


class DatasetError(ValueError):
    """A data set that cannot be built or used; the message is one sentence."""


@dataclass(frozen=True)
class Source:
    """What a data set is made from: all that decides its contents."""

    model: str
    network: str  # JSON of the dataclass
    image_size: int
    label_size: int
    stride: int
    enlargements: tuple[float, ...] = (1.0,)
    pictures: str = ""  # which, see `describe`
    seed: int = 0


def split(paths):
    """(training, validation) parts of a list of pictures or videos; one alone serves as both.

    If there are videos among them, only videos are held back.
    """
    clips = [path for path in paths if is_clip(path)]
    if clips and len(clips) < len(paths):
        training, held_back = split(clips)
        return [path for path in paths if not is_clip(path)] + training, held_back
    if len(set(paths)) < 2:
        return list(paths), list(paths)
    step = max(HELD_BACK_EVERY, -(-len(paths) // HELD_BACK_MOST)) if len(paths) >= HELD_BACK_EVERY else len(paths)
    held_back = paths[step // 2 :: step]
    return [path for path in paths if path not in held_back], held_back


def describe(paths):
    """Which pictures: names of their folders, number, and a digest that changes with any file's name or contents."""
    contents = {path: [Path(path).stat().st_size, sampled(path, PARTS)] for path in set(paths)}
    files = json.dumps([[Path(path).parent.name, Path(path).name, *contents[path]] for path in paths])
    times = Counter(Path(path).resolve() for path in paths)
    folders = dict.fromkeys(f"{path.parent.name}{f' ({n} times)' if n > 1 else ''}" for path, n in times.items())
    return f"{' + '.join(folders)}, {len(times)} pictures, {hashlib.sha256(files.encode()).hexdigest()[:12]}"


def build(target, paths, spec, source, report=lambda done, total, skipped: None, teacher=None):
    """Write the data set `target` from `paths`; returns [(path, why)] of those skipped as damaged.

    Paths are pictures, or, for networks that see several frames, videos as well; one named several times counts as
    often. Each is also used resized by the factors of `source.enlargements` other than 1. Labels are the pictures, or
    what a `common.teacher.Teacher` draws of them. Memory holds a few pictures or clips at a time: one that is cut and
    those that are read and shrunk meanwhile. The file appears under its name only when it is whole. Raises DatasetError
    if no sub-image comes of it.
    """
    import h5py

    for side in (source.image_size, source.label_size):
        if not 0 < side <= LARGEST_SIDE:
            raise DatasetError(f"sub-images are of 1 to {LARGEST_SIDE} pixels, not of {side}.")
    for factor in source.enlargements:
        if not 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR:
            raise DatasetError(f"pictures are resized by 1/{LARGEST_FACTOR} to {LARGEST_FACTOR}, not by {factor:g}.")
    training, held_back = split(list(paths))
    trained, validated = set(training), set(held_back)
    generator = np.random.default_rng(source.seed)
    skipped = []
    pictures = [*training, *(path for path in held_back if path not in trained)]

    def read_one(path):
        return _read(path, path in trained, path in validated, spec, source, generator, teacher)

    read = made_by(READERS, read_one, pictures)
    with (
        written_whole(target) as temporary,
        UnfailingFile(temporary, "w+") as stored_in,
        h5py.File(stored_in, "w") as file,
        closing(read),
    ):
        hold_little(file)
        sides = {"data": (source.image_size, spec.inputs), "label": (source.label_size, spec.channels)}
        stores = [_Store(file, key, size, channels) for key, (size, channels) in sides.items()]
        validation, stored = file.create_group("validation"), set()
        for done, (path, (pixels, pairs, why)) in enumerate(zip(pictures, read, strict=True)):
            report(done, len(pictures), skipped)
            if why:
                skipped.append((path, why))
                continue
            if pixels is not None and path not in stored and is_measurable(pixels, spec):
                stored.add(path)
                same = f"{len(validation)} " if Path(path).name in validation else ""
                validation.create_dataset(f"{same}{Path(path).name}", data=pixels)
            for pair in pairs:
                for store, rows in zip(stores, pair, strict=True):
                    store.append(rows)
            stored_in.check()
        count, _ = (store.finished() for store in stores)
        if count == 0:
            raise DatasetError(
                f"none of the {len(paths)} pictures gave a sub-image of {source.image_size} pixels at x{spec.scale}: "
                "they are damaged, too few or too small."
            )
        if not len(validation):  # those held back were damaged or too small
            bad = [path for path, _ in skipped]
            good = (path for path in training if path not in bad and is_measurable(_pixels(path), spec))
            for path in islice(good, 1):
                validation.create_dataset(Path(path).name, data=_pixels(path))
        attributes = {**vars(source), "enlargements": json.dumps(source.enlargements), "count": count}
        file.attrs.update({**attributes, "scale": spec.scale, "complete": True})
    return skipped


class _Store:
    """The sub-images of one kind in a data set that is built: gathered to chunks, each of which is written as it is."""

    def __init__(self, file, key, size, channels):
        shape = (size, size, channels)
        self.array = file.create_dataset(key, (0, *shape), "f4", chunks=(CHUNK, *shape), maxshape=(None, *shape))
        self.chunk, self.held = np.zeros((CHUNK, *shape), np.float32), 0

    def append(self, rows):
        """Take over arrays of sub-images (n, size, size, channels)."""
        for row in rows:
            while len(row):
                part, row = row[: CHUNK - self.held], row[CHUNK - self.held :]
                self.chunk[self.held : self.held + len(part)] = part
                self.held += len(part)
                if self.held == CHUNK:
                    self._write()

    def _write(self):
        begin = len(self.array)
        self.array.resize(begin + self.held, axis=0)
        self.array.id.write_direct_chunk((begin, 0, 0, 0), self.chunk)  # a copy less than through HDF5's own memory
        self.held = 0

    def finished(self):
        """Write what is left; returns how many sub-images there are."""
        if self.held:
            self.chunk[self.held :] = 0
            self._write()
        return len(self.array)


def _read(path, for_training, for_validation, spec, source, generator, teacher):
    """(pixels to validate with, or None, what is to be cut, None) of a picture or clip, or (None, [], why it cannot).

    What can be made of it at once is: not of clips and large pictures, which would be much, nor for networks of several
    frames, for which random numbers must be drawn in order, nor by a teacher, who draws one picture at a time.
    """
    try:
        pixels = _pixels(path)
    except (PictureError, VideoError) as error:
        return None, [], str(error)
    pairs = _pairs(pixels, spec, source, generator, teacher) if for_training else []
    at_once = pixels.ndim == 3 and pixels.size <= LARGE and spec.frames == 1 and not teacher
    return pixels if for_validation else None, list(pairs) if at_once else pairs, None


def _pixels(path):
    """A picture (H, W, C), or a video as (T, H, W, 1) luma, in 8 or 16 bit."""
    from common.images import read_pixels

    if is_clip(path):
        from common.video import open_video

        with open_video(path) as reader:
            frames = list(reader)
        # 16-bit samples stand for [0, 1]; deeper video has its 16 .. 235 in the unit of 255 at any depth.
        deep = [(frame.luma / frame.unit * 65535).round() for frame in frames if frame.bits > 8]
        return np.stack(deep or [frame.luma for frame in frames]).clip(0, 65535).astype(frames[0].luma.dtype)[..., None]
    return read_pixels(path)


def is_clip(path):
    """Whether `path` is named as a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def _pairs(pixels, spec, source, generator, teacher=None):
    """Yield (data, label), arrays of sub-images each, of a picture or clip at every enlargement."""
    clip = pixels if pixels.ndim == 4 else pixels[None]
    for factor in source.enlargements:
        frames = [resized(luma_or_rgb(frame, spec.colour), factor) for frame in clip]
        sizes = source.image_size, source.label_size, source.stride
        if spec.frames == 1:
            for picture, frame in zip(clip, frames, strict=True):
                yield sub_images(frame, spec, *sizes, label=teacher and teacher(picture, factor))
            continue
        still = len(frames) == 1
        clip_luma = np.stack([frame[..., 0] for frame in frames])
        for step in (1,) if still else FRAME_STEPS:
            moved = moving(clip_luma[0], spec.frames, generator) if still else clip_luma
            data, label = sub_windows(moved, spec, *sizes, step)
            yield [data if generator.random() < 0.5 else data[..., ::-1]], [label]  # a film may as well run backwards


def is_built(target, source):
    """Whether `target` is a whole data set made from exactly `source`."""
    try:
        check_readable(target, lambda: attributes_of(target), DatasetError)
        attributes = attributes_of(target)
    except Exception:  # noqa: BLE001 - a damaged file makes HDF5 raise whatever it likes
        return False
    wanted = {**vars(source), "enlargements": json.dumps(source.enlargements)}
    same = all(key in attributes and np.array_equal(attributes[key], value) for key, value in wanted.items())
    return bool(np.all(attributes.get("complete", False))) and same


def attributes_of(path):
    import h5py

    with h5py.File(path, "r") as file:
        return dict(file.attrs)


class Dataset:
    """The sub-images of an HDF5 file in seeded random order, the same for both frameworks.

    Small files are held in memory, larger ones read batch by batch; the batches are the same. Use as a context manager.
    """

    def __init__(self, path, batch_size, seed=0, memory=2 << 30, part=(0, 1)):
        """memory: bytes that may be used to hold the file. part: (number of the reader, from 0, of how many), who get
        an equal part each of every batch. Raises DatasetError, one sentence, if it is no data set.
        """

        if not Path(path).is_file():
            raise DatasetError(f"{path} does not exist or is no file.")
        self.path, self.seed, self.part = path, seed, part
        check_readable(path, lambda: self._open(min(memory, TRIED_MEMORY)).validation(), DatasetError)
        with damage_explained(path, DatasetError):
            self._open(memory)
        self.batch_size = min(batch_size, len(self.data))
        self._epoch, self._order = None, None

    def _open(self, memory):
        import h5py

        self.file = h5py.File(self.path, "r")
        try:
            self.attributes = dict(self.file.attrs)
            missing = {"data", "label", "validation"} - set(self.file)
            if missing or not np.all(self.attributes.get("complete", False)):
                what = ", ".join(sorted(missing)) or "its end"
                raise DatasetError(f"{self.path} is no whole data set: {what} is missing.")
            self._whole_length = self._length()
            self._check()
            self.data, self.label = self.file["data"], self.file["label"]
            if self.data.nbytes + self.label.nbytes <= memory:
                self.data, self.label = self.data[()], self.label[()]
        except BaseException:
            self.file.close()
            raise
        return self

    def _check(self):
        """Raise DatasetError for what `build` does not write: other shapes and types, or what lies in other files."""
        for key, kind in WRITTEN.items():
            value = self.attributes.get(key)
            if not isinstance(value, kind):
                raise DatasetError(f"{self.path} is no data set of this project: its {key} is {value!r}.")
        pictures = self.file["validation"]
        if not is_group(self.file, "validation") or not len(pictures):
            raise DatasetError(f"{self.path} is no data set of this project: it holds no pictures for validation.")
        whole = {"data": self.file, "label": self.file} | dict.fromkeys(pictures, pictures)
        for name, group in whole.items():
            kinds, sides = (("f4",), (4,)) if group is self.file else (("u1", "u2"), (3, 4))
            if not is_held(group, name, kinds, sides):
                raise DatasetError(f"{self.path} is no data set of this project: its {name} is of another kind.")
        if len(self.file["data"]) != len(self.file["label"]):
            raise DatasetError(f"{self.path} has not as many labels as data.")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __len__(self):
        return len(self.data)

    @property
    def steps_per_epoch(self):
        return len(self) // self.batch_size

    @contextmanager
    def _reading(self):
        """Where a file ends too soon HDF5 reads zeros, so its length is looked at."""
        with damage_explained(self.path, DatasetError):
            yield
            if self._length() < self._whole_length:
                raise DatasetError(f"{self.path} was cut short while it was read.")

    def _length(self):
        return os.fstat(self.file.id.get_vfd_handle()).st_size

    def validation(self):
        """[(name, pixels (H, W, C) in 8 or 16 bit)] of the pictures held back."""
        with self._reading():
            return [(name, store[()]) for name, store in self.file["validation"].items()]

    def batch(self, step):
        """(data, label) float32 of training step `step`, from 0, of which only the reader's part.

        In an epoch no sub-image comes twice; those that fill no whole batch are left out.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self))
        chosen = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        number, parts = self.part
        chosen = chosen[len(chosen) * number // parts : len(chosen) * (number + 1) // parts]
        rank = np.argsort(chosen)  # HDF5 reads in ascending order only; the drawn one is what makes batches random
        back = np.argsort(rank)
        with self._reading():
            return self.data[chosen[rank]][back], self.label[chosen[rank]][back]

    def batches(self, first=0):
        """Endless batches from step `first` on, prepared by a thread that keeps some of them ready."""
        try:
            yield from ahead(map(self.batch, count(first)), AHEAD)
        except Exception as error:
            raise DatasetError(f"the data set cannot be read any further: {error}") from error


def hold_little(file):
    """Keep HDF5 from holding ever more of what it notes of its chunks, which grows with the file."""
    notes = file.id.get_mdc_config()
    notes.set_initial_size, notes.initial_size, notes.min_size, notes.max_size = True, HELD, HELD, HELD
    file.id.set_mdc_config(notes)


def is_group(group, name):
    """Whether `name` is a group inside `group`, and not one that a link leads to."""
    import h5py

    return isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Group)


def is_held(group, name, kinds, sides):
    """Whether `name` is an array of one of these types and numbers of axes, whose numbers are all in this very file."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return False
    array = group[name]
    if not isinstance(array, h5py.Dataset) or array.is_virtual or array.external:
        return False
    if array.dtype not in [np.dtype(kind) for kind in kinds] or array.ndim not in sides or not array.size:
        return False
    most = LARGEST_RATIO if array.compression else 1
    return array.nbytes <= most * array.id.get_storage_size()


def is_measurable(pixels, spec):
    """Whether a picture (H, W, C) or clip (T, H, W, 1) has pixels left when the border of the protocol is cut off."""
    return min(pixels.shape[-3:-1]) // spec.scale > 2


def crop_for_measuring(pixels, spec):
    """Whole picture (H, W, 1 or 3) as (H', W', C) float32 truth whose sides are multiples of the scale."""
    return crop_to_multiple(luma_or_rgb(pixels, spec.colour), spec.scale)
