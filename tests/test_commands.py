"""The two commands as a user meets them: what they print, write and answer, and the sentence for each mistake."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip

import main
import super_resolve
from common import __version__, cli, experiments
from common.images import Picture, find_pictures, read_picture, write_picture
from common.networks import network
from common.progress import ProgressBar
from common.weights import Weights, initial_tensors, load_weights, save_weights

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {"main.py": main, "super_resolve.py": super_resolve}
SMALL = {"widths": (4, 4)}
MEASURES = {"psnr", "ssim", "bicubic_psnr", "bicubic_ssim"}
TEST_REPORT = {"model", "scale", "framework", "precision", "weights", "dataset", "images", "mean"}
TRAINING_REPORT = {"steps", "seconds", "samples_per_second", "loss", "validation", "weights"}
PICTURE_REPORT = {
    "model", "scale", "framework", "device", "precision", "input", "output", "frames_in", "frames_out", "seconds",
    "fps", "stage_seconds", "tile", "working_set_mb", "peak_rss_mb", "warnings",
}  # fmt: skip


class Answer:
    """What came of a command: exit code, lines of stdout and of stderr."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.splitlines(), err.splitlines()

    @property
    def error(self):
        """The one sentence with which the command failed."""
        assert self.code == cli.FAILED
        assert len(self.err) == 1, self.err
        assert self.err[0].startswith("Error: ")
        assert self.err[0].endswith(".")
        return self.err[0].removeprefix("Error: ")


@pytest.fixture
def call(capsys):
    """A function that runs a command inside this process."""

    def run(command, *arguments):
        capsys.readouterr()
        try:
            code = command.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # how argparse ends
            code = stop.code
        return Answer(code, *capsys.readouterr())

    return run


def start(command, *arguments, folder):
    """Run a command as a user does, from `folder`."""
    line = [sys.executable, str(ROOT / command), *map(str, arguments)]
    ended = subprocess.run(line, cwd=folder, capture_output=True, encoding="utf-8", env={**os.environ, "LC_ALL": "C"})
    return Answer(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of random weights of small networks by (model, scale)."""
    files = {}
    for name, scale in (("espcn", 3), ("espcn", 2), ("srcnn", 3)):
        spec = network(name, scale=scale, **SMALL)
        files[name, scale] = tmp_path_factory.mktemp("weights") / f"{name}_x{scale}.safetensors"
        save_weights(files[name, scale], Weights(name, spec, initial_tensors(spec, 0)))
    return files


@pytest.fixture
def picture(tmp_path, make_pixels):
    """A small colour PNG."""
    path = tmp_path / "in.png"
    write_picture(path, Picture(make_pixels(15, 20)))
    return path


@pytest.fixture
def folder(tmp_path, make_pixels):
    """A folder with a colour and a grey picture, both larger than a tile or two."""
    path = tmp_path / "pictures"
    write_picture(path / "colour.png", Picture(make_pixels(60, 72)))
    write_picture(path / "grey.png", Picture(make_pixels(48, 51, 1)))
    return path


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def strictly_read(path):
    """JSON as every reader understands it: NaN and Infinity are none."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


# ---- Both commands


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_without_loading_anything_heavy(command, tmp_path):
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('LOADED', *sys.modules))\n"
        f"sys.argv = [{command!r}, '--help']\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(ROOT / command)!r}, run_name='__main__')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == cli.DONE, ended.stderr
    shown, loaded = ended.stdout.split("LOADED ")
    assert "usage:" in shown
    assert "--model" in shown
    assert not {"torch", "tensorflow", "keras", "numpy", "h5py", "cv2", "PIL", "av", "skimage"} & set(loaded.split())


