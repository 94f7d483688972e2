"""A file of JSON objects, one a line, each on the disk before the work goes on, and sealed by a sum over all so far.

So whatever was damaged, lost, doubled or moved in it is found out, but for what is missing behind the last line: of a
power cut there may be a torn one, which is dropped. The sums are there against accidents. They keep nobody from writing
another file.
"""

import errno
import hashlib
import json
import os
import re
import stat
from contextlib import suppress

from common.files import reach_disk

LONGEST = 1 << 20  # bytes of a line
SEALED = re.compile(rb'(\{.*), "seal": "([0-9a-f]{16})"\}\n', re.DOTALL)


class DamageError(ValueError):
    """A line is not as it was written; `line` is its number, from 1."""

    def __init__(self, line):
        super().__init__(f"line {line} is damaged")
        self.line = line


class SealedFile:
    """The file `path`, made if there is none: read it to its end with `entries`, and then `add` to it.

    Raises OSError, also for what is no file, but a link, a pipe or a folder.
    """

    def __init__(self, path):
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "It is no file", str(path))
        self._seal, self._path = b"", path

    def close(self):
        """Release the file."""
        self._file.close()

    def entries(self):
        """Yield (number of the line, object) for each line. Raises DamageError."""
        place, number = 0, 0
        with open(self._file.fileno(), "rb", closefd=False) as reader:
            while (line := reader.readline(LONGEST)).endswith(b"\n"):
                place, number = place + len(line), number + 1
                yield number, self._opened(line, number)
        if len(line) == LONGEST:
            raise DamageError(number + 1)
        if line:  # what is behind the last end of a line is torn
            self._file.truncate(place)

    def add(self, entry):
        """Append an object, and let it reach the disk."""
        content = json.dumps(entry)[:-1].encode()
        seal = _seal(self._seal, content)
        rest = content + b', "seal": "' + seal + b'"}\n'
        while rest:  # a full disk takes a part, and refuses the rest
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
        if not self._seal:
            with suppress(OSError):  # of systems that open no folders
                reach_disk(os.path.dirname(self._path) or ".")
        self._seal = seal

    def _opened(self, line, number):
        match = SEALED.fullmatch(line)
        if not match or _seal(self._seal, match[1]) != match[2]:
            raise DamageError(number)
        self._seal = match[2]
        try:
            return json.loads(match[1] + b"}")
        except (ValueError, RecursionError):
            raise DamageError(number) from None


def _seal(before, content):
    return hashlib.sha256(before + content).hexdigest()[:16].encode()
