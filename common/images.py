"""Read and write still pictures without losing anything: depth, transparency, orientation, profile, EXIF, resolution.

The decoders are Pillow (8 bits a channel), OpenCV (16-bit PNG, and 8-bit PNG of which pixels alone are wanted; its
import takes long) and tifffile (16-bit TIFF); none of them is ever given a path, so file names in any script work, and
each file's own structure is checked first, because some decoders return a half-grey picture for a truncated file. PNG
and TIFF are written here rather than by a library, as no library writes 16-bit colour, 16-bit grey with alpha, ICC
profile, EXIF and resolution together.

Not kept: XMP, IPTC and text comments, EXIF thumbnails of turned pictures, and all but the first frame or page.
"""

import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.errors import reason_of
from common.files import written_whole
from common.tags import (
    DAMAGED_TAGS,
    DESCRIPTION,
    EXIF_DIRECTORY,
    LONG,
    ORIENTATION,
    PIXEL_DIMENSIONS,
    RATIONAL,
    SHORT,
    UNDEFINED,
    TagDirectory,
    pack_directory,
)

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif")
MAX_PIXELS = 400_000_000
MAX_BYTES = 4 << 30  # of a file; more than this no picture of MAX_PIXELS needs
MAX_STREAMED_BYTES = 256 << 20  # of a pipe, which might never end

_SIGNATURES = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
}
_SIGNATURE_BYTES = 18


class PictureError(ValueError):
    """A picture cannot be read or written; the message is one sentence that names the file."""


@dataclass(eq=False)
class Picture:
    """A still picture, upright, as it is stored: no linearisation, no colour conversion.

    pixels: (height, width, channels) uint8 or uint16 over the whole range of the type; 1 channel is grey, 3 are RGB.
    alpha: (height, width) of the same type, 0 is transparent, not multiplied into `pixels`; None if opaque throughout.
    icc: ICC profile of `pixels`. None means sRGB, as everywhere.
    exif: EXIF block, beginning with its TIFF header ("II*" or "MM"), its orientation being 1.
    dpi: (horizontal, vertical) resolution in pixels per inch.
    format: what the file was: "PNG", "JPEG", "TIFF", "WebP", "BMP" or "GIF".
    warnings: one sentence on each thing of the file that is not in here.
    Raises ValueError if shapes or types do not fit.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self):
        shape, kind = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] not in (1, 3) or 0 in shape or kind not in (np.uint8, np.uint16):
            raise ValueError(f"pixels are (H, W, 1 or 3) of uint8 or uint16, not {shape} of {kind}")
        if self.alpha is not None and (self.alpha.shape != shape[:2] or self.alpha.dtype != kind):
            raise ValueError(f"alpha is {shape[:2]} of {kind} here, not {self.alpha.shape} of {self.alpha.dtype}")

    @property
    def height(self):
        return self.pixels.shape[0]

    @property
    def width(self):
        return self.pixels.shape[1]

    @property
    def is_grey(self):
        return self.pixels.shape[2] == 1

    @property
    def depth(self):
        """Bits a channel, 8 or 16."""
        return 8 * self.pixels.itemsize

    @property
    def peak(self):
        """The value of white and of opaque, 255 or 65535."""
        return 2**self.depth - 1


def find_pictures(folder):
    """The pictures directly inside `folder`, known by their suffix, sorted by name, without hidden files.

    Returns a list of Path. Raises PictureError if the folder cannot be read.
    """
    try:
        files = [path for path in Path(folder).iterdir() if path.is_file()]
    except OSError as error:
        raise PictureError(f"{folder} cannot be read as a folder: {error.strerror}") from error
    files = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")]
    return sorted(files, key=lambda path: path.name)


# ---- Reading


def read_picture(path):
    """The picture in the file `path` as a `Picture`, of whatever kind its first bytes say, not its suffix.

    Palettes and bilevel pictures are expanded, CMYK becomes sRGB (through its profile if it has one), the EXIF
    orientation is applied. Raises PictureError if the file is missing, a folder, unreadable, empty, not a picture,
    damaged or cut short, larger than MAX_PIXELS, or of samples other than 1 to 8 or 16 bits.
    """
    data, kind = _read_bytes(path)
    with _clear_errors(path, kind):
        return _upright(_READERS[kind](data))


def read_pixels(path):
    """`read_picture(path).pixels`, of most PNGs in less time and memory. Raises PictureError likewise."""
    data, kind = _read_bytes(path)
    with _clear_errors(path, kind):
        pixels = _plain_pixels(data) if kind == "PNG" else None
        return _upright(_READERS[kind](data)).pixels if pixels is None else pixels


def picture_size(path):
    """(width, height) in pixels of the picture in the file `path`, as it is stored, without decoding it.

    Raises PictureError if that cannot be told; what else is wrong with the file, reading it says.
    """
    from PIL import Image

    data, kind = _read_bytes(path)
    with _clear_errors(path, kind):
        if kind == "PNG":
            return struct.unpack_from(">II", data, 16)
        if kind == "TIFF":
            tiff = TagDirectory(data)
            return tiff.number(_WIDTH, 0), tiff.number(_HEIGHT, 0)
        with _own_limits(), Image.open(io.BytesIO(data), formats=[kind.upper()]) as image:
            return image.size


@contextmanager
def _clear_errors(path, kind):
    """Turn whatever goes wrong with a file of a known kind into a PictureError that names it."""
    try:
        yield
    except PictureError as error:
        raise PictureError(f"{path} {error}") from error
    except MemoryError as error:
        raise PictureError(f"{path} needs more memory than there is") from error
    except Exception as error:  # decoders raise SyntaxError, struct.error, OSError, zlib.error and more on bad data
        raise PictureError(f"{path} is a damaged or incomplete {kind} file") from error


def _read_bytes(path):
    """The file's content and its kind; what is not a picture, perhaps a huge video, is not read to its end."""
    try:
        with open(path, "rb") as file:
            start = file.read(_SIGNATURE_BYTES)
            kind = next((name for name, signature in _SIGNATURES.items() if signature.match(start)), None)
            data = b"".join([start, *_rest(file, path)]) if kind else start
    except FileNotFoundError as error:
        raise PictureError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise PictureError(f"{path} is a folder, not a picture") from error
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError(f"{path} needs more memory than there is") from error
    except (OSError, ValueError) as error:
        raise PictureError(f"{path} cannot be read: {reason_of(error)}") from error
    if not data:
        raise PictureError(f"{path} is empty")
    if kind is None:
        raise PictureError(f"{path} is not a picture of a known kind ({', '.join(_SIGNATURES)})")
    return data, kind


