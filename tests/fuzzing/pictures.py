"""Damaged and absurd pictures for `common.images`."""

import io
import struct
import zlib
from unittest.mock import patch

import numpy as np
import tifffile
from PIL import Image

from common import images
from common.images import Picture, PictureError, read_picture, write_picture
from fuzzing.mutations import PNG_SIGNATURE, mutated

PIXELS = 4_000_000  # the largest picture while this runs, in place of MAX_PIXELS, so that memory has a small bound
DOCUMENTED = (PictureError,)
SUFFIXES = (".png", ".tif", ".jpg", ".webp", ".bmp")


def seeds():
    """{name: content} of valid pictures."""
    waves = (np.add.outer(np.arange(20), np.arange(24))[..., None] * (5, 7, 3) % 256).astype(np.uint8)
    deep = waves.astype(np.uint16) * 257
    alpha = waves[..., 0]
    exif = Image.Exif()
    exif[274], exif[271] = 6, "camera"
    found = {
        "png": _pillow(waves, "PNG", dpi=(72, 72), exif=exif, icc_profile=b"\0" * 16 + b"RGB " + bytes(200)),
        "palette.png": _pillow(Image.fromarray(waves).quantize(16), "PNG", transparency=3),
        "bilevel.png": _pillow(Image.fromarray(alpha > 90), "PNG"),
        "deep.png": _ours(Picture(deep, deep[..., 0]), ".png"),
        "jpg": _pillow(waves, "JPEG", exif=exif),
        "progressive.jpg": _pillow(waves, "JPEG", progressive=True),
        "cmyk.jpg": _pillow(Image.fromarray(waves).convert("CMYK"), "JPEG"),
        "webp": _pillow(np.dstack([waves, alpha]), "WEBP", lossless=True, exif=exif),
        "lossy.webp": _pillow(waves, "WEBP"),
        "bmp": _pillow(waves, "BMP"),
        "gif": _animation(waves, "GIF"),
        "animated.webp": _animation(waves, "WEBP"),
        "tif": _ours(Picture(waves, alpha, exif=bytes(exif.tobytes()[6:])), ".tif"),
        "deep.tif": _ours(Picture(deep), ".tif"),
        "lzw.tif": _pillow(waves, "TIFF", compression="tiff_lzw"),
        "group4.tif": _pillow(Image.fromarray(alpha > 90), "TIFF", compression="group4"),
    }
    for name, options in {
        "big.tif": {"bigtiff": True},
        "tiles.tif": {"tile": (16, 16), "compression": "zlib"},
        "planes.tif": {"planarconfig": "separate"},
    }.items():
        file = io.BytesIO()
        pixels = np.moveaxis(deep, -1, 0) if name == "planes.tif" else deep
        tifffile.imwrite(file, pixels, photometric="rgb", **options)
        found[name] = file.getvalue()
    return found


def _pillow(pixels, form, **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, form, **options)
    return file.getvalue()


def _animation(waves, form):
    frames = [Image.fromarray(np.roll(waves, shift, 1)) for shift in range(3)]
    return _pillow(frames[0], form, save_all=True, append_images=frames[1:])


def _ours(picture, suffix):
    file = io.BytesIO()
    images._FORMATS[suffix].encode(picture, file, 95)
    return file.getvalue()


def make(random, valid):
    """(content, suffix) of one input; `valid` is what `seeds` returned."""
    if random.random() < 0.1:
        return absurd_png(random), ".png"
    name = random.choice(list(valid))
    return mutated(valid[name], random, list(valid.values())), "." + name.rpartition(".")[2]


def absurd_png(random):
    """A PNG whose checksums hold and whose header, sizes and chunks are whatever they like."""
    sizes = (0, 1, 2, 3, 8, 255, 1000, 2000, 30_000, 2**31 - 1, 2**32 - 1)
    header = struct.pack(">II", random.choice(sizes), random.choice(sizes))
    header += bytes([random.choice((1, 2, 4, 8, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 5))])
    header += bytes([0, 0, random.choice((0, 0, 1))])
    chunks = [(b"IHDR", header[: random.choice((13, 13, 13, 5))])]
    for name in random.sample((b"PLTE", b"tRNS", b"pHYs", b"iCCP", b"eXIf", b"acTL", b"cICP", b"zTXt"), 3):
        chunks.append((name, random.randbytes(random.choice((0, 1, 3, 6, 9, 768)))))
    size = random.choice((0, 10, 5000, 4_000_000))
    chunks += [(b"IDAT", zlib.compress(bytes(size))), (b"IEND", b"")]
    if random.random() < 0.2:
        random.shuffle(chunks)
    parts = (struct.pack(">I4s", len(c), n) + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return PNG_SIGNATURE + b"".join(parts)


def attempt(path, folder, random):
    """Read the picture and write it anew, as every kind of file."""
    with patch.object(images, "MAX_PIXELS", PIXELS):
        picture = read_picture(path)
        if picture.width * picture.height < 10_000:
            write_picture(folder / f"out{random.choice(SUFFIXES)}", picture)


def command(path, folder):
    """The same by the command line."""
    return ["super_resolve.py", path, "--output", folder / "out.png", "--quiet"]
