"""Damaged and absurd journals, and segments of another kind beside them, for `super_resolve.py --resume`.

An input is JSON: {"overwrite": whether the run may begin anew, "forged": whether somebody changed the journal and
sealed it again, "files": {name: what is there}}, in which a file's content is in base64, and "folder", "pipe" and
"-> target" stand for themselves. What runs to its end must have the packets of a film that was never interrupted,
unless its journal was forged, which nothing can tell from that of another film.
"""

import base64
import functools
import hashlib
import json
import os
import re
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from clips import make_clip, packets_of
from tqdm import tqdm

import super_resolve
from common import cli, upscaler
from common.networks import network
from common.weights import Weights, initial_tensors, save_weights
from common.workplace import OURS, Workplace
from fuzzing.commands import strict_sentence
from fuzzing.mutations import ODD_VALUES, changed_json, flipped_bits, mutated

DOCUMENTED = ()  # nothing comes out of a command but its exit code
TIME = 10**18  # of the last change of the film and of its enlargement, in nanoseconds, which the journal knows
WORK = "out.mkv.segments"
JOURNAL = f"{WORK}/journal.jsonl"
LEFT_OVER = f"{WORK}/.00ff.part.nut"
BEFORE = (b"an earlier film", b"")  # what may lie in the place of the result
FORGED = "forged"  # the name of a file that says so


def line(source, weights, target, overwrite=False):
    """The command line of one film."""
    words = [source, "--output", target, "--weights", weights, "--scale", "2", "--codec", "ffv1", "--resume"]
    words += ["--segment", "0.12", "--threads", "1", "--quiet"]
    return [*map(str, words), *(["--overwrite"] if overwrite else [])]


def seeds():
    """{name: content} of a film, its enlargement in one go, weights, and all that was ever kept of the work on it."""
    with tempfile.TemporaryDirectory() as name, patch.object(Workplace, "remove", lambda self: None):
        folder = Path(name)
        make_clip(folder / "film.mkv", range(0, 400, 40), width=24, height=16, codec="mpeg4", options={"g": "4"},
                  audio=[("pcm_s16le", 0.4, {})])  # fmt: skip
        os.utime(folder / "film.mkv", ns=(TIME, TIME))
        spec = network("espcn", scale=2, widths=(4, 4))
        tensors = initial_tensors(spec, 0)
        tensors["conv3.weight"] *= 10
        tensors["conv3.bias"] += 0.4
        save_weights(folder / "w.safetensors", Weights("espcn", spec, tensors))
        with open(os.devnull, "w") as nowhere, patch("sys.stdout", nowhere):
            assert run(line(folder / "film.mkv", folder / "w.safetensors", folder / "out.mkv")) == cli.DONE
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    *contents, _ = unsealed(found[JOURNAL])
    found[JOURNAL] = sealed([*contents, json.dumps({"joined": len(found["out.mkv"]), "time": TIME}).encode()])
    return found


def make(random, valid):
    """(content, suffix) of one input; `valid` is what `seeds` returned."""
    work = {name: content for name, content in valid.items() if name.startswith(WORK)}
    lines = work[JOURNAL].splitlines(keepends=True)
    kept = random.choice((len(lines), random.randrange(len(lines) + 1)))
    journal, work[JOURNAL] = lines[:kept], b"".join(lines[:kept])
    case = {"overwrite": random.random() < 0.3, "forged": False}
    if kept < len(lines) and random.random() < 0.3:
        work[JOURNAL] += lines[kept][: random.randrange(len(lines[kept]))]
    way = random.random()
    if way < 0.3:
        work[JOURNAL] = random.choice((mutated, lines_changed))(work[JOURNAL], random, list(valid.values()))
    elif way < 0.6:
        case["forged"] = True
        work[JOURNAL] = forged(journal, random)
    if way > 0.5:
        for _ in range(random.choice((1, 1, 2))):
            random.choice(AROUND)(work, random)
    if random.random() < 0.1:
        work["out.mkv"] = random.choice((*BEFORE, valid["out.mkv"], valid["out.mkv"]))
    if WORK in work:
        work = {name: content for name, content in work.items() if not name.startswith(f"{WORK}/")}
    case["files"] = {
        name: content if isinstance(content, str) else f"={base64.b64encode(content).decode()}"
        for name, content in work.items()
    }
    return json.dumps(case).encode(), ".json"


