"""Bicubic resizing equals MATLAB's, reaches the published figures, and behaves for every size and type."""

import numpy as np
import pytest

from common.color import luma
from common.images import read_picture
from common.metrics import psnr
from common.patches import crop_to_multiple
from common.resize import resize

SCALES = (2, 3, 4)
PUBLISHED = {"Set5": (33.66, 30.39, 28.42), "Set14": (30.23, 27.54, 26.00)}
FACTORS = (0.25, 1 / 3, 0.4, 0.73, 1, 1.37, 2, 2.5, 3, 4)


def ramp(rows, columns):
    """(rows, columns) rising to the right and downwards, and the function it was made by."""
    y, x = np.mgrid[0:rows, 0:columns]
    return plane(y, x)


def plane(y, x):
    return 0.2 + 0.01 * y - 0.005 * x


def centres(old, new):
    """Where the pixels of the new axis lie, in pixels of the old one."""
    return (np.arange(new) + 0.5) * old / new - 0.5


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("scale", SCALES)
def test_every_pixel_is_that_of_matlab(scale, number, shared_data):
    truth = read_picture(shared_data / "test" / "Set5" / f"img_{number:03}.png").pixels
    theirs = read_picture(shared_data / "matlab" / f"Set5_x{scale}" / f"img_{number:03}.png").pixels
    truth = crop_to_multiple(truth, scale)
    assert np.array_equal(resize(truth, 1 / scale, border="clamp"), theirs)
    mirrored = resize(truth, 1 / scale)
    assert mirrored.shape == theirs.shape
    assert np.array_equal(mirrored[2:-2, 2:-2], theirs[2:-2, 2:-2])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("folder", PUBLISHED)
def test_bicubic_reaches_the_published_psnr(folder, scale, shared_data):
    figures = []
    for path in sorted((shared_data / "test" / folder).glob("*.png")):
        pixels = crop_to_multiple(read_picture(path).pixels, scale)
        truth = luma(pixels) if pixels.shape[2] == 3 else pixels[..., 0]
        again = resize(resize(truth / 255, 1 / scale), scale)
        inside = (slice(scale, -scale), slice(scale, -scale))
        figures.append(psnr(truth[inside].astype(float), np.round(np.clip(again, 0, 1) * 255)[inside], peak=255))
    assert len(figures) == int(folder.removeprefix("Set"))
    assert np.mean(figures) == pytest.approx(PUBLISHED[folder][scale - 2], abs=0.02)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("border", ["mirror", "clamp"])
@pytest.mark.parametrize("scale", FACTORS)
def test_a_constant_picture_stays_constant(scale, border, antialias):
    result = resize(np.full((17, 12), 0.3), scale, border=border, antialias=antialias)
    assert np.abs(result - 0.3).max() < 1e-12


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_constant_picture_of_integers_stays_constant(value, kind):
    assert (resize(np.full((9, 9, 3), value, kind), 2.5) == value).all()


@pytest.mark.parametrize("scale", FACTORS)
def test_the_new_size_is_rounded_up(scale):
    result = resize(np.zeros((17, 12)), scale)
    assert result.shape == (int(np.ceil(17 * scale - 1e-9)), int(np.ceil(12 * scale - 1e-9)))


