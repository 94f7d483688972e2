"""Both frameworks compute the same function: forward, backward and training step, for every network there is."""

import ast
import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common import backend
from common.networks import NETWORKS, network
from common.patches import degrade, in_one_row, luma_or_rgb, sub_images, sub_windows
from common.recipes import LOSSES, OPTIMIZERS
from common.samples import photograph
from common.weights import initial_tensors, shipped_scales, weights_for

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ("tensorflow", "torch")
EVERY = [(name, scale) for name, spec in NETWORKS.items() for scale in spec.scales]
TWINS = ["layers", "losses", "optimizers", "runtime", "training", *sorted({spec.module for spec in NETWORKS.values()})]
NETWORK_FILES = sorted({spec.module for spec in NETWORKS.values()})
STEPS = 20
SHIPPED = {"srresnet": (4,), "srgan": (4,)}  # scales of those not trained for all of theirs
TRAINED = [name for name in NETWORKS if shipped_scales(name)]
# The others have kinks (VESPCN one at every whole pixel of flow) or gradients so small (SRResNet, SRGAN) that the
# rounding of float32 decides the direction of a step; their training is compared in double precision.
STEADY = [name for name in NETWORKS if name not in ("vespcn", "srresnet", "srgan")]
UNSTEADY = {("drcn", "soap")}  # in float32, for the same reason
COLOURED = [name for name in NETWORKS if name != "vespcn"]
# What makes a network small enough for tests; at its full size DRCN is tested in test_drcn.py.
SMALL = {
    "drcn": {"recursions": 3, "width": 16},
    "srresnet": {"blocks": 2, "width": 16},
    "srgan": {"blocks": 2, "width": 16},
}
# Networks at their defaults, and variants that take other paths through the code.
VARIANTS = [
    *[(name, SMALL.get(name, {})) for name in NETWORKS],
    ("espcn", {"activation": "relu"}),
    ("srcnn", {"kernels": (9, 1, 5)}),
    ("vespcn", {"frames": 1, "depth": 5}),
    ("vespcn", {"motion": "none"}),
    ("vespcn", {"frames": 5, "fusion": "slow", "depth": 7}),
    ("vespcn", {"frames": 5, "fusion": "shared", "depth": 7, "motion": "none"}),
    ("srresnet", {"blocks": 1, "width": 8, "scale": 2, "colour": "luma", "ending": "tanh"}),
]


@pytest.fixture(scope="module")
def picture():
    """(H, W, 3) uint8 with detail everywhere; the sides are odd."""
    return photograph("coffee").pixels[100:221, 200:333]


def small(name, **options):
    """Network `name`, its widths and depth fit for tests."""
    return network(name, **SMALL.get(name, {}), **options)


def runtimes(spec, tensors, precision="fp32"):
    return [backend.load(name, "runtime").Runtime(spec, tensors, "cpu", precision) for name in FRAMEWORKS]


def trainings(spec, recipe, precision="fp32", start=None):
    start = start or initial_tensors(spec, seed=1)
    return [backend.load(name, "training").Training(spec, start, recipe, "cpu", precision) for name in FRAMEWORKS]


