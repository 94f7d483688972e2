"""VGG19: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
table 1, column E. Pictures whose feature maps are alike look alike, which is what SRGAN's content loss compares.

    blocks                two or four 3 x 3 convolutions, ReLU; between blocks, the largest of 2 x 2 pixels

The pictures are in [0, 1] and of three colours; the weights are those that Keras offers.
"""

from torch import nn

from torch_models.layers import Conv, activation, as_vgg_sees, largest_of_four, stack


class Block(nn.Module):
    def __init__(self, inputs, outputs, count):
        super().__init__()
        self.convs = stack(Conv(outputs if i else inputs, outputs, 3, padded=True) for i in range(count))
        self.relu = activation("relu")

    def forward(self, x):
        for conv in self.convs:
            x = self.relu(conv(x))
        return x


class VGG19(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.blocks = stack(Block(*block) for block in spec.blocks)

    def forward(self, x):
        x = self.blocks[0](as_vgg_sees(x))
        for block in self.blocks[1:]:
            x = block(largest_of_four(x))
        return x
