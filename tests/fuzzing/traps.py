"""Not a kind of input but one of each finding, by which a test sees that the fuzzer notices them."""

import os
import time

WAYS = ("success", "refusal", "traceback", "lines", "crash", "hang", "memory", "half file", "temporary", "thread")


class Documented(ValueError):
    """What a reader may raise."""


DOCUMENTED = (Documented,)


def seeds():
    return {"seed": b"seed"}


def make(random, valid):
    return random.choice(WAYS).encode(), ".trap"


def attempt(path, folder, random):
    way = path.read_text()
    if way == "refusal":
        raise Documented("it is refused")
    if way == "lines":
        raise Documented("it is\nrefused")
    if way == "traceback":
        raise KeyError("nobody thought of it")
    if way == "crash":
        os.abort()
    if way == "hang":
        time.sleep(3600)
    if way == "memory":
        return len(bytearray(64 << 20)) == 0
    if way == "half file":
        (folder / "out.png").write_bytes(b"half")
        raise Documented("the disk is full")
    if way == "temporary":
        (folder / ".123.part.png").write_bytes(b"half")
    if way == "thread":
        os.write(2, b"Exception in thread 1:\nTraceback (most recent call last):\n")


def command(path, folder):
    return ["-c", "pass"]
