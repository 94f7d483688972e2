"""Copy everything of a video file that is not its main video: streams packet by packet, attachments, tags."""

import io
import mimetypes
import threading
from collections import deque
from contextlib import suppress
from fractions import Fraction
from itertools import islice

from common.errors import reason_of
from common.video_codecs import MATROSKA_FAMILY, MOV_FAMILY
from common.video_reader import clear_errors, is_cover

HELD_BYTES = 64 << 20  # of copied packets that may wait for the video to catch up
LONGEST_REORDERING = 16  # pictures that H.264 and H.265 may decode before they are shown
LONGEST_RUN_IN = Fraction(1, 10)  # seconds before the video that sound may need to be decoded from its beginning
LARGEST_JITTER = 1  # seconds; times that fall by more belong to another recording, and go on behind the last
TEXT_SUBTITLES = ("subrip", "ass", "webvtt", "text", "mov_text")
# What a container writes itself, or what described the old picture.
CONTAINER_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "software")
STREAM_TAGS = ("encoder", "duration", "handler_name", "vendor_id")
STATISTICS_TAGS = ("bps", "number_of_frames", "number_of_bytes", "_statistics_")
# Encoders for subtitles and sound that a container refuses, by the container.
TEXT_CODECS = {"matroska": "subrip", "webm": "webvtt"} | dict.fromkeys(MOV_FAMILY, "mov_text")
SOUND_CODECS = {"webm": "libopus", "mpegts": "aac", "avi": "libmp3lame", "flv": "aac"}
SOUND_CODECS |= dict.fromkeys(MOV_FAMILY, "aac")
MPEGTS_CODECS = {  # what readers find in a transport stream
    "subtitle": ("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"),
    "audio": ("mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "opus", "s302m", "pcm_bluray"),
}
# What sound that does not say its layout is taken for, and what encoders call that of AC-3.
LAYOUTS = {"1 channels": "mono", "2 channels": "stereo", "6 channels": "5.1", "8 channels": "7.1"}
LAYOUTS |= {"5.1(side)": "5.1", "5.0(side)": "5.0"}
COVER_SUFFIXES = {"mjpeg": "jpg", "tiff": "tif"}


class StreamCopier:
    """The other streams of a source on their way into an av output container.

    Packets arrive through `accept` from the thread that reads; `release` stores those up to the time of the video, so
    that they lie beside their pictures in the file. Both hold `lock`, and so must whoever else writes to `container`.
    offset: seconds to subtract from every time. warnings: a list to which sentences are added.
    """

    def __init__(self, container, name, offset, warnings):
        self.container = container
        self.lock = threading.Lock()
        self.closed = False
        self._format, self._name, self._offset, self._warnings = container.format.name, name, offset, warnings
        self._routes = {}  # index of a source stream -> how its packets go
        self._held, self._held_bytes = deque(), 0
        self._refused = set()

    def add(self, stream, cover_picture=None):
        """Make room for `stream` of the source: the new stream, or None, with a warning, if the container cannot."""
        if cover_picture is not None and self._format == "matroska":
            return self._add_cover(stream, cover_picture)
        if stream.type == "attachment" and self._format == "matroska":
            return self.container.add_stream_from_template(stream)
        if stream.type == "data" and stream.discard.name == "all":
            return None  # chapter titles of MP4, which are copied as chapters
        if stream.type == "data" and "timecode" in stream.metadata and self._format in MOV_FAMILY:
            return None  # FFmpeg makes this track anew, from the tag of the video
        route = self._route_for(stream)
        if route is None:
            self._warnings.append(f"{titled(stream)} was left out, because {self._format} cannot hold it.")
            return None
        route.track = track_of(self.container, route.stream)
        self._routes[stream.index] = route
        return route.stream

    def _route_for(self, stream):
        if accepts(self._format, stream):
            copy = self.container.add_stream_from_template(stream, opaque=True)
            if stream.type == "audio" and stream.codec_context and codec_name(stream).startswith("pcm_"):
                copy.codec_context.layout = known_layout(stream.codec_context.layout)
            if stream.type == "video" and stream.average_rate:
                copy.codec_context.framerate = stream.average_rate
            return _Unchanged(copy, reordered=stream.type == "video" and not is_cover(stream))
        if stream.type == "subtitle" and codec_name(stream) in TEXT_SUBTITLES and self._format in TEXT_CODECS:
            route = _AsOtherText(self.container, stream, TEXT_CODECS[self._format])
        elif stream.type == "audio" and _can_be_heard(stream) and self._format in SOUND_CODECS:
            route = _AsOtherSound(self.container, stream, SOUND_CODECS[self._format])
        else:
            return None
        changed = f"{titled(stream)} was encoded anew as {codec_name(route.stream)}"
        self._warnings.append(f"{changed}, because {self._format} cannot hold its format.")
        return route

    def _add_cover(self, stream, picture):
        # Matroska keeps covers as attachments, and so does FFmpeg's muxer only if they are given as such.
        codec = codec_name(stream)
        name = stream.metadata.get("filename") or f"cover.{COVER_SUFFIXES.get(codec, codec)}"
        mime_type = stream.metadata.get("mimetype") or mimetypes.guess_type(name)[0] or "image/jpeg"
        return self.container.add_attachment(name, mime_type, picture)

    def accept(self, packet):
        """Take a packet of the source. Raises VideoError if the output cannot be written."""
        if packet.stream.index not in self._routes:
            return
        hidden = packet.is_discard and self._format not in MOV_FAMILY  # by an edit list, which others do not have
        if hidden and decoding_time(packet) - self._offset < -LONGEST_RUN_IN:
            return
        with self.lock, clear_errors(self._name, "written"):
            if self.closed:
                return
            self._held.append(packet)
            self._held_bytes += packet.size
            while self._held_bytes > HELD_BYTES:
                self._store_next()

    def release(self, time=None):
        """Store the packets up to `time` seconds of the output, or all. The caller holds `lock`."""
        while self._held and (time is None or decoding_time(self._held[0]) - self._offset <= time):
            self._store_next()

    def finish(self):
        """Store all that is left. The caller holds `lock`."""
        self.release()
        for route in self._routes.values():
            for packet in route.rest():
                self.container.mux_one(packet)

    @property
    def is_idle(self):
        """Whether there is nothing to copy."""
        return not self._routes

    def lost_languages(self, container):
        """Languages of copied streams that the finished file, opened as `container`, does not give back."""
        lost = []
        for route in self._routes.values():
            wanted = route.stream.language
            stored = stored_stream(container, route.track)
            if wanted not in (None, "und", stored.language if stored else None):
                lost.append(wanted)
        return lost

    def close(self):
        """Drop what is left; later packets are ignored."""
        self.closed = True
        self._held.clear()

    def _store_next(self):
        packet = self._held.popleft()
        self._held_bytes -= packet.size
        source = packet.stream
        try:
            for stored in self._routes[source.index].packets(packet, self._offset):
                self.container.mux_one(stored)
        except refusals() as error:
            if source.index not in self._refused:
                self._refused.add(source.index)
                self._warnings.append(f"{titled(source)} has packets that could not be copied: {reason_of(error)}.")


def refusals():
    """The errors by which a muxer refuses a packet, unlike those of a disk."""
    from av.error import ArgumentError, InvalidDataError, PatchWelcomeError

    return ArgumentError, InvalidDataError, PatchWelcomeError, ValueError, TypeError


class _Unchanged:
    """Packets go from one container to another as they are.

    reordered: packets may come in another order than they are shown, so that the first ones wait for a decoding time.
    """

    def __init__(self, stream, reordered=False):
        self.stream = stream
        self._reordered, self._waiting, self._last = reordered, [], None

    def packets(self, packet, offset):
        shift = round(offset / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = self.stream
        self._waiting.append(packet)
        untimed = self._reordered and self._last is None and packet.dts is None
        return [] if untimed and len(self._waiting) <= LONGEST_REORDERING else self.rest()

    def rest(self):
        waiting, self._waiting = self._waiting, []
        if len(waiting) > 1:
            _add_decoding_times(waiting)
        return [self._in_order(packet) for packet in waiting]

    def _in_order(self, packet):
        """Containers want decoding times that never fall; damaged and concatenated sources do not always have them."""
        decode = packet.dts if packet.dts is not None else packet.pts
        if decode is None:
            decode = 0 if self._last is None else self._last + 1
        if self._last is not None and decode < self._last:
            jumps_back = (self._last - decode) * packet.time_base > LARGEST_JITTER
            decode = self._last + ((packet.duration or 1) if jumps_back else 0)
        packet.pts = decode if packet.pts is None else max(packet.pts, decode)
        packet.dts = self._last = decode
        return packet


def _add_decoding_times(packets):
    """Matroska stores none, and FFmpeg works them out only behind the first packets of reordered video."""
    last = packets[-1]
    if last.dts is None:
        last.dts = min((packet.pts for packet in packets if packet.pts is not None), default=0)
    for earlier, later in zip(packets[-2::-1], packets[:0:-1], strict=True):
        earlier.dts = later.dts - (earlier.duration or 1)


class _AsOtherText:
    """Text subtitles in another format."""

    def __init__(self, container, source, codec):
        source.codec_context.open(strict=False)  # makes the header with the styles
        self.stream = container.add_stream(codec)
        self._encoder = self.stream.codec_context
        self._encoder.subtitle_header = source.codec_context.subtitle_header
        self._encoder.time_base = self.stream.time_base = Fraction(1, 1000)
        self._unchanged = _Unchanged(self.stream)

    def packets(self, packet, offset):
        decoded = packet.stream.codec_context.decode2(packet)
        if decoded is None:
            return []
        encoded = self._encoder.encode_subtitle(decoded)
        encoded.time_base, encoded.pts, encoded.dts = packet.time_base, packet.pts, packet.pts
        encoded.duration = packet.duration
        return self._unchanged.packets(encoded, offset)

    def rest(self):
        return []


class _AsOtherSound:
    """Sound decoded and encoded anew."""

    def __init__(self, container, source, codec):
        import av

        self._decoder = source.codec_context
        rates = av.Codec(codec, "w").audio_rates or [self._decoder.sample_rate]
        rate = self._decoder.sample_rate if self._decoder.sample_rate in rates else max(rates)
        self.stream = container.add_stream(codec, rate=rate)
        encoder = self.stream.codec_context
        encoder.layout = known_layout(self._decoder.layout)
        encoder.bit_rate = 96_000 * self._decoder.layout.nb_channels
        encoder.open()
        self._resampler = av.AudioResampler(encoder.format, encoder.layout, rate, encoder.frame_size or 0)

    def packets(self, packet, offset):
        return self._encoded(self._decoder.decode(packet), round(offset / packet.time_base))

    def rest(self):
        frames = self._encoded(self._decoder.decode(None), 0)
        return frames + self._encoded([None], 0) + self.stream.encode(None)

    def _encoded(self, frames, shift):
        packets = []
        for frame in frames:
            if frame is not None and frame.pts is not None:
                frame.pts -= shift
            for resampled in self._resampler.resample(frame):
                packets += self.stream.encode(resampled)
        return packets


def known_layout(layout):
    """An av.AudioLayout as encoders and containers take it."""
    return LAYOUTS.get(layout.name, layout)


def accepts(container, stream):
    """Whether a container (FFmpeg's name) can hold `stream`, by trying it on a container in memory."""
    import av

    if container == "mpegts" and (stream.type == "data" or _is_foreign_to_mpegts(stream)):
        return False
    if stream.type == "attachment" or (is_cover(stream) and container not in MOV_FAMILY):
        return False
    with suppress(Exception):
        scratch = av.open(io.BytesIO(), "w", format=container)
        try:
            scratch.add_stream_from_template(stream, opaque=True)
            scratch.start_encoding()
            return True
        finally:
            with suppress(Exception):
                scratch.close()
    return False


def _can_be_heard(stream):
    context = stream.codec_context
    return context is not None and context.sample_rate > 0 and context.layout.nb_channels > 0


def track_of(container, stream):
    """(kind, number among those of its kind) of an output stream: some readers number streams as they appear."""
    return stream.type, sum(other.type == stream.type for other in container.streams if other.index < stream.index)


def stored_stream(container, track):
    """The stream of a finished file, opened as `container`, that is meant by `track_of`; None if it is not there."""
    kind, number = track
    return next(islice((stream for stream in container.streams if stream.type == kind), number, None), None)


def _is_foreign_to_mpegts(stream):
    """What the muxer takes but stores as private data that nobody can read."""
    held = MPEGTS_CODECS.get(stream.type)
    return codec_name(stream) not in held if held else codec_name(stream) in ("png", "mjpeg", "bmp", "gif")


def copy_tags(stream, tags, encoded):
    """Give an output stream the tags of its source; `encoded`: it is not the same stream any more, but a new one."""
    tags = kept_tags(tags, STREAM_TAGS + (STATISTICS_TAGS if encoded else ()))
    if stream.container.format.name in MATROSKA_FAMILY and "title" not in tags and "name" in tags:
        tags["title"] = tags.pop("name")  # what MP4 calls a title
    stream.metadata.update(tags)


def kept_tags(tags, dropped=CONTAINER_TAGS):
    """`tags` without those whose name begins with one of `dropped`."""
    return {key: value for key, value in tags.items() if not key.lower().startswith(dropped)}


def shifted_chapters(chapters, offset):
    """Chapters `offset` seconds earlier, cut at zero."""
    if not offset:
        return list(chapters)
    result = []
    for chapter in chapters:
        shift = round(offset / chapter["time_base"])
        if chapter["end"] > shift:
            start, end = max(0, chapter["start"] - shift), chapter["end"] - shift
            result.append({**chapter, "start": start, "end": end})
    return result


def chapters_until(chapters, end):
    """Chapters that begin before `end` seconds, or all for None."""
    return tuple(c for c in chapters if end is None or c["start"] * c["time_base"] < end)


def codec_name(stream):
    """The name of the format a stream is in, such as "aac" or "ass"; None if FFmpeg does not know it."""
    if stream.codec_context is None:
        return getattr(stream, "name", None)
    return stream.codec_context.codec.canonical_name


def titled(stream):
    """A stream for the reader's eye: "Subtitle stream 3 (ass, ger)"."""
    details = ", ".join(text for text in (codec_name(stream), stream.metadata.get("language")) if text)
    return f"{stream.type.capitalize()} stream {stream.index}" + (f" ({details})" if details else "")


def decoding_time(packet):
    """When a packet is due, in seconds."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if ticks is None else ticks * packet.time_base
