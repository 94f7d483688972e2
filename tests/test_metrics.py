"""PSNR and SSIM against known values and scikit-image, and every switch of the protocol."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from common.color import luma
from common.images import read_picture
from common.metrics import Protocol, compare, papers_protocol, psnr, ssim
from common.patches import crop_to_multiple, luma_or_rgb
from common.resize import resize

EXACT = Protocol(rounding=False)
BICUBIC_SSIM_OF_SET5 = {2: 0.9299, 3: 0.8682, 4: 0.8104}  # as the papers print it


def noisy_pair(make_pixels, channels=1, height=48, width=37):
    """(truth, estimate) in [0, 1], (H, W) or (H, W, 3)."""
    truth = make_pixels(height, width, channels) / 255
    noise = np.random.default_rng(1).normal(0, 0.03, truth.shape)
    pair = truth, np.clip(truth + noise, 0, 1)
    return tuple(image[..., 0] for image in pair) if channels == 1 else pair


def skimage_ssim(truth, estimate, **options):
    """Mean of scikit-image's SSIM with the window of Wang et al., where that window lies inside the picture."""
    _, similarity = structural_similarity(
        truth, estimate, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True, **options
    )
    return similarity[5:-5, 5:-5].mean()


@pytest.mark.parametrize(("difference", "decibels"), [(0.1, 20), (0.01, 40), (1, 0), (1 / 255, 48.1308)])
def test_psnr_of_a_constant_difference(difference, decibels):
    truth = np.zeros((7, 9))
    assert psnr(truth, truth + difference) == pytest.approx(decibels, abs=1e-4)


def test_psnr_of_integers_does_not_wrap_around():
    assert psnr(np.uint8([0, 255]), np.uint8([255, 0]), peak=255) == pytest.approx(0)
    assert psnr(np.uint8([10]), np.uint8([11]), peak=255) == pytest.approx(48.1308, abs=1e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_psnr_is_the_mean_of_the_squared_differences(kind):
    generator, peak = np.random.default_rng(3), 1 if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    truth, estimate = ((generator.random((300, 333)) * peak).astype(kind) for _ in range(2))
    mean = np.mean(np.square(truth.astype(np.float64) - estimate))
    assert psnr(truth, estimate, peak) == pytest.approx(10 * np.log10(peak**2 / mean), abs=1e-7)


def test_equal_pictures(make_pixels):
    picture = make_pixels(20, 20, 1)[..., 0] / 255
    assert psnr(picture, picture) == float("inf")
    assert ssim(picture, picture) == pytest.approx(1)


@pytest.mark.parametrize(("height", "width"), [(48, 37), (11, 200), (43, 171), (75, 332)])
def test_ssim_is_that_of_scikit_image(height, width, make_pixels):
    truth, estimate = noisy_pair(make_pixels, 1, height, width)
    assert ssim(truth, estimate) == pytest.approx(skimage_ssim(truth, estimate, data_range=1), abs=1e-7)
    assert 0.3 < ssim(truth, estimate) < 0.99


def test_ssim_is_the_mean_of_its_published_form(make_pixels):
    truth, estimate = noisy_pair(make_pixels, 1, 75, 203)
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def mean(image):
        return np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(image, (11, 11)), window)

    x, y, c1, c2 = mean(truth), mean(estimate), 0.01**2, 0.03**2
    covariance, variances = mean(truth * estimate) - x * y, mean(truth**2) - x**2 + mean(estimate**2) - y**2
    index = (2 * x * y + c1) * (2 * covariance + c2) / ((x**2 + y**2 + c1) * (variances + c2))
    assert ssim(truth, estimate) == pytest.approx(index.mean(), abs=1e-12)


def test_ssim_with_a_peak_of_255(make_pixels):
    truth, estimate = (image * 255 for image in noisy_pair(make_pixels))
    assert ssim(truth, estimate, peak=255) == pytest.approx(skimage_ssim(truth, estimate, data_range=255), abs=1e-7)


def test_ssim_of_colour_is_the_mean_over_the_channels(make_pixels):
    truth, estimate = noisy_pair(make_pixels, 3)
    expected = skimage_ssim(truth, estimate, data_range=1, channel_axis=-1)
    assert ssim(truth, estimate) == pytest.approx(expected, abs=1e-7)


