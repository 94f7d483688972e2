"""Which kernels are rounded for bf16; torch_models/bf16.py does more where it is faster."""

import tensorflow as tf

from common.bf16 import rounded
from tf_models.layers import Conv, parts


def with_rounded_kernels(model, tensors):
    """`tensors` with the kernels of the convolutions of `model` that are computed in bf16 without padding `rounded`."""
    layers = [(path, layer) for path, layer in parts(model) if isinstance(layer, Conv)]
    names = {f"{path}.weight" for path, one in layers if one.precision == tf.bfloat16 and not one.padding}
    return {name: rounded(tensor) if name in names else tensor for name, tensor in tensors.items()}
