"""Films worked in segments: stopped at any moment they go on, and come out as if nothing had happened.

Twenty real runs are killed at random moments by `python tests/kill_and_resume.py --kills 20`; here it is two.
"""

import json
import os
import random
import subprocess
import sys
from collections import namedtuple
from contextlib import contextmanager, suppress
from fractions import Fraction

import av
import kill_and_resume
import numpy as np
import pytest
from clips import damage, make_clip, packets_of, png
from fuzzing import journals
from limits import largest_file

import super_resolve
from common import joining, resuming, workplace
from common.film_frames import FilmFrames
from common.images import Picture, write_picture
from common.joining import JoiningWriter
from common.networks import network
from common.samples import photograph
from common.segment_work import SegmentWorker
from common.segments import InexactError, Planner, Segment, SegmentError
from common.video import Frame, VideoError, VideoWriter, info_of_frames, open_video
from common.video_info import PixelLayout
from common.weights import Weights, initial_tensors, save_weights
from common.workplace import Workplace

CHAPTER = {"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "Anfang"}}
UNEVEN = np.cumsum(np.random.default_rng(5).integers(15, 70, 48)).tolist()  # milliseconds


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with weights of two small ESPCNs, and of small VESPCNs of 3 and 5 frames, random but not dull."""
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        spec = network("espcn", scale=2, widths=(4, 4))
        tensors = initial_tensors(spec, seed)
        tensors["conv3.weight"] *= 10
        tensors["conv3.bias"] += 0.4
        save_weights(folder / f"espcn{seed}.safetensors", Weights("espcn", spec, tensors))
    for frames in (3, 5):
        save_weights(folder / f"vespcn{frames}.safetensors", kill_and_resume.small_vespcn(frames))
    return folder


@pytest.fixture
def run(weights, capsys):
    """Calls the command with arguments; returns (exit code, stdout, stderr)."""

    def call(*arguments, model="espcn", which=0):
        line = ["--scale", 2, "--threads", 1, "--model", model, "--weights", weights / f"{model}{which}.safetensors"]
        code = super_resolve.main([str(word) for word in [*line, *arguments]])
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def film(tmp_path):
    """A film with uneven times and everything that Matroska can hold."""
    path = tmp_path / "film.mkv"
    extra = {"audio": [("aac", 1.8, {"language": "deu"})], "subtitles": [("subrip", {"language": "eng"})]}
    extra |= {"attachments": [("font.ttf", "font/ttf", b"letters")], "cover": ("cover.png", "image/png", png())}
    make_clip(path, UNEVEN, width=48, height=32, options={"g": "10", "bf": "2"}, chapters=[CHAPTER], rotation=90,
              tags={"title": "Fest"}, **extra)  # fmt: skip
    return path


def content(path):
    """Everything of a film that may be compared: frames with their times, the other streams, chapters and tags."""
    with open_video(path) as reader:
        info = reader.info
        frames = [(frame.time, frame.luma.tobytes(), *(p.tobytes() for p in frame.chroma)) for frame in reader]
    tags = {key: value for key, value in info.tags.items() if key.lower() != "encoder"}
    others = [(stream.kind, stream.codec, stream.language, stream.title) for stream in info.streams]
    packets = {kind: packets_of(path, kind) for kind in ("audio", "subtitle")}
    return frames, packets, info.chapters, tags, others, info.rotation, info.start_time


def same(ours, theirs):
    for mine, yours in zip(content(ours), content(theirs), strict=True):
        assert mine == yours
    return True


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def stopped_after(number, with_=KeyboardInterrupt):
    """Inside, a worker stops before it begins its segment with that number, counted from 0; yields those it began."""
    work, begun = SegmentWorker.work, []

    def counted(self, segment, *arguments):
        if len(begun) == number:
            raise with_
        begun.append(segment.number)
        return work(self, segment, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentWorker, "work", counted)
        yield begun


# ---- The film is that of one go


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", ["ffv1"]), (".mp4", ["h264", "--crf", 0]), (".nut", ["ffv1"]), (".ts", ["h264"])]
)
def test_segments_joined_are_the_film_of_one_go(run, film, tmp_path, suffix, codec):
    if suffix == ".ts":
        codec = [*codec, "--preset", "ultrafast", "--crf", 0]
    whole, joined = tmp_path / f"whole{suffix}", tmp_path / f"joined{suffix}"
    code, _, error = run(film, "--output", whole, "--codec", *codec)
    assert code == 0, error
    warned = error.replace("whole", "joined")
    code, _, error = run(film, "--output", joined, "--codec", *codec, "--resume", "--segment", 0.3)
    assert (code, [line for line in error.splitlines() if line.startswith("Warning")]) == (
        0,
        [line for line in warned.splitlines() if line.startswith("Warning")],
    )
    assert same(joined, whole)
    assert files(tmp_path) == sorted(["film.mkv", whole.name, joined.name])


@pytest.mark.parametrize(("suffix", "codec"), [(".webm", "vp9"), (".mov", "prores"), (".mkv", "ffv1")])
def test_transparency_is_that_of_one_go(run, tmp_path, suffix, codec):
    source = tmp_path / "film.mkv"
    make_clip(source, range(0, 480, 40), width=48, height=32, pixel_format="yuva420p", codec="ffv1")
    for name, flags in (("whole", []), ("joined", ["--resume", "--segment", 0.2])):
        code, _, error = run(source, "--output", tmp_path / f"{name}{suffix}", "--codec", codec, "--crf", 4, *flags)
        assert code == 0, error
    with open_video(tmp_path / f"whole{suffix}") as whole, open_video(tmp_path / f"joined{suffix}") as joined:
        pairs = list(zip(whole, joined, strict=True))
    assert len(pairs) == 12
    for theirs, ours in pairs:
        difference = np.abs(ours.alpha.astype(int) - theirs.alpha)
        assert difference.mean() < (1 if codec == "vp9" else 1e-9)  # which is lossy


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "av1"])
def test_packets_of_segments_follow_each_other(run, film, tmp_path, codec):
    """Reordered pictures have decoding times that rise, none later than its own, also from segment to segment."""
    code, _, error = run(film, "--output", tmp_path / "out.mp4", "--codec", codec, "--resume", "--segment", 0.3)
    assert code == 0, error
    with av.open(tmp_path / "out.mp4") as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
        decoded = [packet.dts for packet in packets]
        assert decoded == sorted(set(decoded))
        assert all(packet.dts <= packet.pts for packet in packets)
        times = sorted(float(packet.pts * packet.time_base) for packet in packets)
    assert times == pytest.approx([time / 1000 for time in UNEVEN])


def scenes(path, lengths, size=(32, 48)):
    """Write a film of photographs that drift, a scene for each of the lengths."""
    with VideoWriter(path, info=info_of_frames(size[1], size[0], layout=PixelLayout(None)), codec="ffv1") as writer:
        number = 0
        for scene, length in enumerate(lengths):
            luma = photograph(("coffee", "chelsea", "astronaut")[scene % 3]).pixels[::4, ::4, 0]
            for step in range(length):
                frame = luma[step : step + size[0], 2 * step : 2 * step + size[1]]
                writer.write(Frame(np.ascontiguousarray(frame), pts=number, time_base=Fraction(1, 25), duration=1))
                number += 1


@pytest.mark.parametrize(("frames", "seconds"), [(3, 0.24), (5, 0.24), (5, 0.08)])
def test_vespcn_sees_the_neighbours_at_every_edge_and_none_behind_a_cut(run, tmp_path, frames, seconds):
    source, radius = tmp_path / "film.mkv", frames // 2
    scenes(source, (9, 1, 14, 3, 12))
    for name, flags in (("whole.mkv", []), ("joined.mkv", ["--resume", "--segment", seconds])):
        line = [source, "--output", tmp_path / name, "--codec", "ffv1", *flags]
        code, _, error = run(*line, model="vespcn", which=frames)
        assert code == 0, error
    with open_video(tmp_path / "whole.mkv") as whole, open_video(tmp_path / "joined.mkv") as joined:
        for ours, theirs in zip(joined, whole, strict=True):
            assert ours.time == theirs.time
            assert np.array_equal(ours.luma, theirs.luma), ours.pts
    with FilmFrames(source, radius) as film:
        plan = list(Planner(film, radius, seconds))
    assert {9, 10, 24, 27} & {segment.first for segment in plan}  # segments follow the cuts
    assert {segment.before for segment in plan} >= {0, radius}
    assert {segment.after for segment in plan} >= {0, radius}
    assert all(segment.frames <= 25 * seconds for segment in plan)


# ---- Stopped and gone on


def test_killed_at_random_moments_nothing_is_lost():
    line = [sys.executable, kill_and_resume.__file__, "--kills", "2", "--seed", str(random.Random(7).randrange(99))]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_interrupted_film_says_how_to_go_on_and_goes_on(run, film, tmp_path):
    whole, target, flags = tmp_path / "whole.mkv", tmp_path / "out.mkv", ["--resume", "--segment", 0.3]
    assert run(film, "--output", whole, *flags)[0] == 0
    with stopped_after(3) as begun:
        code, _, error = run(film, "--output", target, *flags)
    assert (code, begun) == (130, [0, 1, 2])
    kept = sum(1 for line in (tmp_path / "out.mkv.segments" / "journal.jsonl").open() if '"finished"' in line)
    assert kept == 3
    *_, said, last = error.splitlines()
    assert said.startswith("Stopped: ") and "out.mkv.segments; the same command goes on from there." in said
    assert last == "Interrupted."
    assert not target.exists()
    with stopped_after(None) as begun:
        code, out, error = run(film, "--output", target, *flags, "--report", tmp_path / "r.json")
    assert (code, out.splitlines()[-1]) == (0, str(target)), error
    assert begun[0] == 3 and begun == sorted(set(begun))
    assert same(target, whole)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["frames_in"] == report["frames_out"] == len(UNEVEN)
    assert 0 < report["frames_kept"] < len(UNEVEN)
    assert f"Stopped: {report['frames_kept']} frames are finished" in said
    assert f" {report['frames_kept']}/" in error  # where the progress begins
    assert files(tmp_path) == ["film.mkv", "out.mkv", "r.json", "whole.mkv"]


def test_stopped_before_anything_is_finished_it_leaves_nothing(run, film, tmp_path):
    with stopped_after(0):
        code, _, error = run(film, "--resume")
    assert (code, error.splitlines()[-1]) == (130, "Interrupted.")
    assert files(tmp_path) == ["film.mkv"]


def test_killed_behind_the_last_step_only_the_folder_is_cleared(run, film, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Workplace, "remove", lambda self: None)
        assert run(film, "--resume")[0] == 0
    assert (tmp_path / "film_espcn_x2.mkv.segments").exists()
    with stopped_after(0) as begun:
        code, out, error = run(film, "--resume")
    assert (code, out.splitlines()[-1], begun) == (0, str(tmp_path / "film_espcn_x2.mkv"), []), error
    assert files(tmp_path) == ["film.mkv", "film_espcn_x2.mkv"]
    code, _, error = run(film, "--resume")
    assert (code, error) == (1, f"Error: {tmp_path / 'film_espcn_x2.mkv'} exists already and is not overwritten.\n")


def test_a_torn_journal_and_a_lost_file_cost_their_segments_only(run, film, tmp_path):
    whole, target, flags = tmp_path / "whole.mkv", tmp_path / "out.mkv", ["--resume", "--segment", 0.3]
    assert run(film, "--output", whole, *flags)[0] == 0
    with stopped_after(4):
        run(film, "--output", target, *flags)
    folder = tmp_path / "out.mkv.segments"
    written = (folder / "journal.jsonl").read_bytes()
    (folder / "journal.jsonl").write_bytes(written[: written.rindex(b'{"finished": 3') + 9])
    (folder / ".0123.part.nut").write_bytes(b"torn")
    (folder / "00001.nut").write_bytes(b"cut off")
    with stopped_after(None) as begun:
        assert run(film, "--output", target, *flags)[0] == 0
    assert begun[:3] == [1, 3, 4]
    assert same(target, whole)
    assert files(tmp_path) == ["film.mkv", "out.mkv", "whole.mkv"]


def test_planning_goes_on_where_it_was_stopped(film):
    with FilmFrames(film, 1) as frames:
        plan = list(Planner(frames, 1, 0.3))
    assert [segment.number for segment in plan] == list(range(len(plan)))
    assert [segment.first for segment in plan][1:] == np.cumsum([segment.frames for segment in plan])[:-1].tolist()
    assert [time for segment in plan for time, _ in segment.times] == UNEVEN
    assert [Segment.from_dict(json.loads(json.dumps(segment.to_dict()))) for segment in plan] == plan
    for last in (0, 2, len(plan) - 1):
        with FilmFrames(film, 1) as frames:
            assert list(Planner(frames, 1, 0.3, plan[last])) == plan[last + 1 :]


@pytest.mark.parametrize("fault", ["damaged", "cut off", "put together"])
def test_of_a_faulty_film_the_same_is_made_and_said(run, tmp_path, fault):
    source = tmp_path / ("film.ts" if fault == "put together" else "film.mkv")
    options = {"g": "12", "bf": "0"} if source.suffix == ".mkv" else {"g": "12", "bf": "2"}
    codec = "libx264" if source.suffix == ".mkv" else "mpeg2video"
    make_clip(source, range(60), time_base=Fraction(1, 25), width=48, height=32, codec=codec, options=options,
              audio=[("aac", 2.3, {})])  # fmt: skip
    data = source.read_bytes()
    if fault == "damaged":
        damage(source, [17, 30, 59])
    elif fault == "cut off":
        source.write_bytes(data[: len(data) * 2 // 3])
    else:
        source.write_bytes(data + data)
    line, flags = [source, "--quiet", "--codec", "ffv1", "--output"], ["--resume", "--segment", 0.4]
    code, _, warned = run(*line, tmp_path / "whole.mkv")
    assert code == 0 and warned.startswith("Warning: ")
    with stopped_after(2):
        assert run(*line, tmp_path / "joined.mkv", *flags)[0] == 130
    code, _, error = run(*line, tmp_path / "joined.mkv", *flags)
    assert (code, error) == (0, warned.replace("whole", "joined"))
    assert same(tmp_path / "joined.mkv", tmp_path / "whole.mkv")


def test_a_segment_that_went_bad_is_made_anew(run, film, tmp_path):
    line = [film, "--codec", "ffv1", "--resume", "--segment", 0.3]
    assert run(*line, "--output", tmp_path / "whole.mkv")[0] == 0
    with stopped_after(3):
        run(*line)
    for name, spoilt in (("00001.nut", lambda data: bytes(len(data))), ("00002.nut", lambda data: one_bit(data, -200))):
        path = tmp_path / "film_espcn_x2.mkv.segments" / name
        path.write_bytes(spoilt(path.read_bytes()))
    with stopped_after(None) as begun:
        code, _, error = run(*line)
    assert (code, begun[:3]) == (0, [1, 2, 3]), error
    assert same(tmp_path / "film_espcn_x2.mkv", tmp_path / "whole.mkv")


def one_bit(data, place):
    """`data` with one bit of the byte at `place` another."""
    data = bytearray(data)
    data[place] ^= 4
    return bytes(data)


class Killed(BaseException):
    """In the place of a signal that leaves no time for anything."""


def killed(*arguments):
    raise Killed


def test_another_film_of_the_same_size_is_not_taken_for_the_finished_one(run, film, tmp_path, monkeypatch):
    """Killed between the note that the film is joined and its name, over an earlier film."""
    line = [film, "--resume", "--overwrite", "--output", tmp_path / "out.mkv"]
    with monkeypatch.context() as patch:
        patch.setattr(joining, "put_in_place", killed)
        patch.setattr(JoiningWriter, "abort", lambda self: None)
        with pytest.raises(Killed):
            run(*line)
    joined = tmp_path / "out.mkv.segments" / "film.mkv"
    (tmp_path / "out.mkv").write_bytes(bytes(joined.stat().st_size))
    code, _, error = run(*line)
    assert code == 0, error
    assert len(content(tmp_path / "out.mkv")[0]) == len(UNEVEN)
    assert files(tmp_path) == ["film.mkv", "out.mkv"]


def test_a_result_that_appears_meanwhile_is_not_replaced(run, film, tmp_path, monkeypatch):
    target, line = tmp_path / "out.mkv", [film, "--resume", "--output", tmp_path / "out.mkv"]
    with monkeypatch.context() as patch:
        patch.setattr(joining, "reach_disk", lambda path: target.write_bytes(b"another's"))
        code, _, error = run(*line)
    assert (code, target.read_bytes()) == (1, b"another's")
    assert error.splitlines()[-1].startswith(f"Error: {target}")
    target.unlink()
    with stopped_after(0) as begun:
        assert (run(*line)[0], begun) == (0, [])


# ---- What does not belong together


@pytest.mark.parametrize(
    ("flags", "seed", "reason"),
    [
        (["--crf", 30], 0, "unfinished work without --crf 30.0; "),
        (["--segment", 0.5], 0, "unfinished work with --segment 0.3 instead of 0.5; "),
        (["--codec", "ffv1"], 0, "unfinished work without --codec ffv1; "),
        ([], 1, "unfinished work with other weights; "),
    ],
)
def test_other_work_is_refused_and_says_what_differs(run, film, tmp_path, flags, seed, reason):
    line = [film, "--output", tmp_path / "out.mkv", "--resume"]
    with stopped_after(2):
        run(*line, "--segment", 0.3)
    before = files(tmp_path / "out.mkv.segments")
    flags = flags if "--segment" in flags else [*flags, "--segment", 0.3]
    code, _, error = run(*line, *flags, which=seed)
    assert (code, len(error.splitlines())) == (1, 1)
    assert reason in error and "--overwrite begins anew." in error
    assert files(tmp_path / "out.mkv.segments") == before
    with stopped_after(None) as begun:
        code, _, error = run(*line, *flags, "--overwrite", which=seed)
    assert (code, begun[0]) == (0, 0), error
    assert files(tmp_path) == ["film.mkv", "out.mkv"]


def test_another_model_or_film_is_refused(run, film, tmp_path):
    line = [film, "--output", tmp_path / "out.mkv", "--resume", "--segment", 0.3]
    with stopped_after(2):
        run(*line)
    code, _, error = run(*line, model="vespcn", which=3)
    assert code == 1
    assert "work with --model espcn instead of vespcn and without --motion none; the" in error
    os.utime(film, (1, 1))
    code, _, error = run(*line)
    assert code == 1
    assert "unfinished work on another film, or on this one before it changed; " in error


def test_with_overwrite_the_same_work_goes_on(run, film, tmp_path):
    line = [film, "--output", tmp_path / "out.mkv", "--resume", "--segment", 0.3, "--overwrite"]
    (tmp_path / "out.mkv").write_bytes(b"an earlier film")
    with stopped_after(2):
        run(*line)
    assert (tmp_path / "out.mkv").read_bytes() == b"an earlier film"
    with stopped_after(None) as begun:
        code, _, error = run(*line)
    assert (code, begun[0]) == (0, 2), error
    assert len(content(tmp_path / "out.mkv")[0]) == len(UNEVEN)


def test_the_second_of_two_runs_is_refused(run, film, tmp_path):
    with Workplace(tmp_path / "film_espcn_x2.mkv"):
        code, _, error = run(film, "--resume")
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith("Error: Another run is at work on this film; ")
    assert run(film, "--resume")[0] == 0
    assert files(tmp_path) == ["film.mkv", "film_espcn_x2.mkv"]


@pytest.mark.parametrize("leads_to", ["earlier.mkv", "nowhere.mkv", "out.mkv"])
def test_a_link_is_an_existing_result_and_is_replaced_itself(run, film, tmp_path, leads_to):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "earlier.mkv").write_bytes(b"an earlier film")
    target = tmp_path / "out.mkv"
    target.symlink_to("out.mkv" if leads_to == "out.mkv" else tmp_path / "elsewhere" / leads_to)
    code, _, error = run(film, "--output", target, "--resume")
    assert (code, error) == (1, f"Error: {target} exists already and is not overwritten.\n")
    code, out, error = run(film, "--output", target, "--resume", "--overwrite")
    assert (code, out.splitlines()[-1]) == (0, str(target)), error
    assert not target.is_symlink() and len(content(target)[0]) == len(UNEVEN)
    assert files(tmp_path) == ["elsewhere", "film.mkv", "out.mkv"]
    assert (tmp_path / "elsewhere" / "earlier.mkv").read_bytes() == b"an earlier film"
    assert files(tmp_path / "elsewhere") == ["earlier.mkv"]


def test_a_folder_of_that_name_is_left_alone(run, film, tmp_path):
    (tmp_path / "film_espcn_x2.mkv.segments").mkdir()
    (tmp_path / "film_espcn_x2.mkv.segments" / "mine.txt").write_text("precious")
    code, _, error = run(film, "--resume")
    assert (code, len(error.splitlines())) == (1, 1)
    assert "is in the way" in error
    assert files(tmp_path / "film_espcn_x2.mkv.segments") == ["mine.txt"]


SEGMENT = (
    b'{"segment": {"number": 2, "first": %d, "frames": 1, "before": 0, "after": %s, "begin": 0, "change": %s, '
    b'"fingerprint": 0, "cuts": [], "warnings": [], "times": [%s]}}'
)


@pytest.mark.parametrize(
    "line",
    [
        b"{no JSON at all}",
        b'{"a": ' + b"[" * 10000 + b"}",
        b"{}",
        b'{"finished": 99, "bytes": 1, "delay": 0, "content": ""}',
        b'{"finished": 0, "bytes": 1, "delay": 1000000000000, "content": ""}',
        b'{"finished": 0, "bytes": 1, "delay": 0}',
        b'{"joined": "all"}',
        b'{"segment": {"number": 7}}',
        SEGMENT % (1, b"0", b"0.0", b"[0, 1, 1, 1000000000], [0, 1, 1, -999999999]"),
        SEGMENT % (14, b"0", b"0.0", b"[1" + b"0" * 30 + b", 1, 0, 1]"),
        SEGMENT % (14, b"0", b"NaN", b"[0, 1, 0, 1]"),
        SEGMENT % (14, b"1" + b"0" * 30, b"0.0", b"[0, 1, 0, 1]"),
        b'{"note": "%s"}' % (b"x" * (1 << 20)),
        b"\xff\xfe{}",
    ],
)
def test_a_journal_that_makes_no_sense_is_one_sentence(run, film, tmp_path, line):
    """Even if its sums are right."""
    with stopped_after(2):
        run(film, "--resume", "--segment", 0.3)
    path = tmp_path / "film_espcn_x2.mkv.segments" / "journal.jsonl"
    path.write_bytes(journals.sealed([*journals.unsealed(path.read_bytes()), line]))
    code, _, error = run(film, "--resume", "--segment", 0.3)
    assert (code, len(error.splitlines())) == (1, 1)
    assert f"{path} is damaged in line" in error and "--overwrite begins anew." in error


def test_whatever_happened_to_a_journal_is_found_out(run, film, tmp_path):
    with stopped_after(4):
        run(film, "--resume", "--segment", 0.3)
    path = tmp_path / "film_espcn_x2.mkv.segments" / "journal.jsonl"
    first, *lines = path.read_bytes().splitlines(keepends=True)
    chance = random.Random(3)
    changed = [
        [first, *lines[1:]],
        [first, *lines[:3], *lines[4:]],
        [first, lines[0], *lines],
        [first, *lines[::-1]],
        [first, *lines, lines[-1]],
        [first.rpartition(b", ")[0] + b"}\n", *lines],  # as it was before there were seals
        *([one_bit(b"".join([first, *lines]), chance.randrange(len(first) + 500))] for _ in range(20)),
    ]
    for journal in changed:
        path.write_bytes(b"".join(journal))
        code, _, error = run(film, "--resume", "--segment", 0.3)
        assert (code, len(error.splitlines())) == (1, 1)
        assert f"{path} is damaged in line" in error and "--overwrite begins anew." in error
    path.write_bytes(b"".join([first, *lines]))
    assert run(film, "--resume", "--segment", 0.3)[0] == 0


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "endless"])
def test_what_is_no_journal_is_left_alone(run, film, tmp_path, what):
    with stopped_after(2):
        run(film, "--resume", "--segment", 0.3)
    path = tmp_path / "film_espcn_x2.mkv.segments" / "journal.jsonl"
    path.unlink()
    (tmp_path / "precious").write_text("")
    {
        "link": lambda: path.symlink_to(tmp_path / "precious"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "endless": lambda: path.symlink_to("/dev/zero"),
    }[what]()
    code, _, error = run(film, "--resume", "--segment", 0.3)
    assert (code, len(error.splitlines())) == (1, 1)
    assert f"{path}: " in error
    assert (tmp_path / "precious").read_text() == ""


def test_only_what_is_ours_is_removed(run, film, tmp_path):
    with stopped_after(2):
        run(film, "--resume", "--segment", 0.3)
    folder = tmp_path / "film_espcn_x2.mkv.segments"
    for name in ("2023.mkv", "film of mine.mkv", ".hidden.part", "00007.mp4"):
        (folder / name).write_text("precious")
    (folder / "00009.nut").mkdir()
    assert run(film, "--resume", "--segment", 0.3)[0] == 0
    assert files(folder) == [".hidden.part", "00007.mp4", "00009.nut", "2023.mkv", "film of mine.mkv"]


@pytest.mark.parametrize("change", [{"frames": 0}, {"first": -1}, {"cuts": "abc"}, {"times": None}, {"change": 1},
                                    {"number": True}, {"begin": 0.5}, {"begin": -1 << 62},
                                    {"after": 301}, {"change": float("inf")}, {"fingerprint": 10**30},
                                    {"another": 1}, {"warnings": [1]}])  # fmt: skip
def test_what_is_no_segment_is_refused(change):
    segment = Segment(0, 0, 2, 0, 0, 0, ((0, 40), (40, 40)), (), 0.5, 12345)
    assert Segment.from_dict(segment.to_dict()) == segment
    with pytest.raises(SegmentError):
        Segment.from_dict({**segment.to_dict(), **change})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-"], "--resume is for films in files."),
        (["film.mkv", "--output", "-"], "--resume is for films in files."),
        (["film.mkv", "--output", "frames/%03d.png"], "--resume is for films in files, and not for numbered pictures."),
        (["film.mkv", "--compare", "page.html"], "--compare needs a film in one go"),
    ],
)
def test_what_cannot_be_resumed_is_wrong_usage(run, film, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(*arguments, "--resume")
    assert code == 2
    assert error.startswith(f"Error: {reason}")
    assert run("film.mkv", "--segment", 3)[0] == 2
    assert files(tmp_path) == ["film.mkv"]


# ---- The disk


def test_a_disk_that_fills_up_costs_nothing_that_is_finished(run, film, tmp_path):
    line = [film, "--output", tmp_path / "out.mkv", "--codec", "ffv1", "--resume", "--segment", 0.3]
    with largest_file(5_000):
        code, _, error = run(*line)
    assert code == 1
    assert error.splitlines()[-1].startswith(f"Error: The disk of {tmp_path / 'out.mkv'} is full: nothing was finished")
    assert files(tmp_path) == ["film.mkv"]
    with largest_file(100_000):  # enough for each segment, not for all of them together
        code, _, error = run(*line)
    assert code == 1
    said = f"Error: The disk of {tmp_path / 'out.mkv'} is full: {len(UNEVEN)} frames are finished and kept in "
    assert error.splitlines()[-1].startswith(said)
    assert not (tmp_path / "out.mkv").exists()
    with stopped_after(0) as begun:
        code, _, error = run(*line)
    assert (code, begun) == (0, []), error
    assert len(content(tmp_path / "out.mkv")[0]) == len(UNEVEN)


@pytest.mark.parametrize(("free", "reason"), [(5_000, " left, and this film with its segments is going to need ")])
def test_a_disk_that_is_too_small_is_found_out_before_the_work(run, film, tmp_path, monkeypatch, free, reason):
    usage = namedtuple("Usage", "total used free")(1 << 40, 0, free)
    monkeypatch.setattr(workplace.shutil, "disk_usage", lambda path: usage)
    with stopped_after(0) as begun:
        code, _, error = run(film, "--codec", "ffv1", "--resume")
    assert (code, begun, len(error.splitlines())) == (1, [], 1)
    assert reason in error
    assert files(tmp_path) == ["film.mkv"]


def test_room_is_looked_for_behind_each_segment(run, film, tmp_path, monkeypatch):
    work, free = SegmentWorker.work, [1 << 40]

    def filling(self, segment, *arguments):
        free[0] = 100 if segment.number == 1 else free[0]
        return work(self, segment, *arguments)

    monkeypatch.setattr(SegmentWorker, "work", filling)
    monkeypatch.setattr(Workplace, "room", property(lambda self: free[0]))
    code, _, error = run(film, "--resume", "--segment", 0.3)
    assert code == 1
    assert "is full: " in error and "with more room the same command goes on." in error
    assert [name for name in files(tmp_path / "film_espcn_x2.mkv.segments") if name.endswith(".nut")] == [
        "00000.nut",
        "00001.nut",
    ]


# ---- Frames are found again exactly


HARD_TO_SEEK = {
    "open groups.mkv": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "open groups.mp4": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "intra refresh.mkv": ("libx264", {"g": "12", "bf": "0", "x264-params": "intra-refresh=1"}),
    "one group.mp4": ("libx264", {"g": "500", "bf": "3"}),
    "no index.ts": ("mpeg2video", {"g": "12", "bf": "2"}),
    "no times.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "hidden frames.webm": ("libvpx", {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "10", "b": "100000"}),
    "damaged.mkv": ("libx264", {"g": "12", "bf": "0"}),
}


@pytest.mark.parametrize("name", HARD_TO_SEEK)
def test_segments_in_any_order_have_the_frames_of_one_go(tmp_path, name):
    path, (codec, options) = tmp_path / name, HARD_TO_SEEK[name]
    make_clip(path, range(60), time_base=Fraction(1, 25), width=48, height=32, codec=codec, options=options)
    if name.startswith("damaged"):
        damage(path, [17, 30])
    with open_video(path) as reader:
        whole = [(frame.pts, frame.luma.tobytes(), frame.repeated) for frame in reader]
        damaged = reader.damaged
    with FilmFrames(path, 1) as frames:
        plan = list(Planner(frames, 1, 0.5))
    assert (sum(segment.frames for segment in plan), plan[-1].damaged) == (len(whole), damaged)
    assert all(segment.frames <= 12 for segment in plan)
    with FilmFrames(path, 1) as frames:
        for segment in random.Random(3).sample(plan, len(plan)):
            assert found_again(frames, segment) == whole[segment.read.start : segment.read.stop], segment.number


def found_again(frames, segment):
    """What `FilmFrames` gives for a segment in the first way in which it is right."""
    for way in frames.ways(segment):
        with suppress(InexactError):
            return [(frame.pts, frame.luma.tobytes(), frame.repeated) for frame in way]


def test_a_film_that_changes_while_it_is_worked_ends_the_work(run, film, tmp_path):
    with FilmFrames(film, 0) as frames:
        plan = list(Planner(frames, 0, 0.3))
        other = Segment(**{**vars(plan[2]), "fingerprint": plan[2].fingerprint ^ 1})
        with pytest.raises(VideoError, match="is not the film any more"):
            for way in frames.ways(other):
                with pytest.raises(InexactError):
                    list(way)


@pytest.mark.parametrize("change", ["another", "shorter", "gone", "touched"])
def test_sound_is_not_taken_from_a_film_that_changed_meanwhile(run, film, tmp_path, monkeypatch, change):
    """Its frames were found by their fingerprints, or were read before."""
    join = resuming.join

    def changing(*arguments, **options):
        data = film.read_bytes()
        film.unlink()
        if change == "another":
            make_clip(film, UNEVEN, width=48, height=32, audio=[("aac", 1.2, {})])
        elif change != "gone":
            film.write_bytes(data if change == "touched" else data[:-5000])
        return join(*arguments, **options)

    monkeypatch.setattr(resuming, "join", changing)
    code, out, error = run(film, "--resume", "--segment", 0.3, "--quiet")
    if change == "touched":
        assert (code, error) == (0, "")
        return
    assert (code, out, len(error.splitlines())) == (1, "", 1)
    assert ("film.mkv does not exist." if change == "gone" else "film.mkv is not the film any more") in error
    assert not (tmp_path / "film_espcn_x2.mkv").exists()
    assert "00000.nut" in files(tmp_path / "film_espcn_x2.mkv.segments")


# ---- Pictures


def test_of_a_folder_only_the_missing_pictures_are_done(run, tmp_path):
    for number in range(3):
        write_picture(tmp_path / "in" / f"{number}.png", Picture(np.full((20, 24, 1), 50 * number, np.uint8)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"finished")
    code, _, error = run(tmp_path / "in", "--output", tmp_path / "out", "--resume", "--quiet")
    assert (code, error) == (0, "Warning: 1 of 3 pictures were finished before.\n")
    assert (tmp_path / "out" / "1.png").read_bytes() == b"finished"
    assert files(tmp_path / "out") == ["0.png", "1.png", "2.png"]
