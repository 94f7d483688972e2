"""Write video with PyAV: frames of planes are encoded, everything else of the source is copied packet by packet.

The output keeps every timestamp, the depth and chroma subsampling, colour tags, pixel aspect ratio, rotation, tags,
chapters, attachments and all other streams of its template. What the container or the codec cannot hold is named in
`VideoWriter.warnings`. The file appears whole or not at all.
"""

import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.errors import reason_of
from common.files import put_in_place, temporary_beside
from common.video_codecs import (
    FILM_CONTAINERS,
    MOV_FAMILY,
    check_times,
    choose_codec,
    encoder_options,
    find_encoder,
    needed_padding,
    supported_layout,
)
from common.video_copy import (
    LARGEST_JITTER,
    StreamCopier,
    copy_tags,
    decoding_time,
    kept_tags,
    refusals,
    shifted_chapters,
    stored_stream,
    track_of,
)
from common.video_frames import VideoError, av_frame_of, converted, layout_of, layout_of_frame
from common.video_info import VideoInfo
from common.video_reader import clear_errors

# Matroska can begin before zero, as sound with a run-in does; else FFmpeg would move all streams.
MUXER_OPTIONS = {"matroska": {"avoid_negative_ts": "disabled"}, "webm": {"avoid_negative_ts": "disabled"}}
MUXER_OPTIONS |= {
    "mp4": {"movflags": "+faststart"},
    "mov": {"movflags": "+faststart"},
}
FORMATS = {".m4v": "mp4"}  # where FFmpeg has a container that takes less of its own for a suffix
# Encoders, or containers with encoders, that do not say which range they hold: readers take it for the studio's.
STUDIO_RANGE = ("prores", "prores_aw", "prores_ks", ("avi", "ffv1"))


def info_of_frames(width, height, rate=25, **known):
    """A VideoInfo for frames made from nothing: constant `rate`, time base 1 / rate, other fields as given."""
    rate = Fraction(rate).limit_denominator(100_000)
    return VideoInfo(width, height, time_base=1 / rate, rate=rate, **known)