def _rest(file, path):
    """What is left of an open file, piece by piece, unless that is more than any picture needs."""
    limit = MAX_BYTES if os.path.isfile(path) else MAX_STREAMED_BYTES
    size = os.fstat(file.fileno()).st_size
    most = min(size, 1 << 20) or 1 << 20  # as much memory is taken for a piece, however short it turns out to be
    while size <= limit and (piece := file.read(most)):
        size = max(size, file.tell() if file.seekable() else size + len(piece))
        yield piece
    if size > limit:
        raise PictureError(f"{path} is too large: no more than {limit >> 20} MB of it are read")


def _check_size(width, height):
    if width < 1 or height < 1:
        raise PictureError(f"has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise PictureError(f"is too large: {width} x {height} is above {MAX_PIXELS // 10**6} million pixels")


def _upright(picture):
    """`picture` turned as its EXIF orientation says, which is then 1."""
    if picture.exif is None:
        return picture
    exif = bytearray(re.sub(rb"^(Exif\0\0)+", b"", picture.exif))
    try:
        tiff = TagDirectory(exif)
        orientation = tiff.number(ORIENTATION, 1)
        if orientation in range(2, 9):
            tiff.put(ORIENTATION, 1)
            tiff.unlink_thumbnail()  # it is turned the old way
    except DAMAGED_TAGS:
        orientation = 1
    if orientation not in range(2, 9):
        return replace(picture, exif=bytes(exif))
    swapped = orientation > 4
    return replace(
        picture,
        pixels=_turn(picture.pixels, orientation),
        alpha=None if picture.alpha is None else _turn(picture.alpha, orientation),
        exif=bytes(exif),
        dpi=picture.dpi[::-1] if swapped and picture.dpi else picture.dpi,
    )


def _turn(samples, orientation):
    if orientation > 4:  # 5 to 8 are stored column by column
        samples = samples.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(samples[::rows, ::columns])


def _picture(samples, **rest):
    """A Picture from (H, W) or (H, W, 1 to 4) samples: grey, grey and alpha, RGB, RGB and alpha."""
    samples = samples.reshape(*samples.shape[:2], -1)
    colours = 1 if samples.shape[2] < 3 else 3
    alpha = np.ascontiguousarray(samples[..., colours]) if samples.shape[2] > colours else None
    return Picture(np.ascontiguousarray(samples[..., :colours]), alpha, **rest)


# ---- Reading with Pillow: up to 8 bits a channel

_pillow_settings = threading.Lock()


@contextmanager
def _own_limits():
    """Pillow's size limit is lifted in this context, as it is below ours, and its remarks are not printed.

    Both settings are those of the whole process, so one thread at a time, and not while it decompresses pixels.
    """
    from PIL import Image

    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read_simple(data, kind):
    """JPEG, BMP and GIF, and the pixels of other formats."""
    from PIL import Image

    with _own_limits():
        image = Image.open(io.BytesIO(data), formats=[kind.upper()])
        _check_size(*image.size)
        frames = 1 if kind == "TIFF" else getattr(image, "n_frames", 1)
        if kind == "TIFF":
            image.load()  # which looks at the limit again
    with image:
        image.load()  # most of the work, which several threads may do at a time
        icc, exif, dpi = (image.info.get(name) for name in ("icc_profile", "exif", "dpi"))
        with _own_limits():
            samples, icc, losses = _expand(image, icc)
    if frames > 1:
        losses.append(f"Only the first of its {frames} frames was read.")
    return _picture(samples, icc=icc or None, exif=exif or None, dpi=_dpi(dpi), format=kind, warnings=losses)


def _read_webp(data):
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise PictureError("is cut short")
    return _read_simple(data, "WebP")


def _dpi(resolution):
    """(x, y) as floats; what PNG's whole pixels per metre cannot tell from a whole number is that number."""
    if resolution is None or not all(0 < value < 1e6 for value in resolution):
        return None
    x, y = (float(round(v) if abs(v - round(v)) < 0.0127 else v) for v in resolution)
    return x, y


def _expand(image, icc):
    """(samples, profile, losses) of a Pillow image of any 8-bit mode, as grey or RGB with or without alpha."""
    mode = image.mode
    if mode == "CMYK":
        return _from_cmyk(image, icc)
    if mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"):
        raise PictureError(f"has pixels of a kind that is not supported ({mode})")
    transparent = mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    colour = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    wanted = {"L": "LA", "RGB": "RGBA"}[colour] if transparent else colour
    losses = ["The channel beside red, green and blue was left out."] if mode == "RGBX" else []
    return np.array(image if mode == wanted else image.convert(wanted)), icc, losses


def _from_cmyk(image, icc):
    from PIL import ImageCms

    if icc:
        try:
            rgb = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return np.array(rgb), None, ["CMYK was converted to sRGB by the profile in the file."]
        except (ImageCms.PyCMSError, OSError):
            pass  # not a CMYK profile: the plain formula below
    return np.array(image.convert("RGB")), None, ["CMYK was converted to sRGB without a usable profile."]


# ---- Reading PNG

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_RGB, _PNG_PALETTE, _PNG_GREY_ALPHA = 0, 2, 3, 4
_LONGEST_PROFILE = 16 << 20
_INCHES_PER_METRE = 1 / 0.0254


def _read_png(data):
    chunks, bare = _png_chunks(data)
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    _check_size(width, height)
    if depth == 16:
        samples = _decode_16_bits(bare)
        # OpenCV has no grey with alpha, it repeats the grey.
        picture = _picture(samples[..., [0, 3]] if colour == _PNG_GREY_ALPHA else samples)
    else:
        picture = _read_simple(bare, "PNG")
    picture.format = "PNG"
    if b"tRNS" in chunks and colour in (_PNG_GREY, _PNG_RGB):
        picture.alpha = _colour_key(picture, chunks[b"tRNS"], depth)
    if b"acTL" in chunks:
        picture.warnings.append("Only the first frame of its animation was read.")
    if b"cICP" in chunks:
        picture.warnings.append("Its cICP colour tag is not kept.")
    if len(chunks.get(b"pHYs", b"")) == 9:
        x, y, unit = struct.unpack(">IIB", chunks[b"pHYs"])
        picture.dpi = _dpi((x / _INCHES_PER_METRE, y / _INCHES_PER_METRE)) if unit == 1 else None
    picture.exif = chunks.get(b"eXIf")
    picture.icc = _png_profile(chunks.get(b"iCCP"))
    return picture


def _plain_pixels(data):
    """The pixels of a PNG of 8-bit grey or RGB that is not turned, or None if it is another, or damaged."""
    chunks, bare = _png_chunks(data)
    width, height, *kind = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    _check_size(width, height)
    if kind not in ([8, _PNG_GREY], [8, _PNG_RGB]) or b"eXIf" in chunks:
        return None
    samples = _decode_with_opencv(bare)
    return None if samples is None else samples.reshape(height, width, -1)


def _png_chunks(data):
    """({name: content} of the small chunks, the file with nothing but the picture in it for the decoder).

    So metadata, however damaged or large, cannot keep a decoder from the pixels. Every checksum of the picture's own
    chunks is verified.
    """
    view, position, small, bare, name = memoryview(data), len(_PNG_SIGNATURE), {}, [_PNG_SIGNATURE], b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise PictureError("is cut short")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise PictureError("is cut short")
        content = view[position + 8 : end - 4]
        critical = name[:1].isupper()
        if critical and zlib.crc32(content, zlib.crc32(name)) != struct.unpack_from(">I", data, end - 4)[0]:
            raise PictureError("is damaged: a checksum in it is wrong")
        if name != b"IDAT":
            small.setdefault(name, bytes(content))
        if critical or name == b"tRNS" and small[b"IHDR"][9] == _PNG_PALETTE:
            bare.append(view[position:end])
        position = end
    return small, b"".join(bare)


def _decode_with_opencv(data):
    """(H, W) or (H, W, 3 or 4) uint8 or uint16 samples, RGB order; None if it cannot decode them."""
    import cv2

    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if samples is None or samples.ndim == 2:
        return samples
    return cv2.cvtColor(samples, cv2.COLOR_BGR2RGB if samples.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _decode_16_bits(data):
    samples = _decode_with_opencv(data)
    if samples is None or samples.dtype != np.uint16:
        raise PictureError("is damaged or compressed in a way that is not supported")
    return samples


def _colour_key(picture, content, depth):
    """Alpha of the PNGs that declare one colour transparent."""
    key = np.frombuffer(content, ">u2", 1 if picture.is_grey else 3) & (2**depth - 1)
    key = key * (picture.peak // (2**depth - 1))  # fewer than 8 bits were spread over 8
    return np.where((picture.pixels == key).all(-1), 0, picture.peak).astype(picture.pixels.dtype)


def _png_profile(content):
    _, _, compressed = (content or b"").partition(b"\0")
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(compressed[1:], _LONGEST_PROFILE)
    except zlib.error:
        return None  # a damaged profile is no profile
    return None if unpacking.unconsumed_tail else profile or None


# ---- Reading TIFF

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 277, 278, 279
_X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _RESOLUTION_UNIT, _PREDICTOR = 282, 283, 284, 296, 317
_TILE_OFFSETS, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _ICC = 324, 325, 338, 339, 34675
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNCOMPRESSED, _DEFLATE, _OLD_DEFLATE = 1, 8, 32946
_INTEGER, _FLOAT = 1, 3
_ASSOCIATED, _UNASSOCIATED = 1, 2  # alpha; 0 is unspecified
_CENTIMETRES_PER_INCH = Fraction("2.54")


def _read_tiff(data):
    tiff = TagDirectory(data)
    _check_size(tiff.number(_WIDTH, 0), tiff.number(_HEIGHT, 0))
    _check_tiff(tiff)
    if tiff.number(_BITS, 1) == 16:
        picture = _read_tiff_of_16_bits(data, tiff)
    else:
        if tiff.number(ORIENTATION, 1) != 1:  # Pillow would turn the picture, and we once more
            data = bytearray(data)
            TagDirectory(data).put(ORIENTATION, 1)
        picture = _read_simple(data, "TIFF")
    if tiff.has_next():
        picture.warnings.append("Only the first of its pages was read.")
    return replace(picture, exif=_tiff_exif(tiff), dpi=_tiff_dpi(tiff), format="TIFF")


def _check_tiff(tiff):
    """Refuse what is truncated and what a decoder would silently convert or misread."""
    if tiff.number(_SUBFILE, 0) & 1:
        raise PictureError("begins with a preview only, as camera raw files do; develop it to a picture first")
    starts = tiff.numbers(_STRIP_OFFSETS) or tiff.numbers(_TILE_OFFSETS)
    sizes = tiff.numbers(_STRIP_BYTES) or tiff.numbers(_TILE_BYTES)
    if not starts or any(start + size > len(tiff.data) for start, size in zip(starts, sizes, strict=False)):
        raise PictureError("is cut short")
    bits = tiff.numbers(_BITS, (1,))
    kinds = set(tiff.numbers(_SAMPLE_FORMAT, (_INTEGER,)))
    if _FLOAT in kinds:
        raise PictureError("holds floating-point samples; convert it to 8 or 16 bits first")
    if not kinds <= {_INTEGER, 4} or len(set(bits)) > 1 or bits[0] not in (1, 2, 4, 8, 16):
        raise PictureError("holds samples other than unsigned of 1 to 8 or 16 bits; convert it to 8 or 16 bits first")


def _read_tiff_of_16_bits(data, tiff):
    count = tiff.number(_SAMPLES, 1)
    photometric = tiff.number(_PHOTOMETRIC, _BLACK_IS_ZERO if count < 3 else _RGB)
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise PictureError("holds 16-bit colours other than grey and RGB; convert it to RGB first")
    if tiff.number(_COMPRESSION, _UNCOMPRESSED) in (_UNCOMPRESSED, _DEFLATE, _OLD_DEFLATE):
        samples = _decode_with_tifffile(data)
    elif tiff.number(_PLANAR, 1) == 1 and count in (1, 3, 4):
        samples = _decode_16_bits(data)  # separate planes and grey with alpha are read wrongly
    else:
        raise PictureError("is compressed in a way that is not supported; save it uncompressed or with deflate")
    samples = samples.reshape(*samples.shape[:2], count)
    if photometric == _WHITE_IS_ZERO:
        samples = np.concatenate([65535 - samples[..., :1], samples[..., 1:]], -1)
    colours = 3 if photometric == _RGB else 1
    picture = _with_extra_samples(samples, colours, tiff.numbers(_EXTRA_SAMPLES, (_UNASSOCIATED,)))
    picture.icc = tiff.content(_ICC)
    return picture


def _decode_with_tifffile(data):
    import logging

    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or its remarks land on standard error
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        samples = file.pages[0].asarray(squeeze=False)  # planes, depth, height, width, samples
    planes, depth, height, width, contiguous = samples.shape
    if depth != 1:
        raise PictureError("holds a volume, not a picture")
    return np.moveaxis(samples[:, 0], 0, -2).reshape(height, width, planes * contiguous)


def _with_extra_samples(samples, colours, meanings):
    """The first sample beyond the colours is alpha, unless the file says otherwise."""
    extra = samples.shape[2] - colours
    has_alpha = extra > 0 and meanings[0] in (_ASSOCIATED, _UNASSOCIATED)
    picture = _picture(samples[..., : colours + has_alpha])
    if extra > has_alpha:
        picture.warnings.append("The channels beside colour and alpha were left out.")
    if has_alpha and meanings[0] == _ASSOCIATED:
        alpha = np.maximum(picture.alpha, 1).astype(np.uint64)[..., None]
        pixels = (picture.pixels.astype(np.uint64) * 65535 + alpha // 2) // alpha
        picture.pixels = np.minimum(pixels, 65535).astype(np.uint16)
    return picture


def _tiff_dpi(tiff):
    try:
        x, y, unit = tiff.number(_X_RESOLUTION), tiff.number(_Y_RESOLUTION), tiff.number(_RESOLUTION_UNIT, 2)
    except DAMAGED_TAGS:
        return None
    if not x or not y or unit not in (2, 3):
        return None
    return _dpi((x, y) if unit == 2 else (x * _CENTIMETRES_PER_INCH, y * _CENTIMETRES_PER_INCH))


def _tiff_exif(tiff):
    """The descriptive tags of a TIFF as an EXIF block, None if there are none."""
    tree = tiff.description()
    if DESCRIPTION in tree and tree[DESCRIPTION][2].startswith(b'{"shape"'):
        del tree[DESCRIPTION]  # tifffile's note of the array's shape, which would make it misread a resized picture
    if not tree or set(tree) == {ORIENTATION} and tiff.number(ORIENTATION) == 1:
        return None
    return _exif_header(tiff.order) + pack_directory(tree, tiff.order, 8)


def _exif_header(order):
    return struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)


_READERS = {
    "PNG": _read_png,
    "JPEG": lambda data: _read_simple(data, "JPEG"),
    "TIFF": _read_tiff,
    "WebP": _read_webp,
    "BMP": lambda data: _read_simple(data, "BMP"),
    "GIF": lambda data: _read_simple(data, "GIF"),
}


# ---- Writing

_PARTS = {"alpha": "transparency", "icc": "ICC profile", "exif": "EXIF data", "dpi": "resolution"}


def write_picture(path, picture, quality=95, overwrite=False):
    """Write `picture` to the file `path`, whose suffix chooses the format, and return a list of warnings.

    PNG and TIFF (deflate) hold everything; WebP is written without loss but has 8 bits; JPEG has `quality` 1 to 100,
    full chroma resolution, 8 bits and no alpha; BMP has 8 bits and neither alpha nor metadata. Each warning is a
    sentence on something the format cannot hold. The file appears whole or not at all, its folder is created if need
    be. Raises PictureError for a suffix not in WRITABLE_SUFFIXES, if the file exists and `overwrite` is not given, if
    the picture has more pixels on a side than the format allows, and if it cannot be written.
    """
    path = Path(path)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise PictureError(f"{path} cannot be written: its suffix is none of {', '.join(_FORMATS)}")
    try:
        if max(picture.height, picture.width) > form.longest_side:
            raise PictureError(f"{form.name} holds at most {form.longest_side} pixels a side")
        if path.is_dir():
            raise PictureError("it is a folder")
        if path.exists() and not overwrite:
            raise PictureError("it exists already")
        stored, losses = _fit(picture, form)
        with written_whole(path, overwrite) as partial, open(partial, "xb") as file:
            form.encode(stored, file, quality)
    except Exception as error:
        raise PictureError(f"{path} cannot be written: {reason_of(error)}") from error
    return losses


def _fit(picture, form):
    """`picture` as far as the format can hold it, and a sentence on each thing that it cannot."""
    changes, losses = {}, []
    if picture.depth == 16 and "16 bits" not in form.holds:
        changes = {"pixels": _to_8_bits(picture.pixels), "alpha": _to_8_bits(picture.alpha)}
        losses.append(f"{form.name} holds 8 bits a channel: the 16-bit picture was rounded.")
    for name, words in _PARTS.items():
        if getattr(picture, name) is not None and name not in form.holds:
            changes[name] = None
            losses.append(f"{form.name} holds no {words}: it was left out.")
    if "icc" in form.holds and picture.icc and not form.allows_profile(picture):
        changes["icc"] = None
        losses.append(f"{form.name} holds no profile of this kind for these channels: it was left out.")
    if "exif" in form.holds and picture.exif:
        changes["exif"] = _exif_for(picture) if len(picture.exif) <= form.longest_exif else None
        if changes["exif"] is None:
            losses.append(f"The EXIF data are too long for {form.name} or damaged: they were left out.")
    return replace(picture, **changes), losses


def _to_8_bits(samples):
    return None if samples is None else ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _exif_for(picture):
    """The EXIF block with the picture's size where it states one; None if it cannot be read."""
    exif = bytearray(picture.exif)
    try:
        tiff = TagDirectory(exif)
    except DAMAGED_TAGS:
        return None
    fields = tiff.subdirectory(EXIF_DIRECTORY)
    for tag, size in zip(PIXEL_DIMENSIONS, (picture.width, picture.height), strict=True):
        with suppress(*DAMAGED_TAGS):  # no such field, or too short a one for the number
            tiff.put(tag, size, fields)
    return bytes(exif)


def _bands(picture, big_endian, rows=64):
    """The samples from top to bottom, (up to `rows`, W, C) at a time."""
    kind = picture.pixels.dtype.newbyteorder(">" if big_endian else "<")
    for top in range(0, picture.height, rows):
        parts = [picture.pixels[top : top + rows]]
        if picture.alpha is not None:
            parts.append(picture.alpha[top : top + rows, :, None])
        yield np.concatenate(parts, -1).astype(kind)


# ---- Writing PNG


def _encode_png(picture, file, quality):
    colour = (_PNG_GREY if picture.is_grey else _PNG_RGB) + (4 if picture.alpha is not None else 0)
    header = struct.pack(">IIBBBBB", picture.width, picture.height, picture.depth, colour, 0, 0, 0)
    file.write(_PNG_SIGNATURE + _png_chunk(b"IHDR", header))
    if picture.icc:
        file.write(_png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc)))
    if picture.dpi:
        file.write(_png_chunk(b"pHYs", struct.pack(">IIB", *(round(x * _INCHES_PER_METRE) for x in picture.dpi), 1)))
    if picture.exif:
        file.write(_png_chunk(b"eXIf", picture.exif))
    compressor = zlib.compressobj()
    above = None
    for band in _bands(picture, big_endian=True):
        step = band.shape[2] * band.itemsize
        rows = band.reshape(len(band), -1).view(np.uint8)
        above = np.zeros_like(rows[0]) if above is None else above
        file.write(_png_chunk(b"IDAT", compressor.compress(_png_filter(rows, above, step))))
        above = rows[-1]
    file.write(_png_chunk(b"IDAT", compressor.flush()) + _png_chunk(b"IEND", b""))


def _png_chunk(name, content):
    if not content and name == b"IDAT":
        return b""
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", zlib.crc32(name + content))


def _png_filter(rows, above, step):
    """(n, bytes) rows, each with the filter whose residuals are smallest: none, left, up or Paeth."""
    up = np.vstack([above[None], rows[:-1]])
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], corner[:, step:] = rows[:, :-step], up[:, :-step]
    filtered = np.stack([rows, rows - left, rows - up, rows - _paeth(left, up, corner)])
    cost = np.minimum(filtered, -filtered).sum(-1, dtype=np.int64)
    best = cost.argmin(0)
    chosen = filtered[best, np.arange(len(rows))]
    return np.hstack([np.array([0, 1, 2, 4], np.uint8)[best, None], chosen]).tobytes()


def _paeth(left, up, corner):
    """Whichever neighbour is nearest to left + up - corner; the PNG standard settles ties in this order."""
    across, down = up.astype(np.int16) - corner, left.astype(np.int16) - corner
    to_left, to_up, to_corner = np.abs(across), np.abs(down), np.abs(across + down)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))