def shortened(spec):
    """The recipe of `spec` with sub-images as small as it can learn from."""
    size = min(spec.recipe.image_size, 2 * spec.margin + 12)
    return dataclasses.replace(spec.recipe, image_size=-(-size // spec.grid) * spec.grid)


def clip_of(picture, spec):
    """(T, H, W) float32: the picture, drifting by (2, 1) pixels a frame."""
    luma = luma_or_rgb(picture, "luma")[..., 0]
    return np.stack([luma[t : t + 110, 2 * t : 2 * t + 110] for t in range(spec.frames + 2)])


def seen(picture, spec, rows, columns):
    """What network `spec` sees of a part of the picture, at about rows x columns of output: (H, W, inputs)."""
    rows, columns = rows // spec.scale * spec.scale, columns // spec.scale * spec.scale
    if spec.frames == 1:
        return degrade(luma_or_rgb(picture, spec.colour)[:rows, :columns], spec)
    frames = clip_of(picture, spec)[: spec.frames, :rows, :columns, None]
    return np.concatenate([degrade(frame, spec) for frame in frames], axis=-1)


def small_batches(spec, recipe, picture):
    """Seeded batches of 8 real sub-images."""
    label = (recipe.image_size - 2 * spec.margin) * spec.factor
    if spec.frames == 1:
        windows = sub_images(luma_or_rgb(picture, spec.colour), spec, recipe.image_size, label, 5)
        data, label = map(in_one_row, windows)
    else:
        data, label = sub_windows(clip_of(picture, spec), spec, recipe.image_size, label, 5)
    generator = np.random.default_rng(0)
    while True:
        chosen = generator.integers(0, len(data), 8)
        yield data[chosen], label[chosen]


def largest_difference(first, second):
    return max(float(np.abs(first[key] - second[key]).max()) for key in first)


@pytest.mark.parametrize("name", TRAINED)
def test_weights_are_shipped_for_the_scales_that_are_said(name):
    assert tuple(shipped_scales(name)) == SHIPPED.get(name, NETWORKS[name].scales)


@pytest.mark.parametrize(("name", "scale"), [(name, scale) for name in TRAINED for scale in shipped_scales(name)])
def test_shipped_weights_give_the_same_picture(name, scale, picture):
    weights = weights_for(name, scale)
    compare_pictures(weights.network, weights.tensors, picture)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_every_variant_gives_the_same_picture(name, options, picture):
    spec = network(name, **options)
    tensors = initial_tensors(spec, seed=2)
    generator = np.random.default_rng(2)
    for key in tensors:  # flows of several pixels and statistics that are not 0 and 1, as trained ones are
        tensors[key] = tensors[key] * (10 if key.endswith("conv5.weight") else 1)
        if key in spec.statistics:
            tensors[key] = tensors[key] + np.float32(generator.uniform(0, 0.5, tensors[key].shape))
    compare_pictures(spec, tensors, picture)


def compare_pictures(spec, tensors, picture):
    for rows, columns in ((108, 96), (97, 109)):
        low = seen(picture, spec, rows, columns)
        low = low[: low.shape[0] // spec.grid * spec.grid, : low.shape[1] // spec.grid * spec.grid]
        ours, theirs = (runtime(low[None]) for runtime in runtimes(spec, tensors))
        assert ours.shape == theirs.shape
        assert ours.shape[1] == (low.shape[0] - 2 * spec.margin) * spec.factor
        assert np.abs(ours - theirs).max() <= 1e-5


@pytest.mark.parametrize("name", COLOURED)
def test_rgb_networks_shuffle_their_channels_alike(name, picture):
    spec = small(name, colour="rgb", scale=2)
    low = degrade(luma_or_rgb(picture, "rgb")[:60, :64], spec)
    ours, theirs = (runtime(low[None]) for runtime in runtimes(spec, initial_tensors(spec, 3)))
    assert ours.shape[-1] == 3
    assert np.abs(ours - theirs).max() <= 1e-5


@pytest.mark.parametrize("name", TRAINED)
def test_lower_precision_stays_near_and_keeps_the_head_exact(name, picture):
    scales = shipped_scales(name)
    weights = weights_for(name, 3 if 3 in scales else scales[-1])
    low = seen(picture, weights.network, 96, 96)
    for exact, rounded in zip(
        runtimes(weights.network, weights.tensors), runtimes(weights.network, weights.tensors, "bf16"), strict=True
    ):
        difference = np.abs(exact(low[None]) - rounded(low[None]))
        assert 0 < difference.max() < 0.03
        assert difference.mean() < 0.003


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_gradients_agree(name, options, picture):
    spec = network(name, **options)
    recipe = dataclasses.replace(shortened(spec), clip_norm=0.01)
    first, second = gradients_of_both(spec, recipe, picture)
    assert set(first) == {"loss", *spec.shapes} - spec.statistics
    assert largest_difference(first, second) <= 1e-6


def gradients_of_both(spec, recipe, picture):
    """The loss and gradients by name of the first batch, in each framework."""
    data, label = next(small_batches(spec, recipe, picture))
    gradients = []
    for framework, training in zip(FRAMEWORKS, trainings(spec, recipe), strict=True):
        layers = backend.load(framework, "layers")
        loss, named = training.gradients(layers.from_nhwc(data, "cpu"), layers.from_nhwc(label, "cpu"), 0.2)
        gradients.append({"loss": np.asarray(loss), **{key: np.asarray(value) for key, value in named.items()}})
    return gradients


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_their_gradients_agree(loss, picture):
    spec = small("espcn")
    first, second = gradients_of_both(spec, dataclasses.replace(shortened(spec), loss=loss), picture)
    assert largest_difference(first, second) <= 1e-6


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_logarithmic_loss_counts_a_share_of_any_error_alike(framework):
    """It falls as the mean PSNR rises, as much for a small error as for a large one, if both are well above 1e-4."""
    layers, loss = backend.load(framework, "layers"), backend.load(framework, "losses").LOSSES["log_mse"]
    dim, bright = (np.full((1, 4, 4, 1), value, np.float32) for value in (0.1, 1.0))
    both, brighter, dimmer = (
        float(loss(layers.from_nhwc(np.concatenate(pair), "cpu")))
        for pair in ((dim, bright), (dim, bright / 10), (dim / 10, bright))
    )
    assert both - brighter == pytest.approx(1e-3 * np.log(100) / 2, rel=0.01)
    assert both - dimmer == pytest.approx(1e-3 * np.log(100 / 2) / 2, rel=0.01)  # 1e-4 counts half


@pytest.mark.parametrize(("name", "optimizer"), [pair for pair in product(STEADY, OPTIMIZERS) if pair not in UNSTEADY])
def test_twenty_training_steps_agree(name, optimizer, picture):
    spec = small(name)
    recipe = dataclasses.replace(shortened(spec), optimizer=optimizer, learning_rate=1e-3)
    first, second = after_steps(trainings(spec, recipe), small_batches(spec, recipe, picture), recipe)
    assert set(first) == set(second)
    weights = [{key: state[key] for key in state if not key.startswith("optimizer/")} for state in (first, second)]
    assert largest_difference(*weights) <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_training_in_double_precision_agrees(name, picture):
    spec = small(name)
    recipe = shortened(spec)
    start = weights_for(name, 3).tensors if name == "vespcn" else None  # random flows cross whole pixels all the time
    states = after_steps(trainings(spec, recipe, "fp64", start), small_batches(spec, recipe, picture), recipe)
    weights = [{key: state[key] for key in state if not key.startswith("optimizer/")} for state in states]
    assert largest_difference(*weights) <= (1e-5 if name == "vespcn" else 1e-8)


def after_steps(twins, batches, recipe):
    """The states of both after the same steps."""
    for step in range(STEPS):
        data, label = next(batches)
        losses = [float(training.step(data, label, recipe.rate(step, 0), step / STEPS)) for training in twins]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    return [training.state() for training in twins]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_moves_from_one_framework_to_the_other(name, picture):
    spec = small(name)
    recipe = shortened(spec)
    precision = "fp32" if name in STEADY else "fp64"
    (first, second), batches = trainings(spec, recipe, precision), small_batches(spec, recipe, picture)
    for _ in range(3):
        first.step(*next(batches), 1e-3)
    second.load_state(first.state())
    data, label = next(batches)
    first.step(data, label, 1e-3)
    second.step(data, label, 1e-3)
    assert largest_difference(first.weights(), second.weights()) <= 1e-6


@pytest.mark.parametrize("name", [name for name, spec in NETWORKS.items() if spec().statistics])
def test_the_statistics_of_a_run_are_those_it_keeps(name, picture):
    spec = small(name)
    recipe = dataclasses.replace(shortened(spec), average=0.0)
    for training in trainings(spec, recipe):
        batches = small_batches(spec, recipe, picture)
        for _ in range(3):
            training.step(*next(batches), 1e-3)
        kept, state = training.weights(), training.state()
        assert all(np.array_equal(kept[key], state[f"weights/{key}"]) for key in kept)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_batch_normalisation_is_that_of_pytorch(framework, picture):
    layers = backend.load(framework, "layers")
    # Few pixels, as the sums of PyTorch on one thread lose digits.
    batch = luma_or_rgb(picture, "rgb")[None, :10, :12] + np.arange(4, dtype=np.float32)[:, None, None, None]
    norm = layers.BatchNorm(3)
    layers.load_tensors(norm, {"weight": np.float32([1, 2, 3]), "bias": np.float32([0, 1, 2]), **statistics(3)})
    theirs = nn.BatchNorm2d(3)
    start = {key: layers.to_numpy(value) for key, value in layers.named_weights(norm).items()}
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in start.items()})
    for measuring in (True, True, False):
        norm.measuring = measuring
        theirs.train(measuring)
        ours = layers.to_numpy(norm(layers.from_nhwc(batch, "cpu")))
        expected = theirs(torch.from_numpy(batch).permute(0, 3, 1, 2)).detach()
        expected = expected if framework == "torch" else expected.permute(0, 2, 3, 1)
        assert np.abs(ours - expected.numpy()).max() <= 1e-5
    for key, value in layers.named_weights(norm).items():
        assert np.abs(layers.to_numpy(value) - theirs.state_dict()[key].numpy()).max() <= 1e-6


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("kernel", "factor"), [(9, 2), (3, 2), (5, 3)])
def test_a_convolution_before_shuffling_is_the_one_after(framework, kernel, factor):
    layers, generator = backend.load(framework, "layers"), np.random.default_rng(0)
    before = layers.ConvOfShuffled(4, 3, kernel, factor)
    after = layers.Conv(4, 3, kernel, padded=True)
    shapes = {key: layers.to_numpy(value).shape for key, value in layers.named_weights(after).items()}
    tensors = {key: generator.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    for layer in (before, after):
        layers.load_tensors(layer, tensors)
    maps = layers.from_nhwc(generator.standard_normal((2, 7, 6, 4 * factor**2)).astype(np.float32), "cpu")
    expected = layers.to_numpy(after(layers.pixel_shuffle(maps, factor)))
    assert np.abs(layers.to_numpy(before(maps)) - expected).max() <= 1e-4


def statistics(width):
    return {"running_mean": np.zeros(width, np.float32), "running_var": np.ones(width, np.float32)}


def test_weights_with_statistics_load_in_plain_pytorch():
    spec = small("srresnet")
    model = backend.load("torch", "runtime").build(spec)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in initial_tensors(spec, 0).items()})


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_warping_moves_by_the_flow(framework, picture):
    layers = backend.load(framework, "layers")
    image = np.ascontiguousarray(luma_or_rgb(picture, "luma")[None, :40, :50])

    def warped(dx, dy):
        flow = np.broadcast_to(np.float32([dx, dy]), (*image.shape[:3], 2)).copy()
        return layers.to_nhwc(layers.warp(layers.from_nhwc(image, "cpu"), layers.from_nhwc(flow, "cpu")))

    assert np.array_equal(warped(0, 0), image)
    assert np.array_equal(warped(1, 0)[:, :, :-1], image[:, :, 1:])
    assert np.array_equal(warped(0, -2)[:, 2:], image[:, :-2])
    assert np.allclose(warped(0.25, 0)[:, :, :-1], 0.75 * image[:, :, :-1] + 0.25 * image[:, :, 1:], atol=1e-6)
    assert np.array_equal(warped(1000, 0), np.broadcast_to(image[:, :, -1:], image.shape))


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
    assert [network("vespcn", scale=scale, motion="none").parameters for scale in (3, 4)] == [39_081, 40_600]
    assert network("drcn").parameters == 1_775_105 + 16  # of the ensemble
    assert network("vespcn").parameters == 39_081 + 33_008 + 20_384
    # 1,549,462 with one slope a PReLU, and with biases before batch normalisation, which has its own.
    assert network("srresnet").parameters == 1_549_462 + 19 * 63 - 33 * 64


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
    return [same.get(name, name).replace(".forward", ".call") for name in names]
