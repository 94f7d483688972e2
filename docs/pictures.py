"""Draws the pictures of the README from the embedded photographs with the shipped weights: python docs/pictures.py"""

from pathlib import Path
from sys import path

ROOT = Path(__file__).resolve().parent.parent
path.insert(0, str(ROOT))

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.evaluation import evaluate
from common.samples import photograph
from common.upscaler import Upscaler
from common.weights import weights_for

SCALE = 3
CROPS = [("astronaut", (125, 330, 130, 130)), ("chelsea", (60, 120, 130, 130))]  # left, top, width, height
ZOOM = 2
CAPTION = 34
GAP = 6


def panel(pixels, crop, caption):
    """A crop of (H, W, 3) pixels, magnified without smoothing, its caption below."""
    left, top, width, height = crop
    part = Image.fromarray(np.ascontiguousarray(pixels[top : top + height, left : left + width]))
    part = part.resize((width * ZOOM, height * ZOOM), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (part.width, part.height + CAPTION), "white")
    canvas.paste(part)
    ImageDraw.Draw(canvas).multiline_text((2, part.height + 2), caption, "black", ImageFont.load_default(12), spacing=2)
    return canvas


def row(name, crop):
    """Low resolution, bicubic, each network and the truth, side by side."""
    pixels = photograph(name).pixels
    results = {model: evaluate(Upscaler(weights_for(model, SCALE)), name, pixels) for model in ("srcnn", "espcn")}
    first = results["srcnn"]
    low = np.kron(first.low_pixels, np.ones((SCALE, SCALE, 1), np.uint8))
    panels = [
        panel(low, crop, f"low resolution\n1/{SCALE} of each side"),
        panel(first.bicubic_pixels, crop, f"bicubic\n{first.bicubic_psnr:.2f} dB"),
        *[panel(result.pixels, crop, f"{model.upper()}\n{result.psnr:.2f} dB") for model, result in results.items()],
        panel(pixels, crop, "the photograph\nitself"),
    ]
    return beside(panels)


def beside(panels):
    canvas = Image.new("RGB", (sum(p.width + GAP for p in panels) - GAP, panels[0].height), "white")
    for number, one in enumerate(panels):
        canvas.paste(one, (number * (one.width + GAP), 0))
    return canvas


def main():
    rows = [row(name, crop) for name, crop in CROPS]
    canvas = Image.new("RGB", (rows[0].width, sum(one.height for one in rows)), "white")
    for number, one in enumerate(rows):
        canvas.paste(one, (0, number * one.height))
    target = ROOT / "docs" / "side_by_side.png"
    canvas.save(target, optimize=True)
    print(target)


if __name__ == "__main__":
    main()
