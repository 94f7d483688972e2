"""A network with its weights as one file for other programs: ONNX, which most of them read, or TorchScript.

What is written takes whole pictures: what is to be seen beyond them, elsewhere from common/upscaler.py, is made inside.
"""

import json
import warnings

import torch
import torch.nn.functional as F
from torch import nn

from common.backend import stderr_closed
from torch_models.layers import load_tensors
from torch_models.runtime import build

EXAMPLE = (2, 24, 32)  # pictures, rows and columns that a network is followed with; one picture would be taken as fixed
OPSET = 18  # of ONNX: the newest that needs no newer loader


class Whole(nn.Module):
    """The network `model` on whole pictures: (N, inputs, H, W) to (N, C, factor H, factor W), of any height and width.

    Beyond the edge of a picture it sees the edge repeated, as far as its receptive field reaches, or its own padding.
    """

    def __init__(self, model, spec):
        super().__init__()
        self.model = model
        self.spec = spec

    def forward(self, x):
        spec = self.spec
        rows, columns = x.shape[2:]
        before, after = spec.beyond, spec.beyond + spec.grid - 1
        if after:
            x = F.pad(x, (before, after, before, after), mode="replicate")
        spare = (spec.beyond - spec.margin) * spec.factor  # outputs that saw padding
        if spec.grid == 1:
            x = self.model(x)
            return x[:, :, spare:-spare, spare:-spare] if spare else x
        x = x[:, :, : x.shape[2] // spec.grid * spec.grid, : x.shape[3] // spec.grid * spec.grid]
        x = self.model(x)
        return x[:, :, spare : spare + spec.factor * rows, spare : spare + spec.factor * columns]


def export(kind, spec, tensors, path, facts):
    """Write the network of the dataclass `spec` with the weights `tensors` to `path`, as "onnx" or "torchscript".

    facts: {key: text} that the file keeps, TorchScript as JSON in the extra file `facts.json`.
    """
    model = build(spec)
    load_tensors(model, tensors)
    whole = Whole(model, spec).eval().requires_grad_(False)
    example = torch.rand(EXAMPLE[0], spec.inputs, *EXAMPLE[1:])
    with warnings.catch_warnings(), stderr_closed():
        warnings.simplefilter("ignore")  # of PyTorch's plans for itself, and of shapes, which are tested afterwards
        if kind == "onnx":
            sizes = ({0: "batch", 2: "height", 3: "width"},)
            names = {"input_names": ["input"], "output_names": ["output"]}
            program = torch.onnx.export(
                whole, (example,), dynamo=True, dynamic_shapes=sizes, opset_version=OPSET, verbose=False, **names
            )
            program.model.metadata_props.update(facts)
            graph = program.model.graph
            for part in (graph, *graph.inputs, *graph.outputs, *graph):
                part.metadata_props.clear()  # among them lines of this program, by their paths on this machine
            program.save(path, external_data=False)
        else:
            program = torch.jit.trace(whole, example, check_trace=False)
            torch.jit.save(program, path, _extra_files={"facts.json": json.dumps(facts)})


def opened(kind, path):
    """The file at `path` in the loader for its kind: a function on arrays, (N, H, W, inputs) to (N, ..., ..., C)."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.load(path, map_location="cpu")

    def run(batch):
        batch = batch.transpose(0, 3, 1, 2).copy()
        if kind == "onnx":
            return session.run(["output"], {"input": batch})[0].transpose(0, 2, 3, 1)
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy().transpose(0, 2, 3, 1)

    return run
