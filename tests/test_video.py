"""What goes into a video comes out of it: planes, times, sound and tags; what is no video is refused in a sentence."""

import io
import itertools
import json
import os
import queue
import resource
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from common import video_reader
from common.images import Picture, read_picture, write_picture
from common.video import (
    Frame,
    PixelLayout,
    VideoError,
    VideoReader,
    VideoWriter,
    cut,
    frame_of_rgb,
    info_of_frames,
    is_pictures,
    is_video,
    open_video,
    open_writer,
    rgb_of_frame,
)
from common.video_commands import main
from common.video_frames import av_frame_of, converted, layout_of, planes_of, requantised

ROOT = Path(__file__).parent.parent
CHECKED_MEMORY = "/lib/x86_64-linux-gnu/libc_malloc_debug.so.0"
VARIABLE = [0, 40, 80, 120, 200, 280, 300, 1000, 1040, 1080, 1120, 1160]
VARIABLE_DURATIONS = [40, 40, 40, 80, 80, 20, 700, 40, 40, 40, 40, 33]
LOSSLESS = {"options": {"qp": "0"}}
SAME = {"src_colorspace": 1, "dst_colorspace": 1, "src_color_range": 1, "dst_color_range": 1, "threads": 1}
CHAPTERS = [
    {"id": 1, "start": 0, "end": 200, "time_base": clips.MILLISECONDS, "metadata": {"title": "Eins"}},
    {"id": 2, "start": 200, "end": 480, "time_base": clips.MILLISECONDS, "metadata": {"title": "Zwölf"}},
]


def read(path, **options):
    with open_video(path, **options) as reader:
        return list(reader), reader


def copy(source, target, change=lambda frame: frame, **options):
    """Pass a video through reader and writer; returns (frames read, reader, writer)."""
    frames = []
    with open_video(source) as reader, open_writer(target, reader, **options) as writer:
        for frame in reader:
            frames.append(frame)
            writer.write(change(frame))
    return frames, reader, writer


def arrays(frame):
    return [frame.luma, *(frame.chroma or ()), *([] if frame.alpha is None else [frame.alpha])]


def same_planes(frame, expected):
    return all(np.array_equal(a, b) for a, b in zip(arrays(frame), expected, strict=True))


def enlarged(frame, scale=2):
    """Nearest-neighbour enlargement of every plane, as a network would enlarge them."""
    luma, *rest = (plane.repeat(scale, 0).repeat(scale, 1) for plane in arrays(frame))
    chroma = tuple(rest[:2]) if frame.chroma else None
    return replace(frame, luma=luma, chroma=chroma, alpha=rest[-1] if frame.alpha is not None else None)


def sentence(caught):
    """The message of an error, which must be one line."""
    text = str(caught.value)
    assert text and "\n" not in text and not text.endswith(".")
    return text


def leftovers(folder):
    return [path.name for path in folder.iterdir() if ".part" in path.name]


def run(*arguments, **options):
    """`python -m common.video` in a process of its own."""
    command = [sys.executable, "-m", "common.video", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, **options)


# ---- Planes


@pytest.mark.parametrize(
    "pixel_format, codec",
    [
        ("yuv420p", "libx264"),
        ("yuv422p", "libx264"),
        ("yuv444p", "libx264"),
        ("yuv420p10le", "libx264"),
        ("yuv422p10le", "ffv1"),
        ("yuv420p12le", "libx265"),
        ("yuv444p16le", "ffv1"),
        ("yuv411p", "ffv1"),
        ("yuv440p", "ffv1"),
        ("gray", "ffv1"),
        ("gray10le", "ffv1"),
        ("gray16le", "ffv1"),
        ("yuva420p", "ffv1"),
        ("yuva444p10le", "ffv1"),
    ],
)
@pytest.mark.parametrize("width, height", [(64, 48), (68, 52)])
def test_planes_are_read_and_written_as_they_are(tmp_path, pixel_format, codec, width, height):
    made = clips.make_clip(
        tmp_path / "in.mkv", range(0, 200, 40), pixel_format=pixel_format, codec=codec, width=width, height=height
    )
    frames, reader, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mkv", codec="ffv1")
    assert layout_of(pixel_format) == reader.info.layout
    assert all(same_planes(frame, planes) for frame, planes in zip(frames, made, strict=True))
    back, again = read(tmp_path / "out.mkv")
    assert all(same_planes(frame, planes) for frame, planes in zip(back, made, strict=True))
    assert again.info.layout == reader.info.layout and writer.warnings == []


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv410p", "gray", "yuva420p"])
def test_odd_sizes_are_exact_where_the_codec_allows(tmp_path, pixel_format):
    made = clips.make_clip(tmp_path / "in.mkv", [0, 40], pixel_format=pixel_format, codec="ffv1", width=67, height=51)
    frames, _, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mkv", codec="ffv1")
    back, _ = read(tmp_path / "out.mkv")
    for frame, again, planes in zip(frames, back, made, strict=True):
        assert frame.luma.shape == (51, 67) and same_planes(frame, planes) and same_planes(again, planes)
    assert writer.warnings == []


def test_h264_pads_odd_subsampled_sizes_and_says_so(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40], codec="ffv1", width=65, height=49)
    frames, _, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mp4", lambda f: enlarged(f, 3), scale=3, **LOSSLESS)
    back, again = read(tmp_path / "out.mp4")
    assert (writer.width, writer.height) == (195, 147) and (again.info.width, again.info.height) == (196, 148)
    high = enlarged(frames[1], 3)
    assert np.array_equal(back[1].luma[:147, :195], high.luma)
    assert np.array_equal(back[1].luma[147, :195], high.luma[146]) and np.array_equal(
        back[1].chroma[0][:74, :98], high.chroma[0][:74, :98]
    )
    assert len(writer.warnings) == 1 and "196x148 instead of 195x147" in writer.warnings[0]


def test_h264_stores_odd_sizes_of_444_exactly(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40], codec="ffv1", pixel_format="yuv444p", width=65, height=49)
    frames, _, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mp4", **LOSSLESS)
    back, again = read(tmp_path / "out.mp4")
    assert again.info.codec == "h264" and writer.warnings == [] and same_planes(back[1], arrays(frames[1]))


def test_grey_keeps_its_range_in_h264(tmp_path):
    made = clips.make_clip(tmp_path / "in.mkv", [0, 40], pixel_format="gray", codec="ffv1", width=65, height=49)
    _, reader, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mp4", **LOSSLESS)
    back, again = read(tmp_path / "out.mp4")
    assert reader.info.full_range and again.info.full_range and writer.layout.subsampling is None
    assert np.array_equal(back[1].luma, made[1][0]) and writer.warnings == []
    assert all((plane == 128).all() for plane in back[1].chroma)  # which is how FFmpeg gives back grey H.264


@pytest.mark.parametrize("width, height", [(70, 50), (75, 51)])
@pytest.mark.parametrize(
    "packed, layout",
    [
        ("yuyv422", "yuv422p"),
        ("uyvy422", "yuv422p"),
        ("y210le", "yuv422p10le"),
        ("yuv422p10be", "yuv422p10le"),
        ("vuya", "yuva444p"),
        ("v30xle", "yuv444p10le"),
    ],
)
def test_packed_formats_become_planes(packed, layout, width, height):
    made = clips.planes(3, layout, width, height)
    frame = clips.av_frame(made, layout, width, height)
    luma, chroma, alpha, bits = planes_of(frame.reformat(format=packed, **SAME))
    found = [luma, *chroma, *([] if alpha is None else [alpha])]
    assert bits == layout_of(layout).bits and all(np.array_equal(a, b) for a, b in zip(found, made, strict=True))


@pytest.mark.parametrize("width, height", [(70, 50), (75, 51)])
@pytest.mark.parametrize(
    "name, layout",
    [("nv12", "yuv420p"), ("nv21", "yuv420p"), ("nv16", "yuv422p"), ("nv24", "yuv444p")]
    + [("p010le", "yuv420p10le"), ("p016le", "yuv420p16le"), ("p210le", "yuv422p10le"), ("p412le", "yuv444p12le")],
)
def test_semi_planar_formats_become_planes(name, layout, width, height):
    luma, u, v = clips.planes(3, layout, width, height)
    bits = layout_of(layout).bits
    pairs = np.stack([v, u] if name == "nv21" else [u, v], axis=-1).reshape(u.shape[0], -1)
    frame = av.VideoFrame(width, height, name)
    for plane, samples in zip(frame.planes, (luma, pairs), strict=True):
        lines = np.frombuffer(plane, samples.dtype).reshape(plane.height, -1)
        lines[:, : samples.shape[1]] = samples << (16 - bits if bits > 8 else 0)
    found = planes_of(frame)
    assert np.array_equal(found[0], luma) and found[2:] == (None, bits)
    assert np.array_equal(found[1][0], u) and np.array_equal(found[1][1], v)


