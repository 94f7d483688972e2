"""Cut, split, join and describe videos: `python -m common.video cut|split|join|info`, with no installed ffmpeg."""

import argparse
import json
import os
import sys
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from common import cli
from common.errors import UsageError
from common.video_reader import VideoReader
from common.video_recipes import cut, join, split

HIGHEST_RATE = 100_000  # pictures a second, of any camera; one picture more often would fill every disk


def parser():
    parse = argparse.ArgumentParser(
        prog="python -m common.video",
        description="Cut, split, join and describe videos.",
        epilog="Times are seconds (75.5) or hh:mm:ss.ms (1:15.5).",
    )
    commands = parse.add_subparsers(dest="command", required=True, metavar="cut|split|join|info")
    debugging = argparse.ArgumentParser(add_help=False)
    debugging.add_argument("--debug", action="store_true", help="show the traceback of an error")
    writing = argparse.ArgumentParser(add_help=False, parents=[debugging])
    writing.add_argument("--overwrite", action="store_true", help="replace an existing output")
    writing.add_argument("--quiet", action="store_true", help="no progress and no warnings")
    encoding = argparse.ArgumentParser(add_help=False)
    encoding.add_argument("--codec", help="encoder, such as h264, h265, vp9, av1, ffv1 (default: by the suffix)")
    encoding.add_argument("--crf", type=int, help="quality in the encoder's scale, smaller is better")
    encoding.add_argument("--preset", help="effort in the encoder's scale, such as veryfast")

    command = commands.add_parser("cut", parents=[writing, encoding], help="copy a piece of a video with all streams")
    command.add_argument("input", type=cli.any_path, help="video, or - for standard input")
    command.add_argument("output", type=cli.any_path, help="new video; its suffix chooses the container")
    command.add_argument("--start", type=_time, default=Fraction(0), help="where the piece begins (default 0)")
    command.add_argument("--duration", type=_time, help="how long it is (default: to the end)")
    command.add_argument(
        "--exact", action="store_true", help="begin exactly at the start by encoding anew, not at the key frame before"
    )
    command.set_defaults(run=_run_cut)

    command = commands.add_parser("split", parents=[writing], help="write the frames of a video as numbered pictures")
    command.add_argument("input", type=cli.any_path, help="video, or - for standard input")
    command.add_argument("output", type=cli.any_path, help="folder, or a pattern such as frames/%%05d.png")
    command.add_argument(
        "--rate", type=_rate, help="pictures a second, such as 1, 23.976 or 1/10 (default: every frame)"
    )
    number = "number of the first picture (default 1)"
    command.add_argument("--start", type=cli.not_negative(int), default=1, metavar="N", help=number)
    command.set_defaults(run=_run_split)

    command = commands.add_parser("join", parents=[writing, encoding], help="make a video of numbered pictures")
    command.add_argument("input", type=cli.any_path, help="folder, or a pattern such as frames/%%05d.png")
    command.add_argument("output", type=cli.any_path, help="new video; its suffix chooses the container")
    command.add_argument("--rate", type=_rate, default=Fraction(25), help="pictures a second (default 25)")
    command.add_argument("--pixel-format", help="planes to store, such as yuv444p (default yuv420p)")
    command.set_defaults(run=_run_join)

    command = commands.add_parser("info", parents=[debugging], help="say what a video is")
    command.add_argument("input", type=cli.any_path, help="video, or - for standard input")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=_run_info)
    return parse


def _time(text):
    """Seconds from "75.5" or "1:15.5" or "0:01:15.5"."""
    try:
        parts = [Fraction(part) for part in text.split(":")]
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 75.5 or 1:15.5") from error
    if len(parts) > 3 or any(part < 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 75.5 or 1:15.5")
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def _rate(text):
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate such as 25, 23.976 or 30000/1001") from error
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"a rate is more than 0, unlike {text}")
    if rate > HIGHEST_RATE:
        raise argparse.ArgumentTypeError(f"a rate is at most {HIGHEST_RATE} pictures a second, unlike {text}")
    return rate


