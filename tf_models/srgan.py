"""SRResNet and SRGAN: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017, figure 4.

Generator, which is SRResNet where it is trained by its error alone:

    feature maps          9 x 9 convolution, n maps, PReLU
    residual blocks       16 times: 3 x 3 convolution, batch normalisation, PReLU, 3 x 3 convolution, batch
                          normalisation, plus what came in
    long skip             3 x 3 convolution, batch normalisation, plus the first feature maps
    sub-pixel convolution once for x2, twice for x4: 3 x 3 convolution, 4 n maps, periodic shuffling, PReLU
    reconstruction        9 x 9 convolution, C maps, linear or tanh

All convolutions are padded. Beyond a picture SRResNet sees zeros, in training as in use, SRGAN the edge repeated. An
output sees `spec.halo` pixels around its place. The small picture is in [0, 1] and the convolutions draw the large one
in [-1, 1], as the paper has it; what is given back is in [0, 1].

Discriminator, of pictures of one size:

    feature maps          3 x 3 convolution, n maps, leaky ReLU
    smaller and deeper    7 times: 3 x 3 convolution, batch normalisation, leaky ReLU; every other one halves the size,
                          those between double the maps
    verdict               dense layer of 16 n, leaky ReLU; dense layer of 1, whose sigmoid is the probability of truth
"""

import keras

from tf_models.layers import (
    BatchNorm,
    Conv,
    ConvOfShuffled,
    Dense,
    PReLU,
    activation,
    flatten,
    leaky_relu,
    pixel_shuffle,
    stack,
)


class ResidualBlock(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.conv1 = Conv(width, width, 3, padded=True, bias=False)
        self.norm1 = BatchNorm(width)
        self.prelu = PReLU(width)
        self.conv2 = Conv(width, width, 3, padded=True, bias=False)
        self.norm2 = BatchNorm(width)

    def call(self, x):
        maps = self.prelu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(maps))


class Doubling(keras.Model):
    """Sub-pixel convolution to twice the size, up to the shuffling, which changes nothing for the rectifier."""

    def __init__(self, width):
        super().__init__()
        self.conv = Conv(width, 4 * width, 3, padded=True)
        self.prelu = PReLU(width)

    def call(self, x):
        return self.prelu(self.conv(x))


class SRResNet(keras.Model):
    def __init__(self, spec):
        super().__init__()
        n = spec.width
        self.conv1 = Conv(spec.channels, n, 9, padded=True)
        self.prelu1 = PReLU(n)
        self.blocks = stack(ResidualBlock(n) for _ in range(spec.blocks))
        self.conv2 = Conv(n, n, 3, padded=True, bias=False)
        self.norm2 = BatchNorm(n)
        self.upsampling = stack(Doubling(n) for _ in range(spec.doublings))
        self.conv3 = ConvOfShuffled(n, spec.channels, 9, factor=2, head=True)
        self.ending = activation(spec.ending)

    def call(self, x):
        first = x = self.prelu1(self.conv1(x))
        for block in self.blocks:
            x = block(x)
        x = first + self.norm2(self.conv2(x))
        for doubling in self.upsampling[:-1]:
            x = pixel_shuffle(doubling(x), 2)
        x = self.upsampling[-1](x)
        return (self.ending(self.conv3(x)) + 1) / 2


class SRGAN(SRResNet):
    """The generator."""


class Shrinking(keras.Model):
    """A convolution of the discriminator, batch normalisation and leaky rectifier."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = Conv(inputs, outputs, 3, stride, padded=True, bias=False)
        self.norm = BatchNorm(outputs)

    def call(self, x):
        return leaky_relu(self.norm(self.conv(x)))


class Discriminator(keras.Model):
    """Pictures in [0, 1], all colours of one size, to one number each, above zero for those taken for true."""

    def __init__(self, spec):
        super().__init__()
        self.conv1 = Conv(spec.channels, spec.width, 3, padded=True)
        self.blocks = stack(Shrinking(*stage) for stage in spec.stages)
        self.dense1 = Dense(spec.flat, 16 * spec.width)
        self.dense2 = Dense(16 * spec.width, 1, head=True)

    def call(self, x):
        return self.judge(x)[0]

    def judge(self, x):
        """(verdict, feature maps): those of every block, shallow to deep."""
        maps = [leaky_relu(self.conv1(2 * x - 1))]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return self.dense2(leaky_relu(self.dense1(flatten(maps[-1])))), maps[1:]
