"""The deeply recursive network: its recursions, its loss, its memory, and starting it from fewer recursions."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import main
from common import backend
from common.errors import WeightsError
from common.images import Picture, write_picture
from common.networks import network
from common.samples import photograph
from common.starting import StartError, started
from common.upscaler import Upscaler
from common.weights import Weights, initial_tensors, load_weights, save_weights, weights_for

FRAMEWORKS = ("tensorflow", "torch")
SMALL = {"recursions": 3, "width": 16}


def random_tensors(spec, seed=0):
    """Weights whose recursion is not the identity that it begins as, and whose ensemble is uneven."""
    generator = np.random.default_rng(seed)
    tensors = initial_tensors(spec, seed)
    kernel = tensors["inference.weight"]
    kernel *= 0.7
    kernel += (0.5 * np.sqrt(2 / kernel[0].size) * generator.standard_normal(kernel.shape)).astype(np.float32)
    tensors["ensemble.weight"] *= generator.uniform(0.5, 1.5, spec.recursions).astype(np.float32)
    return tensors


def luma(side):
    """(1, side, side, 1) float32 in [0, 1]: a part of a photograph."""
    pixels = photograph("coffee").pixels[100 : 100 + side, 200 : 200 + side, 1]
    return pixels[None, ..., None] / np.float32(255)


def built(framework, spec, tensors, precision):
    """(model with these weights, the framework's layers)."""
    layers = backend.load(framework, "layers")
    model = backend.load(framework, "runtime").build(spec, precision)
    layers.load_tensors(model, tensors)
    return model, layers


def values(tensor):
    return tensor.detach().numpy() if hasattr(tensor, "detach") else tensor.numpy()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp64", 1e-10)])
def test_all_sixteen_recursions_agree_at_full_width(precision, tolerance):
    spec = network("drcn", scale=2)
    tensors, results = random_tensors(spec), []
    for framework in FRAMEWORKS:
        model, layers = built(framework, spec, tensors, precision)
        x = layers.from_nhwc(luma(32).astype("f8" if precision == "fp64" else "f4"), "cpu")
        each = model.reconstructions(x)
        results.append([values(y).reshape(32, 32) for y in (*each, model.combine(each), model(x))])
    for ours, theirs in zip(*results, strict=True):
        assert np.abs(ours - theirs).max() <= tolerance
    *each, combined, forward = results[0]
    assert len(each) == 16
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(each, each[1:], strict=False))
    assert np.abs(combined - forward).max() <= tolerance
    assert np.abs(combined - np.tensordot(tensors["ensemble.weight"], each, 1)).max() <= 1e-4


def test_at_the_start_every_recursion_passes_its_input_on():
    spec = network("drcn", scale=2, recursions=4, width=8)
    tensors = initial_tensors(spec, 0)
    assert np.array_equal(tensors["ensemble.weight"], np.full(4, 0.25, np.float32))
    model, layers = built("torch", spec, tensors, "fp32")
    first, *others = (values(y) for y in model.reconstructions(layers.from_nhwc(luma(20), "cpu")))
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_hidden_layers_in_half_the_bits_keep_the_picture(framework):
    spec = network("drcn", scale=2, **SMALL)
    x = luma(40)
    runtime = backend.load(framework, "runtime").Runtime
    exact, rounded = (runtime(spec, random_tensors(spec), "cpu", precision)(x) for precision in ("fp32", "bf16"))
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.02
    assert np.abs(exact - rounded).mean() < 0.002


def test_an_output_sees_as_much_as_the_paper_says():
    assert 2 * network("drcn").halo + 1 == 41


@pytest.mark.parametrize("options", [{"recursions": 0}, {"width": 0}, {"width": "wide"}, {"recursions": 2.5}])
def test_impossible_networks_are_refused(options):
    with pytest.raises(ValueError, match="recursions and width|is int, not"):
        network("drcn", **options)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_tiles_leave_no_trace(framework, scale):
    spec = network("drcn", scale=scale, recursions=4, width=8)
    weights = Weights("drcn", spec, random_tensors(spec))
    low = np.random.default_rng(0).random((19, 26, 1), np.float32)
    whole, *tiled = (Upscaler(weights, framework, "cpu", "fp32", tile).planes(low) for tile in (0, 7, 16, "auto"))
    assert whole.shape == (19 * scale, 26 * scale, 1)
    assert all(np.abs(result - whole).max() <= 1e-6 for result in tiled)


def test_the_halo_is_exactly_what_an_output_sees():
    spec = network("drcn", scale=2, recursions=4, width=8)
    model = Upscaler(Weights("drcn", spec, random_tensors(spec)), "torch", "cpu", "fp32")
    enlarged = np.random.default_rng(1).random((1, 41, 41, 1), np.float32)
    changed = enlarged.copy()
    changed[0, 20, 20] += 1
    rows = np.flatnonzero((model.runtime(enlarged) != model.runtime(changed))[0].any((1, 2)))
    assert (rows.min(), rows.max()) == (20 - spec.halo, 20 + spec.halo)


