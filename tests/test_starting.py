"""A wider network that begins as a narrower one, trained before."""

import numpy as np
import pytest

from common.backend import load
from common.networks import network
from common.starting import StartError, started
from common.weights import Weights, initial_tensors

WIDER = {  # network: (options, widths)
    "drcn": ({"scale": 2, "recursions": 3}, (4, 12)),
    "srresnet": ({"scale": 4, "blocks": 2}, (4, 8)),
}


def begun(name, seed=0):
    """(the narrow network's `Weights`, the wide one's)."""
    options, (narrow, wide) = WIDER[name]
    before = network(name, width=narrow, **options)
    generator = np.random.default_rng(1)
    tensors = {
        key: (array + generator.uniform(0, 0.1, array.shape)).astype(np.float32)
        for key, array in initial_tensors(before, 0).items()
    }
    given, spec = Weights(name, before, tensors), network(name, width=wide, **options)
    return given, Weights(name, spec, started(given, spec, initial_tensors(spec, 0), seed))


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize("name", WIDER)
def test_the_wider_network_computes_the_same(name, framework):
    picture = np.random.default_rng(2).random((1, 24, 20, begun(name)[0].network.inputs), np.float32)
    results = []
    for weights in begun(name):
        runtime = load(framework, "runtime").Runtime(weights.network, weights.tensors, "cpu", "fp32")
        results.append(runtime(picture))
    assert np.abs(results[0]).max() > 0.01
    assert np.allclose(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WIDER)
def test_copies_of_a_map_are_not_used_alike(name):
    narrow, wide = begun(name)
    for key, array in wide.tensors.items():
        few = narrow.tensors[key].shape
        if array.ndim > 1 and few[1] < array.shape[1]:
            assert not np.allclose(array[:, : few[1]], array[:, few[1] : 2 * few[1]]), key
        if array.ndim > 1 and few[0] < array.shape[0] and few[1] < array.shape[1]:
            assert not np.allclose(array[: few[0]], array[few[0] : 2 * few[0]]), key


def test_the_same_seed_begins_alike():
    first, second, other = (begun("drcn", seed)[1].tensors["inference.weight"] for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "options", [{"scale": 2, "recursions": 6}, {"scale": 3, "recursions": 3}], ids=["recursions", "scale"]
)
def test_another_difference_leaves_nothing_in_common(options):
    narrow, _ = begun("drcn")
    wide = network("drcn", width=12, **options)
    with pytest.raises(StartError):
        started(narrow, wide, initial_tensors(wide, 0), 0)
