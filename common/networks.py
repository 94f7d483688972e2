"""The networks as data: one frozen dataclass each, whose defaults are those of its paper.

A dataclass fixes everything that the twin files in `tf_models/` and `torch_models/` build from, and from it follow the
shapes of the weights, the receptive field and the number of operations. Its own name is the name of the class in the
twin files; the row in `NETWORKS` is the name on the command line.
"""

import dataclasses
import json
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from common.recipes import Recipe

LARGEST_SIZE = 10_000  # of a kernel, in feature maps or layers: no network is larger, whatever a file says


@dataclass(frozen=True)
class Convolution:
    """One convolution: `kernel` x `kernel`, `inputs` to `outputs` feature maps.

    stride: input pixels between outputs; padded: zeros around keep the size (divided by the stride); bias: not where
    batch normalisation, which has its own, follows.
    start: how its kernel begins, "he" (He et al. 2015) or "identity", which passes every map on unchanged.
    times: how often it is applied to one picture. shuffle: factor of the periodic shuffling behind it.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padded: bool = False
    bias: bool = True
    start: str = "he"
    times: int = 1
    shuffle: int = 1

    @property
    def shapes(self):
        """Shapes of its weights by name; kernels are (outputs, inputs, rows, columns)."""
        kernel = {f"{self.name}.weight": (self.outputs, self.inputs, self.kernel, self.kernel)}
        return kernel | ({f"{self.name}.bias": (self.outputs,)} if self.bias else {})

    @property
    def constants(self):
        """What those weights are before training that are not random."""
        return {f"{self.name}.bias": 0.0}


@dataclass(frozen=True)
class Vector:
    """Weights that are no convolution's: `size` numbers at the attribute path `name`, all of which begin as `start`."""

    name: str
    size: int
    start: float

    @property
    def shapes(self):
        """Its shape by name."""
        return {self.name: (self.size,)}

    @property
    def constants(self):
        """What they are before training."""
        return {self.name: self.start}


