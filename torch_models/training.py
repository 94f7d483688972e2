"""One training step and the state it needs; the loop around it, the same for both frameworks, is common/training.py."""

import numpy as np
import torch

from common.processes import Alone
from torch_models.layers import (
    freeze,
    from_nhwc,
    load_tensors,
    named_weights,
    set_measuring,
    to_numpy,
    trained_weights,
)
from torch_models.losses import (
    adversarial_loss,
    centre,
    content_loss,
    discriminator_loss,
    feature_loss,
    mesh_loss,
    objective,
)
from torch_models.optimizers import OPTIMIZERS
from torch_models.runtime import build, choose_device


class Training:
    """A network, its optimiser and the moving average of its weights.

    spec, recipe: of common/networks.py and common/recipes.py. tensors: initial weights by attribute path. group: of
    common/processes.py, with which this process shares each batch.
    """

    def __init__(self, spec, tensors, recipe, device="auto", precision="fp32", group=None):
        self.recipe = recipe
        self.group = group or Alone()
        self.device = choose_device(device)
        self.precision = precision
        self.model = build(spec, self.precision).to(self.device, memory_format=torch.channels_last)
        load_tensors(self.model, tensors)
        set_measuring(self.model, True, self.group)
        self.parameters = named_weights(self.model)
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.factors = {name: recipe.layer_rates.get(name.split(".")[0], 1.0) for name in self.parameters}
        trained = trained_weights(self.model)
        self.trained = {name: parameter for name, parameter in trained.items() if self.factors[name]}
        self.moving = [name for name in self.parameters if name in self.trained or name in spec.statistics]
        self.optimizer = OPTIMIZERS[recipe.optimizer](self.trained, recipe.betas)
        self.kind = torch.float64 if self.precision == "fp64" else torch.float32
        self.count = 0
        self.terms = {}  # what the loss of the last step was made of

    def step(self, data, label, rate, progress=0.0):
        """Train on one batch, (N, H, W, C) float32 arrays in [0, 1]; returns the loss, a tensor still on the device.

        In a group, that is the part of the batch that this process has, and its loss. rate: the learning rate.
        progress: how much of the run is behind it, in [0, 1].
        """
        self.count += 1
        data, label = (from_nhwc(batch, self.device) for batch in (data, label))
        self.terms = self.group.run(self.update, data, label, rate, self.count, progress)
        self.optimizer.refresh(self.count)
        return self.terms["loss"]

    def update(self, data, label, rate, count, progress):
        """Change the weights and their average by one batch; returns its loss, and what that is made of, by name."""
        loss, gradients = self.gradients(data, label, progress)
        self.move(gradients, rate, count)
        return {"loss": loss}

    def move(self, gradients, rate, count):
        """Change the weights by their `gradients`, and the average by the weights."""
        self.optimizer.step(gradients, count, {name: rate * factor for name, factor in self.factors.items()})
        self.update_average(count)

    def gradients(self, data, label, progress):
        """(loss, gradients by name, shortened to the recipe's length) of one batch."""
        data, label = (self.turned(batch) for batch in (data, label))
        loss = objective(self.model, data, label, self.recipe, progress)
        return loss.detach(), self.shortened(torch.autograd.grad(loss, list(self.trained.values())))

    def turned(self, batch):
        """A share of a batch, in the precision of the training, each picture turned as in the whole batch."""
        return augment(batch.to(self.kind), self.group.share() * batch.shape[0])

    def shortened(self, gradients):
        """The list of `gradients` by name, averaged over the group and shortened together to the recipe's length."""
        gradients = self.group.mean(gradients)
        norm = torch.sqrt(sum(torch.sum(torch.square(gradient)) for gradient in gradients))
        shorter = self.recipe.clip_norm / torch.clamp(norm, min=self.recipe.clip_norm) if self.recipe.clip_norm else 1.0
        return {name: shorter * g for name, g in zip(self.trained, gradients, strict=True)}

    @torch.no_grad()
    def update_average(self, count):
        """Move the average towards the weights, faster in the first steps."""
        decay = min(self.recipe.average, count / (count + 10))
        for name in self.moving:
            self.average[name].copy_(decay * self.average[name] + (1 - decay) * self.parameters[name])

    def weights(self):
        """The averaged weights as arrays by attribute path: what is validated and saved."""
        return {name: to_numpy(tensor) for name, tensor in self.average.items()}

    def groups(self):
        """The tensors that the next step depends on, by name, by group."""
        return {"weights": self.parameters, "average": self.average, "optimizer": self.optimizer.state}

    def state(self):
        """Everything the next step depends on, as arrays by name."""
        state = {
            f"{group}/{name}": to_numpy(tensor)
            for group, named in self.groups().items()
            for name, tensor in named.items()
        }
        return {**state, "count": np.array([self.count])}

    @torch.no_grad()
    def load_state(self, state):
        """Continue from what `state()` returned, here or in the other framework; KeyError if a part is missing."""
        for group, named in self.groups().items():
            for name, tensor in named.items():
                tensor.copy_(torch.from_numpy(state[f"{group}/{name}"]))
        self.count = int(state["count"][0])


