"""Files that appear whole or not at all: where they may, and what may stand in them."""

import errno
import hashlib
import math
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path

from common.errors import CommandError

SAMPLES = 64  # of a file, by which another one is told from it
SAMPLE_BYTES = 1 << 16


@contextmanager
def written_whole(path, replacing=True):
    """Yield a temporary path in the folder of `path`; rename it to `path` on success, remove it on any failure.

    replacing: whether what has that name by then is replaced, rather than FileExistsError raised.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with named(path, temporary):
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
            put_in_place(temporary, path, replacing)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named(path, temporary=None):
    """Inside, an OSError that names no file, or the `temporary` one, becomes one that names `path`."""
    try:
        yield
    except OSError as error:
        if not error.errno or str(error.filename) not in ("None", str(temporary)):
            raise
        # Libraries have words of their own, some of which name the temporary file as well.
        words = os.strerror(error.errno) if error.errno in errno.errorcode else error.strerror
        raise OSError(error.errno, words, str(path)) from error


def put_in_place(temporary, path, replacing=True):
    """Rename a finished file, safe from a power cut: the content reaches the disk before the name does.

    Of two programs that write one file each writes it whole; without `replacing` the second gets FileExistsError.
    """
    reach_disk(temporary)
    if replacing:
        os.replace(temporary, path)
    else:
        _rename_to_new(temporary, path)
    with suppress(OSError):  # of systems that open no folders
        reach_disk(Path(path).parent)


def _rename_to_new(temporary, path):
    try:
        os.link(temporary, path)
        os.unlink(temporary)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)


def reach_disk(path):
    """Return when the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path):
    """A new name in the folder of `path`, with its suffix, by which some writers choose their format.

    Raises ValueError if `path` can be no name of a file: better now than when the work is done.
    """
    if "\0" in str(path):
        raise ValueError(f"{str(path)!r} has a null character in it")
    if not path.name:
        raise ValueError(f"{path} is not the name of a file")
    return path.with_name(f".{secrets.token_hex(8)}.part{path.suffix}")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def finite(value):
    """`value` with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_place(path, what):
    """Raise CommandError now, and not when the work is done, if `what` cannot be written to `path`."""
    folder = Path(path).resolve().parent
    folder = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CommandError(f"The {what} {path} cannot be written there.")


def existing_folder(path):
    """`path` as a Path; raises CommandError unless it is a folder."""
    if not Path(path).is_dir():
        raise CommandError(f"{path} is no folder.")
    return Path(path)


def sampled(path, parts=SAMPLES):
    """A hash of parts of a file, spread over it evenly, the first and the last among them: by default of 4 MB."""
    content = hashlib.sha256()
    with open(path, "rb") as file:
        last = max(0, file.seek(0, os.SEEK_END) - SAMPLE_BYTES)
        for place in sorted({last * i // (parts - 1) for i in range(parts)}):
            file.seek(place)
            content.update(file.read(SAMPLE_BYTES))
    return content.hexdigest()
