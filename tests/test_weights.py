"""Weights files: what is saved comes back, anybody can load it, and what is wrong with one is said in a sentence."""

import dataclasses
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from common import weights as module
from common.errors import WeightsError
from common.networks import NETWORKS, network
from common.weights import Weights, initial_tensors, load_weights, save_weights, shipped, weights_for

SPEC = network("espcn", scale=3, widths=(8, 4))
EVERY = [(name, scale) for name, kind in NETWORKS.items() for scale in kind.scales]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.safetensors"


def header_of(spec=SPEC, name="espcn", **changes):
    return {"name": name, "network": spec.to_json(), **changes}


def refusal(path, call=load_weights):
    """The sentence with which `path` is refused."""
    with pytest.raises(WeightsError) as error:
        call(path)
    text = str(error.value)
    assert "\n" not in text
    assert path.name in text
    return text


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_what_is_saved_comes_back(name, scale, path):
    spec = network(name, scale=scale)
    saved = Weights(name, spec, initial_tensors(spec, 1), {"seed": "1", "training_data": "Bäume"})
    save_weights(path, saved)
    loaded = load_weights(path)
    assert (loaded.name, loaded.network) == (name, spec)
    assert loaded.info["seed"] == "1"
    assert loaded.info["training_data"] == "Bäume"
    assert loaded.info["version"]
    assert set(loaded.tensors) == set(spec.shapes)
    assert all(np.array_equal(loaded.tensors[key], saved.tensors[key]) for key in spec.shapes)


@pytest.mark.parametrize(
    "options", [{"kernels": (9, 3, 5)}, {"widths": (16, 8)}, {"colour": "rgb"}, {"activation": "relu"}], ids=str
)
def test_every_variant_comes_back(options, path):
    spec = network("espcn", **{"scale": 2, **options})
    save_weights(path, Weights("espcn", spec, initial_tensors(spec, 0)))
    assert load_weights(path).network == spec


def test_double_precision_is_saved_in_single(path):
    tensors = {key: value.astype(np.float64) for key, value in initial_tensors(SPEC, 0).items()}
    save_weights(path, Weights("espcn", SPEC, tensors))
    assert {value.dtype for value in load_file(path).values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["srcnn", "espcn"])
def test_a_plain_torch_user_can_load_them(name, path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_for_torch

    spec = network(name, scale=2)
    save_weights(path, Weights(name, spec, initial_tensors(spec, 0)))
    model = torch.nn.Module()
    for layer in spec.layers:
        setattr(model, layer.name, torch.nn.Conv2d(layer.inputs, layer.outputs, layer.kernel))
    model.load_state_dict(load_for_torch(path), strict=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == spec.parameters


def test_initial_weights_follow_the_seed():
    first, second, other = (initial_tensors(SPEC, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])
    assert all((value == 0).all() for key, value in first.items() if key.endswith("bias"))


def test_a_missing_file(path):
    assert "does not exist" in refusal(path)


def test_a_folder(tmp_path):
    refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\xff" * 400, pickle.dumps({"a": [1, 2]})])
def test_a_file_of_another_kind(content, path):
    path.write_bytes(content)
    assert "no whole safetensors file" in refusal(path)


def test_a_checkpoint_of_torch_is_not_unpickled(path):
    class Harmful:
        def __reduce__(self):
            return pytest.fail, ("the file was unpickled",)

    path.write_bytes(pickle.dumps(Harmful()))
    assert "no whole safetensors file" in refusal(path)


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_a_truncated_file(kept, path):
    save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 0)))
    path.write_bytes(path.read_bytes()[:kept])
    assert "no whole safetensors file" in refusal(path)


@pytest.mark.parametrize(
    "header",
    [None, {}, {"name": "espcn"}, header_of(name="resnet"), {"network": SPEC.to_json()}],
    ids=["none", "empty", "no network", "unknown name", "no name"],
)
def test_a_file_that_names_no_network_of_ours(header, path):
    save_file(initial_tensors(SPEC, 0), path, metadata=header)
    assert "does not say which network" in refusal(path)


