"""Which frames a decoder still owes, so that a damaged packet leaves a mark in time and not a hole."""

import heapq


class Timeline:
    """Times of the packets whose frames have not come out of the decoder yet.

    A time that is passed over without its frame belongs to a damaged packet, even when the decoder says nothing.
    by_order: timestamps are of packets in decoding order (AVI and raw streams), so that the n-th frame shown gets the
        n-th smallest of them.
    step: usual distance of two frames in ticks.
    leading: number of frames before the first that could be decoded, for want of the key frame before them.
    """

    def __init__(self, by_order, step):
        self.by_order, self.step = by_order, step
        self._pending = []  # heap of (time, duration)
        self._failed = set()
        self._any_failed = self._begun = False
        self._next_time = self.leading = 0
        self._last, self._last_duration = None, step

    def sent(self, packet):
        if not self._begun:
            self.by_order = self.by_order or packet.pts is None
            self._begun = True
        time = self._time_of(packet)
        if time is not None and not packet.is_discard:
            heapq.heappush(self._pending, (time, packet.duration or self.step))

    def _time_of(self, packet):
        if not self.by_order:
            return packet.pts
        self._current = packet.dts if packet.dts is not None else self._next_time
        self._next_time = self._current + (packet.duration or self.step)
        return self._current

    def failed(self, packet):
        """The decoder refused the packet that was sent last."""
        self._any_failed = True
        self._failed.add(self._current if self.by_order else packet.pts)

    def take(self, av_frame):
        """(time of a frame that came out, [(time, duration) of those that should have come before it])."""
        if self.by_order:
            missing = []
            while self._pending and self._pending[0][0] in self._failed:
                missing.append(heapq.heappop(self._pending))
            time = heapq.heappop(self._pending)[0] if self._pending else self._after_last()
        else:
            time = av_frame.pts if av_frame.pts is not None else self._after_last()
            missing = self._passed(time)
        self._last, self._last_duration = time, av_frame.duration or self.step
        return time, missing

    def _after_last(self):
        return 0 if self._last is None else self._last + self._last_duration

    def _passed(self, time):
        missing = []
        while self._pending and self._pending[0][0] <= time:
            entry = heapq.heappop(self._pending)
            if entry[0] < time and self._is_lost(entry[0]):
                missing.append(entry)
            elif entry[0] < time and self._last is None:
                self.leading += 1
        return missing

    def _is_lost(self, time):
        if time in self._failed:
            return True
        if self._last is None:
            # Frames before the first that can be decoded: lost if something failed, else they hang on frames that
            # were cut off before the file began.
            return self._any_failed
        # Hidden frames (VP8) and second fields have times of their own, inside the time of the frame before.
        return time >= self._last + self._last_duration / 2

    def rest(self):
        """What has still not come out after the end."""
        missing = [entry for entry in sorted(self._pending) if self._is_lost(entry[0])]
        self._pending = []
        return missing