def _run_cut(options):
    encoder = {"codec": options.codec, "crf": options.crf, "preset": options.preset}
    if not options.exact and any(value is not None for value in encoder.values()):
        raise UsageError("A piece is encoded, by a codec of choice, only with --exact.")
    if options.duration is not None and options.duration <= 0:
        raise UsageError("The --duration of a piece is more than 0 seconds.")
    with _bar(options, "packets" if not options.exact else "frames") as progress:
        times = {"start": options.start, "duration": options.duration, "exact": options.exact}
        begin, warnings = cut(
            options.input, options.output, **times, overwrite=options.overwrite, progress=progress, **encoder
        )
    note = "" if begin == options.start else f"the piece begins at the key frame at {float(begin):.3f} s"
    _finish(options, warnings, note)


def _run_split(options):
    with _bar(options, "frames") as progress:
        number, warnings = split(
            options.input, options.output, options.rate, options.start, options.overwrite, progress
        )
    _finish(options, warnings, f"{number} pictures")


def _run_join(options):
    encoder = {"codec": options.codec, "crf": options.crf, "preset": options.preset}
    with _bar(options, "frames") as progress:
        number, warnings = join(
            options.input,
            options.output,
            options.rate,
            options.pixel_format,
            overwrite=options.overwrite,
            progress=progress,
            **encoder,
        )
    _finish(options, warnings, f"{number} frames")


def _run_info(options):
    with VideoReader(options.input) as reader:
        info = reader.info
        if options.json:
            print(json.dumps({"file": reader.name, **info.to_dict()}, indent=2))
        else:
            print("\n".join(_description(reader.name, info)))


def _description(name, info):
    facts = info.to_dict()
    yield f"{name}: {info.container}, {_seconds(info.duration)}, starts at {float(info.start_time):g} s"
    about = "" if info.frame_count_exact else "about "
    frames = f"{about}{info.frame_count} frames" if info.frame_count else "an unknown number of frames"
    yield f"  video: {info.codec} {info.width}x{info.height} {info.pixel_format}, {float(info.rate):.6g} fps, {frames}"
    tags = "/".join(facts[key] for key in ("primaries", "transfer", "color_space", "color_range"))
    yield f"  colour: {tags} (read as {info.matrix}, {'full' if info.full_range else 'studio'} range), {info.bits} bits"
    yield f"  pixel aspect {info.sample_aspect_ratio}, rotation {info.rotation}, time base {info.time_base} s"
    if info.mastering_display:
        yield f"  HDR: {info.mastering_display}, light level {info.light_level}"
    if info.interlaced:
        yield f"  interlaced, {info.field_order}"
    for stream in info.streams:
        details = ", ".join(text for text in (stream.language, stream.title, *stream.disposition) if text)
        yield f"  {stream.kind} {stream.index}: {stream.codec}" + (f" ({details})" if details else "")
    for chapter in info.chapters:
        start = float(chapter["start"] * chapter["time_base"])
        yield f"  chapter at {start:.3f} s: {chapter['metadata'].get('title', '')}"
    for key, value in (*info.tags.items(), *info.stream_tags.items()):
        yield f"  {key}: {value}"


def _seconds(duration):
    return "unknown duration" if duration is None else f"{float(duration):.3f} s"


@contextmanager
def _bar(options, unit):
    """A function (iterable, total) -> iterable that draws a progress bar on a terminal."""
    from tqdm import tqdm

    bars = []

    def progress(iterable, total):
        bar = tqdm(iterable, total=total, unit=f" {unit}", disable=options.quiet or not sys.stderr.isatty())
        bars.append(bar)
        return bar

    try:
        yield progress
    finally:
        for bar in bars:
            bar.close()


def _finish(options, warnings, note):
    if not options.quiet:
        if note:
            print(note, file=sys.stderr)
        for warning in warnings:
            print(f"Warning: {warning}", file=sys.stderr)
    if options.output != "-":
        print(Path(os.path.abspath(options.output)))


def main(argv=None):
    """Run one recipe; returns the exit code."""
    options = parser().parse_args(argv)
    return cli.run_command(options.run, options)
