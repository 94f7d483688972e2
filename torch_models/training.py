"""One training step and the state it needs; the loop around it, the same for both frameworks, is common/training.py."""

import numpy as np
import torch

from torch_models.layers import from_nhwc, load_tensors, named_weights, to_numpy
from torch_models.losses import objective
from torch_models.optimizers import OPTIMIZERS
from torch_models.runtime import build, choose_device, choose_precision


class Training:
    """A network, its optimiser and the moving average of its weights.

    spec, recipe: of common/networks.py and common/recipes.py. tensors: initial weights by attribute path.
    """

    def __init__(self, spec, tensors, recipe, device="auto", precision="fp32"):
        self.recipe = recipe
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.model = build(spec, self.precision).to(self.device, memory_format=torch.channels_last)
        load_tensors(self.model, tensors)
        self.parameters = named_weights(self.model)
        self.optimizer = OPTIMIZERS[recipe.optimizer](self.parameters, recipe.betas)
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.factors = {name: recipe.layer_rates.get(name.split(".")[0], 1.0) for name in self.parameters}
        self.kind = torch.float64 if self.precision == "fp64" else torch.float32
        self.count = 0

    def step(self, data, label, rate):
        """Train on one batch, (N, H, W, C) float32 arrays in [0, 1]; returns the loss, a tensor still on the device."""
        self.count += 1
        data, label = (from_nhwc(batch, self.device) for batch in (data, label))
        loss = self.update(data, label, rate, self.count)
        self.optimizer.refresh(self.count)
        return loss

    def update(self, data, label, rate, count):
        """Change the weights and their average by one batch; returns its loss."""
        loss, gradients = self.gradients(data, label)
        self.optimizer.step(gradients, count, {name: rate * factor for name, factor in self.factors.items()})
        self.update_average(count)
        return loss

    def gradients(self, data, label):
        """(loss, gradients by name, shortened to the recipe's length) of one batch."""
        data, label = (augment(batch.to(self.kind)) for batch in (data, label))
        loss = objective(self.model, data, label, self.recipe)
        gradients = torch.autograd.grad(loss, list(self.parameters.values()))
        norm = torch.sqrt(sum(torch.sum(torch.square(gradient)) for gradient in gradients))
        shorter = self.recipe.clip_norm / torch.clamp(norm, min=self.recipe.clip_norm) if self.recipe.clip_norm else 1.0
        return loss.detach(), {name: shorter * g for name, g in zip(self.parameters, gradients, strict=True)}

    @torch.no_grad()
    def update_average(self, count):
        """Move the average towards the weights, faster in the first steps."""
        decay = min(self.recipe.average, count / (count + 10))
        for name, parameter in self.parameters.items():
            self.average[name].copy_(decay * self.average[name] + (1 - decay) * parameter)

    def weights(self):
        """The averaged weights as arrays by attribute path: what is validated and saved."""
        return {name: to_numpy(tensor) for name, tensor in self.average.items()}

    def state(self):
        """Everything the next step depends on, as arrays by name."""
        groups = {"weights": self.parameters, "average": self.average, "optimizer": self.optimizer.state}
        state = {
            f"{group}/{name}": to_numpy(tensor) for group, named in groups.items() for name, tensor in named.items()
        }
        return {**state, "count": np.array([self.count])}

    @torch.no_grad()
    def load_state(self, state):
        """Continue from what `state()` returned, here or in the other framework; KeyError if a part is missing."""
        groups = {"weights": self.parameters, "average": self.average, "optimizer": self.optimizer.state}
        for group, named in groups.items():
            for name, tensor in named.items():
                tensor.copy_(torch.from_numpy(state[f"{group}/{name}"]))
        self.count = int(state["count"][0])


def augment(batch):
    """Turn and mirror a batch (N, C, S, S): picture i by the i-th of the 8 symmetries of the square, cyclically."""
    parts = []
    for symmetry in range(min(8, batch.shape[0])):
        part = batch[symmetry::8]
        part = torch.flip(part, [2]) if symmetry & 1 else part
        part = torch.flip(part, [3]) if symmetry & 2 else part
        parts.append(part.transpose(2, 3) if symmetry & 4 else part)
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)
