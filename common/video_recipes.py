"""Cut, split, join and describe videos: `python -m common.video cut|split|join|info`, with no installed ffmpeg."""

import argparse
import itertools
import json
import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from common.video_frames import VideoError

HIGHEST_RATE = 100_000  # pictures a second, of any camera; one picture more often would fill every disk
SETTLING = 2  # seconds by which the streams of a file may lag behind each other


def cut(source, target, start, duration=None, exact=False, overwrite=False, progress=None, **encoder):
    """Copy the piece of `source` from `start` seconds on, `duration` seconds long or to the end, with all streams.

    Without `exact` nothing is encoded anew, so the piece begins at the last key frame that is not later than `start`.
    With it the video is encoded (`codec`, `crf`, `preset` of VideoWriter) and begins at `start`.
    Returns (seconds at which the piece begins in `source`, warnings). Raises VideoError.
    """
    from common.video_reader import exact_seconds

    start = exact_seconds(start)
    end = None if duration is None else start + exact_seconds(duration)
    if exact:
        return start, _cut_anew(source, target, start, end, overwrite, progress, encoder)
    return _cut_at_key_frame(source, target, start, end, overwrite, progress)


def split(source, folder, rate=None, first_number=1, overwrite=False, progress=None):
    """Write the frames of a video as folder/00001.png and so on. Returns (number of pictures, warnings).

    rate: pictures a second; picture n is what is to be seen n / rate seconds after the first frame. None: every frame.
    """
    from common.video_pictures import PictureWriter
    from common.video_reader import VideoReader

    with (
        VideoReader(source) as reader,
        PictureWriter(folder, reader, first_number=first_number, overwrite=overwrite) as w,
    ):
        frames = reader if rate is None else _at_rate(reader, Fraction(rate).limit_denominator(100_000))
        for frame in _counted(frames, progress, None if rate else reader.info.frame_count):
            w.write(frame)
    return w.frames_written, reader.warnings + w.warnings


def join(source, target, rate=25, pixel_format=None, overwrite=False, progress=None, **encoder):
    """Make a video of the pictures of a folder or a pattern. Returns (number of frames, warnings).

    pixel_format: "yuv420p" by default, which every player shows (yuv420p10le for pictures of 16 bits).
    encoder: `codec`, `crf`, `preset` of VideoWriter.
    """
    from common.video_pictures import PictureReader
    from common.video_writer import VideoWriter

    with PictureReader(source, rate) as reader:
        default = "yuv420p" if reader.info.bits == 8 else "yuv420p10le"
        layout = {"pixel_format": pixel_format or default, "full_range": False}
        with VideoWriter(target, reader, overwrite=overwrite, **layout, **encoder) as writer:
            for frame in _counted(reader, progress, reader.info.frame_count):
                writer.write(frame)
    warnings = reader.warnings + writer.warnings
    if reader.info.layout.alpha and not writer.layout.alpha:
        warnings.append(f"{target} lost the transparency of the pictures.")
    if reader.icc:
        warnings.append(f"{target} lost the colour profile of the pictures and is shown as sRGB.")
    return writer.frames_written, warnings


def _counted(frames, progress, total):
    return frames if progress is None else progress(frames, total)


def _at_rate(frames, rate):
    """What is shown at 0, 1 / rate, 2 / rate ... seconds after the first frame."""
    shown = begin = None
    number = 0
    for frame in frames:
        begin = frame.time if begin is None else begin
        while shown is not None and begin + number / rate < frame.time:
            yield shown
            number += 1
        shown = frame
    end = shown.time + shown.duration * shown.time_base
    while begin + number / rate < end or number == 0:
        yield shown
        number += 1


def _cut_anew(source, target, start, end, overwrite, progress, encoder):
    from common.video_copy import chapters_until
    from common.video_reader import VideoReader
    from common.video_writer import VideoWriter

    with VideoReader(source, start=start, end=end) as reader:
        chapters = chapters_until(reader.info.chapters, None if end is None else reader.begin + end)
        info, offset = replace(reader.info, chapters=chapters), reader.begin + start
        with VideoWriter(target, reader, info=info, time_offset=offset, overwrite=overwrite, **encoder) as writer:
            for frame in _counted(reader, progress, None):
                writer.write(frame)
    return reader.warnings + writer.warnings


