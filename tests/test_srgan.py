"""SRGAN: discriminator, VGG19 features, adversarial steps, and the runs that use them, the same in both frameworks."""

import dataclasses
import functools
import json
import signal

import h5py
import numpy as np
import pooch
import pytest

import main
from common import backend, experiments, vgg
from common import training as runs
from common.dataset import Source, build
from common.errors import WeightsError
from common.images import Picture, write_picture
from common.networks import VGG19, Discriminator, network
from common.training import Run
from common.vgg import fetched, vgg_tensors
from common.weights import initial_tensors, load_weights, read_safetensors

FRAMEWORKS = ("tensorflow", "torch")
SPEC = network("srgan", blocks=1, width=4)
STEPS = 20
TERMS = {"loss", "content_loss", "adversarial_loss", "discriminator_loss", "d_real", "d_fake"}


def models(spec, tensors, precision="fp32"):
    """(layers module, network with these weights) in each framework."""
    built = []
    for framework in FRAMEWORKS:
        layers, model = (backend.load(framework, "layers"), backend.load(framework, "runtime").build(spec, precision))
        layers.load_tensors(model, tensors)
        built.append((layers, model))
    return built


def batch(generator, side, count=4):
    """(count, side, side, 3) float32 in [0, 1] with coarse and fine detail."""
    coarse = generator.random((count, side // 8, side // 8, 3)).repeat(8, 1).repeat(8, 2)
    return (0.7 * coarse + 0.3 * generator.random((count, side, side, 3))).astype(np.float32)


def trainings(recipe=SPEC.recipe, precision="fp32", features=None, frameworks=FRAMEWORKS):
    rival = SPEC.discriminator(32)
    others = {"discriminator": (rival, initial_tensors(rival, 2)), "features": features}
    start = initial_tensors(SPEC, 1)
    return [
        backend.load(name, "training").Adversarial(SPEC, start, recipe, "cpu", precision, **others)
        for name in frameworks
    ]


def largest_difference(first, second):
    assert set(first) == set(second)
    return max(float(np.abs(first[key] - second[key]).max()) for key in first)


@pytest.mark.parametrize("measuring", [False, True])
@pytest.mark.parametrize("spec", [Discriminator(), Discriminator(3, 32, 16), Discriminator(1, 16, 4)])
def test_the_discriminator_says_the_same(spec, measuring):
    pictures = batch(np.random.default_rng(0), spec.side)[..., : spec.channels]
    verdicts = []
    for layers, model in models(spec, initial_tensors(spec, 0)):
        layers.set_measuring(model, measuring)
        verdicts.append(layers.to_numpy(model(layers.from_nhwc(pictures, "cpu"))))
    assert verdicts[0].shape == (4, 1)
    assert np.ptp(verdicts[0]) > 1e-3
    assert np.abs(verdicts[0] - verdicts[1]).max() <= 1e-5


def test_srresnet_draws_the_same_by_the_statistics_of_the_batch():
    spec, pictures, results = network("srresnet"), batch(np.random.default_rng(0), 24), []
    for layers, model in models(spec, initial_tensors(spec, 0)):
        layers.set_measuring(model, True)
        enlarged = layers.to_numpy(model(layers.from_nhwc(pictures, "cpu")))
        statistics = {key: layers.to_numpy(layers.named_weights(model)[key]) for key in spec.statistics}
        results.append({"enlarged": enlarged, **statistics})
    results[1]["enlarged"] = results[1]["enlarged"].transpose(0, 2, 3, 1)
    assert results[0]["enlarged"].shape == (4, 96, 96, 3)
    assert np.ptp(results[0]["enlarged"]) > 0.1
    assert largest_difference(*results) <= 1e-5


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("spec", [Discriminator(), VGG19("vgg54", 8), VGG19("vgg22", 8)])
def test_the_dataclass_knows_the_shapes(spec, framework):
    model = backend.load(framework, "runtime").build(spec)
    named = backend.load(framework, "layers").named_weights(model)
    assert {key: tuple(value.shape) for key, value in named.items()} == spec.shapes


def test_the_discriminator_is_that_of_the_paper():
    spec = Discriminator()
    assert spec.flat == 18_432
    assert [layer.shapes[f"{layer.name}.weight"][0] for layer in spec.convolutions] == [
        *(64, 64, 128, 128, 256, 256, 512, 512, 1024, 1)
    ]
    assert [layer.stride for layer in spec.convolutions] == [1, 2, 1, 2, 1, 2, 1, 2, 1, 1]
    with pytest.raises(ValueError, match="16, 32, 48"):
        Discriminator(side=90)


@pytest.mark.parametrize("spec", [VGG19("vgg54", 4), VGG19("vgg22", 4)])
def test_features_agree(spec):
    pictures = batch(np.random.default_rng(0), 64)
    tensors = initial_tensors(spec, 0)
    maps = [layers.to_numpy(model(layers.from_nhwc(pictures, "cpu"))) for layers, model in models(spec, tensors)]
    maps[1] = maps[1].transpose(0, 2, 3, 1)
    assert maps[0].shape == ((4, 4, 4, 32) if spec.features == "vgg54" else (4, 32, 32, 8))
    assert np.abs(maps[0] - maps[1]).max() <= 1e-5 * np.abs(maps[0]).max()


@pytest.mark.parametrize(("optimizer", "content", "features"), [("adam", "mse", 0.02), ("soap", "vgg22", 0.0)])
def test_adversarial_steps_agree(optimizer, content, features):
    recipe = dataclasses.replace(
        SPEC.recipe,
        content_loss=content,
        feature_weight=features,
        mesh_weight=100 * features,
        discriminator_rate=2.0,
        optimizer=optimizer,
        learning_rate=1e-3,
    )
    expected = TERMS | ({"feature_loss", "mesh_loss"} if features else set())
    vgg = (VGG19(content, 4), initial_tensors(VGG19(content, 4), 3)) if content != "mse" else None
    twins, generator = trainings(recipe, "fp64", vgg), np.random.default_rng(0)
    for _ in range(STEPS):
        label = batch(generator, 32)
        losses = [float(training.step(label[:, ::4, ::4], label, 1e-3)) for training in twins]
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    first, second = ({name: float(term) for name, term in training.terms.items()} for training in twins)
    assert set(first) == expected
    assert first == pytest.approx(second, rel=1e-7)
    states = [training.state() for training in twins]
    kept = [{key: state[key] for key in state if "optimizer/" not in key} for state in states]
    assert largest_difference(*kept) <= 1e-8


def test_a_state_moves_from_one_framework_to_the_other():
    first, second = trainings(precision="fp64")
    generator = np.random.default_rng(0)
    labels = [batch(generator, 32) for _ in range(4)]
    for label in labels[:3]:
        first.step(label[:, ::4, ::4], label, 1e-3)
    second.load_state(first.state())
    for training in (first, second):
        training.step(labels[3][:, ::4, ::4], labels[3], 1e-3)
    assert largest_difference(first.state(), second.state()) <= 1e-9


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_mesh_is_told_from_detail(name):
    losses, layers = backend.load(name, "losses"), backend.load(name, "layers")
    truth = batch(np.random.default_rng(0), 64)
    mesh = np.zeros((4, 4, 1), np.float32)
    mesh[::2, ::2] = 0.02
    with_mesh, brighter = truth + np.tile(mesh, (16, 16, 1)), truth + 0.02
    other = truth + np.random.default_rng(1).normal(0, 0.02, truth.shape).astype(np.float32)
    values = [
        float(losses.mesh_loss(layers.from_nhwc(picture, "cpu"), layers.from_nhwc(truth, "cpu"), 4))
        for picture in (with_mesh, brighter, other)
    ]
    assert values[0] == pytest.approx((2 * mesh).var(), rel=1e-4)
    assert values[1] < 1e-9
    assert values[2] < values[0] / 2


def test_the_discriminator_learns_to_tell_them_apart():
    recipe = dataclasses.replace(SPEC.recipe, adversarial_weight=0.0)
    training, generator = trainings(recipe, frameworks=("torch",))[0], np.random.default_rng(0)
    for _ in range(30):
        label = batch(generator, 32)
        training.step(label[:, ::4, ::4], label, 3e-3)
    assert float(training.terms["d_real"]) > float(training.terms["d_fake"]) + 0.4
    assert float(training.terms["discriminator_loss"]) < 0.8


def write_vgg(path, spec, nested=False):
    """A file of the layout that Keras offers, with random weights; returns those by attribute path."""
    tensors = initial_tensors(spec, 5)
    with h5py.File(path, "w") as file:
        for layer in spec.convolutions:
            block, conv = (int(part) + 1 for part in layer.name.split(".")[1::2])
            name = f"block{block}_conv{conv}"
            group = file.create_group(f"{name}/{name}" if nested else name)
            kernel, bias = ("kernel:0", "bias:0") if nested else (f"{name}_W_1:0", f"{name}_b_1:0")
            group[kernel] = tensors[f"{layer.name}.weight"].transpose(2, 3, 1, 0)
            group[bias] = tensors[f"{layer.name}.bias"]
        file.create_group("block1_pool")
    return tensors


@pytest.mark.parametrize("nested", [False, True])
def test_both_layouts_of_a_vgg_file_are_read(nested, tmp_path):
    written = write_vgg(tmp_path / "vgg.h5", VGG19("vgg54", 4), nested)
    for features in ("vgg54", "vgg22"):
        read = vgg_tensors(tmp_path / "vgg.h5", VGG19(features, 4))
        assert set(read) == set(VGG19(features, 4).shapes)
        assert all(np.array_equal(read[key], written[key]) for key in read)


def test_a_vgg_file_that_is_none_is_refused_in_a_sentence(tmp_path):
    write_vgg(tmp_path / "narrow.h5", VGG19("vgg54", 4))
    write_vgg(tmp_path / "short.h5", VGG19("vgg22", 64))
    (tmp_path / "text.h5").write_text("no HDF5")
    whole = (tmp_path / "narrow.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    sentences = {
        "narrow": r"block1_conv1 in .* is \(3, 3, 3, 4\) with \(4,\) biases, not \(3, 3, 3, 64\) with",
        "short": "lacks kernel or bias of block3_conv1: it is not the file of VGG19 that Keras offers",
        "text": "is no whole HDF5 file",
        "cut": "is no whole HDF5 file",
        "missing": "does not exist or is no file",
    }
    for name, sentence in sentences.items():
        with pytest.raises(WeightsError, match=sentence):
            vgg_tensors(tmp_path / f"{name}.h5", VGG19())


def test_a_vgg_file_of_no_numbers_is_refused(tmp_path):
    write_vgg(tmp_path / "vgg.h5", VGG19("vgg22"))
    with h5py.File(tmp_path / "vgg.h5", "r+") as file:
        biases = []
        file.visititems(lambda name, item: biases.append(item) if getattr(item, "ndim", 0) == 1 else None)
        biases[0][0] = np.nan
    with pytest.raises(WeightsError, match="holds values that are not finite numbers"):
        vgg_tensors(tmp_path / "vgg.h5", VGG19("vgg22"))


def test_without_network_access_a_sentence_names_the_flag(monkeypatch):
    def unreachable(*arguments, **options):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(pooch, "retrieve", unreachable)
    with pytest.raises(WeightsError, match="cannot be fetched from https.*name resolution.*: give the file as --vgg_w"):
        fetched()


def test_of_a_failed_download_only_the_reason_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path)
    monkeypatch.setattr(vgg, "URL", "http://127.0.0.1:1/vgg.h5")
    with pytest.raises(WeightsError, match="from http://127.0.0.1:1/vgg.h5 [(]Connection refused[)]: "):
        fetched()


def test_nothing_is_kept_for_gradients_of_vgg():
    spec = VGG19("vgg22", 4)
    training = trainings(features=(spec, initial_tensors(spec, 0)), frameworks=("torch",))[0]
    pictures = backend.load("torch", "layers").from_nhwc(batch(np.random.default_rng(0), 32), "cpu")
    assert not training.features(pictures).requires_grad
    assert training.features(pictures.requires_grad_()).requires_grad


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of four small pictures, one of which is held back."""
    folder, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number, picture in enumerate(batch(generator, 72)):
        write_picture(folder / f"{number}.png", Picture((255 * picture).astype(np.uint8)))
    return folder


@pytest.fixture
def call(photographs, tmp_path, capsys):
    """Calls main.py to train a small network in the test's own folder; returns (exit code, stdout, last of stderr)."""

    def train(model, *arguments):
        small = ["--variant", "blocks=1", "--variant", "width=4", "--image_size", "8", "--stride", "5"]
        fixed = ["--framework", "torch", "--batch_size", "4", "--train_dir", str(photographs), *small]
        code = main.main(["--model", model, *fixed, "--checkpoint_dir", str(tmp_path / model), *map(str, arguments)])
        out, error = capsys.readouterr()
        return code, out.splitlines(), (error.splitlines() or [""])[-1]

    return train


def test_srgan_starts_from_srresnet_and_keeps_the_latest(call, tmp_path):
    title = "x4_blocks-1_width-4"
    assert call("srresnet", "--steps", 3)[0] == 0
    start = tmp_path / "srresnet" / f"srresnet_{title}.safetensors"
    code, out, error = call("srgan", "--steps", 8, "--weights", start, "--report", tmp_path / "report.json")
    assert code == 0, error
    weights = load_weights(out[-1])
    assert (weights.name, weights.info["steps"]) == ("srgan", "8")
    records = [json.loads(line) for line in (tmp_path / "srgan" / f"srgan_{title}.jsonl").read_text().splitlines()]
    assert set(records[0]) >= TERMS
    arrays, _ = read_safetensors(tmp_path / "srgan" / f"srgan_{title}.checkpoint")
    groups = {name.split("/")[0] for name in arrays}
    assert groups == {"weights", "average", "optimizer", "discriminator", "discriminator_optimizer", "best", "count"}
    assert all(np.array_equal(value, arrays[f"average/{key}"]) for key, value in weights.tensors.items())
    assert call("srresnet", "--steps", 1, "--weights", out[-1])[0] == 1


def test_the_discriminator_sees_the_centre_where_the_label_is_smaller(call, tmp_path):
    assert call("srgan", "--steps", 2, "--label_size", 16, "--feature_weight", 0.1)[0] == 0
    arrays, _ = read_safetensors(next((tmp_path / "srgan").glob("*.checkpoint")))
    assert arrays["discriminator/dense1.weight"].shape[1] == Discriminator(3, 16, 4).flat


def test_a_discriminator_that_cannot_be_trained_is_refused(call):
    code, _, error = call("srgan", "--steps", 1, "--label_size", 20)
    assert (code, error) == (1, "Error: the discriminator sees pictures of 16, 32, 48, ... pixels, not of 20.")
    code, _, error = call("srgan", "--steps", 1, "--image_size", 4, "--stride", 4, "--batch_size", 1)
    assert (code, error) == (
        1, "Error: Batch normalisation needs more than one value: take a larger --batch_size.")  # fmt: skip


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_resumed_adversarial_run_equals_an_uninterrupted_one(framework, photographs, tmp_path):
    source = Source("srgan", SPEC.to_json(), 8, 32, 5)
    build(tmp_path / "set.h5", sorted(photographs.glob("*.png")), SPEC, source)
    recipe = dataclasses.replace(SPEC.recipe, image_size=8, batch_size=4, learning_rate=1e-3)

    def run(folder, **options):
        options |= {"framework": framework, "precision": "fp64", "steps": 30}
        return Run("srgan", SPEC, recipe, tmp_path / "set.h5", tmp_path / folder, **options)

    sent = []

    def interrupt(fraction, step, numbers):
        if step >= 10 and not sent:
            sent.append(step)
            signal.raise_signal(signal.SIGINT)

    runs.train(run("whole"))
    with pytest.raises(runs.Interrupted):
        runs.train(run("parts"), interrupt)
    runs.train(run("parts", resume=True))
    first, second = (read_safetensors(run(folder).checkpoint_path)[0] for folder in ("whole", "parts"))
    # TensorFlow adds up the gradients of the first kernels in an order that its threads decide.
    assert largest_difference(first, second) <= (0 if framework == "torch" else 1e-9)


def test_vgg_is_read_before_training(call, monkeypatch, tmp_path):
    narrow = functools.partial(VGG19, width=4)
    path = tmp_path / "vgg.h5"
    write_vgg(path, narrow("vgg54"))
    code, _, error = call("srgan", "--steps", 2, "--content_loss", "vgg54", "--vgg_weights", path)
    assert (code, "not (3, 3, 3, 64)" in error) == (1, True)
    assert not (tmp_path / "srgan").exists()  # no pictures were cut for nothing
    for module in (runs, experiments):
        monkeypatch.setattr(module, "VGG19", narrow)
    code, out, error = call("srgan", "--steps", 2, "--content_loss", "vgg54", "--vgg_weights", path)
    assert code == 0, error
    assert json.loads(load_weights(out[-1]).info["recipe"])["content_loss"] == "vgg54"


@pytest.mark.parametrize(
    ("model", "flags", "sentence"),
    [
        ("srresnet", ["--content_loss", "mse"], "--content_loss is for srgan: srresnet has only a --loss."),
        ("srresnet", ["--mesh_weight", "1"], "--mesh_weight is for srgan: srresnet has only a --loss."),
        ("srgan", ["--vgg_weights", "vgg.h5"], "--vgg_weights is for --content_loss vgg22 and vgg54."),
        (
            "srgan",
            ["--content_loss", "vgg22", "--loss", "l1"],
            "--loss is that of pixels, which --content_loss vgg22 does not compare.",
        ),
    ],
)
def test_flags_that_would_change_nothing_are_refused(model, flags, sentence, call):
    code, _, error = call(model, "--steps", 1, *flags)
    assert (code, error) == (2, f"Error: {sentence}")
