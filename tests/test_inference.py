"""What is done to a network to make it fast changes nothing of what it computes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_twins import VARIANTS

from common.bf16 import fitted, nearest, rounded
from common.images import read_picture
from common.metrics import psnr
from common.networks import network
from common.patches import crop_to_multiple, luma_or_rgb
from common.resize import resize
from common.upscaler import Upscaler
from common.weights import Weights, initial_tensors, weights_for
from torch_models import bf16, inference, layers
from torch_models.fused import FusedConv, FusedHead, can_fuse, sampled
from torch_models.inference import fused
from torch_models.layers import from_nhwc, to_nhwc
from torch_models.runtime import Runtime


def started(spec):
    """Weights with statistics that are not 0 and 1, as trained ones are."""
    generator, tensors = np.random.default_rng(3), initial_tensors(spec, seed=3)
    for key in spec.statistics:
        tensors[key] = tensors[key] + generator.uniform(0, 0.5, tensors[key].shape).astype(np.float32)
    return tensors


@pytest.fixture
def batch():
    def seeded(spec, rows=64, columns=48):
        return np.random.default_rng(4).random((2, rows, columns, spec.inputs), np.float32)

    return seeded


@pytest.mark.skipif(not can_fuse(), reason="this PyTorch lacks oneDNN's fused convolutions")
@pytest.mark.parametrize(("rows", "columns"), [(64, 48), (67, 50)])
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_fused_convolutions_change_nothing(name, options, rows, columns, batch):
    spec = network(name, **options)
    windows = batch(spec, *(-(-side // spec.grid) * spec.grid for side in (rows, columns)))
    runtime = Runtime(spec, started(spec), "cpu", "fp32")
    assert any(isinstance(part, FusedConv) for part in runtime.graph.modules())
    with torch.inference_mode():
        plain = to_nhwc(runtime.model(from_nhwc(windows, "cpu")))
    assert np.abs(runtime(windows) - plain).max() <= 1e-5 * max(1, np.abs(plain).max())


@pytest.mark.parametrize(("height", "width"), [(1, 9), (7, 1), (16, 23)])
def test_frames_are_moved_as_the_network_moves_them(height, width):
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 1, height, width, generator=generator)
    flows = 12 * torch.randn(2, 2, height, width, generator=generator)
    assert (sampled(images, flows) - layers.warp(images, flows)).abs().max() <= 1e-6


@pytest.mark.skipif(not can_fuse(), reason="this PyTorch lacks oneDNN's fused convolutions")
def test_a_shared_convolution_is_kept_once():
    spec = network("drcn", recursions=5, width=8)
    model = fused(Runtime(spec, started(spec), "cpu", "fp32").model, spec)
    assert sum(isinstance(part, FusedConv) for part in model.modules()) == len(spec.convolutions)


def test_kernels_in_bf16_keep_their_sums():
    kernel = 0.1 * torch.randn(8, 5, 5, 5, generator=torch.Generator().manual_seed(6))
    found = torch.from_numpy(rounded(kernel.numpy()))
    assert torch.equal(found.bfloat16().float(), found)
    assert ((found - kernel).abs() <= kernel.abs().amax((2, 3), keepdim=True) / 2**6).all()
    least = kernel.flatten(2).abs().amin(2)  # whose rounding is all that is left
    assert ((found - kernel).sum((2, 3)).abs() <= least / 2**8 + 1e-4).all()
    assert (found - kernel).sum((2, 3)).abs().mean() < 0.1 * (kernel.bfloat16() - kernel).sum((2, 3)).abs().mean()
    numbers = torch.cat([torch.randn(1000, generator=torch.Generator().manual_seed(7)), torch.arange(-300.0, 300.0)])
    assert np.array_equal(nearest(numbers.numpy()), numbers.bfloat16().float().numpy())


@pytest.mark.parametrize("pointwise", ["relu", "tanh"])
def test_maps_stored_otherwise_are_the_same_maps(pointwise):
    generator = torch.Generator().manual_seed(7)
    first, second = (torch.randn(shape, generator=generator) / 10 for shape in ((6, 3, 3, 3), (4, 6, 3, 3)))
    bias = 2 * torch.randn(6, generator=generator)
    x, end = torch.rand(2, 3, 20, 20, generator=generator), torch.zeros(4)
    maps = {"relu": F.relu, "tanh": torch.tanh}[pointwise](F.conv2d(x, first, bias))
    form = bf16.form_of(pointwise, maps)
    stored = F.conv2d(x, *form.written(first, bias))
    stored = torch.sigmoid(stored) if form.pointwise == "sigmoid" else F.hardtanh(stored, *form.scalars)
    assert (F.conv2d(stored, *form.read(second, end)) - F.conv2d(maps, second, end)).abs().max() < 1e-5
    assert stored.square().mean() < maps.square().mean()  # small numbers have small errors


@pytest.mark.parametrize(("centre", "as_they_are"), [(0, True), (2, False)])
def test_tangents_near_one_are_stored_otherwise(centre, as_they_are):
    maps = torch.tanh(centre + 0.3 * torch.randn(1, 4, 9, 9, generator=torch.Generator().manual_seed(8)))
    plain, formed = maps.bfloat16().float(), bf16.form_of("tanh", maps).kept(maps)
    assert ((plain - maps).square().mean() < (formed - maps).square().mean()) == as_they_are


def test_kernels_fitted_to_what_they_read_change_its_products_less():
    generator = torch.Generator().manual_seed(9)
    first, kernel = (0.1 * torch.randn(shape, generator=generator) for shape in ((6, 1, 5, 5), (4, 6, 3, 3)))
    maps = torch.tanh(F.conv2d(bf16.likely_picture(1), first))
    found = torch.from_numpy(fitted(kernel.numpy(), bf16.moments_of(maps, 3)))
    assert torch.equal(found.bfloat16().float(), found)
    exact = F.conv2d(maps, kernel)
    ours, nearest_ones = ((F.conv2d(maps, k) - exact).square().mean() for k in (found, kernel.bfloat16().float()))
    assert ours < nearest_ones / 4


@pytest.mark.skipif(not can_fuse("bf16"), reason="this PyTorch lacks oneDNN's fused convolutions in bf16")
@pytest.mark.parametrize("name", ["srcnn", "espcn", "vespcn"])
def test_bf16_loses_less_than_a_hundredth_of_a_decibel(name, shared_data):
    precise, quick = (Upscaler(weights_for(name, 3), "torch", "cpu", precision) for precision in ("fp32", "bf16"))
    lost = []
    for path in sorted((shared_data / "test" / "Set5").glob("*.png")):
        truth = crop_to_multiple(luma_or_rgb(read_picture(path).pixels, "luma"), 3)
        figures = [psnr(truth, np.clip(one.planes(resize(truth, 1 / 3)), 0, 1)) for one in (precise, quick)]
        lost.append(figures[0] - figures[1])
    assert len(lost) == 5 and np.mean(lost) < 0.01


@pytest.mark.skipif(not can_fuse("bf16"), reason="this PyTorch lacks oneDNN's fused convolutions in bf16")
@pytest.mark.parametrize("name", ["espcn", "vespcn", "srresnet", "srgan"])
def test_the_picture_itself_is_not_rounded_to_bf16(name):
    """Rounded to 8 binary digits, what lies between 1/2 and 1 would be multiples of 1/256."""
    weights = weights_for(name, 4)
    precise, quick = (Runtime(weights.network, weights.tensors, "cpu", precision) for precision in ("fp32", "bf16"))
    assert any(isinstance(part, FusedHead) for part in quick.graph.modules())
    slope = np.linspace(0.55, 0.95, 44, dtype=np.float32)[:, None, None]
    low = np.broadcast_to(slope, (1, 44, 40, weights.network.inputs)).copy()
    wanted, result = precise(low), quick(low)
    assert np.abs(result - wanted).mean() < 0.3 / 255
    assert np.abs(256 * result - np.round(256 * result)).mean() > 0.15


UNUSUAL = {
    "many layers without padding": ("vespcn", {"motion": "none", "width": 4, "depth": 34}),
    "wide kernels": ("srcnn", {"kernels": (33, 33, 5), "widths": (4, 4)}),
}


@pytest.mark.skipif(not can_fuse("bf16"), reason="this PyTorch lacks oneDNN's fused convolutions in bf16")
@pytest.mark.parametrize("case", UNUSUAL)
def test_networks_of_unusual_sizes_compute_in_bf16(case):
    name, options = UNUSUAL[case]
    spec = network(name, **options)
    precise, quick = (Upscaler(Weights(name, spec, started(spec)), "torch", "cpu", kind) for kind in ("fp32", "bf16"))
    low = np.random.default_rng(4).random((24, 28, spec.channels), np.float32)
    wanted = precise.planes(low)
    assert np.abs(quick.planes(low) - wanted).max() < 0.05 * np.abs(wanted - wanted.mean()).max() + 0.01


@pytest.mark.skipif(not can_fuse("bf16"), reason="this PyTorch lacks oneDNN's fused convolutions in bf16")
@pytest.mark.parametrize("maps", [1, 8, 9])
def test_a_picture_is_drawn_in_bf16_from_few_maps(maps):
    spec = network("espcn", widths=(16, maps))
    tensors = {key: np.zeros_like(array) for key, array in initial_tensors(spec, seed=0).items()}
    for name, value in (("conv1", 0.5), ("conv2", 1), ("conv3", 2)):  # passes the middle pixel on
        kernel = tensors[f"{name}.weight"]
        kernel[:: len(kernel) if name != "conv3" else 1, 0, kernel.shape[2] // 2, kernel.shape[3] // 2] = value
    precise, quick = (Runtime(spec, tensors, "cpu", precision) for precision in ("fp32", "bf16"))
    assert any(isinstance(part, FusedHead) for part in quick.graph.modules())
    low = np.random.default_rng(4).random((1, 24, 28, 1), np.float32)
    assert np.abs(quick(low) - precise(low)).max() < 0.01


@pytest.mark.skipif(not can_fuse("bf16"), reason="this PyTorch lacks oneDNN's fused convolutions in bf16")
def test_a_layer_that_is_never_active_is_computed_in_bf16():
    spec = network("srcnn", widths=(4, 4))
    tensors = started(spec) | {"conv1.bias": np.full(4, -50, np.float32)}
    low = np.random.default_rng(4).random((1, 24, 28, 1), np.float32)
    precise, quick = (Runtime(spec, tensors, "cpu", precision)(low) for precision in ("fp32", "bf16"))
    assert np.abs(quick - precise).max() < 0.01


@pytest.mark.skipif(not can_fuse("bf16"), reason="this PyTorch lacks oneDNN's fused convolutions in bf16")
def test_what_is_no_picture_is_not_stored_as_one():
    spec = network("srresnet", scale=2, width=8, blocks=1)
    generator = np.random.default_rng(1)
    noise = {
        key: generator.standard_normal(array.shape).astype(np.float32) / 8 if array.ndim == 4 else array
        for key, array in initial_tensors(spec, seed=1).items()
    }
    precise, quick = (Runtime(spec, noise, "cpu", precision) for precision in ("fp32", "bf16"))
    low = np.random.default_rng(2).random((2, 17, 12, 3), np.float32)
    wanted = precise(low)
    assert np.abs(quick(low) - wanted).max() < 0.05 * np.abs(wanted - wanted.mean()).max()


@pytest.mark.parametrize(("name", "tolerance"), [("srcnn", 0.5 / 255), ("espcn", 1e-5), ("vespcn", 1e-5)])
def test_tiles_in_bf16_are_those_of_the_whole(name, tolerance):
    low = resize(np.random.default_rng(9).random((9, 12, 1), np.float32), 5)
    whole, tiled = (Upscaler(weights_for(name, 3), "torch", "cpu", "bf16", tile).planes(low) for tile in (0, 21))
    assert np.abs(tiled - whole).max() <= tolerance


@pytest.mark.skipif(not can_fuse(), reason="this PyTorch lacks oneDNN's fused convolutions")
def test_bf16_is_computed_on_a_processor_without_its_instructions():
    """oneDNN, told to use none later than AVX2, refuses kernels in bf16; PyTorch's own convolution takes them."""
    program = (
        "import numpy as np; from common.networks import network; from common.weights import initial_tensors\n"
        "from torch_models.runtime import Runtime, choose_precision\n"
        "spec = network('espcn', widths=(4, 4))\n"
        "runtime = Runtime(spec, initial_tensors(spec, 1), 'cpu', 'bf16')\n"
        "print(runtime(np.ones((1, 20, 20, 1), np.float32)).shape, choose_precision('auto', 'cpu', spec))"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 36, 36, 1) fp32\n", done.stderr


def test_new_weights_are_used_at_once(batch):
    spec = network("espcn", widths=(4, 4))
    first, second = initial_tensors(spec, seed=1), initial_tensors(spec, seed=2)
    runtime = Runtime(spec, first, "cpu", "fp32")
    runtime.load(second)
    assert np.array_equal(runtime(batch(spec)), Runtime(spec, second, "cpu", "fp32")(batch(spec)))


def test_without_the_operators_the_network_is_used_as_it_is(monkeypatch, batch):
    monkeypatch.setattr(inference, "can_fuse", lambda precision: False)
    spec = network("espcn", widths=(4, 4))
    runtime = Runtime(spec, initial_tensors(spec, seed=1), "cpu", "fp32")
    assert runtime.graph is runtime.model
    assert runtime(batch(spec)).shape == (2, 168, 120, 1)
