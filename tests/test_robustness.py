"""What the machine may do to the programs: a disk that fills up, files that vanish."""

import numpy as np
import pytest
from clips import make_clip
from limits import largest_file

import main
import super_resolve
from common import video_commands
from common.dataset import Source, build
from common.files import written_whole
from common.images import Picture, write_picture
from common.networks import network
from common.weights import Weights, initial_tensors, save_weights


@pytest.fixture
def material(tmp_path, monkeypatch):
    """A folder, which becomes the working one, with a film, pictures that hardly shrink, and weights."""
    noise = np.random.default_rng(0)
    make_clip(tmp_path / "film.mkv", range(0, 1200, 40), audio=[("aac", 1.2, {})])
    for number in range(4):
        pixels = noise.integers(0, 256, (64, 72, 3), dtype=np.uint8)
        write_picture(tmp_path / "photos" / f"{number}.png", Picture(pixels))
    spec = network("espcn", scale=2, widths=(4, 4))
    save_weights(tmp_path / "w.safetensors", Weights("espcn", spec, initial_tensors(spec, 0)))
    spec = network("espcn", scale=2)
    source = Source("espcn", spec.to_json(), image_size=16, label_size=32, stride=16)
    build(tmp_path / "set.h5", sorted((tmp_path / "photos").iterdir()), spec, source)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


ON_A_FULL_DISK = {
    "cut": (video_commands, "cut film.mkv out/cut.mkv", "Error: out/cut.mkv cannot be written: File too large."),
    "split": (
        video_commands,
        "split film.mkv out/frames",
        "Error: out/frames/00001.png cannot be written: File too large.",
    ),
    "page": (
        super_resolve,
        "photos/0.png --scale 2 --weights w.safetensors --output larger.png --compare out/page.html",
        "Error: out/page.html: File too large.",
    ),
    "data set": (
        main,
        "--model espcn --scale 2 --framework torch --train_dir photos --steps 1 --checkpoint_dir out",
        "Error: out/espcn_x2.h5: File too large.",
    ),
    "weights": (
        main,
        "--model espcn --scale 2 --framework torch --train_dir set.h5 --steps 1 --checkpoint_dir out",
        "Error: out/espcn_x2.safetensors: File too large.",
    ),
}


@pytest.mark.parametrize("case", ON_A_FULL_DISK)
def test_a_full_disk_is_one_sentence_with_a_name_that_is_known(case, material, capsys):
    program, line, said = ON_A_FULL_DISK[case]
    with largest_file(4_000 if program is video_commands else 60_000):
        code = program.main(line.split())
    assert code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(said)
    left = [path.relative_to(material / "out") for path in (material / "out").rglob("*") if path.is_file()]
    assert all(path.suffix == ".jsonl" or path.parts[0] == "tensorboard" for path in left)


def test_what_cannot_be_written_whole_is_said_with_its_name(tmp_path):
    target = tmp_path / "out.txt"
    for error, words in (
        (OSError(28, "Unable to synchronously create file (errno = 28)"), "No space left on device"),
        (OSError(28, "No space left on device", "none"), "none"),
        (OSError("no number"), "no number"),
    ):
        with pytest.raises(OSError, match=words), written_whole(target):
            raise error
    assert list(tmp_path.iterdir()) == []
