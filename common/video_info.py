"""What a video stream is, as data: size, layout, timing, colour, and everything else its container carries."""

import struct
from dataclasses import asdict, dataclass, field
from fractions import Fraction

from common.video_frames import PixelLayout, layout_of, planar_equivalent

# Code points of Rec. ITU-T H.273, by which streams are tagged; 2 means "unspecified".
UNSPECIFIED = 2
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
PRIMARIES |= {10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100"}
TRANSFERS |= {10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "srgb", 14: "bt2020-10", 15: "bt2020-12"}
TRANSFERS |= {16: "smpte2084", 17: "smpte428", 18: "arib-std-b67"}
MATRICES = {0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco"}
MATRICES |= {9: "bt2020nc", 10: "bt2020c"}
RANGES = {1: "studio", 2: "full"}
FIELD_ORDERS = {1: "progressive", 2: "top first", 3: "bottom first", 4: "top coded first", 5: "bottom coded first"}
_MATRIX_NAMES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}


@dataclass(frozen=True)
class StreamInfo:
    """One stream beside the video that is read. `kind` is "audio", "subtitle", "attachment", "data" or "video"."""

    index: int
    kind: str
    codec: str | None = None
    language: str | None = None
    title: str | None = None
    disposition: tuple[str, ...] = ()
    tags: dict = field(default_factory=dict)


@dataclass(frozen=True)
class VideoInfo:
    """A video stream and its container. Everything but the size has a default, for videos made from nothing.

    layout: the planes to keep in the output; for RGB sources 4:4:4 at the depth of the source, although their frames
        come with 16 bits per sample (see `common.video_frames`).
    time_base: seconds per unit of every timestamp. rate: frames per second, average or guessed, for the progress bar
        and for encoders that want one; timestamps are what counts.
    frame_count: the container's number or (where `frame_count_exact` is False) an estimate; None if unknown.
    duration, start_time: seconds, Fractions; duration is None if unknown.
    display_matrix: 9 integers of FFmpeg's layout, or None; rotation: counter-clockwise degrees in it.
    primaries, transfer, color_space, color_range: code points of H.273 as tagged; see `matrix` and `full_range`.
    mastering_display, light_level: HDR metadata, in the notation of x265, or None.
    """

    width: int
    height: int
    layout: PixelLayout = PixelLayout()
    time_base: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)
    codec: str | None = None
    container: str | None = None
    pixel_format: str | None = None
    is_rgb: bool = False
    frame_count: int | None = None
    frame_count_exact: bool = False
    duration: Fraction | None = None
    start_time: Fraction = Fraction(0)
    sample_aspect_ratio: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None
    rotation: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    color_space: int = UNSPECIFIED
    color_range: int = 0
    mastering_display: str | None = None
    light_level: str | None = None
    interlaced: bool = False
    field_order: str | None = None
    tags: dict = field(default_factory=dict)
    stream_tags: dict = field(default_factory=dict)
    streams: tuple[StreamInfo, ...] = ()
    chapters: tuple[dict, ...] = ()

    @property
    def bits(self):
        return self.layout.bits

    @property
    def matrix(self):
        """Name of the colour matrix for `common.color`: as tagged, else by the primaries, else guessed by the size."""
        if self.color_space in _MATRIX_NAMES:
            return _MATRIX_NAMES[self.color_space]
        if self.primaries in (1, 5, 6, 7, 9):
            return {1: "bt709", 7: "smpte240m", 9: "bt2020"}.get(self.primaries, "bt601")
        return "bt709" if self.width >= 1280 or self.height > 576 else "bt601"

    @property
    def full_range(self):
        """Whether black is 0 and white 2**bits - 1; unspecified means studio range, but full for grey, as in FFmpeg."""
        return self.color_range == 2 or (self.color_range == 0 and self.layout.subsampling is None)

    @property
    def chroma_siting(self):
        """ "center" for JPEG-like video, else "left": where chroma samples lie between the columns of luma."""
        return "center" if self.codec in ("mjpeg", "mpeg1video") else "left"

    def to_dict(self):
        """The same as plain numbers, strings, lists and dictionaries for JSON."""
        result = asdict(self)
        result["layout"] = self.layout.pixel_format
        result["subsampling"] = list(self.layout.subsampling) if self.layout.subsampling else None
        result |= {"bits": self.bits, "alpha": self.layout.alpha, "matrix": self.matrix, "full_range": self.full_range}
        result["primaries"] = PRIMARIES.get(self.primaries, "unspecified")
        result["transfer"] = TRANSFERS.get(self.transfer, "unspecified")
        result["color_space"] = MATRICES.get(self.color_space, "unspecified")
        result["color_range"] = RANGES.get(self.color_range, "unspecified")
        return _plain(result)


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def describe(container, stream, av_frame, alpha):
    """The VideoInfo of an open av input container, its video stream, and the first decoded frame of it."""
    side_data = {data.type.name: bytes(data) for data in av_frame.side_data}
    matrix = side_data.get("DISPLAYMATRIX")
    context = stream.codec_context
    is_rgb = av_frame.format.is_rgb or av_frame.format.has_palette
    field_order = FIELD_ORDERS.get(context.field_order)
    duration = _duration(container, stream)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return VideoInfo(
        width=av_frame.width,
        height=av_frame.height,
        layout=_kept_layout(av_frame.format, alpha),
        time_base=stream.time_base or Fraction(1, 1000),
        rate=rate,
        codec=context.codec.canonical_name,
        container=container.format.name,
        pixel_format=av_frame.format.name,
        is_rgb=is_rgb,
        frame_count=stream.frames or (round(duration * rate) if duration else None),
        frame_count_exact=bool(stream.frames),
        duration=duration,
        start_time=Fraction(container.start_time or 0, 1_000_000),
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        display_matrix=struct.unpack("<9i", matrix) if matrix else None,
        rotation=av_frame.rotation if matrix else 0,
        mastering_display=_mastering_display(side_data.get("MASTERING_DISPLAY_METADATA")),
        light_level=_light_level(side_data.get("CONTENT_LIGHT_LEVEL")),
        interlaced=av_frame.interlaced_frame or context.field_order > 1,
        field_order=field_order,
        tags=dict(container.metadata),
        stream_tags=dict(stream.metadata),
        streams=tuple(_describe_stream(other) for other in container.streams if other.index != stream.index),
        chapters=tuple(container.chapters()),
        **_colour(stream, av_frame, is_rgb),
    )


