"""What a network begins with that starts from another one's weights."""

from dataclasses import replace

import numpy as np


class StartError(ValueError):
    """The weights are of no use for the network; the message is one sentence."""


def started(weights, spec, tensors, seed):
    """The first weights, arrays by attribute path, of network `spec`, which would be `tensors` from nothing.

    From the `Weights` of a narrower network, otherwise the same: all of them, widened so that it computes the same
    (Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016, section 2.2). From any other: the layers that have the same name
    and shape, the weights of another scale for example. Raises StartError if no kernel is among them.
    """
    given = weights.tensors
    if _is_narrower(weights.network, spec):
        generator = np.random.default_rng(seed)
        return {key: widened(given[key], array.shape, generator) for key, array in tensors.items()}
    same = {key: array for key, array in given.items() if key in tensors and array.shape == tensors[key].shape}
    if not any(array.ndim > 1 for array in same.values()):
        raise StartError("The weights to start from have no layer in common with this network.")
    return tensors | same


def _is_narrower(narrow, wide):
    """Whether network `wide` has some times as many maps as `narrow`, and no other difference."""
    if type(narrow) is not type(wide) or not hasattr(wide, "width") or wide.width % narrow.width:
        return False
    return narrow != wide == replace(narrow, width=wide.width)


def widened(array, shape, generator):
    """`array` (out, in, ...) or (out,) with its channels repeated until it has `shape`.

    A map that is repeated is shared out at random among the kernels that see its copies. The sum over them stays what
    it was, but copies do not get the same gradients, and so do not stay copies.
    """
    if array.shape == shape:
        return array
    copies = [many // few for few, many in zip(array.shape, shape, strict=True)]
    repeated = np.tile(array, copies)
    if array.ndim > 1 and copies[1] > 1:
        shares = generator.uniform(0.5, 1.5, (shape[0], copies[1], array.shape[1]))
        shares /= shares.sum(axis=1, keepdims=True)
        repeated *= shares.reshape(shape[0], shape[1], *[1] * (array.ndim - 2)).astype(array.dtype)
    return repeated
