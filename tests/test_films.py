"""Films through the whole program: larger, with everything else as it was."""

import json
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from clips import make_clip, packets_of, planes

import super_resolve
from common.films import FilmJob
from common.images import Picture, read_picture, write_picture
from common.networks import network
from common.resize import resize
from common.stages import Behind, ahead, made_by
from common.upscaler import Upscaler
from common.video import Frame, VideoError, open_video
from common.video_frames import layout_of_frame
from common.weights import Weights, initial_tensors, load_weights, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small ESPCN x2, random but not dull."""
    spec = network("espcn", scale=2, widths=(4, 4))
    tensors = initial_tensors(spec, 0)
    tensors["conv3.weight"] *= 10
    tensors["conv3.bias"] += 0.4
    path = tmp_path_factory.mktemp("weights") / "espcn_x2.safetensors"
    save_weights(path, Weights("espcn", spec, tensors))
    return path


@pytest.fixture
def run(weights, capsys):
    """Calls the command with arguments; returns (exit code, stdout, stderr)."""

    def call(*arguments):
        code = super_resolve.main(["--scale", "2", "--weights", str(weights), *map(str, arguments)])
        return (code, *capsys.readouterr())

    return call


def frames_of(path):
    with open_video(path) as reader:
        return list(reader)


def test_a_film_keeps_its_times_and_its_sound(run, tmp_path):
    source, times = tmp_path / "film.mkv", [100, 140, 200, 210, 400]
    make_clip(source, times, audio=[("aac", 0.5, {"language": "deu"})], subtitles=[("subrip", {})])
    code, out, _ = run(source, "--report", tmp_path / "r.json")
    target = tmp_path / "film_espcn_x2.mkv"
    assert (code, out.splitlines()[-1]) == (0, str(target))
    frames = frames_of(target)
    assert [frame.luma.shape for frame in frames] == [(96, 128)] * 5
    assert [float(frame.time) * 1000 for frame in frames] == times
    for kind in ("audio", "subtitle"):
        before, after = packets_of(source, kind), packets_of(target, kind)
        assert [list(map(tuple, packets)) for packets in before.values()] == [
            list(map(tuple, packets)) for packets in after.values()
        ]
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["frames_in"], report["frames_out"]) == (5, 5)
    assert set(report["stage_seconds"]) == {"decode", "network", "encode"}
    assert report["fps"] > 0


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "yuva420p"])
def test_luma_goes_through_the_network_and_chroma_through_bicubic(weights, tmp_path, pixel_format):
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    make_clip(source, range(0, 120, 40), pixel_format=pixel_format, codec="ffv1")
    upscaler = Upscaler(load_weights(weights), "torch")
    FilmJob(upscaler, quiet=True, codec="ffv1").run(source, target)
    for before, after in zip(frames_of(source), frames_of(target), strict=True):
        unit = 255 << (before.bits - 8)
        wanted = upscaler.planes((before.luma / unit).astype(np.float32)[..., None])[..., 0] * unit
        assert after.bits == before.bits
        assert np.abs(after.luma - np.clip(wanted, 0, 2**before.bits - 1)).max() <= 0.51
        assert (after.chroma is None) == (before.chroma is None)
        for small, large in zip(before.chroma or (), after.chroma or (), strict=True):
            columns = before.luma.shape[1] / small.shape[1]
            wanted = resize(small.astype(np.float64), 2, shift=(0, (1 - 1 / columns) / 2))
            assert np.abs(large - np.clip(wanted, 0, 2**before.bits - 1)).max() <= 0.51
        assert (after.alpha is None) == (before.alpha is None)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le"])
@pytest.mark.parametrize(("code", "matrix", "full_range"), [(1, "bt709", False), (6, "bt601", True)])
def test_networks_on_rgb_see_the_colours_of_the_stream(code, matrix, full_range, pixel_format, tmp_path):
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    make_clip(
        source, range(0, 80, 40), pixel_format=pixel_format, codec="ffv1", colour=(code, code, code, 1 + full_range)
    )
    spec = network("srgan", scale=2, blocks=1, width=4)
    upscaler = Upscaler(Weights("srgan", spec, initial_tensors(spec, 0)), "torch")
    FilmJob(upscaler, quiet=True, codec="ffv1").run(source, target)
    with open_video(target) as reader:
        assert (reader.info.matrix, reader.info.full_range) == (matrix, full_range)
        enlarged = list(reader)
    for before, after in zip(frames_of(source), enlarged, strict=True):
        wanted = upscaler.frame([before], matrix=matrix, full_range=full_range)
        assert after.bits == before.bits
        assert np.array_equal(after.luma, wanted.luma)
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(after.chroma, wanted.chroma, strict=True))


def test_a_still_scene_keeps_its_chroma_where_its_luma_is(weights, tmp_path):
    """An edge in luma and chroma at the same place stays at the same place."""
    luma = np.full((32, 64), 60, np.uint8)
    chroma = np.full((16, 32), 100, np.uint8)
    position = np.arange(32) * 2  # of each chroma sample in columns of luma, as MPEG has it
    chroma[:] = 100 + position
    larger = Upscaler(load_weights(weights), "torch").frame([Frame(luma, (chroma, chroma))])
    columns = (np.arange(64) * 2 + 0.5) / 2 - 0.5  # where each new sample lies in the columns of the old luma
    assert np.abs(larger.chroma[0][8, 4:-4] - (100 + columns[4:-4])).max() <= 0.51


def test_pictures_in_pictures_out(run, tmp_path):
    source = tmp_path / "in.mkv"
    make_clip(source, range(0, 160, 40))
    code, _, error = run(source, "--output", tmp_path / "frames" / "%03d.png")
    assert code == 0, error
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["001.png", "002.png", "003.png", "004.png"]
    code, _, error = run(tmp_path / "frames" / "%03d.png", "--output", tmp_path / "out.mp4", "--rate", "10")
    assert code == 0, error
    frames = frames_of(tmp_path / "out.mp4")
    assert [float(frame.time) for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert frames[0].luma.shape == (192, 256)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [
        (".h264", "libx264", "yuv420p"),
        (".264", "libx264", "yuv420p"),
        (".hevc", "libx265", "yuv420p"),
        (".h265", "libx265", "yuv420p"),
        (".m2v", "mpeg2video", "yuv420p"),
        (".mjpeg", "mjpeg", "yuvj420p"),
        (".mpg", "mpeg2video", "yuv420p"),
        (".ivf", "libvpx-vp9", "yuv420p"),
        (".y4m", "wrapped_avframe", "yuv420p"),
        (".gif", "gif", "gray"),
        (".apng", "apng", "gray"),
    ],
)
def test_what_can_only_be_read_becomes_matroska(run, tmp_path, suffix, codec, pixel_format):
    source, options = tmp_path / f"film{suffix}", {} if codec == "libx265" else None
    make_clip(source, range(4), time_base=Fraction(1, 25), codec=codec, pixel_format=pixel_format, options=options)
    code, out, error = run(source)
    assert code == 0, error
    assert out.splitlines()[-1] == str(tmp_path / "film_espcn_x2.mkv")
    assert [frame.luma.shape for frame in frames_of(tmp_path / "film_espcn_x2.mkv")] == [(96, 128)] * 4


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv411p", "yuv410p", "yuv440p"])
@pytest.mark.parametrize(("width", "height"), [(65, 47), (5, 3), (2, 1), (1, 1)])
@pytest.mark.parametrize("scale", [2, 3])
def test_chroma_of_odd_sizes_goes_with_the_luma(pixel_format, width, height, scale):
    spec = network("espcn", scale=scale, widths=(4, 4))
    upscaler = Upscaler(Weights("espcn", spec, initial_tensors(spec, 0)), "torch")
    luma, *chroma = planes(0, pixel_format, width, height)
    larger = upscaler.frame([Frame(luma, tuple(chroma))])
    before, after = layout_of_frame(Frame(luma, tuple(chroma))), layout_of_frame(larger)
    assert larger.luma.shape == (height * scale, width * scale)
    assert before == after


def test_a_film_of_odd_size_becomes_pictures(run, tmp_path):
    source = tmp_path / "odd.mkv"
    make_clip(source, range(0, 80, 40), width=65, height=47, codec="ffv1")
    code, _, error = run(source, "--output", tmp_path / "frames" / "%05d.png", "--compare", tmp_path / "page.html")
    assert code == 0, error
    assert [read_picture(path).pixels.shape for path in (tmp_path / "frames").iterdir()] == [(94, 130, 3)] * 2


def test_a_pipe_carries_matroska(weights, tmp_path):
    source, target = tmp_path / "in.mkv", tmp_path / "piped.mkv"
    make_clip(source, range(0, 160, 40), audio=[("aac", 0.2, {})])
    command = [sys.executable, super_resolve.__file__, "-", "--scale", "2", "--weights", str(weights), "--quiet"]
    target.write_bytes(subprocess.run(command, input=source.read_bytes(), capture_output=True, check=True).stdout)
    assert [frame.luma.shape for frame in frames_of(target)] == [(96, 128)] * 4
    assert len(packets_of(target, "audio")) == 1


def test_options_of_video_are_wrong_usage_for_a_picture(run, tmp_path):
    write_picture(tmp_path / "still.png", Picture(np.zeros((20, 20, 1), np.uint8)))
    code, _, err = run(tmp_path / "still.png", "--codec", "h265", "--crf", 20)
    assert (code, err) == (2, "Error: --codec and --crf are for video, which this is not.\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (["in.mkv", "--rate", "10"], "--rate is for numbered pictures; in.mkv has times of its own."),
        (["in.mkv", "--rate", "10", "--output", "%03d.png"], "--rate is for numbered pictures"),
        (["--model", "vespcn", "--rate", "10"], "--rate is for numbered pictures; the embedded film has times"),
        (["in.mkv", "--output", "%03d.png", "--crf", "20"], "--crf is for video, and %03d.png holds pictures."),
        (["in.mkv", "--output", "out", "--codec", "vp9", "--preset", "slow"], "--codec and --preset are for video"),
    ],
)
def test_options_that_would_be_ignored_are_wrong_usage(weights, tmp_path, monkeypatch, capsys, line, reason):
    monkeypatch.chdir(tmp_path)
    make_clip("in.mkv", [0, 40])
    line = line if "--model" in line else [*line, "--weights", str(weights)]
    assert super_resolve.main(["--scale", "2", *line]) == 2
    assert capsys.readouterr().err.startswith(f"Error: {reason}")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_the_codec_may_be_written_in_capitals(run, tmp_path):
    make_clip(tmp_path / "in.mkv", [0, 40])
    code, _, error = run(tmp_path / "in.mkv", "--output", tmp_path / "out.mkv", "--codec", "FFV1")
    assert code == 0, error
    with open_video(tmp_path / "out.mkv") as reader:
        assert reader.info.codec == "ffv1"


def test_one_picture_is_no_place_for_a_film(run, tmp_path):
    make_clip(tmp_path / "in.mkv", [0, 40])
    code, _, error = run(tmp_path / "in.mkv", "--output", tmp_path / "single.png")
    assert (code, len(error.splitlines())) == (1, 1)
    assert str(tmp_path / "single_%05d.png") in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("name", ["My%20dog.mkv", "100%dB.mkv", "%d.mkv", "%5d.mkv"])
def test_a_percent_sign_in_the_name_of_a_film(run, tmp_path, name):
    make_clip(tmp_path / name, [0, 40])
    code, out, error = run(tmp_path / name)
    assert code == 0, error
    assert out.splitlines()[-1] == str(tmp_path / name.replace(".mkv", "_espcn_x2.mkv"))
    assert len(frames_of(out.splitlines()[-1])) == 2


def test_a_folder_of_numbered_pictures_is_no_film_and_that_is_said(tmp_path, capsys):
    for number in (8, 9, 10):
        write_picture(tmp_path / "in" / f"frame{number}.png", Picture(np.full((20, 24, 1), number, np.uint8)))
    line = [str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--scale", "2", "--quiet", "--overwrite"]
    assert super_resolve.main([*line, "--model", "vespcn"]) == 0
    assert str(tmp_path / "in" / "frame%d.png") in capsys.readouterr().err
    assert super_resolve.main([*line, "--model", "espcn"]) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "in" / "frame9.png").rename(tmp_path / "in" / "other.png")
    assert super_resolve.main([*line, "--model", "vespcn"]) == 0
    assert capsys.readouterr().err == ""


def test_the_demonstration_leaves_the_stream_to_the_film(tmp_path):
    command = [sys.executable, super_resolve.__file__, "--model", "espcn", "--scale", "2", "--output", "-"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout[:4] == b"\x1a\x45\xdf\xa3"  # how Matroska begins
    assert b"embedded film" not in done.stdout
    assert done.stderr.count(b" dB") == 2
    assert list(tmp_path.iterdir()) == []


def test_a_polite_request_to_end_leaves_no_file(weights, tmp_path):
    source, target = tmp_path / "in.mkv", tmp_path / "out" / "out.mkv"
    make_clip(source, range(0, 8000, 40), width=160, height=120)
    target.parent.mkdir()
    line = [source, "--output", target, "--scale", "2", "--weights", weights, "--preset", "veryslow"]
    process = subprocess.Popen([sys.executable, super_resolve.__file__, *line], stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not list(target.parent.iterdir()):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == b"Interrupted."
    assert list(target.parent.iterdir()) == []


def test_an_existing_film_is_refused_and_the_input_never_written(run, tmp_path):
    source = tmp_path / "in.mkv"
    make_clip(source, range(0, 80, 40))
    before = source.read_bytes()
    (tmp_path / "there.mkv").write_bytes(b"precious")
    code, _, error = run(source, "--output", tmp_path / "there.mkv")
    assert code == 1
    assert len(error.strip().splitlines()) == 1
    assert (tmp_path / "there.mkv").read_bytes() == b"precious"
    code, _, error = run(source, "--output", source, "--overwrite")
    assert code == 1
    assert source.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no film at all" * 100])
def test_what_is_no_film_is_one_sentence(run, tmp_path, content):
    (tmp_path / "bad.mkv").write_bytes(content)
    code, _, error = run(tmp_path / "bad.mkv")
    assert code == 1
    assert error.startswith("Error: ")
    assert "bad.mkv" in error
    assert len(error.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"bad.mkv"}


def test_a_failing_network_leaves_no_file(weights, tmp_path):
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    make_clip(source, range(0, 800, 40))
    upscaler = Upscaler(load_weights(weights), "torch")
    enlarge, calls = upscaler.frame, []

    def failing(window, **colours):
        calls.append(window)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return enlarge(window, **colours)

    upscaler.frame = failing
    with pytest.raises(KeyboardInterrupt):
        FilmJob(upscaler, quiet=True).run(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_a_failing_encoder_ends_the_work(weights, tmp_path, monkeypatch):
    source = tmp_path / "in.mkv"
    make_clip(source, range(0, 800, 40))
    job = FilmJob(Upscaler(load_weights(weights), "torch"), quiet=True)

    def full(writer, frame):
        raise VideoError("out.mkv cannot be written: no space left on the device")

    monkeypatch.setattr(job, "_encode", full)
    with pytest.raises(VideoError, match="no space left"):
        job.run(source, tmp_path / "out.mkv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


def test_stages_keep_the_order_and_pass_errors_on():
    done = []
    with Behind(done.append, 2) as behind:
        for item in ahead(iter(range(50)), 3):
            behind.put(item)
    assert done == list(range(50))

    def broken():
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(ahead(broken(), 2))
    with pytest.raises(ZeroDivisionError), Behind(lambda item: 1 / item, 2) as behind:
        for item in (1, 0, 1, 1, 1, 1):
            behind.put(item)


def test_a_stage_runs_no_further_ahead_than_asked():
    made = []
    source = ahead((made.append(number) or number for number in range(100)), 3)
    assert next(source) == 0
    source.close()
    assert len(made) <= 6


def test_workers_keep_the_order_pass_errors_on_and_stop():
    assert list(made_by(3, lambda number: number**2, range(50))) == [number**2 for number in range(50)]
    assert list(made_by(3, str, [])) == []
    made = []
    results = made_by(2, made.append, range(100))
    next(results)
    results.close()
    assert len(made) <= 4
    results = made_by(2, lambda number: 1 // number, (1, 0, 1))
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
