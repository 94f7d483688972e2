"""ESPCN: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
Neural Network", CVPR 2016, figure 1.

All work is done on the small picture; the last convolution makes r^2 maps, which are its pixels' r x r finer ones.

    feature maps          f1 x f1 convolution, n1 maps, tanh
    non-linear mapping    f2 x f2 convolution, n2 maps, tanh
    sub-pixel convolution f3 x f3 convolution, C r^2 maps, linear, then periodic shuffling (eq. 4)

No padding: an output needs `spec.halo` pixels around its place in the input.
"""

import keras

from tf_models.layers import Conv, activation, pixel_shuffle


class ESPCN(keras.Model):
    def __init__(self, spec):
        super().__init__()
        (f1, f2, f3), (n1, n2) = spec.kernels, spec.widths
        self.scale = spec.scale
        self.conv1 = Conv(spec.channels, n1, f1)
        self.conv2 = Conv(n1, n2, f2)
        self.conv3 = Conv(n2, spec.channels * spec.scale**2, f3, head=True)
        self.activation = activation(spec.activation)

    def call(self, x):
        x = self.activation(self.conv1(x))
        x = self.activation(self.conv2(x))
        return pixel_shuffle(self.conv3(x), self.scale)
