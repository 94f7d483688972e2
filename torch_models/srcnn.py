"""SRCNN: Dong, Loy, He, Tang, "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016, figure 2.

The input is the picture already enlarged by bicubic interpolation; the network only sharpens it.

    patch extraction      f1 x f1 convolution, n1 maps, ReLU
    non-linear mapping    f2 x f2 convolution, n2 maps, ReLU
    reconstruction        f3 x f3 convolution, linear

No padding: an output needs `spec.halo` pixels around its place in the input.
"""

from torch import nn

from torch_models.layers import Conv, activation


class SRCNN(nn.Module):
    def __init__(self, spec):
        super().__init__()
        (f1, f2, f3), (n1, n2) = spec.kernels, spec.widths
        self.conv1 = Conv(spec.channels, n1, f1)
        self.conv2 = Conv(n1, n2, f2)
        self.conv3 = Conv(n2, spec.channels, f3, head=True)
        self.relu = activation("relu")

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.conv3(x)
