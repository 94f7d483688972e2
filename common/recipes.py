"""How a network is trained, as data: everything that decides the weights besides the network and the pictures."""

from dataclasses import dataclass, field
from math import cos, pi

LOSSES = {  # what may be minimised of the difference between two pictures, in words; computed by losses.py of the twins
    "mse": "mean squared error",
    "l1": "mean absolute error",
    "charbonnier": "smooth absolute error",
    "log_mse": "mean logarithm of the squared error of each sub-image",
}
OPTIMIZERS = ("soap", "adam", "sgd")  # of optimizers.py


@dataclass(frozen=True)
class Recipe:
    """One training run. Sizes are in pixels of the network's input grid, unless said otherwise.

    image_size, label_size: side of an input sub-image, and of its target in pixels of the output; targets are compared
        only where the network saw no padding, so a larger label is cut to that. None: exactly that size.
    stride: step between sub-images.
    loss, optimizer: of `LOSSES` and `OPTIMIZERS`.
    learning_rate: its peak; it rises over the first `warmup` steps and falls to zero along half a cosine.
    layer_rates: factors on the learning rate by layer name; the papers train the last layer 10 times slower with SGD.
        A layer with factor 0 stays as it is, and costs no gradient.
    clip_norm: the gradient is shortened to this length; 0 leaves it as it is.
    average: decay of the moving average of the weights, which is what is validated and saved; 0 saves the weights.
    weight_decay: of the sum of squared kernels in what is minimised, for DRCN.
    supervised: share of the run over which DRCN's recursions are supervised one by one, less and less.
    recompute: forget DRCN's feature maps on the way forward and compute them again on the way back, which takes less
        memory and a third more time; the gradients are the same.
    validation_size: side of the centre that is measured of each picture held back, in pixels of the output; 0: all of
        it.
    content_loss: what SRGAN's pictures should share with the truth: "mse", their pixels, "vgg22" or "vgg54", their
        features in VGG19.
    adversarial_weight: of the adversarial loss beside it.
    feature_weight, mesh_weight: of two losses of ours beside them, the difference of the discriminator's feature maps
        and the mesh that a sub-pixel convolution can draw; 0: not computed.
    discriminator_rate: factor on the learning rate for the discriminator.
    picture_weight, motion_weight, smoothness_weight: of the picture's error in what is minimised and, for VESPCN, of
        the compensated neighbours' error and of the flow's roughness. A part with weight 0 is not computed.
    """

    batch_size: int = 32
    image_size: int = 24
    label_size: int | None = None
    stride: int = 14
    loss: str = "mse"
    optimizer: str = "soap"
    learning_rate: float = 3e-3
    betas: tuple[float, float] = (0.95, 0.95)
    warmup: int = 50
    layer_rates: dict[str, float] = field(default_factory=dict)
    clip_norm: float = 1.0
    average: float = 0.999
    weight_decay: float = 0.0
    supervised: float = 0.5
    recompute: bool = False
    validation_size: int = 0
    content_loss: str = "mse"
    adversarial_weight: float = 0.0
    feature_weight: float = 0.0
    mesh_weight: float = 0.0
    discriminator_rate: float = 1.0
    picture_weight: float = 1.0
    motion_weight: float = 0.01
    smoothness_weight: float = 0.001

    def rate(self, step, progress):
        """Learning rate of `step` (from 0) when `progress` in [0, 1] of the run is behind it."""
        return self.learning_rate * min(1.0, (step + 1) / (self.warmup + 1)) * (1 + cos(pi * min(1.0, progress))) / 2
