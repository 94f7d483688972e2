"""The segments of a film put together: their packets as they are, at the film's times, beside its other streams."""

from pathlib import Path

from common.files import put_in_place, reach_disk
from common.video_frames import VideoError
from common.video_reader import VideoReader, clear_errors
from common.video_writer import VideoWriter

SETTLING = 1  # seconds by which the other streams are read ahead of the picture


def join(source, target, segments, files, temporary, *, delay, whole=lambda path: None, **options):
    """Write the film `target`: the pictures in `files`, one for each of `segments`, and all else of `source`.

    temporary: where the film grows, on the disk of the target. delay: the greatest of the segments, see `SegmentFile`.
    whole: called with the path of the film just before it gets its name. options: those of
    `common.video.VideoWriter` with which the segments were encoded.
    Returns a list of warnings. Raises VideoError.
    """
    with (
        VideoReader(source) as reader,
        JoiningWriter(target, reader, temporary, delay, whole, **options) as writer,
    ):
        for segment, file in zip(segments, files, strict=True):
            writer.add(file, segment.moments(reader.time_base))
        reader.damaged, reader.concealed = segments[-1].damaged, segments[-1].concealed
        reader.pass_on()
    found = [warning for segment in segments for warning in segment.warnings]
    return list(dict.fromkeys([*reader.warnings, *found, *writer.warnings]))


class JoiningWriter(VideoWriter):
    """A VideoWriter that is given packets instead of frames; its encoder only describes the stream."""

    def __init__(self, target, template, temporary, delay, whole, **options):
        self._grows_in, self._whole, self._reader = Path(temporary), whole, template
        self._delay, self._earlier, self._waiting, self._passed_on = delay, [], None, None
        super().__init__(target, template, **options)

    def add(self, path, moments):
        """Append the packets in the file `path`, whose frames are shown at `moments`. Raises VideoError."""
        with self._leaving_nothing_behind():
            ticks = [self._ticks(moment) for moment in moments]
            lengths = [round(moment.duration * moment.time_base / self._time_base) for moment in moments]
            ranks = self._ranks(path, len(ticks))
            line = [*self._before(ticks, lengths), *ticks]
            self._end_ticks = ticks[-1] + lengths[-1]
            for place, packet in enumerate(self._packets(path)):
                rank = ranks[packet.pts]
                packet.pts, packet.dts, packet.duration = ticks[rank], line[place], lengths[rank]
                packet.time_base, packet.stream = self._time_base, self._stream
                self._append(packet)
            self._earlier = line[len(ticks) :]
            self.frames_written += len(ticks)

    def _before(self, ticks, lengths):
        """The times that lie before `ticks` in the row of decoding times, as many as the pictures are delayed."""
        if self._earlier or not self._delay:
            return self._earlier
        if len(ticks) > self._delay:  # as x264 does
            return [time - ticks[self._delay] + ticks[0] for time in ticks[: self._delay]]
        return [ticks[0] - (self._delay - place) * max(1, lengths[0]) for place in range(self._delay)]

    def _ranks(self, path, frames):
        """{time in the file: place in the order shown} of the packets of a file, once they are found to be whole."""
        import av

        with clear_errors(path), av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = sorted(packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None)
            ours, theirs = self._stream.codec_context.extradata, stream.codec_context.extradata
        if len(set(times)) != frames or (ours and theirs != ours):
            raise VideoError(f"{path} is damaged; once it is removed, the same command makes it anew")
        return {time: rank for rank, time in enumerate(times)}

    @staticmethod
    def _packets(path):
        import av

        with av.open(str(path)) as container:
            yield from (packet for packet in container.demux(container.streams.video[0]) if packet.size)

    def _append(self, packet):
        """Store the packet before, because something is still to be done to the last."""
        time = packet.dts * packet.time_base
        if self._passed_on is None or time > self._passed_on:
            self._passed_on = time + SETTLING
            self._reader.pass_on(self._passed_on)
        if self._waiting is not None:
            self._store([self._waiting])
        self._waiting = packet

    # What VideoWriter does in another way

    def _begin(self, target, template, overwrite):
        super()._begin(target, template, overwrite)
        self._temporary = self._grows_in

    def _last_packets(self):
        return [self._waiting]

    def _give_name(self):
        reach_disk(self._temporary)  # from now on nothing changes its time
        self._whole(self._temporary)
        put_in_place(self._temporary, self.path, self._overwrite)
