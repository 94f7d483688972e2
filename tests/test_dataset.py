"""Data sets: layout, contents, damaged pictures, crashes, and batches that anybody can reproduce."""

import itertools
import os
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from common import hdf5, images
from common.dataset import Dataset, DatasetError, Source, build, describe, is_built, split
from common.images import Picture, write_picture
from common.networks import network
from common.patches import degrade, luma_or_rgb

SRCNN = network("srcnn", scale=3)
ESPCN = network("espcn", scale=2)
CASES = {  # network, image_size, label_size
    "srcnn": (SRCNN, 33, 21),
    "srcnn x2": (network("srcnn", scale=2), 21, 9),
    "espcn": (ESPCN, 16, 16),
    "espcn x4": (network("espcn", scale=4), 12, 24),
    "espcn rgb": (network("espcn", scale=3, colour="rgb"), 10, 30),
}


@pytest.fixture
def folder(tmp_path, make_pixels):
    """A function that writes pictures 0.png, 1.png ... and returns their paths."""

    def write(count, height=64, width=76, channels=1):
        paths = [tmp_path / "pictures" / f"{number:02}.png" for number in range(count)]
        for number, path in enumerate(paths):
            write_picture(path, Picture(make_pixels(height, width, channels, seed=number)))
        return paths

    return write


@pytest.fixture
def target(tmp_path):
    return tmp_path / "made" / "set.h5"


def source_for(spec=ESPCN, image_size=16, label_size=16, stride=7, **rest):
    return Source(type(spec).__name__.lower(), spec.to_json(), image_size, label_size, stride, **rest)


def built(target, paths, spec=ESPCN, **options):
    """Build `target` and return it."""
    build(target, paths, spec, source_for(spec, **options))
    return target


def places(length, size, stride):
    return range(0, length - size + 1, stride)


@pytest.mark.parametrize("case", CASES)
def test_layout_of_the_file(case, folder, target):
    spec, image_size, label_size = CASES[case]
    paths = folder(3, channels=3)
    source = source_for(spec, image_size, label_size, 7, seed=5, pictures="three")
    assert build(target, paths, spec, source) == []
    with h5py.File(target) as file:
        data, label = file["data"], file["label"]
        assert data.dtype == label.dtype == np.float32
        assert data.shape[1:] == (image_size, image_size, spec.channels)
        assert label.shape == (len(data), label_size, label_size, spec.channels)
        assert data.maxshape[0] is None
        assert label.chunks[0] > 1
        assert label[()].min() >= 0
        assert label[()].max() <= 1
        assert file.attrs["model"] == source.model
        assert file.attrs["network"] == spec.to_json()
        assert [file.attrs[key] for key in ("image_size", "label_size", "stride", "seed")] == [
            image_size, label_size, 7, 5,
        ]  # fmt: skip
        assert file.attrs["pictures"] == "three"
        assert file.attrs["count"] == len(data)