def _cut_at_key_frame(source, target, start, end, overwrite, progress):
    from common.files import written_whole
    from common.video_codecs import check_times
    from common.video_copy import StreamCopier, chapters_until, codec_name, copy_tags, kept_tags, shifted_chapters
    from common.video_reader import clear_errors, has_index, main_video, open_container, read_packets, source_name
    from common.video_writer import check_target, is_file, open_output

    check_target(target, None if source == "-" else source, overwrite)
    container, warnings = open_container(source)
    name = source_name(source)
    whole = written_whole(target, overwrite) if is_file(target) else nullcontext(target)
    target_name = target if is_file(target) else "standard output"
    with container, clear_errors(target_name, "written"), whole as temporary:
        video = main_video(container, name)
        begin = Fraction(container.start_time or 0, 1_000_000)
        covers, packets = _covers(container, read_packets(container, name, warnings))
        if has_index(container):
            container.seek(int((begin + start) / video.time_base), stream=video)
            packets = read_packets(container, name, warnings)
        packets = _piece(packets, video, begin + start, None if end is None else begin + end)
        first = next(packets, None)
        if first is None:
            raise VideoError(f"{name} ends before {float(start):g} seconds")
        offset = first.pts * first.time_base
        with open_output(temporary, target_name) as output:
            if Path(str(source)).suffix.lower() != Path(str(target)).suffix.lower():
                check_times(target_name, output.format.name, video.codec_context.codec, copied=True)
            copier = StreamCopier(output, target_name, offset, warnings)
            for stream in container.streams:
                cover = covers.get(stream.index)
                copy = copier.add(stream, None if cover is None else bytes(cover))
                if copy is None and stream is video:
                    held = f"{output.format.name} cannot hold {codec_name(video)} video"
                    raise VideoError(f"{held}; choose another container, or --exact, which encodes it anew")
                if copy is not None:
                    copy_tags(copy, stream.metadata, encoded=False)
                    copy.disposition = stream.disposition
            output.metadata.update(kept_tags(container.metadata))
            chapters = chapters_until(container.chapters(), None if end is None else begin + end)
            output.set_chapters(shifted_chapters(chapters, offset))
            output.start_encoding()
            for packet in (*covers.values(), first):
                copier.accept(packet)
            for packet in _counted(packets, progress, None):
                copier.accept(packet)
                copier.release()
            copier.finish()
    return offset - begin, warnings


def _covers(container, packets):
    """({stream index: packet} of the cover pictures, which come before everything else, all other packets)."""
    from common.video_reader import is_cover

    wanted = {stream.index for stream in container.streams if is_cover(stream)}
    covers, read = {}, []
    while len(covers) < len(wanted) and (packet := next(packets, None)) is not None:
        read.append(packet)
        if packet.stream.index not in wanted:
            break
        covers[packet.stream.index] = packet
    return covers, itertools.chain([packet for packet in read if packet.stream.index not in wanted], packets)


def _piece(packets, video, start, end):
    """Packets from the last key frame of `video` not later than `start`, which comes first, up to `end`."""
    from common.video_copy import LONGEST_REORDERING
    from common.video_reader import packet_time

    packets = _from_key_frame(packets, video, start)
    later = []  # video packets shown after the end, which are needed only if something before the end follows
    finished = False
    for packet in packets:
        time = packet_time(packet)
        is_video = packet.stream.index == video.index
        if end is None:
            yield packet
        elif is_video and not finished:
            # Without a decoding time, as at the beginning of Matroska, one picture shown late tells nothing.
            untimed = packet.dts is None
            finished = len(later) > LONGEST_REORDERING if untimed else packet.dts * packet.time_base >= end
            if time < end:
                yield from later
                later = []
                yield packet
            else:
                later.append(packet)
        elif not is_video and time < end:
            yield packet
        if finished and time > end + SETTLING:
            break


