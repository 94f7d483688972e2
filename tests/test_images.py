"""Pictures pass `read_picture` and `write_picture` unharmed, and what is no picture is refused in one sentence."""

import errno
import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps

from common import images, samples
from common.images import (
    WRITABLE_SUFFIXES,
    Picture,
    PictureError,
    find_pictures,
    read_picture,
    read_pixels,
    write_picture,
)

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]


def noise(channels, depth=8, height=13, width=9, peak=None):
    """Random samples, (H, W) for 1 channel and (H, W, channels) for more."""
    kind = np.dtype(f"u{depth // 8}")
    shape = (height, width) if channels == 1 else (height, width, channels)
    peak = np.iinfo(kind).max if peak is None else peak
    return np.random.default_rng(channels * depth).integers(0, peak, shape, kind, endpoint=True)


def picture_of(array, **rest):
    """A Picture of (H, W) grey or (H, W, channels): grey and alpha, RGB, RGB and alpha."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    array = array.reshape(*array.shape[:2], channels)
    colours = channels - (channels in (2, 4))
    return Picture(array[..., :colours], array[..., colours] if channels > colours else None, **rest)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(array, colour, depth, *chunks):
    """A PNG of a kind that no library writes; the samples are those of the file."""
    rows = array.reshape(array.shape[0], -1)
    if depth < 8:
        bits = (rows[..., None] >> np.arange(depth)[::-1]) & 1
        rows = np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1)
    body = b"".join(b"\0" + row.astype(f">u{max(1, depth // 8)}").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def pillow(image, kind, **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def exif_block(orientation=None, order=">"):
    exif = Image.Exif()
    exif.endian = order
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Artist] = "Zoë".encode()
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.ISOSpeedRatings: 200, ExifTags.Base.ExposureTime: 0.02})
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifVersion] = b"0232"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (51.0, 28.0, 38.0)
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes()[len(b"Exif\0\0") :]


def exif_tags(block):
    exif = Image.Exif()
    exif.load(block)
    tags = {tag: exif[tag] for tag in exif if tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)}
    return tags, dict(exif.get_ifd(ExifTags.IFD.Exif)), dict(exif.get_ifd(ExifTags.IFD.GPSInfo))


def read_bytes(folder, content, name="picture"):
    path = folder / name
    path.write_bytes(content)
    return read_picture(path)


def assert_samples(picture, pixels, alpha=None):
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    assert picture.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(picture.pixels, pixels)
    if alpha is None:
        assert picture.alpha is None
    else:
        assert picture.alpha.dtype == pixels.dtype
        np.testing.assert_array_equal(picture.alpha, alpha)


def same_samples(first, second):
    return first.dtype == second.dtype and np.array_equal(first, second)


def refusal(call, *args, **kwargs):
    """The message of the PictureError that the call raises: one line that begins with the file's name."""
    with pytest.raises(PictureError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert message.startswith(str(args[0])) and "\n" not in message and not message.endswith(".")
    return message


# ---- Kinds of pictures

BILEVEL = noise(1, peak=1)
PALETTE_IMAGE = Image.fromarray(noise(3)).quantize(16)
PALETTE_RGB = np.array(PALETTE_IMAGE.convert("RGB"))
GREY_16, GREY_ALPHA_16, RGB_16, RGBA_16 = (noise(channels, 16) for channels in (1, 2, 3, 4))
KEYED = noise(3, 16, peak=1) * 65535  # so few colours that the key occurs


def key(*values):
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


EXACT = {
    "png bilevel": (png(BILEVEL, GREY, 1), BILEVEL * 255),
    "png grey of 2 bits": (png(noise(1, peak=3), GREY, 2), noise(1, peak=3) * 85),
    "png grey of 4 bits": (png(noise(1, peak=15), GREY, 4), noise(1, peak=15) * 17),
    "png grey": (pillow(noise(1), "PNG"), noise(1)),
    "png grey alpha": (pillow(noise(2), "PNG"), noise(2)[..., 0], noise(2)[..., 1]),
    "png rgb": (pillow(noise(3), "PNG"), noise(3)),
    "png rgba": (pillow(noise(4), "PNG"), noise(4)[..., :3], noise(4)[..., 3]),
    "png palette": (pillow(PALETTE_IMAGE, "PNG"), PALETTE_RGB),
    "png palette, one colour transparent": (
        pillow(PALETTE_IMAGE, "PNG", transparency=3),
        PALETTE_RGB,
        np.where(np.array(PALETTE_IMAGE) == 3, 0, 255),
    ),
    "png palette, alpha per colour": (
        pillow(PALETTE_IMAGE, "PNG", transparency=bytes(range(0, 160, 10))),
        PALETTE_RGB,
        np.array(PALETTE_IMAGE) * 10,
    ),
    "png bilevel, black transparent": (png(BILEVEL, GREY, 1, key(0)), BILEVEL * 255, BILEVEL * 255),
    "png grey of 4 bits, one transparent": (
        png(noise(1, peak=15), GREY, 4, key(7)),
        noise(1, peak=15) * 17,
        np.where(noise(1, peak=15) == 7, 0, 255),
    ),
    "png rgb, one transparent": (
        png(KEYED.astype(np.uint8), RGB, 8, key(255, 0, 255)),
        KEYED.astype(np.uint8),
        np.where((KEYED == (65535, 0, 65535)).all(-1), 0, 255),
    ),
    "png grey of 16 bits": (png(GREY_16, GREY, 16), GREY_16),
    "png grey alpha of 16 bits": (png(GREY_ALPHA_16, GREY_ALPHA, 16), GREY_ALPHA_16[..., 0], GREY_ALPHA_16[..., 1]),
    "png rgb of 16 bits": (png(RGB_16, RGB, 16), RGB_16),
    "png rgba of 16 bits": (png(RGBA_16, RGB_ALPHA, 16), RGBA_16[..., :3], RGBA_16[..., 3]),
    "png rgb of 16 bits, one transparent": (
        png(KEYED, RGB, 16, key(65535, 0, 65535)),
        KEYED,
        np.where((KEYED == (65535, 0, 65535)).all(-1), 0, 65535),
    ),
    "tiff bilevel": (pillow(Image.fromarray(BILEVEL * 255).convert("1"), "TIFF"), BILEVEL * 255),
    "tiff bilevel, white is zero": (
        pillow(Image.fromarray(BILEVEL * 255).convert("1"), "TIFF", tiffinfo={262: 0}),
        BILEVEL * 255,
    ),
    "tiff fax": (pillow(Image.fromarray(BILEVEL * 255).convert("1"), "TIFF", compression="group4"), BILEVEL * 255),
    "tiff grey": (tiff(noise(1)), noise(1)),
    "tiff grey, white is zero": (tiff(noise(1), photometric="miniswhite"), 255 - noise(1)),
    "tiff grey alpha": (pillow(noise(2), "TIFF"), noise(2)[..., 0], noise(2)[..., 1]),
    "tiff rgb": (tiff(noise(3), photometric="rgb"), noise(3)),
    "tiff rgb in planes": (
        tiff(np.moveaxis(noise(3), -1, 0), photometric="rgb", planarconfig="separate"),
        noise(3),
    ),
    "tiff rgb in tiles": (tiff(noise(3, 8, 40, 50), photometric="rgb", tile=(16, 32)), noise(3, 8, 40, 50)),
    "tiff rgb lzw": (pillow(noise(3), "TIFF", compression="tiff_lzw"), noise(3)),
    "tiff rgba": (pillow(noise(4), "TIFF"), noise(4)[..., :3], noise(4)[..., 3]),
    "tiff palette": (pillow(PALETTE_IMAGE, "TIFF"), PALETTE_RGB),
    "tiff grey of 16 bits": (tiff(GREY_16), GREY_16),
    "tiff grey of 16 bits, big-endian": (tiff(GREY_16, byteorder=">"), GREY_16),
    "tiff grey of 16 bits, white is zero": (tiff(GREY_16, photometric="miniswhite"), 65535 - GREY_16),
    "tiff grey of 16 bits lzw": (cv2.imencode(".tiff", GREY_16)[1].tobytes(), GREY_16),
    "tiff grey alpha of 16 bits": (
        tiff(GREY_ALPHA_16, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]),
        GREY_ALPHA_16[..., 0],
        GREY_ALPHA_16[..., 1],
    ),
    "tiff rgb of 16 bits": (tiff(RGB_16, photometric="rgb"), RGB_16),
    "tiff rgb of 16 bits, big-endian": (tiff(RGB_16, photometric="rgb", byteorder=">"), RGB_16),
    "tiff rgb of 16 bits, bigtiff": (tiff(RGB_16, photometric="rgb", bigtiff=True), RGB_16),
    "tiff rgb of 16 bits, one row": (tiff(RGB_16[:1], photometric="rgb"), RGB_16[:1]),
    "tiff rgb of 16 bits in planes": (
        tiff(np.moveaxis(RGB_16, -1, 0), photometric="rgb", planarconfig="separate"),
        RGB_16,
    ),
    "tiff rgb of 16 bits in tiles": (
        tiff(noise(3, 16, 40, 50), photometric="rgb", tile=(16, 32), compression="zlib", predictor=True),
        noise(3, 16, 40, 50),
    ),
    "tiff rgb of 16 bits lzw": (cv2.imencode(".tiff", RGB_16[..., ::-1])[1].tobytes(), RGB_16),
    "tiff rgba of 16 bits": (
        tiff(RGBA_16, photometric="rgb", extrasamples=["unassalpha"]),
        RGBA_16[..., :3],
        RGBA_16[..., 3],
    ),
    "webp rgb": (pillow(noise(3), "WEBP", lossless=True), noise(3)),
    "webp rgba": (pillow(noise(4), "WEBP", lossless=True, exact=True), noise(4)[..., :3], noise(4)[..., 3]),
    "bmp grey": (pillow(noise(1), "BMP"), noise(1)),
    "bmp rgb": (pillow(noise(3), "BMP"), noise(3)),
    "bmp palette": (pillow(PALETTE_IMAGE, "BMP"), PALETTE_RGB),
    "gif, one colour transparent": (
        pillow(PALETTE_IMAGE, "GIF", transparency=3),
        PALETTE_RGB,
        np.where(np.array(PALETTE_IMAGE) == 3, 0, 255),
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_every_kind_is_read_exactly(kind, tmp_path):
    content, pixels, *alpha = EXACT[kind]
    picture = read_bytes(tmp_path, content)
    assert_samples(picture, pixels, *alpha)
    assert picture.format.lower() == kind.split()[0].rstrip(",")
    assert picture.warnings == []
    assert same_samples(read_pixels(tmp_path / "picture"), picture.pixels)


@pytest.mark.parametrize("suffix", (".png", ".tif"))
@pytest.mark.parametrize("kind", EXACT)
def test_every_kind_survives_png_and_tiff(kind, suffix, tmp_path):
    picture = read_bytes(tmp_path, EXACT[kind][0])
    assert write_picture(tmp_path / f"copy{suffix}", picture) == []
    assert_samples(read_picture(tmp_path / f"copy{suffix}"), picture.pixels, picture.alpha)


@pytest.mark.parametrize("mode", ("L", "RGB", "CMYK"))
def test_jpeg(mode, tmp_path):
    smooth = Image.fromarray(noise(3, 8, 4, 4)).resize((64, 48), Image.Resampling.BICUBIC).convert(mode)
    picture = read_bytes(tmp_path, pillow(smooth, "JPEG", quality=95))
    expected = np.array(smooth.convert("RGB") if mode == "CMYK" else smooth, int).reshape(48, 64, -1)
    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels - expected).mean() < 2
    assert bool(picture.warnings) == (mode == "CMYK")


def test_cmyk_goes_through_its_profile(tmp_path):
    # Whatever the ink, this profile says L* = 50, a* = b* = 0: a mid grey, which the plain formula never gives here.
    lut = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut += bytes(range(256)) * 4 + bytes((128, 128, 128)) * 16 + bytes(range(256)) * 3
    header = struct.pack(">I4xI4s4s4s12x4s", 144 + len(lut), 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3I", 63190, 65536, 54061)
    profile = header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(lut)) + lut
    inks = Image.new("CMYK", (8, 8), (200, 10, 30, 0))
    picture = read_bytes(tmp_path, pillow(inks, "TIFF", icc_profile=profile))
    assert np.abs(picture.pixels.astype(int) - 119).max() <= 3
    assert picture.icc is None  # the pixels are sRGB now
    assert len(picture.warnings) == 1


def test_associated_alpha_of_16_bits_is_divided_out(tmp_path):
    colours, alpha = RGB_16, np.maximum(GREY_16, 20000)
    stored = np.dstack([np.round(colours * (alpha[..., None] / 65535)).astype(np.uint16), alpha])
    picture = read_bytes(tmp_path, tiff(stored, photometric="rgb", extrasamples=["assocalpha"]))
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert np.abs(picture.pixels.astype(int) - colours).max() <= 2


def test_pages_and_frames_beyond_the_first_are_announced(tmp_path):
    frames = [Image.fromarray(noise(3, 8, 8, width)) for width in (8, 8)]
    frames[1].putpixel((0, 0), (0, 255, 0))
    for kind, options in (("GIF", {}), ("TIFF", {}), ("PNG", {}), ("MPO", {}), ("WEBP", {"lossless": True})):
        content = pillow(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        picture = read_bytes(tmp_path, content)
        assert any("first" in sentence for sentence in picture.warnings), kind
        if kind not in ("GIF", "MPO"):
            assert_samples(picture, np.array(frames[0]))


def test_a_picture_states_its_depth_and_size():
    grey, colour = picture_of(noise(1, 16)), picture_of(noise(4))
    assert (grey.height, grey.width, grey.depth, grey.peak, grey.is_grey) == (13, 9, 16, 65535, True)
    assert (colour.height, colour.width, colour.depth, colour.peak, colour.is_grey) == (13, 9, 8, 255, False)
    for pixels, alpha in ((noise(1), None), (noise(4), None), (noise(3).astype(float), None), (noise(3), GREY_16)):
        with pytest.raises(ValueError):
            Picture(pixels, alpha)


# ---- Orientation and metadata


@pytest.mark.parametrize(
    "suffix, depth", ((".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".webp", 8), (".jpg", 8))
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(orientation, suffix, depth, tmp_path):
    stored = np.kron(noise(4 if suffix != ".jpg" else 3, 8, 5, 3), np.ones((8, 8, 1), np.uint8))
    reference = Image.fromarray(stored)
    reference.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.array(ImageOps.exif_transpose(reference)).astype(np.uint8 if depth == 8 else np.uint16)
    path = tmp_path / f"turned{suffix}"
    stored = picture_of(stored.astype(expected.dtype), exif=exif_block(orientation), dpi=(300, 150))
    write_picture(path, stored, quality=100)

    picture = read_picture(path)
    if suffix == ".jpg":
        assert picture.pixels.shape == expected.shape
        assert np.abs(picture.pixels.astype(int) - expected).max() < 8
    else:
        assert_samples(picture, expected[..., :3], expected[..., 3])
    assert exif_tags(picture.exif)[0][ExifTags.Base.Orientation] == 1
    assert exif_tags(picture.exif)[0][ExifTags.Base.Make] == "Maker"
    if suffix != ".webp":
        assert picture.dpi == ((300, 150) if orientation < 5 else (150, 300))


def test_pixels_alone_are_upright_too(tmp_path):
    write_picture(tmp_path / "turned.png", picture_of(noise(3), exif=exif_block(6)))
    assert same_samples(read_pixels(tmp_path / "turned.png"), noise(3)[::-1].swapaxes(0, 1))


def test_tiff_of_others_with_an_orientation(tmp_path):
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for kind in (np.uint8, np.uint16):
        picture = read_bytes(tmp_path, tiff(stored.astype(kind), extratags=[(274, 3, 1, 6, True)]))
        assert_samples(picture, np.rot90(stored.astype(kind), -1))


METADATA = {
    ".png": {"icc", "exif", "dpi"},
    ".tif": {"icc", "exif", "dpi"},
    ".jpg": {"icc", "exif", "dpi"},
    ".webp": {"icc", "exif"},
    ".bmp": {"dpi"},
}


@pytest.mark.parametrize("depth", (8, 16))
@pytest.mark.parametrize("channels", (1, 2, 3, 4))
@pytest.mark.parametrize("suffix", METADATA)
def test_metadata_is_kept_or_its_loss_announced(suffix, channels, depth, tmp_path):
    icc = SRGB if channels > 2 else GREY_PROFILE
    picture = picture_of(noise(channels, depth), icc=icc, exif=exif_block(), dpi=(300.0, 72.0))
    path = tmp_path / f"tagged{suffix}"
    messages = write_picture(path, picture)
    back = read_picture(path)
    kept = METADATA[suffix] - ({"icc"} if suffix == ".webp" and channels < 3 else set())

    assert back.icc == (icc if "icc" in kept else None)
    assert back.dpi == ((300, 72) if "dpi" in kept else None)
    if "exif" in kept:
        assert exif_tags(back.exif) == exif_tags(picture.exif)
    else:
        assert back.exif is None
    lost = {"icc", "exif", "dpi"} - kept
    lost |= {"depth"} if depth == 16 and suffix not in (".png", ".tif") else set()
    lost |= {"alpha"} if channels in (2, 4) and suffix in (".jpg", ".bmp") else set()
    assert len(messages) == len(lost)
    assert all(message.endswith(".") and "\n" not in message for message in messages)


@pytest.mark.parametrize("order", ("<", ">"))
@pytest.mark.parametrize("channels", (1, 2, 3, 4))
@pytest.mark.parametrize("depth", (8, 16))
def test_other_readers_see_the_same(depth, channels, order, tmp_path):
    array = noise(channels, depth, 150, 70)
    icc = SRGB if channels > 2 else GREY_PROFILE
    picture = picture_of(array, icc=icc, exif=exif_block(order=order), dpi=(300.0, 72.0))
    for suffix in (".png", ".tif"):
        write_picture(tmp_path / f"picture{suffix}", picture)

    with tifffile.TiffFile(tmp_path / "picture.tif") as file:
        page = file.pages[0]
        np.testing.assert_array_equal(page.asarray(), array)
        assert page.iccprofile == icc
        assert page.tags["Artist"].value == "Zoë"
        assert page.tags["ExifTag"].value["ISOSpeedRatings"] == 200
        assert page.tags["XResolution"].value == (300, 1)
    if (channels, depth) != (2, 16):  # Pillow has no such mode
        with Image.open(tmp_path / "picture.tif") as image:
            assert image.info["icc_profile"] == icc
            assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (51, 28, 38)
    with Image.open(tmp_path / "picture.png") as image:
        image.load()
        assert image.info["icc_profile"] == icc
        assert image.info["exif"].endswith(picture.exif)
        assert np.allclose(image.info["dpi"], (300, 72), atol=0.02)
    if channels == 2:
        array = array[..., [0, 0, 0, 1]]
    elif channels > 2:
        array = array[..., [2, 1, 0, 3][:channels]]
    decoded = cv2.imdecode(np.fromfile(tmp_path / "picture.png", np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, array)


def test_jpeg_has_full_chroma_resolution_and_the_asked_quality(tmp_path):
    picture = samples.photograph("chelsea")
    small, large = (tmp_path / f"{quality}.jpg" for quality in (50, 95))
    write_picture(small, picture, quality=50)
    write_picture(large, picture)
    assert small.stat().st_size < large.stat().st_size / 3
    with Image.open(large) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_16_bits_are_rounded_to_8_not_cut(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert len(write_picture(tmp_path / "rounded.bmp", Picture(values))) == 1
    assert_samples(read_picture(tmp_path / "rounded.bmp"), np.round(values / 257).astype(np.uint8))


def test_exif_states_the_size_of_the_written_picture(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({ExifTags.Base.ExifImageWidth: 3, ExifTags.Base.ExifImageHeight: 4})
    for suffix in (".jpg", ".png", ".tif"):
        write_picture(tmp_path / f"picture{suffix}", picture_of(noise(3), exif=exif.tobytes()[6:]))
        tags = exif_tags(read_picture(tmp_path / f"picture{suffix}").exif)[1]
        assert tags == {ExifTags.Base.ExifImageWidth: 9, ExifTags.Base.ExifImageHeight: 13}


def test_exif_too_long_for_jpeg_is_left_out_with_a_warning(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70000
    picture = picture_of(noise(3), exif=exif.tobytes()[6:])
    assert len(write_picture(tmp_path / "long.jpg", picture)) == 1
    assert write_picture(tmp_path / "long.png", picture) == []


def test_damaged_exif_and_profile_do_not_keep_anybody_from_the_pixels(tmp_path):
    content = pillow(noise(3), "PNG", exif=b"Exif\0\0MM\0*" + b"\xff" * 30)
    assert_samples(read_bytes(tmp_path, content), noise(3))
    content = png(noise(3), RGB, 8, chunk(b"iCCP", b"name\0\0nonsense"), chunk(b"pHYs", b"\0"), chunk(b"iTXt", b"\0"))
    assert_samples(read_bytes(tmp_path, content), noise(3))
    for suffix in (".tif", ".jpg", ".png"):
        picture = picture_of(noise(3), exif=b"MM\0*" + b"\xff" * 30)
        assert len(write_picture(tmp_path / f"damaged{suffix}", picture)) == 1


# ---- Files


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_any_file_name(suffix, tmp_path):
    path = tmp_path / "новая папка" / f"naïve 写真 🌄{suffix.upper()}"
    picture = picture_of(noise(3, 16 if "t" in suffix else 8))
    write_picture(path, picture)
    assert read_picture(str(path)).pixels.shape == picture.pixels.shape


def test_the_content_counts_not_the_suffix(tmp_path):
    assert read_bytes(tmp_path, pillow(noise(3), "WEBP"), "picture.png").format == "WebP"


def test_an_existing_file_is_only_replaced_on_demand(tmp_path):
    path = tmp_path / "picture.png"
    write_picture(path, picture_of(noise(1)))
    assert "it exists already" in refusal(write_picture, path, picture_of(noise(3)))
    assert_samples(read_picture(path), noise(1))
    write_picture(path, picture_of(noise(3)), overwrite=True)
    assert_samples(read_picture(path), noise(3))


@contextmanager
def files_no_larger_than(size):
    """The system refuses to write more to any file, as it does when a disk is full."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(suffix, tmp_path):
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(b"precious")
    picture = picture_of(noise(3, 8, 200, 200))
    with files_no_larger_than(5000):
        message = refusal(write_picture, path, picture, overwrite=True)
    assert "cannot be written" in message
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_picture(tmp_path / "picture.png", picture_of(noise(3)))
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_picture(tmp_path / "picture.png", picture_of(noise(3)))
    assert (tmp_path / "picture.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_find_pictures(tmp_path):
    for name in ("b.png", "a.JPG", "c.tiff", "ä.webp", ".hidden.png", "notes.txt", "d.bmp", "e.gif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in find_pictures(tmp_path)] == ["a.JPG", "b.png", "c.tiff", "d.bmp", "e.gif", "ä.webp"]
    assert "cannot be read" in refusal(find_pictures, tmp_path / "nowhere")


# ---- What is refused

TRUNCATABLE = {
    "png": pillow(noise(3, 8, 40, 40), "PNG"),
    "png of 16 bits": png(noise(3, 16, 40, 40), RGB, 16),
    "jpeg": pillow(noise(3, 8, 40, 40), "JPEG"),
    "progressive jpeg": pillow(noise(3, 8, 40, 40), "JPEG", progressive=True),
    "webp": pillow(noise(3, 8, 40, 40), "WEBP"),
    "bmp": pillow(noise(3, 8, 40, 40), "BMP"),
    "gif": pillow(Image.fromarray(noise(3, 8, 40, 40)).quantize(256), "GIF"),
    "tiff": tiff(noise(3, 8, 40, 40), photometric="rgb"),
    "tiff of 16 bits": tiff(noise(3, 16, 40, 40), photometric="rgb"),
    "tiff of 16 bits in tiles": tiff(noise(3, 16, 40, 40), photometric="rgb", tile=(16, 16), compression="zlib"),
    "tiff of 16 bits lzw": cv2.imencode(".tiff", noise(3, 16, 40, 40))[1].tobytes(),
}


@pytest.mark.parametrize("kind", TRUNCATABLE)
def test_truncated_files_are_refused_wherever_they_end(kind, tmp_path):
    content = TRUNCATABLE[kind]
    read_bytes(tmp_path, content)
    for size in np.linspace(18, len(content) - 4, 25).astype(int):
        (tmp_path / "cut").write_bytes(content[:size])
        message = refusal(read_picture, tmp_path / "cut")
        assert refusal(read_pixels, tmp_path / "cut") == message
        assert "incomplete" in message or "cut short" in message or "damaged" in message, message


@pytest.mark.parametrize("kind", TRUNCATABLE)
def test_damaged_files_raise_nothing_but_picture_errors(kind, tmp_path):
    generator = np.random.default_rng(7)
    for _ in range(40):
        content = np.frombuffer(TRUNCATABLE[kind], np.uint8).copy()
        places = generator.integers(0, min(len(content), 400), 3)
        content[places] = generator.integers(0, 256, 3)
        (tmp_path / "damaged").write_bytes(content.tobytes())
        try:
            picture = read_picture(tmp_path / "damaged")
        except PictureError as error:
            assert "\n" not in str(error)
            assert refusal(read_pixels, tmp_path / "damaged") == str(error)
        else:
            assert same_samples(read_pixels(tmp_path / "damaged"), picture.pixels)


@pytest.mark.parametrize("harm", [lambda stream: stream[: len(stream) // 2], lambda stream: stream[:-4] + b"oops"])
def test_a_png_of_right_checksums_whose_pixels_are_damaged(harm, tmp_path):
    content = TRUNCATABLE["png"]
    begin = content.index(b"IDAT")
    (length,) = struct.unpack_from(">I", content, begin - 4)
    stream = content[begin + 4 : begin + 4 + length]
    (tmp_path / "harmed").write_bytes(content[: begin - 4] + chunk(b"IDAT", harm(stream)) + chunk(b"IEND", b""))
    for read in (read_picture, read_pixels):
        assert "damaged" in refusal(read, tmp_path / "harmed")


def test_pictures_are_decompressed_side_by_side(tmp_path, monkeypatch):
    (tmp_path / "picture").write_bytes(TRUNCATABLE["jpeg"])
    both, load, met = threading.Barrier(2, timeout=20), ImageFile.ImageFile.load, []

    def together(image):
        if not any(image is other for other in met):  # it is called again when there is nothing left to do
            met.append(image)
            both.wait()
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", together)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(read_picture, [tmp_path / "picture"] * 2)
    assert same_samples(first.pixels, second.pixels)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path):
    for kind in ("png", "png of 16 bits"):
        content = bytearray(TRUNCATABLE[kind])
        content[-100] ^= 1
        (tmp_path / "flipped").write_bytes(content)
        assert "checksum" in refusal(read_picture, tmp_path / "flipped")


REFUSED = {
    b"": "is empty",
    b"Hello, this is no picture at all": "is not a picture",
    b"\x89PNG": "is not a picture",
    b"BMW builds motorcars": "is not a picture",
    b"\0\0\0\x20ftypisom" + bytes(1000): "is not a picture",
    tiff(noise(1).astype(np.float32)): "floating-point",
    tiff(noise(1).astype(np.float16)): "floating-point",
    tiff(noise(1).astype(np.int16)): "other than unsigned",
    tiff(noise(1).astype(np.uint32)): "other than unsigned",
    tiff(RGBA_16, photometric="separated", planarconfig="contig"): "16-bit colours other than",
    tiff(noise(1), subfiletype=1): "preview",
}


@pytest.mark.parametrize("content", REFUSED, ids=REFUSED.values())
def test_what_is_no_picture_is_refused(content, tmp_path):
    path = tmp_path / "file.png"
    path.write_bytes(content)
    assert REFUSED[content] in refusal(read_picture, path)


def test_paths_that_cannot_be_read(tmp_path):
    assert "does not exist" in refusal(read_picture, tmp_path / "missing.png")
    assert "is a folder" in refusal(read_picture, tmp_path)
    assert "cannot be read" in refusal(read_picture, "nul\0.png")
    (tmp_path / "file").touch()
    assert "cannot be read" in refusal(read_picture, tmp_path / "file" / "picture.png")


def test_a_file_without_permission(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(pillow(noise(1), "PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "Permission denied" in refusal(read_picture, path)


def test_absurd_sizes_are_refused_by_the_header_alone(tmp_path):
    size = struct.pack(">II", 30000, 30000)
    header = chunk(b"IHDR", size + bytes((8, RGB, 0, 0, 0)))
    png_bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    bmp_bomb = bytearray(pillow(noise(1), "BMP"))
    struct.pack_into("<II", bmp_bomb, 18, 30000, 30000)
    jpeg_bomb = bytearray(pillow(noise(1), "JPEG"))
    struct.pack_into(">HH", jpeg_bomb, jpeg_bomb.index(b"\xff\xc0") + 5, 30000, 30000)
    tiff_bomb = bytearray(tiff(noise(1), metadata=None))
    with tifffile.TiffFile(io.BytesIO(tiff_bomb)) as file:
        for name in ("ImageWidth", "ImageLength"):
            tag = file.pages[0].tags[name]
            struct.pack_into("<H" if tag.dtype == 3 else "<I", tiff_bomb, tag.valueoffset, 30000)
    for content in (png_bomb, bmp_bomb, jpeg_bomb, tiff_bomb):
        (tmp_path / "bomb").write_bytes(content)
        assert "30000 x 30000 is above 400 million pixels" in refusal(read_picture, tmp_path / "bomb")


def test_a_gif_of_absurd_size(tmp_path):
    content = bytearray(TRUNCATABLE["gif"])
    struct.pack_into("<HH", content, 6, 65535, 65535)
    (tmp_path / "bomb").write_bytes(content)
    assert "too large" in refusal(read_picture, tmp_path / "bomb")


def test_what_unpacks_to_far_more_than_it_should(tmp_path):
    bomb = zlib.compress(bytes(100 << 20))
    header = chunk(b"IHDR", struct.pack(">II", 8, 8) + bytes((8, RGB, 0, 0, 0)))
    pixels, end = chunk(b"IDAT", zlib.compress(bytes(8 * 25))), chunk(b"IEND", b"")
    profile, text = chunk(b"iCCP", b"bomb\0\0" + bomb), chunk(b"zTXt", b"bomb\0\0" + bomb)
    tracemalloc.start()
    picture = read_bytes(tmp_path, b"\x89PNG\r\n\x1a\n" + header + profile + text + pixels + end)
    assert picture.icc is None and picture.pixels.shape == (8, 8, 3)
    read_bytes(tmp_path, b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", bomb) + end)  # more rows than it declares
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


@contextmanager
def pipe(content, endless=b""):
    """The path of a pipe that gives `content`, and `endless` for ever."""
    reading, writing = os.pipe()

    def pour():
        with suppress(BrokenPipeError), open(writing, "wb") as file:
            file.write(content)
            while endless:
                file.write(endless)

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        thread.join()


def test_a_picture_may_come_through_a_pipe():
    with pipe(TRUNCATABLE["png"]) as path:
        assert np.array_equal(read_picture(path).pixels, noise(3, 8, 40, 40))


def test_a_pipe_that_never_ends(monkeypatch):
    monkeypatch.setattr(images, "MAX_STREAMED_BYTES", 1 << 20)
    with pipe(b"\x89PNG\r\n\x1a\n", bytes(4096)) as path:
        assert "no more than 1 MB" in refusal(read_picture, path)
    with pipe(b"", bytes(4096)) as path:
        assert "not a picture" in refusal(read_picture, path)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path):
    with open(tmp_path / "sparse.png", "wb") as file:
        file.write(TRUNCATABLE["png"])
        file.truncate(images.MAX_BYTES + 1)
    assert "too large" in refusal(read_picture, tmp_path / "sparse.png")


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_has_appeared_meanwhile_is_kept(hard_links, tmp_path, monkeypatch):
    def fit(picture, form, fit=images._fit):
        (tmp_path / "picture.png").write_bytes(b"precious")  # by another program
        return fit(picture, form)

    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # as file systems without hard links do

    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
        write_picture(tmp_path / "other.png", picture_of(noise(3)))
        (tmp_path / "other.png").unlink()
    monkeypatch.setattr(images, "_fit", fit)
    assert "File exists" in refusal(write_picture, tmp_path / "picture.png", picture_of(noise(3)))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]
    write_picture(tmp_path / "picture.png", picture_of(noise(3)), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    read_picture(tmp_path / "picture.png")


@pytest.mark.parametrize("kind", ("png", "jpeg", "webp", "bmp", "gif", "tiff", "tiff of 16 bits"))
def test_only_our_own_size_limit_counts(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_bytes(tmp_path, TRUNCATABLE[kind])
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(images, "MAX_PIXELS", 40 * 40 - 1)
    assert "too large" in refusal(read_picture, tmp_path / "picture")


def test_paths_that_cannot_be_written(tmp_path):
    picture = picture_of(noise(3))
    for name in ("picture", "picture.gif", "picture.xyz"):
        assert ".png, .jpg" in refusal(write_picture, tmp_path / name, picture)
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in refusal(write_picture, tmp_path / "folder.png", picture)
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(write_picture, tmp_path / "file" / "picture.png", picture)
    wide = replace(picture, pixels=np.zeros((1, 70000, 3), np.uint8))
    for suffix, limit in ((".webp", "16383"), (".jpg", "65500")):
        assert limit in refusal(write_picture, tmp_path / f"wide{suffix}", wide)
    write_picture(tmp_path / "wide.png", wide)


def test_importing_loads_no_decoder():
    code = "import sys, common.images; print({'PIL', 'cv2', 'tifffile', 'skimage'} & set(sys.modules))"
    here = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# ---- The embedded photographs


def test_photographs():
    photographs = samples.photographs()
    assert tuple(photographs) == samples.PHOTOGRAPHS and len(photographs) >= 5
    assert all(picture.depth == 8 and min(picture.height, picture.width) >= 300 for picture in photographs.values())
    assert sum(not picture.is_grey for picture in photographs.values()) >= 5


def test_write_photographs(tmp_path):
    paths = samples.write_photographs(tmp_path / "photographs")
    assert paths == [tmp_path / "photographs" / f"{name}.png" for name in samples.PHOTOGRAPHS]
    assert_samples(read_picture(paths[0]), samples.photograph(samples.PHOTOGRAPHS[0]).pixels)


def test_missing_photographs_are_named(monkeypatch):
    with pytest.raises(PictureError, match="there is no embedded photograph 'lena'"):
        samples.photograph("lena")
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(PictureError, match="scikit-image, which is not installed"):
        samples.photograph("coffee")
