"""Command lines that nobody would type, for the three programs; networks and training are replaced by nothing."""

import json
import os
import shutil
import tempfile
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from clips import make_clip
from tqdm import tqdm

import main
import super_resolve
from common import backend, cli, experiments, samples, training, video_commands
from common.dataset import DatasetError
from common.errors import CommandError, TrainingError, WeightsError, sentence
from common.images import Picture, PictureError, read_picture, write_picture
from common.networks import network
from common.processes import Alone
from common.video import VideoError
from common.weights import Weights, initial_tensors, save_weights
from fuzzing import datasets

DOCUMENTED = ()  # nothing comes out of a command but its exit code
SENTENCES = (CommandError, PictureError, VideoError, WeightsError, DatasetError, TrainingError)
SENTENCES += (backend.BackendError, OSError)
ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = {"super_resolve.py": super_resolve, "main.py": main, "common.video": video_commands}
PLACES = (
    *("in.png", "in.png", "in.png", "film.mkv", "photos", "%05d.png", "-", "set.h5", "w.safetensors", "half.png"),
    *("", ".", "..", "/proc", "/dev/null", "/dev/full", "nowhere/x", "-x.png", "--help.png", "é ü.png", "a" * 300),
    *("out.png", "out.mkv", "out", "out.tif", "out.html", "out.json", "o/u/t.png", "in.png/x.png", "loop"),
    *("http://x/y.png", "\udcff.png"),
)
WORDS = (
    *("0", "1", "2", "3", "4", "7", "-1", "1e9", "1000000000", "99999999999999999999", "0.5", "1e-300", "nan", "inf"),
    *("true", "False", "auto", "9-1-5", "kernels=9-1-5", "widths=4-4", "width=1000000000", "depth=0", "scale=3"),
    *("colour=rgb", "motion=dis", "conv1=0.1", "=", "a=b=c", "x264", "ffv1", "h264", "mpeg4", "1:15", "1/0"),
    *("30000/1001", "espcn", "srcnn", "vespcn", "torch", "tensorflow", "cpu", "fp32", "bf16", "mse", "yuv420p"),
    *("\n", "٣", "1_0", " 1"),
)
NUMBERS = 18  # of these words, which stand first


def seeds():
    """{name: content} of the files that lie about where a command runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        waves = (np.add.outer(np.arange(120), np.arange(112))[..., None] * (5, 7, 3) % 256).astype(np.uint8)
        write_picture(folder / "photos" / "a.png", Picture(waves))
        for picture in ("in.png", "photos/-b.png", "00001.png", "00002.png"):
            write_picture(folder / picture, Picture(waves[:26, :28]))
        (folder / "half.png").write_bytes((folder / "in.png").read_bytes()[:300])
        make_clip(folder / "film.mkv", range(0, 120, 40), width=48, height=32, audio=[("aac", 0.1, {})])
        spec = network("espcn", widths=(4, 4))
        save_weights(folder / "w.safetensors", Weights("espcn", spec, initial_tensors(spec, 0)))
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    return {**files, "set.h5": datasets.seeds()["set.h5"]}


def make(random, valid):
    """(content, suffix) of one input, a list of words as JSON."""
    program = random.choice(list(PROGRAMS))
    if program == "common.video":
        command = random.choice(("cut", "split", "join", "info"))
        parser = video_commands.parser()._subparsers._group_actions[0].choices[command]
        words = [command, *(_place(random) for _ in range(random.choice((1, 2, 2, 2, 3))))]
    else:
        parser = PROGRAMS[program].parser()
        words = [_place(random)] if program == "super_resolve.py" and random.random() < 0.95 else []
        words += ["--train_dir", "photos", "--test_dir", "photos"] if program == "main.py" else []
        words += random.choice(((), ("--weights", "w.safetensors"))) if random.random() < 0.7 else ()
    # --debug asks for a traceback, and --serve waits for visitors
    flags = [action for action in parser._actions if action.option_strings and action.dest not in ("debug", "serve")]
    for action in random.sample(flags, min(len(flags), random.choice((0, 1, 1, 2, 3, 6)))):
        words.append(random.choice(action.option_strings))
        if action.nargs == 0 and random.random() < 0.95:
            continue
        for _ in range(random.choice((1, 1, 1, 1, 2, 0))):
            words.append(_value(action, random))
    if random.random() < 0.1:
        random.shuffle(words)
    return json.dumps([program, *words]).encode(), ".json"


def _place(random):
    return random.choice(PLACES)


def _value(action, random):
    if action.choices and random.random() < 0.8:
        return str(random.choice(list(action.choices)))
    if action.type is not None and random.random() < 0.6:
        return random.choice(WORDS[:NUMBERS])
    return random.choice(PLACES if random.random() < 0.4 else WORDS)


def attempt(path, folder, random):
    """Run the command inside this process, in a folder with a few files; returns its exit code."""
    program, *words = json.loads(path.read_bytes())
    prepare(path.parent / "seeds", folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        with replaced(folder):
            return PROGRAMS[program].main(words)
    except SystemExit as stop:  # how argparse ends
        return stop.code
    finally:
        os.chdir(before)


def prepare(source, folder):
    """Put the files of `seeds`, which lie in `source`, and a link that leads to itself into `folder`."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    (folder / "loop").symlink_to("loop")