@dataclass(frozen=True)
class Dense(Convolution):
    """Every one of `inputs` numbers to every one of `outputs`, with bias."""

    kernel: int = 1

    @property
    def shapes(self):
        return {f"{self.name}.weight": (self.outputs, self.inputs), f"{self.name}.bias": (self.outputs,)}


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation of `width` feature maps; the two last are the statistics that inference uses."""

    name: str
    width: int

    @property
    def shapes(self):
        return dict.fromkeys(self.constants, (self.width,))

    @property
    def constants(self):
        values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        return {f"{self.name}.{key}": value for key, value in values.items()}

    @property
    def statistics(self):
        """Names of those weights that are measured and not trained."""
        return list(self.constants)[2:]


@dataclass(frozen=True)
class PReLU:
    """A rectifier whose slope below zero is learnt for each of `width` feature maps (He et al. 2015)."""

    name: str
    width: int

    @property
    def shapes(self):
        return {f"{self.name}.weight": (self.width,)}

    @property
    def constants(self):
        return {f"{self.name}.weight": 0.25}


class Layered:
    """What follows from a list of layers."""

    module: ClassVar[str]  # the twin files' name

    @property
    def layers(self):
        """Its layers that have weights, in the order of the data flow; the last is a convolution."""
        raise NotImplementedError

    @property
    def title(self):
        """Its name as it is written."""
        return type(self).__name__

    @property
    def convolutions(self):
        """Those of its layers that are convolutions."""
        return [layer for layer in self.layers if isinstance(layer, Convolution)]

    @property
    def shapes(self):
        """Shape of every weight by the attribute path it has in both frameworks."""
        return {name: shape for layer in self.layers for name, shape in layer.shapes.items()}

    @property
    def statistics(self):
        """Names of those weights that training measures, and does not change by their gradient."""
        return {name for layer in self.layers if isinstance(layer, BatchNorm) for name in layer.statistics}

    @property
    def parameters(self):
        """How many numbers training changes."""
        return sum(prod(shape) for name, shape in self.shapes.items() if name not in self.statistics)


@dataclass(frozen=True)
class Network(Layered):
    """What all networks that enlarge have in common.

    scale: enlargement factor.
    colour: "luma", the network sees Y and the chroma is enlarged by bicubic interpolation, or "rgb".
    """

    scale: int = 3
    colour: str = "luma"

    paper: ClassVar[str]
    upscale_first: ClassVar[bool]  # its input is already enlarged by bicubic interpolation
    scales: ClassVar[tuple[int, ...]] = (2, 3, 4)
    frames: ClassVar[int] = 1  # that the network sees; the middle one is enlarged
    grid: ClassVar[int] = 1  # windows of a picture start at multiples of this, or results would depend on them
    estimates_motion: ClassVar[bool] = False
    optical_flow: ClassVar[str | None] = None  # of common/motion.py, by which neighbours are moved before they are seen
    recomputes: ClassVar[bool] = False  # can forget feature maps in training and compute them again
    adversarial: ClassVar[bool] = False  # trained against a discriminator
    # The frameworks in which it loses less than 0.01 dB if computed in bf16, see benchmarks/precision.py.
    keeps_bf16: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[Recipe]

    def __post_init__(self):
        for option in dataclasses.fields(self):
            value, kind = getattr(self, option.name), type(option.default)
            if isinstance(value, list) or (kind is float and type(value) is int):  # which JSON and command lines know
                value = tuple(value) if isinstance(value, list) else float(value)
                object.__setattr__(self, option.name, value)
            if type(value) is not kind:
                raise ValueError(f"{option.name} is {kind.__name__}, not {value!r}")
        if self.colour not in ("luma", "rgb"):
            raise ValueError(f"colour is 'luma' or 'rgb', not {self.colour!r}")
        if self.scale not in self.scales:
            *others, last = map(str, self.scales)
            scales = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"{type(self).__name__} enlarges by {scales}, not {self.scale}")

    @property
    def channels(self):
        return 1 if self.colour == "luma" else 3

    @property
    def inputs(self):
        """Channels of its input: those of every frame."""
        return self.channels * self.frames

    @property
    def factor(self):
        """Output pixels per input pixel along one axis."""
        return 1 if self.upscale_first else self.scale

    @property
    def margin(self):
        """Input pixels on each side for which the network gives no output, because its convolutions have no padding."""
        return sum(layer.kernel // 2 for layer in self.convolutions if not layer.padded)

    @property
    def halo(self):
        """Radius of the receptive field in pixels of the input: what an output needs around its own place."""
        return self.margin

    @property
    def beyond(self):
        """Pixels around a picture in which the network is to see its edge repeated.

        0 for one whose convolutions are all padded, as it was trained by what it draws beside the zeros of padding.
        """
        return self.halo if self.margin else 0

    @property
    def widest(self):
        """Numbers that its largest feature maps hold at one time for each pixel of the input."""
        return max(layer.inputs + layer.outputs for layer in self.convolutions)

    def recipe_for(self, part):
        """The recipe that trains only one part of the network and leaves the rest as it is.

        Raises ValueError if the network has no such part.
        """
        raise ValueError(f"{type(self).__name__} has no parts that could be trained apart, such as {part!r}.")

    def to_json(self):
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclass(frozen=True)
class SRCNN(Network):
    """Dong et al. 2014/2016: patch extraction, non-linear mapping, reconstruction, on the enlarged picture.

    kernels, widths: 9-5-5 with 64 and 32 maps is the TPAMI paper's best; 9-1-5 and 9-3-5 are its smaller ones.
    """

    kernels: tuple[int, int, int] = (9, 5, 5)
    widths: tuple[int, int] = (64, 32)

    module: ClassVar[str] = "srcnn"
    paper: ClassVar[str] = "Dong et al., Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016"
    upscale_first: ClassVar[bool] = True
    keeps_bf16: ClassVar[tuple[str, ...]] = ("torch",)
    recipe: ClassVar[Recipe] = Recipe(batch_size=128, image_size=33, label_size=21)

    def __post_init__(self):
        super().__post_init__()
        check_sizes("kernels", self.kernels, 3, odd=True)
        check_sizes("widths", self.widths, 2)

    @property
    def layers(self):
        (k1, k2, k3), (n1, n2) = self.kernels, self.widths
        return [
            Convolution("conv1", self.channels, n1, k1),
            Convolution("conv2", n1, n2, k2),
            Convolution("conv3", n2, self.channels, k3),
        ]


@dataclass(frozen=True)
class ESPCN(Network):
    """Shi et al. 2016: three convolutions on the small picture, then sub-pixel convolution.

    kernels, widths: 5-3-3 with 64 and 32 maps (section 3.2 of the paper).
    activation: "tanh" is the paper's final model, "relu" its ablation.
    """

    kernels: tuple[int, int, int] = (5, 3, 3)
    widths: tuple[int, int] = (64, 32)
    activation: str = "tanh"

    module: ClassVar[str] = "espcn"
    paper: ClassVar[str] = "Shi et al., Real-Time Single Image and Video Super-Resolution, CVPR 2016"
    upscale_first: ClassVar[bool] = False
    keeps_bf16: ClassVar[tuple[str, ...]] = ("torch",)
    recipe: ClassVar[Recipe] = Recipe()

    def __post_init__(self):
        super().__post_init__()
        check_sizes("kernels", self.kernels, 3, odd=True)
        check_sizes("widths", self.widths, 2)
        if self.activation not in ("tanh", "relu"):
            raise ValueError(f"activation is 'tanh' or 'relu', not {self.activation!r}")

    @property
    def layers(self):
        (k1, k2, k3), (n1, n2) = self.kernels, self.widths
        return [
            Convolution("conv1", self.channels, n1, k1),
            Convolution("conv2", n1, n2, k2),
            Convolution("conv3", n2, self.channels * self.scale**2, k3, shuffle=self.scale),
        ]


OPTICAL_FLOWS = ("dis", "farneback")  # of common/motion.py
LONGEST_REACH = 64  # of an estimator of motion
MOTIONS = ("learned", *OPTICAL_FLOWS, "none")  # ways in which VESPCN brings neighbours onto the middle frame


@dataclass(frozen=True)
class VESPCN(Network):
    """Caballero et al. 2017: ESPCN on several frames, neighbours moved onto the middle one by a flow network.

    frames: 1 (single frame, SF), 3 (E3), 5 or 7, odd.
    fusion: "early" gives all frames to the first layer; "slow" joins two neighbours in each of the first layers, with
        weights of their own for every place in time (S5); "shared" has one set of weights a layer, which is a 3D
        convolution (S5-SW).
    depth, width: convolutions of the resolution network, and feature maps of its hidden ones (9L and 24 in table 4).
    motion: "learned" is the paper's motion compensation, "none" leaves the neighbours as they are, "dis" and
        "farneback" move them by a classical optical flow before the network sees them.
    reach: pixels that the hyperbolic tangent of each flow estimator stands for. The paper says half the picture, which
        means another length on training patches than on whole frames; ours is fixed.
    """

    frames: int = 3
    fusion: str = "early"
    depth: int = 9
    width: int = 24
    motion: str = "learned"
    reach: float = 8.0

    module: ClassVar[str] = "vespcn"
    paper: ClassVar[str] = "Caballero et al., Real-Time Video Super-Resolution with Spatio-Temporal Networks, CVPR 2017"
    upscale_first: ClassVar[bool] = False
    grid: ClassVar[int] = 4  # the coarse flow is estimated on quarters
    keeps_bf16: ClassVar[tuple[str, ...]] = ("torch",)
    recipe: ClassVar[Recipe] = Recipe(batch_size=24, image_size=48, stride=24, learning_rate=2e-3)

    def __post_init__(self):
        super().__post_init__()
        if self.frames % 2 == 0 or not 1 <= self.frames <= 7:
            raise ValueError(f"VESPCN sees 1, 3, 5 or 7 frames, not {self.frames}")
        if self.fusion not in ("early", "slow", "shared"):
            raise ValueError(f"fusion is 'early', 'slow' or 'shared', not {self.fusion!r}")
        if self.motion not in MOTIONS:
            raise ValueError(f"motion is one of {', '.join(MOTIONS)}, not {self.motion!r}")
        if self.colour != "luma":
            raise ValueError("VESPCN works on luma")
        check_sizes("depth and width", (self.depth, self.width), 2)
        if not 0 < self.reach <= LONGEST_REACH:
            raise ValueError(f"reach is above 0 and at most {LONGEST_REACH} pixels, not {self.reach}")
        if self.depth <= (self.frames if self.fusion != "early" else 2):
            raise ValueError(
                f"VESPCN with {self.fusion} fusion of {self.frames} frames needs more than {self.depth} layers"
            )

    @property
    def estimates_motion(self):
        return self.motion == "learned" and self.frames > 1

    @property
    def optical_flow(self):
        return self.motion if self.motion in OPTICAL_FLOWS and self.frames > 1 else None

    @property
    def fusing(self):
        """How many of the first layers join neighbours in time."""
        return 0 if self.fusion == "early" else self.frames - 1

    @property
    def layers(self):
        n, rows = self.width, []
        if self.estimates_motion:
            coarse = [(2, n, 5, 2), (n, n, 3, 1), (n, n, 5, 2), (n, n, 3, 1), (n, 32, 3, 1)]
            fine = [(5, n, 5, 2), (n, n, 3, 1), (n, n, 3, 1), (n, n, 3, 1), (n, 8, 3, 1)]
            rows += flow_layers("coarse", coarse, 4, self.frames - 1) + flow_layers("fine", fine, 2, self.frames - 1)
        for level in range(self.fusing):
            inputs = 2 if level == 0 else 2 * n
            places = self.frames - 1 - level
            slots, times = (1, places) if self.fusion == "shared" else (places, 1)
            rows += [Convolution(f"fusion{level + 1}.{slot}", inputs, n, 3, times=times) for slot in range(slots)]
        first = 1 if self.fusing or self.frames == 1 else self.frames
        widths = [n if self.fusing else first] + [n] * (self.depth - self.fusing - 1) + [self.scale**2]
        rows += [Convolution(f"body.{i}", a, b, 3) for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))]
        return [*rows[:-1], replace(rows[-1], shuffle=self.scale)]

    def recipe_for(self, part):
        """For "motion" the flow estimators alone, by the weights of eq. 4 of the paper; "resolution", all but those."""
        layers = dict.fromkeys(layer.name.split(".")[0] for layer in self.layers)
        motion = [name for name in layers if name in ("coarse", "fine")]
        if not motion or part not in ("motion", "resolution"):
            return super().recipe_for(part)
        if part == "motion":
            left = {name: 0.0 for name in layers if name not in motion}
            return replace(self.recipe, layer_rates=left, picture_weight=0.0, motion_weight=1.0, smoothness_weight=0.01)
        left = dict.fromkeys(motion, 0.0)
        return replace(self.recipe, layer_rates=left, motion_weight=0.0, smoothness_weight=0.0)

    @property
    def margin(self):
        return self.depth

    @property
    def halo(self):
        if not self.estimates_motion:
            return self.margin
        # A flow vector sees 16 + 4 pixels (coarse, with its sub-pixel step) and 10 + 2 (fine) around it, the latter in
        # a frame already moved by up to `reach`; the neighbour is then read up to twice `reach` away.
        sees = max(12 + max(20, int(-(-self.reach // 1))), 2 * int(-(-self.reach // 1)) + 1)
        return -(-(self.margin + sees) // self.grid) * self.grid


def flow_layers(name, rows, shuffle, times):
    """The padded convolutions of a flow estimator: (inputs, outputs, kernel, stride) each, the last one's shuffling."""
    layers = [Convolution(f"{name}.conv{i + 1}", *row, padded=True, times=times) for i, row in enumerate(rows)]
    return [*layers[:-1], replace(layers[-1], shuffle=shuffle)]