@pytest.mark.parametrize("new", [(80, 64), (60, 48), (51, 37), (20, 16), (10, 8), (5, 4)])
def test_a_ramp_stays_a_ramp_inside(new):
    result = resize(ramp(20, 16), size=new)
    y, x = centres(20, new[0]), centres(16, new[1])
    reach = 2 * max(1, 20 // new[0])  # of the kernel, in old pixels
    rows, columns = (y >= reach) & (y <= 19 - reach), (x >= reach) & (x <= 15 - reach)
    expected = plane(*np.meshgrid(y, x, indexing="ij"))
    assert np.abs(result - expected)[np.ix_(rows, columns)].max(initial=0) < 1e-9


def test_a_quadratic_is_reproduced_when_enlarged():
    x = np.arange(20.0)
    result = resize(np.tile(x**2, (20, 1)), 3)
    expected = centres(20, 60) ** 2
    assert np.abs(result[30, 8:-8] - expected[8:-8]).max() < 1e-9


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("scale", [0.5, 0.37, 3, 1.7])
def test_a_mirrored_picture_gives_the_mirrored_result(scale, flip, make_pixels):
    picture = make_pixels(30, 20, 1)[..., 0] / 255
    size = size_of(picture, scale)
    mirrored = np.flip(resize(np.flip(picture, flip), size=size), flip)
    assert np.abs(mirrored - resize(picture, size=size)).max() < 1e-12


def size_of(picture, scale):
    return tuple(round(scale * side) for side in picture.shape)


@pytest.mark.parametrize("size", [(7, 31), (40, 9), (20, 20), (1, 1)])
def test_size_asks_for_rows_and_columns(size, make_pixels):
    assert resize(make_pixels(20, 30), size=size).shape == (*size, 3)


@pytest.mark.parametrize("scale", [2, 3, 0.5])
def test_size_and_scale_agree(scale, make_pixels):
    picture = make_pixels(24, 30)
    assert np.array_equal(resize(picture, scale), resize(picture, size=size_of(picture[..., 0], scale)))


def test_size_of_the_picture_itself_changes_nothing(make_pixels):
    picture = make_pixels(11, 13)
    assert np.array_equal(resize(picture, size=(11, 13)), picture)


def test_axes_say_where_rows_and_columns_are(make_pixels):
    picture = make_pixels(12, 15) / 255
    expected = resize(picture, 3)
    batch = np.stack([picture, picture[::-1]])
    assert np.allclose(resize(batch, 3, axes=(1, 2))[0], expected, atol=1e-12)
    planar = np.moveaxis(picture, -1, 0)
    assert np.allclose(resize(planar, 3, axes=(1, 2)), np.moveaxis(expected, -1, 0), atol=1e-12)
    assert np.allclose(resize(planar, 3, axes=(-2, -1)), np.moveaxis(expected, -1, 0), atol=1e-12)


def test_channels_do_not_mix(make_pixels):
    picture = make_pixels(12, 15)
    together = resize(picture, 0.6)
    assert all(np.array_equal(together[..., k], resize(picture[..., k], 0.6)) for k in range(3))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.5, 3])
def test_the_type_is_kept(scale, kind):
    assert resize(np.ones((8, 8), kind), scale).dtype == kind


def test_the_input_is_left_alone(make_pixels):
    picture = make_pixels(12, 15)
    before = picture.copy()
    resize(picture, 1.5)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("scale", [0.5, 2, 1.3])
def test_16_bits_are_as_exact_as_floating_point(scale, make_pixels):
    picture = make_pixels(20, 22, depth=16)
    exact = resize(picture.astype(np.float64), scale)
    assert np.abs(resize(picture, scale) - np.clip(exact, 0, 65535)).max() <= 1.5
    assert np.abs(resize(picture, scale) - exact).mean() < 0.5


def test_single_precision_is_near_double(make_pixels):
    picture = make_pixels(40, 50, 1) / 255
    assert np.abs(resize(picture.astype(np.float32), 3) - resize(picture, 3)).max() < 1e-6


def test_floats_overshoot_and_integers_are_clipped():
    edge = np.zeros((8, 8))
    edge[:, 4:] = 1
    assert resize(edge, 3).min() < -0.01
    assert resize(edge, 3).max() > 1.01
    bright = (edge * 255).astype(np.uint8)
    assert set(np.unique(resize(bright, 3)[:, :6])) <= set(range(0, 12))  # nothing wraps around to 250
    assert resize(bright, 3)[:, -6:].min() > 243


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (1, 1, 3), (2, 1)])
@pytest.mark.parametrize("scale", [0.3, 0.5, 2, 3, 4.5])
def test_pictures_of_a_pixel_or_two(shape, scale):
    result = resize(np.full(shape, 0.7), scale)
    assert min(result.shape[:2]) >= 1
    assert np.abs(result - 0.7).max() < 1e-12


def test_antialias_sees_every_pixel_and_without_it_only_the_nearest_count():
    stripes = np.tile([0.0, 1.0], (32, 16))
    assert np.abs(resize(stripes, 0.25)[:, 2:-2] - 0.5).max() < 0.05
    dot = np.zeros((48, 48))
    dot[24, 27] = 1  # the nearest samples of a twelfth of the size are at 17.5 and 29.5
    assert resize(dot, 1 / 12).max() > 0
    assert resize(dot, 1 / 12, antialias=False).any() == 0


@pytest.mark.parametrize("scale", [2, 3.3])
def test_antialias_changes_nothing_when_enlarging(scale, make_pixels):
    picture = make_pixels(10, 12)
    assert np.array_equal(resize(picture, scale), resize(picture, scale, antialias=False))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"scale": 2, "size": (4, 4)}, {"scale": 0}, {"scale": -1}, {"size": (0, 4)}, {"scale": 2, "border": "wrap"}],
    ids=str,
)
def test_impossible_requests_raise_value_error(arguments):
    with pytest.raises(ValueError):
        resize(np.zeros((8, 8)), **arguments)


def test_an_empty_picture_raises_value_error():
    with pytest.raises(ValueError):
        resize(np.zeros((0, 8)), 2)
