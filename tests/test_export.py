"""Exported files compute what our program computes, in the loaders of others; what is wrong is said in a sentence."""

import importlib.util
import itertools
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
import torch
from ai_edge_litert.interpreter import Interpreter
from test_twins import outline

from common import cli, export
from common.backend import FRAMEWORKS
from common.export import FORMATS
from common.networks import NETWORKS, network
from common.resize import resize
from common.upscaler import Upscaler
from common.weights import Weights, initial_tensors, save_weights
from tf_models import exporting

tf.config.list_physical_devices()  # it says once, here and not in a test, which GPUs it did not find
logging.getLogger("torch.__trace").propagate = True  # else pytest listens to it, and all that PyTorch does is described

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((12, 16), (9, 13), (7, 5))
CASES = {
    "srcnn": ("srcnn", {"scale": 2, "kernels": (5, 1, 3), "widths": (6, 4)}),
    "espcn": ("espcn", {"scale": 3, "widths": (6, 4)}),
    "espcn rgb": ("espcn", {"scale": 2, "widths": (6, 4), "colour": "rgb", "activation": "relu"}),
    "vespcn": ("vespcn", {"scale": 2, "depth": 3, "width": 4, "reach": 2.0}),
    "vespcn slow": ("vespcn", {"scale": 3, "depth": 4, "width": 4, "fusion": "slow", "motion": "none"}),
    "drcn": ("drcn", {"scale": 2, "recursions": 2, "width": 6}),
    "srresnet": ("srresnet", {"scale": 4, "blocks": 1, "width": 6}),
    "srgan": ("srgan", {"scale": 2, "blocks": 1, "width": 6, "ending": "tanh"}),
}


def random_weights(name, options):
    """Weights with flows of whole pixels, outputs across the range and statistics that are not 0 and 1."""
    spec, generator = network(name, **options), np.random.default_rng(5)
    tensors = initial_tensors(spec, seed=5)
    for key in tensors:
        if key.endswith("conv5.weight"):
            tensors[key] = tensors[key] * 5
        if key == f"{spec.convolutions[-1].name}.weight":
            tensors[key] = tensors[key] * 4
        if key in spec.statistics:
            tensors[key] = tensors[key] + generator.uniform(0, 0.5, tensors[key].shape).astype(np.float32)
    return Weights(name, spec, tensors)


@dataclass
class Answer:
    """What came of the command: exit code, lines of stdout and of stderr."""

    code: int
    out: list[str]
    err: list[str]

    def error(self, code=cli.FAILED):
        """The one sentence with which it failed."""
        assert self.code == code
        assert len(self.err) == 1, self.err
        assert self.err[0].startswith("Error: ")
        assert self.err[0].endswith(".")
        return self.err[0].removeprefix("Error: ")


@pytest.fixture
def call(capfd):
    """A function that runs the command inside this process."""

    def run(*arguments):
        capfd.readouterr()
        code = export.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Answer(code, out.splitlines(), err.splitlines())

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the weights and the exports of this module."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture
def weights(folder):
    """A function that gives the weights file of a case."""

    def file(case):
        path = folder / f"{case}.safetensors"
        if not path.exists():
            save_weights(path, random_weights(*CASES[case]))
        return path

    return file


@pytest.fixture
def flags(weights):
    """A function that gives the flags with which a case is exported in a format."""

    def arguments(case, kind):
        name, options = CASES[case]
        return ["--model", name, "--scale", options["scale"], "--weights", weights(case), "--format", kind]

    return arguments


@pytest.fixture
def exported(folder, flags, call):
    """A function that gives the export of a case in a format, made once."""

    def file(case, kind):
        path = folder / f"{case}{FORMATS[kind].suffix}"
        if not path.exists():
            answer = call(*flags(case, kind), path)
            assert answer.code == cli.DONE, answer.err
            assert answer.out[-1] == str(path.resolve())
            assert answer.err == []
        return path

    return file


@pytest.fixture(scope="module")
def upscalers():
    """A function that gives the `Upscaler`s of a case in all frameworks, made once."""
    made = {}

    def both(case):
        if case not in made:
            given = random_weights(*CASES[case])
            made[case] = [Upscaler(given, framework, "cpu", "fp32") for framework in FRAMEWORKS]
        return made[case]

    return both


# ---- The loaders, used as docs/exports.md says


