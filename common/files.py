"""Files that appear whole or not at all, and what may stand in them."""

import math
import os
import secrets
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path):
    """Yield a temporary path in the folder of `path`; rename it to `path` on success, remove it on any failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # some writers make files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary, path):
    """Rename `temporary` to `path`, safe from a power cut: the content reaches the disk before the name does."""
    _reach_disk(temporary)
    os.replace(temporary, path)
    _reach_disk(Path(path).parent)


def _reach_disk(path):
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