@dataclass(frozen=True)
class DRCN(Network):
    """Kim et al. 2016: one convolution applied again and again to the enlarged picture, each result reconstructed.

    recursions, width: applications of the shared convolution, and feature maps of all hidden ones (section 5.2 of the
        paper).
    """

    recursions: int = 16
    width: int = 256

    module: ClassVar[str] = "drcn"
    paper: ClassVar[str] = "Kim et al., Deeply-Recursive Convolutional Network for Image Super-Resolution, CVPR 2016"
    upscale_first: ClassVar[bool] = True
    recomputes: ClassVar[bool] = True
    keeps_bf16: ClassVar[tuple[str, ...]] = ("torch", "tensorflow")
    recipe: ClassVar[Recipe] = Recipe(
        batch_size=16,
        image_size=41,
        stride=21,
        learning_rate=2e-3,
        # Adam moves each of the ensemble's weights by about the learning rate, and their sum is the picture's contrast.
        layer_rates={"ensemble": 0.1},
        weight_decay=1.2e-7,
        validation_size=96,
    )

    def __post_init__(self):
        super().__post_init__()
        check_sizes("recursions and width", (self.recursions, self.width), 2)

    @property
    def layers(self):
        n = self.width
        return [
            Convolution("embedding1", self.channels, n, 3, padded=True),
            Convolution("embedding2", n, n, 3, padded=True),
            Convolution("inference", n, n, 3, padded=True, start="identity", times=self.recursions),
            Convolution("reconstruction1", n, n, 3, padded=True, times=self.recursions),
            Convolution("reconstruction2", n, self.channels, 3, padded=True, times=self.recursions),
            Vector("ensemble.weight", self.recursions, 1 / self.recursions),
        ]

    @property
    def halo(self):
        return 2 + self.recursions + 2  # a pixel for each convolution on the longest way


