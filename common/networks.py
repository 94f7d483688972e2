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
    """One convolution with bias: `kernel` x `kernel`, `inputs` to `outputs` feature maps, without padding."""

    name: str
    inputs: int
    outputs: int
    kernel: int

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
    frames: ClassVar[int] = 1
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
    def halo(self):
        """Radius of the receptive field in pixels of the input: what an output needs around its own place."""
        return sum(layer.kernel // 2 for layer in self.layers)

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

    @property
    def layers(self):
        (k1, k2, k3), (n1, n2) = self.kernels, self.widths
        return [
            Convolution("conv1", self.channels, n1, k1),
            Convolution("conv2", n1, n2, k2),
            Convolution("conv3", n2, self.channels * self.scale**2, k3),
        ]


NETWORKS = {
    "srcnn": SRCNN,
    "espcn": ESPCN,
}


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