def gradients(framework, spec, progress, **options):
    """(loss, gradients by name) of one batch, in double precision."""
    recipe = dataclasses.replace(spec.recipe, clip_norm=0.0, **options)
    training = backend.load(framework, "training").Training(spec, random_tensors(spec), recipe, "cpu", "fp64")
    layers = backend.load(framework, "layers")
    label = np.concatenate([luma(14), luma(15)[:, 1:, 1:]])
    data = np.clip(label + 0.05 * np.random.default_rng(0).standard_normal(label.shape, np.float32), 0, 1)
    batches = (layers.from_nhwc(batch, "cpu") for batch in (data, label))
    loss, named = training.gradients(*batches, np.float64(progress))
    return float(loss), {name: np.asarray(gradient) for name, gradient in named.items()}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_recomputing_changes_no_gradient(framework):
    spec = network("drcn", scale=2, **SMALL)
    (kept, first), (again, second) = (gradients(framework, spec, 0.2, recompute=flag) for flag in (False, True))
    assert kept == again
    assert all(np.abs(first[name] - second[name]).max() <= 1e-12 for name in spec.shapes)
    assert all(np.abs(first[name]).max() > 1e-6 for name in spec.shapes)


PEAK = r"""
import dataclasses, re, sys
from pathlib import Path
import numpy as np
from common import backend
from common.networks import network
from common.weights import initial_tensors

def most():
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])

backend.load(sys.argv[1], "runtime").use_threads(1)  # with which TensorFlow is slowest to let go of what it has used
"""
OF_TRAINING = r"""
def peak(count, recompute, **size):
    spec = network("drcn", scale=2, **size)
    recipe = dataclasses.replace(spec.recipe, optimizer="sgd", recompute=recompute)
    training = backend.load(sys.argv[1], "training").Training(spec, initial_tensors(spec, 0), recipe, "cpu")
    batch = np.zeros((count, 41, 41, 1), np.float32)
    float(training.step(batch, batch, 1e-3))
    return most()

before = peak(1, True, width=2, recursions=1)  # all is loaded then that needs memory only once
print(peak(24, True, width=32) - before, peak(24, False, width=32) - before)
"""


OF_INFERENCE = r"""
def peak(recursions, side):
    spec = network("drcn", scale=2, width=16, recursions=recursions)
    backend.load(sys.argv[1], "runtime").Runtime(spec, initial_tensors(spec, 0), "cpu", "fp32")(
        np.zeros((1, side, side, 1), np.float32)
    )
    return most()

before = peak(2, 8)
print(peak(2, 600) - before, peak(16, 600) - before)
"""


