"""Writes weights/README.md, the cards of the shipped weights, from their headers and from the benchmark's figures.

Beside it SHA256SUMS is written, by which the program knows that a shipped file is whole.

python -m common.benchmark --report docs/benchmark.json && python docs/cards.py docs/benchmark.json
"""

import json
from pathlib import Path
from sys import argv, path

ROOT = Path(__file__).resolve().parent.parent
path.insert(0, str(ROOT))

from common.networks import NETWORKS
from common.recipes import LOSSES
from common.tables import ours, rows
from common.weights import FOLDER, SUMS, load_weights, sha256, shipped, shipped_scales

HEAD = """# Weights

One file for each network and scale, loaded by both frameworks and, as they are plain state dictionaries in safetensors,
by anybody else. All were trained by this project from random weights: on T91 and the 200 training images of BSDS300,
the video networks on 90 clips of 9 frames as well, ESPCN x3 and x4 on the four pages of letters that
`python -m common.pages pages` draws; ten pictures or four clips were held back to choose the best weights of a run.

T91 (Yang et al. 2010) and BSD200 are those of jiny2001/dcscn-super-resolution, as are Set5 and Set14, and Vid4 is that
of yhjo09/VSR-DUF. The clips were cut out of freely published sample videos and halved by averaging; they are not
shipped, so VESPCN's runs can be repeated on other clips only.

No test picture was trained on and none chose a checkpoint. But four decisions were taken after a look at test sets:
that T91 is counted six times beside BSDS300 for SRCNN and ESPCN, after a trial of mixtures on Set5; that DRCN x2 was
trained on after its first 40 minutes, when Set5 had shown 36.71 dB; that pages of letters were added, when the one
picture of Set14 with large letters had lost 1.7 dB by a longer run of ESPCN x4 on photographs alone; and that of
several last runs of ESPCN x3 the shortest was taken, as the weights of others lose 0.011 to 0.021 dB on Set5 in bf16.

Figures are PSNR in dB on luma and SSIM by the protocol of the papers. This page is written by `python docs/cards.py`
from the headers of the files and from what `python -m common.benchmark --report docs/benchmark.json` measured.
"""

CARD = """
## {title}

{paper}.

| | |
|---|---|
| network | `{network}`, {parameters:,} parameters |
| data | {training_data}; {sub_images} sub-images |
| minimised | {minimised} |
| recipe | `{recipe}` |
| command | `{command}` |
{start}| run | {steps} steps in {precision} by {framework}, seed {seed} |
{note}| held back | {validation_psnr} dB, bicubic {validation_bicubic_psnr} dB{motion} |
| measured | {measured} |
| SHA-256 | `{digest}` |
"""

ADDED = {  # what a recipe weighs beside the error of the picture
    "adversarial_weight": "the adversarial loss",
    "feature_weight": "the difference of the discriminator's feature maps",
    "mesh_weight": "the mesh",
    "weight_decay": "the sum of squared kernels",
}
OF_MOTION = {"motion_weight": "that of the compensated neighbours", "smoothness_weight": "the roughness of the flow"}


def minimised(recipe, spec):
    """What the training minimised, in words."""
    features = recipe.get("content_loss", "mse")
    error = f"{LOSSES[recipe['loss']]} of the pixels" if features == "mse" else f"that of features ({features})"
    added = ADDED | (OF_MOTION if spec.estimates_motion else {})
    return " + ".join([error, *(f"{recipe[key]:g} × {words}" for key, words in added.items() if recipe.get(key))])


def card(name, scale, figures):
    """The card of one file; `figures` are the rows of the benchmark's table."""
    weights = load_weights(shipped(name, scale))
    measured = "; ".join(
        f"{row['set']} {ours(row)['psnr']:.2f} / {ours(row)['ssim']:.4f} "
        f"(bicubic {row['bicubic']['psnr']:.2f} / {row['bicubic']['ssim']:.4f})"
        for row in figures
        if (row["model"], row["scale"]) == (name, scale)
    )
    info = weights.info
    motion = (
        "; a neighbour to the middle frame {validation_neighbour_psnr} dB, moved onto it "
        "{validation_compensated_psnr} dB".format(**info)
        if "validation_compensated_psnr" in info
        else ""
    )
    return CARD.format(
        title=f"{name}_x{scale}",
        paper=weights.network.paper,
        network=weights.network.to_json(),
        parameters=weights.network.parameters,
        measured=measured,
        digest=sha256(shipped(name, scale)),
        motion=motion,
        minimised=minimised(json.loads(info["recipe"]), weights.network),
        **{
            **info,
            "start": f"| start | `{info['start']}` |\n" if "start" in info else "",
            "note": f"| note | {info['note']} |\n" if "note" in info else "",
        },
    )


def main():
    figures = rows(json.loads(Path(argv[1]).read_text(encoding="utf-8")))
    cards = [card(name, scale, figures) for name in NETWORKS for scale in shipped_scales(name)]
    (FOLDER / "README.md").write_text(HEAD + "".join(cards), encoding="utf-8")
    sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(FOLDER.glob("*.safetensors"))]
    (FOLDER / SUMS).write_text("".join(sums), encoding="utf-8")


if __name__ == "__main__":
    main()