def _from_key_frame(packets, video, start):
    from common.video_reader import packet_time

    held, key_time, begun = [], None, False
    for packet in packets:
        time = packet_time(packet)
        if time is None:
            continue
        is_video = packet.stream.index == video.index
        if is_video and not begun:
            if packet.is_keyframe and (key_time is None or time <= start):
                key_time = time
                held = [other for other in held if other.stream.index != video.index]
            if time > start and key_time is not None:
                begun = True
                yield from _beginning(held, video, key_time)
                held = []
        if not begun:
            held.append(packet)
        elif time >= key_time:  # else it needs pictures from before the key frame
            yield packet
    if not begun and key_time is not None and held and any(packet_time(p) >= start for p in held):
        yield from _beginning(held, video, key_time)


def _beginning(held, video, key_time):
    """The held packets that are not earlier than the key frame, it being the first."""
    from common.video_reader import packet_time

    kept = [packet for packet in held if packet_time(packet) >= key_time]
    first = next((i for i, packet in enumerate(kept) if packet.stream.index == video.index), None)
    if first is not None:
        kept.insert(0, kept.pop(first))
    return kept


# The command line


def main(arguments=None):
    """Run one recipe; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    from common.cli import forget_unwritten_output, sentence, terminable

    options = _parser().parse_args(arguments)
    try:
        with terminable():
            options.run(options)
            sys.stdout.flush()  # while it can be said what goes wrong
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except (VideoError, OSError, MemoryError) as error:
        if options.debug:
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1
    finally:
        forget_unwritten_output()
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m common.video",
        description="Cut, split, join and describe videos.",
        epilog="Times are seconds (75.5) or hh:mm:ss.ms (1:15.5).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="cut|split|join|info")
    writing = argparse.ArgumentParser(add_help=False)
    writing.add_argument("--overwrite", action="store_true", help="replace an existing output")
    writing.add_argument("--quiet", action="store_true", help="no progress and no warnings")
    writing.add_argument("--debug", action="store_true", help="show where an error comes from")
    encoding = argparse.ArgumentParser(add_help=False)
    encoding.add_argument("--codec", help="encoder, such as h264, h265, vp9, av1, ffv1 (default: by the suffix)")
    encoding.add_argument("--crf", type=int, help="quality in the encoder's scale, smaller is better")
    encoding.add_argument("--preset", help="effort in the encoder's scale, such as veryfast")

    command = commands.add_parser("cut", parents=[writing, encoding], help="copy a piece of a video with all streams")
    command.add_argument("input", help="video, or - for standard input")
    command.add_argument("output", help="new video; its suffix chooses the container")
    command.add_argument("--start", type=_time, default=Fraction(0), help="where the piece begins (default 0)")
    command.add_argument("--duration", type=_time, help="how long it is (default: to the end)")
    command.add_argument(
        "--exact", action="store_true", help="begin exactly at the start by encoding anew, not at the key frame before"
    )
    command.set_defaults(run=_run_cut, wrong_usage=command.error)

    command = commands.add_parser("split", parents=[writing], help="write the frames of a video as numbered pictures")
    command.add_argument("input", help="video, or - for standard input")
    command.add_argument("output", help="folder, or a pattern such as frames/%%05d.png")
    command.add_argument(
        "--rate", type=_rate, help="pictures a second, such as 1, 23.976 or 1/10 (default: every frame)"
    )
    command.add_argument("--start", type=int, default=1, metavar="N", help="number of the first picture (default 1)")
    command.set_defaults(run=_run_split)

    command = commands.add_parser("join", parents=[writing, encoding], help="make a video of numbered pictures")
    command.add_argument("input", help="folder, or a pattern such as frames/%%05d.png")
    command.add_argument("output", help="new video; its suffix chooses the container")
    command.add_argument("--rate", type=_rate, default=Fraction(25), help="pictures a second (default 25)")
    command.add_argument("--pixel-format", help="planes to store, such as yuv444p (default yuv420p)")
    command.set_defaults(run=_run_join)

    command = commands.add_parser("info", help="say what a video is")
    command.add_argument("input", help="video, or - for standard input")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--debug", action="store_true", help="show where an error comes from")
    command.set_defaults(run=_run_info)
    return parser


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
        options.wrong_usage("a piece is encoded, by a codec of choice, only with --exact")
    if options.duration is not None and options.duration <= 0:
        options.wrong_usage("the duration of a piece is more than 0 seconds")
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
    from common.video_reader import VideoReader

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
            print(f"warning: {warning}", file=sys.stderr)
    if options.output != "-":
        print(Path(os.path.abspath(options.output)))
