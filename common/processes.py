"""Processes that train one network together: which of them this one is, and what they have to say to each other.

Each works on its share of every batch, and all hold the same weights. Who is who is told by the launcher: torchrun in
RANK and WORLD_SIZE for PyTorch, TF_CONFIG for TensorFlow. How they talk is in `distributed.py` of the two packages.
"""

import json
import os
from contextlib import contextmanager, nullcontext

from common import backend


class ProcessesError(RuntimeError):
    """Processes that cannot train together; the message is one sentence."""


class Lost(ProcessesError):
    """Another process has ended, or does not answer any more."""

    def __init__(self):
        super().__init__("Another process of this training has ended or does not answer")


class Alone:
    """The group of a process that trains by itself, and what every group can do.

    rank, size: number of this process, from 0, and how many there are. shares: into how many equal parts, one for each
    device, a batch is divided.
    """

    rank, size, shares = 0, 1, 1

    @property
    def first(self):
        """Whether this is the process that writes files and the progress bar, and measures."""
        return self.rank == 0

    def scope(self):
        """The context in which all variables of a training are made."""
        return nullcontext()

    def run(self, update, data, label, *numbers):
        """update(data, label, *numbers) on every device of this process, each with its share of both batches."""
        return update(data, label, *numbers)

    def share(self):
        """Number of the share that is worked on, from 0."""
        return 0

    def mean(self, tensors):
        """`tensors`, a list, each averaged over all shares. Gradients of the others' losses come back through it."""
        return tensors

    def averages(self, terms):
        """What `run` returned, tensors of one number each by name, as numbers averaged over all shares."""
        return {name: float(term) for name, term in terms.items()}

    def agree(self, seconds, asked):
        """(the `seconds` of the first process, whether any process was `asked` to stop): the same for all."""
        return seconds, asked

    def wait(self):
        """Go on when all are here. The first may have worked for long meanwhile; a lost one raises Lost."""

    def leave(self):
        """Part from the others, the work being done."""


@contextmanager
def joined(framework, device="auto", devices=None):
    """The group that this process trains in. device: "auto", "cpu" or "cuda"; devices: how many of this machine.

    Raises ProcessesError if the launcher is that of the other framework, or says what makes no sense.
    """
    rank, size = place(framework)
    if framework == "torch" and (devices or 1) > 1:
        raise ProcessesError(f"PyTorch has a process for each device: torchrun --nproc_per_node {devices} main.py ...")
    if size == 1 and (devices or 1) == 1:
        yield Alone()
        return
    group = backend.load(framework, "distributed").Group(rank, size, device, devices)
    yield group
    group.leave()  # not after an error, when the others may not come


def place(framework, environment=os.environ):
    """(number of this process, from 0, number of all processes); raises ProcessesError."""
    by_torchrun, by_tensorflow = _of_torchrun(environment), _of_tensorflow(environment)
    if framework == "torch" and by_torchrun[1] == 1 < by_tensorflow[1]:
        raise ProcessesError("TF_CONFIG is for --framework tensorflow; PyTorch's processes are started by torchrun.")
    if framework == "tensorflow" and by_tensorflow[1] == 1 < by_torchrun[1]:
        raise ProcessesError("torchrun is for --framework torch; TensorFlow's processes have a TF_CONFIG each.")
    return by_torchrun if framework == "torch" else by_tensorflow


def _of_torchrun(environment):
    try:
        return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    except ValueError:
        raise ProcessesError("RANK and WORLD_SIZE, which torchrun sets, are no numbers.") from None


def _of_tensorflow(environment):
    """Only workers train: a chief, if there is one, is the first of them."""
    try:
        config = json.loads(environment.get("TF_CONFIG") or "{}")
        cluster, task = config.get("cluster", {}), config.get("task", {})
        tasks = [(kind, number) for kind in ("chief", "worker") for number in range(len(cluster.get(kind, ())))]
        return (tasks.index((task["type"], task["index"])), len(tasks)) if cluster else (0, 1)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ProcessesError(
            'TF_CONFIG should say {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}.'
        ) from None
