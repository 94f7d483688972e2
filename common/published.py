"""The figures that the papers print for their networks, with what each was trained on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """PSNR in dB on luma. ssim: only where it is Wang's index. bicubic: PSNR in dB that the same paper prints for it.

    trained_on: the training set, or who measured the network where its training set is not said.
    """

    psnr: float
    trained_on: str
    ssim: float | None = None
    bicubic: float | None = None

    @property
    def gain(self):
        """dB over the paper's own bicubic, or None where that is unknown."""
        return None if self.bicubic is None else self.psnr - self.bicubic


# (network, set, trained on, {scale: (psnr, ssim, bicubic)}).
#
# SRCNN: 9-5-5 on ImageNet in TPAMI 2016, 9-1-5 on T91 in ECCV 2014. ESPCN (tables 1 and 2) and DRCN: CVPR 2016.
# SRResNet and SRGAN: CVPR 2017, with a border of 4 pixels. All of Vid4: VESPCN's paper, CVPR 2017. The SSIM of the last
# two papers is left out, because that of their bicubic is not Wang's. Nor is VESPCN's PSNR of bicubic ours, for it does
# not say which frames and border it counts, so on Vid4 the gains are what can be compared.
PUBLISHED = [
    ("srcnn", "Set5", "ImageNet", {2: (36.66, 0.9542, None), 3: (32.75, 0.9090, None), 4: (30.49, 0.8628, None)}),
    ("srcnn", "Set14", "ImageNet", {2: (32.45, 0.9067, None), 3: (29.30, 0.8215, None), 4: (27.50, 0.7513, None)}),
    ("srcnn", "Set5", "T91, 9-1-5", {2: (36.34, None, None), 3: (32.39, None, None), 4: (30.09, None, None)}),
    ("srcnn", "Set14", "T91, 9-1-5", {2: (32.18, None, None), 3: (29.00, None, None), 4: (27.20, None, None)}),
    ("srcnn", "Vid4", "in VESPCN's paper", {3: (26.56, None, 25.38), 4: (24.68, None, 23.82)}),
    ("espcn", "Set5", "ImageNet", {3: (33.13, None, 30.39), 4: (30.90, None, 28.42)}),
    ("espcn", "Set14", "ImageNet", {3: (29.49, None, 27.54), 4: (27.73, None, 26.00)}),
    ("espcn", "Set5", "T91", {3: (32.55, None, None)}),
    ("espcn", "Set14", "T91", {3: (29.08, None, None)}),
    ("espcn", "Vid4", "in VESPCN's paper", {3: (26.97, None, 25.38), 4: (25.06, None, 23.82)}),
    ("vespcn", "Vid4", "CDVL", {3: (27.25, None, 25.38), 4: (25.35, None, 23.82)}),
    ("drcn", "Set5", "T91", {2: (37.63, 0.9588, None), 3: (33.82, 0.9226, None), 4: (31.53, 0.8854, None)}),
    ("drcn", "Set14", "T91", {2: (33.04, 0.9118, None), 3: (29.76, 0.8311, None), 4: (28.02, 0.7670, None)}),
    ("srresnet", "Set5", "ImageNet", {4: (32.05, None, 28.43)}),
    ("srresnet", "Set14", "ImageNet", {4: (28.49, None, 25.99)}),
    ("srgan", "Set5", "ImageNet", {4: (29.40, None, 28.43)}),
    ("srgan", "Set14", "ImageNet", {4: (26.02, None, 25.99)}),
]


def published(model, known, scale):
    """The list of `Published` figures of a network on the test set called `known`, best first; empty if there is none.

    known: the name of a set whose pictures are the ones that the papers used, see common/manifest.py, or None.
    """
    rows = [
        Published(psnr, data, ssim, bicubic)
        for name, test_set, data, figures in PUBLISHED
        for one, (psnr, ssim, bicubic) in figures.items()
        if (name, test_set, one) == (model, known, scale)
    ]
    return sorted(rows, key=lambda row: -row.psnr)
