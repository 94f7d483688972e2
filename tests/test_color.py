"""RGB and YCbCr: the values MATLAB publishes, round trips, other matrices and ranges."""

import numpy as np
import pytest

from common.color import LUMA_WEIGHTS, luma, rgb_of_planes, rgb_to_ycbcr, ycbcr_to_rgb

MATLAB = {
    (0, 0, 0): (16, 128, 128),
    (255, 255, 255): (235, 128, 128),
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
    (255, 255, 0): (210, 16, 146),
    (0, 255, 255): (170, 166, 16),
    (255, 0, 255): (106, 202, 222),
    (128, 128, 128): (126, 128, 128),
}
BT709 = {(255, 0, 0): (63, 102, 240), (0, 255, 0): (173, 42, 26), (0, 0, 255): (32, 240, 118)}
JPEG = {(255, 0, 0): (76, 85, 255), (0, 255, 0): (150, 44, 21), (0, 0, 255): (29, 255, 107), (0, 0, 0): (0, 128, 128)}
EVERY = [(matrix, full_range) for matrix in LUMA_WEIGHTS for full_range in (False, True)]


def random_colours(kind, seed=0):
    """(40, 50, 3) of any colour at all."""
    generator = np.random.default_rng(seed)
    if np.issubdtype(kind, np.floating):
        return generator.random((40, 50, 3)).astype(kind)
    return generator.integers(0, np.iinfo(kind).max, (40, 50, 3), kind, endpoint=True)


@pytest.mark.parametrize(("rgb", "ycbcr"), MATLAB.items())
def test_values_of_matlab_in_8_bits(rgb, ycbcr):
    assert tuple(rgb_to_ycbcr(np.array(rgb, np.uint8))) == ycbcr
    assert luma(np.array(rgb, np.uint8)) == ycbcr[0]


@pytest.mark.parametrize(("rgb", "ycbcr"), MATLAB.items())
def test_values_of_matlab_in_floating_point(rgb, ycbcr):
    result = rgb_to_ycbcr(np.array(rgb) / 255)
    assert np.abs(result * 255 - ycbcr).max() <= 0.5 + 1e-6
    assert luma(np.array(rgb) / 255) == pytest.approx(result[0])


def test_the_matrix_that_matlab_documents():
    matrix = [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    colours = random_colours(np.float64)
    expected = (colours @ np.transpose(matrix) + (16, 128, 128)) / 255
    assert np.abs(rgb_to_ycbcr(colours) - expected).max() < 1e-5


@pytest.mark.parametrize(("rgb", "ycbcr"), BT709.items())
def test_values_of_bt709(rgb, ycbcr):
    assert tuple(rgb_to_ycbcr(np.array(rgb, np.uint8), "bt709")) == ycbcr


@pytest.mark.parametrize(("rgb", "ycbcr"), JPEG.items())
def test_full_range_is_that_of_jpeg(rgb, ycbcr):
    assert tuple(rgb_to_ycbcr(np.array(rgb, np.uint8), full_range=True)) == ycbcr


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
def test_the_range_of_the_luma(matrix, kind):
    peak = np.iinfo(kind).max
    black_and_white = np.array([[0] * 3, [peak] * 3], kind)
    assert list(rgb_to_ycbcr(black_and_white, matrix)[:, 0]) == [peak // 255 * 16, peak // 255 * 235]
    assert list(rgb_to_ycbcr(black_and_white, matrix, full_range=True)[:, 0]) == [0, peak]


@pytest.mark.parametrize(("matrix", "full_range"), EVERY)
def test_grey_has_neutral_chroma_and_stays_grey(matrix, full_range):
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    ycbcr = rgb_to_ycbcr(grey, matrix, full_range)
    assert (ycbcr[:, 1:] == 128).all()
    assert (np.diff(ycbcr[:, 0].astype(int)) >= 0).all()
    again = ycbcr_to_rgb(ycbcr, matrix, full_range).astype(int)
    assert (again == again[:, :1]).all()
    assert np.abs(again - grey).max() <= 1


@pytest.mark.parametrize(("matrix", "full_range"), EVERY)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_round_trip_in_floating_point(kind, matrix, full_range):
    colours = random_colours(kind)
    again = ycbcr_to_rgb(rgb_to_ycbcr(colours, matrix, full_range), matrix, full_range)
    assert np.abs(again - colours).max() < 1e-6


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("full_range", [False, True])
def test_round_trip_in_integers(full_range, kind):
    """In studio range a step of chroma is worth two of blue, so rounding can cost that much, but seldom does."""
    colours = random_colours(kind)
    again = ycbcr_to_rgb(rgb_to_ycbcr(colours, full_range=full_range), full_range=full_range)
    difference = np.abs(again.astype(int) - colours)
    assert difference.max() <= (1 if full_range else 2)
    assert (difference <= 1).mean() > 0.98


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_type_and_shape_are_kept(kind):
    colours = random_colours(kind)
    for result in (rgb_to_ycbcr(colours), ycbcr_to_rgb(colours)):
        assert result.dtype == kind
        assert result.shape == colours.shape
    assert luma(colours).dtype == kind
    assert luma(colours).shape == colours.shape[:2]


@pytest.mark.parametrize("convert", [luma, rgb_to_ycbcr, ycbcr_to_rgb])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_what_is_converted_beside_it_changes_no_pixel(kind, convert):
    colours = np.tile(random_colours(kind), (3, 4, 1))
    assert np.array_equal(convert(colours), np.tile(convert(random_colours(kind)), (3, 4, *[1] * (convert != luma))))


def test_luma_of_every_colour_is_the_exact_sum_rounded():
    """Of the 16.7 million colours 194 lie just between two values, where digits beyond the 15th decide."""
    green, blue = np.mgrid[0:256, 0:256]
    for red in range(0, 256, 15):
        colours = np.stack([np.full_like(green, red), green, blue], axis=-1)
        whole, rest = divmod(colours @ (65481, 128553, 24966) + 4_080_000 + 127_500, 255_000)
        assert (luma(colours.astype(np.uint8)) == whole)[rest != 0].all()
        assert (rest == 0).mean() < 1e-3


@pytest.mark.parametrize(("kind", "error"), [(np.uint8, 1e-4), (np.uint16, 0.05)])
def test_planes_become_colours_that_are_rounded(kind, error):
    planes = np.random.default_rng(2).normal(0.5, 0.3, (3, 300, 221)).astype(np.float32)  # also impossible ones
    exact = ycbcr_to_rgb(np.moveaxis(planes, 0, -1).astype(np.float64)) * np.iinfo(kind).max
    rgb = rgb_of_planes(*planes, kind)
    assert rgb.dtype == kind
    assert np.abs(rgb - exact).max() <= 0.5 + error


def test_impossible_colours_are_clipped():
    loud = np.array([1.0, 1.0, 1.0])
    assert ycbcr_to_rgb(loud).max() <= 1
    assert ycbcr_to_rgb(-loud).min() >= 0
    assert tuple(ycbcr_to_rgb(np.array([0, 128, 128], np.uint8))) == (0, 0, 0)
    assert tuple(ycbcr_to_rgb(np.array([255, 128, 128], np.uint8))) == (255, 255, 255)


def test_an_unknown_matrix_raises_key_error():
    with pytest.raises(KeyError):
        rgb_to_ycbcr(np.zeros(3), "bt999")