# ---- The journal


def unsealed(journal):
    """The contents of the lines of a journal, each without its seal."""
    return [content.rpartition(b', "seal"')[0] + b"}" for content in journal.splitlines()]


def sealed(contents):
    """A journal of these lines."""
    seal, lines = b"", []
    for content in contents:
        seal = hashlib.sha256(seal + content[:-1]).hexdigest()[:16].encode()
        lines.append(content[:-1] + b', "seal": "' + seal + b'"}\n')
    return b"".join(lines)


def lines_changed(journal, random, others):
    """A line left out, doubled or moved."""
    lines = journal.splitlines(keepends=True) or [b"\n"]
    piece = lines.pop(random.randrange(len(lines)))
    for _ in range(random.choice((0, 1, 2))):
        lines.insert(random.randrange(len(lines) + 1), piece)
    return b"".join(lines)


def forged(lines, random):
    """A journal whose sums are right and whose lines are not."""
    contents = unsealed(b"".join(lines))
    for _ in range(random.choice((1, 1, 2))):
        way = random.random()
        place = random.randrange(len(contents) + 1)
        if way < 0.2 or place == len(contents):
            contents.insert(place, random.choice(ABSURD))
        elif way < 0.3:
            contents.insert(random.randrange(len(contents)), contents.pop(place))
        elif way < 0.4:
            contents[place] = flipped_bits(contents[place], random, [])
        else:
            with suppress(ValueError, RecursionError):  # of a line that makes no sense already
                contents[place] = json.dumps(changed_json(json.loads(contents[place]), random)).encode()
            contents[place] = another_number_in(contents[place], random)
    return sealed(contents)


def another_number_in(content, random):
    """A line in which a number is another one, now and then."""
    places = [match.span() for match in re.finditer(rb"-?\d+", content)]
    if not places or random.random() < 0.7:
        return content
    start, end = random.choice(places)
    value = random.choice((0, 1, -1, 2, 3, 299, 301, 2**31, 2**62 - 1, 2**63, 10**30, -(2**63)))
    return content[:start] + b"%d" % value + content[end:]


ABSURD = (
    *(b"{}", b"{not JSON}", b'{"planned": true}', b'{"planned": false}', b'{"joined": 0, "time": 0}', b"[]", b"{"),
    *(b'{"finished": %d, "bytes": 7, "delay": 0, "content": ""}' % number for number in (0, 1, 10**6, -1)),
    *(b'{"a": ' + nested * 5000 + b"}" for nested in (b"[", b'{"a":')),
    *(b'{"a": "%s"}' % (b"x" * (1 << 21)), b'{"a": %s}' % (b"9" * 5000), b'{"journal": 2, "identity": {}}'),
    *(json.dumps({"segment": value}).encode() for value in ODD_VALUES[:8]),
)


# ---- What lies beside it


def _segment(work, random):
    names = [name for name in work if name.endswith(".nut") and isinstance(work[name], bytes)]
    return random.choice(names) if names else f"{WORK}/00000.nut"


def _lost(work, random):
    work.pop(_segment(work, random), None)


def _damaged(work, random):
    name, others = _segment(work, random), [content for content in work.values() if isinstance(content, bytes)]
    work[name] = mutated(work.get(name, b""), random, [b"", *others])


def _flipped(work, random):
    """Of the same size."""
    name = _segment(work, random)
    work[name] = flipped_bits(work.get(name, b""), random, [])


def _swapped(work, random):
    one, other = _segment(work, random), _segment(work, random)
    work[one], work[other] = work.get(other, b""), work.get(one, b"")


