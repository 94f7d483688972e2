"""A network made ready for inference: TensorFlow's own graph optimiser fuses each convolution with what follows it."""

import tensorflow as tf


def compiled(model, spec, device, precision):
    """A function on tensors that computes what `model`, of the dataclass `spec`, does, with whatever weights it has."""
    return tf.function(model, input_signature=[tf.TensorSpec((None, None, None, spec.inputs), tf.float32)])
