"""The folder beside a result in which unfinished work is kept, for one run at a time."""

import errno
import fcntl
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from common.errors import CommandError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNFINISHED = re.compile(r"\.[0-9a-f]+\.part.*|film\..*")
OURS = re.compile(rf"{UNFINISHED.pattern}|\d{{5,}}\.(nut|mov|mkv)|journal\.jsonl|lock")  # what may be removed of it


class Workplace:
    """The folder RESULT.segments, locked as long as this context manager is open.

    path: of the folder. Raises CommandError if another run works there, or if something else has the name.
    """

    def __init__(self, result):
        self.path = Path(result).with_name(f"{Path(result).name}.segments")
        self._lock = None

    def __enter__(self):
        if self.path.is_symlink() or (self.path.exists() and not self._is_ours()):
            raise CommandError(f"{self.path} is in the way: unfinished work would be kept under this name.")
        while self._lock is None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._try_to_lock()
        return self

    def __exit__(self, *exception):
        os.close(self._lock)

    def __truediv__(self, name):
        return self.path / name

    def clear(self):
        """Remove all work, but stay."""
        for path in self._files():
            if path.name != "lock":
                path.unlink()

    def remove(self):
        """Remove the folder with all work in it; what somebody else has put there stays."""
        for path in self._files():
            path.unlink()
        with suppress(OSError):
            self.path.rmdir()

    def sweep(self):
        """Remove what a run that was killed had not finished."""
        for path in self._files(UNFINISHED):
            path.unlink()

    @property
    def room(self):
        """Free bytes on its disk."""
        return shutil.disk_usage(self.path).free

    def _files(self, names=OURS):
        """The files and links in it that have such names, but no folders; last is the lock, which keeps others off."""
        with os.scandir(self.path) as entries:
            found = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
        return [self / name for name in sorted(found, key="lock".__eq__) if names.fullmatch(name)]

    def _is_ours(self):
        return self.path.is_dir() and ((self / "lock").is_file() or not any(self.path.iterdir()))

    def _try_to_lock(self):
        """Take the lock, which ends with the process however that ends; in vain if its file was just removed."""
        with suppress(FileNotFoundError):
            file = os.open(self / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(file), os.stat(self / "lock")):
                    self._lock, file = file, None
            except BlockingIOError:
                raise CommandError(f"Another run is at work on this film; it keeps its work in {self.path}.") from None
            finally:
                if file is not None:
                    os.close(file)


def is_full(error):
    """Whether an exception comes of a full disk, or of a limit that is like one."""
    while error is not None:
        if getattr(error, "errno", None) in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
