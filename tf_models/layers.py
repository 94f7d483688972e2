"""The layers, where PyTorch and TensorFlow differ: here is what is particular to TensorFlow.

Tensors are (N, H, W, C), the only order its CPU convolutions know. Kernels are (outputs, inputs, rows, columns) in both
frameworks, and turned at the call. Sub-pixel convolution reads its channels in PyTorch's order, colour first.
"""

from contextlib import contextmanager
from functools import partial

import keras
import tensorflow as tf

from common.processes import Alone

PRECISIONS = {"fp64": tf.float64, "fp32": tf.float32, "bf16": tf.bfloat16, "fp16": tf.float16}
MOMENTUM = 0.1  # of the batch in the running statistics: PyTorch's sense, one minus that of Keras
EPSILON = 1e-5  # added to variances
IMAGENET_MEAN = (103.939, 116.779, 123.68)  # of blue, green, red
ZERO = tf.UnconnectedGradients.ZERO


class Conv(keras.layers.Layer):
    """Convolution: (N, H, W, inputs) to (N, H - kernel + 1, W - kernel + 1, outputs), over the stride.

    `padded` puts kernel // 2 zeros on every side, whatever the stride. Computed in `precision`, from weights that stay
    float32 (float64 for "fp64"). A `head`, which draws the picture, is computed in float32 at least, as rounding it
    to 8 binary digits would be visible; inference may store its distance from the small picture instead.
    """

    def __init__(self, inputs, outputs, kernel, stride=1, padded=False, head=False, bias=True):
        super().__init__(autocast=False)
        kind = keras.config.floatx()
        self.weight = self.add_weight(name="weight", shape=(outputs, inputs, kernel, kernel), dtype=kind)
        self.bias = self.add_weight(name="bias", shape=(outputs,), dtype=kind) if bias else None
        self.stride = stride
        self.padding = kernel // 2 if padded else 0
        self.head = head
        self.precision = tf.float32

    def call(self, x):
        kind = self.precision
        kernel = tf.transpose(tf.cast(self.weight, kind), (2, 3, 1, 0))
        sides = [(self.padding, self.padding)] * 2
        padding = [(0, 0), *sides, (0, 0)] if self.padding else "VALID"
        maps = tf.nn.conv2d(tf.cast(x, kind), kernel, self.stride, padding)
        return maps if self.bias is None else maps + tf.cast(self.bias, kind)


class ConvOfShuffled(Conv):
    """conv(pixel_shuffle(x, factor)) of a padded convolution, computed on the maps that are not shuffled yet.

    All factor^2 outputs of a place come from one convolution, which is three times as fast for the few outputs that
    draw a picture. The weights are those of the plain convolution.
    """

    def __init__(self, inputs, outputs, kernel, factor, head=False):
        super().__init__(inputs, outputs, kernel, padded=True, head=head)
        self.factor = factor

    def call(self, x):
        kind = self.precision
        kernel = tf.cast(tf.transpose(coarse_kernel(self.weight.value, self.factor), (2, 3, 1, 0)), kind)
        bias = tf.cast(tf.repeat(self.bias, self.factor**2), kind)
        return pixel_shuffle(tf.nn.conv2d(tf.cast(x, kind), kernel, 1, "SAME") + bias, self.factor)


