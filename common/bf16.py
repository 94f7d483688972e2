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
    adds to a tap is made up for by the taps after it, as in GPTQ (Frantar et al. 2023, section 3), without its inverse:
    with the moments as R R^T, R upper triangular, what is off by e costs |e R|^2, of which entry k is known with tap k.
    """
    count = len(moments)
    damped = moments + (DAMPING * np.trace(moments) / count or 1.0) * np.eye(count)  # all read may be zeros
    factor = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    factor = factor / factor.diagonal()
    wanted = kernel.reshape(-1, count).astype(np.float64)
    result, off = np.empty_like(wanted, np.float32), np.empty_like(wanted)
    for place in range(count):
        aim = wanted[:, place] - off[:, :place] @ factor[:place, place]
        result[:, place] = nearest(aim.astype(np.float32))
        off[:, place] = result[:, place] - wanted[:, place]
    return result.reshape(kernel.shape)


def nearest(values):
    """The numbers of bf16 that are nearest to finite float32, as float32, of two equally near the even one."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