class Adversarial(Training):
    """Training of a generator against a discriminator (Ledig et al. 2017, section 2.2), a step of each in turn.

    discriminator: (spec, initial weights) of the one. features: those of the network whose feature maps the content
    loss compares, None where it compares pixels.
    """

    def __init__(
        self, spec, tensors, recipe, device="auto", precision="fp32", group=None, *, discriminator, features=None
    ):
        super().__init__(spec, tensors, recipe, device, precision, group)
        self.factor = spec.factor
        self.discriminator = self.built(*discriminator)
        set_measuring(self.discriminator, True, self.group)
        self.judges = trained_weights(self.discriminator)
        self.discriminator_optimizer = OPTIMIZERS[recipe.optimizer](self.judges, recipe.betas)
        self.features = self.built(*features) if features else None
        if self.features:
            freeze(self.features)

    def built(self, spec, tensors):
        """Another network than the one that is trained, with its weights, where that one is."""
        model = build(spec, self.precision).to(self.device, memory_format=torch.channels_last)
        load_tensors(model, tensors)
        return model

    def step(self, data, label, rate, progress=0.0):
        loss = super().step(data, label, rate, progress)
        self.discriminator_optimizer.refresh(self.count)
        return loss

    def update(self, data, label, rate, count, progress):
        data, label = (self.turned(batch) for batch in (data, label))
        enlarged = centre(self.model(data), label.shape[2:])
        terms = self.update_discriminator(label, enlarged.detach(), rate, count)
        content = content_loss(enlarged, label, self.recipe, self.features)
        verdict, maps = self.discriminator.judge(enlarged)
        adversarial = adversarial_loss(verdict)
        loss = content + self.recipe.adversarial_weight * adversarial
        terms = {"content_loss": content, "adversarial_loss": adversarial, **terms}
        if self.recipe.mesh_weight:
            terms["mesh_loss"] = mesh_loss(enlarged, label, self.factor)
            loss = loss + self.recipe.mesh_weight * terms["mesh_loss"]
        if self.recipe.feature_weight:
            with torch.no_grad():
                _, true_maps = self.discriminator.judge(label)
            terms["feature_loss"] = feature_loss(maps, true_maps)
            loss = loss + self.recipe.feature_weight * terms["feature_loss"]
        self.move(self.shortened(torch.autograd.grad(loss, list(self.trained.values()))), rate, count)
        return {name: term.detach() for name, term in {"loss": loss, **terms}.items()}

    def update_discriminator(self, true, enlarged, rate, count):
        """One step of the discriminator; returns its loss and the mean of what it took for the probability of truth."""
        verdicts = self.discriminator(true), self.discriminator(enlarged)
        loss = discriminator_loss(*verdicts)
        gradients = self.group.mean(torch.autograd.grad(loss, list(self.judges.values())))
        gradients = dict(zip(self.judges, gradients, strict=True))
        rates = dict.fromkeys(self.judges, rate * self.recipe.discriminator_rate)
        self.discriminator_optimizer.step(gradients, count, rates)
        d_real, d_fake = (torch.mean(torch.sigmoid(verdict)) for verdict in verdicts)
        return {"discriminator_loss": loss, "d_real": d_real, "d_fake": d_fake}

    def groups(self):
        rival = {"discriminator": named_weights(self.discriminator)}
        return {**super().groups(), **rival, "discriminator_optimizer": self.discriminator_optimizer.state}


def augment(batch, first=0):
    """Turn and mirror a batch (N, C, S, S): picture i by the i-th of the 8 symmetries of the square, cyclically,
    counted from `first`.
    """
    parts = []
    for place in range(min(8, batch.shape[0])):
        part, symmetry = batch[place::8], (first + place) % 8
        part = torch.flip(part, [2]) if symmetry & 1 else part
        part = torch.flip(part, [3]) if symmetry & 2 else part
        parts.append(part.transpose(2, 3) if symmetry & 4 else part)
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)
