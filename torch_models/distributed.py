"""Training shared by several processes, which torchrun starts: gloo carries tensors between CPUs, NCCL between GPUs.

Each process computes the gradients of its share of the batch, and moves its weights by the mean of all, so that the
weights stay the same everywhere. DistributedDataParallel is not used: it averages what `backward` leaves in `.grad`,
whereas here gradients are explicit, shortened together, and given to optimisers of our own. One sum of one flat tensor
is all that is left of it, and the lines around it are those of TensorFlow.
"""

import os
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from common.processes import Alone, Lost, ProcessesError
from torch_models.runtime import choose_device

PATIENCE = timedelta(minutes=10)  # with another process's part of a step, or its start
LONG_WORK = timedelta(days=1)  # of the first process alone, on the data set or on validation


class Group(Alone):
    """`size` processes of which this is number `rank`; each has one device, with "cuda" a GPU of its own."""

    def __init__(self, rank, size, device="auto", devices=None):
        self.rank, self.size, self.shares = rank, size, size
        carriers = "gloo"
        if choose_device(device) == "cuda":
            carriers = "cpu:gloo,cuda:nccl"
            torch.cuda.set_device(own_gpu())
        with reaching():
            distributed.init_process_group(carriers, timeout=PATIENCE)
            self.waiting = distributed.new_group(backend="gloo", timeout=LONG_WORK)

    def share(self):
        return self.rank

    def mean(self, tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        parts = torch.split(Total.apply(flat) / self.size, [tensor.numel() for tensor in tensors])
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def averages(self, terms):
        numbers = total(torch.stack([term.detach().double().cpu() for term in terms.values()])) / self.size
        return dict(zip(terms, numbers.tolist(), strict=True))

    def agree(self, seconds, asked):
        seconds, asked = total(torch.tensor([seconds if self.first else 0, asked], dtype=torch.float64)).tolist()
        return seconds, asked > 0

    def wait(self):
        with reaching():
            distributed.barrier(group=self.waiting)

    def leave(self):
        distributed.destroy_process_group()


class Total(torch.autograd.Function):
    """The sum of a tensor over all processes; the gradient is the sum of theirs."""

    @staticmethod
    def forward(context, tensor):
        return total(tensor)

    @staticmethod
    def backward(context, gradient):
        return total(gradient)


def total(tensor):
    """The sum of `tensor` over all processes."""
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    with reaching():
        distributed.all_reduce(tensor)
    return tensor


def own_gpu():
    """Number of the GPU of this machine that is this process's. Raises ProcessesError if there are too few."""
    number, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= gpus:
        raise ProcessesError(f"There are {gpus} GPUs here, one for each process: take a smaller --nproc_per_node.")
    return number


@contextmanager
def reaching():
    """Inside, what goes wrong between processes is that one of them is lost."""
    try:
        yield
    except RuntimeError as error:
        raise Lost from error
