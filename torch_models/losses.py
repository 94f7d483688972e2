"""Losses: of the difference between picture and truth, averaged over all pixels."""

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
