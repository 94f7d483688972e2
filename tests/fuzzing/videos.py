"""Damaged and absurd videos for `common.video`."""

import tempfile
from pathlib import Path
from unittest.mock import patch

from clips import ASS_HEADER, make_clip, png

from common import video_reader
from common.video import VideoError, cut, open_video, open_writer
from fuzzing.mutations import mutated

PIXELS = 4_000_000  # the largest frame while this runs, in place of MAX_PIXELS, so that memory has a small bound
DOCUMENTED = (VideoError,)
SMALL = {"width": 48, "height": 32}
RICH = {
    "audio": [("aac", 0.3, {"language": "ger"})],
    "subtitles": [("ass", {"title": "words"})],
    "attachments": [("font.ttf", "font/ttf", ASS_HEADER)],
    "chapters": [{"id": 1, "start": 0, "end": 200, "time_base": "1/1000", "metadata": {"title": "one"}}],
    "cover": ("cover.png", "image/png", png()),
    "tags": {"title": "a film"},
}
CLIPS = {
    "rich.mkv": RICH,
    "lossless.mkv": {"codec": "ffv1", "pixel_format": "yuv420p10le"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}, "audio": [("libopus", 0.3, {})]},
    "film.mp4": {"audio": [("aac", 0.3, {})], "rotation": 90, "colour": (1, 1, 1, 1)},
    "hevc.mov": {"codec": "libx265", "options": {"x265-params": "log-level=none:aq-mode=0:cutree=0"}},
    "old.avi": {"codec": "mpeg4", "audio": [("libmp3lame", 0.3, {})]},
    "stream.ts": {"codec": "mpeg2video", "audio": [("aac", 0.3, {})]},
    "film.flv": {"codec": "flv"},
    "pictures.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
}


def seeds():
    """{name: content} of valid videos."""
    from fractions import Fraction

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in CLIPS.items():
            options = dict(options)
            if "chapters" in options:
                options["chapters"] = [{**chapter, "time_base": Fraction(1, 1000)} for chapter in options["chapters"]]
            time_base, step = (Fraction(1, 25), 1) if "mkv" not in name else (Fraction(1, 1000), 40)
            path = Path(folder) / name
            make_clip(path, range(0, 8 * step, step), time_base=time_base, **SMALL, **options)
            found[name] = path.read_bytes()
    return found


def make(random, valid):
    """(content, suffix) of one input; `valid` is what `seeds` returned."""
    name = random.choice(list(valid))
    return mutated(valid[name], random, list(valid.values())), "." + name.rpartition(".")[2]


def attempt(path, folder, random):
    """Read all frames and write them and everything else anew; or copy a piece; or make pictures of them."""
    with patch.object(video_reader, "MAX_PIXELS", PIXELS):
        _attempt(path, folder, random)


def _attempt(path, folder, random):
    way = random.random()
    if way < 0.2:
        cut(path, folder / random.choice(("out.mkv", "out.mp4")), start=random.choice((0, 0.1)), duration=1)
        return
    target, codec = random.choice((("out.mkv", "ffv1"), ("out.mkv", "mpeg4"), ("out.mp4", "mpeg4"), ("out", None)))
    with open_video(path) as reader, open_writer(folder / target, reader, codec=codec) as writer:
        for frame in reader:
            writer.write(frame)


def command(path, folder):
    """The first frame by the command line."""
    return ["-m", "common.video", "cut", path, folder / "out.mkv"]
