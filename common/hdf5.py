"""HDF5 files of unknown origin, or on a disk that fills up: what the library breaks down over becomes an error."""

import io
import os
import signal
import sys
from contextlib import contextmanager, suppress

SECONDS = 3  # of computing, after which the library will not find its way out of a damaged file


@contextmanager
def damage_explained(path, kind):
    """Whatever HDF5 raises inside, which is nearly anything where a file is damaged, becomes one sentence of `kind`."""
    try:
        yield
    except (kind, MemoryError):
        raise
    except Exception as error:
        raise kind(f"{path} is no whole HDF5 file ({' '.join(str(error).split())}).") from error


def check_readable(path, read, kind):
    """Call `read` in a copy of this process first, as over some damaged files the library hangs or breaks down.

    Raises `kind`, one sentence, if it does. What `read` itself raises does not matter here. Elsewhere than on Linux
    nothing is tried.
    """
    if sys.platform != "linux":
        return
    child = os.fork()
    if not child:
        _read_within_limits(read)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise kind(f"{path} is so damaged that HDF5 cannot read it ({signal.strsignal(os.WTERMSIG(status))}).")


class UnfailingFile(io.FileIO):
    """A file for HDF5 to write to. Where a write fails the library breaks down, so none seems to.

    error: the OSError of the first that did, behind which nothing is written any more, or None. It is raised by `check`
    and at the end of the context.
    """

    error = None

    def write(self, content):
        content = memoryview(content).cast("B")
        self._attempt(lambda: self._write_all(content))
        return len(content)

    def truncate(self, size=None):
        return self._attempt(lambda: super(UnfailingFile, self).truncate(size))

    def __exit__(self, kind, *exception):
        super().__exit__(kind, *exception)
        if kind is None:
            self.check()

    def check(self):
        """Raise the error, if there was one."""
        if self.error is not None:
            raise self.error

    def _write_all(self, content):
        while len(content):  # of a disk that is nearly full, a part
            content = content[super().write(content) :]

    def _attempt(self, step):
        if self.error is None:
            try:
                return step()
            except OSError as error:
                self.error = error


def _read_within_limits(read):
    import faulthandler
    import resource

    try:
        faulthandler.disable()
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(Exception):
            read()
    finally:
        os._exit(0)  # nothing of the other process is tidied up here