class VideoWriter:
    """Encode frames into a video file. Use as a context manager: an exception inside leaves no file behind.

    target: path, whose suffix chooses the container; "-" or a binary file object gets Matroska as a stream.
    template: the `VideoReader` the frames come from, not yet iterated; its other streams are copied while it is read.
    info: a `VideoInfo` instead of the template's, for frames from elsewhere.
    scale: how much larger the frames are than `info`; or give their `width` and `height`.
    codec: an encoder such as "libx264", or "h265", "vp9", "av1", "ffv1"; by default what suits container and depth.
    crf, preset: quality and effort in the encoder's own scale; options: further options of the encoder.
    pixel_format, full_range: convert to these; by default the layout and range of `info` are kept.
    time_offset: seconds to subtract from every timestamp.
    overwrite: replace an existing file. The source itself is never replaced.
    frames_written: frames accepted so far; warnings: one sentence on each thing that could not be kept.
    Raises VideoError, on opening also if the encoder does not start, so that no work is done in vain.
    """

    def __init__(
        self,
        target,
        template=None,
        *,
        info=None,
        scale=1,
        width=None,
        height=None,
        codec=None,
        crf=None,
        preset=None,
        options=None,
        pixel_format=None,
        full_range=None,
        time_offset=0,
        overwrite=False,
    ):
        self.warnings = []
        self.frames_written = self._packets_encoded = self._moved_frames = 0
        self.info = info or template.info
        self.width = width or round(self.info.width * scale)
        self.height = height or round(self.info.height * scale)
        self._offset = Fraction(time_offset)
        self._container = self._copier = self._last_ticks = self._first_time = None
        self._first_decoding = self._end_ticks = None
        self._rounded_times, self._refusal = False, None
        self._begin(target, template, overwrite)
        with self._leaving_nothing_behind():
            self._open_container()
            self._choose_codec(codec, pixel_format, full_range)
            self._add_streams(template, crf, preset, options)
            self._container.start_encoding()
            self._stored_unit = self._stream.time_base  # containers have their own
            if hasattr(template, "send_packets_to"):
                template.send_packets_to(self._copier.accept)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, frame):
        """Encode one `Frame`; frames come in presentation order.

        Its planes have the size of the output, chroma at the subsampling of `info` (a few rows or columns more or less,
        as enlarging odd sizes gives, are mended). Raises VideoError if they do not fit or the file cannot be written.
        """
        with self._leaving_nothing_behind():
            if self._container is None:
                raise VideoError(f"{self.name} is closed already")
            av_frame = av_frame_of(self._fitted(frame))
            av_frame.pts, av_frame.time_base = self._ticks(frame), self._time_base
            av_frame.duration = round(frame.duration * frame.time_base / self._time_base)
            self._end_ticks = av_frame.pts + av_frame.duration
            self._store(self._stream.encode(av_frame))
            self.frames_written += 1

    def close(self):
        """Finish the file and give it its name. Raises VideoError, leaving no file, if frames are missing in it."""
        if self._container is None:
            return
        with self._leaving_nothing_behind():
            if not self.frames_written:
                raise VideoError(f"{self.name} was not written, because there was no frame to write")
            self._store(self._reaching_the_end(self._last_packets()))
            if self._packets_encoded < self.frames_written:
                missing = self.frames_written - self._packets_encoded
                raise VideoError(f"{self.name} was not written, because the encoder lost {missing} frames")
            with self._copier.lock:
                self._copier.finish()
                self._copier.close()
                self._tolerating_refusals(self._container.close)
            self._container = None
            self._check_after_refusals()
            self._say_what_was_lost()
            if self._temporary is not None:
                self._give_name()

    def abort(self):
        """Give up and leave nothing behind; harmless after `close`."""
        container, self._container = self._container, None
        if self._copier is not None:
            with self._copier.lock:
                self._copier.close()
        if container is not None:
            with suppress(Exception):
                container.close()
        if self._temporary is not None:
            with suppress(OSError):  # which would hide why it was given up
                self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _leaving_nothing_behind(self):
        """Whatever goes wrong inside removes the unfinished file; errors of PyAV and the system become VideoError."""
        try:
            with clear_errors(self.name, "written"):
                yield
        except BaseException:
            self.abort()
            raise

    # Opening

    def _begin(self, target, template, overwrite):
        self.path = self._temporary = None
        self._overwrite = overwrite
        if not is_file(target):
            self.name = "standard output" if target == "-" else str(getattr(target, "name", "the output"))
            self._pipe = target
            return
        self.path, self.name = Path(os.path.abspath(target)), str(target)
        check_target(target, getattr(template, "path", None), overwrite)
        # The suffix stays last, because it chooses the container.
        self._temporary = temporary_beside(self.path)

    def _open_container(self):
        if self._temporary is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = open_output(self._pipe if self._temporary is None else self._temporary, self.name)
        self._format = self._container.format.name
        self._copier = StreamCopier(self._container, self.name, self._offset, self.warnings)

    def _choose_codec(self, codec, pixel_format, full_range):
        wanted = self.info.layout if pixel_format is None else layout_of(pixel_format)
        if wanted is None:
            raise VideoError(f"{pixel_format} is not a planar YUV or grey pixel format, such as yuv420p10le")
        self._codec = choose_codec(codec, self._format, wanted)
        encoder = find_encoder(self._codec)
        check_times(self.name, self._format, encoder)
        self.layout = supported_layout(encoder, wanted, self.warnings)
        studio = self._codec in STUDIO_RANGE or (self._format, self._codec) in STUDIO_RANGE
        self._to_full = self.info.full_range and not studio if full_range is None else full_range
        self._padding = needed_padding(self._codec, self.layout, self.height, self.width)
        if any(self._padding):
            self.warnings.append(
                f"{self.name} is {self.width + self._padding[1]}x{self.height + self._padding[0]} instead of "
                f"{self.width}x{self.height}, its last row or column repeated, because {self._codec} stores only whole "
                f"samples of {self.layout.pixel_format}; vp9, ffv1 or the pixel format yuv444p store it exactly."
            )

    def _add_streams(self, template, crf, preset, options):
        """All streams of the source in their order, the main video among them anew."""
        source = getattr(template, "container", None)
        if source is None:
            copy_tags(self._add_encoder(crf, preset, options), self.info.stream_tags, encoded=True)
        else:
            for stream in source.streams:
                is_main = stream.index == template.stream_index
                if is_main:
                    added = self._add_encoder(crf, preset, options)
                else:
                    added = self._copier.add(stream, template.cover_pictures.get(stream.index))
                if added is not None:
                    copy_tags(added, stream.metadata, encoded=is_main)
                    added.disposition = stream.disposition
        self._container.metadata.update(kept_tags(self.info.tags))
        self._container.set_chapters(shifted_chapters(self.info.chapters, self._offset))

    def _add_encoder(self, crf, preset, options):
        info = self.info
        self._time_base = info.time_base
        settings = encoder_options(self._codec, crf, preset, options or {}, info, self.width, self.warnings)
        if self._format == "avi":
            self._time_base = 1 / info.rate
            settings["bf"] = "0"  # there are no presentation times
            self.warnings.append(f"{self.name} has a constant frame rate, because AVI knows no other.")
        try:
            stream = self._container.add_stream(self._codec, rate=info.rate, options=settings)
        except ValueError as error:
            raise VideoError(f"{self.name} cannot be written: {reason_of(error)}") from error
        context = stream.codec_context
        context.time_base = self._time_base
        context.width, context.height = self.width + self._padding[1], self.height + self._padding[0]
        context.pix_fmt = self.layout.pixel_format
        context.sample_aspect_ratio = info.sample_aspect_ratio
        context.color_primaries, context.color_trc, context.colorspace = info.primaries, info.transfer, info.color_space
        # Grey without a tag is full range, but as H.264 it comes back as YUV, where no tag means studio range.
        context.color_range = 2 if self._to_full else 1 if info.color_range or info.full_range else 0
        context.thread_type = "AUTO"
        _keep_durations(context)
        _place_headers(context, self._format)
        if self._container.format.name in MOV_FAMILY and self._codec in ("libx265", "hevc_nvenc"):
            context.codec_tag = "hvc1"  # Apple's players know no other
        if info.display_matrix:
            stream.set_display_matrix(self._scaled_matrix())
        if self._codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # else it talks on standard error
        try:
            context.open()
        except Exception as error:
            shown = f"{context.width}x{context.height} {context.pix_fmt} with {settings}"
            raise VideoError(f"{self.name} cannot be written: the encoder {self._codec} refuses {shown}") from error
        self._stream, self._track = stream, track_of(self._container, stream)
        return stream

    def _scaled_matrix(self):
        """The display matrix with its translation, which is in pixels, at the new size."""
        matrix = list(self.info.display_matrix)
        matrix[6] = round(matrix[6] * self.width / self.info.width)
        matrix[7] = round(matrix[7] * self.height / self.info.height)
        return matrix

    # Frames

    def _fitted(self, frame):
        """`frame` as the encoder wants it: checked, converted, padded."""
        if frame.luma.shape != (self.height, self.width):
            rows, columns = frame.luma.shape
            raise VideoError(f"{self.name} takes frames of {self.width}x{self.height}, not {columns}x{rows}")
        frame = self._with_fitting_chroma(frame)
        if layout_of_frame(frame) != self.layout or self._to_full != self.info.full_range:
            frame = converted(frame, self.layout, self.info.full_range, self._to_full, self.info.chroma_siting)
        if not any(self._padding):
            return frame
        shape = self.height + self._padding[0], self.width + self._padding[1]
        chroma_shape = self.layout.chroma_shape(*shape)
        chroma = frame.chroma and tuple(_cut_or_repeated(plane, chroma_shape) for plane in frame.chroma)
        alpha = None if frame.alpha is None else _cut_or_repeated(frame.alpha, shape)
        return replace(frame, luma=_cut_or_repeated(frame.luma, shape), chroma=chroma, alpha=alpha)

    def _with_fitting_chroma(self, frame):
        """Enlarging 33 columns of chroma three times gives 99, where the 195 columns of luma want 98."""
        if frame.chroma is None or self.info.layout.subsampling is None:
            return frame
        expected = self.info.layout.chroma_shape(self.height, self.width)
        largest_error = -(-self.width // self.info.width)
        if all(abs(n - m) <= largest_error for n, m in zip(frame.chroma[0].shape, expected, strict=True)):
            return replace(frame, chroma=tuple(_cut_or_repeated(plane, expected) for plane in frame.chroma))
        return frame

    def _ticks(self, frame):
        """The time of `frame` in the encoder's unit; it must rise."""
        time = frame.time - self._offset
        ticks = round(time / self._time_base)
        if self._last_ticks is not None and ticks <= self._last_ticks:
            jumps_back = (self._last_ticks - ticks) * self._time_base > LARGEST_JITTER
            duration = round(frame.duration * frame.time_base / self._time_base)
            ticks = self._last_ticks + (max(1, duration) if jumps_back else 1)
            self._moved_frames += 1
        self._rounded_times |= (time / self._stored_unit).denominator != 1
        self._first_time = ticks * self._time_base if self._first_time is None else self._first_time
        self._last_ticks = ticks
        return ticks

    def _last_packets(self):
        return self._with_decoding_times(self._stream.encode(None))

    def _with_decoding_times(self, packets):
        """x265 leaves them uninitialised where it never had more frames than it delays."""
        if self._codec == "libx265" and self.frames_written <= 4 and not self._packets_encoded:
            times = sorted(packet.pts for packet in packets)
            for packet, time in zip(packets, times, strict=True):
                packet.dts = time - (times[-1] - times[0])
        return packets

    def _reaching_the_end(self, packets):
        """MP4 adds durations up as packets are decoded, and the last of them need not be the picture shown last."""
        if packets and self._format in MOV_FAMILY:
            first = packets[0].dts if self._first_decoding is None else self._first_decoding
            length = self._end_ticks - round(self._first_time / self._time_base)
            missing, shown = length - (packets[-1].dts - first), self._end_ticks - packets[-1].pts
            packets[-1].duration = max(1, min(missing, shown))  # more than it is shown would make the film longer
        return packets

    def _store(self, packets):
        if packets and self._first_decoding is None:
            self._first_decoding = packets[0].dts
        with self._copier.lock:
            for packet in packets:
                self._packets_encoded += 1
                self._copier.release(decoding_time(packet))
                self._tolerating_refusals(self._container.mux_one, packet)

    def _tolerating_refusals(self, store, *arguments):
        """A muxer that refuses a damaged packet of sound may say so when it is given the next packet of video."""
        try:
            store(*arguments)
        except refusals() as error:
            if self._copier.is_idle or self._temporary is None:
                raise
            self._refusal = reason_of(error)

    def _check_after_refusals(self):
        import av

        if self._refusal is None:
            return
        with av.open(str(self._temporary), "r") as container:
            video = stored_stream(container, self._track)
            stored = sum(packet.size > 0 for packet in container.demux(video))
        if stored < self.frames_written:
            raise VideoError(f"{self.name} cannot be written: {self._refusal}")
        self.warnings.append(f"{self.name} lacks damaged packets of the copied streams: {self._refusal}.")

    def _give_name(self):
        put_in_place(self._temporary, self.path, self._overwrite)

    # What was lost

    def _say_what_was_lost(self):
        if self._rounded_times:
            unit = float(self._stored_unit * 1000)
            self.warnings.append(f"{self.name} stores times in steps of {unit:g} ms, to which they were rounded.")
        if self._moved_frames:
            frames = "frame was" if self._moved_frames == 1 else "frames were"
            self.warnings.append(f"{self._moved_frames} {frames} not later than the one before, and put behind it.")
        if self._temporary is not None:
            self.warnings += self._losses()

    def _losses(self):
        """Sentences on what the finished file does not give back, found by opening it."""
        import av

        info, losses = self.info, []
        with av.open(str(self._temporary), "r") as container:
            stream = stored_stream(container, self._track)
            first = next(container.decode(stream), None)
            if first is None:
                raise VideoError(f"{self.name} was not written, because what was stored cannot be read back")
            found = {key.lower() for key in container.metadata}
            tags = [key for key in kept_tags(info.tags) if key.lower() not in found]
            if tags:
                losses.append(f"the tag{'s' * (len(tags) > 1)} {', '.join(tags)}")
            languages = self._copier.lost_languages(container)
            if languages:
                losses.append(f"the language{'s' * (len(languages) > 1)} {', '.join(languages)} of its streams")
            if len(container.chapters()) < len(shifted_chapters(info.chapters, self._offset)):
                losses.append("the chapters")
            if (first.rotation - info.rotation) % 360:
                losses.append(f"the rotation by {info.rotation} degrees")
            if (stream.sample_aspect_ratio or 1) != info.sample_aspect_ratio:
                losses.append("the pixel aspect ratio")
            tagged = int(first.color_primaries), int(first.color_trc), int(first.colorspace)
            if tagged != (info.primaries, info.transfer, info.color_space):
                losses.append("the colour tags")
            delay = first.pts * stream.time_base - self._first_time
        sentences = [
            f"{self.name} lost {loss}, which {self._format} with {self._codec} does not keep." for loss in losses
        ]
        if abs(delay) > Fraction(1, 1000) and self._format != "avi":
            sentences.append(f"{self.name} begins {float(delay):.3f} s later, with all its streams, in {self._format}.")
        return sentences


class _Pipe:
    """Takes bytes and nothing else, so that no muxer tries to go back in it."""

    def __init__(self, file):
        self._file = file

    def write(self, data):
        self._file.write(data)
        return len(data)


def is_file(target):
    """Whether a target is a path, unlike "-" and file objects."""
    return target != "-" and not hasattr(target, "write")


def open_output(target, name):
    """The av output container for a path by its suffix, or Matroska for "-" or a binary file object.

    name: what messages call it. Raises VideoError.
    """
    import av

    if not is_file(target):
        pipe = _Pipe(sys.stdout.buffer if target == "-" else target)
        return av.open(pipe, "w", format="matroska", container_options=MUXER_OPTIONS["matroska"])
    container = container_by_suffix(target, name)
    return av.open(str(target), "w", format=container, container_options=MUXER_OPTIONS.get(container, {}))


def container_by_suffix(path, name=None):
    """FFmpeg's name of the container that the suffix of `path` stands for; raises VideoError if there is none."""
    import av

    try:
        return FORMATS.get(Path(path).suffix.lower()) or av.open(str(path), "w").format.name  # makes no file yet
    except ValueError as error:
        known = "choose .mkv, .mp4, .mov, .webm, .avi or .ts"
        raise VideoError(f"{name or path} has a suffix that stands for no video container; {known}") from error


def holds_films(suffix):
    """Whether a suffix such as ".mp4" stands for a container in which any film keeps its times."""
    try:
        return container_by_suffix(f"film{suffix}") in FILM_CONTAINERS
    except VideoError:
        return False


def check_target(target, source, overwrite):
    """Raise VideoError if the path `target` is a folder, the file `source`, or there and not to be overwritten."""
    if not is_file(target):
        return
    path = Path(target)
    if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
        raise VideoError(f"{target} is the input itself, which is never overwritten")
    if path.is_dir():
        raise VideoError(f"{target} is a folder")
    if os.path.lexists(path) and not overwrite:
        raise VideoError(f"{target} exists already and is not overwritten")


def _keep_durations(context):
    from av.codec.context import Flags

    context.flags |= int(Flags.frame_duration)


def _place_headers(context, container):
    """Have the encoder put its headers where a container (FFmpeg's name) has them: apart, or among the packets."""
    import av

    apart = int(av.format.ContainerFormat(container, "w").flags) & av.format.Flags.global_header.value
    flag = int(av.codec.context.Flags.global_header)
    context.flags = context.flags | flag if apart else context.flags & ~flag


def _cut_or_repeated(plane, shape):
    """`plane` at `shape`: cut, or with its edge repeated, below and on the right."""
    plane = plane[: shape[0], : shape[1]]
    missing = [(0, wanted - n) for wanted, n in zip(shape, plane.shape, strict=True)]
    return np.pad(plane, missing, mode="edge") if any(n for _, n in missing) else plane