def peaks(program, framework):
    """Two figures in kB that `program` prints of another process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}  # to give back what is free
    command = [sys.executable, "-c", PEAK + program, framework]
    folder = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_recomputing_takes_less_memory(framework):
    """Of the maps of two convolutions for each recursion it keeps those of one."""
    again, kept = peaks(OF_TRAINING, framework)
    assert again < 0.8 * kept


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_deeper_recursion_takes_little_more_memory(framework):
    """Of each recursion y_d remains, one map of the 16 of H_d."""
    two, sixteen = peaks(OF_INFERENCE, framework)
    assert sixteen < 2 * two


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_supervision_moves_from_the_recursions_to_the_ensemble(framework):
    spec = network("drcn", scale=2, **SMALL)
    (begin, first), (middle, _), (half, _), (end, last) = (
        gradients(framework, spec, progress, weight_decay=0.0) for progress in (0.0, 0.25, 0.5, 1.0)
    )
    assert np.abs(first["ensemble.weight"]).max() == 0
    assert np.abs(last["ensemble.weight"]).max() > 0
    assert middle == pytest.approx((begin + end) / 2, rel=1e-9)
    assert half == end
    assert begin != pytest.approx(end, rel=1e-3)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_only_kernels_decay(framework):
    spec = network("drcn", scale=2, **SMALL)
    (without, first), (with_decay, second) = (
        gradients(framework, spec, 0.2, weight_decay=decay) for decay in (0.0, 0.01)
    )
    tensors = random_tensors(spec)
    kernels = [name for name, shape in spec.shapes.items() if len(shape) == 4]
    squares = sum(np.square(tensors[name].astype(np.float64)).sum() for name in kernels)
    assert with_decay - without == pytest.approx(0.01 * squares, rel=1e-6)
    for name in spec.shapes:
        decayed = second[name] - first[name]
        assert np.abs(decayed - 0.02 * tensors[name] * (name in kernels)).max() <= 1e-9


def test_the_optimiser_takes_large_kernels_apart():
    """A basis of all 2304 weights of an output would cost more than the network; inputs and places have one each."""
    sizes = {"left": 256, "right": 256, "places": 9}
    state = optimizer_state("torch", network("drcn", recursions=2))
    assert {side: state[f"inference.weight.{side}_basis"].shape[0] for side in sizes} == sizes
    assert optimizer_state("torch", network("srcnn"))["conv2.weight.right"].shape == (1600, 1600)


@pytest.mark.parametrize("widest", [100, 12])
def test_steps_on_large_kernels_agree(widest, monkeypatch):
    spec = network("drcn", scale=2, **SMALL)
    label = np.repeat(luma(14), 8, axis=0)
    data = np.clip(label + 0.05 * np.random.default_rng(0).standard_normal(label.shape, np.float32), 0, 1)
    weights = []
    for framework in FRAMEWORKS:
        monkeypatch.setattr(backend.load(framework, "optimizers").SOAP, "widest", widest)
        trainer = backend.load(framework, "training").Training(spec, random_tensors(spec), spec.recipe, "cpu", "fp64")
        assert ("inference.weight.left" in trainer.optimizer.state) == (widest >= 16)
        assert "inference.weight.places" in trainer.optimizer.state
        for step in range(22):
            trainer.step(data, label, 1e-3, step / 22)
        weights.append(trainer.weights())
    assert max(np.abs(weights[0][name] - weights[1][name]).max() for name in spec.shapes) <= 1e-8


def optimizer_state(framework, spec):
    module = backend.load(framework, "training")
    return module.Training(spec, initial_tensors(spec, 0), spec.recipe, "cpu").optimizer.state


@pytest.fixture
def photographs(tmp_path):
    """A folder of three small pictures."""
    folder = tmp_path / "photographs"
    for number in range(3):
        pixels = photograph("coffee").pixels[40 * number : 40 * number + 72, 150:230]
        write_picture(folder / f"{number}.png", Picture(np.ascontiguousarray(pixels)))
    return folder


def train(photographs, tmp_path, recursions, *others):
    """Train a small network for two steps; returns the exit code."""
    words = "--model drcn --framework torch --device cpu --scale 2 --steps 2 --batch_size 4 --image_size 16 --stride 16"
    variant = ["--variant", "width=8", "--variant", f"recursions={recursions}"]
    folders = ["--train_dir", str(photographs), "--checkpoint_dir", str(tmp_path)]
    return main.main([*words.split(), *variant, *folders, *map(str, others)])


def test_fewer_recursions_are_a_start_for_more(photographs, tmp_path, capsys):
    assert train(photographs, tmp_path, 2, "--recompute") == 0
    few = tmp_path / "drcn_x2_recursions-2_width-8.safetensors"
    assert train(photographs, tmp_path, 6, "--weights", few, "--validation_size", "32") == 0
    before, after = (load_weights(tmp_path / f"drcn_x2_recursions-{n}_width-8.safetensors") for n in (2, 6))
    assert after.network.recursions == 6
    assert np.allclose(after.tensors["ensemble.weight"], 1 / 6, atol=1e-3)
    kernels = [name for name in before.tensors if name.endswith(".weight") and name != "ensemble.weight"]
    for name in kernels:  # where two steps take them; other random weights would be far away
        assert np.abs(after.tensors[name] - before.tensors[name]).max() < 0.01
    begun = started(before, after.network, initial_tensors(after.network, 0), 0)
    assert {name for name in begun if begun[name] is before.tensors[name]} == set(before.tensors) - {"ensemble.weight"}


def test_weights_of_a_width_that_is_no_part_of_ours_are_no_start(photographs, tmp_path, capsys):
    other = network("drcn", scale=2, recursions=2, width=3)
    save_weights(tmp_path / "other.safetensors", Weights("drcn", other, initial_tensors(other, 0)))
    assert train(photographs, tmp_path, 2, "--weights", tmp_path / "other.safetensors") == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("have no layer in common with this network.")
    wanted = network("drcn", scale=2, recursions=2)
    with pytest.raises(StartError):
        started(Weights("drcn", other, initial_tensors(other, 0)), wanted, initial_tensors(wanted, 0), 0)


def test_only_networks_that_can_recompute_are_asked_to(tmp_path, capsys):
    assert main.main(["--model", "espcn", "--recompute", "--checkpoint_dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "Error: espcn cannot --recompute.\n"


def test_weights_that_do_not_fit_are_refused_in_a_sentence(tmp_path):
    spec = network("drcn", scale=2, **SMALL)
    path = tmp_path / "some.safetensors"
    save_weights(path, Weights("drcn", spec, random_tensors(spec)))
    assert weights_for("drcn", 2, path).network == spec
    with pytest.raises(WeightsError, match="holds drcn x2, not drcn x3[.]$"):
        weights_for("drcn", 3, path)
    with pytest.raises(WeightsError, match="holds drcn x2, not srcnn x2[.]$"):
        weights_for("srcnn", 2, path)
    for options, words in (
        ({"width": 8}, r"embedding1.weight .* is \(16, 1, 3, 3\), not \(8, 1, 3, 3\)"),
        ({"recursions": 5}, r"ensemble.weight .* is \(3,\), not \(5,\)"),
    ):
        with pytest.raises(WeightsError, match=words):
            save_weights(path, Weights("drcn", dataclasses.replace(spec, **options), random_tensors(spec)))
