"""Kernels in bf16, which has 8 binary digits; torch_models/bf16.py says what else keeps networks exact in it."""

import numpy as np


def rounded(kernel):
    """(O, I, k, k) float32 kernels in the numbers of bf16, the sum of each k x k as it was but for the smallest's
    rounding.

    What rounding adds to a tap is taken from the next smaller one (error diffusion). Else what each kernel is off by
    would shift all that is smooth, which is most of a picture.
    """
    taps = kernel.reshape(*kernel.shape[:2], -1)
    result, error = np.empty_like(taps), np.zeros_like(taps[..., :1])
    order = np.argsort(-np.abs(taps), axis=-1)
    for place in np.split(order, order.shape[-1], axis=-1):
        wanted = np.take_along_axis(taps, place, axis=-1) + error
        found = nearest(wanted)
        error = wanted - found
        np.put_along_axis(result, place, found, axis=-1)
    return result.reshape(kernel.shape)


def nearest(values):
    """The numbers of bf16 that are nearest to finite float32, as float32, of two equally near the even one."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
