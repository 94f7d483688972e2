"""From weights to a function on arrays: where device, precision and memory layout are decided."""

from contextlib import suppress
from importlib import import_module

import tensorflow as tf

from common.processor import computes_bf16
from tf_models.bf16 import with_rounded_kernels
from tf_models.inference import compiled
from tf_models.layers import concat, from_nhwc, load_tensors, set_precision, storage, to_nhwc


class Runtime:
    """A network ready for use. Call it with (N, H + 2 margin, W + 2 margin, C), get (N, factor H, factor W, C),
    float32; it raises MemoryError for a batch that is too much for the device.

    tensors: weights by attribute path. device: "auto", "cpu" or "cuda". precision: "auto" or a key of `PRECISIONS`.
    working_set: bytes of feature maps of a batch of tiles that is worked on fast.
    """

    working_set = 256 << 20  # smaller ones cost more in calls than they save

    def __init__(self, spec, tensors, device="auto", precision="auto"):
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device, spec)
        self.model = build(spec, self.precision)
        self.load(tensors)
        self.graph = compiled(self.model, spec, self.device, self.precision)

    def load(self, tensors):
        """Replace the weights."""
        load_tensors(self.model, with_rounded_kernels(self.model, tensors))

    def __call__(self, batch):
        try:
            return to_nhwc(self.graph(from_nhwc(batch, self.device)))
        except tf.errors.ResourceExhaustedError:
            raise MemoryError from None

    def compensated(self, batch):
        """The frames of windows (N, H, W, frames), sides multiples of the grid, moved onto the middle one."""
        frames, _ = self.model.compensate(from_nhwc(batch, self.device))
        return to_nhwc(concat(frames))


def build(spec, precision="fp32"):
    """The network that the dataclass `spec` describes, computing in `precision`, with untrained weights."""
    with storage(precision):
        model = getattr(import_module(f"tf_models.{spec.module}"), type(spec).__name__)(spec)
    set_precision(model, precision)
    return model


def choose_device(name):
    """The device called `name`; "auto" takes a GPU if there is one. Raises ValueError if it is not there."""
    if name == "auto":
        return "cuda" if tf.config.list_physical_devices("GPU") else "cpu"
    if name == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise ValueError("there is no CUDA device that TensorFlow can use; it found only the CPU.")
    if name == "cpu":  # else TensorFlow puts its variables on a GPU by itself
        with suppress(RuntimeError):  # raised once the devices are in use
            tf.config.set_visible_devices([], "GPU")
    return name


def choose_precision(name, device, spec):
    """The precision called `name`; "auto" is "bf16" where a CPU computes it and the network keeps it, else "fp32"."""
    if name != "auto":
        return name
    return "bf16" if "tensorflow" in spec.keeps_bf16 and device == "cpu" and computes_bf16() else "fp32"


def use_threads(count):
    """Compute on `count` CPU threads; by default they are as many as this process may run on."""
    with suppress(RuntimeError):  # raised once TensorFlow has begun, when they cannot be changed any more
        tf.config.threading.set_intra_op_parallelism_threads(count)