@pytest.mark.parametrize(
    "pixel_format", ["rgb24", "bgra", "gbrp", "gbrp10le", "gbrp16le", "rgb48le", "rgba64le", "bgr0"]
)
def test_rgb_comes_back_exactly(pixel_format):
    rng = np.random.default_rng(5)
    frame = av.VideoFrame(37, 23, pixel_format)
    bits = max(component.bits for component in frame.format.components)
    for plane in frame.planes:
        samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
        samples[:] = rng.integers(0, 2**bits, samples.shape)
    luma, chroma, alpha, depth = planes_of(frame)
    assert depth == 16 and luma.shape == chroma[0].shape == (23, 37)
    assert (alpha is not None) == (pixel_format in ("bgra", "rgba64le"))
    rgb = rgb_of_frame(Frame(luma, chroma, None, depth), "bt709", True)
    if bits == 10:
        planes = [np.frombuffer(p, np.uint16).reshape(p.height, -1)[:, :37] for p in frame.planes]
        expected = np.stack([planes[2], planes[0], planes[1]], axis=-1)
    else:
        packed = frame.reformat(format="rgb24" if bits == 8 else "rgb48le", **SAME).to_ndarray()
        expected = packed.reshape(23, 37, 3)
    error = np.abs(rgb * (2**bits - 1) - expected).max()
    assert error < 0.5 if bits <= 10 else error < 3


def test_rgb_video_keeps_its_colours_through_the_writer(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40], pixel_format="bgra", codec="ffv1")
    frames, reader, _ = copy(tmp_path / "in.mkv", tmp_path / "out.mkv", codec="ffv1")
    assert reader.info.is_rgb and reader.info.bits == 8 and frames[0].bits == 16 and frames[0].alpha is not None
    back, again = read(tmp_path / "out.mkv")
    assert again.info.layout == PixelLayout((1, 1), 8, True) and again.info.full_range and again.info.matrix == "bt709"
    before, after = (rgb_of_frame(frame[0], "bt709", True) for frame in (frames, back))
    assert np.abs(before - after).max() < 2 / 255


def test_mean_colour_survives_every_matrix_and_range():
    for matrix in ("bt601", "bt709", "bt2020"):
        for full_range in (False, True):
            for bits in (8, 10):
                colour = np.broadcast_to(np.float32([0.8, 0.15, 0.4]), (24, 32, 3))
                frame = frame_of_rgb(colour, PixelLayout((2, 2), bits), matrix, full_range)
                assert frame.chroma[0].shape == (12, 16)
                error = np.abs(rgb_of_frame(frame, matrix, full_range) - colour).max()
                assert error < 2.2 / 2**bits
    # Against libswscale, in the way a player would show it.
    frame = frame_of_rgb(colour, PixelLayout((1, 1)), "bt709", False)
    shown = av_frame_of(frame).reformat(format="rgb24", src_colorspace="itu709", src_color_range="MPEG").to_ndarray()
    assert np.abs(shown[5, 5] - 255 * colour[0, 0]).max() <= 2


@pytest.mark.parametrize("siting", ["left", "center"])
def test_chroma_keeps_its_place_when_its_subsampling_changes(siting):
    ramp = np.arange(64, dtype=np.float32)[None].repeat(32, 0) * 2 + 60
    full = Frame(np.zeros((32, 64), np.uint8), (ramp.astype(np.uint8),) * 2)
    half = converted(full, PixelLayout((2, 2)), siting=siting)
    again = converted(half, PixelLayout((1, 1)), siting=siting)
    assert half.chroma[0].shape == (16, 32)
    assert np.abs(again.chroma[0][4:-4, 4:-4].astype(int) - ramp[4:-4, 4:-4]).max() <= 1
    columns = half.chroma[0][8].astype(float)
    assert columns[10] == pytest.approx(ramp[0, 20] + (siting == "center"), abs=0.5)


def test_depth_and_range_are_converted_by_the_standard():
    black_and_white = np.array([[16, 235, 126]], np.uint8)
    assert requantised(black_and_white, 8, 10, False).tolist() == [[64, 940, 504]]
    assert requantised(black_and_white, 8, 8, False, True).tolist() == [[0, 255, 128]]
    assert requantised(np.array([[0, 255]], np.uint8), 8, 16).tolist() == [[0, 65535]]
    assert requantised(np.array([[128]], np.uint8), 8, 10, True, False, chroma=True).tolist() == [[512]]


# ---- Times


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
@pytest.mark.parametrize("offset", [0, 5000])
def test_variable_rate_gaps_and_start_offset_survive(tmp_path, suffix, offset):
    times = [time + offset for time in VARIABLE]
    clips.make_clip(tmp_path / "in.mkv", times, durations=VARIABLE_DURATIONS)
    frames, reader, writer = copy(tmp_path / "in.mkv", tmp_path / f"out{suffix}")
    assert [frame.time * 1000 for frame in frames] == times and reader.info.frame_count_exact is False
    back, again = read(tmp_path / f"out{suffix}")
    assert [frame.time * 1000 for frame in back] == times
    assert writer.warnings == reader.warnings == again.warnings == []
    if suffix in (".mkv", ".webm"):
        assert [frame.duration for frame in back] == VARIABLE_DURATIONS
    else:
        assert again.info.duration == Fraction(sum(VARIABLE_DURATIONS) + 0, 1000)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
@pytest.mark.parametrize("number", [1, 3, 9])
def test_the_last_picture_of_an_mp4_is_shown_as_long_as_it_was(tmp_path, codec, number):
    times, durations = range(0, 40 * number, 40), [40] * (number - 1) + [3000]
    clips.make_clip(tmp_path / "in.mkv", times, durations=durations)
    _, _, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mp4", codec=codec)
    back, again = read(tmp_path / "out.mp4")
    assert again.info.duration == Fraction(sum(durations), 1000) and writer.warnings == again.warnings == []
    assert [frame.time * 1000 for frame in back] == list(times)


@pytest.mark.parametrize("suffix", [".wmv", ".asf"])
def test_asf_keeps_times_and_quality(tmp_path, suffix):
    clips.make_clip(tmp_path / "in.mkv", VARIABLE, durations=VARIABLE_DURATIONS)
    frames, _, writer = copy(tmp_path / "in.mkv", tmp_path / f"out{suffix}")
    back, again = read(tmp_path / f"out{suffix}")
    assert [frame.time * 1000 for frame in back] == VARIABLE and writer.warnings == [] and again.info.codec == "wmv2"
    assert all(np.abs(a.luma.astype(int) - b.luma).mean() < 2 for a, b in zip(frames, back, strict=True))


