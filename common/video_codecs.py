"""Which encoder suits a container and a pixel layout, and how each one takes its quality and effort."""

from dataclasses import dataclass, replace

from common.processor import has_avx512
from common.video_frames import VideoError, layout_of

SHORT_NAMES = {"h264": "libx264", "x264": "libx264", "avc": "libx264", "h265": "libx265", "x265": "libx265"}
SHORT_NAMES |= {"hevc": "libx265", "vp9": "libvpx-vp9", "vp8": "libvpx", "av1": "libsvtav1", "prores": "prores_ks"}
ODD_SIZES = ("ffv1", "libvpx-vp9", "libvpx", "prores_ks", "mjpeg", "mpeg4", "ffvhuff", "utvideo")
LOSSLESS = ("ffv1", "ffvhuff", "huffyuv", "utvideo", "magicyuv", "png", "rawvideo", "prores_ks")  # or nearly so
NARROW_X265 = 64  # in narrower pictures x265's adaptive quantisation writes beyond its memory (seen up to 48)
OTHER_QUALITIES = {"qp", "b", "cq", "global_quality"}  # options that stand against a CRF
MOV_FAMILY = ("mp4", "mov", "ipod", "3gp", "3g2", "f4v", "psp")
MATROSKA_FAMILY = ("matroska", "webm")

# Containers that give back the time of each frame. Raw streams have no times, MPEG's program streams and MXF know
# standard frame rates only.
FILM_CONTAINERS = (*MOV_FAMILY, *MATROSKA_FAMILY, "avi", "mpegts", "flv", "asf", "nut")
SPECIAL_CONTAINERS = ("ivf", "ogg", "gif")  # ... as these do, for encoders of their own


@dataclass(frozen=True)
class Encoder:
    """How an encoder takes its quality and effort; None where it has no such thing."""

    crf: int | None = None
    preset: str | None = None
    crf_option: str = "crf"
    preset_option: str = "preset"
    options: tuple[tuple[str, str], ...] = ()


# These qualities look alike; presets are on the fast side where an encoder is slower than most networks.
ENCODERS = {
    "libx264": Encoder(18, "medium"),
    "libx265": Encoder(20, "fast", options=(("x265-params", "log-level=error"),)),
    "libvpx-vp9": Encoder(24, "4", preset_option="cpu-used", options=(("b", "0"), ("row-mt", "1"))),
    "libvpx": Encoder(10, "4", preset_option="cpu-used", options=(("b", "8000000"),)),
    "libsvtav1": Encoder(24, "8"),
    "h264_nvenc": Encoder(20, "p5", crf_option="cq"),
    "hevc_nvenc": Encoder(22, "p5", crf_option="cq"),
    "av1_nvenc": Encoder(26, "p5", crf_option="cq"),
    "wmv2": Encoder(options=(("flags", "+qscale"),)),  # else it keeps to 200 kbit/s
    "ffv1": Encoder(options=(("level", "3"), ("slicecrc", "1"))),
}


def repeatable(codec):
    """Options with which an encoder makes the same of the same frames every time, with the same number of threads.

    With AVX-512 the macroblock tree of x264 reads memory that nobody has written, at some widths, such as 96 and 320.
    """
    return {"x264-params": "asm=avx2"} if codec == "libx264" and has_avx512() else {}


def default_codec(container, layout):
    """The encoder for a container (FFmpeg's name) and a PixelLayout that keeps most and that most players know."""
    if container == "webm":
        return "libsvtav1" if layout.bits > 8 else "libvpx-vp9"
    if container == "asf":
        return "wmv2"
    if layout.alpha and container == "mov":
        return "prores_ks"
    if container in ("matroska", "nut", "avi") and (layout.alpha or layout.bits > 12):
        return "ffv1"
    if container == "avi" and layout.bits > 8:
        return "ffv1"
    return "libx264" if layout.bits == 8 else "libx265"


def choose_codec(codec, container, layout):
    """The name of the encoder that `codec` stands for, or that suits a container and a PixelLayout if it is None."""
    codec = codec and codec.lower()
    return SHORT_NAMES.get(codec, codec) or default_codec(container, layout)