def _something_else(work, random):
    """In the place of any of the files."""
    name = random.choice((_segment(work, random), JOURNAL, f"{WORK}/lock", "out.mkv"))
    work[name] = random.choice(("folder", "pipe", "-> /dev/zero", "-> nowhere", "-> ../in", f"-> {name}", b""))


def _left_over(work, random):
    work[LEFT_OVER] = random.randbytes(100)
    name = random.choice(("film.mkv", "00077.nut", "journal.jsonl.bak", "film.mkv", "1.mkv", "mine.txt", "é\n.nut"))
    work[f"{WORK}/{name}"] = random.choice((b"left over", "folder", "-> /dev/zero", "pipe"))


def _nothing(work, random):
    """In the folder, or a file in its place."""
    for name in [name for name in work if name.startswith(WORK)]:
        if name != f"{WORK}/lock" or random.random() < 0.5:
            del work[name]
    if random.random() < 0.5:
        work.pop(f"{WORK}/lock", None)
        work[WORK] = random.choice((b"a file", "-> nowhere", "-> .", "pipe"))


AROUND = (_lost, _damaged, _flipped, _flipped, _swapped, _something_else, _something_else, _left_over, _nothing)


def lay_out(files, folder):
    """Put what `make` has described into `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if content.startswith("="):
            path.write_bytes(base64.b64decode(content[1:]))
            os.utime(path, ns=(TIME, TIME))
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        elif content == "folder":
            path.mkdir(exist_ok=True)
        else:
            os.mkfifo(path)


# ---- What comes of it


def prepared(path, folder):
    """The words of the command line for the input in the file `path`, once `folder` is as it says."""
    case, beside = json.loads(path.read_bytes()), path.parent / "seeds"
    lay_out(case["files"], folder)
    if case["forged"]:
        (folder / FORGED).touch()
    os.utime(beside / "film.mkv", ns=(TIME, TIME))
    return line(beside / "film.mkv", beside / "w.safetensors", folder / "out.mkv", case["overwrite"])


def run(words):
    """What `super_resolve.py` returns; errors that are no sentence of ours are raised."""
    tqdm.set_lock(threading.RLock())  # its own is shared with processes that are killed here
    with (
        patch.object(cli, "sentence", strict_sentence),
        patch.object(upscaler, "Upscaler", loaded),
        patch.object(os, "fsync", lambda descriptor: None),  # no power is cut here
    ):
        return super_resolve.main(words)


def loaded(weights, *network, **options):
    """The Upscaler with these weights, which is made once."""
    key = weights.fingerprint()
    if key not in _loaded:
        _loaded[key] = _upscaler(weights, *network, **options)
    return _loaded[key]


_loaded, _upscaler = {}, upscaler.Upscaler


def attempt(path, folder, random):
    """Go on with the work by the real program inside this process; returns its exit code."""
    code = run(prepared(path, folder))
    if code == cli.DONE:
        assert (folder / "out.mkv").is_file() and (folder / "out.mkv").read_bytes() not in BEFORE, "there is no film"
        left = [name for name in os.listdir(folder / WORK) if OURS.fullmatch(name)] if (folder / WORK).exists() else []
        assert all((folder / WORK / name).is_dir() for name in left), f"{left} were left behind"
    return code


def whole(folder, source):
    """Whether the result, if there is one, is the film of one go, or what was there before."""
    with suppress(OSError):
        (folder / LEFT_OVER).unlink()  # of an input that was refused
    target = folder / "out.mkv"
    if target.is_symlink() or not target.is_file() or target.read_bytes() in BEFORE:
        return
    found = packets(target)
    assert (folder / FORGED).exists() or found == in_one_go(source / "out.mkv"), "the film is another"


def packets(film):
    """All packets of a film."""
    return packets_of(film, "video"), packets_of(film, "audio")


in_one_go = functools.cache(packets)


def command(path, folder):
    """The same by the real command line."""
    return ["super_resolve.py", *prepared(path, folder)]