@dataclass(frozen=True)
class SRResNet(Network):
    """Ledig et al. 2017: residual blocks on the small picture, then sub-pixel convolutions that double its size.

    blocks, width: 16 residual blocks of 64 feature maps (section 3.2 of the paper); kernels of 9 at both ends, of 3
    elsewhere. x4 doubles twice, x2 once.
    ending: "linear", as the paper's text has it, or "tanh", as some implementations do.
    """

    scale: int = 4
    colour: str = "rgb"
    blocks: int = 16
    width: int = 64
    ending: str = "linear"

    module: ClassVar[str] = "srgan"
    paper: ClassVar[str] = "Ledig et al., Photo-Realistic Single Image Super-Resolution Using a GAN, CVPR 2017"
    upscale_first: ClassVar[bool] = False
    scales: ClassVar[tuple[int, ...]] = (2, 4)
    keeps_bf16: ClassVar[tuple[str, ...]] = ("torch", "tensorflow")

    def __post_init__(self):
        super().__post_init__()
        check_sizes("blocks and width", (self.blocks, self.width), 2)
        if self.ending not in ("linear", "tanh"):
            raise ValueError(f"ending is 'linear' or 'tanh', not {self.ending!r}")

    @property
    def recipe(self):
        """The paper's batches of 16 pictures that are 96 x 96 when enlarged (section 3.2)."""
        return Recipe(batch_size=16, image_size=96 // self.scale, stride=56 // self.scale)

    @property
    def doublings(self):
        """How many times the size is doubled."""
        return self.scale.bit_length() - 1

    @property
    def layers(self):
        n = self.width
        rows = [Convolution("conv1", self.channels, n, 9, padded=True), PReLU("prelu1", n)]
        for block in (f"blocks.{i}" for i in range(self.blocks)):
            rows += [Convolution(f"{block}.conv1", n, n, 3, padded=True, bias=False), BatchNorm(f"{block}.norm1", n)]
            rows += [PReLU(f"{block}.prelu", n)]
            rows += [Convolution(f"{block}.conv2", n, n, 3, padded=True, bias=False), BatchNorm(f"{block}.norm2", n)]
        rows += [Convolution("conv2", n, n, 3, padded=True, bias=False), BatchNorm("norm2", n)]
        for step in (f"upsampling.{i}" for i in range(self.doublings)):
            rows += [Convolution(f"{step}.conv", n, 4 * n, 3, padded=True, shuffle=2), PReLU(f"{step}.prelu", n)]
        return [*rows, Convolution("conv3", n, self.channels, 9, padded=True)]

    @property
    def halo(self):
        last = 4  # of the last kernel, in pixels of the output
        for _ in range(self.doublings):
            last = -(-last // 2) + 1
        return 4 + 2 * self.blocks + 1 + last

    @property
    def widest(self):
        # The maps before the last shuffling, which are so many and at half the final size: in, out and rectified.
        return 4 ** (self.doublings - 1) * (1 + 4 + 4) * self.width


@dataclass(frozen=True)
class SRGAN(SRResNet):
    """Ledig et al. 2017: the same network as `SRResNet`, from whose weights it starts, against a discriminator."""

    adversarial: ClassVar[bool] = True

    @property
    def recipe(self):
        """Adam as in section 3.2 of the paper, and its weight of the adversarial loss (eq. 3)."""
        adam = {"optimizer": "adam", "betas": (0.9, 0.999), "learning_rate": 1e-4}
        return replace(super().recipe, **adam, adversarial_weight=1e-3)

    @property
    def beyond(self):
        return self.halo  # it may have been trained by the centre of sub-images alone, and draws colours beside zeros

    def discriminator(self, side):
        """The `Discriminator` of its enlarged pictures of `side` x `side` pixels, as wide as itself."""
        return Discriminator(self.channels, side, self.width)


@dataclass(frozen=True)
class Discriminator(Layered):
    """Ledig et al. 2017, figure 4: tells true pictures from enlarged ones.

    channels, side: colours of its pictures, and their height and width.
    width: feature maps of the first convolution, 64 in the paper, which end in 8 times, and a dense layer of 16 times,
    as many.
    """

    channels: int = 3
    side: int = 96
    width: int = 64

    module: ClassVar[str] = "srgan"

    def __post_init__(self):
        if self.side % 16 or self.side < 16:
            raise ValueError(f"the discriminator sees pictures of 16, 32, 48, ... pixels, not of {self.side}")

    @property
    def stages(self):
        """(inputs, outputs, stride) of the convolutions after the first."""
        n = self.width
        steps = [(n, n), (n, 2 * n), (2 * n, 2 * n), (2 * n, 4 * n), (4 * n, 4 * n), (4 * n, 8 * n), (8 * n, 8 * n)]
        return [(*widths, 1 if i % 2 else 2) for i, widths in enumerate(steps)]

    @property
    def flat(self):
        """Numbers that the last feature maps hold."""
        return 8 * self.width * (self.side // 16) ** 2

    @property
    def layers(self):
        rows = [Convolution("conv1", self.channels, self.width, 3, padded=True)]
        for i, (inputs, outputs, stride) in enumerate(self.stages):
            rows.append(Convolution(f"blocks.{i}.conv", inputs, outputs, 3, stride, padded=True, bias=False))
            rows.append(BatchNorm(f"blocks.{i}.norm", outputs))
        return [*rows, Dense("dense1", self.flat, 16 * self.width), Dense("dense2", 16 * self.width, 1)]


@dataclass(frozen=True)
class VGG19(Layered):
    """Simonyan and Zisserman 2015, up to the feature maps that are compared (Ledig et al. 2017, section 2.2.1).

    features: "vgg22", those of the second convolution before the second pooling, or "vgg54", of the fourth before the
        fifth, both after their rectifiers.
    width: feature maps of the first convolution, 64 in the paper.
    """

    features: str = "vgg54"
    width: int = 64

    module: ClassVar[str] = "vgg"

    @property
    def blocks(self):
        """(inputs, outputs, convolutions) of the blocks between poolings."""
        n = self.width
        blocks = [(3, n, 2), (n, 2 * n, 2), (2 * n, 4 * n, 4), (4 * n, 8 * n, 4), (8 * n, 8 * n, 4)]
        return blocks[: {"vgg22": 2, "vgg54": 5}[self.features]]

    @property
    def layers(self):
        return [
            Convolution(f"blocks.{i}.convs.{j}", outputs if j else inputs, outputs, 3, padded=True)
            for i, (inputs, outputs, count) in enumerate(self.blocks)
            for j in range(count)
        ]


NETWORKS = {
    "srcnn": SRCNN,
    "espcn": ESPCN,
    "vespcn": VESPCN,
    "drcn": DRCN,
    "srresnet": SRResNet,
    "srgan": SRGAN,
}


def check_sizes(name, sizes, count, odd=False):
    """Raise ValueError unless `sizes` are `count` whole numbers from 1 to LARGEST_SIZE, odd ones if asked for."""
    whole = len(sizes) == count and all(type(size) is int and 0 < size <= LARGEST_SIZE for size in sizes)
    if not whole or (odd and not all(size % 2 for size in sizes)):
        kind = "odd whole" if odd else "whole"
        raise ValueError(f"{name} are {count} {kind} numbers from 1 to {LARGEST_SIZE}, not {sizes!r}")


def described_network(name, text):
    """The network called `name` whose dataclass is the JSON `text`. Raises ValueError whatever is wrong with it."""
    try:
        options = json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(options, dict):
        raise ValueError(f"{options!r} is no JSON object")
    return network(name, **options)


def network(name, **options):
    """The network called `name` on the command line; `options` are fields of its dataclass.

    Raises ValueError for an unknown name or field, or a value the network does not allow.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; known are {', '.join(NETWORKS)}")
    known = [field.name for field in dataclasses.fields(NETWORKS[name])]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no {option}; it has {', '.join(known)}")
    return NETWORKS[name](**options)
