"""What a training step minimises: the difference between picture and truth, and what some networks add to it."""

import torch


def mse(difference):
    """Mean squared error, which the papers minimise."""
    return torch.mean(torch.square(difference))


def l1(difference):
    """Mean absolute error."""
    return torch.mean(torch.abs(difference))


def charbonnier(difference, epsilon=1e-3):
    """A smooth absolute error (Lai et al. 2017)."""
    return torch.mean(torch.sqrt(torch.square(difference) + epsilon**2))


LOSSES = {"mse": mse, "l1": l1, "charbonnier": charbonnier}


def objective(model, data, label, recipe):
    """The loss of one batch: that of the picture, or the network's own if it has one in `OBJECTIVES`."""
    particular = OBJECTIVES.get(type(model).__name__, of_the_picture)
    return particular(model, data, label, recipe)


def of_the_picture(model, data, label, recipe):
    """The recipe's loss where both picture and label have pixels."""
    return LOSSES[recipe.loss](common_centre_difference(model(data), label))


def of_picture_and_motion(model, data, label, recipe):
    """VESPCN's joint loss (Caballero et al. 2017, eq. 6): picture, compensated neighbours, roughness of the flow."""
    frames, flows = model.compensate(data)
    loss = LOSSES[recipe.loss](common_centre_difference(model.enlarge(frames), label))
    middle = frames[len(frames) // 2]
    for neighbour, flow in zip(frames, flows, strict=True):
        if flow is not None:
            loss = loss + recipe.motion_weight * mse(neighbour - middle) + recipe.smoothness_weight * huber(flow)
    return loss


def huber(flow, epsilon=0.01):
    """Roughness of a flow field: a norm of its gradient that is square near zero (eq. 5), averaged over all pixels."""
    down = flow[:, :, 1:, :-1] - flow[:, :, :-1, :-1]
    right = flow[:, :, :-1, 1:] - flow[:, :, :-1, :-1]
    return torch.mean(torch.sqrt(epsilon + torch.sum(torch.square(down) + torch.square(right), dim=1)))


def common_centre_difference(output, label):
    """Difference of two batches (N, C, H, W) where both have pixels: the smaller is the centre of the larger."""
    sides = [min(output.shape[axis], label.shape[axis]) for axis in (2, 3)]
    return centre(output, sides) - centre(label, sides).to(output.dtype)


def centre(batch, sides):
    top, left = (batch.shape[2] - sides[0]) // 2, (batch.shape[3] - sides[1]) // 2
    return batch[:, :, top : top + sides[0], left : left + sides[1]]


OBJECTIVES = {"VESPCN": of_picture_and_motion}
