"""Damaged and absurd HDF5 files for `common.dataset`."""

import io
import json
import tempfile
from pathlib import Path

import h5py
import numpy as np

from common.dataset import Dataset, DatasetError, Source, build, is_built
from common.images import Picture, write_picture
from common.networks import network
from fuzzing.mutations import ODD_VALUES, mutated

DOCUMENTED = (DatasetError,)
SPEC = network("espcn", widths=(4, 4))
SOURCE = Source("espcn", SPEC.to_json(), image_size=16, label_size=24, stride=16)


def seeds():
    """{name: content} of valid data sets."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        picture, target = Path(folder) / "picture.png", Path(folder) / "set.h5"
        pixels = (np.add.outer(np.arange(96), np.arange(99))[..., None] * (5, 7, 3) % 256).astype(np.uint8)
        write_picture(picture, Picture(pixels))
        build(target, [picture], SPEC, SOURCE)
        found["set.h5"] = target.read_bytes()
    file = io.BytesIO()
    with h5py.File(file, "w", libver="latest") as new, h5py.File(io.BytesIO(found["set.h5"])) as old:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
    found["latest.h5"] = file.getvalue()
    return found


def make(random, valid):
    """(content, suffix) of one input; `valid` is what `seeds` returned."""
    name = random.choice(list(valid))
    if random.random() < 0.3:
        return absurd(random, valid[name]), ".h5"
    return mutated(valid[name], random, list(valid.values())), ".h5"


def absurd(random, valid):
    """A whole HDF5 file in which a part is something else than it should be."""
    file = io.BytesIO(valid)
    with h5py.File(file, "r+") as changed:
        for _ in range(random.choice((1, 1, 2))):
            name = random.choice(("data", "label", "validation", "validation/picture.png"))
            if random.random() < 0.3:
                key = random.choice([*changed.attrs, "new"])
                value = random.choice(ODD_VALUES)
                value = (
                    value
                    if isinstance(value, (bool, int, float, str)) and value not in (10**30, "\0")
                    else json.dumps(value)
                )
                changed.attrs[key] = value
                continue
            if name in changed:
                del changed[name]
            if "/" in name and not isinstance(changed.get("validation"), h5py.Group):
                continue
            with_value = random.choice(PARTS)
            with_value(changed, name, random)
    return file.getvalue()


def _group(file, name, random):
    file.create_group(name)


def _array(file, name, random):
    kinds = ("f4", "f8", "u1", "i8", "S5", "?", "c8", [("a", "f4"), ("b", "i2")], h5py.string_dtype(), h5py.ref_dtype)
    shapes = (
        (),
        (0,),
        (4,),
        (0, 16, 16, 1),
        (4, 16, 16, 1),
        (4, 16, 16, 3),
        (4, 7, 9, 1),
        (4, 24, 24, 1),
        (1, 2, 3, 4, 5),
    )
    file.create_dataset(name, random.choice(shapes), random.choice(kinds))


def _endless(file, name, random):
    shape = random.choice(((2**40, 16, 16, 1), (2**62, 1, 1, 1), (2**20, 2**10, 2**10, 1), (64, 2**12, 2**12, 1)))
    file.create_dataset(name, shape, "f4", chunks=random.choice(((1, 1, 1, 1), (16, *shape[1:]))))


def _link(file, name, random):
    links = (h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), h5py.ExternalLink("/etc/passwd", "/data"))
    file[name] = random.choice((*links, file["/"]))


def _elsewhere(file, name, random):
    file.create_dataset(name, (4, 16, 16, 1), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def _virtual(file, name, random):
    layout = h5py.VirtualLayout((4, 16, 16, 1), "f4")
    layout[0] = h5py.VirtualSource("/etc/passwd", "data", (16, 16, 1))
    file.create_virtual_dataset(name, layout)


def _numbers(file, name, random):
    values = random.choice((np.nan, np.inf, 1e38))
    file.create_dataset(name, data=np.full((4, 16, 16, 1), values, "f4"), compression=random.choice((None, "gzip")))


PARTS = (_group, _array, _array, _array, _endless, _link, _elsewhere, _virtual, _numbers)


def attempt(path, folder, random):
    """Open the data set, take batches and the pictures held back, and ask whether it is one of ours."""
    built = is_built(path, SOURCE)
    assert built in (True, False)
    with Dataset(path, 4, memory=random.choice((0, 1 << 30))) as dataset:
        for step in (0, dataset.steps_per_epoch, dataset.steps_per_epoch + 1):
            data, label = dataset.batch(step)
            assert len(data) == len(label) == dataset.batch_size
        dataset.validation()
        {key: int(dataset.attributes[key]) for key in ("image_size", "label_size", "stride")}


def whole(folder, source):
    """A training that has begun leaves its log, whatever becomes of it."""


def command(path, folder):
    """Training on it for a step."""
    line = ["main.py", "--model", "espcn", "--framework", "torch", "--train_dir", path, "--steps", "1"]
    return [*line, "--variant", "widths=4-4", "--checkpoint_dir", folder / "out"]
