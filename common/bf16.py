"""Kernels in bf16, which has 8 binary digits; torch_models/bf16.py says what else keeps networks exact in it."""

import numpy as np

DAMPING = 1e-6  # of the mean square, added to every number's, as the pictures in use are others


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


def fitted(kernel, moments):
    """(O, I, k, k) float32 kernels in the numbers of bf16, so that the sums of products change least.

    moments: (I k k, I k k), the mean products of all pairs of numbers that a kernel is multiplied with. What rounding
    adds to a tap is made up for by all taps that are not rounded yet (Frantar et al. 2023, "GPTQ", section 3).
    """
    count = len(moments)
    damped = moments + DAMPING * np.trace(moments) / count * np.eye(count)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    wanted = kernel.reshape(-1, count).astype(np.float64)
    result = np.empty_like(wanted, np.float32)
    for place in range(count):
        result[:, place] = nearest(wanted[:, place].astype(np.float32))
        error = (wanted[:, place] - result[:, place]) / factor[place, place]
        wanted[:, place + 1 :] -= np.outer(error, factor[place, place + 1 :])
    return result.reshape(kernel.shape)


def nearest(values):
    """The numbers of bf16 that are nearest to finite float32, as float32, of two equally near the even one."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
