"""From weights to a function on arrays: where device, precision and memory layout are decided."""

from importlib import import_module

import torch

from common.processor import computes_bf16
from torch_models.fused import can_fuse
from torch_models.inference import compiled
from torch_models.layers import concat, from_nhwc, load_tensors, set_precision, storage, to_nhwc

OUT_OF_MEMORY = "can't allocate memory", "could not create a primitive"  # as PyTorch and oneDNN say it


class Runtime:
    """A network ready for use. Call it with (N, H + 2 margin, W + 2 margin, C), get (N, factor H, factor W, C),
    float32; it raises MemoryError for a batch that is too much for the device.

    tensors: weights by attribute path. device: "auto", "cpu" or "cuda". precision: "auto" or a key of `PRECISIONS`.
    working_set: bytes of feature maps of a batch of tiles that is worked on fast.
    """

    working_set = 48 << 20  # a map of more than 32 MB would be taken from the system, and cleared, each time

    def __init__(self, spec, tensors, device="auto", precision="auto"):
        self.spec = spec
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device, spec)
        self.model = build(spec, self.precision).to(self.device, memory_format=torch.channels_last).eval()
        self.load(tensors)

    def load(self, tensors):
        """Replace the weights."""
        load_tensors(self.model, tensors)
        self.graph = compiled(self.model, self.spec, self.device, self.precision)

    @torch.inference_mode()
    def __call__(self, batch):
        torch.get_num_threads()  # by which a thread learns what `use_threads` set in another one
        try:
            return to_nhwc(self.graph(from_nhwc(batch, self.device)))
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
                raise MemoryError from None
            raise

    @torch.inference_mode()
    def compensated(self, batch):
        """The frames of windows (N, H, W, frames), sides multiples of the grid, moved onto the middle one."""
        frames, _ = self.model.compensate(from_nhwc(batch, self.device))
        return to_nhwc(concat(frames))


def build(spec, precision="fp32"):
    """The network that the dataclass `spec` describes, computing in `precision`, with untrained weights."""
    with storage(precision):
        model = getattr(import_module(f"torch_models.{spec.module}"), type(spec).__name__)(spec)
    set_precision(model, precision)
    return model


def choose_device(name):
    """The device called `name`; "auto" takes a GPU if there is one. Raises ValueError if it is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device that PyTorch can use; it found only the CPU.")
    return name


def choose_precision(name, device, spec):
    """The precision called `name`; "auto" is "bf16" where a CPU computes it and the network keeps it, else "fp32"."""
    if name != "auto":
        return name
    kept = "torch" in spec.keeps_bf16 and can_fuse("bf16")
    return "bf16" if kept and device == "cpu" and computes_bf16() else "fp32"


def use_threads(count):
    """Compute on `count` CPU threads; by default they are as many as there are physical cores."""
    torch.set_num_threads(count)
