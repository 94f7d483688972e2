"""Kernels for bf16, which has 8 binary digits; torch_models/bf16.py says why, and does more where it is faster."""

import numpy as np
import tensorflow as tf

from tf_models.layers import Conv, parts


def rounded(kernel):
    """(O, I, k, k) kernels in the numbers of bf16, the sum of each k x k as it was but for the smallest's rounding.

    What rounding adds to a tap is taken from the next smaller one (error diffusion).
    """
    taps = kernel.reshape(*kernel.shape[:2], -1)
    result, error = np.empty_like(taps), np.zeros_like(taps[..., :1])
    order = np.argsort(-np.abs(taps), axis=-1)
    for place in np.split(order, order.shape[-1], axis=-1):
        wanted = np.take_along_axis(taps, place, axis=-1) + error
        nearest = wanted.astype(tf.bfloat16.as_numpy_dtype).astype(taps.dtype)
        error = wanted - nearest
        np.put_along_axis(result, place, nearest, axis=-1)
    return result.reshape(kernel.shape)


def with_rounded_kernels(model, tensors):
    """`tensors` with the kernels of the convolutions of `model` that are computed in bf16 without padding `rounded`."""
    layers = [(path, layer) for path, layer in parts(model) if isinstance(layer, Conv)]
    names = {f"{path}.weight" for path, one in layers if one.precision == tf.bfloat16 and not one.padding}
    return {name: rounded(tensor) if name in names else tensor for name, tensor in tensors.items()}
