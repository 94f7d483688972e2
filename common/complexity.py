"""How much work a network is, counted from its layers: multiply-adds for each pixel, operations for each frame.

Counted as papers count it: two operations for each multiply-add of a convolution, and nothing for biases, activations,
normalisation, warping and bicubic enlargement, which are a small part. Every convolution is taken to give as many
outputs as it has inputs (divided by its stride), with or without padding.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from common.networks import Convolution
from common.speed import HEIGHT, WIDTH

# {(network, scale): 10^9 operations for a frame of 1920 x 1080 as VESPCN's paper prints them}. They are 1.7 to 5.3 %
# less than ours, most of which a count without the borders that unpadded convolutions lose would explain.
PUBLISHED = {
    ("srcnn", 3): 233.11,
    ("srcnn", 4): 233.11,
    ("espcn", 3): 9.92,
    ("espcn", 4): 6.08,
    ("vespcn", 3): 24.23,
    ("vespcn", 4): 14.00,
}


@dataclass(frozen=True)
class Work:
    """What one convolution does for a picture. places: its outputs in one map for each pixel of the network's input."""

    layer: Convolution
    places: Fraction

    @property
    def weights(self):
        """Numbers in its kernels, each of which is one multiply-add at every place."""
        return prod(self.layer.shapes[f"{self.layer.name}.weight"])

    @property
    def multiply_adds(self):
        """For each pixel of the network's input."""
        return self.layer.times * self.places * self.weights


def work(spec):
    """The `Work` of each convolution of a network of common/networks.py, in the order of its layers."""
    result, places = [], Fraction(1)
    for layer in spec.convolutions:
        places /= layer.stride**2
        result.append(Work(layer, places))
        places *= layer.shuffle**2
    return result


def multiply_adds(spec):
    """For each pixel of the network's input."""
    return sum(one.multiply_adds for one in work(spec))


def operations_per_frame(spec, height=HEIGHT, width=WIDTH):
    """Two for each multiply-add, for one enlarged frame of that size."""
    return float(2 * multiply_adds(spec) * height * width / spec.factor**2)


def operations_seen(spec, height, width):
    """`operations_per_frame`, and those for what is seen beyond the frame: all that computing it whole takes."""
    rows, columns = height // spec.factor, width // spec.factor
    seen = (rows + 2 * spec.beyond) * (columns + 2 * spec.beyond) / (rows * columns)
    return operations_per_frame(spec, height, width) * seen


def receptive_field(spec):
    """Side of the square of input pixels that one output depends on, in each frame; motion may look further."""
    return 2 * (replace(spec, motion="none") if spec.estimates_motion else spec).halo + 1
