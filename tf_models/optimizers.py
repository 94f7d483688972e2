"""SOAP, Adam and SGD, written here because no library offers all three alike in both frameworks.

SOAP (Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam", algorithm 3) is Adam in the eigenbasis of
Shampoo's preconditioner. A kernel is taken as the matrix G (outputs x the rest); the moving averages of G G^T and
G^T G have slowly turning eigenvectors Q_L and Q_R, and Adam's element-wise scaling is done on Q_L^T G Q_R. The rest of
a large kernel would take a basis dearer than the convolution itself: there inputs and places have one each, as
Shampoo's for tensors.
"""

from math import prod

import tensorflow as tf

SIDES = ("left", "right", "places")  # a basis each


class Optimizer:
    """Base of the three. All state is in named tensors, so that a checkpoint is a plain dictionary.

    parameters: the variables to train, by name; they are changed in place.
    betas: decays of the moving averages of the gradient and of its square.
    """

    def __init__(self, parameters, betas):
        self.parameters = parameters
        self.betas = betas
        self.state = {}
        for name, parameter in parameters.items():
            self.prepare(name, tf.reshape(parameter, (parameter.shape[0], -1)))

    def prepare(self, name, matrix):
        self.state[f"{name}.momentum"] = tf.Variable(tf.zeros_like(matrix))

    def step(self, gradients, count, rates):
        """Change every parameter; `count` is the number of the step, from 1, `rates` the learning rates by name."""
        for name, parameter in self.parameters.items():
            gradient = tf.reshape(gradients[name], (parameter.shape[0], -1))
            direction = self.direction(name, gradient, count)
            parameter.assign_sub(rates[name] * tf.reshape(direction, parameter.shape))

    def refresh(self, count):
        """Whatever is done only now and then, after step `count`."""


class SGD(Optimizer):
    """Stochastic gradient descent with momentum betas[0]."""

    def direction(self, name, gradient, count):
        momentum = self.state[f"{name}.momentum"]
        momentum.assign(self.betas[0] * momentum + gradient)
        return momentum


class Adam(Optimizer):
    """Kingma and Ba 2015, with bias correction."""

    epsilon = 1e-8

    def prepare(self, name, matrix):
        super().prepare(name, matrix)
        self.state[f"{name}.variance"] = tf.Variable(tf.zeros_like(matrix))

    def direction(self, name, gradient, count):
        momentum, variance = self.state[f"{name}.momentum"], self.state[f"{name}.variance"]
        momentum.assign(self.betas[0] * momentum + (1 - self.betas[0]) * gradient)
        return self.scaled(momentum, variance, gradient, count)

    def scaled(self, momentum, variance, gradient, count):
        """Adam's step from `momentum`, keeping the average of the squared `gradient`."""
        variance.assign(self.betas[1] * variance + (1 - self.betas[1]) * tf.square(gradient))
        momentum = momentum / (1 - self.betas[0] ** count)
        return momentum / (tf.sqrt(variance / (1 - self.betas[1] ** count)) + self.epsilon)


class SOAP(Adam):
    """Adam in the eigenbasis of Shampoo's preconditioner; vectors (biases) are left to plain Adam."""

    refresh_every = 10  # steps
    large = 800  # columns of a basis; one with k times as many is refreshed after k + 1 times as many steps
    widest = 2000  # columns; a kernel with more has a basis of its inputs and one of its places instead
    damping = 0.1  # of the mean eigenvalue; gives directions no gradient has touched yet a defined place

    def sides(self, name):
        """Sizes of what has a basis each: outputs and the rest, or outputs, inputs and places of a large kernel."""
        outputs, *rest = self.parameters[name].shape
        columns = prod(rest)
        return (outputs, columns) if columns <= self.widest else (outputs, rest[0], columns // rest[0])

    def prepare(self, name, matrix):
        super().prepare(name, matrix)
        for side, size in zip(SIDES, self.sides(name), strict=False):
            if min(matrix.shape) > 1 and size <= self.widest:
                self.state[f"{name}.{side}"] = tf.Variable(tf.zeros((size, size), matrix.dtype))
                self.state[f"{name}.{side}_basis"] = tf.Variable(tf.eye(size, dtype=matrix.dtype))

    def direction(self, name, gradient, count):
        if min(gradient.shape) == 1:
            return super().direction(name, gradient, count)
        for axis, side in enumerate(SIDES):
            average = self.state.get(f"{name}.{side}")
            if average is not None:
                matrix = unfold(tf.reshape(gradient, self.sides(name)), axis)
                average.assign(self.betas[1] * average + (1 - self.betas[1]) * matrix @ tf.transpose(matrix))

        momentum, variance = self.state[f"{name}.momentum"], self.state[f"{name}.variance"]
        momentum.assign(self.betas[0] * momentum + (1 - self.betas[0]) * gradient)
        direction = self.scaled(self.turned(name, momentum), variance, self.turned(name, gradient), count)
        return self.turned(name, direction, back=True)

    def turned(self, name, matrix, back=False):
        """`matrix` in the bases of its sides, or `back` from there."""
        sides = self.sides(name)
        tensor = tf.reshape(matrix, sides)
        for axis, side in enumerate(SIDES):
            basis = self.state.get(f"{name}.{side}_basis")
            if basis is not None:
                rows = unfold(tensor, axis)
                tensor = fold(basis @ rows if back else tf.transpose(basis) @ rows, axis, sides)
        return tf.reshape(tensor, matrix.shape)

    def refresh(self, count):
        """Turn the bases towards the eigenvectors, the large ones, whose turning is dear, less often."""
        for key in [key for key in self.state if key.endswith("_basis")]:
            every = self.refresh_every * (1 + self.state[key].shape[0] // self.large)
            if count % every == 1:
                self.turn(self.state[key], self.state[key.removesuffix("_basis")])

    def turn(self, basis, average):
        """One step of orthogonal iteration (algorithm 4), in float64: near-equal eigenvalues amplify rounding."""
        average, turned = tf.cast(average, tf.float64), tf.cast(basis, tf.float64)
        damping = self.damping * tf.linalg.trace(average) / average.shape[0]
        basis.assign(tf.cast(tf.linalg.qr(average @ turned + damping * turned)[0], basis.dtype))


def unfold(tensor, axis):
    """The matrix whose rows are the slices of `tensor` along `axis`."""
    others = [other for other in range(len(tensor.shape)) if other != axis]
    return tf.reshape(tf.transpose(tensor, (axis, *others)), (tensor.shape[axis], -1))


def fold(matrix, axis, sides):
    """The tensor of size `sides` that `unfold` makes `matrix` of."""
    others = [size for other, size in enumerate(sides) if other != axis]
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(sides))]
    return tf.transpose(tf.reshape(matrix, (matrix.shape[0], *others)), order)


OPTIMIZERS = {"soap": SOAP, "adam": Adam, "sgd": SGD}