def whole(folder, source):
    """Whether all pictures that a command has left in `folder` can be read."""
    old = {path.relative_to(source).as_posix() for path in source.rglob("*")}
    for path in folder.rglob("*.png"):
        if path.is_file() and path.relative_to(folder).as_posix() not in old:
            read_picture(path)


def command(path, folder):
    """The same by the real command line, with the help of a network of ours."""
    program, *words = json.loads(path.read_bytes())
    prepare(path.parent / "seeds", folder)
    words = [word.replace("\0", "") for word in words]
    return [*(["-m", program] if program == "common.video" else [ROOT / program]), *words]


# ---- In the place of what takes long


class Nothing:
    """In the place of a network: black pictures of the right size."""

    device, precision, working_set = "cpu", "fp32", 1 << 24

    def __init__(self, spec, tensors, device, precision):
        self.spec = spec

    def load(self, tensors):
        pass

    def __call__(self, windows):
        spec = self.spec
        rows, columns = ((side - 2 * spec.margin) * spec.factor for side in windows.shape[1:3])
        return np.zeros((len(windows), rows, columns, spec.channels), np.float32)


class replaced:
    """Inside, no framework is loaded, nothing is trained, and each error that is no sentence of ours is raised."""

    def __init__(self, folder):
        tqdm.set_lock(threading.RLock())  # its own is shared with processes that are killed here
        runtime = SimpleNamespace(Runtime=Nothing, use_threads=lambda number: None, Group=lambda *_: Alone())
        report = {"steps": 1, "seconds": 1.0, "samples_per_second": 1.0, "validation": [], "weights": "w.safetensors"}
        pictures = [folder / "photos" / "a.png"]
        self.new = [
            (backend, "load", lambda framework, part: runtime),
            (training, "train", lambda run, progress, group: report),
            (experiments, "write_photographs", lambda scratch: pictures),
            (samples, "photograph", lambda name: read_picture(pictures[0])),
            (cli, "sentence", strict_sentence),
            (experiments, "sentence", strict_sentence),
        ]

    def __enter__(self):
        self.old = [(place, name, getattr(place, name)) for place, name, _ in self.new]
        for place, name, value in self.new:
            setattr(place, name, value)

    def __exit__(self, *_):
        for place, name, value in self.old:
            setattr(place, name, value)


_sentence = sentence


def strict_sentence(error):
    """`sentence` for errors that were meant; any other is raised."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    ours = type(error) in (ValueError, RuntimeError) and raised_in.is_relative_to(ROOT / "common")
    meant = ours or isinstance(error, SENTENCES)
    if not meant or isinstance(error, UnicodeError):
        raise error
    return _sentence(error)