def _kept_layout(pixel_format, alpha):
    """The layout worth keeping: the planes of the source, or 4:4:4 at its depth for RGB."""
    bits = max(8, *(component.bits for component in pixel_format.components))
    if pixel_format.has_palette:
        bits = 8
    if pixel_format.is_rgb or pixel_format.has_palette:
        return PixelLayout((1, 1), bits if bits <= 16 else 16, alpha)
    return layout_of(pixel_format.name) or layout_of(planar_equivalent(pixel_format))


def _colour(stream, av_frame, is_rgb):
    """Colour tags: of the frame, else of the stream. RGB was converted to BT.709 in full range."""
    context = stream.codec_context

    def tag(name, unspecified):
        of_frame = int(getattr(av_frame, name))
        return of_frame if of_frame != unspecified else int(getattr(context, name))

    full = 2 if is_rgb or av_frame.format.name.startswith("yuvj") else tag("color_range", 0)
    return {
        "primaries": tag("color_primaries", UNSPECIFIED),
        "transfer": tag("color_trc", UNSPECIFIED),
        "color_space": 1 if is_rgb else tag("colorspace", UNSPECIFIED),
        "color_range": full,
    }


def _duration(container, stream):
    if stream.duration is not None:
        return stream.duration * stream.time_base
    if container.duration is None:
        return None
    length = Fraction(container.duration, 1_000_000)
    # Matroska counts from zero, not from its first timestamp.
    return length - Fraction(container.start_time or 0, 1_000_000) if "matroska" in container.format.name else length


def _describe_stream(stream):
    tags = dict(stream.metadata)
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else getattr(stream, "name", None)
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec,
        language=tags.get("language"),
        title=tags.get("title") or tags.get("name") or tags.get("filename"),
        disposition=tuple(flag.name for flag in type(stream.disposition) if flag in stream.disposition),
        tags=tags,
    )


def _mastering_display(data):
    """AVMasteringDisplayMetadata as x265 writes it: chromaticities in 1/50000, luminance in 1/10000 cd/m2."""
    if not data or len(data) < 88:
        return None
    numbers = struct.unpack_from("<22i", data)
    if not (numbers[20] and numbers[21]):  # has_primaries, has_luminance
        return None
    values = [Fraction(n, d or 1) for n, d in zip(numbers[0:20:2], numbers[1:20:2], strict=True)]
    rx, ry, gx, gy, bx, by, wx, wy = (round(value * 50000) for value in values[:8])
    low, high = (round(value * 10000) for value in values[8:])
    return f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})"


def _light_level(data):
    return "{},{}".format(*struct.unpack_from("<2I", data)) if data and len(data) >= 8 else None