def coarse_kernel(kernel, factor):
    """Kernels (O, C, k, k) as (O factor^2, C factor^2, K, K), which do the same to what is not shuffled yet.

    Output pixel factor i + a is drawn by the taps t = factor m + p - a, of input pixel p of place i + m.
    """
    outputs, inputs, side, _ = kernel.shape
    reach = -(-(side // 2) // factor)  # in places
    kernels = []
    for a in range(factor):
        for b in range(factor):
            before = [factor * reach + shift - side // 2 for shift in (a, b)]
            after = [factor * reach + factor - 1 - shift - side // 2 for shift in (a, b)]
            taps = tf.pad(kernel, ((0, 0), (0, 0), (before[0], after[0]), (before[1], after[1])))
            taps = tf.reshape(taps, (outputs, inputs, 2 * reach + 1, factor, 2 * reach + 1, factor))
            taps = tf.transpose(taps, (0, 1, 3, 5, 2, 4))
            kernels.append(tf.reshape(taps, (outputs, -1, 2 * reach + 1, 2 * reach + 1)))
    return tf.reshape(tf.stack(kernels, axis=1), (-1, *kernels[0].shape[1:]))


class BatchNorm(keras.layers.Layer):
    """Batch normalisation (Ioffe and Szegedy 2015) of `width` feature maps, in the precision of its input.

    With `measuring` on, as in training, by mean and variance of the batch, which move the running ones a tenth of the
    way towards them, the variance as the unbiased estimate; else by the running ones. Computed in float32 at least.
    `group` (of common/processes.py) shares the batch, whose mean and variance are those of all shares together.
    """

    def __init__(self, width):
        super().__init__(autocast=False)
        add = partial(self.add_weight, shape=(width,), dtype=keras.config.floatx())
        self.weight = add(name="weight", initializer="ones")
        self.bias = add(name="bias", initializer="zeros")
        self.running_mean = add(name="running_mean", initializer="zeros", trainable=False)
        self.running_var = add(name="running_var", initializer="ones", trainable=False)
        self.measuring = False
        self.group = Alone()

    def call(self, x):
        exact = tf.cast(x, self.weight.dtype)
        mean, variance = self.running_mean.value, self.running_var.value
        if self.measuring:
            # In two steps, as a sum of that many pixels in one loses digits.
            (mean,) = self.group.mean([tf.reduce_mean(tf.reduce_mean(exact, axis=2), axis=(0, 1))])
            squares = tf.math.squared_difference(exact, mean)
            (variance,) = self.group.mean([tf.reduce_mean(tf.reduce_mean(squares, axis=2), axis=(0, 1))])
            count = tf.cast(tf.size(x) / tf.size(mean), exact.dtype) * self.group.shares
            for running, value in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
                running.assign((1 - MOMENTUM) * running + MOMENTUM * value)
        scale = self.weight * tf.math.rsqrt(variance + EPSILON)
        return tf.cast((exact - mean) * scale + self.bias, x.dtype)


class PReLU(keras.layers.Layer):
    """A rectifier with a slope below zero for each of `width` feature maps (He et al. 2015, "Delving Deep").

    Maps that are still to be shuffled may come, several to each slope.
    """

    def __init__(self, width):
        super().__init__(autocast=False)
        kind = keras.config.floatx()
        self.weight = self.add_weight(name="weight", shape=(width,), dtype=kind)

    def call(self, x):
        slopes = tf.cast(tf.repeat(self.weight, x.shape[-1] // self.weight.shape[0]), x.dtype)
        return x * tf.where(x > 0, tf.ones((), x.dtype), slopes)  # with as few copies of large maps as there can be


class Dense(keras.layers.Layer):
    """(N, inputs) to (N, outputs), with bias; precision and `head` as in `Conv`."""

    def __init__(self, inputs, outputs, head=False):
        super().__init__(autocast=False)
        kind = keras.config.floatx()
        self.weight = self.add_weight(name="weight", shape=(outputs, inputs), dtype=kind)
        self.bias = self.add_weight(name="bias", shape=(outputs,), dtype=kind)
        self.head = head
        self.precision = tf.float32

    def call(self, x):
        kind = self.precision
        product = tf.matmul(tf.cast(x, kind), tf.cast(self.weight, kind), transpose_b=True)
        return product + tf.cast(self.bias, kind)


def leaky_relu(x):
    """A rectifier with slope 0.2 below zero."""
    return tf.maximum(x, 0.2 * x)  # that of TensorFlow rounds the slope to float32


def largest_of_four(x):
    """The largest of every 2 x 2 pixels: (N, H, W, C) to (N, H / 2, W / 2, C), rounded down."""
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def flatten(x):
    """(N, H, W, C) to (N, C H W), one map after the other."""
    maps = tf.transpose(x, (0, 3, 1, 2))
    return tf.reshape(maps, (-1, maps.shape[1] * maps.shape[2] * maps.shape[3]))


def as_vgg_sees(x):
    """RGB in [0, 1] to what VGG was trained on: BGR in [0, 255], less the mean of ImageNet."""
    mean = tf.constant(IMAGENET_MEAN, x.dtype)
    return 255 * tf.reverse(x, [-1]) - mean


class Vector(keras.layers.Layer):
    """`size` learned numbers, `weight`, in float32 (float64 for "fp64")."""

    def __init__(self, size):
        super().__init__(autocast=False)
        self.weight = self.add_weight(name="weight", shape=(size,), dtype=keras.config.floatx())
        self.built = True  # nobody calls it


def activation(name):
    """The pointwise function called `name`."""
    return {"tanh": tf.tanh, "relu": tf.nn.relu, "linear": lambda x: x}[name]


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


def add(first, second):
    """Sum of two tensors of one shape, in the higher of their precisions."""
    kind = max(first.dtype, second.dtype, key=lambda kind: kind.size)
    return tf.cast(first, kind) + tf.cast(second, kind)


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
        return tf.reshape(tf.gather(pixels, place, batch_dims=1), tf.shape(image)) * tf.expand_dims(share, -1)

    moved = corner(0, 0) + corner(0, 1) + corner(1, 0) + corner(1, 1)
    return tf.ensure_shape(moved, image.shape)


def recomputed(function, *tensors):
    """function(*tensors), of which only `tensors` are kept for the way back; the rest is computed again there.

    As tf.recompute_grad, but on the way back nothing goes on before the gradients of the weights are there: TensorFlow
    would leave those for later, and keep all feature maps that they are computed from until then.
    """

    @tf.custom_gradient
    def once(*tensors):
        def back(*gradients, variables=()):
            with tf.control_dependencies(gradients):  # or all would be computed again at once
                again = [tf.identity(tensor) for tensor in tensors]
            with tf.GradientTape() as tape:
                tape.watch(again)
                results = function(*again)
            first, others = tape.gradient(results, (again, list(variables)), gradients, ZERO)
            with tf.control_dependencies(others):
                return [tf.identity(gradient) for gradient in first], others

        return function(*tensors), back

    return once(*tensors)


def after(first, tensor):
    """`tensor`, with which nothing is computed before `first` is there; a graph knows no order of its own."""
    with tf.control_dependencies([first]):
        return tf.identity(tensor)


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
    model.autocast = False  # which would make what comes in float32
    for _, layer in parts(model):
        if isinstance(layer, keras.layers.Layer):
            layer.autocast = False
        if isinstance(layer, (Conv, Dense)):
            layer.precision = PRECISIONS["fp32"] if layer.head and precision != "fp64" else kind


def set_measuring(model, measuring, group=None):
    """Whether batch normalisation takes the statistics of the batch, as in training, or the running ones.

    group: those that share the batch.
    """
    for _, layer in parts(model):
        if isinstance(layer, BatchNorm):
            layer.measuring, layer.group = measuring, group or Alone()


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


def trained_weights(model):
    """Those of them that have a gradient: all but running statistics."""
    trained = {path for path, part in parts(model) if isinstance(part, keras.Variable) and part.trainable}
    return {path: variable for path, variable in named_weights(model).items() if path in trained}


def freeze(model):
    """Keep nothing on the way forward for gradients of the weights of `model`."""
    model.trainable = False


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