def test_common_loads_no_framework(tmp_path):
    names = [path.stem for path in (ROOT / "common").glob("*.py") if path.stem != "__init__"]
    code = "import importlib, sys\n" + "".join(f"importlib.import_module('common.{name}')\n" for name in names)
    ended = subprocess.run(
        [sys.executable, "-c", code + "print(*sys.modules)"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "tensorflow", "keras"} & set(ended.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_version(command, call):
    answer = call(COMMANDS[command], "--version")
    assert answer.code == cli.DONE
    assert answer.out == [__version__]


@pytest.mark.parametrize("wrong", [["--colour"], ["--scale", "0"], ["--scale", "two"], ["--model", "resnet"],
                                   ["--framework", "jax"], ["--device", "tpu"]])  # fmt: skip
@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_exits_with_2(command, wrong, call):
    answer = call(COMMANDS[command], *wrong)
    assert answer.code == cli.USAGE
    assert answer.out == []
    assert wrong[0] in answer.err[-1]


@pytest.mark.parametrize(
    "wrong",
    [["--stride", "0"], ["--stride", "-3"], ["--steps", "1.5"], ["--learning_rate", "nan"], ["--c_dim", "2"],
     ["--variant", "widths"], ["--variant", "=3"], ["--minutes", "inf"]],
)  # fmt: skip
def test_wrong_numbers_of_main_exit_with_2(wrong, call):
    assert call(main, *wrong).code == cli.USAGE


@pytest.mark.parametrize("tile", ["big", "-5", "1.5", ""])
def test_wrong_tiles_exit_with_2(tile, call):
    assert call(super_resolve, f"--tile={tile}").code == cli.USAGE


WORDS = {"True": True, "true": True, "TRUE": True, "1": True, "yes": True, "False": False, "false": False, "0": False,
         "no": False}  # fmt: skip


@pytest.mark.parametrize(("word", "meaning"), WORDS.items())
@pytest.mark.parametrize("form", ["joined", "apart"])
def test_words_of_is_train(form, word, meaning):
    line = [f"--is_train={word}"] if form == "joined" else ["--is_train", word]
    assert main.parser().parse_args(line).is_train is meaning


def test_is_train_alone_or_not_at_all_means_training():
    assert main.parser().parse_args(["--is_train", "--stride=14"]).is_train is True
    assert main.parser().parse_args([]).is_train is True


@pytest.mark.parametrize("word", ["maybe", "2", "Falsch", ""])
def test_other_words_of_is_train_exit_with_2(word, call):
    answer = call(main, f"--is_train={word}")
    assert answer.code == cli.USAGE
    assert "neither true nor false" in answer.err[-1]


def test_the_original_flags_and_defaults():
    defaults = vars(main.parser().parse_args([]))
    assert defaults["model"] == "srcnn"
    assert defaults["framework"] == "tensorflow"
    assert (defaults["scale"], defaults["c_dim"]) == (3, 1)
    recipe = experiments.changed(network("srcnn").recipe, main.parser().parse_args([]))
    assert (recipe.batch_size, recipe.image_size, recipe.label_size, recipe.stride) == (128, 33, 21, 14)
    line = "--epoch 2 --batch_size 64 --image_size 21 --label_size 9 --learning_rate 0.001 --checkpoint_dir a"
    recipe = experiments.changed(network("srcnn").recipe, main.parser().parse_args([*line.split(), "--sample_dir=b"]))
    assert (recipe.batch_size, recipe.image_size, recipe.label_size, recipe.learning_rate) == (64, 21, 9, 0.001)


def test_defaults_of_super_resolve():
    defaults = super_resolve.parser().parse_args([])
    assert (defaults.model, defaults.scale, defaults.framework, defaults.tile) == ("espcn", 3, "torch", "auto")


@pytest.mark.parametrize(
    "problem",
    [ValueError("bad"), RuntimeError("two lines\nof trouble"), KeyError("key"), OSError(28, "No space left", "out.png"),
     MemoryError(), AssertionError()],
    ids=repr,
)  # fmt: skip
def test_whatever_goes_wrong_is_one_sentence(problem, call, monkeypatch):
    def failing(arguments):
        raise problem

    monkeypatch.setattr(super_resolve, "super_resolve", failing)
    assert call(super_resolve).error


def test_ctrl_c_exits_with_130(call, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "test", interrupted)
    answer = call(main, "--is_train=False")
    assert answer.code == cli.INTERRUPTED
    assert len(answer.err) == 1


# ---- super_resolve.py


@pytest.mark.parametrize(("model", "scale"), [("espcn", 3), ("espcn", 2), ("srcnn", 3)])
def test_a_picture_becomes_larger(model, scale, picture, weights, call, tmp_path):
    target = tmp_path / "out.png"
    before = picture.read_bytes()
    answer = call(super_resolve, "--model", model, "--scale", scale, "--weights", weights[model, scale], picture,
                  "--output", target)  # fmt: skip
    assert answer.code == cli.DONE
    assert answer.out[-1] == str(target)
    assert read_picture(target).pixels.shape == (15 * scale, 20 * scale, 3)
    assert picture.read_bytes() == before
    assert files_in(tmp_path) == ["in.png", "out.png"]


def test_the_command_as_a_program(picture, weights, tmp_path):
    answer = start("super_resolve.py", "in.png", "--weights", weights["espcn", 3], folder=tmp_path)
    assert (answer.code, answer.err) == (cli.DONE, [])
    (result,) = set(files_in(tmp_path)) - {"in.png"}
    assert answer.out[-1] == str((tmp_path / result).resolve())
    assert "in" in result


def test_a_failure_as_a_program(tmp_path):
    answer = start("super_resolve.py", "missing.png", folder=tmp_path)
    assert "missing.png" in answer.error
    assert answer.out == []


@pytest.mark.parametrize("flag", [[], ["--input"]], ids=["bare", "--input"])
def test_the_result_lies_beside_the_input(flag, picture, weights, call):
    answer = call(super_resolve, *flag, picture, "--weights", weights["espcn", 3], "--quiet")
    assert (answer.code, answer.err) == (cli.DONE, [])
    (line,) = answer.out  # --quiet prints nothing else
    assert Path(line).parent == picture.parent
    assert Path(line) != picture
    assert read_picture(line).pixels.shape == (45, 60, 3)


def test_without_an_input_a_photograph_of_ours_is_used(weights, call, tmp_path):
    answer = call(super_resolve, "--weights", weights["espcn", 3], "--output", tmp_path / "out.png")
    assert answer.code == cli.DONE
    assert answer.out[-1] == str(tmp_path / "out.png")
    assert sum("dB" in line for line in answer.out) == 2  # bicubic and ours


@pytest.mark.parametrize("name", ["Ömer mit Käse.png", "写真.png", "снимок.png", "100%.png", "a 'b'.png", "🙂.png"])
def test_any_file_name_will_do(name, picture, weights, call):
    path = picture.rename(picture.with_name(name))
    answer = call(super_resolve, path, "--weights", weights["espcn", 3])
    assert answer.code == cli.DONE
    assert Path(answer.out[-1]).is_file()
    assert Path(answer.out[-1]).name.startswith(path.stem)


def test_file_names_of_any_script_are_printed_whatever_the_locale(picture, weights, tmp_path):
    path = picture.rename(picture.with_name("写真.png"))
    answer = start("super_resolve.py", path, "--weights", weights["espcn", 3], folder=tmp_path)
    assert answer.code == cli.DONE
    assert "写真" in answer.out[-1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
def test_depth_and_alpha_come_out(depth, channels, make_pixels, weights, call, tmp_path):
    alpha = make_pixels(9, 12, 1, depth, seed=1)[..., 0]
    write_picture(tmp_path / "in.png", Picture(make_pixels(9, 12, channels, depth), alpha))
    call(super_resolve, tmp_path / "in.png", "--weights", weights["espcn", 3], "--output", tmp_path / "out.png")
    result = read_picture(tmp_path / "out.png")
    assert result.pixels.shape == (27, 36, channels)
    assert result.pixels.dtype.itemsize * 8 == depth
    assert result.alpha.shape == (27, 36)


@pytest.mark.parametrize("tile", [0, 7, 16])
def test_tiles_give_the_same_picture(tile, picture, weights, call, tmp_path):
    line = [picture, "--weights", weights["espcn", 3], "--output"]
    call(super_resolve, *line, tmp_path / "auto.png")
    call(super_resolve, *line, tmp_path / "tiled.png", "--tile", tile)
    first, second = (read_picture(tmp_path / name).pixels.astype(int) for name in ("auto.png", "tiled.png"))
    assert np.abs(first - second).max() <= 1


def test_report_of_a_picture(picture, weights, call, tmp_path):
    call(super_resolve, picture, "--weights", weights["espcn", 3], "--report", tmp_path / "r" / "report.json")
    report = strictly_read(tmp_path / "r" / "report.json")
    assert set(report) == PICTURE_REPORT
    assert set(report["stage_seconds"]) == {"decode", "network", "encode"}
    assert (report["model"], report["scale"], report["framework"]) == ("espcn", 3, "torch")
    assert (report["frames_in"], report["frames_out"], report["warnings"]) == (1, 1, [])
    assert Path(report["output"]).is_file()
    assert report["device"] in ("cpu", "cuda")
    assert report["peak_rss_mb"] > 10
    assert report["working_set_mb"] > 0 and len(report["tile"]) == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process from its parent")
def test_the_memory_reported_is_not_that_of_who_started_it():
    held = bytes(range(256)) * (1 << 20)  # 256 MB
    code = "from common.jobs import peak_memory; print(peak_memory())"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert float(ended.stdout) < len(held) / 2**20


def test_the_working_set_is_printed(picture, weights, call, tmp_path):
    line = [picture, "--weights", weights["espcn", 3], "--output", tmp_path / "out.png", "--overwrite"]
    said = call(super_resolve, *line).out[-2]
    assert re.fullmatch(r"espcn x3 by torch on \w+ in \w+, in tiles of up to .* MB of feature maps\.", said)
    assert call(super_resolve, *line, "--quiet").out == [str(tmp_path / "out.png")]


@pytest.fixture
def kept_bf16(tmp_path):
    """The weights of a small network that loses nothing in bf16."""
    path, spec = tmp_path / "srresnet.safetensors", network("srresnet", blocks=1, width=4)
    save_weights(path, Weights("srresnet", spec, initial_tensors(spec, 0)))
    return path


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_auto_is_bf16_where_nothing_is_lost(framework, able, picture, weights, kept_bf16, call, tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: fpu avx512f {'avx512_bf16 ' if able else ''}avx512_vnni\n")
    monkeypatch.setattr("common.processor.CPUINFO", cpuinfo)
    line = [picture, "--framework", framework, "--device", "cpu", "--report", tmp_path / "report.json", "--overwrite"]
    kept, kept_by_torch = ("bf16" if able and by in ("either", framework) else "fp32" for by in ("either", "torch"))
    cases = [("srresnet", kept_bf16, [], kept), ("espcn", weights["espcn", 3], [], kept_by_torch),
             ("srresnet", kept_bf16, ["--precision", "fp32"], "fp32")]  # fmt: skip
    for model, file, flags, expected in cases:
        answer = call(super_resolve, *line, *flags, "--model", model, "--weights", file)
        assert f"on cpu in {expected}," in answer.out[-2]
        assert strictly_read(tmp_path / "report.json")["precision"] == expected


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_bf16_gives_the_same_picture_from_run_to_run(framework, picture, kept_bf16, call, tmp_path):
    line = [picture, "--model", "srresnet", "--weights", kept_bf16, "--framework", framework, "--precision", "bf16"]
    for name in ("first.png", "second.png"):
        assert call(super_resolve, *line, "--output", tmp_path / name).code == cli.DONE
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_every_precision_draws_nearly_the_same_picture(framework, picture, kept_bf16, call, tmp_path):
    (choices,) = (action.choices for action in super_resolve.parser()._actions if action.dest == "precision")
    drawn = {}
    for precision in choices:
        line = ["--model", "srresnet", "--weights", kept_bf16, "--framework", framework, "--precision", precision]
        answer = call(super_resolve, picture, *line, "--output", tmp_path / f"{precision}.png")
        assert answer.code == cli.DONE, answer.err
        drawn[precision] = read_picture(tmp_path / f"{precision}.png").pixels.astype(int)
    assert all(np.abs(pixels - drawn["fp32"]).max() <= 4 for pixels in drawn.values())


def test_what_a_format_cannot_hold_is_warned_of(picture, weights, call, tmp_path):
    write_picture(picture, Picture(np.full((8, 8, 3), 9, np.uint8), np.eye(8, dtype=np.uint8)), overwrite=True)
    answer = call(super_resolve, picture, "--weights", weights["espcn", 3], "--output", tmp_path / "out.jpg",
                  "--report", tmp_path / "report.json")  # fmt: skip
    assert answer.code == cli.DONE
    assert len(strictly_read(tmp_path / "report.json")["warnings"]) == len(answer.err) == 1
    assert answer.err[0].startswith("Warning: ")


def test_an_existing_result_is_not_replaced_unless_asked(picture, weights, call, tmp_path):
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")
    line = [picture, "--weights", weights["espcn", 3], "--output", target]
    assert "--overwrite" in call(super_resolve, *line).error
    assert target.read_bytes() == b"precious"
    assert call(super_resolve, *line, "--overwrite").code == cli.DONE
    assert read_picture(target).pixels.shape == (45, 60, 3)


def same_path(path):
    return path


def symbolic_link(path):
    link = path.with_name("link.png")
    link.symlink_to(path)
    return link


def hard_link(path):
    link = path.with_name("hard.png")
    link.hardlink_to(path)
    return link


@pytest.mark.parametrize("way", [same_path, symbolic_link, hard_link])
def test_the_input_is_never_written_to(way, picture, weights, call):
    before = picture.read_bytes()
    answer = call(super_resolve, picture, "--weights", weights["espcn", 3], "--output", way(picture), "--overwrite")
    assert "input itself" in answer.error
    assert picture.read_bytes() == before


def test_the_report_is_not_written_over_the_input(picture, weights, call):
    before = picture.read_bytes()
    answer = call(super_resolve, picture, "--weights", weights["espcn", 3], "--report", picture)
    assert picture.read_bytes() == before
    assert answer.code != cli.DONE


def mistakes(tmp_path, picture, weights):
    """(words that the sentence must hold, arguments) of each mistake."""
    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "text.png"
    text.write_text("no picture", encoding="utf-8")
    half = tmp_path / "half.png"
    write_picture(half, read_picture(picture))
    cut_in_half(half)
    x2, ours = ["--weights", weights["espcn", 2]], ["--weights", weights["espcn", 3]]
    return {
        "missing input": ("nowhere.png", [tmp_path / "nowhere.png", *ours]),
        "missing input with a percent sign": ("100%.png", [tmp_path / "100%.png", *ours]),
        "no picture": ("text.png", [text, *ours]),
        "truncated picture": ("half.png", [half, *ours]),
        "empty folder": ("no pictures", [empty, *ours]),
        "folder onto itself": ("themselves", [tmp_path, "--output", tmp_path, *ours]),
        "unknown suffix": ("out.xyz", [picture, "--output", tmp_path / "out.xyz", *ours]),
        "no suffix": ("picture format", [picture, "--output", tmp_path / "out", *ours]),
        "folder for a picture": ("empty", [picture, "--output", empty, *ours]),
        "missing weights": ("none.safetensors", [picture, "--weights", tmp_path / "none.safetensors"]),
        "weights that are a picture": ("in.png", [picture, "--weights", picture]),
        "weights of another scale": ("espcn x2, not espcn x3", [picture, *x2]),
        "weights of another network": ("espcn x2, not srcnn x2", [picture, "--model=srcnn", "--scale=2", *x2]),
        "scale without weights": ("ESPCN enlarges by 2, 3 or 4, not 7", [picture, "--scale", "7"]),
        "report in a file's place": ("in.png", [picture, *ours, "--report", picture / "report.json"]),
    }


MISTAKES = [
    "missing input", "missing input with a percent sign", "no picture", "truncated picture",
    "empty folder", "folder onto itself", "unknown suffix", "no suffix", "folder for a picture", "missing weights",
    "weights that are a picture", "weights of another scale", "weights of another network", "scale without weights",
    "report in a file's place",
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_has_its_sentence(mistake, picture, weights, call, tmp_path):
    words, line = mistakes(tmp_path, picture, weights)[mistake]
    before = set(files_in(tmp_path))
    answer = call(super_resolve, *line)
    assert words in answer.error
    if mistake != "report in a file's place":
        assert answer.out == []
        assert set(files_in(tmp_path)) == before


def test_the_input_given_twice_is_wrong_usage(call, picture, weights):
    answer = call(super_resolve, picture, "--input", picture, "--weights", weights)
    assert answer.code == cli.USAGE
    assert "given twice" in answer.err[-1]


@pytest.mark.parametrize("line", [[""], ["--input", ""], ["in.png", "--output", ""]], ids=str)
def test_an_empty_path_is_wrong_usage(line, call):
    answer = call(super_resolve, *line)
    assert answer.code == cli.USAGE
    assert "the path is empty" in answer.err[-1]


def test_a_report_that_cannot_be_written_is_noticed_before_the_work(call, picture, weights, tmp_path):
    line = [picture, "--scale", "3", "--weights", weights, "--output", tmp_path / "out.png"]
    assert "report" in call(super_resolve, *line, "--report", picture / "r.json").error
    assert not (tmp_path / "out.png").exists()


def test_debug_shows_the_traceback(call, tmp_path):
    answer = call(super_resolve, tmp_path / "nowhere.png", "--debug")
    assert answer.code == cli.FAILED
    assert answer.err[0].startswith("Traceback")
    assert answer.err[-1].startswith("Error: ")


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_gpu_that_is_not_there(framework, picture, weights, call, monkeypatch):
    if framework == "torch":
        monkeypatch.setattr(pytest.importorskip("torch").cuda, "is_available", lambda: False)
    else:
        monkeypatch.setattr(pytest.importorskip("tensorflow").config, "list_physical_devices", lambda kind: [])
    answer = call(super_resolve, picture, "--weights", weights["espcn", 3], "--device=cuda", "--framework", framework)
    assert "CUDA" in answer.error


def test_a_framework_that_is_not_installed(picture, weights, call, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = call(super_resolve, picture, "--weights", weights["espcn", 3])
    assert "torch is not installed" in answer.error


def test_a_folder_of_pictures(folder, weights, call, tmp_path):
    (folder / "notes.txt").write_text("no picture by its name", encoding="utf-8")
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--output", tmp_path / "out", "--report",
                  tmp_path / "report.json")  # fmt: skip
    assert answer.code == cli.DONE
    assert answer.out[-1] == str(tmp_path / "out")
    assert files_in(tmp_path / "out") == ["colour.png", "grey.png"]
    assert read_picture(tmp_path / "out" / "colour.png").pixels.shape == (180, 216, 3)
    assert read_picture(tmp_path / "out" / "grey.png").pixels.shape == (144, 153, 1)
    report = strictly_read(tmp_path / "report.json")
    assert (report["frames_in"], report["frames_out"]) == (2, 2)


def test_a_damaged_picture_does_not_stop_the_others(folder, weights, call, tmp_path):
    write_picture(folder / "damaged.png", read_picture(folder / "grey.png"))
    cut_in_half(folder / "damaged.png")
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--output", tmp_path / "out", "--quiet",
                  "--report", tmp_path / "report.json")  # fmt: skip
    assert answer.code == cli.FAILED
    assert answer.err[-1].startswith("Error: 1 of 3")
    assert sum("damaged.png" in line for line in answer.err) == 1
    assert answer.out == [str(tmp_path / "out")]
    assert files_in(tmp_path / "out") == ["colour.png", "grey.png"]
    report = strictly_read(tmp_path / "report.json")
    assert (report["frames_in"], report["frames_out"], len(report["warnings"])) == (3, 2, 1)


def test_a_folder_with_a_result_already_there_is_refused_at_once(folder, weights, call, tmp_path):
    write_picture(tmp_path / "out" / "grey.png", read_picture(folder / "grey.png"))
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--output", tmp_path / "out", "--quiet")
    assert "grey.png exists already" in answer.error
    assert files_in(tmp_path / "out") == ["grey.png"]


def test_two_pictures_for_one_result_are_refused(folder, weights, call):
    (folder / "grey.gif").write_bytes(b"GIF89a")
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--quiet")
    assert "grey.png" in answer.error


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), MemoryError()], ids=repr)
def test_what_stops_a_folder_is_said_on_a_line_of_its_own(problem, folder, weights, call, tmp_path, monkeypatch):
    def failing(path):
        raise problem

    monkeypatch.setattr("common.stills.read_picture", failing)
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--output", tmp_path / "out")
    assert answer.code == (cli.INTERRUPTED if isinstance(problem, KeyboardInterrupt) else cli.FAILED)
    assert answer.err[-1].startswith(("Interrupted.", "Error: "))


ODD_NAMES = (
    "-x.png",
    "--help.png",
    "a b.png",
    "%05d.png",
    "<b>.png",
    "two\nlines.png",
    "²1.png",
    "é.png",
    "$HOME;ls.png",
)


@pytest.mark.parametrize("inside", [False, True])
def test_names_in_a_folder_are_names_and_nothing_else(inside, folder, weights, call, tmp_path, monkeypatch):
    for name in ODD_NAMES:
        shutil.copy(folder / "grey.png", folder / name)
    monkeypatch.chdir(folder if inside else tmp_path)
    source = "." if inside else "pictures"
    line = ["--weights", weights["espcn", 3], "--output", tmp_path / "out", "--compare", tmp_path / "page.html"]
    answer = call(super_resolve, source, *line, "--quiet")
    assert answer.code == cli.DONE, answer.err
    assert files_in(tmp_path / "out") == sorted([*ODD_NAMES, "colour.png", "grey.png"])
    assert "<b>.png" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_name_that_looks_like_an_option(picture, weights, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture.rename("-x.png")
    line = ["--weights", weights["espcn", 3], "--quiet"]
    assert call(super_resolve, *line, "-x.png").code == cli.USAGE
    for words in (["--", "-x.png"], ["--input=-x.png"], ["./-x.png"]):
        assert call(super_resolve, *line, "--overwrite", "--output=-y.png", *words).code == cli.DONE
    assert files_in(tmp_path) == ["-x.png", "-y.png"]


def test_a_folder_with_links_and_other_things_in_it(folder, weights, call, tmp_path):
    shutil.move(folder / "grey.png", tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to("../elsewhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "nowhere.png").symlink_to("nothing.png")
    (folder / "folder.png").mkdir()
    (folder / "round").symlink_to(".")
    os.mkfifo(folder / "pipe.png")
    before = (tmp_path / "elsewhere.png").read_bytes()
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--output", tmp_path / "out", "--quiet")
    assert answer.code == cli.DONE
    assert files_in(tmp_path / "out") == ["colour.png", "link.png"]
    assert (tmp_path / "elsewhere.png").read_bytes() == before


def test_results_inside_the_folder_of_the_pictures_are_not_enlarged_again(folder, weights, call):
    for _ in range(2):
        line = ["--weights", weights["espcn", 3], "--output", folder / "larger", "--overwrite", "--quiet"]
        assert call(super_resolve, folder, *line).code == cli.DONE
        assert files_in(folder) == ["colour.png", "grey.png", "larger/colour.png", "larger/grey.png"]


@pytest.mark.parametrize("way", ["pictures/../pictures", "pictures/.", "link", "pictures/round"])
def test_the_folder_of_the_pictures_by_another_name(way, folder, weights, call, tmp_path):
    (tmp_path / "link").symlink_to("pictures")
    (folder / "round").symlink_to(".")
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--output", tmp_path / way, "--overwrite")
    assert "the folder of the pictures themselves" in answer.error


def test_a_result_is_never_written_through_a_link(folder, weights, call, tmp_path):
    precious = (folder / "colour.png").read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "grey.png").symlink_to(folder / "colour.png")
    (tmp_path / "out" / "colour.png").symlink_to("nothing.png")
    line = [folder, "--weights", weights["espcn", 3], "--output", tmp_path / "out", "--quiet"]
    assert "exists already" in call(super_resolve, *line).error
    assert call(super_resolve, *line, "--overwrite").code == cli.DONE
    assert (folder / "colour.png").read_bytes() == precious
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_a_picture_that_vanishes_meanwhile_does_not_stop_the_others(folder, weights, call, tmp_path, monkeypatch):
    def vanishing(place):
        pictures = find_pictures(place)
        pictures[0].unlink()
        return pictures

    monkeypatch.setattr("common.stills.find_pictures", vanishing)
    answer = call(super_resolve, folder, "--weights", weights["espcn", 3], "--output", tmp_path / "out", "--quiet")
    assert answer.err[-1] == "Error: 1 of 2 pictures could not be enlarged."
    assert sum("colour.png does not exist" in line for line in answer.err) == 1
    assert files_in(tmp_path / "out") == ["grey.png"]


def test_the_root_of_the_file_system_has_no_place_beside_it(weights, call, monkeypatch, folder):
    monkeypatch.setattr("common.stills.find_pictures", lambda place: find_pictures(folder))
    assert "give an --output" in call(super_resolve, "/", "--weights", weights["espcn", 3]).error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("program", ["super_resolve.py", "common.video"])
def test_an_output_that_is_full(program, unbuffered, picture, weights, tmp_path):
    make_clip(tmp_path / "in.mkv", range(0, 120, 40), width=48, height=32)
    line = [ROOT / program, picture, "--weights", weights["espcn", 3], "--quiet", "--output", tmp_path / "out.png"]
    line = line if program == "super_resolve.py" else ["-m", program, "info", tmp_path / "in.mkv"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, *line], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, text=True, env=environment
        )
    assert ended.returncode == cli.FAILED
    assert ended.stderr.lower() == "error: no space left on device.\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_that_nobody_can_write_to(picture, weights, call):
    line = [picture, "--weights", weights["espcn", 3], "--quiet"]
    for more in (["--output", "/proc/out.png"], ["--report", "/proc/out.json"], ["--compare", "/proc/out.html"]):
        error = call(super_resolve, *line, *more, "--overwrite").error
        assert "/proc/out" in error and ".part" not in error
    make_clip(picture.with_name("in.mkv"), range(0, 120, 40), width=48, height=32)
    line[0] = picture.with_name("in.mkv")
    for target in ("/proc/out.mkv", "/proc/out/%05d.png"):
        error = call(super_resolve, *line, "--output", target).error
        assert "cannot be written" in error and ".part" not in error


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (super_resolve, ["--threads", "1000000"]),
        (super_resolve, ["--scale", "99999999999999999999"]),
        (main, ["--batch_size", "99999999999999999999"]),
        (main, ["--seed", "99999999999999999999"]),
    ],
)
def test_absurd_numbers_are_wrong_usage(command, line, call):
    assert call(command, *line).code == cli.USAGE


