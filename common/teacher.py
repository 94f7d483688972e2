"""A teacher: a network whose results another network learns to draw, in the place of the true pictures.

Knowledge distillation, after Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015. What no
network can know of a picture is noise in every gradient; a teacher's result is without it, so that far fewer sub-images
teach as much. The pupil comes to be as good as its teacher at most.
"""

import numpy as np

from common.color import luma
from common.patches import crop_to_multiple, luma_or_rgb, resized
from common.resize import resize
from common.upscaler import Upscaler

MIRRORED = (np.s_[:, :], np.s_[::-1, ::-1])  # the result is the mean over the picture as it is and turned upside down


class TeacherError(ValueError):
    """A network that cannot teach another; the message is one sentence."""


class Teacher:
    """Draws the labels for network `spec`.

    weights: the teacher's `Weights`, of the same scale or a larger one, whose result is then shrunk: bicubic
    interpolation smooths a picture for each scale by as much, in pixels of the low resolution, so that a network for x4
    does well on a picture that was shrunk by 3. Raises TeacherError for a smaller scale and for networks of video.
    """

    def __init__(self, weights, spec, framework="torch", device="auto"):
        own = weights.network
        if spec.frames > 1 or own.frames > 1:
            raise TeacherError("Networks that see several frames neither teach nor are taught.")
        if own.scale < spec.scale:
            raise TeacherError(f"{weights.name} x{own.scale} cannot teach x{spec.scale}, which is larger.")
        if (own.colour, spec.colour) == ("luma", "rgb"):
            raise TeacherError(f"{weights.name} sees luma alone and cannot teach colour.")
        self.spec = spec
        self.upscaler = Upscaler(weights, framework, device, "fp32")  # labels are to be those of every machine
        self.title = f"{weights.name}_x{own.scale} {weights.fingerprint()[:12]}"

    def __call__(self, pixels, factor=1.0):
        """The label (H, W, C) float32 in [0, 1] of the picture `pixels` (H, W, 1 or 3), resized by `factor` before.

        H and W are those of the resized picture, cropped to a multiple of the pupil's scale.
        """
        scale = self.spec.scale
        high = resized(luma_or_rgb(pixels, self.upscaler.spec.colour), factor)
        high = np.ascontiguousarray(crop_to_multiple(high, scale))
        if 0 in high.shape:
            return high[..., : self.spec.channels]
        low = resize(high, 1 / scale)
        drawn = sum(self.upscaler.planes(low[mirror])[mirror] for mirror in MIRRORED) / len(MIRRORED)
        if self.upscaler.scale != scale:
            drawn = resize(drawn, scale / self.upscaler.scale)
        drawn = np.clip(drawn, 0, 1)
        if drawn.shape[-1] == self.spec.channels:
            return drawn
        return luma(drawn)[..., None] if pixels.shape[-1] == 3 else drawn.mean(axis=-1, keepdims=True)