def test_time_bases_finer_than_milliseconds_are_exact_in_mp4_and_said_in_matroska(tmp_path):
    time_base = Fraction(1001, 30000)
    clips.make_clip(tmp_path / "in.mp4", range(12), time_base=time_base)
    frames, reader, writer = copy(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert [frame.time for frame in read(tmp_path / "out.mp4")[0]] == [i * time_base for i in range(12)]
    assert [frame.time for frame in frames] == [i * time_base for i in range(12)] and writer.warnings == []
    _, _, writer = copy(tmp_path / "in.mp4", tmp_path / "out.mkv")
    assert len(writer.warnings) == 1 and "steps of 1 ms" in writer.warnings[0]


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_shortest_clips_in_h265(tmp_path, suffix, number):
    clips.make_clip(tmp_path / "in.mkv", range(0, 40 * number, 40))
    copy(tmp_path / "in.mkv", tmp_path / f"out{suffix}", codec="h265")
    assert [frame.time for frame in read(tmp_path / f"out{suffix}")[0]] == [Fraction(i, 25) for i in range(number)]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"])
def test_no_frame_is_lost_to_the_delay_of_decoder_or_encoder(tmp_path, codec):
    clips.make_clip(tmp_path / "in.mkv", range(0, 1200, 40), options={"bf": "4"})
    frames, _, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mkv", codec=codec)
    back, _ = read(tmp_path / "out.mkv")
    assert len(frames) == len(back) == writer.frames_written == 30
    assert [frame.pts for frame in back] == list(range(0, 1200, 40))


def test_streams_without_timestamps_and_counts_are_read(tmp_path):
    clips.make_clip(tmp_path / "in.h264", range(20), time_base=Fraction(1, 25), options={"bf": "3"})
    frames, reader = read(tmp_path / "in.h264")
    assert reader.info.frame_count is None and len({frame.pts for frame in frames}) == 20
    assert frames[-1].time - frames[0].time == Fraction(19, 25)
    clips.make_clip(tmp_path / "in.avi", range(20), time_base=Fraction(1, 25), options={"bf": "3"})
    assert [frame.pts for frame in read(tmp_path / "in.avi")[0]] == list(range(20))


def test_a_piece_is_read_by_its_times(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [5000 + 40 * i for i in range(30)], options={"g": "5"})
    frames, reader = read(tmp_path / "in.mkv", start=0.4, end=0.8)
    assert reader.begin == 5 and [frame.pts for frame in frames] == list(range(5400, 5800, 40))
    with pytest.raises(VideoError, match="no frame in that piece"):
        read(tmp_path / "in.mkv", start=9)


# ---- Everything else in the file


@pytest.fixture
def rich_clip(tmp_path):
    """A Matroska file with all kinds of streams and tags."""
    path = tmp_path / "rich.mkv"
    clips.make_clip(
        path,
        audio=[("aac", 0.5, {"language": "ger"}), ("libopus", 0.6, {"language": "eng", "title": "Kommentar"})],
        subtitles=[("subrip", {"language": "ger"}), ("ass", {"language": "eng"})],
        attachments=[("schrift.ttf", "font/ttf", b"font" * 99)],
        cover=("cover.png", "image/png", clips.png()),
        chapters=CHAPTERS,
        tags={"title": "Ein schöner Tag", "ARTIST": "Wer", "WHATEVER": "x"},
        video_tags={"language": "jpn", "title": "Hauptbild"},
        rotation=90,
    )
    return path


def test_everything_in_matroska_survives(tmp_path, rich_clip):
    _, reader, writer = copy(rich_clip, tmp_path / "out.mkv", enlarged, scale=2)
    assert writer.warnings == reader.warnings == []
    for kind in ("audio", "subtitle"):
        assert clips.packets_of(rich_clip, kind) == clips.packets_of(tmp_path / "out.mkv", kind)
    _, again = read(tmp_path / "out.mkv")
    before, after = reader.info, again.info
    assert (after.width, after.height) == (2 * before.width, 2 * before.height)
    assert after.streams == before.streams and len(after.streams) == 6
    assert [c["metadata"]["title"] for c in after.chapters] == ["Eins", "Zwölf"] and after.chapters == before.chapters
    assert after.tags == before.tags and after.tags["WHATEVER"] == "x"
    assert after.stream_tags == before.stream_tags and after.stream_tags["language"] == "jpn"
    assert after.rotation == before.rotation == 90
    with av.open(tmp_path / "out.mkv") as container:
        fonts = [stream.data for stream in container.streams.attachments]
    assert fonts == [b"font" * 99] and list(again.cover_pictures.values()) == [clips.png()]


def test_what_mp4_cannot_hold_is_named(tmp_path, rich_clip):
    _, _, writer = copy(rich_clip, tmp_path / "out.mp4")
    text = " ".join(writer.warnings)
    assert "Subtitle stream 3 (subrip, ger) was encoded anew as mov_text" in text
    assert "schrift.ttf" in text and "WHATEVER" in text and len(writer.warnings) == 4
    sound = [[packet[0] for packet in packets] for packets in clips.packets_of(rich_clip, "audio").values()]
    assert [[p[0] for p in packets] for packets in clips.packets_of(tmp_path / "out.mp4", "audio").values()] == sound
    _, again = read(tmp_path / "out.mp4")
    assert again.info.tags["title"] == "Ein schöner Tag" and len(again.info.chapters) == 2
    with av.open(tmp_path / "out.mp4") as container:
        lines = [p for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
        assert "Zeile 0: größer".encode() in bytes(lines[0])
        assert [stream.language for stream in container.streams.subtitles] == ["ger", "eng"]
    _, _, writer = copy(tmp_path / "out.mp4", tmp_path / "back.mkv")
    assert "Subtitle stream 3 (mov_text, ger) was encoded anew as subrip" in " ".join(writer.warnings)
    original, back = (clips.packets_of(path, "subtitle")[3] for path in (rich_clip, tmp_path / "back.mkv"))
    assert [packet[:2] for packet in original] == [packet[:2] for packet in back]


def test_what_webm_cannot_hold_is_encoded_anew_or_named(tmp_path, rich_clip):
    _, _, writer = copy(rich_clip, tmp_path / "out.webm")
    text = " ".join(writer.warnings)
    assert "Audio stream 1 (aac, ger) was encoded anew as opus" in text
    assert "Subtitle stream 4 (ass, eng) was encoded anew as webvtt" in text
    assert "schrift.ttf) was left out" in text
    sound = clips.packets_of(tmp_path / "out.webm", "audio")
    ends = [packets[-1][1] + packets[-1][2] for packets in sound.values()]
    assert [round(float(end), 1) for end in ends] == [0.5, 0.6]
    assert clips.packets_of(rich_clip, "audio")[2] == sound[2]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_longer_than_the_video_and_none_at_all(tmp_path, suffix):
    clips.make_clip(
        tmp_path / "long.mp4",
        audio=[("aac", 3, {"language": "ita"})],
        time_base=Fraction(1, 12800),
        times=range(0, 6144, 512),
    )
    frames, _, writer = copy(tmp_path / "long.mp4", tmp_path / f"out{suffix}")
    before, after = (clips.packets_of(tmp_path / name, "audio")[1] for name in ("long.mp4", f"out{suffix}"))
    assert [packet[0] for packet in before] == [packet[0] for packet in after] and len(before) > 100
    assert max(abs(a[1] - b[1]) for a, b in zip(before, after, strict=True)) <= Fraction(1, 1000)
    assert [frame.time for frame in read(tmp_path / f"out{suffix}")[0]] == [frame.time for frame in frames]
    assert writer.warnings == []
    clips.make_clip(tmp_path / "silent.mp4")
    _, reader, writer = copy(tmp_path / "silent.mp4", tmp_path / f"quiet{suffix}")
    assert reader.info.streams == () and writer.warnings == []


def test_packets_lie_beside_their_pictures(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", range(0, 4000, 40), audio=[("aac", 4, {})])
    copy(tmp_path / "in.mkv", tmp_path / "out.mkv")
    with av.open(tmp_path / "out.mkv") as container:
        times = [packet.dts * packet.time_base for packet in container.demux() if packet.dts is not None]
    assert max(a - b for a, b in zip(times, times[1:], strict=False)) < Fraction(1, 5)


@pytest.mark.parametrize("rotation, flip", [(90, False), (180, False), (270, False), (90, True)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_rotation_survives(tmp_path, suffix, rotation, flip):
    clips.make_clip(tmp_path / "in.mp4", [0, 40], rotation=rotation, flip=flip)
    _, reader, writer = copy(tmp_path / "in.mp4", tmp_path / f"out{suffix}", enlarged, scale=2)
    assert (
        writer.warnings == [] and read(tmp_path / f"out{suffix}")[1].info.display_matrix == reader.info.display_matrix
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    "colour, matrix, full_range",
    [
        ((1, 1, 1, 1), "bt709", False),
        ((6, 6, 6, 1), "bt601", False),
        ((1, 13, 1, 2), "bt709", True),
        ((9, 16, 9, 1), "bt2020", False),
    ],
)
def test_colour_tags_and_pixel_aspect_survive(tmp_path, suffix, colour, matrix, full_range):
    clips.make_clip(tmp_path / "in.mkv", [0, 40], colour=colour, aspect=Fraction(16, 11))
    _, reader, writer = copy(tmp_path / "in.mkv", tmp_path / f"out{suffix}", enlarged, scale=2)
    for info in (reader.info, read(tmp_path / f"out{suffix}")[1].info):
        assert (info.primaries, info.transfer, info.color_space, info.color_range) == colour
        assert info.matrix == matrix and info.full_range == full_range
        assert info.sample_aspect_ratio == Fraction(16, 11)
    assert writer.warnings == []


def test_the_matrix_is_guessed_only_without_tags():
    small, large = info_of_frames(720, 576), info_of_frames(1920, 1080)
    assert (small.matrix, large.matrix) == ("bt601", "bt709")
    assert replace(large, color_space=6).matrix == "bt601" and replace(small, primaries=9).matrix == "bt2020"


def test_hdr_metadata_survives(tmp_path):
    mastering = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    options = {"x265-params": f"log-level=none:hdr10=1:master-display={mastering}:max-cll=1000,400"}
    colour = (9, 16, 9, 1)
    clips.make_clip(
        tmp_path / "in.mkv",
        range(0, 240, 40),
        pixel_format="yuv420p10le",
        codec="libx265",
        options=options,
        colour=colour,
    )
    _, reader, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mp4")
    _, again = read(tmp_path / "out.mp4")
    assert again.info.mastering_display == reader.info.mastering_display == mastering
    assert again.info.light_level == "1000,400" and again.info.bits == 10 and writer.warnings == []


def test_ten_bits_stay_ten_bits_and_transparency_stays(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40], pixel_format="yuv420p10le", codec="ffv1")
    frames, _, _ = copy(tmp_path / "in.mkv", tmp_path / "out.mp4")
    back, again = read(tmp_path / "out.mp4")
    assert again.info.codec == "hevc" and again.info.bits == 10
    assert np.abs(back[0].luma.astype(int) - frames[0].luma).mean() < 8  # of 1023
    clips.make_clip(tmp_path / "alpha.mkv", [0, 40], pixel_format="yuva420p", codec="ffv1")
    for suffix in (".mkv", ".webm", ".mov"):
        frames, _, writer = copy(tmp_path / "alpha.mkv", tmp_path / f"out_alpha{suffix}")
        back, _ = read(tmp_path / f"out_alpha{suffix}")
        difference = back[0].alpha.astype(float) / (2 ** back[0].bits - 1) - frames[0].alpha / 255
        assert np.abs(difference).mean() < 0.02
    _, _, writer = copy(tmp_path / "alpha.mkv", tmp_path / "out_alpha.mp4")
    assert any("transparency is dropped" in warning for warning in writer.warnings)


def test_interlaced_video_is_said(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
    _, reader = read(tmp_path / "in.mkv")
    assert reader.info.interlaced and any("interlaced" in warning for warning in reader.warnings)


# ---- Damage


def test_a_damaged_packet_costs_its_frame_only(tmp_path):
    made = clips.make_clip(
        tmp_path / "in.mkv", range(0, 1200, 40), codec="mpeg4", options={"g": "1", "q": "3"}, audio=[("aac", 1.2, {})]
    )
    clips.damage(tmp_path / "in.mkv", [7, 29])
    frames, reader, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mkv", **LOSSLESS)
    assert [frame.pts for frame in frames] == list(range(0, 1200, 40)) and reader.damaged == 2
    assert [i for i, frame in enumerate(frames) if frame.repeated] == [7, 29]
    assert same_planes(frames[7], arrays(frames[6])) and not same_planes(frames[8], arrays(frames[7]))
    assert np.abs(frames[8].luma.astype(int) - made[8][0]).mean() < 8
    assert any("2 frames could not be decoded" in warning for warning in reader.warnings)
    assert writer.frames_written == 30 == len(read(tmp_path / "out.mkv")[0])
    before, after = (clips.packets_of(tmp_path / name, "audio")[1] for name in ("in.mkv", "out.mkv"))
    assert [packet[:2] for packet in before] == [packet[:2] for packet in after]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9"])
@pytest.mark.parametrize("numbers", [[0], [5], [11, 12, 13], [29]])
def test_damage_keeps_every_timestamp(tmp_path, codec, numbers):
    options = {"libx264": {"g": "10"}, "libx265": {"x265-params": "log-level=none:keyint=10"}}.get(
        codec, {"deadline": "realtime", "g": "10"}
    )
    clips.make_clip(tmp_path / "in.mkv", range(0, 1200, 40), codec=codec, options=options)
    rng = np.random.default_rng(1)
    clips.damage(tmp_path / "in.mkv", numbers, lambda data: rng.bytes(len(data)))
    frames, reader = read(tmp_path / "in.mkv")
    assert [frame.pts for frame in frames] == list(range(0, 1200, 40)) and reader.damaged >= 1
    assert all(frame.luma.shape == (48, 64) for frame in frames)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_a_truncated_file_gives_what_is_left(tmp_path, suffix):
    path = tmp_path / f"in{suffix}"
    clips.make_clip(path, range(60), time_base=Fraction(1, 25), options={"g": "10", "bf": "0", "qp": "20"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, reader, writer = copy(path, tmp_path / "out.mkv")
    assert 20 < len(frames) < 50 and writer.frames_written == len(frames)
    if suffix == ".mkv":
        assert any("cut off" in warning for warning in reader.warnings)


def test_a_truncated_mp4_is_said(tmp_path):
    path = tmp_path / "in.mp4"
    clips.make_clip(tmp_path / "full.mkv", range(0, 2400, 40), options={"g": "10"})
    copy(tmp_path / "full.mkv", path)  # with its index at the beginning
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    frames, reader = read(path)
    assert 10 < len(frames) < 60 and any("cut off" in warning and "of 60" in warning for warning in reader.warnings)
    path.write_bytes(data[:500])
    with pytest.raises(VideoError, match="cut off"):
        VideoReader(path)


def test_a_file_that_begins_between_key_frames(tmp_path):
    clips.make_clip(tmp_path / "in.ts", range(40), time_base=Fraction(1, 25), options={"g": "20"})
    data = (tmp_path / "in.ts").read_bytes()
    (tmp_path / "in.ts").write_bytes(data[188 * 20 :])
    frames, reader = read(tmp_path / "in.ts")
    assert len(frames) >= 20 and frames[0].key_frame and any("between key frames" in w for w in reader.warnings)


def test_recordings_one_behind_the_other_go_on(tmp_path):
    options = {"audio": [("aac", 2, {})], "options": {"g": "25"}}
    clips.make_clip(tmp_path / "in.ts", range(50), time_base=Fraction(1, 25), **options)
    (tmp_path / "twice.ts").write_bytes(2 * (tmp_path / "in.ts").read_bytes())
    frames, _, writer = copy(tmp_path / "twice.ts", tmp_path / "out.mkv")
    times = [frame.time for frame in read(tmp_path / "out.mkv")[0]]
    steps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert len(times) == len(frames) >= 98 and max(steps) < Fraction(1, 5) and min(steps) > Fraction(1, 50)
    sound = clips.packets_of(tmp_path / "out.mkv", "audio")[1]
    assert abs(sound[-1][1] - times[-1]) < Fraction(1, 5) and any("put behind it" in w for w in writer.warnings)


# ---- Bad inputs and outputs


def not_a_video(folder, kind):
    path = folder / f"{kind}.mkv"
    if kind == "text":
        path.write_text("not a video at all\n" * 50)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "no-frames":
        clips.make_clip(path, [], codec="ffv1")
    elif kind == "sound":
        with av.open(path, "w") as output:
            stream = output.add_stream("aac", rate=48000)
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
            frame.sample_rate = 48000
            output.mux(stream.encode(frame) + stream.encode(None))
    return path


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("missing", "does not exist"),
        ("text", "is not a video"),
        ("empty", "is empty"),
        ("folder", "no pictures"),
        ("no-frames", "no frame"),
        ("sound", "no video stream"),
    ],
)
def test_bad_inputs_are_refused_in_one_sentence(tmp_path, kind, reason, capsys):
    path = not_a_video(tmp_path, kind)
    with pytest.raises(VideoError) as caught:
        open_video(path)
    assert reason in sentence(caught) and path.name in sentence(caught)
    assert main(["cut", str(path), str(tmp_path / "out.mkv"), "--exact", "--start", "0"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out.mkv").exists() and leftovers(tmp_path) == []


def absurdly_large(path):
    """Make the header of a small clip say 30000 x 30000 pixels."""
    if path.suffix == ".y4m":
        path.write_bytes(b"YUV4MPEG2 W30000 H30000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(9000))
        return
    clips.make_clip(path, range(3), time_base=Fraction(1, 25), codec="ffv1")
    content = path.read_bytes()
    small, large = struct.pack("<II", 64, 48), struct.pack("<II", 30000, 30000)
    assert small in content
    path.write_bytes(content.replace(small, large))


@pytest.mark.parametrize("suffix", [".y4m", ".avi"])
def test_absurd_sizes_of_video_are_refused_by_the_header_alone(tmp_path, suffix):
    path = tmp_path / f"in{suffix}"
    absurdly_large(path)
    for call in (lambda: open_video(path), lambda: cut(path, tmp_path / "out.mkv", 0)):
        with pytest.raises(VideoError) as caught:
            call()
        assert sentence(caught)
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_frames_above_the_limit_are_refused(tmp_path, monkeypatch):
    clips.make_clip(tmp_path / "in.mkv")
    monkeypatch.setattr(video_reader, "MAX_PIXELS", 64 * 48)
    assert len(read(tmp_path / "in.mkv")[0]) == 12
    monkeypatch.setattr(video_reader, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError) as caught:
        open_video(tmp_path / "in.mkv")
    assert "is too large: 64 x 48 is above" in sentence(caught)


class Endless:
    """A file object that gives `begin`, and then `again` for ever."""

    name = "endless"

    def __init__(self, begin, again):
        self.again, self.ready, self.given = again, begin, 0

    def read(self, size):
        while len(self.ready) < size:
            self.ready += self.again
        piece, self.ready = self.ready[:size], self.ready[size:]
        self.given += size
        return piece


def test_a_stream_without_end_and_without_frames_is_given_up(tmp_path, monkeypatch):
    clips.make_clip(tmp_path / "in.ts", range(25), time_base=Fraction(1, 25), audio=[("aac", 1, {})])
    content = (tmp_path / "in.ts").read_bytes()
    packets = [content[i : i + 188] for i in range(0, len(content), 188)]
    silent = b"".join(packet for packet in packets if packet[1] & 31 != 1 or packet[2] != 0)  # all but PID 256, video
    monkeypatch.setattr(video_reader, "MAX_BYTES_BEFORE", 1 << 20)
    source = Endless(silent, silent)
    with pytest.raises(VideoError) as caught:
        open_video(source)
    assert "no frame in its first 1 MB" in sentence(caught)
    for noise in (b"y\n" * 1000, bytes(4096)):
        with pytest.raises(VideoError) as caught:
            open_video(Endless(noise, noise))
        assert sentence(caught)


def test_a_film_without_end_is_read_frame_by_frame(tmp_path):
    clips.make_clip(tmp_path / "in.ts", range(25), time_base=Fraction(1, 25), options={"g": "5"})
    content = (tmp_path / "in.ts").read_bytes()
    source = Endless(content, content)
    with open_video(source) as reader:
        assert len(list(itertools.islice(reader, 200))) == 200


def test_a_film_that_is_cut_short_or_vanishes_while_it_is_read(tmp_path):
    path = tmp_path / "in.mkv"
    clips.make_clip(path, range(0, 1200, 40), codec="ffv1", width=256, height=192)
    whole = path.read_bytes()

    def once(harm):
        return lambda frame: (harm() if frame.pts == 40 else None, frame)[1]

    frames, reader, _ = copy(path, tmp_path / "short.mkv", once(lambda: os.truncate(path, len(whole) // 2)))
    assert 2 < len(frames) < 30 and any("cut off" in warning for warning in reader.warnings)
    assert len(read(tmp_path / "short.mkv")[0]) == len(frames)
    path.write_bytes(whole)
    frames, _, _ = copy(path, tmp_path / "out.mkv", once(path.unlink))
    assert len(frames) == 30 == len(read(tmp_path / "out.mkv")[0])


@pytest.mark.parametrize("target", ["out.mkv", "frames/%05d.png"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_runs_on_one_output_each_is_whole(tmp_path, target, overwrite):
    clips.make_clip(tmp_path / "one.mkv", range(0, 400, 40))
    clips.make_clip(tmp_path / "two.mkv", range(0, 240, 40))
    with open_video(tmp_path / "one.mkv") as first, open_video(tmp_path / "two.mkv") as second:
        writers = [open_writer(tmp_path / target, reader, overwrite=overwrite) for reader in (first, second)]
        for reader, writer in zip((first, second), writers, strict=True):
            for frame in reader:
                writer.write(frame)
        writers[0].close()
        if overwrite:
            writers[1].close()
        else:
            with pytest.raises(VideoError, match="File exists|has got pictures meanwhile"):
                writers[1].close()
    assert len(read(tmp_path / target)[0]) == (6 if overwrite else 10) and leftovers(tmp_path) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's option")
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_what_is_encoded_does_not_depend_on_what_was_in_memory(tmp_path, codec):
    clips.make_clip(tmp_path / "in.mkv", codec="ffv1", width=96, height=64)
    program = (
        "import sys\nfrom common.video import open_video, open_writer\n"
        "with open_video(sys.argv[1]) as r, open_writer(sys.argv[2], r, codec=sys.argv[3]) as w:\n"
        "  [w.write(f) for f in r]\n"
    )
    packets = []
    for content in ("85", "170"):  # of each byte that is asked for
        command = [sys.executable, "-c", program, tmp_path / "in.mkv", tmp_path / f"{content}.mkv", codec]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "MALLOC_PERTURB_": content}, check=True)
        packets.append(clips.packets_of(tmp_path / f"{content}.mkv", "video"))
    assert packets[0] == packets[1]


@pytest.mark.skipif(not Path(CHECKED_MEMORY).exists(), reason="glibc's checks of memory are not installed")
@pytest.mark.parametrize("width", [16, 48])
def test_h265_of_narrow_frames_keeps_to_its_memory(tmp_path, width):
    clips.make_clip(tmp_path / "in.mkv", range(0, 320, 40), codec="ffv1", width=width, height=32)
    program = (
        "import sys\nfrom common.video import open_video, open_writer\n"
        "with open_video(sys.argv[1]) as r, open_writer(sys.argv[2], r, codec='h265') as w:\n"
        "  [w.write(f) for f in r]\n"
    )
    command = [sys.executable, "-c", program, tmp_path / "in.mkv", tmp_path / "out.mkv"]
    strict = {"LD_PRELOAD": CHECKED_MEMORY, "GLIBC_TUNABLES": "glibc.malloc.check=3"}  # ends what writes beyond it
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **strict}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read(tmp_path / "out.mkv")[0]) == 8


@pytest.mark.parametrize("name", ["-x.mkv", "--help.mkv", "-", "pipe:0.mkv", "http:x.mkv"])
def test_names_that_look_like_something_else(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = f"./{name}" if name == "-" else name
    clips.make_clip(str(tmp_path / name), format="matroska")
    assert len(read(source)[0]) == 12
    assert main(["cut", "--quiet", "--", source, "-out.mkv"]) == 0
    assert len(read("-out.mkv")[0]) == 12


def test_one_frame_is_a_video(tmp_path):
    made = clips.make_clip(tmp_path / "in.mkv", [0])
    frames, _, writer = copy(tmp_path / "in.mkv", tmp_path / "out.mkv", **LOSSLESS)
    assert len(frames) == 1 == writer.frames_written and same_planes(read(tmp_path / "out.mkv")[0][0], made[0])


def test_zero_frames_leave_no_file(tmp_path):
    clips.make_clip(tmp_path / "in.mkv")
    with VideoReader(tmp_path / "in.mkv") as reader, pytest.raises(VideoError, match="no frame to write"):
        VideoWriter(tmp_path / "out.mkv", reader).close()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_names_in_any_script(tmp_path):
    folder = tmp_path / "Ünïcode 影片 %d: ' ext"
    folder.mkdir()
    clips.make_clip(tmp_path / "in.mkv")
    (tmp_path / "in.mkv").rename(folder / "vidéo: 1 видео.mkv")
    frames, _, _ = copy(folder / "vidéo: 1 видео.mkv", folder / "Ausgäng 出力.mp4")
    assert len(read(folder / "Ausgäng 出力.mp4")[0]) == len(frames) == 12


def test_an_existing_output_is_kept(tmp_path):
    clips.make_clip(tmp_path / "in.mkv")
    (tmp_path / "out.mkv").write_bytes(b"precious")
    with pytest.raises(VideoError) as caught:
        copy(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert "exists already" in sentence(caught) and (tmp_path / "out.mkv").read_bytes() == b"precious"
    copy(tmp_path / "in.mkv", tmp_path / "out.mkv", overwrite=True)
    assert len(read(tmp_path / "out.mkv")[0]) == 12


def test_the_input_is_never_overwritten(tmp_path):
    clips.make_clip(tmp_path / "in.mkv")
    before = (tmp_path / "in.mkv").read_bytes()
    os.link(tmp_path / "in.mkv", tmp_path / "link.mkv")
    for target in ("in.mkv", "link.mkv"):
        with pytest.raises(VideoError) as caught:
            copy(tmp_path / "in.mkv", tmp_path / target, overwrite=True)
        assert "the input itself" in sentence(caught)
    assert (tmp_path / "in.mkv").read_bytes() == before and leftovers(tmp_path) == []


@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_nothing(tmp_path, failure):
    clips.make_clip(tmp_path / "in.mkv", audio=[("aac", 0.5, {})])

    def broken(frame):
        if frame.pts == 200:
            raise failure
        return frame

    with pytest.raises(type(failure)):
        copy(tmp_path / "in.mkv", tmp_path / "out.mkv", broken)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("target", ["out.mkv", "out.mp4", "frames/%05d.png"])
def test_a_full_disk_ends_in_one_sentence(tmp_path, target):
    clips.make_clip(tmp_path / "in.mkv", range(0, 400, 40), audio=[("aac", 0.4, {})], width=256, height=192)
    program = (
        "import resource, sys\nfrom common.video import open_video, open_writer, VideoError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n with open_video(sys.argv[1]) as r, open_writer(sys.argv[2], r) as w:\n  [w.write(f) for f in r]\n"
        "except VideoError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program, tmp_path / "in.mkv", tmp_path / target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "cannot be written" in done.stdout and len(done.stdout.splitlines()) == 1
    assert done.stderr == "" and [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 5000


@pytest.mark.parametrize(
    "target, options, reason",
    [
        ("out.xyz", {}, "no video container"),
        ("out", {"codec": "libx264"}, None),
        ("out.mkv", {"codec": "nonsense"}, "not an encoder"),
        ("out.mkv", {"codec": "aac"}, "does not encode video"),
        ("out.webm", {"codec": "libx264"}, "does not support"),
        ("out.mkv", {"preset": "nonsense"}, "libx264 refuses"),
        ("out.mkv", {"pixel_format": "rgb24"}, "not a planar YUV"),
        ("nowhere\0.mkv", {}, "null"),
        ("out.mpg", {}, "choose .mkv"),
        ("out.vob", {"codec": "mpeg2video"}, "choose .mkv"),
        ("out.mxf", {}, "choose .mkv"),
        ("out.h264", {}, "choose .mkv"),
        ("out.265", {"codec": "h265"}, "choose .mkv"),
        ("out.y4m", {}, "choose .mkv"),
        ("out.wmv", {"codec": "h264"}, "choose .mkv"),
    ],
)
def test_bad_outputs_are_refused_before_any_work(tmp_path, target, options, reason):
    clips.make_clip(tmp_path / "in.mkv")
    if reason is None:
        copy(tmp_path / "in.mkv", tmp_path / target, **options)  # a folder of pictures
        return
    with VideoReader(tmp_path / "in.mkv") as reader, pytest.raises((VideoError, ValueError)) as caught:
        VideoWriter(tmp_path / target, reader, **options)
    assert reason in sentence(caught)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_frames_of_the_wrong_size_are_refused(tmp_path):
    clips.make_clip(tmp_path / "in.mkv")
    with pytest.raises(VideoError, match="takes frames of 128x96, not 64x48"):
        copy(tmp_path / "in.mkv", tmp_path / "out.mkv", scale=2)
    assert leftovers(tmp_path) == []


def test_chroma_that_is_a_little_off_is_mended(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40], codec="ffv1", width=65, height=49)
    copy(tmp_path / "in.mkv", tmp_path / "out.mkv", lambda frame: enlarged(frame, 3), scale=3, codec="ffv1")
    back, again = read(tmp_path / "out.mkv")
    assert (again.info.width, again.info.height) == (195, 147) and back[0].chroma[0].shape == (74, 98)


def test_reading_and_writing_in_two_threads(tmp_path, rich_clip):
    waiting = queue.Queue(2)
    with VideoReader(rich_clip) as reader, VideoWriter(tmp_path / "out.mkv", reader) as writer:

        def decode():
            for frame in reader:
                waiting.put(frame)
            waiting.put(None)

        thread = threading.Thread(target=decode)
        thread.start()
        while (frame := waiting.get()) is not None:
            writer.write(frame)
        thread.join()
    assert len(read(tmp_path / "out.mkv")[0]) == 12
    assert clips.packets_of(rich_clip, "audio") == clips.packets_of(tmp_path / "out.mkv", "audio")


def test_a_writer_needs_a_reader_that_has_not_begun(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", audio=[("aac", 0.5, {})])
    with VideoReader(tmp_path / "in.mkv") as reader:
        next(reader)
        with pytest.raises(VideoError, match="before a writer was made"):
            VideoWriter(tmp_path / "out.mkv", reader)
    assert leftovers(tmp_path) == []


# ---- Streams and pictures


def test_pipes_carry_everything(tmp_path, rich_clip):
    program = (
        "from common.video import open_video, open_writer\n"
        "with open_video('-') as r, open_writer('-', r) as w:\n for f in r: w.write(f)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, input=rich_clip.read_bytes(), capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stderr == b""
    (tmp_path / "piped.mkv").write_bytes(done.stdout)
    frames, _ = read(tmp_path / "piped.mkv")
    assert [frame.pts for frame in frames] == list(range(0, 480, 40))
    for kind in ("audio", "subtitle"):
        assert clips.packets_of(rich_clip, kind) == clips.packets_of(tmp_path / "piped.mkv", kind)
    done = subprocess.run(command, cwd=ROOT, input=b"nothing", capture_output=True, timeout=60, text=False)
    assert b"standard input is not a video" in done.stderr


def test_what_nobody_copies_is_not_kept(tmp_path, rich_clip):
    with VideoReader(rich_clip) as reader:
        assert len(list(reader)) == 12 and not reader._backlog


def test_file_objects_work_as_well(tmp_path):
    clips.make_clip(tmp_path / "in.mkv")
    target = io.BytesIO()
    with VideoReader(io.BytesIO((tmp_path / "in.mkv").read_bytes())) as reader, VideoWriter(target, reader) as writer:
        for frame in reader:
            writer.write(frame)
    with VideoReader(io.BytesIO(target.getvalue())) as reader:
        assert len(list(reader)) == 12


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels, alpha", [(3, False), (3, True), (1, False)])
def test_pictures_pass_through_unchanged(tmp_path, depth, channels, alpha):
    rng = np.random.default_rng(2)
    kind = np.uint8 if depth == 8 else np.uint16
    pictures = []
    for number in (8, 9, 10, 11):
        pixels = rng.integers(0, 2**depth, (21, 33, channels)).astype(kind)
        pictures.append(Picture(pixels, rng.integers(0, 2**depth, (21, 33)).astype(kind) if alpha else None))
        write_picture(tmp_path / "in" / f"frame{number}.png", pictures[-1])
    frames, reader, writer = copy(tmp_path / "in", tmp_path / "out" / "%05d.png")
    assert [frame.pts for frame in frames] == [0, 1, 2, 3] and reader.info.rate == 25 and writer.warnings == []
    for number, picture in enumerate(pictures, start=1):
        back = read_picture(tmp_path / "out" / f"{number:05d}.png")
        assert np.abs(back.pixels.astype(int) - picture.pixels).max() <= (depth == 16) * 2
        assert np.array_equal(back.alpha, picture.alpha) if alpha else back.alpha is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_pictures_of_a_video_have_its_colours(tmp_path):
    colour = (1, 1, 1, 1)
    clips.make_clip(tmp_path / "in.mkv", [0, 40], colour=colour, options={"crf": "1"})
    frames, reader, _ = copy(tmp_path / "in.mkv", tmp_path / "frames")
    picture = read_picture(tmp_path / "frames" / "00001.png")
    shown = rgb_of_frame(frames[0], "bt709", False)
    assert (
        np.array_equal(picture.pixels, np.floor(shown * 255 + 0.5)) and len(list((tmp_path / "frames").iterdir())) == 2
    )
    av_frame = av_frame_of(frames[0])
    expected = av_frame.reformat(format="rgb24", src_colorspace="itu709", src_color_range="MPEG").to_ndarray()
    assert np.abs(picture.pixels.astype(float).mean((0, 1)) - expected.mean((0, 1))).max() < 1


def test_a_sequence_with_gaps_and_a_damaged_picture(tmp_path):
    for number in (1, 2, 4, 5):
        write_picture(tmp_path / f"{number:03d}.png", Picture(np.full((8, 8, 3), 50 * number, np.uint8)))
    (tmp_path / "004.png").write_bytes((tmp_path / "004.png").read_bytes()[:-30])
    frames, reader = read(tmp_path / "%03d.png", rate=10)
    assert [frame.repeated for frame in frames] == [False, False, True, False] and reader.damaged == 1
    assert frames[3].time == Fraction(3, 10) and any("gaps" in warning for warning in reader.warnings)
    write_picture(tmp_path / "006.png", Picture(np.zeros((8, 9, 3), np.uint8)))
    with pytest.raises(VideoError, match="006.png has 9x8 pixels, not the 8x8"):
        read(tmp_path / "%03d.png")


def test_earlier_pictures_are_replaced_only_on_demand(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40])
    for number in (1, 2, 3):
        write_picture(tmp_path / "out" / f"{number:05d}.png", Picture(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "out" / "other.txt").write_text("keep")
    with pytest.raises(VideoError, match="has pictures already"):
        copy(tmp_path / "in.mkv", tmp_path / "out")
    copy(tmp_path / "in.mkv", tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00001.png", "00002.png", "other.txt"]
    with pytest.raises(VideoError, match="the input itself"):
        copy(tmp_path / "out", tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("target", ["single.png", "pictures.TIF", "My%20dog.jpg"])
def test_one_picture_is_no_place_for_many(tmp_path, target, capsys):
    clips.make_clip(tmp_path / "in.mkv", [0, 40])
    assert main(["split", str(tmp_path / "in.mkv"), str(tmp_path / target)]) == 1
    errors, path = capsys.readouterr().err.splitlines(), tmp_path / target
    assert len(errors) == 1 and str(path.with_stem(f"{path.stem}_%05d")) in errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_percent_signs_in_the_names_of_pictures(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40])
    for target, first in (("100%", "100%/00001.png"), ("a%20b%03d.png", "a%20b001.png"), ("%%d%d.png", "%d1.png")):
        copy(tmp_path / "in.mkv", tmp_path / "out" / target)
        assert (tmp_path / "out" / first).exists() and len(read(tmp_path / "out" / target)[0]) == 2
        with pytest.raises(VideoError, match="has pictures already"):
            copy(tmp_path / "in.mkv", tmp_path / "out" / target)


def test_no_sentence_names_what_is_temporary(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40])
    (tmp_path / "file").write_text("no folder")
    for target in ("out/%d.xyz", "file/out.mkv", "file/deeper/out.mkv"):
        with pytest.raises(VideoError) as caught:
            copy(tmp_path / "in.mkv", tmp_path / target)
        assert ".part" not in sentence(caught)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "in.mkv"]


def test_videos_are_told_from_pictures(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 40])
    (tmp_path / "in.mkv").rename(tmp_path / "video.unknown")
    (tmp_path / "text.unknown").write_text("text")
    (tmp_path / "picture.png").write_bytes(clips.png())
    clips.make_clip(
        tmp_path / "moving.gif", range(0, 30, 10), time_base=Fraction(1, 100), pixel_format="gray", codec="gif"
    )
    clips.make_clip(tmp_path / "still.gif", [0], time_base=Fraction(1, 100), pixel_format="gray", codec="gif")
    expected = {
        "video.unknown": True,
        "text.unknown": False,
        "picture.png": False,
        "moving.gif": True,
        "still.gif": False,
    }
    assert {name: is_video(tmp_path / name) for name in expected} == expected
    assert not is_video("frames/%20d.png") and not is_pictures("missing%05d.mp4") and is_pictures("frames/%d.png")
    assert is_video("-") and is_video("frames/%05d.png") and is_video("missing.mp4") and not is_video(tmp_path)


# ---- The command line


@pytest.fixture
def long_clip(tmp_path):
    """Two seconds with a key frame every 400 ms, sound and subtitles, beginning at 3 s."""
    path = tmp_path / "long.mkv"
    options = {"g": "10", "sc_threshold": "0", "bf": "2", "qp": "0"}
    sound, text = [("aac", 2, {"language": "ger"})], [("subrip", {})]
    made = clips.make_clip(path, range(0, 2000, 40), options=options, audio=sound, subtitles=text, chapters=CHAPTERS)
    return path, made


def test_cut_copies_from_the_key_frame_before(tmp_path, long_clip, capsys):
    path, made = long_clip
    target = tmp_path / "piece.mkv"
    assert main(["cut", str(path), str(target), "--start", "0:00.9", "--duration", "0.6"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == str(target) and "begins at the key frame at 0.8" in output.err
    frames, reader = read(target)
    assert 0.6 <= frames[-1].time - frames[0].time <= 0.8 and frames[0].pts == 0 and frames[0].key_frame
    assert all(same_planes(frame, planes) for frame, planes in zip(frames, made[20:], strict=False))
    before, after = (clips.packets_of(name, "audio")[1] for name in (path, target))
    contents = [packet[0] for packet in before]
    first = contents.index(after[0][0])
    assert [packet[0] for packet in after] == contents[first : first + len(after)] and len(after) >= 25
    assert before[first][1] - after[0][1] == Fraction(800, 1000)
    assert clips.packets_of(target, "subtitle") and reader.warnings == [] and reader.info.rate == 25


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_cut_works_in_other_containers_and_from_the_beginning(tmp_path, long_clip, suffix):
    path, made = long_clip
    copy(path, tmp_path / f"in{suffix}", options={"qp": "0", "g": "10", "bf": "2"})
    assert main(["cut", str(tmp_path / f"in{suffix}"), str(tmp_path / "piece.mkv"), "--start", "1", "--quiet"]) == 0
    frames, _ = read(tmp_path / "piece.mkv")
    assert 25 <= len(frames) <= 35 and same_planes(frames[-1], made[-1])
    assert main(["cut", str(tmp_path / f"in{suffix}"), str(tmp_path / f"all{suffix}"), "--quiet"]) == 0
    assert len(read(tmp_path / f"all{suffix}")[0]) == 50


@pytest.fixture
def reordered_clip(tmp_path):
    """As most films are: H.264 with pictures that refer to later ones, in Matroska, with a key frame every 400 ms."""
    path = tmp_path / "reordered.mkv"
    clips.make_clip(path, range(0, 2000, 40), options={"g": "10", "sc_threshold": "0", "bf": "2", "crf": "23"})
    with av.open(path) as container:
        assert [p.dts for p in container.demux(video=0) if p.size][:3] == [None, None, 0]
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("start, duration, first, number", [(0, None, 0, 50), (0.9, 0.4, 20, 13), (0, 0.12, 0, 3)])
def test_cut_keeps_pictures_that_are_stored_out_of_order(
    tmp_path, reordered_clip, suffix, start, duration, first, number
):
    target = tmp_path / f"piece{suffix}"
    begin, warnings = cut(reordered_clip, target, start, duration)
    frames, _ = read(target)
    assert begin == Fraction(first, 25) and warnings == []
    assert [frame.time for frame in frames][:number] == [Fraction(i, 25) for i in range(number)]
    assert number <= len(frames) <= number + 1  # one after the end may be needed by those before it
    shown = {frame.time: frame for frame in read(reordered_clip)[0]}
    assert all(same_planes(frame, arrays(shown[frame.time + begin])) for frame in frames)


@pytest.mark.parametrize(
    "suffix, reason", [(".webm", "webm cannot hold h264 video"), (".wmv", "choose .mkv"), (".avi", "choose .mkv")]
)
def test_cut_needs_a_container_for_the_video(tmp_path, long_clip, suffix, reason, capsys):
    assert main(["cut", str(long_clip[0]), str(tmp_path / f"piece{suffix}"), "--start", "1"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and reason in errors[0] and ("--exact" in errors[0]) == (suffix == ".webm")
    assert [path.name for path in tmp_path.iterdir()] == ["long.mkv"]


@pytest.mark.parametrize("options", [["--duration", "0"], ["--crf", "20"], ["--codec", "h264"]], ids=str)
def test_options_that_mean_nothing_to_a_cut_are_wrong_usage(tmp_path, options, capsys):
    clips.make_clip(tmp_path / "in.mkv", [0, 40])
    assert main(["cut", str(tmp_path / "in.mkv"), str(tmp_path / "out.mkv"), *options]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("Error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("number", [2, 50])
def test_a_second_video_stream_is_passed_on_whole(tmp_path, suffix, number):
    source, options = tmp_path / "two.mkv", {"g": "10", "bf": "2", "crf": "23"}
    clips.make_clip(source, range(0, 40 * number, 40), options=options, further_video=(options,))
    _, reader, writer = copy(source, tmp_path / f"out{suffix}")
    other = 1 - reader.stream_index
    before, after = (clips.packets_of(name, "video")[other] for name in (source, tmp_path / f"out{suffix}"))
    assert [packet[0] for packet in before] == [packet[0] for packet in after] and len(after) == number
    assert [packet[1] for packet in before] == [packet[1] for packet in after] and writer.warnings == []


def test_exact_cut_begins_where_it_should(tmp_path, long_clip, capsys):
    path, made = long_clip
    target = tmp_path / "piece.mp4"
    assert main(["cut", str(path), str(target), "--start", "0.92", "--duration", "0.4", "--exact", "--crf", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(target)
    frames, reader = read(target)
    assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(10)]
    assert np.abs(frames[0].luma.astype(int) - made[23][0]).mean() < 3
    sound = clips.packets_of(target, "audio")[1]
    assert 0 <= sound[0][1] < 0.022 and 0.37 < sound[-1][1] < 0.4
    assert reader.info.duration < 0.5


def test_split_and_join_are_each_others_inverse(tmp_path, long_clip, capsys):
    path, made = long_clip
    assert main(["split", str(path), str(tmp_path / "frames"), "--rate", "5", "--start", "7"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "frames")
    names = sorted(picture.name for picture in (tmp_path / "frames").iterdir())
    assert names == [f"{number:05d}.png" for number in range(7, 17)]
    frames, reader = read(path)
    for i, name in enumerate(names):  # every fifth frame, since the video has 25 a second
        expected = rgb_of_frame(frames[5 * i], reader.info.matrix, False)
        assert np.array_equal(read_picture(tmp_path / "frames" / name).pixels, np.floor(255 * expected + 0.5))
    joined = tmp_path / "joined.mp4"
    arguments = ["join", str(tmp_path / "frames" / "%05d.png"), str(joined), "--rate", "30000/1001", "--crf", "5"]
    assert main(arguments) == 0 and capsys.readouterr().out.splitlines()[-1] == str(joined)
    back, reader = read(joined)
    assert [frame.time for frame in back] == [i * Fraction(1001, 30000) for i in range(10)]
    assert reader.info.pixel_format == "yuv420p" and reader.info.matrix == "bt709" and not reader.info.full_range
    original = read_picture(tmp_path / "frames" / names[3]).pixels.astype(float)
    assert np.abs(255 * rgb_of_frame(back[3], "bt709", False) - original).mean() < 4
    assert np.abs((255 * rgb_of_frame(back[3], "bt709", False) - original).mean((0, 1))).max() < 1


def test_split_repeats_or_skips_by_time(tmp_path):
    clips.make_clip(tmp_path / "in.mkv", [0, 100, 500], durations=[100, 400, 100])
    assert main(["split", str(tmp_path / "in.mkv"), str(tmp_path / "out"), "--rate", "10"]) == 0
    pictures = [read_picture(path).pixels for path in sorted((tmp_path / "out").iterdir())]
    same = [int(np.array_equal(a, b)) for a, b in zip(pictures, pictures[1:], strict=False)]
    assert len(pictures) == 6 and same == [0, 1, 1, 1, 0]
    assert main(["split", str(tmp_path / "in.mkv"), str(tmp_path / "all")]) == 0
    assert len(list((tmp_path / "all").iterdir())) == 3


def test_join_pads_odd_pictures_and_says_so(tmp_path, capsys):
    for number in range(3):
        write_picture(tmp_path / "in" / f"{number}.png", Picture(np.full((21, 33, 3), 90, np.uint8)))
    assert main(["join", str(tmp_path / "in"), str(tmp_path / "out.mp4")]) == 0
    assert "34x22 instead of 33x21" in capsys.readouterr().err
    assert len(read(tmp_path / "out.mp4")[0]) == 3


def test_info_names_what_is_there(rich_clip, capsys):
    assert main(["info", str(rich_clip)]) == 0
    text = capsys.readouterr().out
    for fact in ("h264 64x48", "audio 1: aac", "Kommentar", "schrift.ttf", "Zwölf", "rotation 90", "Ein schöner Tag"):
        assert fact in text
    assert main(["info", str(rich_clip), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["width"] == 64 and facts["layout"] == "yuv420p" and facts["matrix"] == "bt601" and facts["bits"] == 8
    assert [stream["kind"] for stream in facts["streams"]].count("audio") == 2 and facts["rate"] == 25


def test_the_commands_run_as_a_module(tmp_path, long_clip):
    done = run("cut", long_clip[0], tmp_path / "a.mkv", "--start", 0.5)
    assert done.returncode == 0 and done.stdout.decode().splitlines()[-1] == str(tmp_path / "a.mkv")
    done = run("cut", long_clip[0], tmp_path / "a.mkv", "--start", 0.5)
    assert done.returncode == 1 and done.stderr.decode().count("\n") == 1 and b"exists already" in done.stderr
    assert run("cut", long_clip[0], tmp_path / "b.mkv", "--start", "soon").returncode == 2
    done = run("cut", long_clip[0], tmp_path / "b.mkv", "--start", 77)
    assert done.returncode == 1 and b"ends before 77 seconds" in done.stderr and not (tmp_path / "b.mkv").exists()
    for options, number in ((["--exact"], 18), ([], 20)):
        done = run("cut", "-", "-", "--start", "1.28", "--quiet", *options, input=long_clip[0].read_bytes())
        assert done.returncode == 0 and done.stderr == b""
        with VideoReader(io.BytesIO(done.stdout)) as reader:
            assert len(list(reader)) == number and len(reader.info.streams) == 2


@pytest.mark.parametrize(
    "problem, code, words",
    [
        (TypeError("of a codec"), 1, "Error: TypeError: of a codec."),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
    ids=["a mistake", "Ctrl-C"],
)
def test_whatever_ends_a_recipe_is_one_line(tmp_path, monkeypatch, capsys, problem, code, words):
    def failing(*_, **__):
        raise problem

    monkeypatch.setattr("common.video_commands.join", failing)
    assert main(["join", str(tmp_path), str(tmp_path / "out.mkv")]) == code
    assert capsys.readouterr().err == f"{words}\n"


def test_a_recipe_shows_the_traceback_on_demand(tmp_path, capsys):
    assert main(["info", str(tmp_path / "missing.mkv"), "--debug"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Traceback") and said[-1].startswith("Error: ")


def test_help_answers_without_loading_anything(tmp_path):
    program = (
        "import runpy, sys\nsys.argv = ['video', 'cut', '--help']\n"
        "try: runpy.run_module('common.video', run_name='__main__')\nexcept SystemExit: pass\n"
        "print([name for name in ('av', 'torch', 'tensorflow', 'cv2', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]" and "--exact" in done.stdout


def test_memory_does_not_grow_with_the_film(tmp_path):
    program = (
        "import resource, sys\nfrom common.video import open_video, open_writer\n"
        "with open_video(sys.argv[1]) as r, open_writer(sys.argv[2], r, preset='ultrafast') as w:\n"
        " for f in r: w.write(f)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for length in (60, 600):
        path = tmp_path / f"{length}.mkv"
        clips.make_clip(
            path, range(0, 40 * length, 40), options={"preset": "ultrafast"}, audio=[("pcm_s16le", length / 25, {})]
        )
        command = [sys.executable, "-c", program, path, tmp_path / f"out{length}.mkv"]
        peaks.append(int(subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=True).stdout))
    assert peaks[1] < 1.05 * peaks[0]
