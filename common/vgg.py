"""The weights of VGG19, by whose features pictures are compared: the file that Keras offers, given or fetched once."""

import os

import numpy as np

from common.errors import WeightsError, reason_of
from common.hdf5 import check_readable, damage_explained

NAME = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{NAME}"
MD5 = "253f8cb515780f3b799900260a226db6"  # as Keras states it


def fetched():
    """Path of Keras' file (80 MB), fetched with its hash checked if it is not in the user's cache yet.

    Raises WeightsError, one sentence that names the flag which does without.
    """
    try:
        import pooch

        pooch.get_logger().setLevel("WARNING")
        folder = pooch.os_cache("video-super-resolution")
        return pooch.retrieve(URL, f"md5:{MD5}", fname=NAME, path=folder, progressbar=True)
    except ImportError:
        reason = "pooch is not installed"
    except Exception as error:  # noqa: BLE001 - whatever hinders it, the way round is the same
        reason = reason_of(_innermost(error))
    raise WeightsError(f"VGG19's weights cannot be fetched from {URL} ({reason}): give the file as --vgg_weights.")


def _innermost(error):
    """The error of the network behind one, without what each library around it says."""
    while behind := error.__cause__ or error.__context__:
        error = behind
    return error


def vgg_tensors(path, spec):
    """The weights of `spec`, a `common.networks.VGG19`, in Keras' file `path`: float32 arrays by attribute path.

    A layer is the group block1_conv1, ..., which holds, at any depth and whatever their names, a kernel (rows, columns,
    inputs, outputs) and a bias. Raises WeightsError, one sentence, if the file is none, or one of another network.
    """
    if not os.path.isfile(path):
        raise WeightsError(f"{path} does not exist or is no file.")
    check_readable(path, lambda: _tensors(path, spec), WeightsError)
    with damage_explained(path, WeightsError):
        return _tensors(path, spec)


def _tensors(path, spec):
    import h5py

    tensors = {}
    with h5py.File(path, "r") as file:
        groups = file.get("model_weights", file)
        for layer in spec.convolutions:
            block, conv = (int(part) + 1 for part in layer.name.split(".")[1::2])
            kernel, bias = _kernel_and_bias(groups, f"block{block}_conv{conv}", path)
            expected = (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
            if kernel.shape != expected or bias.shape != expected[-1:]:
                raise WeightsError(
                    f"block{block}_conv{conv} in {path} is {kernel.shape} with {bias.shape} biases, not {expected} "
                    f"with {expected[-1:]} as in VGG19."
                )
            if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in (kernel, bias)):
                raise WeightsError(f"block{block}_conv{conv} in {path} holds values that are not finite numbers.")
            tensors[f"{layer.name}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)
            tensors[f"{layer.name}.bias"] = bias.astype(np.float32)
    return tensors


def _kernel_and_bias(groups, name, path):
    """The arrays of four dimensions and of one in the group `name`."""
    import h5py

    found = {}

    def note(_, item):
        if isinstance(item, h5py.Dataset):
            found[item.ndim] = item

    if isinstance(groups.get(name), h5py.Group):
        groups[name].visititems(note)
    if not {1, 4} <= set(found):
        raise WeightsError(f"{path} lacks kernel or bias of {name}: it is not the file of VGG19 that Keras offers.")
    return found[4][()], found[1][()]
