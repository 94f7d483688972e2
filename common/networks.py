"""The networks as data: one frozen dataclass each, whose defaults are those of its paper.

A dataclass fixes everything that the twin files in `tf_models/` and `torch_models/` build from, and from it follow the
shapes of the weights, the receptive field and the number of operations. Its own name is the name of the class in the
twin files; the row in `NETWORKS` is the name on the command line.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import ClassVar

from common.recipes import Recipe


@dataclass(frozen=True)
class Convolution:
    """One convolution with bias: `kernel` x `kernel`, `inputs` to `outputs` feature maps.

    stride: input pixels between outputs; padded: zeros around keep the size (divided by the stride).
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padded: bool = False

    @property
    def shapes(self):
        """Shapes of its weights by name; kernels are (outputs, inputs, rows, columns)."""
        return {
            f"{self.name}.weight": (self.outputs, self.inputs, self.kernel, self.kernel),
            f"{self.name}.bias": (self.outputs,),
        }


@dataclass(frozen=True)
class Network:
    """What all networks have in common.

    scale: enlargement factor.
    colour: "luma", the network sees Y and the chroma is enlarged by bicubic interpolation, or "rgb".
    """

    scale: int = 3
    colour: str = "luma"

    module: ClassVar[str]  # the twin files' name
    paper: ClassVar[str]
    upscale_first: ClassVar[bool]  # its input is already enlarged by bicubic interpolation
    scales: ClassVar[tuple[int, ...]] = (2, 3, 4)
    frames: ClassVar[int] = 1  # that the network sees; the middle one is enlarged
    grid: ClassVar[int] = 1  # windows of a picture start at multiples of this, or results would depend on them
    recipe: ClassVar[Recipe]

    def __post_init__(self):
        for fields in dataclasses.fields(self):  # JSON knows lists only
            if isinstance(getattr(self, fields.name), list):
                object.__setattr__(self, fields.name, tuple(getattr(self, fields.name)))
        if self.colour not in ("luma", "rgb"):
            raise ValueError(f"colour is 'luma' or 'rgb', not {self.colour!r}")
        if self.scale not in self.scales:
            raise ValueError(f"{type(self).__name__} enlarges by {', '.join(map(str, self.scales))}, not {self.scale}")

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
    def layers(self):
        """Its convolutions in the order of the data flow."""
        raise NotImplementedError

    @property
    def shapes(self):
        """Shape of every weight by the attribute path it has in both frameworks."""
        return {name: shape for layer in self.layers for name, shape in layer.shapes.items()}

    @property
    def margin(self):
        """Input pixels on each side for which the network gives no output, because its convolutions have no padding."""
        return sum(layer.kernel // 2 for layer in self.layers if not layer.padded)

    @property
    def halo(self):
        """Radius of the receptive field in pixels of the input: what an output needs around its own place."""
        return self.margin

    @property
    def parameters(self):
        total = 0
        for shape in self.shapes.values():
            count = 1
            for side in shape:
                count *= side
            total += count
        return total

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
            Convolution("conv3", n2, self.channels * self.scale**2, k3),
        ]


@dataclass(frozen=True)
class VESPCN(Network):
    """Caballero et al. 2017: ESPCN on several frames, neighbours moved onto the middle one by a flow network.

    frames: 1 (single frame, SF), 3 (E3), 5 or 7, odd.
    fusion: "early" gives all frames to the first layer; "slow" joins two neighbours in each of the first layers, with
        weights of their own for every place in time (S5); "shared" has one set of weights a layer, which is a 3D
        convolution (S5-SW).
    depth, width: convolutions of the resolution network, and feature maps of its hidden ones (9L and 24 in table 4).
    motion: "learned" is the paper's motion compensation, "none" leaves the neighbours as they are.
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
    recipe: ClassVar[Recipe] = Recipe(batch_size=24, image_size=48, stride=24, learning_rate=2e-3)

    def __post_init__(self):
        super().__post_init__()
        if self.frames % 2 == 0 or not 1 <= self.frames <= 7:
            raise ValueError(f"VESPCN sees 1, 3, 5 or 7 frames, not {self.frames}")
        if self.fusion not in ("early", "slow", "shared"):
            raise ValueError(f"fusion is 'early', 'slow' or 'shared', not {self.fusion!r}")
        if self.motion not in ("learned", "none"):
            raise ValueError(f"motion is 'learned' or 'none', not {self.motion!r}")
        if self.colour != "luma":
            raise ValueError("VESPCN works on luma")
        if self.depth <= (self.frames if self.fusion != "early" else 2):
            raise ValueError(
                f"VESPCN with {self.fusion} fusion of {self.frames} frames needs more than {self.depth} layers"
            )

    @property
    def estimates_motion(self):
        return self.motion == "learned" and self.frames > 1

    @property
    def fusing(self):
        """How many of the first layers join neighbours in time."""
        return 0 if self.fusion == "early" else self.frames - 1

    @property
    def layers(self):
        n, rows = self.width, []
        if self.estimates_motion:
            rows += flow_layers("coarse", [(2, n, 5, 2), (n, n, 3, 1), (n, n, 5, 2), (n, n, 3, 1), (n, 32, 3, 1)])
            rows += flow_layers("fine", [(5, n, 5, 2), (n, n, 3, 1), (n, n, 3, 1), (n, n, 3, 1), (n, 8, 3, 1)])
        for level in range(self.fusing):
            inputs = 2 if level == 0 else 2 * n
            slots = 1 if self.fusion == "shared" else self.frames - 1 - level
            rows += [Convolution(f"fusion{level + 1}.{slot}", inputs, n, 3) for slot in range(slots)]
        first = 1 if self.fusing or self.frames == 1 else self.frames
        widths = [n if self.fusing else first] + [n] * (self.depth - self.fusing - 1) + [self.scale**2]
        rows += [Convolution(f"body.{i}", a, b, 3) for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))]
        return rows

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


def flow_layers(name, rows):
    """The five padded convolutions of a flow estimator: (inputs, outputs, kernel, stride) each."""
    return [Convolution(f"{name}.conv{i + 1}", *row, padded=True) for i, row in enumerate(rows)]


NETWORKS = {
    "srcnn": SRCNN,
    "espcn": ESPCN,
    "vespcn": VESPCN,
}


def check_sizes(name, sizes, count, odd=False):
    """Raise ValueError unless `sizes` are `count` whole numbers above zero, odd ones if asked for."""
    whole = (
        isinstance(sizes, tuple) and len(sizes) == count and all(isinstance(size, int) and size > 0 for size in sizes)
    )
    if not whole or (odd and not all(size % 2 for size in sizes)):
        raise ValueError(f"{name} are {count} {'odd ' if odd else ''}whole numbers above zero, not {sizes!r}")


def network(name, **options):
    """The network called `name` on the command line; `options` are fields of its dataclass.

    Raises ValueError for an unknown name or field, or a value the network does not allow.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; known are {', '.join(NETWORKS)}")
    try:
        return NETWORKS[name](**options)
    except TypeError as error:
        raise ValueError(f"{name} has no such option: {error}") from None