# ---- main.py --is_train=False


def measured(call, folder, weights, tmp_path, *more, model="espcn", name="samples"):
    """(answer, report, sample folder) of a test on `folder`."""
    samples, report = tmp_path / name, tmp_path / f"{name}.json"
    answer = call(main, "--is_train=False", "--framework=torch", "--model", model, "--weights", weights[model, 3],
                  "--test_dir", folder, "--sample_dir", samples, "--report", report, *more)  # fmt: skip
    return answer, strictly_read(report) if report.exists() else None, samples


@pytest.mark.parametrize("model", ["espcn", "srcnn"])
def test_the_stride_of_a_test_changes_nothing(model, folder, weights, call, tmp_path):
    runs = [
        measured(call, folder, weights, tmp_path, f"--stride={stride}", model=model, name=f"s{stride}")
        for stride in (14, 21)
    ]
    (_, first, ours), (_, second, theirs) = runs
    assert files_in(ours) == files_in(theirs)
    for name in files_in(ours):
        difference = read_picture(ours / name).pixels.astype(int) - read_picture(theirs / name).pixels
        assert np.abs(difference).max() <= 1
    for one, other in zip(first["images"], second["images"], strict=True):
        assert one["psnr"] == pytest.approx(other["psnr"], abs=1e-3)