def in_onnxruntime(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda picture: channels_last(session.run(["output"], {"input": channels_first(picture)})[0])


def in_opencv(path):
    net = cv2.dnn.readNetFromONNX(str(path))

    def run(picture):
        net.setInput(channels_first(picture), "input")
        return channels_last(net.forward("output"))

    return run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def in_torch(path):
    module = torch.jit.load(path)
    return lambda picture: channels_last(module(torch.from_numpy(channels_first(picture))).numpy())


def in_tensorflow(path):
    loaded = tf.saved_model.load(path)
    return lambda picture: loaded.signatures["serving_default"](input=tf.constant(picture[None]))["output"].numpy()[0]


def in_litert(path):
    interpreter = Interpreter(model_path=str(path))
    return lambda picture: interpreter.get_signature_runner("serving_default")(input=picture[None])["output"][0]


def channels_first(picture):
    """(H, W, C) as (1, C, H, W)."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])


def channels_last(batch):
    """(1, C, H, W) as (H, W, C)."""
    return batch[0].transpose(1, 2, 0)


LOADERS = {
    "onnxruntime": ("onnx", in_onnxruntime),
    "opencv": ("onnx", in_opencv),
    "torch": ("torchscript", in_torch),
    "tensorflow": ("saved_model", in_tensorflow),
    "litert": ("litert", in_litert),
}


def picture(spec, rows, columns):
    """(rows, columns, inputs) float32 in [0, 1] with edges and noise; frames that move."""
    y, x, t = np.mgrid[0:rows, 0:columns, 0 : spec.inputs]
    shapes = 0.5 + 0.3 * np.sign(np.sin((x + t) / 2) * np.cos((y - 2 * t) / 3))
    noise = np.random.default_rng((rows, columns)).uniform(-0.2, 0.2, shapes.shape)
    return (shapes + noise).astype(np.float32)


@pytest.mark.parametrize(("case", "loader"), itertools.product(CASES, LOADERS))
def test_a_file_gives_what_our_program_gives(case, loader, exported, upscalers):
    kind, opened = LOADERS[loader]
    run = opened(exported(case, kind))
    for size in SIZES:
        for upscaler in upscalers(case):
            low = picture(upscaler.spec, *size)
            expected = upscaler.planes(low)
            given = resize(low, upscaler.scale) if upscaler.spec.upscale_first else low
            result = run(given)
            assert result.shape == expected.shape
            assert np.abs(expected).max() > 0.1
            assert np.abs(result - expected).max() <= 1e-5


def test_what_a_format_cannot_hold_is_said(call, flags, tmp_path, monkeypatch):
    followed = exporting.Whole.call
    monkeypatch.setattr(exporting.Whole, "call", lambda whole, x: tf.math.bessel_i0e(followed(whole, x)))
    sentence = call(*flags("espcn", "litert"), tmp_path / "out.tflite").error()
    assert sentence == "LiteRT has no operators for this ESPCN (BesselI0e)."
    assert list(tmp_path.iterdir()) == []


def test_every_network_is_tried():
    assert {name for name, _ in CASES.values()} == set(NETWORKS)


def test_twin_files_have_the_same_names_in_the_same_order():
    assert outline("tf_models", "exporting") == outline("torch_models", "exporting")


# ---- What a file says of itself


def test_onnx_names_its_tensors_and_its_network(exported):
    path = exported("vespcn", "onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model)
    (given,), (result,) = model.graph.input, model.graph.output
    assert (given.name, result.name) == ("input", "output")
    sides = given.type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", 3, "height", "width"]
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert (facts["name"], facts["scale"], facts["colour"], facts["frames"]) == ("vespcn", "2", "luma", "3")
    assert network("vespcn", **json.loads(facts["network"])) == network(*CASES["vespcn"][:1], **CASES["vespcn"][1])
    assert str(ROOT).encode() not in path.read_bytes()  # nor any other line of where it was made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_names_its_network(exported):
    facts = {"facts.json": ""}
    torch.jit.load(exported("espcn", "torchscript"), _extra_files=facts)
    assert json.loads(facts["facts.json"])["name"] == "espcn"


def test_a_saved_model_names_its_tensors_and_its_network(exported):
    path = exported("espcn", "saved_model")
    signature = tf.saved_model.load(path).signatures["serving_default"]
    assert signature.structured_input_signature[1]["input"].shape.as_list() == [None, None, None, 1]
    assert list(signature.structured_outputs) == ["output"]
    facts = json.loads((path / "assets.extra" / "facts.json").read_text(encoding="utf-8"))
    assert (facts["name"], facts["factor"]) == ("espcn", "3")


def test_litert_names_its_tensors(exported):
    interpreter = Interpreter(model_path=str(exported("espcn", "litert")))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["input"], "outputs": ["output"]}}
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [-1, -1, -1, 1]


# ---- The command


def test_shipped_weights_are_found(call, tmp_path):
    answer = call("--model", "espcn", "--scale", 2, "--format", "torchscript", tmp_path / "new" / "espcn.pt")
    assert answer.code == cli.DONE
    assert "tensorflow and torch" in answer.out[0]
    assert answer.out[-1] == str(tmp_path / "new" / "espcn.pt")


def test_help_imports_no_framework():
    code = "import runpy, sys, atexit\natexit.register(lambda: print('LOADED', *sys.modules))\n"
    code += "sys.argv = ['export', '--help']\nrunpy.run_module('common.export', run_name='__main__')\n"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == cli.DONE, ended.stderr
    shown, loaded = ended.stdout.split("LOADED ")
    assert "--format" in shown
    assert not {"torch", "tensorflow", "keras", "onnx", "onnxruntime", "cv2"} & set(loaded.split())


@pytest.mark.parametrize("kind", ["onnx", "litert"])
def test_a_missing_module_is_named_with_its_extra(kind, call, flags, tmp_path, monkeypatch):
    missing, find = FORMATS[kind].needs[-1], importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    sentence = call(*flags("espcn", kind), tmp_path / f"out{FORMATS[kind].suffix}").error()
    assert missing in sentence
    assert "pip install 'video-super-resolution[export]'" in sentence


def test_a_missing_framework_is_named(call, flags, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorflow" else find(name, *rest)
    )
    assert "tensorflow is not installed" in call(*flags("espcn", "saved_model"), tmp_path / "out").error()
    answer = call(*flags("espcn", "torchscript"), tmp_path / "out.pt")
    assert answer.code == cli.DONE
    assert answer.out[0].startswith("differs from torch by")


def test_a_scale_without_weights(call, tmp_path):
    assert "ESPCN enlarges by 2, 3 or 4, not 7" in call("--scale", 7, tmp_path / "out.onnx").error()
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_wrong_usage(call, flags, tmp_path):
    assert ".tflite" in call(*flags("espcn", "litert"), tmp_path / "out.onnx").error(cli.USAGE)


def test_a_place_that_is_no_folder(call, flags, tmp_path):
    (tmp_path / "file").write_text("kept")
    assert "cannot be written" in call(*flags("espcn", "onnx"), tmp_path / "file" / "out.onnx").error()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_may_not_be_written(call, flags, tmp_path):
    tmp_path.chmod(0o500)
    assert "cannot be written" in call(*flags("espcn", "onnx"), tmp_path / "out.onnx").error()


@pytest.mark.parametrize("kind", ["torchscript", "saved_model"])
def test_what_is_there_is_replaced_only_if_asked_for(kind, call, flags, tmp_path):
    path = tmp_path / f"out{FORMATS[kind].suffix}"
    file = path if FORMATS[kind].suffix else path / "saved_model.pb"
    file.parent.mkdir(exist_ok=True)
    file.write_text("kept")
    assert "--overwrite" in call(*flags("espcn", kind), path).error()
    assert file.read_text() == "kept"
    assert call(*flags("espcn", kind), "--overwrite", path).code == cli.DONE
    assert file.read_bytes() != b"kept"
    assert list(tmp_path.iterdir()) == [path]


def test_other_things_are_never_replaced(call, flags, tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("kept")
    for kind, name in (("onnx", "folder.onnx"), ("saved_model", "folder.onnx"), ("saved_model", "file")):
        call(*flags("espcn", kind), "--overwrite", tmp_path / name).error()
    assert (tmp_path / "folder.onnx").is_dir()
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("kind", ["torchscript", "saved_model"])
@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_file_that_computes_something_else_is_not_kept(kind, wrong, call, flags, tmp_path, monkeypatch):
    made = export.whole
    monkeypatch.setattr(export, "whole", lambda *arguments: made(*arguments) + wrong)
    assert "was not kept" in call(*flags("espcn", kind), tmp_path / f"out{FORMATS[kind].suffix}").error()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    path, rename = tmp_path / "out", os.rename
    path.mkdir()
    (path / "file").write_text("kept")

    def failing(source, target):
        if Path(target) == path and (Path(source) / "new").exists():
            raise OSError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="Permission denied"), export.folder_written_whole(path) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert (path / "file").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [path]
