"""What a training run leaves behind to be read: JSON lines, and TensorBoard events where TensorBoard is installed."""

import io
import json
import os
import time
from pathlib import Path

import numpy as np

from common.files import finite, named, written_whole


class Log:
    """Writes each record to `FILE.jsonl`, and its numbers as scalars to `folder` for TensorBoard.

    Both are written through at once, so that a run can be watched. `first_step`: records from there on, left over from
    a run that was interrupted after its last checkpoint, are dropped. `is_in_use` tells whether a run writes a log.
    """

    def __init__(self, path, folder, first_step=0):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [record for record in read_log(path) if record["step"] <= first_step] if first_step else []
        with written_whole(path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        self.lines = open(path, "ab", buffering=0)  # noqa: SIM115 - open for the whole run
        _lock(self.lines)
        self.events = _event_writer(folder)

    def write(self, step, **numbers):
        """One record of step `step`."""
        with named(self.path):
            self.lines.write((json.dumps(finite({"step": step, **numbers})) + "\n").encode())
        if self.events:
            self.events.scalars(step, numbers)

    def picture(self, step, name, pixels):
        """A picture (H, W, 1 or 3) uint8 for TensorBoard."""
        if self.events:
            self.events.picture(step, name, pixels)

    def close(self):
        self.lines.close()
        if self.events:
            self.events.close()


def is_in_use(path):
    """Whether the log `path` is that of a run at work, in whatever process."""
    if not os.path.exists(path):
        return False
    with open(path, "ab") as file:
        return not _lock(file)


def _lock(file):
    """Whether this process has locked an open file, which ends with the file; True where there are no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # of other systems, and other disks
        pass
    return True


def read_log(path):
    """The records of a JSON-lines log; [] if there is none. A last line cut short by a crash is left out."""
    records = []
    if os.path.exists(path):
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def _event_writer(folder):
    try:
        return EventWriter(folder)
    except ImportError:
        return None


class EventWriter:
    """TensorBoard's event file, written with TensorBoard's own parts: its usual writers would load a framework."""

    def __init__(self, folder):
        import PIL.Image  # noqa: F401 - for pictures
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.file = open(folder / f"events.out.tfevents.{int(time.time())}.{os.getpid()}", "wb", 0)  # noqa: SIM115
        self.records = RecordWriter(self.file)
        self.records.write(self._event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def scalars(self, step, numbers):
        self._write(step, [self._summary.Value(tag=tag, simple_value=value) for tag, value in numbers.items()])

    def picture(self, step, name, pixels):
        from PIL import Image

        pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "PNG")
        image = self._summary.Image(
            height=pixels.shape[0], width=pixels.shape[1], colorspace=3, encoded_image_string=encoded.getvalue()
        )
        self._write(step, [self._summary.Value(tag=name, image=image)])

    def _write(self, step, values):
        event = self._event(wall_time=time.time(), step=step, summary=self._summary(value=values))
        with named(self.file.name):
            self.records.write(event.SerializeToString())

    def close(self):
        self.file.close()