# ---- Writing TIFF


def _encode_tiff(picture, file, quality):
    order, tree = "<", {}
    if picture.exif:
        exif = TagDirectory(picture.exif)
        order, tree = exif.order, exif.description()  # in the byte order of EXIF, so that it need not be changed
    file.write(_exif_header(order))
    rows, offsets, sizes = 64, [], []
    for band in _bands(picture, big_endian=order == ">", rows=rows):
        # Horizontal differences (the TIFF predictor), in native order for the subtraction.
        native = band.astype(band.dtype.newbyteorder("="))
        band[:, 1:] = native[:, 1:] - native[:, :-1]
        strip = zlib.compress(band.tobytes())
        offsets.append(file.tell())
        sizes.append(len(strip))
        file.write(strip + bytes(len(strip) % 2))
    start = file.tell()
    if start > 2**32 - 2**16:
        raise PictureError("TIFF holds at most 4 GB")
    tree |= _layout(picture, order, rows, offsets, sizes)
    file.write(pack_directory(tree, order, start))
    file.seek(4)
    file.write(struct.pack(order + "I", start))


def _layout(picture, order, rows, offsets, sizes):
    """The tags that say how the pixels are stored."""
    channels = picture.pixels.shape[2] + (picture.alpha is not None)

    def shorts(*values):
        return SHORT, len(values), struct.pack(f"{order}{len(values)}H", *values)

    def longs(*values):
        return LONG, len(values), struct.pack(f"{order}{len(values)}I", *values)

    def rational(value):
        value = Fraction(value).limit_denominator(1000)
        return RATIONAL, 1, struct.pack(order + "II", value.numerator, value.denominator)

    tree = {
        _WIDTH: longs(picture.width),
        _HEIGHT: longs(picture.height),
        _BITS: shorts(*[picture.depth] * channels),
        _COMPRESSION: shorts(_DEFLATE),
        _PHOTOMETRIC: shorts(_BLACK_IS_ZERO if picture.is_grey else _RGB),
        _STRIP_OFFSETS: longs(*offsets),
        _SAMPLES: shorts(channels),
        _ROWS_PER_STRIP: longs(rows),
        _STRIP_BYTES: longs(*sizes),
        _PLANAR: shorts(1),
        _PREDICTOR: shorts(2),
        _SAMPLE_FORMAT: shorts(*[_INTEGER] * channels),
    }
    if picture.alpha is not None:
        tree[_EXTRA_SAMPLES] = shorts(_UNASSOCIATED)
    if picture.dpi:
        tree |= {_X_RESOLUTION: rational(picture.dpi[0]), _Y_RESOLUTION: rational(picture.dpi[1])}
        tree[_RESOLUTION_UNIT] = shorts(2)
    if picture.icc:
        tree[_ICC] = UNDEFINED, len(picture.icc), picture.icc
    return tree