def test_a_test_prints_and_saves_its_results(folder, weights, call, tmp_path):
    answer, report, samples = measured(call, folder, weights, tmp_path)
    assert answer.code == cli.DONE
    assert answer.out[-1] == str(samples)
    assert set(report) == TEST_REPORT
    assert all(set(row) == {"name", *MEASURES} for row in report["images"])
    assert [row["name"] for row in report["images"]] == ["colour.png", "grey.png"]
    assert set(report["mean"]) == MEASURES
    for key in MEASURES:
        assert report["mean"][key] == pytest.approx(np.mean([row[key] for row in report["images"]]))
    assert (report["model"], report["scale"], report["framework"]) == ("espcn", 3, "torch")
    assert report["weights"] == str(weights["espcn", 3])
    assert report["dataset"] == str(folder)
    for row in report["images"]:
        (line,) = (line for line in answer.out if line.startswith(row["name"]))
        assert f"{row['psnr']:.2f}" in line
        assert f"{row['bicubic_psnr']:.2f}" in line
    assert sorted(read_picture(samples / name).pixels.shape for name in files_in(samples)) == [(48, 51, 1), (60, 72, 3)]


@pytest.mark.parametrize(("flags", "expected"), [([], "fp32"), (["--precision", "bf16"], "bf16")])
def test_a_test_is_in_fp32_unless_asked(flags, expected, kept_bf16, folder, call, tmp_path, monkeypatch):
    monkeypatch.setattr("torch_models.runtime.computes_bf16", lambda: True)
    _, report, _ = measured(call, folder, {("srresnet", 3): kept_bf16}, tmp_path, *flags, model="srresnet")
    assert report["precision"] == expected


