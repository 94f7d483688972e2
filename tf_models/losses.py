"""What a training step minimises: the difference between picture and truth, and what some networks add to it."""

import tensorflow as tf

from tf_models.layers import named_weights


def mse(difference):
    """Mean squared error, which the papers minimise."""
    return tf.reduce_mean(tf.square(difference))


def l1(difference):
    """Mean absolute error."""
    return tf.reduce_mean(tf.abs(difference))


def charbonnier(difference, epsilon=1e-3):
    """A smooth absolute error (Lai et al. 2017)."""
    return tf.reduce_mean(tf.sqrt(tf.square(difference) + epsilon**2))


def log_mse(difference, epsilon=1e-4):
    """Logarithm of the squared error of each sub-image, on average: what the mean PSNR of several pictures is made of.

    Its gradient is that of `mse` times 1e-3 / (error + epsilon): as large for errors around 1e-3, which is 30 dB, and
    at most ten times as large, for errors far below `epsilon`, which is 40 dB.
    """
    error = tf.reduce_mean(tf.square(difference), axis=(1, 2, 3))
    return 1e-3 * tf.reduce_mean(tf.math.log(1 + error / epsilon))


LOSSES = {"mse": mse, "l1": l1, "charbonnier": charbonnier, "log_mse": log_mse}


def objective(model, data, label, recipe, progress):
    """The loss of one batch: that of the picture, or the network's own if it has one in `OBJECTIVES`.

    progress: how much of the run is behind it, in [0, 1].
    """
    particular = OBJECTIVES.get(type(model).__name__, of_the_picture)
    return particular(model, data, label, recipe, progress)


def of_the_picture(model, data, label, recipe, progress):
    """The recipe's loss where both picture and label have pixels."""
    return LOSSES[recipe.loss](common_centre_difference(model(data), label))


def of_picture_and_motion(model, data, label, recipe, progress):
    """VESPCN's joint loss (Caballero et al. 2017, eq. 6): picture, compensated neighbours, roughness of the flow.

    The flow counts in units of the estimators' reach, as the paper's own counts in halves of the picture.
    """
    frames, flows = model.compensate(data)
    loss = 0.0
    if recipe.picture_weight:
        loss = recipe.picture_weight * LOSSES[recipe.loss](common_centre_difference(model.enlarge(frames), label))
    middle = frames[len(frames) // 2]
    for neighbour, flow in zip(frames, flows, strict=True):
        if flow is not None and recipe.motion_weight:
            loss = loss + recipe.motion_weight * mse(neighbour - middle)
        if flow is not None and recipe.smoothness_weight:
            loss = loss + recipe.smoothness_weight * huber(flow / model.spec.reach)
    return loss


def huber(flow, epsilon=0.01):
    """Roughness of a flow field: a norm of its gradient that is square near zero (eq. 5), averaged over all pixels."""
    down = flow[:, 1:, :-1] - flow[:, :-1, :-1]
    right = flow[:, :-1, 1:] - flow[:, :-1, :-1]
    return tf.reduce_mean(tf.sqrt(epsilon + tf.reduce_sum(tf.square(down) + tf.square(right), axis=-1)))


def of_every_recursion(model, data, label, recipe, progress):
    """DRCN's joint loss (Kim et al. 2016, eq. 7 to 9): alpha times the mean error of all its reconstructions, 1 - alpha
    times the error of their ensemble, and the sum of all squared kernels times `recipe.weight_decay`.

    Of alpha the paper says that it begins high and decays; here it falls in a straight line from 1 to 0 over the first
    `recipe.supervised` of the run. The paper's errors are halves of sums over a sub-image, ours are means over its
    pixels: its beta of 1e-4 is the same as ours of 1e-4 / (41 x 41 / 2) = 1.2e-7.
    """
    alpha = tf.maximum(1 - progress / recipe.supervised, 0.0)
    error, reconstructions = LOSSES[recipe.loss], model.reconstructions(data, recipe.recompute)
    each = sum(error(common_centre_difference(y, label)) for y in reconstructions) / len(reconstructions)
    whole = error(common_centre_difference(model.combine(reconstructions), label))
    kernels = [weight for weight in named_weights(model).values() if len(weight.shape) > 1]
    decay = recipe.weight_decay * sum(tf.reduce_sum(tf.square(weight)) for weight in kernels)
    return alpha * each + (1 - alpha) * whole + decay


def content_loss(picture, truth, recipe, features):
    """What SRGAN's pictures lack (Ledig et al. 2017, section 2.2.1): the recipe's loss of the pixels, in [-1, 1] as the
    paper counts them, or the mean squared error of their `features`, scaled by its 0.006.
    """
    if features is None:
        return LOSSES[recipe.loss](2 * common_centre_difference(picture, truth))
    ours, theirs = (tf.cast(features(image), truth.dtype) for image in (picture, truth))
    return 0.006 * mse(ours - theirs)


def adversarial_loss(enlarged):
    """-log D(G(x)), averaged, of what the discriminator says of enlarged pictures (section 2.2.2)."""
    return tf.reduce_mean(tf.nn.softplus(-enlarged))


def mesh_loss(picture, truth, factor, places=4):
    """How much of a mesh lies over a picture, which is not in the SRGAN paper.

    A sub-pixel convolution draws each of the `factor` x `factor` phases of its grid with weights of its own, so a
    pattern of that size, repeated over the picture, is easily learned, and to an inexperienced discriminator looks like
    detail. This is the mean squared error, in [-1, 1], of each phase's mean over `places` x `places` places less the
    mean of all phases; of true detail little is left in such means.
    """
    difference = 2 * common_centre_difference(picture, truth)
    _, height, width, c = difference.shape
    rows, columns = (max(1, side // (factor * places)) for side in (height, width))
    down, across = (min(places, side // factor) for side in (height, width))
    difference = difference[:, : rows * down * factor, : columns * across * factor]
    phases = tf.reshape(difference, (-1, rows, down, factor, columns, across, factor, c))
    phases = tf.reduce_mean(phases, (2, 5))
    return mse(phases - tf.reduce_mean(phases, (2, 4), keepdims=True))


def feature_loss(enlarged, true):
    """How far the discriminator's feature maps of enlarged pictures are from those of the true ones: the mean absolute
    difference of each block's, averaged over the blocks ("feature matching", Wang et al., "High-Resolution Image
    Synthesis and Semantic Manipulation with Conditional GANs", CVPR 2018, section 3.2). Not in the SRGAN paper.
    """
    return sum(l1(ours - theirs) for ours, theirs in zip(enlarged, true, strict=True)) / len(true)


def discriminator_loss(true, enlarged):
    """-log D(y) - log(1 - D(G(x))), averaged, of what the discriminator says of true and enlarged pictures (eq. 2)."""
    return tf.reduce_mean(tf.nn.softplus(-true)) + tf.reduce_mean(tf.nn.softplus(enlarged))


def common_centre_difference(output, label):
    """Difference of two batches (N, H, W, C) where both have pixels: the smaller is the centre of the larger."""
    sides = [min(output.shape[axis], label.shape[axis]) for axis in (1, 2)]
    return centre(output, sides) - tf.cast(centre(label, sides), output.dtype)


def centre(batch, sides):
    top, left = (batch.shape[1] - sides[0]) // 2, (batch.shape[2] - sides[1]) // 2
    return batch[:, top : top + sides[0], left : left + sides[1]]


OBJECTIVES = {"VESPCN": of_picture_and_motion, "DRCN": of_every_recursion}
