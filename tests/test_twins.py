"""Both frameworks compute the same function: forward, backward and training step, for every network there is."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from common import backend
from common.networks import NETWORKS, network
from common.patches import degrade, luma_or_rgb, sub_images
from common.samples import photograph
from common.weights import initial_tensors, shipped_scales, weights_for

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("tensorflow", "torch")
EVERY = [(name, scale) for name, spec in NETWORKS.items() for scale in spec.scales]
TWINS = ["layers", "losses", "optimizers", "runtime", "training", *sorted({spec.module for spec in NETWORKS.values()})]
NETWORK_FILES = sorted({spec.module for spec in NETWORKS.values()})
STEPS = 20


@pytest.fixture(scope="module")
def picture():
    """(H, W, 3) uint8 with detail everywhere; the sides are odd."""
    return photograph("coffee").pixels[100:221, 200:333]


def runtimes(spec, tensors, precision="fp32"):
    return [backend.load(name, "runtime").Runtime(spec, tensors, "cpu", precision) for name in FRAMEWORKS]


def trainings(spec, recipe, precision="fp32"):
    start = initial_tensors(spec, seed=1)
    return [backend.load(name, "training").Training(spec, start, recipe, "cpu", precision) for name in FRAMEWORKS]


def small_batches(spec, recipe, picture):
    """Seeded batches of 8 real sub-images."""
    high = luma_or_rgb(picture, spec.colour)
    label = (recipe.image_size - 2 * spec.halo) * spec.factor
    data, label = sub_images(high, spec, recipe.image_size, label, 5)
    generator = np.random.default_rng(0)
    while True:
        chosen = generator.integers(0, len(data), 8)
        yield data[chosen], label[chosen]


def largest_difference(first, second):
    return max(float(np.abs(first[key] - second[key]).max()) for key in first)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_shipped_for_every_scale(name):
    assert tuple(shipped_scales(name)) == NETWORKS[name].scales


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_shipped_weights_give_the_same_picture(name, scale, picture):
    weights = weights_for(name, scale)
    spec = weights.network
    for rows, columns in ((120, 132), (67, 113)):
        low = degrade(luma_or_rgb(picture, spec.colour)[: rows // scale * scale, : columns // scale * scale], spec)
        ours, theirs = (runtime(low[None]) for runtime in runtimes(spec, weights.tensors))
        assert ours.shape == theirs.shape
        assert ours.shape[1] == (low.shape[0] - 2 * spec.halo) * spec.factor
        assert np.abs(ours - theirs).max() <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_rgb_networks_shuffle_their_channels_alike(name, picture):
    spec = network(name, colour="rgb", scale=2)
    low = degrade(luma_or_rgb(picture, "rgb")[:60, :64], spec)
    ours, theirs = (runtime(low[None]) for runtime in runtimes(spec, initial_tensors(spec, 3)))
    assert ours.shape[-1] == 3
    assert np.abs(ours - theirs).max() <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_lower_precision_stays_near_and_keeps_the_head_exact(name, picture):
    weights = weights_for(name, 3)
    low = degrade(luma_or_rgb(picture, weights.network.colour)[:60, :63], weights.network)
    for exact, rounded in zip(
        runtimes(weights.network, weights.tensors), runtimes(weights.network, weights.tensors, "bf16"), strict=True
    ):
        difference = np.abs(exact(low[None]) - rounded(low[None]))
        assert 0 < difference.max() < 0.03
        assert difference.mean() < 0.003


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_agree(name, picture):
    spec = network(name)
    recipe = dataclasses.replace(spec.recipe, clip_norm=0.01)
    data, label = next(small_batches(spec, recipe, picture))
    gradients = []
    for training in trainings(spec, recipe):
        loss, named = training.gradients(data, label) if isinstance(training.device, str) else None
        gradients.append({"loss": np.asarray(loss), **{key: np.asarray(value) for key, value in named.items()}})
    assert set(gradients[0]) == {"loss", *spec.shapes}
    assert largest_difference(*gradients) <= 1e-6


@pytest.mark.parametrize("optimizer", ["soap", "adam", "sgd"])
@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_training_steps_agree(name, optimizer, picture):
    spec = network(name)
    recipe = dataclasses.replace(spec.recipe, optimizer=optimizer, learning_rate=1e-3)
    twins, batches = trainings(spec, recipe), small_batches(spec, recipe, picture)
    for step in range(STEPS):
        data, label = next(batches)
        losses = [float(training.step(data, label, recipe.rate(step, 0))) for training in twins]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    first, second = (training.state() for training in twins)
    assert set(first) == set(second)
    weights = [{key: state[key] for key in state if not key.startswith("optimizer/")} for state in (first, second)]
    assert largest_difference(*weights) <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_training_in_double_precision_agrees_to_the_last_digits(name, picture):
    spec = network(name)
    twins, batches = trainings(spec, spec.recipe, "fp64"), small_batches(spec, spec.recipe, picture)
    for step in range(STEPS):
        data, label = next(batches)
        for training in twins:
            training.step(data, label, spec.recipe.rate(step, 0))
    assert largest_difference(*(training.weights() for training in twins)) <= 1e-8


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_moves_from_one_framework_to_the_other(name, picture):
    spec = network(name)
    (tensorflow, torch), batches = trainings(spec, spec.recipe), small_batches(spec, spec.recipe, picture)
    for _ in range(3):
        tensorflow.step(*next(batches), 1e-3)
    torch.load_state(tensorflow.state())
    data, label = next(batches)
    tensorflow.step(data, label, 1e-3)
    torch.step(data, label, 1e-3)
    assert largest_difference(tensorflow.weights(), torch.weights()) <= 1e-6


@pytest.mark.parametrize(("name", "scale"), EVERY)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_dataclass_knows_the_shapes(name, scale, framework):
    spec = network(name, scale=scale)
    model = backend.load(framework, "runtime").build(spec)
    named = backend.load(framework, "layers").named_weights(model)
    assert {key: tuple(value.shape) for key, value in named.items()} == spec.shapes


def test_parameter_counts_are_those_of_the_papers():
    assert network("srcnn", kernels=(9, 1, 5)).parameters == 8_129
    assert network("srcnn", kernels=(9, 3, 5)).parameters == 24_513
    assert network("srcnn").parameters == 57_281
    assert [network("espcn", scale=scale).parameters for scale in (2, 3, 4)] == [21_284, 22_729, 24_752]


@pytest.mark.parametrize("module", TWINS)
def test_twin_files_have_the_same_names_in_the_same_order(module):
    assert outline("tf_models", module) == outline("torch_models", module)


@pytest.mark.parametrize("module", NETWORK_FILES)
def test_network_files_differ_in_their_first_lines_only(module):
    tensorflow, torch = (
        (ROOT / package / f"{module}.py").read_text(encoding="utf-8").splitlines()
        for package in ("tf_models", "torch_models")
    )
    assert len(tensorflow) == len(torch)
    words = (("torch_models", "tf_models"), ("from torch import nn", "import keras"), ("nn.Module", "keras.Model"))
    words = (*words, ("def forward(", "def call("))
    for ours, theirs in zip(tensorflow, torch, strict=True):
        for torch_word, tensorflow_word in words:
            theirs = theirs.replace(torch_word, tensorflow_word)
        assert ours == theirs


def outline(package, module):
    """Names of classes, functions and methods in order, with the docstrings of classes and networks."""
    tree = ast.parse((ROOT / package / f"{module}.py").read_text(encoding="utf-8"))
    names = []
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.append(node.name)
        if isinstance(node, ast.ClassDef):
            names += [f"{node.name}.{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)]
    same = {"forward": "call", "Conv.forward": "Conv.call"}
    return [same.get(name, name).replace(".forward", ".call") for name in names if name not in PARTICULAR]


# tf.function wants the step as one graph; PyTorch copies to the host in a function.
PARTICULAR = {"Training.update", "to_numpy"}
