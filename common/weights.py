"""Weights files: safetensors that name their network, so that both frameworks, and anybody else, can load them.

Keys are attribute paths (`conv1.weight`), kernels (outputs, inputs, rows, columns) in float32, exactly what a plain
PyTorch `load_state_dict` takes. The header says which network, its dataclass as JSON, and how it was trained.
"""

import hashlib
import json
import os
import re
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common import __version__
from common.errors import WeightsError
from common.files import written_whole
from common.foreign import SUFFIXES, read_state_dict, srresnet_of
from common.networks import NETWORKS, Network, SRResNet, described_network, network

FOLDER = Path(__file__).resolve().parent.parent / "weights"
SUMS = "SHA256SUMS"  # in it, as `sha256sum --check` takes it


@dataclass(frozen=True)
class Weights:
    """name: the network's name on the command line; tensors: float32 arrays by attribute path; info: how trained."""

    name: str
    network: Network
    tensors: dict[str, np.ndarray]
    info: dict[str, str] = field(default_factory=dict)

    def fingerprint(self):
        """A hash of the network and of all its tensors."""
        content = hashlib.sha256(f"{self.name} {self.network.to_json()}".encode())
        for key in sorted(self.tensors):
            content.update(key.encode())
            content.update(np.ascontiguousarray(self.tensors[key], np.float32))
        return content.hexdigest()


def shipped(name, scale):
    """Path of the weights that come with this project, which may not exist."""
    return FOLDER / f"{name}_x{scale}.safetensors"


def shipped_scales(name):
    """The scales for which weights come with this project, smallest first."""
    return sorted(int(path.stem.rsplit("_x", 1)[1]) for path in FOLDER.glob(f"{name}_x*.safetensors"))


def weights_for(name, scale, path=None):
    """The `Weights` in the file `path`, or those shipped for network `name` at `scale`.

    Raises WeightsError if the network knows no such scale, if there are no weights, if those in the file belong to
    another network or scale, and if those shipped have changed since.
    """
    try:
        network(name, scale=scale)
    except ValueError as error:
        raise WeightsError(f"{error}.") from None
    if path is None and not shipped(name, scale).exists():
        others = ", ".join(f"x{scale}" for scale in shipped_scales(name)) or "none"
        raise WeightsError(f"There are no weights for {name} x{scale} (shipped: {others}); train some, or name a file.")
    if path is None:
        path = shipped(name, scale)
        check_sum(path)
    weights = load_weights(path, name)
    if (weights.name, weights.network.scale) != (name, scale):
        raise WeightsError(f"{path} holds {weights.name} x{weights.network.scale}, not {name} x{scale}.")
    return weights


def check_sum(path):
    """Raise WeightsError if the file `path` is not the one that SHA256SUMS beside it lists; one it lacks may be any."""
    sums = path.with_name(SUMS)
    listed = dict(line.split()[::-1] for line in sums.read_text(encoding="utf-8").splitlines()) if sums.exists() else {}
    if listed.get(path.name, digest := sha256(path)) != digest:
        raise WeightsError(
            f"{path} is not the file that was shipped, by its SHA-256 in {sums.name}: fetch it again, or give it as "
            "--weights if it was replaced on purpose."
        )


def sha256(path):
    """The SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def with_motion(weights, motion):
    """`weights` with the motion between frames taken out another way, see `MOTIONS` of common/networks.py.

    None leaves it as it was trained. Raises WeightsError if the network sees one frame only, or estimates no motion.
    """
    spec = weights.network
    if motion is None or motion == getattr(spec, "motion", None):
        return weights
    if spec.frames == 1:
        raise WeightsError(f"{weights.name} sees one frame at a time, so there is no motion to choose for it.")
    spec = replace(spec, motion=motion)
    if missing := set(spec.shapes) - set(weights.tensors):
        raise WeightsError(f"These weights of {weights.name} lack {min(missing)}, without which no motion is learned.")
    return replace(weights, network=spec, tensors={key: weights.tensors[key] for key in spec.shapes})


def save_weights(path, weights):
    """Write `weights` to `path`, whole or not at all. Raises WeightsError if they do not fit their network; OSError."""
    check_tensors(weights.network, weights.tensors, path)
    header = {"name": weights.name, "network": weights.network.to_json(), "version": __version__, **weights.info}
    tensors = {key: np.ascontiguousarray(value, np.float32) for key, value in weights.tensors.items()}
    write_safetensors(path, tensors, {key: str(value) for key, value in header.items()})


def write_safetensors(path, arrays, header):
    """Write {name: array} and a header, {name: text}, to `path`, whole or not at all. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with written_whole(path) as temporary:
        try:
            save_file(arrays, temporary, metadata=header)
        except SafetensorError as error:  # the number is all that it keeps of what the system said
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), str(error)) from error


def load_weights(path, name=None):
    """The `Weights` in a file: ours, or a PyTorch state dictionary of a common SRResNet (`.pth`), which is then called
    `name` if that is a network of the kind; see common/foreign.py.

    Raises WeightsError, one sentence, for a file that is missing, no safetensors, damaged, or does not hold exactly the
    weights of the network it names.
    """
    if Path(path).suffix.lower() in SUFFIXES:
        spec, tensors = srresnet_of(read_state_dict(path), path)
        name = name if issubclass(NETWORKS.get(name, Network), SRResNet) else "srresnet"
        check_tensors(spec, tensors, path)
        return Weights(name, NETWORKS[name](**vars(spec)), tensors, {"origin": Path(path).name})
    tensors, header = read_safetensors(path)
    name = header.pop("name", None)
    if name not in NETWORKS or "network" not in header:
        raise WeightsError(f"{path} does not say which network of this project its weights belong to.")
    try:
        spec = described_network(name, header.pop("network"))
    except ValueError as error:
        raise WeightsError(f"{path} describes a network that cannot be built: {error}.") from None
    check_tensors(spec, tensors, path)
    return Weights(name, spec, tensors, header)


def read_safetensors(path):
    """(tensors by key, header) of any safetensors file; raises WeightsError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not os.path.isfile(path):
        raise WeightsError(f"{path} does not exist or is no file.")
    try:
        data = Path(path).read_bytes()  # not mapped: a file that is cut short meanwhile would end the process
        tensors = load(data)
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is no whole safetensors file ({error}).") from None
    except KeyError as error:
        raise WeightsError(f"{path} holds numbers of type {error}, which are not read here.") from None
    return tensors, header


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
    """Weights to start training from, the same for both frameworks: what each layer says, kernels mostly random.

    The last convolution starts small, so that the first outputs are near zero whatever the width.
    """
    generator = np.random.default_rng(seed)
    tensors = {}
    for layer in spec.layers:
        for key, shape in layer.shapes.items():
            if key.endswith("weight") and getattr(layer, "start", None) == "identity":
                tensors[key] = identity(shape)
                continue
            spread = 0.0 if key in layer.constants else np.sqrt(2 / np.prod(shape[1:]))
            values = layer.constants.get(key, 0.0) + spread * generator.standard_normal(shape)
            tensors[key] = values.astype(np.float32)
    tensors[f"{spec.convolutions[-1].name}.weight"] *= 0.1
    return tensors


def identity(shape):
    """The kernel (maps, maps, rows, columns) of a convolution that changes nothing."""
    kernel = np.zeros(shape, np.float32)
    kernel[range(shape[0]), range(shape[1]), shape[2] // 2, shape[3] // 2] = 1
    return kernel
