"""Films as cameras, editors, broadcasters and phones make them: nothing of them is lost, or it is said."""

from fractions import Fraction

import av
import clips
import numpy as np
import pytest
from PIL import Image

from common.video import open_video, open_writer

STEADY = {"time_base": Fraction(1, 25)}


def copied(source, target, **options):
    """Copy a film frame by frame; returns what was warned of."""
    with open_video(source) as reader, open_writer(target, reader, **options) as writer:
        for frame in reader:
            writer.write(frame)
    return reader.warnings + writer.warnings


def rewrapped(source, target, later=0, tags=None):
    """The same packets `later` seconds, the video with other tags."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        streams = [output.add_stream_from_template(stream) for stream in container.streams]
        streams[0].metadata.update(tags or {})
        for packet in container.demux():
            if packet.size:
                shift = round(later / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                output.mux(packet)


def make_film(path, codec, sound_codec, rate, layout, samples, begin=0):
    """Five frames from number `begin` on, and before each of them a frame of silence, of `samples` in each channel."""
    silence = np.zeros((av.AudioLayout(layout).nb_channels, samples), np.float32)
    with av.open(str(path), "w") as output:
        video, sound = output.add_stream(codec, rate=25), output.add_stream(sound_codec, rate=rate)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound.codec_context.layout = layout
        output.start_encoding()
        for number in range(5):
            wave = av.AudioFrame.from_ndarray(silence, "fltp", layout)
            wave.sample_rate, wave.pts, wave.time_base = rate, samples * number, Fraction(1, rate)
            output.mux(sound.encode(wave))
            frame = clips.av_frame(clips.planes(number), "yuv420p", 64, 48)
            frame.pts, frame.time_base = begin + number, Fraction(1, 25)
            output.mux(video.encode(frame))
        for stream in (sound, video):
            output.mux(stream.encode(None))


def test_a_camera_s_timecode_stays(tmp_path):
    clips.make_clip(tmp_path / "in.mp4", range(5), **STEADY)
    rewrapped(tmp_path / "in.mp4", tmp_path / "in.mov", tags={"timecode": "10:11:12:13"})
    assert copied(tmp_path / "in.mov", tmp_path / "out.mov") == []
    with av.open(str(tmp_path / "out.mov")) as container:
        assert [stream.type for stream in container.streams] == ["video", "data"]
        assert container.streams[0].metadata["timecode"] == "10:11:12:13"


def test_sound_that_comes_first_in_a_flash_film_is_not_taken_for_the_video(tmp_path):
    make_film(tmp_path / "in.flv", "flv", "libmp3lame", 44100, "stereo", 1152, begin=1)
    warnings = copied(tmp_path / "in.flv", tmp_path / "out.flv")
    assert not any("lost" in sentence for sentence in warnings)
    counts = []
    for name in ("in.flv", "out.flv"):
        with av.open(str(tmp_path / name)) as container:
            counts.append(sum(packet.size > 0 for packet in container.demux(audio=0)))
    assert counts[0] == counts[1] > 0


def test_sound_that_was_trimmed_away_stays_away(tmp_path):
    clips.make_clip(tmp_path / "long.mp4", range(50), **STEADY, audio=[("aac", 2, {})], options={"g": "25"})
    rewrapped(tmp_path / "long.mp4", tmp_path / "in.mp4", later=Fraction(-1, 2))
    assert copied(tmp_path / "in.mp4", tmp_path / "out.mkv") == []
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert next(container.decode(audio=0)).time > -0.15


def test_full_range_goes_into_an_encoder_without_ranges_as_the_studio_s(tmp_path):
    ramp = np.zeros((48, 64, 4), np.uint8)
    ramp[..., :3], ramp[..., 3] = (np.arange(64) * 4)[None, :, None], 255
    ramp[40:, :, 3] = 0
    with av.open(str(tmp_path / "in.mov"), "w") as output:
        stream = output.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgba"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, "rgba")))
        output.mux(stream.encode(None))
    copied(tmp_path / "in.mov", tmp_path / "out.mov", codec="prores_ks")
    with av.open(str(tmp_path / "out.mov")) as container:
        found = next(container.decode(video=0)).to_ndarray(format="rgba")
    assert np.abs(found[10, ..., 0].astype(int) - ramp[10, ..., 0]).max() <= 4


def test_captions_that_cannot_be_kept_are_named(tmp_path):
    clips.make_clip(tmp_path / "plain.ts", range(4), **STEADY)
    content = bytes([0xB5, 0, 0x31]) + b"GA94" + bytes([3, 0x42, 0xFF]) + bytes([0xFC, 0x94, 0x2C]) * 2 + b"\xff"
    captions = b"\0\0\0\1\6\4" + bytes([len(content)]) + content + b"\x80"  # supplemental information of ATSC A/53
    with av.open(str(tmp_path / "plain.ts")) as container, av.open(str(tmp_path / "in.ts"), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                units = bytes(packet).split(b"\0\0\1")
                place = next(i for i, unit in enumerate(units[1:], 1) if unit[0] & 31 in (1, 5))  # the picture's
                before, after = (b"\0\0\1".join(part) for part in (units[:place], units[place:]))
                told = av.Packet(before.rstrip(b"\0") + captions + b"\0\0\1" + after)
                told.pts, told.dts, told.time_base, told.stream = packet.pts, packet.dts, packet.time_base, stream
                told.is_keyframe = packet.is_keyframe
                output.mux(told)
    assert any("closed captions" in sentence for sentence in copied(tmp_path / "in.ts", tmp_path / "out.mkv"))


def test_a_pixel_aspect_that_changes_midway_is_said(tmp_path):
    parts = []
    for number, aspect in enumerate((Fraction(1), Fraction(4, 3))):
        path, times = tmp_path / f"{number}.ts", range(12 * number, 12 * number + 12)
        clips.make_clip(path, times, **STEADY, codec="mpeg2video", options={"g": "6"}, aspect=aspect)
        parts.append(path.read_bytes())
    (tmp_path / "in.ts").write_bytes(b"".join(parts))
    assert any("pixel aspect" in sentence for sentence in copied(tmp_path / "in.ts", tmp_path / "out.mkv"))


def test_surround_sound_goes_into_webm(tmp_path):
    make_film(tmp_path / "in.mkv", "libx264", "ac3", 48000, "5.1", 1536)
    copied(tmp_path / "in.mkv", tmp_path / "out.webm")
    with av.open(str(tmp_path / "out.webm")) as container:
        assert container.streams.audio[0].codec_context.layout.nb_channels == 6


@pytest.mark.parametrize(("suffix", "codec"), [(".ts", "aac"), (".mp4", "pcm_s16le"), (".mkv", "pcm_s16le")])
def test_sound_as_it_was_sampled_goes_everywhere(suffix, codec, tmp_path):
    clips.make_clip(tmp_path / "in.mkv", range(10), **STEADY, audio=[("pcm_s16le", 0.4, {})])
    warnings = copied(tmp_path / "in.mkv", tmp_path / f"out{suffix}")
    assert any("encoded anew as aac" in sentence for sentence in warnings) == (codec == "aac")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.streams.audio[0].codec_context.codec.name == codec
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 0.4 * 44100 - 1


def test_m4v_holds_what_mp4_holds(tmp_path):
    form = {"codec": "libx265", "pixel_format": "yuv420p10le", "format": "mp4"}
    clips.make_clip(tmp_path / "in.m4v", range(3), **STEADY, **form)
    assert copied(tmp_path / "in.m4v", tmp_path / "out.m4v") == []


def test_a_film_with_transparency_goes_into_webm_and_no_colours_are_lost(tmp_path):
    pictures = [Image.new("P", (64, 48), 0) for _ in range(3)]
    for number, picture in enumerate(pictures):
        picture.putpalette([0, 0, 0, 255, 0, 0, *[0] * 762])
        picture.paste(1, (8 + 4 * number, 8, 30 + 4 * number, 40))
    settings = {"duration": 100, "transparency": 0, "disposal": 2}
    pictures[0].save(tmp_path / "in.gif", save_all=True, append_images=pictures[1:], **settings)
    copied(tmp_path / "in.gif", tmp_path / "out.webm")
    with open_video(tmp_path / "out.webm") as reader:
        frame = next(iter(reader))
    assert frame.alpha.min() == 0 and frame.alpha.max() == 255
    assert frame.chroma[1].max() > 200  # red
