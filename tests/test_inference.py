"""What is done to a network to make it fast changes nothing of what it computes."""

import numpy as np
import pytest
import torch
from test_twins import VARIANTS

from common.networks import network
from common.weights import initial_tensors
from torch_models import inference, layers
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


@pytest.mark.skipif(not inference.can_fuse(), reason="this PyTorch lacks oneDNN's fused convolutions")
@pytest.mark.parametrize(("rows", "columns"), [(64, 48), (67, 50)])
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_fused_convolutions_change_nothing(name, options, rows, columns, batch):
    spec = network(name, **options)
    windows = batch(spec, *(-(-side // spec.grid) * spec.grid for side in (rows, columns)))
    runtime = Runtime(spec, started(spec), "cpu", "fp32")
    assert any(isinstance(part, inference.FusedConv) for part in runtime.graph.modules())
    with torch.inference_mode():
        plain = to_nhwc(runtime.model(from_nhwc(windows, "cpu")))
    assert np.abs(runtime(windows) - plain).max() <= 1e-5 * max(1, np.abs(plain).max())


@pytest.mark.parametrize(("height", "width"), [(1, 9), (7, 1), (16, 23)])
def test_frames_are_moved_as_the_network_moves_them(height, width):
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 1, height, width, generator=generator)
    flows = 12 * torch.randn(2, 2, height, width, generator=generator)
    assert (inference.sampled(images, flows) - layers.warp(images, flows)).abs().max() <= 1e-6


@pytest.mark.skipif(not inference.can_fuse(), reason="this PyTorch lacks oneDNN's fused convolutions")
def test_a_shared_convolution_is_kept_once():
    spec = network("drcn", recursions=5, width=8)
    fused = inference.fused(Runtime(spec, started(spec), "cpu", "fp32").model)
    assert sum(isinstance(part, inference.FusedConv) for part in fused.modules()) == len(spec.convolutions)


def test_new_weights_are_used_at_once(batch):
    spec = network("espcn", widths=(4, 4))
    first, second = initial_tensors(spec, seed=1), initial_tensors(spec, seed=2)
    runtime = Runtime(spec, first, "cpu", "fp32")
    runtime.load(second)
    assert np.array_equal(runtime(batch(spec)), Runtime(spec, second, "cpu", "fp32")(batch(spec)))


def test_without_the_operators_the_network_is_used_as_it_is(monkeypatch, batch):
    monkeypatch.setattr(inference, "can_fuse", lambda: False)
    spec = network("espcn", widths=(4, 4))
    runtime = Runtime(spec, initial_tensors(spec, seed=1), "cpu", "fp32")
    assert runtime.graph is runtime.model
    assert runtime(batch(spec)).shape == (2, 168, 120, 1)