def find_encoder(codec):
    """The av.Codec of an encoder by its name or short name. Raises VideoError if there is none."""
    import av
    from av.codec.codec import UnknownCodecError

    try:
        encoder = av.Codec(SHORT_NAMES.get(codec, codec), "w")
    except UnknownCodecError as error:
        known = ", ".join(ENCODERS)
        raise VideoError(f"{codec} is not an encoder that this PyAV has; known ones are {known}") from error
    if encoder.type != "video":
        raise VideoError(f"{codec} does not encode video")
    return encoder


def check_times(name, container, codec, copied=False):
    """Raise VideoError if a container (FFmpeg's name) does not keep the time of each frame of an av.Codec.

    copied: the packets come from elsewhere, so that it cannot be seen to that they are stored in the order shown.
    """
    by_order = ("asf", "avi") if copied else ("asf",)  # they store when a packet is decoded, not when it is shown
    reordered = container in by_order and codec.canonical_name in ("h264", "hevc")
    if reordered or container not in FILM_CONTAINERS + SPECIAL_CONTAINERS:
        what = f"{container} with {codec.canonical_name}" if reordered else container
        raise VideoError(f"{name} would lose the times of its frames, which {what} does not keep; choose .mkv")


def supported_layout(encoder, wanted, warnings):
    """The PixelLayout nearest to `wanted` that an av.Codec encodes; what is lost is added to `warnings`."""
    from av.codec.codec import find_best_pix_fmt_of_list

    formats = [pixel_format.name for pixel_format in encoder.video_formats or ()]
    if wanted.alpha and encoder.name == "libvpx-vp9":
        formats = [name for name in formats if name == "yuva420p" or "yuva" not in name]  # it refuses the others
    if not formats or wanted.pixel_format in formats:
        return wanted
    usable = [name for name in formats if layout_of(name) is not None]
    if wanted.subsampling:  # or a film would lose its colours
        usable = [name for name in usable if layout_of(name).subsampling]
    if not usable:
        raise VideoError(f"{encoder.name} takes no planar YUV, and so none of these frames")
    best, _ = find_best_pix_fmt_of_list(usable, wanted.pixel_format, has_alpha=wanted.alpha)
    layout = layout_of(best.name)
    losses = []
    if layout.bits < wanted.bits:
        losses.append(f"{wanted.bits} bits become {layout.bits}")
    if wanted.alpha and not layout.alpha:
        losses.append("transparency is dropped")
    if wanted.subsampling not in (None, layout.subsampling):
        losses.append(f"the chroma subsampling becomes that of {layout.pixel_format}")
    if losses:
        warnings.append(f"{encoder.name} cannot encode {wanted.pixel_format}: {', '.join(losses)}.")
    return layout


def needed_padding(codec, layout, height, width):
    """(rows, columns) to add to a frame, because most encoders store whole samples of chroma only."""
    columns, rows = layout.subsampling or (1, 1)
    return (0, 0) if codec in ODD_SIZES else (-height % rows, -width % columns)


def encoder_options(codec, crf, preset, further, info, width, warnings):
    """Options of an encoder for quality, effort and the HDR metadata of a VideoInfo; losses go to `warnings`.

    width: of the frames that are encoded, in pixels.
    further: options that override these; one that sets the quality takes the place of the default CRF.
    """
    encoder = ENCODERS.get(codec, Encoder())
    if crf is None and OTHER_QUALITIES & set(further):
        encoder = replace(encoder, crf=None)
    options = dict(encoder.options) | repeatable(codec)
    for name, option, given, default in (
        ("CRF", encoder.crf_option, crf, encoder.crf),
        ("preset", encoder.preset_option, preset, encoder.preset),
    ):
        if given is not None and default is None:
            warnings.append(f"The encoder {codec} has no {name}, so {given} was ignored.")
        elif default is not None:
            options[option] = str(default if given is None else given)
    if codec == "libx265":
        if width < NARROW_X265:
            options["x265-params"] += ":aq-mode=0:cutree=0"
        if info.mastering_display:
            options["x265-params"] += f":hdr10=1:master-display={info.mastering_display}"
        if info.light_level:
            options["x265-params"] += f":max-cll={info.light_level}"
    elif info.mastering_display or info.light_level:
        warnings.append(f"The encoder {codec} does not store the HDR mastering metadata of the source.")
    if info.chroma_siting == "center":
        options["chroma_sample_location"] = "center"
    return options | {key: str(value) for key, value in further.items()}
