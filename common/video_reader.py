"""Read video with PyAV: planes with exact timestamps, frame by frame, whatever the container and however damaged.

Packets are decoded one by one, so that a damaged one costs its own frame only: the frame before it is shown again at
its time, and counted. Everything else in the file (audio, subtitles, attachments) is handed on undecoded, for a
`common.video_writer.VideoWriter` to copy.
"""

import os
import re
import sys
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from common.errors import reason_of
from common.images import PICTURE_SUFFIXES
from common.video_frames import Frame, VideoError, converted, layout_of_frame, planes_of
from common.video_info import describe
from common.video_timeline import Timeline

VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".flv"),
    *(".wmv", ".asf", ".ogv", ".ogg", ".3gp", ".3g2", ".mxf", ".nut", ".y4m", ".ivf", ".h264", ".264", ".hevc"),
    *(".h265", ".265", ".m2v", ".dv", ".f4v", ".rm", ".rmvb", ".divx", ".mjpeg", ".mjpg"),
}
NUMBER = re.compile(r"(?<!%)%(0\d+)?d")  # in the name of numbered pictures; %20d is what a browser makes of " d"
MAX_PIXELS = 1 << 27  # of a frame; 16K video has 133 million
MAX_BYTES_BEFORE = 1 << 30  # of packets before the first frame, so that an endless stream without one has an end
MAX_READ_ERRORS = 8  # in a row, before the rest of a file is given up
LEFT_BEHIND = {  # data beside frames that no encoder is given
    "A53_CC": "closed captions",
    "AFD": "active format descriptions",
    "DOVI_METADATA": "Dolby Vision",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "SPHERICAL": "a spherical projection",
    "STEREO3D": "a stereoscopic packing",
}
TIMED_CONTAINERS = ("matroska", "webm", "mov", "mp4", "flv", "asf", "avi")  # their stated duration can be trusted


def is_pattern(source):
    """Whether `source` stands for numbered pictures, as "frames/%05d.png" does, and is not itself a file."""
    path = Path(source)
    return bool(NUMBER.search(path.name)) and path.suffix.lower() not in VIDEO_SUFFIXES and not path.exists()


def is_video(source):
    """Whether `source` is a video rather than a picture: by its suffix, and else by trying to open it.

    "-" and patterns such as "frames/%05d.png" are videos; folders are not; a GIF is one if it moves.
    """
    if hasattr(source, "read") or str(source) == "-" or is_pattern(source):
        return True
    suffix = Path(source).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return not Path(source).is_dir()
    if not Path(source).is_file() or (suffix in PICTURE_SUFFIXES and suffix != ".gif"):
        return False
    try:
        with VideoReader(source) as reader:
            frames = iter(reader)
            return next(frames, None) is not None and (suffix != ".gif" or next(frames, None) is not None)
    except VideoError:
        return False