@pytest.mark.parametrize("stride", [5, 14, 21])
@pytest.mark.parametrize("case", CASES)
def test_the_number_of_sub_images_follows_the_stride(case, stride, folder, target):
    spec, image_size, label_size = CASES[case]
    built(target, folder(1, 77, 95), spec, image_size=image_size, label_size=label_size, stride=stride)
    grow = spec.scale if spec.upscale_first else 1
    rows, columns = (side // spec.scale * grow for side in (77, 95))
    with Dataset(target, 1) as dataset:
        assert len(dataset) == len(places(rows, image_size, stride)) * len(places(columns, image_size, stride))


@pytest.mark.parametrize("case", CASES)
def test_data_is_the_degraded_picture_and_label_its_centre(case, folder, target):
    spec, image_size, label_size = CASES[case]
    (path,) = folder(1, 72, 84, 3)
    built(target, [path], spec, image_size=image_size, label_size=label_size, stride=9)
    high = luma_or_rgb(images.read_picture(path).pixels, spec.colour)
    low, covers = degrade(high, spec), image_size * spec.factor
    margin = (covers - label_size) // 2
    with h5py.File(target) as file:
        corners = itertools.product(*(places(side, image_size, 9) for side in low.shape[:2]))
        for number, (top, left) in enumerate(corners):
            assert np.array_equal(file["data"][number], low[top : top + image_size, left : left + image_size])
            y, x = top * spec.factor + margin, left * spec.factor + margin
            assert np.array_equal(file["label"][number], high[y : y + label_size, x : x + label_size])
        assert number + 1 == len(file["data"])


def test_pictures_are_also_used_smaller(folder, target):
    (path,) = folder(1, 60, 60)
    build(target, [path], ESPCN, source_for(stride=30))
    with Dataset(target, 1) as dataset:
        alone = len(dataset)
    build(target, [path], ESPCN, source_for(stride=30, enlargements=(1.0, 0.6)))
    with Dataset(target, 1) as dataset:
        assert len(dataset) == alone + 1


@pytest.mark.parametrize(("image_size", "label_size"), [(16, 34), (16, 31)])
def test_a_label_that_cannot_lie_in_the_centre_is_refused(image_size, label_size, folder, target):
    with pytest.raises(ValueError, match=r"label|size"):
        built(target, folder(1), image_size=image_size, label_size=label_size)
    assert not target.exists()


@pytest.mark.parametrize("damage", ["truncated", "no picture", "empty"])
def test_a_damaged_picture_is_named_skipped_and_counted(damage, folder, target):
    paths = folder(4)
    whole = paths[0].read_bytes()
    paths[0].write_bytes({"truncated": whole[: len(whole) // 2], "no picture": b"text " * 99, "empty": b""}[damage])
    skipped = build(target, paths, ESPCN, source_for())
    assert [path for path, _ in skipped] == [paths[0]]
    assert "00.png" in skipped[0][1]
    with Dataset(target, 1) as dataset:
        found = len(dataset)
    built(target, paths[1:])
    with Dataset(target, 1) as dataset:
        assert found == len(dataset)


def test_whichever_picture_is_damaged_something_is_left_to_validate_with(folder, target):
    paths = folder(4)
    _, (held_back,) = split(paths)
    held_back.write_bytes(b"no picture at all")
    build(target, paths, ESPCN, source_for())
    with Dataset(target, 1) as dataset:
        assert len(dataset.validation()) == 1


@pytest.mark.parametrize("side", [3, 5])
def test_a_picture_too_small_to_measure_is_not_the_one_to_validate_with(side, folder, target):
    paths = folder(4)
    _, (held_back,) = split(paths)
    write_picture(held_back, Picture(np.zeros((side, 64, 1), np.uint8)), overwrite=True)
    build(target, paths, ESPCN, source_for())
    with Dataset(target, 1) as dataset:
        ((name, _),) = dataset.validation()
        assert name != held_back.name


@pytest.mark.parametrize(("count", "side"), [(0, 64), (3, 20), (1, 1)])
def test_nothing_to_learn_from_is_an_error(count, side, folder, target):
    with pytest.raises(DatasetError, match="sub-image"):
        built(target, folder(count, side, side))
    assert list(target.parent.glob("*")) == []


def test_small_pictures_among_large_ones_are_no_trouble(folder, target, make_pixels):
    paths = folder(3)
    for number, (height, width) in enumerate([(1, 1), (1, 90), (31, 90), (90, 31)]):
        paths.insert(0, paths[0].with_name(f"small{number}.png"))
        write_picture(paths[0], Picture(make_pixels(height, width, 1)))
    assert build(target, paths, ESPCN, source_for()) == []
    with Dataset(target, 1) as dataset:
        assert len(dataset) > 0


@pytest.mark.parametrize("crash", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError])
def test_a_crash_leaves_nothing_behind(crash, folder, target, monkeypatch):
    paths, read, left = folder(5), images.read_pixels, [3]

    def failing(path):
        left[0] -= 1
        if left[0] < 0:
            raise crash
        return read(path)

    monkeypatch.setattr(images, "read_pixels", failing)
    with pytest.raises(crash if isinstance(crash, type) else type(crash)):
        built(target, paths)
    assert list(target.parent.iterdir()) == []
    assert not is_built(target, source_for())


def test_a_crash_leaves_the_data_set_of_before_untouched(folder, target, monkeypatch):
    paths = folder(2)
    built(target, paths)
    before = target.read_bytes()

    def failing(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "read_pixels", failing)
    with pytest.raises(KeyboardInterrupt):
        built(target, paths, stride=3)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_its_end(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]


def without_labels(path):
    with h5py.File(path, "r+") as file:
        del file["label"]


def made_of_text(path):
    path.write_text("no HDF5", encoding="utf-8")


@pytest.mark.parametrize("harm", [cut_short, without_its_end, without_labels, made_of_text])
def test_an_incomplete_file_is_refused(harm, folder, target):
    harm(built(target, folder(2)))
    with pytest.raises(DatasetError, match="no whole"):
        Dataset(target, 4)


def put(name, **what):
    """A function that replaces the array or group `name` of a file."""

    def harm(path):
        with h5py.File(path, "r+") as file:
            del file[name]
            if what:
                file.create_dataset(name, **what)

    harm.__name__ = f"{name} {what}"
    return harm


def link(name, to):
    """A function that puts a link in the place of `name`."""

    def harm(path):
        with h5py.File(path, "r+") as file:
            del file[name]
            file[name] = to

    harm.__name__ = f"{name} {type(to).__name__}"
    return harm


def elsewhere(path):
    """The data lie in another file."""
    secret = path.with_name("secret")
    secret.write_bytes(bytes(4 * 16 * 16 * 4))
    with h5py.File(path, "r+") as file:
        del file["data"]
        file.create_dataset("data", (4, 16, 16, 1), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(path):
    """The data are put together from another file."""
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout((4, 16, 16, 1), "f4")
        layout[0] = h5py.VirtualSource("other.h5", "data", (16, 16, 1))
        del file["data"]
        file.create_virtual_dataset("data", layout)


def attribute(key, *value):
    """A function that gives an attribute another value, or takes it away."""

    def harm(path):
        with h5py.File(path, "r+") as file:
            del file.attrs[key]
            if value:
                file.attrs[key] = value[0]

    harm.__name__ = f"{key} {value}"
    return harm


def spoilt_within(path):
    """The lists of what is in the file are nonsense."""
    data = bytearray(path.read_bytes())
    for name in (b"HEAP", b"SNOD"):
        data[data.index(name) : data.index(name) + 4] = b"oops"
    path.write_bytes(data)


ENDLESS = {"shape": (2**40, 16, 16, 1), "dtype": "f4", "chunks": (1, 16, 16, 1)}
HARMS = [
    *(put("data"), put("data", **ENDLESS), put("label", **ENDLESS), put("data", shape=(0, 16, 16, 1), dtype="f4")),
    *(
        put("data", shape=(4, 16, 16, 1), dtype=kind)
        for kind in ("f8", "u1", "S4", h5py.ref_dtype, h5py.string_dtype())
    ),
    *(put("label", data=np.zeros(shape, "f4")) for shape in ((), (4,), (1, 16, 16, 1), (4, 16, 16, 1, 1))),
    *(put("validation"), put("validation", data=np.zeros(3, "u1"))),
    *(put("validation/00.png", data=np.zeros((9, 9, 1), "f4")), put("validation/00.png", **ENDLESS)),
    *(link("data", h5py.SoftLink("/data")), link("validation", h5py.ExternalLink("other.h5", "/"))),
    *(link("validation/00.png", h5py.SoftLink("/data")), elsewhere, virtual, spoilt_within),
    *(attribute("model"), attribute("network", 3), attribute("stride", "x"), attribute("image_size", np.zeros(3))),
    attribute("complete", np.zeros(2)),
]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_file_that_holds_something_else_is_refused_in_a_sentence(harm, folder, target):
    harm(built(target, folder(1)))
    assert is_built(target, source_for()) in (True, False)
    with pytest.raises(DatasetError) as error, Dataset(target, 4):
        pass
    assert target.name in str(error.value) and len(str(error.value).splitlines()) == 1


def hang():
    while True:
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is tried elsewhere")
@pytest.mark.parametrize("trouble", [hang, os.abort])
def test_a_file_over_which_the_library_hangs_or_breaks_down(trouble, folder, target, monkeypatch):
    built(target, folder(1))
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    monkeypatch.setattr(h5py, "File", lambda *_: trouble())
    with pytest.raises(DatasetError, match="so damaged that HDF5 cannot read it"):
        Dataset(target, 4)
    assert not is_built(target, source_for())


def test_a_file_that_is_cut_short_while_it_is_read(folder, target):
    built(target, folder(1))
    with Dataset(target, 4, memory=0) as dataset:
        dataset.batch(0)
        cut_short(target)  # by another program, meanwhile
        for read in (lambda: dataset.batch(1), dataset.validation):
            with pytest.raises(DatasetError, match="cut short while it was read|no whole HDF5 file"):
                read()


@pytest.mark.parametrize("harm", [cut_short, without_its_end, made_of_text])
def test_an_incomplete_file_is_built_anew(harm, folder, target):
    harm(built(target, folder(2)))
    assert not is_built(target, source_for())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"missing\.h5"):
        Dataset(tmp_path / "missing.h5", 4)


def test_a_data_set_is_reused_for_the_same_source_only(folder, target):
    paths = folder(2)
    assert not is_built(target, source_for())
    built(target, paths)
    assert is_built(target, source_for())
    others = [
        source_for(stride=8), source_for(label_size=14), source_for(seed=1), source_for(pictures="others"),
        source_for(enlargements=(1.0, 0.5)), source_for(network("espcn", scale=3)),
    ]  # fmt: skip
    assert not any(is_built(target, other) for other in others)


def test_a_long_description_of_the_pictures_fits(folder, target):
    source = source_for(pictures="name, " * 50_000)
    build(target, folder(2), ESPCN, source)
    assert is_built(target, source)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_named_twice_is_still_trained_on(count):
    paths = [Path("c.mkv")] * count + [Path("0.png"), Path("1.png")]
    assert split(paths) == ([Path("0.png"), Path("1.png")] + [Path("c.mkv")] * count, [Path("c.mkv")] * count)
    assert split(paths[:count]) == (paths[:count], paths[:count])


def test_another_picture_of_the_same_name_and_size_is_another(folder):
    (path,) = folder(1)
    before, content = describe([path]), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert describe([path]) != before


@pytest.mark.parametrize("count", [2, 5, 19, 20, 47, 200, 1000])
def test_pictures_held_back(count):
    paths = [f"{number:04}.png" for number in range(count)]
    training, held_back = split(paths)
    assert sorted([*training, *held_back]) == paths
    assert 1 <= len(held_back) <= 10
    assert len(training) >= len(held_back)


def test_pictures_held_back_are_not_in_training(tmp_path, target):
    """Each picture has a grey of its own, so the file tells which went where."""
    paths = [tmp_path / f"{number:02}.png" for number in range(21)]
    for number, path in enumerate(paths):
        write_picture(path, Picture(np.full((40, 40, 1), 10 * number + 5, np.uint8)))
    built(target, paths)
    with Dataset(target, 1) as dataset:
        seen = set(np.round(dataset.data[()] * 255).astype(int).ravel())
        held_back = {int(pixels[0, 0, 0]) for _, pixels in dataset.validation()}
        assert {name for name, _ in dataset.validation()} <= {path.name for path in paths}
    assert held_back
    assert not seen & held_back
    assert seen | held_back == {10 * number + 5 for number in range(21)}


def test_whole_pictures_are_held_back(folder, target):
    paths = folder(3, channels=3)
    _, (held_back,) = split(paths)
    built(target, paths)
    with Dataset(target, 1) as dataset:
        ((name, pixels),) = dataset.validation()
    assert name == held_back.name
    assert np.array_equal(pixels, images.read_picture(held_back).pixels)


def test_one_picture_alone_serves_for_both(folder, target):
    with Dataset(built(target, folder(1)), 4) as dataset:
        assert len(dataset) > 0
        assert len(dataset.validation()) == 1


def first_batches(path, count, seed=0, first=0, batch_size=4, **options):
    with Dataset(path, batch_size, seed, **options) as dataset:
        endless = dataset.batches(first)
        result = list(itertools.islice(endless, count))
        endless.close()
    return result


def same(first, second):
    return all(
        np.array_equal(ours, theirs)
        for one, other in zip(first, second, strict=True)
        for ours, theirs in zip(one, other, strict=True)
    )


def test_the_same_seed_gives_the_same_batches(folder, target):
    built(target, folder(2))
    assert same(first_batches(target, 12, seed=3), first_batches(target, 12, seed=3))
    assert not same(first_batches(target, 12, seed=3), first_batches(target, 12, seed=4))


def test_batches_from_memory_and_from_disk_are_the_same(folder, target):
    built(target, folder(2))
    assert same(first_batches(target, 12), first_batches(target, 12, memory=0))


@pytest.mark.parametrize("first", [1, 5, 13])
def test_batches_can_begin_at_any_step(first, folder, target):
    built(target, folder(2))
    whole = first_batches(target, first + 6)
    assert same(first_batches(target, 6, first=first), whole[first:])
    with Dataset(target, 4) as dataset:
        assert same([dataset.batch(first)], whole[first : first + 1])


def test_data_and_label_of_a_batch_belong_together(folder, target):
    spec, image_size, label_size = CASES["srcnn"]
    built(target, folder(2), spec, image_size=image_size, label_size=label_size, stride=5)
    for data, label in first_batches(target, 5):
        centre = data[:, 6:-6, 6:-6]
        assert 2 * np.abs(centre - label).mean() < np.abs(centre[::-1] - label).mean()


@pytest.mark.parametrize("batch_size", [1, 3, 7, 8, 1000])
def test_every_sub_image_comes_once_an_epoch(batch_size, folder, target):
    """Those that fill no whole batch at the end of an epoch wait for another one."""
    built(target, folder(2))
    with Dataset(target, batch_size) as dataset:
        number = {sub_image.tobytes(): index for index, sub_image in enumerate(dataset.data[()])}
        assert len(number) == len(dataset)
        orders = []
        for epoch in range(3):
            steps = range(epoch * dataset.steps_per_epoch, (epoch + 1) * dataset.steps_per_epoch)
            orders.append([number[sub_image.tobytes()] for step in steps for sub_image in dataset.batch(step)[0]])
        size = min(batch_size, len(dataset))
        assert all(len(order) == len(set(order)) == len(dataset) // size * size for order in orders)
        assert size == len(dataset) or orders[0] != orders[1] != orders[2]


def test_a_data_set_that_fails_under_way_says_so(folder, target):
    built(target, folder(2))
    with Dataset(target, 4, memory=0) as dataset:
        endless = dataset.batches()
        next(endless)
        dataset.file.close()
        with pytest.raises(DatasetError, match="data set"):
            for _ in range(20):
                next(endless)


def test_memory_does_not_grow_with_the_number_of_pictures(folder, target):
    def peak(paths):
        tracemalloc.start()
        built(target, paths, stride=40)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    paths = folder(60, 120, 120)
    peak(paths[:3])  # what is loaded and cached once
    assert peak(paths) < 1.3 * peak(paths[:15])  # four times as many