# ---- Writing with Pillow


def _encode_jpeg(picture, file, quality):
    # 4:4:4: halved chroma would smear what was just made sharp.
    exif = b"Exif\0\0" + picture.exif if picture.exif else b""
    options = {"dpi": picture.dpi} if picture.dpi else {}
    _image(picture).save(file, "JPEG", quality=quality, subsampling=0, icc_profile=picture.icc, exif=exif, **options)


def _encode_webp(picture, file, quality):
    # Lossless, as lossy WebP always halves the chroma; `exact` keeps the colour of transparent pixels; `quality` is
    # then only the effort, of which more gains little.
    options = {"icc_profile": picture.icc, "exif": picture.exif or b""}
    _image(picture).save(file, "WEBP", lossless=True, exact=True, quality=50, method=4, **options)


def _encode_bmp(picture, file, quality):
    _image(picture).save(file, "BMP", **({"dpi": picture.dpi} if picture.dpi else {}))


def _image(picture):
    from PIL import Image

    colour, alpha = Image.fromarray(np.squeeze(picture.pixels, 2) if picture.is_grey else picture.pixels), picture.alpha
    if alpha is not None:
        colour.putalpha(Image.fromarray(alpha))
    return colour


@dataclass(frozen=True)
class _Format:
    name: str
    encode: Callable  # (Picture, binary file, quality)
    holds: frozenset
    longest_side: int = 2**31 - 1
    longest_exif: int = 2**31 - 1

    def allows_profile(self, picture):
        """WebP stores grey as RGB, where a grey profile would be wrong; PNG forbids an RGB profile for grey."""
        space = picture.icc[16:20]
        if self.name == "WebP":
            return space == b"RGB "
        return self.name != "PNG" or space == (b"GRAY" if picture.is_grey else b"RGB ")


_EVERYTHING = frozenset({"16 bits", *_PARTS})
_PNG = _Format("PNG", _encode_png, _EVERYTHING)
_TIFF = _Format("TIFF", _encode_tiff, _EVERYTHING)
_JPEG = _Format("JPEG", _encode_jpeg, frozenset({"icc", "exif", "dpi"}), longest_side=65500, longest_exif=65527)
_WEBP = _Format("WebP", _encode_webp, frozenset({"alpha", "icc", "exif"}), longest_side=16383)
_BMP = _Format("BMP", _encode_bmp, frozenset({"dpi"}))
_FORMATS = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".tif": _TIFF, ".tiff": _TIFF, ".webp": _WEBP, ".bmp": _BMP}
WRITABLE_SUFFIXES = tuple(_FORMATS)
