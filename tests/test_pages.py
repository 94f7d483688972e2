"""Pages of letters and lines, and what the shipped networks make of them."""

import numpy as np
import pytest

from common import pages
from common.images import read_picture
from common.metrics import psnr
from common.networks import NETWORKS
from common.patches import crop_to_multiple, luma_or_rgb
from common.resize import resize
from common.upscaler import Upscaler
from common.weights import shipped_scales, weights_for

BEYOND = 0.5  # of the range, that a network may draw beside it where it meets letters
GAIN = 0.5  # dB over bicubic interpolation, at least
SIDES = {"drcn": 96, "srresnet": 192, "srgan": 192}  # of the part of a page, where others take 400
SHIPPED = [(name, scale) for name in NETWORKS for scale in shipped_scales(name)]


def test_pages_are_always_the_same_and_of_all_contrasts():
    page = pages.page(3)
    assert page.shape == (pages.SIDE, pages.SIDE, 3) and page.dtype == np.uint8
    assert np.array_equal(page, pages.page(3)) and not np.array_equal(page, pages.page(4))
    assert page.min() == 0 and page.max() == 255 and len(np.unique(page[::8, ::8].reshape(-1, 3), axis=0)) > 50


def test_the_command_writes_pages_and_replaces_none_unasked(tmp_path, capsys):
    assert pages.main([str(tmp_path / "new"), "--count", "2"]) == 0
    paths = capsys.readouterr().out.split()
    assert [read_picture(path).pixels.shape for path in paths] == [(pages.SIDE, pages.SIDE, 3)] * 2
    assert pages.main([str(tmp_path / "new"), "--count", "3"]) == 1
    assert capsys.readouterr().err.count("exists") == 1
    assert pages.main([str(tmp_path / "new"), "--count", "3", "--overwrite"]) == 0


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_shipped_networks_draw_letters_better_than_bicubic_and_do_not_overshoot(name, scale):
    weights, side = weights_for(name, scale), SIDES.get(name, 400)
    page = pages.page(seed=105)[384:, 384:][:side, :side]
    truth = crop_to_multiple(luma_or_rgb(page, weights.network.colour), scale)
    low = resize(truth, 1 / scale)
    drawn = Upscaler(weights, "torch", "cpu", "fp32").planes(np.tile(low, weights.network.frames))
    drawn = drawn.reshape(truth.shape)
    assert truth.min() - BEYOND <= drawn.min() and drawn.max() <= truth.max() + BEYOND
    assert psnr(np.clip(drawn, 0, 1), truth) > psnr(np.clip(resize(low, scale), 0, 1), truth) + GAIN
