"""SRResNet's weights as others save them: PyTorch state dictionaries (`.pth`, `.pth.tar`) of common implementations.

Known layouts, by their names; in all of them one slope may serve all maps, a convolution before batch normalisation may
have a bias, and "module.", "generator." or "_orig_mod." may stand before every name:

    ours                  conv1, prelu1, blocks.N.conv1, ... of torch_models/srgan.py, output in [-1, 1]
    block1 ... block8     block1.0, block2.conv1, block2.bn1, ..., block8.0.conv; ends in a hyperbolic tangent
    conv_block1, trunk    conv_block1.0, trunk.N.rcb.0 ... 4, upsampling.N.upsample_block.0, conv_block3; output in
                          [0, 1]
"""

import os
import re
import warnings

import numpy as np

from common.errors import WeightsError
from common.networks import SRResNet

SUFFIXES = (".pth", ".pt", ".ckpt", ".tar")  # the last of .pth.tar
WRAPPERS = ("state_dict", "model_state_dict", "g_state_dict", "model", "generator", "netG", "params", "params_ema")
PREFIXES = ("module.", "generator.", "_orig_mod.")  # of wrappers that train on several devices, with a rival, compiled
TRUNK = {"0": "conv1", "1": "norm1", "2": "prelu", "3": "conv2", "4": "norm2"}


def read_state_dict(path):
    """The float32 arrays of a PyTorch state dictionary by name. Only tensors are ever unpickled.

    Raises WeightsError, one sentence, for anything else.
    """
    try:
        import torch
    except ImportError:
        raise WeightsError(f"{path} can be read only where PyTorch is installed.") from None
    if not os.path.isfile(path):
        raise WeightsError(f"{path} does not exist or is no file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions of pickle
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - pickle raises whatever it likes, and speaks of ways that are not safe
        raise WeightsError(f"{path} is no PyTorch file of tensors alone, or is damaged.") from None
    for name in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(f"{path} holds no state dictionary.")
    if sum(value.numel() for value in found.values()) > os.path.getsize(path):  # views and sparse tensors claim more
        raise WeightsError(f"{path} declares more numbers than it holds.")
    arrays = {}
    for key, value in found.items():
        if not isinstance(key, str) or value.is_complex() or not value.numel() or value.layout != torch.strided:
            raise WeightsError(f"{path} holds {key!r}, which is no weight of an SRResNet.")
        for prefix in PREFIXES:
            key = key.removeprefix(prefix)
        if not key.endswith("num_batches_tracked"):
            arrays[key] = value.detach().float().numpy()
    return arrays


def srresnet_of(arrays, path):
    """(spec, tensors by our names) of a state dictionary; raises WeightsError that says what does not match."""
    blocks = [int(match[1]) for key in arrays if (match := re.fullmatch(r"block(\d{1,4})\.conv1\.weight", key))]
    trunk = any(key.startswith("trunk.") for key in arrays)
    if blocks:
        rules, ending = block_rules(max(blocks)), "tanh"
    else:
        rules, ending = (TRUNK_RULES if trunk else OUR_RULES), "linear"
    tensors = {renamed(key, rules, path): value for key, value in arrays.items()}
    if trunk and {"conv3.weight", "conv3.bias"} <= set(tensors):  # ours draws in [-1, 1]
        tensors["conv3.weight"] = 2 * tensors["conv3.weight"]
        tensors["conv3.bias"] = 2 * tensors["conv3.bias"] - 1
    spec = spec_of(tensors, ending, path)
    return spec, fitted(tensors, spec)


def block_rules(last):
    """Our names for those of block1 ... block8, where `last` is the number of the last residual block."""
    return [
        (r"block1\.0\.", "conv1."),
        (r"block1\.1\.", "prelu1."),
        (rf"block{last + 1}\.0\.", "conv2."),
        (rf"block{last + 1}\.1\.", "norm2."),
        (rf"block{last + 2}\.(\d+)\.(conv|prelu)\.", r"upsampling.\1.\2."),
        (rf"block{last + 2}\.\d+\.(?=weight|bias)", "conv3."),
        (r"block(\d{1,4})\.(conv1|conv2|prelu)\.", lambda match: f"blocks.{int(match[1]) - 2}.{match[2]}."),
        (r"block(\d{1,4})\.bn([12])\.", lambda match: f"blocks.{int(match[1]) - 2}.norm{match[2]}."),
    ]


TRUNK_RULES = [
    (r"conv(?:_block)?1\.0\.", "conv1."),
    (r"conv(?:_block)?1\.1\.", "prelu1."),
    (r"trunk\.(\d+)\.rcb\.([0-4])\.", lambda match: f"blocks.{match[1]}.{TRUNK[match[2]]}."),
    (r"conv(?:_block)?2\.0\.", "conv2."),
    (r"conv(?:_block)?2\.1\.", "norm2."),
    (r"upsampling\.(\d+)\.upsample_block\.0\.", r"upsampling.\1.conv."),
    (r"upsampling\.(\d+)\.upsample_block\.2\.", r"upsampling.\1.prelu."),
    (r"conv(?:_block)?3\.(?=weight|bias)", "conv3."),
]
OUR_RULES = [
    (r"(conv[123]|prelu1|norm2|blocks\.\d+\.(?:conv[12]|norm[12]|prelu)|upsampling\.\d+\.(?:conv|prelu))\.", r"\1."),
]


def renamed(key, rules, path):
    for pattern, ours in rules:
        if match := re.match(pattern, key):
            return (ours(match) if callable(ours) else match.expand(ours)) + key[match.end() :]
    raise WeightsError(f"{path} holds {key}, which no SRResNet that is known here has.")


def spec_of(tensors, ending, path):
    """The network whose weights these are: all that follows from names and shapes."""
    first = tensors.get("conv1.weight")
    blocks = {key.split(".")[1] for key in tensors if key.startswith("blocks.")}
    doublings = {key.split(".")[1] for key in tensors if key.startswith("upsampling.")}
    if first is None or first.ndim != 4 or first.shape[1] not in (1, 3) or len(doublings) not in (1, 2) or not blocks:
        raise WeightsError(f"{path} holds no SRResNet that enlarges by 2 or 4.")
    colour = "rgb" if first.shape[1] == 3 else "luma"
    try:
        return SRResNet(2 ** len(doublings), colour, len(blocks), first.shape[0], ending)
    except ValueError as error:
        raise WeightsError(f"{path} describes a network that cannot be built: {error}.") from None


def fitted(tensors, spec):
    """One slope given to all maps, and biases before batch normalisation moved into its mean."""
    tensors = dict(tensors)
    for key, shape in spec.shapes.items():
        if "prelu" in key and tensors.get(key, np.empty(0)).shape == (1,):
            tensors[key] = np.repeat(tensors[key], shape[0])
    for conv in spec.convolutions:
        bias, mean = f"{conv.name}.bias", f"{conv.name.replace('conv', 'norm')}.running_mean"
        if not conv.bias and bias in tensors and mean in tensors and tensors[mean].shape == tensors[bias].shape:
            tensors[mean] = tensors[mean] - tensors.pop(bias)
    return tensors
