"""Training shared by several devices, by TensorFlow's strategies: MirroredStrategy for those of one machine,
MultiWorkerMirroredStrategy for the processes that TF_CONFIG names, each with all GPUs of its machine or with its CPU.

Each device computes the gradients of its share of the batch, and moves its weights by the mean of all, so that the
weights stay the same everywhere. The step is the explicit one that a single device takes, run by the strategy; the
strategy's own part in it is one mean of one flat tensor, and the lines around it are those of PyTorch.
"""

from contextlib import contextmanager

import tensorflow as tf

from common.processes import Alone, Lost, ProcessesError
from tf_models.runtime import choose_device

PARTS = 64  # of a CPU; TensorFlow takes minutes for many thousands, and no batch has so many
# What a collective operation raises once a process gives no sign of life any more; for one that lives it waits.
SIGNS_OF_LOSS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


class Group(Alone):
    """`size` processes of which this is number `rank`; devices: how many of this machine each uses, None: see above."""

    def __init__(self, rank, size, device="auto", devices=None):
        self.rank, self.size = rank, size
        device = choose_device(device)
        if size > 1 and device == "cpu" and (devices or 1) > 1:
            raise ProcessesError("A process that TF_CONFIG names has its CPU as one device; --devices is for GPUs.")
        names = own_devices(device, devices)
        with reaching():
            self.strategy = (
                tf.distribute.MultiWorkerMirroredStrategy() if size > 1 else tf.distribute.MirroredStrategy(names)
            )
        self.shares = self.strategy.num_replicas_in_sync

    @contextmanager
    def scope(self):
        with reaching(), self.strategy.scope():
            yield

    def run(self, update, data, label, *numbers):
        data, label = (self.divided(batch) for batch in (data, label))
        with reaching():
            return self.strategy.run(update, args=(data, label, *numbers))

    def share(self):
        return int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))

    def mean(self, tensors):
        flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)
        flat = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, flat)
        parts = tf.split(flat, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def averages(self, terms):
        return dict(zip(terms, self.numbers(list(terms.values())), strict=True))

    def agree(self, seconds, asked):
        shared = [tf.constant(number, tf.float64) for number in (seconds if self.first else 0, asked)]
        seconds, asked = (self.size * number for number in self.numbers(shared))
        return seconds, asked > 0

    def wait(self):
        self.agree(0, False)

    def divided(self, batch):
        """The batch of this process, of which every one of its devices gets its part."""
        own = self.shares // self.size
        parts = tf.split(batch, own)
        place = self.rank * own
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group - place]
        )

    def numbers(self, tensors):
        """Tensors of one number each, of every device, as numbers averaged over all devices."""
        with reaching():
            means = self.strategy.run(self.means, args=(tensors,))
            return [float(self.strategy.experimental_local_results(mean)[0]) for mean in means]

    @tf.function
    def means(self, tensors):
        return self.mean(tensors)


def own_devices(device, devices):
    """Names of the devices of this machine to train on; those of a CPU are parts of it. Raises ProcessesError."""
    if device == "cpu":
        if (devices or 1) > PARTS:
            raise ProcessesError(f"A CPU has {PARTS} parts at the most, so --devices {devices} is too many.")
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * (devices or 1))
        return [f"CPU:{number}" for number in range(devices or 1)]
    gpus = tf.config.list_physical_devices("GPU")
    if (devices or 1) > len(gpus):
        raise ProcessesError(f"There are {len(gpus)} GPUs here, so --devices {devices} is too many.")
    tf.config.set_visible_devices(gpus[:devices], "GPU")
    return [f"GPU:{number}" for number in range(len(gpus[:devices]))]


@contextmanager
def reaching():
    """Inside, what goes wrong between processes is that one of them is lost."""
    try:
        yield
    except SIGNS_OF_LOSS as error:
        raise Lost from error