@contextmanager
def clear_errors(name, action="read"):
    """Turn what PyAV raises into a VideoError of one sentence."""
    from av.error import FFmpegError

    try:
        yield
    except VideoError:
        raise
    except (FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{name} cannot be {action}: {reason_of(error)}") from error


class VideoReader:
    """Frames of the main video stream of a file, in presentation order. Use as a context manager and iterate once.

    source: path, "-" for standard input, or a binary file object.
    start, end: seconds from the beginning of the file; only frames and packets in [start, end) are delivered.
    info: `VideoInfo`, complete from the start because the first frame is decoded on opening.
    begin: the time of the file's first packet in seconds, from which `start` and `end` count.
    damaged: frames replaced by a repetition so far; concealed: frames that the decoder patched up itself.
    warnings: one sentence on each thing that is not as it should be; complete after the last frame.
    container, stream_index, cover_pictures: for a writer: the av container, the stream read, {index: encoded picture}.
    Raises VideoError, on opening, if the source is missing, not a video, or holds no frame that can be decoded.
    """

    def __init__(self, source, start=None, end=None):
        self.path = None if source == "-" or hasattr(source, "read") else Path(source)
        self.name = source_name(source)
        self.damaged = self.concealed = self.packets_read = 0
        self.cover_pictures = {}
        self.info = None
        self._sink, self._backlog = None, deque()
        self._last, self._last_end, self._interlaced = None, Fraction(0), False
        self._looks, self._left_behind = None, set()
        self.container, self.warnings = open_container(source)
        with clear_errors(self.name):
            try:
                self._prepare(start, end)
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        if self._sink is None:
            self._backlog = None  # nobody asked for the other streams
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        with clear_errors(self.name):
            return next(self._frames)

    def close(self):
        """Release the file. Frames already delivered stay valid."""
        self.container.close()

    def send_packets_to(self, sink):
        """Call `sink(packet)` with each av.Packet of the other streams as it is met, in the thread that iterates.

        Raises VideoError once frames have been taken, because packets would be missing.
        """
        if self._backlog is None or self._sink is not None:
            raise VideoError(f"{self.name} was read before a writer was made for it, or has a writer already")
        self._sink = sink
        while self._backlog:
            sink(self._backlog.popleft())

    def pass_on(self, until=None):
        """Read on without decoding, up to `until` seconds or to the end, so that the other streams are handed on."""
        with clear_errors(self.name):
            for packet in self._packets:
                self._note_end(packet)
                if packet.stream.index != self.stream_index:
                    self._hand_on(packet)
                    continue
                self.packets_read += 1
                if until is not None and (packet_time(packet) or 0) > until:
                    return
            if until is None:
                self._finish_warnings()

    # Opening

    def _prepare(self, start, end):
        self._stream = main_video(self.container, self.name)
        context = self._stream.codec_context
        if self._stream.metadata.get("alpha_mode") == "1" and context.name in ("vp8", "vp9"):
            self._decoder = _decoder_with_alpha(self._stream)
        else:
            self._decoder = context
        self.stream_index = self._stream.index
        self._decoder.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change midway
        self._decoder.thread_type = "SLICE"  # several frames at once would cost some of them where one is damaged
        self.time_base = self._stream.time_base or Fraction(1, 1000)
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        self._timeline = Timeline(self.container.format.name == "avi", max(1, round(1 / (rate * self.time_base))))
        self.begin = Fraction(self.container.start_time or 0, 1_000_000)
        self._start = None if start is None else self.begin + exact_seconds(start)
        self._end = None if end is None else self.begin + exact_seconds(end)
        if self._start is not None and has_index(self.container):
            self.container.seek(int(self._start / self.time_base), stream=self._stream)
        self._packets = read_packets(self.container, self.name, self.warnings)
        self._frames = self._all_frames()
        self._first = next(self._frames, None)
        if self._first is None:
            if self.path is None and "mov" in self.container.format.name:
                raise VideoError(f"{self.name} is an MP4 with its index at the end, which needs a file to seek in")
            inside = "" if start is None and end is None else " in that piece"
            raise VideoError(f"{self.name} has no frame{inside} that can be decoded")

    # Demultiplexing

    def _hand_on(self, packet):
        time = packet_time(packet)
        if is_cover(packet.stream):
            self.cover_pictures.setdefault(packet.stream.index, bytes(packet))
        elif time is not None and not self._wanted(time):
            return
        if self._sink is not None:
            self._sink(packet)
        elif self._backlog is not None:
            self._backlog.append(packet)

    def _wanted(self, time):
        return (self._start is None or time >= self._start) and (self._end is None or time < self._end)

    # Decoding

    def _all_frames(self):
        """Every frame of the piece, with repetitions in the place of damaged ones."""
        finished, before = False, 0
        for packet in self._packets:
            self._note_end(packet)
            if packet.stream.index != self.stream_index:
                self._hand_on(packet)
            elif not finished:
                self.packets_read += 1
                yield from self._shown(self._decode(packet), final=False)
            if self._last is None:
                before += packet.size
                if before > MAX_BYTES_BEFORE:
                    raise VideoError(f"{self.name} has no frame in its first {MAX_BYTES_BEFORE >> 20} MB")
            if self._end is not None and not finished and self._last is not None and self._last.time >= self._end:
                finished = True  # the other streams may lag behind a little
            if finished and (packet_time(packet) or 0) > self._end + 2:
                break
        if not finished:
            yield from self._shown(self._decode(None), final=True)
        self._finish_warnings()

    def _decode(self, packet):
        """What the decoder gives back for a packet, or at the end for None."""
        from av.error import EOFError as EndOfStream
        from av.error import FFmpegError

        if packet is not None:
            self._timeline.sent(packet)
        try:
            return self._decoder.decode(packet)
        except EndOfStream:
            return []
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            if packet is not None:
                self._timeline.failed(packet)
            return []

    def _shown(self, av_frames, final):
        """Frames at their times, preceded by repetitions for those that went missing."""
        for av_frame in av_frames:
            pts, missing = self._timeline.take(av_frame)
            frame = self._unpacked(av_frame, pts)
            yield from self._repetitions(missing, self._last or frame)
            self._last = frame
            if self._wanted(frame.time):
                yield frame
        if final and self._last is not None:
            yield from self._repetitions(self._timeline.rest(), self._last)

    def _repetitions(self, missing, frame):
        for pts, duration in missing:
            if self._wanted(pts * self.time_base):
                self.damaged += 1
                yield replace(frame, pts=pts, duration=duration, key_frame=False, repeated=True)

    def _unpacked(self, av_frame, pts):
        """The Frame of an av.VideoFrame, brought to the size and layout of the first if the stream changes midway."""
        if self.info is not None and (av_frame.width, av_frame.height) != (self.info.width, self.info.height):
            self._warn(f"{self.name} changes its frame size midway; the size of its first frame is kept.")
            av_frame = av_frame.reformat(self.info.width, self.info.height, self.info.pixel_format, threads=1)
        colours = av_frame.color_primaries, av_frame.color_trc, av_frame.colorspace, av_frame.color_range
        looks = *map(int, colours), self._decoder.sample_aspect_ratio or 1
        if self._looks not in (None, looks):
            self._warn(f"{self.name} changes its pixel aspect or colours midway; those of its first frame are kept.")
        self._looks = self._looks or looks
        self._left_behind |= {data.type.name for data in av_frame.side_data} & set(LEFT_BEHIND)
        luma, chroma, alpha, bits = planes_of(av_frame)
        if self.info is None:
            # Palettes and packed RGB often carry an alpha that says nothing.
            rgb = av_frame.format.is_rgb or av_frame.format.has_palette
            self._keep_alpha = alpha is not None and not (rgb and alpha.min() == 2**bits - 1)
            self.info = describe(self.container, self._stream, av_frame, self._keep_alpha)
        duration = av_frame.duration or self._timeline.step
        alpha = alpha if self._keep_alpha else None
        frame = Frame(luma, chroma, alpha, bits, pts, self.time_base, duration, av_frame.key_frame)
        layout = layout_of_frame(frame)
        if self._last is not None and layout != layout_of_frame(self._last):
            self._warn(f"{self.name} changes its pixel format midway; that of its first frame is kept.")
            frame = converted(frame, layout_of_frame(self._last), self.info.full_range)
        self.concealed += av_frame.is_corrupt
        self._interlaced |= av_frame.interlaced_frame
        return frame

    # What is to be said at the end

    def _warn(self, sentence):
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def _note_end(self, packet):
        time = packet_time(packet)
        if time is not None:
            self._last_end = max(self._last_end, time + (packet.duration or 0) * packet.time_base)

    def _finish_warnings(self):
        if self._left_behind:
            what = " and ".join(sorted({LEFT_BEHIND[name] for name in self._left_behind}))
            self._warn(f"{self.name} has {what} beside its frames, which the result has not.")
        if self._interlaced or (self.info and self.info.interlaced):
            self._warn(f"{self.name} is interlaced; its fields are treated as one picture, so deinterlace it first.")
        if self.damaged:
            self._warn(f"{self.name} is damaged: {_frames(self.damaged)} could not be decoded and "
                       f"{'repeats its' if self.damaged == 1 else 'repeat their'} neighbour.")  # fmt: skip
        if self.concealed:
            self._warn(f"{self.name} is damaged: {_frames(self.concealed)} decoded only in part.")
        if self._timeline.leading and self._start is None:
            self._warn(f"{self.name} begins between key frames: its first {_frames(self._timeline.leading)} are lost.")
        if self._end is None and self._start is None and self.info is not None:
            self._warn_if_truncated()

    def _warn_if_truncated(self):
        expected = self._stream.frames
        names = self.container.format.name.split(",")
        if "mov" in names and expected > self.packets_read:
            self._warn(f"{self.name} is cut off: {_frames(expected - self.packets_read)} of {expected} are missing.")
        elif self.container.duration and any(name in TIMED_CONTAINERS for name in names):
            length = Fraction(self.container.duration, 1_000_000)
            end = self._last_end if "matroska" in names else self._last_end - Fraction(self.info.start_time)
            if length - end > max(3 / self.info.rate, Fraction(1, 10)):
                self._warn(f"{self.name} is cut off: it ends after {float(end):.2f} of {float(length):.2f} seconds.")


def _frames(number):
    return f"{number} frame" + ("" if number == 1 else "s")


def packet_time(packet):
    ticks = packet.pts if packet.pts is not None else packet.dts
    return None if ticks is None else ticks * packet.time_base


def open_container(source):
    """(av input container, warnings) of a path, "-" or a binary file object. Raises VideoError."""
    import av

    name, warnings = source_name(source), []
    if source == "-":
        source = sys.stdin.buffer
    elif not hasattr(source, "read"):
        source = os.path.abspath(source)  # a bare name with a colon would be taken for a protocol
        if not os.path.exists(source):
            raise VideoError(f"{name} does not exist")
        if os.path.isdir(source):
            raise VideoError(f"{name} is a folder, not a video")
        if os.path.isfile(source) and os.path.getsize(source) == 0:
            raise VideoError(f"{name} is empty")
    with clear_errors(name):
        try:
            return av.open(source, "r"), warnings
        except UnicodeDecodeError:
            warnings.append(f"{name} has tags that are not UTF-8; their odd letters were replaced.")
            return av.open(source, "r", metadata_errors="replace"), warnings
        except av.error.InvalidDataError as error:
            raise VideoError(f"{name} is not a video, or its header is damaged or cut off") from error
        except av.error.EOFError as error:
            raise VideoError(f"{name} has no frames, or is cut off within its header") from error


def read_packets(container, name, warnings):
    """Packets of an av input container that have data; reading goes on behind an unreadable place.

    A sentence is added to `warnings` if the rest of the file has to be given up.
    """
    from av.error import FFmpegError

    errors = 0
    while errors <= MAX_READ_ERRORS:
        try:
            for packet in container.demux():
                errors = 0
                # Empty packets mark the end, or a frame that an AVI leaves out; a decoder would stop at them.
                if packet.size:
                    yield packet
            return
        except FFmpegError as error:
            errors += 1
            failure = reason_of(error)
        except IndexError:
            return  # PyAV's way to end a file in which a stream appeared midway
    warnings.append(f"{name} cannot be read to its end: {failure}.")


def source_name(source):
    """What messages call a source."""
    return "standard input" if source == "-" else str(getattr(source, "name", source))


def main_video(container, name):
    """The video stream to read: not a cover picture, and the one that players would choose."""
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams:
        covers = " but a cover picture" if container.streams.video else ""
        raise VideoError(f"{name} has no video stream{covers}")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:  # decoding without a decoder would end the process
        raise VideoError(f"{name} has video for which there is no decoder")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise VideoError(f"{name} is too large: {width} x {height} is above {MAX_PIXELS // 10**6} million pixels")
    return stream


def exact_seconds(number):
    """What is meant by a time such as the float 0.1: one tenth. Fractions mean themselves."""
    return number if isinstance(number, Fraction) else Fraction(number).limit_denominator(1_000_000)


def is_cover(stream):
    """Whether a video stream is nothing but a cover picture."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _decoder_with_alpha(stream):
    """FFmpeg's own VP8 and VP9 decoders drop the transparency that WebM keeps beside the picture."""
    import av

    decoder = av.CodecContext.create({"vp8": "libvpx", "vp9": "libvpx-vp9"}[stream.codec_context.name], "r")
    decoder.extradata = stream.codec_context.extradata
    return decoder


def has_index(container):
    """Whether seeking finds the key frame before a time; elsewhere the file is read from its beginning."""
    names = container.format.name.split(",")
    seekable = container.file is None or getattr(container.file, "seekable", bool)()
    return seekable and any(name in ("matroska", "mov", "avi", "flv", "nut") for name in names)