def test_a_sample_is_what_was_measured(folder, weights, call, tmp_path):
    from common.metrics import psnr

    _, report, samples = measured(call, folder, weights, tmp_path)
    (name,) = (name for name in files_in(samples) if name.startswith("grey"))
    truth, sample = (read_picture(path).pixels[3:-3, 3:-3] for path in (folder / "grey.png", samples / name))
    assert psnr(truth, sample, peak=255) == pytest.approx(report["images"][1]["psnr"], abs=1e-3)


def test_pictures_of_one_stem_get_a_sample_each(folder, weights, call, tmp_path):
    write_picture(folder / "grey.bmp", read_picture(folder / "grey.png"))
    _, report, samples = measured(call, folder, weights, tmp_path)
    assert len(report["images"]) == len(files_in(samples)) == 3


def test_a_test_names_what_it_skips(folder, weights, call, tmp_path, make_pixels):
    (folder / "damaged.png").write_bytes(b"no picture")
    write_picture(folder / "tiny.png", Picture(make_pixels(5, 5)))
    answer, report, _ = measured(call, folder, weights, tmp_path)
    assert [row["name"] for row in report["images"]] == ["colour.png", "grey.png"]
    assert any("damaged.png" in line for line in answer.err)
    assert any("tiny.png" in line for line in answer.err)


