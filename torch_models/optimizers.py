"""SOAP, Adam and SGD, written here because no library offers all three alike in both frameworks.

SOAP (Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam", algorithm 3) is Adam in the eigenbasis of
Shampoo's preconditioner. A kernel is taken as the matrix G (outputs x the rest); the moving averages of G G^T and
G^T G have slowly turning eigenvectors Q_L and Q_R, and Adam's element-wise scaling is done on Q_L^T G Q_R. The rest of
a large kernel would take a basis dearer than the convolution itself: there inputs and places have one each, as
Shampoo's for tensors.
"""

from math import prod

import torch

SIDES = ("left", "right", "places")  # a basis each


class Optimizer:
    """Base of the three. All state is in named tensors, so that a checkpoint is a plain dictionary.

    parameters: the tensors to train, by name; they are changed in place.
    betas: decays of the moving averages of the gradient and of its square.
    """

    def __init__(self, parameters, betas):
        self.parameters = parameters
        self.betas = betas
        self.state = {}
        for name, parameter in parameters.items():
            self.prepare(name, parameter.reshape(parameter.shape[0], -1))

    def prepare(self, name, matrix):
        self.state[f"{name}.momentum"] = torch.zeros_like(matrix)

    @torch.no_grad()
    def step(self, gradients, count, rates):
        """Change every parameter; `count` is the number of the step, from 1, `rates` the learning rates by name."""
        for name, parameter in self.parameters.items():
            gradient = gradients[name].reshape(parameter.shape[0], -1)
            direction = self.direction(name, gradient, count)
            parameter.sub_(rates[name] * direction.reshape(parameter.shape))

    def refresh(self, count):
        """Whatever is done only now and then, after step `count`."""


class SGD(Optimizer):
    """Stochastic gradient descent with momentum betas[0]."""

    def direction(self, name, gradient, count):
        momentum = self.state[f"{name}.momentum"]
        momentum.copy_(self.betas[0] * momentum + gradient)
        return momentum


class Adam(Optimizer):
    """Kingma and Ba 2015, with bias correction."""

    epsilon = 1e-8

    def prepare(self, name, matrix):
        super().prepare(name, matrix)
        self.state[f"{name}.variance"] = torch.zeros_like(matrix)

    def direction(self, name, gradient, count):
        momentum, variance = self.state[f"{name}.momentum"], self.state[f"{name}.variance"]
        momentum.copy_(self.betas[0] * momentum + (1 - self.betas[0]) * gradient)
        return self.scaled(momentum, variance, gradient, count)

    def scaled(self, momentum, variance, gradient, count):
        """Adam's step from `momentum`, keeping the average of the squared `gradient`."""
        variance.copy_(self.betas[1] * variance + (1 - self.betas[1]) * torch.square(gradient))
        momentum = momentum / (1 - self.betas[0] ** count)
        return momentum / (torch.sqrt(variance / (1 - self.betas[1] ** count)) + self.epsilon)


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
                self.state[f"{name}.{side}"] = torch.zeros(size, size, dtype=matrix.dtype, device=matrix.device)
                self.state[f"{name}.{side}_basis"] = torch.eye(size, dtype=matrix.dtype, device=matrix.device)

    def direction(self, name, gradient, count):
        if min(gradient.shape) == 1:
            return super().direction(name, gradient, count)
        for axis, side in enumerate(SIDES):
            average = self.state.get(f"{name}.{side}")
            if average is not None:
                matrix = unfold(gradient.reshape(self.sides(name)), axis)
                average.mul_(self.betas[1]).addmm_(matrix, matrix.T, alpha=1 - self.betas[1])

        momentum, variance = self.state[f"{name}.momentum"], self.state[f"{name}.variance"]
        momentum.copy_(self.betas[0] * momentum + (1 - self.betas[0]) * gradient)
        direction = self.scaled(self.turned(name, momentum), variance, self.turned(name, gradient), count)
        return self.turned(name, direction, back=True)

    def turned(self, name, matrix, back=False):
        """`matrix` in the bases of its sides, or `back` from there."""
        sides = self.sides(name)
        tensor = matrix.reshape(sides)
        for axis, side in enumerate(SIDES):
            basis = self.state.get(f"{name}.{side}_basis")
            if basis is not None:
                rows = unfold(tensor, axis)
                tensor = fold(basis @ rows if back else basis.T @ rows, axis, sides)
        return tensor.reshape(matrix.shape)

    def refresh(self, count):
        """Turn the bases towards the eigenvectors, the large ones, whose turning is dear, less often."""
        for key in [key for key in self.state if key.endswith("_basis")]:
            every = self.refresh_every * (1 + self.state[key].shape[0] // self.large)
            if count % every == 1:
                self.turn(self.state[key], self.state[key.removesuffix("_basis")])

    @torch.no_grad()
    def turn(self, basis, average):
        """One step of orthogonal iteration (algorithm 4), in float64: near-equal eigenvalues amplify rounding."""
        average, turned = average.double(), basis.double()
        damping = self.damping * torch.trace(average) / average.shape[0]
        basis.copy_(torch.linalg.qr(average @ turned + damping * turned)[0])


def unfold(tensor, axis):
    """The matrix whose rows are the slices of `tensor` along `axis`."""
    return tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)


def fold(matrix, axis, sides):
    """The tensor of size `sides` that `unfold` makes `matrix` of."""
    others = [size for other, size in enumerate(sides) if other != axis]
    return matrix.reshape(matrix.shape[0], *others).movedim(0, axis)


OPTIMIZERS = {"soap": SOAP, "adam": Adam, "sgd": SGD}
