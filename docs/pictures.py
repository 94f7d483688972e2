"""Draws the pictures of the README and of docs/ from the embedded photographs with the shipped weights:

python docs/pictures.py [side_by_side | sharpness | film ...]
"""

from pathlib import Path
from sys import argv, path

ROOT = Path(__file__).resolve().parent.parent
path.insert(0, str(ROOT))

import tempfile
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.evaluation import evaluate
from common.networks import network
from common.resize import resize
from common.samples import photograph
from common.upscaler import Upscaler
from common.weights import weights_for

CROPS = [("astronaut", (125, 330, 130, 130)), ("chelsea", (60, 120, 130, 130))]  # left, top, width, height
TEXTURES = [("chelsea", (130, 60, 130, 130)), ("astronaut", (100, 20, 130, 130)), ("coffee", (200, 60, 130, 130))]
ZOOM = 2
CAPTION = 34
GAP = 6
FILM_RATE = 12  # of the 24 frames a second, so that it stays small


def panel(pixels, crop, caption):
    """A crop of (H, W, 3) pixels, magnified without smoothing, its caption below."""
    left, top, width, height = crop
    part = Image.fromarray(np.ascontiguousarray(pixels[top : top + height, left : left + width]))
    part = part.resize((width * ZOOM, height * ZOOM), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (part.width, part.height + CAPTION), "white")
    canvas.paste(part)
    ImageDraw.Draw(canvas).multiline_text((2, part.height + 2), caption, "black", ImageFont.load_default(12), spacing=2)
    return canvas


def row(name, crop, models, scale, low=False):
    """Bicubic, each network and the truth, side by side; first the low resolution, if asked for."""
    pixels = photograph(name).pixels
    results = {model: evaluate(Upscaler(weights_for(model, scale), precision="fp32"), name, pixels) for model in models}
    first = results[models[0]]
    panels = [
        panel(first.bicubic_pixels, crop, f"bicubic\n{first.bicubic_psnr:.2f} dB"),
        *[panel(one.pixels, crop, f"{network(model).title}\n{one.psnr:.2f} dB") for model, one in results.items()],
        panel(pixels, crop, "the photograph\nitself"),
    ]
    if low:
        small = np.kron(first.low_pixels, np.ones((scale, scale, 1), np.uint8))
        panels.insert(0, panel(small, crop, f"low resolution\n1/{scale} of each side"))
    return beside(panels)


def beside(panels):
    canvas = Image.new("RGB", (sum(p.width + GAP for p in panels) - GAP, panels[0].height), "white")
    for number, one in enumerate(panels):
        canvas.paste(one, (number * (one.width + GAP), 0))
    return canvas


def below(rows):
    canvas = Image.new("RGB", (rows[0].width, sum(one.height for one in rows)), "white")
    for number, one in enumerate(rows):
        canvas.paste(one, (0, number * one.height))
    return canvas


def side_by_side():
    """docs/side_by_side.png: the low resolution, bicubic, two networks and the truth, x3."""
    rows = [row(name, crop, ("srcnn", "espcn"), 3, low=True) for name, crop in CROPS]
    save(below(rows), "side_by_side.png", optimize=True)


def sharpness():
    """docs/sharpness.png: the least error against the adversarial loss, SRResNet beside SRGAN, x4."""
    save(below([row(name, crop, ("srresnet", "srgan"), 4) for name, crop in TEXTURES]), "sharpness.png", optimize=True)


def film():
    """docs/film.webp: the embedded film, its left half by bicubic interpolation and its right half by VESPCN, x3."""
    from common.sample_film import true_frames, write_small_film
    from common.video import open_video
    from common.video_frames import rgb_of_frame
    from common.windows import windows

    upscaler = Upscaler(weights_for("vespcn", 3))
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "film.mp4"
        write_small_film(small, upscaler.scale)
        with open_video(small) as reader:
            frames, colours = list(reader), (reader.info.matrix, reader.info.full_range)
    assert len(frames) == len(list(true_frames()))
    shown = []
    for window in list(windows(iter(frames), upscaler.spec.frames // 2))[:: 24 // FILM_RATE]:
        larger = upscaler.frame(window)
        luma = np.clip(np.round(resize(window[1].luma.astype(np.float32), upscaler.scale)), 0, 255).astype(np.uint8)
        halves = [rgb_of_frame(one, *colours, "left") for one in (replace(larger, luma=luma), larger)]
        pixels, middle = (np.round(255 * np.concatenate(halves, axis=1)).astype(np.uint8), halves[0].shape[1])
        pixels = np.concatenate([pixels[:, : middle // 2], pixels[:, middle + middle // 2 :]], axis=1)
        pixels[:, middle // 2 - 1 : middle // 2 + 1] = 255
        shown.append(captioned(pixels, ("bicubic", "VESPCN")))
    rest = {"append_images": shown[1:], "save_all": True, "duration": 1000 // FILM_RATE, "loop": 0}
    save(shown[0], "film.webp", quality=60, method=6, **rest)


def captioned(pixels, captions):
    """A frame with the names of its halves below."""
    canvas = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + 18), "white")
    canvas.paste(Image.fromarray(pixels))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for number, caption in enumerate(captions):
        draw.text((2 + number * pixels.shape[1] // 2, pixels.shape[0] + 2), caption, "black", font)
    return canvas


def save(picture, name, **options):
    picture.save(ROOT / "docs" / name, **options)
    print(ROOT / "docs" / name)


def main():
    drawings = {"side_by_side": side_by_side, "sharpness": sharpness, "film": film}
    for name in argv[1:] or drawings:
        drawings[name]()


if __name__ == "__main__":
    main()