@pytest.mark.parametrize("side", [9, 30])
def test_a_report_is_json_even_where_a_figure_is_undefined(side, weights, call, tmp_path):
    """A picture of one grey is enlarged without error; one smaller than the window of SSIM has none."""
    write_picture(tmp_path / "pictures" / "plain.png", Picture(np.full((side, side, 1), 128, np.uint8)))
    answer, report, _ = measured(call, tmp_path / "pictures", weights, tmp_path)
    assert answer.code == cli.DONE
    assert [row["name"] for row in report["images"]] == ["plain.png"]


TEST_MISTAKES = {
    "missing folder": ("nowhere", ["--test_dir", "nowhere"]),
    "empty folder": ("no pictures", ["--test_dir", "empty"]),
    "missing weights": ("none.safetensors", ["--weights", "none.safetensors"]),
    "weights of another network": ("espcn x3, not srcnn x3", ["--model", "srcnn"]),
    "weights of another scale": ("espcn x3, not espcn x2", ["--scale", "2"]),
}


@pytest.mark.parametrize("mistake", TEST_MISTAKES)
def test_each_mistake_of_a_test_has_its_sentence(mistake, folder, weights, call, tmp_path, monkeypatch):
    words, line = TEST_MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    answer = call(main, "--is_train=False", "--framework=torch", "--model=espcn", "--weights", weights["espcn", 3],
                  "--test_dir", folder, *line)  # fmt: skip
    assert words in answer.error
    assert not Path("samples").exists()


