"""Weights files: safetensors that name their network, so that both frameworks, and anybody else, can load them.

Keys are attribute paths (`conv1.weight`), kernels (outputs, inputs, rows, columns) in float32, exactly what a plain
PyTorch `load_state_dict` takes. The header says which network, its dataclass as JSON, and how it was trained.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common import __version__
from common.files import written_whole
from common.networks import NETWORKS, Network, network

FOLDER = Path(__file__).resolve().parent.parent / "weights"


class WeightsError(ValueError):
    """A weights file that cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Weights:
    """name: the network's name on the command line; tensors: float32 arrays by attribute path; info: how trained."""

    name: str
    network: Network
    tensors: dict[str, np.ndarray]
    info: dict[str, str] = field(default_factory=dict)


def shipped(name, scale):
    """Path of the weights that come with this project, which may not exist."""
    return FOLDER / f"{name}_x{scale}.safetensors"


def shipped_scales(name):
    """The scales for which weights come with this project, smallest first."""
    return sorted(int(path.stem.rsplit("_x", 1)[1]) for path in FOLDER.glob(f"{name}_x*.safetensors"))


def weights_for(name, scale, path=None):
    """The `Weights` in the file `path`, or those shipped for network `name` at `scale`.

    Raises WeightsError if there are none, or those in the file belong to another network or scale.
    """
    if path is None and not shipped(name, scale).exists():
        others = ", ".join(f"x{scale}" for scale in shipped_scales(name)) or "none"
        raise WeightsError(f"There are no weights for {name} x{scale} (shipped: {others}); train some, or name a file.")
    path = path or shipped(name, scale)
    weights = load_weights(path)
    if (weights.name, weights.network.scale) != (name, scale):
        raise WeightsError(f"{path} holds {weights.name} x{weights.network.scale}, not {name} x{scale}.")
    return weights


def save_weights(path, weights):
    """Write `weights` to `path`, whole or not at all. Raises WeightsError if they do not fit their network."""
    from safetensors.numpy import save_file

    check_tensors(weights.network, weights.tensors, path)
    header = {"name": weights.name, "network": weights.network.to_json(), "version": __version__, **weights.info}
    tensors = {key: np.ascontiguousarray(value, np.float32) for key, value in weights.tensors.items()}
    with written_whole(path) as temporary:
        save_file(tensors, temporary, metadata={key: str(value) for key, value in header.items()})


def load_weights(path):
    """The `Weights` in a file.

    Raises WeightsError, one sentence, for a file that is missing, no safetensors, damaged, or does not hold exactly the
    weights of the network it names.
    """
    tensors, header = read_safetensors(path)
    name = header.pop("name", None)
    if name not in NETWORKS or "network" not in header:
        raise WeightsError(f"{path} does not say which network of this project its weights belong to.")
    try:
        spec = network(name, **json.loads(header.pop("network")))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path} describes a network that cannot be built: {error}.") from None
    check_tensors(spec, tensors, path)
    return Weights(name, spec, tensors, header)


def read_safetensors(path):
    """(tensors by key, header) of any safetensors file; raises WeightsError."""
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise WeightsError(f"{path} does not exist or is no file.")
    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is no whole safetensors file ({error}).") from None


def check_tensors(spec, tensors, path):
    """Raise WeightsError unless `tensors` are exactly the weights of `spec`, finite numbers all; names what differs."""
    wanted = spec.shapes
    for key in [*wanted, *tensors]:
        if key not in tensors:
            raise WeightsError(f"{path} lacks {key}, which this {type(spec).__name__} needs.")
        if key not in wanted:
            raise WeightsError(f"{path} holds {key}, which this {type(spec).__name__} does not have.")
        if tuple(tensors[key].shape) != wanted[key]:
            raise WeightsError(f"{key} in {path} is {tuple(tensors[key].shape)}, not {wanted[key]}.")
        if not np.issubdtype(tensors[key].dtype, np.floating) or not np.isfinite(tensors[key]).all():
            raise WeightsError(f"{key} in {path} holds values that are not finite numbers.")


def initial_tensors(spec, seed):
    """Random weights to start training from, the same for both frameworks: He et al. 2015, biases zero.

    The last layer starts small, so that the first outputs are near zero whatever the width.
    """
    generator = np.random.default_rng(seed)
    tensors = {}
    for layer in spec.layers:
        for key, shape in layer.shapes.items():
            spread = 0.0 if key.endswith("bias") else np.sqrt(2 / np.prod(shape[1:]))
            tensors[key] = (spread * generator.standard_normal(shape)).astype(np.float32)
    tensors[f"{spec.layers[-1].name}.weight"] *= 0.1
    return tensors
