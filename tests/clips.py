"""Small video files made with PyAV, for the tests of the video layer."""

import io
from fractions import Fraction

import av
import numpy as np
from PIL import Image

MILLISECONDS = Fraction(1, 1000)
LOSSLESS = {"libx264": {"qp": "0"}, "ffv1": {}, "libx265": {"x265-params": "log-level=none:lossless=1"}}
ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def planes(seed, pixel_format="yuv420p", width=64, height=48):
    """The planes of one frame of smooth moving waves with a little noise, [(rows, columns)], over the whole range."""
    rng = np.random.default_rng(seed)
    result = []
    frame = av.VideoFrame(width, height, pixel_format)
    bits = max(component.bits for component in frame.format.components)
    for number, plane in enumerate(frame.planes):
        y, x = np.mgrid[: plane.height, : plane.width] / max(plane.height, plane.width)
        wave = 0.5 + 0.4 * np.sin(9 * x + 7 * y + 0.5 * seed + number)
        noisy = wave * (2**bits - 1) + rng.normal(0, 2 ** (bits - 8) * 2, wave.shape)
        result.append(np.clip(noisy, 0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16))
    return result


def av_frame(arrays, pixel_format, width, height):
    """An av.VideoFrame with these planes."""
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, samples in zip(frame.planes, arrays, strict=True):
        np.frombuffer(plane, samples.dtype).reshape(plane.height, -1)[:, : plane.width] = samples
    return frame


def make_clip(
    path,
    times=range(0, 480, 40),
    *,
    time_base=MILLISECONDS,
    durations=None,
    width=64,
    height=48,
    pixel_format="yuv420p",
    codec="libx264",
    options=None,
    further_video=(),
    audio=(),
    subtitles=(),
    attachments=(),
    chapters=(),
    cover=None,
    tags=None,
    video_tags=None,
    colour=None,
    aspect=None,
    rotation=None,
    flip=False,
    format=None,
):
    """Write a clip and return its planes, one list per frame.

    times: timestamps in `time_base`. further_video: [options], a stream of the same pictures for each. audio: [(codec,
    seconds, tags)]. subtitles: [(codec, tags)], a line every 100 ms. attachments: [(name, MIME type, bytes)]. colour:
    (primaries, transfer, matrix, range) of H.273. rotation: degrees. cover: (name, MIME type, bytes), in Matroska.
    """
    times = list(times)
    made = [planes(i, pixel_format, width, height) for i in range(len(times))]
    with av.open(path, "w", format=format) as output:
        output.metadata.update(tags or {})
        if chapters:
            output.set_chapters(list(chapters))
        options = LOSSLESS.get(codec, {}) if options is None else options
        stream = output.add_stream(codec, rate=25, options=dict(options))
        videos = [stream, *(output.add_stream(codec, rate=25, options=dict(further)) for further in further_video)]
        for video in videos:
            _set_up(video, time_base, width, height, pixel_format, colour, aspect)
        stream.metadata.update(video_tags or {})
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=flip)
        tones = [_add_tone(output, *tone) for tone in audio]
        texts = [_add_text(output, *text) for text in subtitles]
        for name, mime_type, data in [*attachments, *([cover] if cover else [])]:
            output.add_attachment(name, mime_type, data)
        output.start_encoding()
        pictures = made, times, durations, time_base, pixel_format, width, height
        packets = [packet for video in videos for packet in _encoded(video, *pictures)]
        packets += [packet for tone in tones for packet in tone]
        packets += [packet for text in texts for packet in _lines(text, times[-1] * time_base if times else 0)]
        for packet in sorted(packets, key=_due):
            output.mux(packet)
    return made


def _set_up(stream, time_base, width, height, pixel_format, colour, aspect):
    context = stream.codec_context
    context.time_base, context.width, context.height, context.pix_fmt = time_base, width, height, pixel_format
    context.flags |= int(av.codec.context.Flags.frame_duration)
    if colour:
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = colour
    if aspect:
        context.sample_aspect_ratio = aspect


def _encoded(stream, made, times, durations, time_base, pixel_format, width, height):
    packets = []
    for i, (arrays, time) in enumerate(zip(made, times, strict=True)):
        frame = av_frame(arrays, pixel_format, width, height)
        frame.pts, frame.time_base = time, time_base
        frame.duration = durations[i] if durations else round(Fraction(1, 25) / time_base)
        packets += stream.encode(frame)
    return packets + (stream.encode(None) if made else [])


def _add_tone(output, codec, seconds, tags):
    stream = output.add_stream(codec, rate=48000)
    stream.metadata.update(tags)
    context = stream.codec_context
    context.layout = "mono"
    context.open()
    size = context.frame_size or 1024
    packets = []
    for start in range(0, int(seconds * 48000), size):
        wave = np.sin(np.arange(start, start + size) * (0.03 + 0.01 * stream.index))[None].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for resampled in av.AudioResampler(context.format, "mono", 48000).resample(frame):
            packets += stream.encode(resampled)
    return packets + stream.encode(None)


def _add_text(output, codec, tags):
    if codec == "ass":
        stream = output.add_stream("ass")
        stream.codec_context.subtitle_header = ASS_HEADER
        stream.codec_context.time_base = MILLISECONDS
    else:
        stream = output.add_mux_stream(codec)
    stream.time_base = MILLISECONDS
    stream.metadata.update(tags)
    return stream


def _lines(stream, length):
    for number, time in enumerate(range(0, int(length * 1000), 100)):
        is_ass = stream.codec_context is not None
        text = f"{number},0,Default,,0,0,0,,Zeile {number}" if is_ass else f"Zeile {number}: größer"
        packet = av.Packet(text.encode())
        packet.stream, packet.time_base = stream, MILLISECONDS
        packet.pts = packet.dts = time
        packet.duration = 80
        yield packet


def _due(packet):
    ticks = packet.dts if packet.dts is not None else packet.pts
    return ticks * packet.time_base


def packets_of(path, kind):
    """{stream index: [(bytes, presentation time in seconds, duration in seconds)]} of all streams of a kind."""
    result = {}
    with av.open(path) as container:
        for packet in container.demux():
            if packet.size and packet.stream.type == kind and packet.pts is not None:
                times = packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base
                result.setdefault(packet.stream.index, []).append((bytes(packet), *times))
    return result


def damage(path, numbers, new_content=None):
    """Overwrite the n-th video packets (in file order) with zeros, or with what `new_content(bytes)` returns."""
    with av.open(path) as container:
        packets = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        position = data.find(packets[number])
        assert position > 0
        size = len(packets[number])
        data[position : position + size] = bytes(size) if new_content is None else new_content(packets[number])
    path.write_bytes(data)


def png(width=8, height=8, colour=(200, 40, 40)):
    """The bytes of a small PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()