def test_ssim_is_undefined_below_its_window():
    small = np.zeros((10, 40))
    assert np.isnan(ssim(small, small))
    assert ssim(np.zeros((11, 11)), np.zeros((11, 11))) == pytest.approx(1)


def test_colour_luma_compares_the_y_of_matlab(make_pixels):
    truth, estimate = noisy_pair(make_pixels, 3)
    on_luma = compare(truth, estimate, EXACT)
    assert on_luma == compare(luma(truth), luma(estimate), EXACT)
    assert on_luma["psnr"] == pytest.approx(psnr(luma(truth), luma(estimate)))


def test_colour_rgb_compares_the_channels_as_they_are(make_pixels):
    truth, estimate = noisy_pair(make_pixels, 3)
    result = compare(truth, estimate, Protocol(colour="rgb", rounding=False))
    assert result["psnr"] == pytest.approx(psnr(truth, estimate))
    assert result["psnr"] < compare(truth, estimate, EXACT)["psnr"]


@pytest.mark.parametrize("colour", ["luma", "rgb"])
def test_grey_is_compared_unchanged(colour, make_pixels):
    truth, estimate = noisy_pair(make_pixels)
    protocol = Protocol(colour=colour, rounding=False)
    assert compare(truth, estimate, protocol)["psnr"] == pytest.approx(psnr(truth, estimate))
    assert compare(truth[..., None], estimate[..., None], protocol) == pytest.approx(compare(truth, estimate, protocol))


@pytest.mark.parametrize("border", [1, 3, 4])
def test_border_is_not_compared(border, make_pixels):
    truth, estimate = noisy_pair(make_pixels)
    spoilt = estimate.copy()
    spoilt[:border] = spoilt[-border:] = 1
    spoilt[:, :border] = spoilt[:, -border:] = 1
    protocol = Protocol(border=border)
    assert compare(truth, spoilt, protocol) == compare(truth, estimate, protocol)
    assert compare(truth, spoilt, Protocol(border=border - 1)) != compare(truth, estimate, Protocol(border=border - 1))


def test_rounding_compares_what_a_file_would_hold():
    truth = np.full((12, 12), 100 / 255)
    assert compare(truth, truth + 0.4 / 255, Protocol())["psnr"] == float("inf")
    assert compare(truth, truth + 0.6 / 255, Protocol())["psnr"] == pytest.approx(48.1308, abs=1e-4)
    assert compare(truth, truth + 0.4 / 255, EXACT)["psnr"] < 60
    assert compare(np.ones((12, 12)), np.full((12, 12), 1.3), Protocol())["psnr"] == float("inf")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_protocol_of_the_papers(scale):
    assert papers_protocol(scale) == Protocol(colour="luma", border=scale, rounding=True)


@pytest.mark.parametrize(("scale", "published"), BICUBIC_SSIM_OF_SET5.items())
def test_bicubic_reaches_the_published_ssim(scale, published, shared_data):
    figures = []
    for path in sorted((shared_data / "test" / "Set5").glob("*.png")):
        truth = crop_to_multiple(luma_or_rgb(read_picture(path).pixels, "luma"), scale)
        figures.append(compare(truth, resize(resize(truth, 1 / scale), scale), papers_protocol(scale))["ssim"])
    assert np.mean(figures) == pytest.approx(published, abs=0.001)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_different_sizes_raise_value_error(measure):
    with pytest.raises(ValueError, match="different sizes"):
        measure(np.zeros((12, 12)), np.zeros((12, 13)))


def test_compare_refuses_different_sizes_and_nothing_left():
    with pytest.raises(ValueError, match="different sizes"):
        compare(np.zeros((12, 12)), np.zeros((12, 13)), Protocol())
    with pytest.raises(ValueError, match="border"):
        compare(np.zeros((8, 30)), np.zeros((8, 30)), Protocol(border=4))
    with pytest.raises(ValueError, match="border"):
        compare(np.zeros((3, 3)), np.zeros((3, 3)), Protocol(border=4))