@pytest.mark.parametrize("described", ["", "{", "7", "[1]", "null", '{"scale": 7}', '{"depth": 3}'])
def test_a_network_that_cannot_be_built(described, path):
    save_file(initial_tensors(SPEC, 0), path, metadata={"name": "espcn", "network": described})
    assert "cannot be built" in refusal(path)


@pytest.mark.parametrize(
    "changes",
    [{"widths": 3}, {"widths": [8, "4"]}, {"kernels": [5, 3]}, {"colour": "sepia"}, {"activation": "sine"}],
    ids=str,
)
def test_a_network_with_a_part_that_makes_no_sense(changes, path):
    described = json.dumps({**json.loads(SPEC.to_json()), **changes})
    save_file(initial_tensors(SPEC, 0), path, metadata={"name": "espcn", "network": described})
    refusal(path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("espcn", {"scale": 3.0}),
        ("espcn", {"scale": True}),
        ("espcn", {"scale": 10**30}),
        ("espcn", {"widths": [10**9, 4]}),
        ("drcn", {"recursions": 10**9}),
        ("srresnet", {"blocks": 10**9}),
        ("srresnet", {"ending": ["linear"]}),
        ("vespcn", {"depth": 10**9}),
        ("vespcn", {"depth": "9"}),
        ("vespcn", {"width": 2.5}),
        ("vespcn", {"reach": 1e308}),
        ("vespcn", {"reach": float("nan")}),
        ("vespcn", {"frames": 3.0}),
    ],
    ids=str,
)
def test_a_network_of_absurd_size_or_type_is_refused_at_once(name, changes, path):
    described = json.dumps({**json.loads(network(name).to_json()), **changes})
    save_file(initial_tensors(SPEC, 0), path, metadata={"name": name, "network": described})
    assert "cannot be built" in refusal(path)


@pytest.mark.parametrize(
    "described", ["[" * 100_000, '{"scale":' * 100_000, "9" * 5000], ids=["list", "dict", "number"]
)
def test_json_that_would_exhaust_its_reader(described, path):
    save_file(initial_tensors(SPEC, 0), path, metadata={"name": "espcn", "network": described})
    assert "cannot be built" in refusal(path)


def test_numbers_of_a_type_that_numpy_lacks(path):
    header = json.dumps({"conv1.bias": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refusal(path)


@pytest.mark.parametrize("changes", [{}, {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}])
def test_a_header_that_declares_more_than_there_is(changes, path):
    header = json.dumps({**changes, "y": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [4, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert "no whole" in refusal(path)
    path.write_bytes((2**62).to_bytes(8, "little") + header)
    assert "no whole" in refusal(path)


def test_a_file_that_is_cut_short_while_it_is_in_use(path):
    save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 0)))
    weights = load_weights(path)
    path.write_bytes(b"")  # of a mapped file, the next look at a tensor would end the process
    assert all(np.isfinite(tensor).all() for tensor in weights.tensors.values())


def changed(**arrays):
    """Initial weights with some replaced, or left out where None is given."""
    tensors = initial_tensors(SPEC, 0)
    for key, array in arrays.items():
        tensors[key.replace("_", ".")] = array
    return {key: array for key, array in tensors.items() if array is not None}


WRONG = {
    "missing": (changed(conv2_bias=None), "lacks conv2.bias"),
    "extra": (changed(conv9_bias=np.zeros(3, np.float32)), "holds conv9.bias"),
    "shape": (changed(conv2_weight=np.zeros((4, 8, 5, 5), np.float32)), "conv2.weight"),
    "nan": (changed(conv1_bias=np.full(8, np.nan, np.float32)), "conv1.bias"),
    "infinity": (changed(conv1_bias=np.full(8, np.inf, np.float32)), "conv1.bias"),
    "integers": (changed(conv1_bias=np.zeros(8, np.int32)), "conv1.bias"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_weights_that_do_not_fit_are_not_loaded(wrong, path):
    tensors, words = WRONG[wrong]
    save_file(tensors, path, metadata=header_of())
    assert words in refusal(path)


@pytest.mark.parametrize("wrong", WRONG)
def test_weights_that_do_not_fit_are_not_saved(wrong, path):
    tensors, words = WRONG[wrong]
    assert words in refusal(path, lambda path: save_weights(path, Weights("espcn", SPEC, tensors)))
    assert not path.exists()


def test_the_shapes_are_named(path):
    save_file(WRONG["shape"][0], path, metadata=header_of())
    assert "(4, 8, 5, 5)" in refusal(path)
    assert "(4, 8, 3, 3)" in refusal(path)


def test_a_header_for_another_scale_does_not_pass(path):
    other = dataclasses.replace(SPEC, scale=2)
    save_file(initial_tensors(SPEC, 0), path, metadata=header_of(other))
    assert "conv3.weight" in refusal(path)


def test_a_crash_while_saving_leaves_the_weights_of_before(path, monkeypatch):
    save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 0)))
    before = path.read_bytes()

    def failing(tensors, target, metadata):
        with open(target, "wb") as file:
            file.write(b"half of ")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", failing)
    with pytest.raises(OSError, match="No space left"):
        save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 1)))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_saving_makes_the_folder_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "new" / "folder" / "späte Gewichte.safetensors"
    for seed in (0, 1):
        save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, seed), {"seed": str(seed)}))
    assert load_weights(path).info["seed"] == "1"


