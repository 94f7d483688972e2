"""Recipes for whole videos: a piece cut out, frames as numbered pictures, and numbered pictures as a video."""

import itertools
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from common.files import written_whole
from common.video_codecs import check_times
from common.video_copy import (
    LONGEST_REORDERING,
    StreamCopier,
    chapters_until,
    codec_name,
    copy_tags,
    kept_tags,
    shifted_chapters,
)
from common.video_frames import VideoError
from common.video_pictures import PictureReader, PictureWriter
from common.video_reader import (
    VideoReader,
    clear_errors,
    exact_seconds,
    has_index,
    is_cover,
    main_video,
    open_container,
    packet_time,
    read_packets,
    source_name,
)
from common.video_writer import VideoWriter, check_target, is_file, open_output

SETTLING = 2  # seconds by which the streams of a file may lag behind each other


def cut(source, target, start, duration=None, exact=False, overwrite=False, progress=None, **encoder):
    """Copy the piece of `source` from `start` seconds on, `duration` seconds long or to the end, with all streams.

    Without `exact` nothing is encoded anew, so the piece begins at the last key frame that is not later than `start`.
    With it the video is encoded (`codec`, `crf`, `preset` of VideoWriter) and begins at `start`.
    Returns (seconds at which the piece begins in `source`, warnings). Raises VideoError.
    """
    start = exact_seconds(start)
    end = None if duration is None else start + exact_seconds(duration)
    if exact:
        return start, _cut_anew(source, target, start, end, overwrite, progress, encoder)
    return _cut_at_key_frame(source, target, start, end, overwrite, progress)


def split(source, folder, rate=None, first_number=1, overwrite=False, progress=None):
    """Write the frames of a video as folder/00001.png and so on. Returns (number of pictures, warnings).

    rate: pictures a second; picture n is what is to be seen n / rate seconds after the first frame. None: every frame.
    """
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
    with VideoReader(source, start=start, end=end) as reader:
        chapters = chapters_until(reader.info.chapters, None if end is None else reader.begin + end)
        info, offset = replace(reader.info, chapters=chapters), reader.begin + start
        with VideoWriter(target, reader, info=info, time_offset=offset, overwrite=overwrite, **encoder) as writer:
            for frame in _counted(reader, progress, None):
                writer.write(frame)
    return reader.warnings + writer.warnings


def _cut_at_key_frame(source, target, start, end, overwrite, progress):
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
    kept = [packet for packet in held if packet_time(packet) >= key_time]
    first = next((i for i, packet in enumerate(kept) if packet.stream.index == video.index), None)
    if first is not None:
        kept.insert(0, kept.pop(first))
    return kept
