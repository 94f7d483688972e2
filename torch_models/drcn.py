"""DRCN: Kim, Lee and Lee, "Deeply-Recursive Convolutional Network for Image Super-Resolution", CVPR 2016, figure 3.

The input is already enlarged by bicubic interpolation; one convolution is applied to it again and again.

    embedding       two 3 x 3 convolutions, n maps, ReLU: H_0
    inference       one 3 x 3 convolution, n maps, ReLU, the same every time: H_d from H_(d-1), d = 1 .. D
    reconstruction  two 3 x 3 convolutions, n maps, ReLU, then one map, linear, the same every time; added to the input
                    it is y_d
    ensemble        the sum of all y_d, each by a learned weight

All convolutions are padded, in training as in use: beyond a picture there are zeros. An output sees `spec.halo` pixels
around its place in the input.
"""

from torch import nn

from torch_models.layers import Conv, Vector, activation, add, after, recomputed


class DRCN(nn.Module):
    def __init__(self, spec):
        super().__init__()
        n = spec.width
        self.spec = spec
        self.embedding1 = Conv(spec.channels, n, 3, padded=True)
        self.embedding2 = Conv(n, n, 3, padded=True)
        self.inference = Conv(n, n, 3, padded=True)
        self.reconstruction1 = Conv(n, n, 3, padded=True)
        self.reconstruction2 = Conv(n, spec.channels, 3, padded=True, head=True)
        self.ensemble = Vector(spec.recursions)
        self.relu = activation("relu")

    def forward(self, x):
        return self.combine(self.unrolled(x))

    def reconstructions(self, x, recompute=False):
        """y_1 .. y_D as a list; `recompute` keeps no more than H_d of each recursion for the way back."""
        return list(self.unrolled(x, recompute))

    def combine(self, reconstructions):
        """The ensemble of y_1 .. y_D (eq. 8)."""
        return sum(self.ensemble.weight[d] * y for d, y in enumerate(reconstructions))

    def unrolled(self, x, recompute=False):
        """Yield y_1 .. y_D, so that those already used need not be kept."""
        h = self.relu(self.embedding2(self.relu(self.embedding1(x))))
        for _ in range(self.spec.recursions):
            h, y = recomputed(self.recursion, h, x) if recompute else self.recursion(h, x)
            yield y
            h = after(y, h)  # or every H_d might wait for its reconstruction

    def recursion(self, h, x):
        """(H_d, y_d) from H_(d-1) and the input."""
        h = self.relu(self.inference(h))
        return h, add(x, self.reconstruction2(self.relu(self.reconstruction1(h))))
