"""The layers, where PyTorch and TensorFlow differ: here is what is particular to TensorFlow.

Tensors are (N, H, W, C), the only order its CPU convolutions know. Kernels are (outputs, inputs, rows, columns) in both
frameworks, and turned at the call. Sub-pixel convolution reads its channels in PyTorch's order, colour first.
"""

from contextlib import contextmanager

import keras
import tensorflow as tf

PRECISIONS = {"fp64": tf.float64, "fp32": tf.float32, "bf16": tf.bfloat16, "fp16": tf.float16}


class Conv(keras.layers.Layer):
    """Convolution with bias: (N, H, W, inputs) to (N, H - kernel + 1, W - kernel + 1, outputs), over the stride.

    `padded` puts kernel // 2 zeros on every side, whatever the stride. Computed in `precision`, from weights that stay
    float32 (float64 for "fp64"). A `head`, which draws the picture, is never computed in less than float32: rounding
    its output to 8 bits of mantissa would be visible.
    """

    def __init__(self, inputs, outputs, kernel, stride=1, padded=False, head=False):
        super().__init__(autocast=False)
        kind = keras.config.floatx()
        self.weight = self.add_weight(name="weight", shape=(outputs, inputs, kernel, kernel), dtype=kind)
        self.bias = self.add_weight(name="bias", shape=(outputs,), dtype=kind)
        self.stride = stride
        self.padding = kernel // 2 if padded else 0
        self.head = head
        self.precision = tf.float32

    def call(self, x):
        kind = self.precision
        kernel = tf.transpose(tf.cast(self.weight, kind), (2, 3, 1, 0))
        sides = [(self.padding, self.padding)] * 2
        padding = [(0, 0), *sides, (0, 0)] if self.padding else "VALID"
        return tf.nn.conv2d(tf.cast(x, kind), kernel, self.stride, padding) + tf.cast(self.bias, kind)


def activation(name):
    """The pointwise function called `name`."""
    return {"tanh": tf.tanh, "relu": tf.nn.relu}[name]


def pixel_shuffle(x, factor):
    """Periodic shuffling (Shi et al. 2016, eq. 4): (N, H, W, C factor^2) to (N, factor H, factor W, C)."""
    channels = x.shape[-1] // factor**2
    if channels > 1:  # from PyTorch's order, colour first, to that of depth_to_space, colour last
        x = tf.gather(x, [c * factor**2 + place for place in range(factor**2) for c in range(channels)], axis=-1)
    return tf.nn.depth_to_space(x, factor)


def stack(layers):
    """Layers as a list that belongs to its network."""
    return list(layers)


def frame(x, t):
    """Frame `t` of a window (N, H, W, frames), as (N, H, W, 1)."""
    return x[..., t : t + 1]


def concat(tensors):
    """Join the channels of several tensors, in the highest of their precisions."""
    kind = max((tensor.dtype for tensor in tensors), key=lambda kind: kind.size)
    return tf.concat([tf.cast(tensor, kind) for tensor in tensors], axis=-1)


def warp(image, flow):
    """Sample `image` (N, H, W, C) where `flow` (N, H, W, 2) points: I'(x, y) = I(x + dx, y + dy), bilinear.

    flow: (dx, dy) in pixels. What lies outside is the nearest pixel of the edge.
    """
    batch, rows, columns, channels = tf.unstack(tf.shape(image))
    whole = tf.floor(flow)  # kept apart from the place, whose size would cost digits of the shares
    left = tf.range(columns)[None, None, :] + tf.cast(whole[..., 0], tf.int32)
    top = tf.range(rows)[None, :, None] + tf.cast(whole[..., 1], tf.int32)
    right_share, lower_share = flow[..., 0] - whole[..., 0], flow[..., 1] - whole[..., 1]
    pixels = tf.reshape(tf.cast(image, flow.dtype), (batch, rows * columns, channels))

    def corner(down, right):
        row = tf.clip_by_value(top + down, 0, rows - 1)
        column = tf.clip_by_value(left + right, 0, columns - 1)
        place = tf.reshape(row * columns + column, (batch, rows * columns))
        share = (lower_share if down else 1 - lower_share) * (right_share if right else 1 - right_share)
        return tf.reshape(tf.gather(pixels, place, batch_dims=1), tf.shape(image)) * share[..., None]

    moved = corner(0, 0) + corner(0, 1) + corner(1, 0) + corner(1, 1)
    return tf.ensure_shape(moved, image.shape)


@contextmanager
def storage(precision):
    """Networks built in this context keep their weights in float32, for "fp64" in float64."""
    default = keras.config.floatx()
    keras.config.set_floatx("float64" if precision == "fp64" else "float32")
    try:
        yield
    finally:
        keras.config.set_floatx(default)


def set_precision(model, precision):
    """Compute in "fp64" or "fp32" throughout, or hidden layers in "bf16" or "fp16" and heads in "fp32"."""
    kind = PRECISIONS[precision]
    for _, layer in parts(model):
        if isinstance(layer, Conv):
            layer.precision = PRECISIONS["fp32"] if layer.head and precision != "fp64" else kind


def parts(model, prefix=""):
    """Yield (attribute path, layer or variable) of everything in `model`."""
    for name, value in vars(model).items():
        children = enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]
        for index, child in () if name.startswith("_") else children:
            path = f"{prefix}{name}" if index is None else f"{prefix}{name}.{index}"
            if isinstance(child, (keras.Variable, keras.layers.Layer)):
                yield path, child
            if isinstance(child, keras.layers.Layer):
                yield from parts(child, f"{path}.")


def named_weights(model):
    """The variables of `model` by attribute path."""
    return {path: part.value for path, part in parts(model) if isinstance(part, keras.Variable)}


def load_tensors(model, tensors):
    """Give `model` the weights `tensors`, arrays by attribute path; raises KeyError if one is missing."""
    for name, variable in named_weights(model).items():
        variable.assign(tensors[name])


def from_nhwc(batch, device):
    """(N, H, W, C) array to a tensor (N, H, W, C) on `device`."""
    with tf.device("GPU:0" if device == "cuda" else "CPU:0"):
        return tf.convert_to_tensor(batch)


def to_nhwc(tensor):
    """Tensor (N, H, W, C) to an array (N, H, W, C)."""
    return tensor.numpy()


def to_numpy(tensor):
    """A copy of `tensor`, as it is, as an array."""
    return tensor.numpy().copy()
