"""Damaged and absurd weights files for `common.weights` and `common.foreign`."""

import io
import json
import pickle
import zipfile

import numpy as np
from safetensors.numpy import save

from common.errors import WeightsError
from common.images import Picture
from common.networks import network
from common.weights import initial_tensors, load_weights
from fuzzing.mutations import changed_json, mutated

DOCUMENTED = (WeightsError,)
NETWORKS = {
    "srcnn": {"widths": (4, 4)},
    "espcn": {"widths": (4, 4)},
    "vespcn": {"width": 4, "depth": 4},
    "drcn": {"width": 4, "recursions": 2},
    "srresnet": {"width": 4, "blocks": 1},
}


def seeds():
    """{name: content} of valid weights files."""
    found = {}
    for name, options in NETWORKS.items():
        spec = network(name, **options)
        header = {"name": name, "network": spec.to_json(), "version": "0", "steps": "7"}
        found[f"{name}.safetensors"] = save(initial_tensors(spec, 0), header)
    found["srresnet.pth"] = state_dict(initial_tensors(network("srresnet", **NETWORKS["srresnet"]), 0))
    return found


def state_dict(tensors):
    import torch

    file = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, file)
    return file.getvalue()


def make(random, valid):
    """(content, suffix) of one input; `valid` is what `seeds` returned."""
    way = random.random()
    if way < 0.25:
        return absurd_spec(random), ".safetensors"
    if way < 0.4:
        return absurd_pickle(random, valid["srresnet.pth"]), ".pth"
    name = random.choice(list(valid))
    return mutated(valid[name], random, list(valid.values())), "." + name.rpartition(".")[2]


def absurd_spec(random):
    """A whole file whose description of the network, or whose arrays, make no sense."""
    name = random.choice(list(NETWORKS))
    spec = network(name, **NETWORKS[name])
    tensors, described = initial_tensors(spec, 0), spec.to_json()
    if random.random() < 0.8:
        described = json.dumps(changed_json(json.loads(described), random))
    if random.random() < 0.4:
        key = random.choice(list(tensors))
        array = tensors[key]
        tensors[key] = random.choice(
            (
                *(array.astype(kind) for kind in ("f2", "f8", "i4", "?", "c8")),
                *(array * np.float32(factor) for factor in (1e38, 1e-45, np.nan, -1)),
                *(array[:0], array.reshape(-1), array[..., None], np.zeros((), np.float32)),
            )
        )
    return save(tensors, {"name": random.choice((name, name, name, "espcn", "", "é")), "network": described})


def absurd_pickle(random, valid):
    """A PyTorch file whose pickle asks for what it should not, or for more than there is."""
    source = zipfile.ZipFile(io.BytesIO(valid))
    names = source.namelist()
    record = next(name for name in names if name.endswith("data.pkl"))
    content = source.read(record)
    harmful = b"cposix\nsystem\n(S'true'\ntR."
    huge = content.replace(b"K\x04", b"J" + (2**30).to_bytes(4, "little"))
    content = random.choice((harmful, huge, pickle.dumps({"a": [1]}), mutated(content, random, [content, harmful])))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name in names:
            if random.random() < 0.97:
                target.writestr(name, content if name == record else source.read(name))
    return file.getvalue()


def attempt(path, folder, random):
    """Load the weights and, now and then, enlarge with them."""
    weights = load_weights(path, random.choice(("srresnet", "srgan", None)))
    if random.random() < 0.3:
        from common.upscaler import Upscaler

        Upscaler(weights, "torch", "cpu").picture(Picture(np.full((6, 5, 3), 77, np.uint8)))


def command(path, folder):
    """The same by the command line, which makes a picture of one of ours."""
    return ["super_resolve.py", "--weights", path, "--output", folder / "out.png", "--quiet"]