# ---- main.py --is_train=True


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_pixels):
    """(folder, exit code, report) of a short training run on six small pictures."""
    folder = tmp_path_factory.mktemp("training")
    for number in range(6):
        write_picture(folder / "pictures" / f"{number}.png", Picture(make_pixels(60, 66, seed=number)))
    code = main.main(training_line(folder))
    return folder, code, strictly_read(folder / "report.json")


def training_line(folder, *more):
    words = "--is_train=True --stride=14 --model espcn --framework torch --device cpu --steps 6 --batch_size 4"
    words += " --image_size 16 --variant widths=4-4"
    paths = {"--train_dir": "pictures", "--checkpoint_dir": "checkpoint", "--report": "report.json"}
    return [*words.split(), *(part for flag, name in paths.items() for part in (flag, str(folder / name))), *more]


def test_report_of_a_training_run(trained):
    _, code, report = trained
    assert code == cli.DONE
    assert set(report) == TRAINING_REPORT
    assert report["steps"] == 6
    assert report["loss"][-1][0] == report["validation"][-1][0] == 6
    assert all(np.isfinite(value) for _, value in report["loss"] + report["validation"])


def test_training_writes_weights_that_can_be_used(trained, picture, call, tmp_path):
    _, _, report = trained
    weights = load_weights(report["weights"])
    assert weights.network == network("espcn", scale=3, **SMALL)
    answer = call(super_resolve, picture, "--weights", report["weights"], "--output", tmp_path / "out.png")
    assert answer.code == cli.DONE


def test_training_builds_a_data_set_at_the_stride(trained):
    h5py = pytest.importorskip("h5py")
    (path,) = (trained[0] / "checkpoint").glob("*.h5")
    with h5py.File(path) as file:
        assert len(file["data"]) == len(file["label"]) == 5  # pictures of 20 x 22 low-resolution pixels, one held back
        assert file.attrs["stride"] == 14


def test_a_test_uses_the_weights_just_trained(trained, folder, call, tmp_path):
    line = ["--is_train=False", "--framework=torch", "--model=espcn", "--test_dir", folder, "--checkpoint_dir"]
    line += [trained[0] / "checkpoint", "--variant=widths=4-4", "--sample_dir", tmp_path / "samples"]
    line += ["--report", tmp_path / "report.json"]
    assert call(main, *line).code == cli.DONE
    assert strictly_read(tmp_path / "report.json")["weights"] == trained[2]["weights"]


def test_a_variant_that_nobody_trained_is_not_replaced_by_another(folder, call, tmp_path):
    line = ["--is_train=False", "--framework=torch", "--model=espcn", "--test_dir", folder, "--variant=widths=5-5"]
    answer = call(main, *line, "--checkpoint_dir", tmp_path)
    assert answer.code == cli.FAILED
    assert "espcn_x3_widths-5-5" in answer.err[-1]


@pytest.mark.parametrize("words", ["--clip_norm -1", "--clip_norm nan", "--seed -1", "--epoch 1 --steps 7"])
def test_numbers_that_make_no_sense_are_wrong_usage(words, call):
    assert call(main, *words.split()).code == cli.USAGE


def test_the_last_line_of_training_is_the_weights_file(trained, call, tmp_path):
    line = training_line(trained[0], "--checkpoint_dir", str(tmp_path / "again"))
    answer = call(main, *line)
    assert answer.code == cli.DONE
    assert Path(answer.out[-1]).is_absolute()
    assert Path(answer.out[-1]).is_file()
    ours, theirs = (load_weights(path).tensors for path in (answer.out[-1], trained[0] / "checkpoint" /
                                                             Path(answer.out[-1]).name))  # fmt: skip
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)  # the same seed gives the same weights


def test_a_prepared_file_can_be_trained_on(trained, call, tmp_path):
    (path,) = (trained[0] / "checkpoint").glob("*.h5")
    before = path.read_bytes()
    answer = call(main, *training_line(trained[0], "--train_dir", str(path), "--checkpoint_dir", str(tmp_path)))
    assert answer.code == cli.DONE
    assert path.read_bytes() == before


@pytest.mark.parametrize("flags", [["--augment", "0.8"], ["--teacher", "none"], ["--stride", "3"]], ids=str)
def test_a_prepared_file_is_not_cut_anew(flags, trained, call, tmp_path):
    (path,) = (trained[0] / "checkpoint").glob("*.h5")
    answer = call(main, *training_line(trained[0], "--train_dir", str(path), "--checkpoint_dir", str(tmp_path), *flags))
    assert answer.code == cli.USAGE
    assert flags[0] in answer.err[-1]


