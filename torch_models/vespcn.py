"""VESPCN: Caballero et al., "Real-Time Video Super-Resolution with Spatio-Temporal Networks and Motion Compensation",
CVPR 2017, figures 1 and 4, table 1.

The input is a window of luma frames, the middle one of which is enlarged.

    motion compensation   a coarse flow at a quarter of the size, a fine one at half, added; each neighbour is sampled
                          where the flow points, so that it lies on the middle frame
    fusion                all frames at once in the first convolution (early), or two at a time (slow)
    sub-pixel network     3 x 3 convolutions of n maps, ReLU; the last makes r^2 maps, then periodic shuffling

The sub-pixel network has no padding, the flow estimators have: an output needs `spec.halo` pixels around its place.
"""

from torch import nn

from torch_models.layers import Conv, activation, concat, frame, pixel_shuffle, stack, warp


class Flow(nn.Module):
    """Estimator of motion, table 1: five convolutions, two of which (coarse) or one of which (fine) halve the size."""

    def __init__(self, inputs, width, shrink, reach):
        super().__init__()
        self.shrink = shrink
        self.reach = reach
        self.conv1 = Conv(inputs, width, 5, stride=2, padded=True)
        self.conv2 = Conv(width, width, 3, padded=True)
        self.conv3 = Conv(width, width, 5 if shrink == 4 else 3, stride=shrink // 2, padded=True)
        self.conv4 = Conv(width, width, 3, padded=True)
        self.conv5 = Conv(width, 2 * shrink**2, 3, padded=True, head=True)
        self.relu = activation("relu")
        self.tanh = activation("tanh")

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = self.relu(conv(x))
        return self.reach * pixel_shuffle(self.tanh(self.conv5(x)), self.shrink)


class VESPCN(nn.Module):
    def __init__(self, spec):
        super().__init__()
        n = spec.width
        self.spec = spec
        if spec.estimates_motion:
            self.coarse = Flow(2, n, 4, spec.reach)
            self.fine = Flow(5, n, 2, spec.reach)
        for level in range(spec.fusing):
            slots = 1 if spec.fusion == "shared" else spec.frames - 1 - level
            convs = stack(Conv(2 if level == 0 else 2 * n, n, 3) for _ in range(slots))
            setattr(self, f"fusion{level + 1}", convs)
        first = n if spec.fusing else spec.frames
        last = spec.depth - spec.fusing - 1
        self.body = stack(
            Conv(first if i == 0 else n, spec.scale**2 if i == last else n, 3, head=i == last) for i in range(last + 1)
        )
        self.relu = activation("relu")

    def forward(self, x):
        frames, _ = self.compensate(x)
        return self.enlarge(frames)

    def compensate(self, x):
        """(frames moved onto the middle one, flows): lists over the frames of the window; the middle has no flow."""
        frames = [frame(x, t) for t in range(self.spec.frames)]
        flows = [None] * self.spec.frames
        middle = frames[self.spec.frames // 2]
        for t in range(self.spec.frames):
            if self.spec.estimates_motion and t != self.spec.frames // 2:
                flows[t] = self.flow(middle, frames[t])
                frames[t] = warp(frames[t], flows[t])
        return frames, flows

    def flow(self, target, neighbour):
        """Where each pixel of `target` lies in `neighbour`: (dx, dy) in pixels."""
        coarse = self.coarse(concat([target, neighbour]))
        fine = self.fine(concat([target, neighbour, coarse, warp(neighbour, coarse)]))
        return coarse + fine

    def enlarge(self, frames):
        """The sub-pixel network on frames that show the same."""
        for level in range(self.spec.fusing):
            convs = getattr(self, f"fusion{level + 1}")
            pairs = zip(frames[:-1], frames[1:], strict=True)
            frames = [self.relu(convs[t % len(convs)](concat(pair))) for t, pair in enumerate(pairs)]
        x = concat(frames)
        for conv in self.body[:-1]:
            x = self.relu(conv(x))
        return pixel_shuffle(self.body[-1](x), self.spec.scale)
