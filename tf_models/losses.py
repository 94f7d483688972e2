"""Losses: of the difference between picture and truth, averaged over all pixels."""

import tensorflow as tf


def mse(difference):
    """Mean squared error, which the papers minimise."""
    return tf.reduce_mean(tf.square(difference))


def l1(difference):
    """Mean absolute error."""
    return tf.reduce_mean(tf.abs(difference))


def charbonnier(difference, epsilon=1e-3):
    """A smooth absolute error (Lai et al. 2017)."""
    return tf.reduce_mean(tf.sqrt(tf.square(difference) + epsilon**2))


LOSSES = {"mse": mse, "l1": l1, "charbonnier": charbonnier}