def test_a_run_from_its_own_weights_goes_on(trained, call, tmp_path):
    """What it begins with is set aside, and is not needed any more."""
    line = training_line(tmp_path, "--train_dir", str(trained[0] / "pictures"))
    assert call(main, *line).code == cli.DONE
    (path,) = (tmp_path / "checkpoint").glob("*x3*.safetensors")
    line += ["--weights", str(path)]
    assert call(main, *line).code == cli.DONE
    path.unlink()
    answer = call(main, *line, "--resume", "--steps", "8")
    assert answer.code == cli.DONE, answer.err
    assert load_weights(path).info["start"]


@pytest.mark.parametrize("lacking", [["cv2", "av", "skimage", "PIL", "tifffile", "tensorboard"], ["PIL"]], ids=str)
def test_a_prepared_file_can_be_trained_on_where_little_is_installed(lacking, trained, tmp_path):
    (path,) = (trained[0] / "checkpoint").glob("*.h5")
    code = f"import sys\nsys.modules |= dict.fromkeys({lacking})\nimport main\nsys.exit(main.main(sys.argv[1:]))\n"
    line = training_line(trained[0], "--train_dir", str(path), "--checkpoint_dir", str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code, *line], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == cli.DONE, ended.stderr


def test_an_epoch_is_a_pass_over_the_data(trained, call, tmp_path):
    line = training_line(trained[0], "--epoch", "3", "--batch_size", "2", "--checkpoint_dir", str(tmp_path), "--report",
                         str(tmp_path / "report.json"))  # fmt: skip
    line.remove("--steps")
    line.remove("6")
    assert call(main, *line).code == cli.DONE
    assert strictly_read(tmp_path / "report.json")["steps"] == 3 * 2  # 5 sub-images, 2 a step


TRAINING_MISTAKES = {
    "missing folder": ("nowhere", ["--train_dir", "nowhere"]),
    "missing file": ("nowhere.h5", ["--train_dir", "nowhere.h5"]),
    "empty folder": ("no pictures", ["--train_dir", "empty"]),
    "impossible scale": ("ESPCN enlarges by 2, 3 or 4, not 5", ["--scale", "5"]),
    "impossible label": ("label", ["--label_size", "7"]),
    "sub-images smaller than the network sees": ("--image_size", ["--image_size", "8", "--label_size", "8"]),
    "nothing to resume": ("resume", ["--resume", "--checkpoint_dir", "fresh"]),
    "missing weights": ("none.safetensors", ["--weights", "none.safetensors"]),
    "unknown option of the network": ("depth", ["--variant", "depth=3"]),
    "unknown activation": ("sine", ["--variant", "activation=sine"]),
    "too few widths": ("widths", ["--variant", "widths=4"]),
    "too few kernels": ("kernels", ["--variant", "kernels=5-3"]),
    "sub-images of absurd size": ("1 to 2048 pixels", ["--image_size", "1000000"]),
    "absurd enlargement": ("resized", ["--augment", "1e9"]),
    "absurd shrinking": ("resized", ["--augment", "1e-300"]),
    "absurd width": ("widths", ["--variant", "widths=1000000000-4"]),
    "even kernels": ("kernels", ["--variant", "kernels=4-4-4"]),
    "a width of nothing": ("widths", ["--variant", "widths=0-4"]),
}


@pytest.mark.parametrize("mistake", TRAINING_MISTAKES)
def test_each_mistake_of_training_has_its_sentence(mistake, trained, call, tmp_path, monkeypatch):
    words, line = TRAINING_MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    answer = call(main, *training_line(trained[0], "--checkpoint_dir", "checkpoint", *line))
    assert answer.code == cli.FAILED
    errors = [line for line in answer.err if line.startswith("Error: ")]
    assert errors == answer.err[-1:]  # above it there may be bars of progress
    assert words in errors[0]
    assert not any(kind in errors[0] for kind in ("TypeError", "KeyError", "IndexError", "unpack"))
    assert not any("Traceback" in line for line in answer.err)


def test_training_does_not_start_from_weights_of_another_network(trained, weights, call, tmp_path):
    line = training_line(trained[0], "--checkpoint_dir", str(tmp_path), "--weights", str(weights["srcnn", 3]))
    answer = call(main, *line)
    assert answer.code == cli.FAILED
    assert "srcnn" in answer.err[-1]


def test_training_starts_from_weights_of_another_scale(trained, weights, call, tmp_path):
    line = training_line(trained[0], "--checkpoint_dir", str(tmp_path), "--weights", str(weights["espcn", 2]))
    assert call(main, *line).code == cli.DONE


def test_a_damaged_picture_is_named_and_counted(trained, call, tmp_path):
    for path in (trained[0] / "pictures").iterdir():
        write_picture(tmp_path / "pictures" / path.name, read_picture(path))
    cut_in_half(tmp_path / "pictures" / "0.png")
    answer = call(main, *training_line(tmp_path))
    assert answer.code == cli.DONE
    assert any("0.png" in line for line in answer.err)
    assert any("1 of 6" in line for line in answer.err)


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_threads_can_be_chosen(framework, picture, weights, call, tmp_path):
    import torch

    before = torch.get_num_threads()
    line = ["--weights", weights["espcn", 3], "--framework", framework, picture, "--output", tmp_path / "out.png"]
    try:
        assert call(super_resolve, *line, "--threads=1").code == cli.DONE
        assert framework != "torch" or torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert call(super_resolve, *line, "--threads=0").code == cli.USAGE


def test_what_was_done_before_says_nothing_of_the_time_that_is_left():
    with ProgressBar("Training") as bar:
        bar(0.75, 300, {})
        bar.bar.start_t -= 60  # a minute, in which two hundredths were done
        bar(0.77, 308, {})
        shown = bar.bar.format_dict
    rate = (shown["n"] - shown["initial"]) / shown["elapsed"]
    assert (shown["total"] - shown["n"]) / rate == pytest.approx(23 * 30, rel=0.01)  # seconds