@pytest.mark.parametrize(("name", "scale"), [("espcn", 2), ("srcnn", 3)])
def test_weights_of_another_network_or_scale(name, scale, path):
    save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 0)))
    assert weights_for("espcn", 3, path).network == SPEC
    text = refusal(path, lambda path: weights_for(name, scale, path))
    assert "espcn x3" in text
    assert f"{name} x{scale}" in text


def test_shipped_weights_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    with pytest.raises(WeightsError, match=r"no weights for srcnn x4 \(shipped: none\)"):
        weights_for("srcnn", 4)
    spec = network("srcnn", scale=2)
    save_weights(shipped("srcnn", 2), Weights("srcnn", spec, initial_tensors(spec, 0)))
    assert weights_for("srcnn", 2).network == spec
    with pytest.raises(WeightsError, match="shipped: x2"):
        weights_for("srcnn", 4)


def test_a_scale_that_a_network_does_not_have_needs_no_training():
    with pytest.raises(WeightsError, match=r"^SRGAN enlarges by 2 or 4, not 3[.]$"):
        weights_for("srgan", 3)


def test_shipped_weights_that_are_of_another_scale_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    save_weights(shipped("espcn", 4), Weights("espcn", SPEC, initial_tensors(SPEC, 0)))
    with pytest.raises(WeightsError, match=r"espcn_x4\.safetensors"):
        weights_for("espcn", 4)


def test_shipped_weights_are_those_of_their_sums():
    names = {path.name for path in module.FOLDER.glob("*.safetensors")}
    listed = dict(line.split()[::-1] for line in (module.FOLDER / module.SUMS).read_text().splitlines())
    assert listed == {name: module.sha256(module.FOLDER / name) for name in names}
    cards = (module.FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(digest in cards for digest in listed.values())


@pytest.mark.parametrize("harm", [lambda data: data[:-4], lambda data: data[:-1] + b"?", lambda data: b""])
def test_a_shipped_file_that_has_changed_is_refused_and_one_of_the_users_own_is_not(harm, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    path = shipped("espcn", 3)
    save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 0)))
    (tmp_path / module.SUMS).write_text(f"{module.sha256(path)}  {path.name}\n", encoding="utf-8")
    assert weights_for("espcn", 3).network == SPEC
    whole = path.read_bytes()
    path.write_bytes(harm(whole))
    assert "not the file that was shipped" in refusal(path, lambda path: weights_for("espcn", 3))
    save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 1)))  # replaced on purpose
    assert "--weights" in refusal(path, lambda path: weights_for("espcn", 3))
    assert weights_for("espcn", 3, path).network == SPEC
    save_weights(
        shipped("espcn", 2), Weights("espcn", replace(SPEC, scale=2), initial_tensors(replace(SPEC, scale=2), 1))
    )
    assert weights_for("espcn", 2).network.scale == 2  # a network that was added is in no list


def test_the_header_is_readable_by_anybody(path):
    save_weights(path, Weights("espcn", SPEC, initial_tensors(SPEC, 0)))
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["name"] == "espcn"
    assert json.loads(header["__metadata__"]["network"])["widths"] == [8, 4]
    assert header["conv1.weight"]["dtype"] == "F32"
