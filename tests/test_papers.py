"""The explained papers: pages and figures are what the program makes now, and operations are those of the papers."""

import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from common.complexity import PUBLISHED, multiply_adds, operations_per_frame, receptive_field, work
from common.networks import NETWORKS, network

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "papers"
PROGRAM = """
import runpy, sys
sys.path.insert(0, "docs")
sys.argv = ["docs/papers.py", sys.argv[1]]
runpy.run_path("docs/papers.py", run_name="__main__")
print(*{"tensorflow", "keras", "torch", "matplotlib"} & set(sys.modules))
"""


@pytest.fixture
def papers(monkeypatch):
    """The module docs/papers.py."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("papers")


@pytest.fixture
def figures(monkeypatch):
    """The module docs/figures.py."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("figures")


# ---- Pages and figures


def test_pages_and_figures_are_what_the_program_makes_now(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []  # no framework was needed
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


def test_every_network_has_its_page_and_every_figure_is_shown():
    text = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    for spec in NETWORKS.values():
        assert f"torch_models/{spec.module}.py" in text[f"{spec.module}.md"]
        assert f"tf_models/{spec.module}.py" in text[f"{spec.module}.md"]
    shown = set(re.findall(r"!\[[^]]+\]\((\w+\.svg)\)", "".join(text.values())))
    assert shown == {path.name for path in FOLDER.glob("*.svg")}
    assert all(f"]({name})" in text["README.md"] for name in text if name != "README.md")


def test_nothing_is_drawn_outside_the_sheet(figures):
    for name, draw in figures.FIGURES.items():
        root = ElementTree.fromstring(draw())
        width, height = float(root.get("width")), float(root.get("height"))
        for part in root.iter("{http://www.w3.org/2000/svg}rect"):
            x, y = float(part.get("x")), float(part.get("y"))
            assert x >= 0 and x + float(part.get("width")) <= width, name
            assert y >= 0 and y + float(part.get("height")) <= height, name
        for part in root.iter("{http://www.w3.org/2000/svg}text"):
            long = 0.6 * float(part.get("font-size")) * len(part.text or "")  # about as wide as the widest fonts
            before = {"start": 0.0, "middle": 0.5, "end": 1.0}[part.get("text-anchor")]
            left = float(part.get("x")) - before * long
            assert left >= 0 and left + long <= width, (name, part.text)
            assert 0 <= float(part.get("y")) <= height - 4, (name, part.text)


def test_a_figure_follows_its_network(figures, monkeypatch):
    assert "1 × 1" not in figures.srcnn()
    monkeypatch.setattr(figures, "network", lambda name: network(name, kernels=(9, 1, 5), widths=(48, 32), scale=2))
    drawn = figures.srcnn()
    assert all(f">{words}<" in drawn for words in ("1 × 1", "48 maps", "2H × 2W × 48", "SRCNN ×2"))


def test_pages_say_in_a_sentence_what_is_not_measured(papers):
    empty = {"sets": [], "entries": [], "times": []}
    page = "before\n<!-- measured: srresnet srgan -->\nold\n<!-- end -->\nafter\n"
    made = papers.filled(page, empty)
    assert made.startswith("before\n<!-- measured: srresnet srgan -->\n\nSRResNet and SRGAN are not measured yet")
    assert made.endswith("\n\n<!-- end -->\nafter\n") and "old" not in made
    assert papers.filled(made, empty) == made
    assert "DRCN" in papers.quality(empty) and "not measured yet" in papers.cost(empty)


# ---- Counted


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("espcn", {"scale": 3}, 10.43),
        ("espcn", {"scale": 4}, 6.39),
        ("srcnn", {}, 237.2),
        ("vespcn", {"scale": 3, "motion": "none"}, 17.92),
        ("vespcn", {"scale": 4, "motion": "none"}, 10.47),
        ("vespcn", {"scale": 3}, 17.92 + 2 * 3.83),
        ("vespcn", {"scale": 4}, 10.47 + 2 * 2.15),
    ],
)
def test_operations_are_those_of_the_papers(name, options, expected):
    assert operations_per_frame(network(name, **options)) / 1e9 == pytest.approx(expected, abs=0.06, rel=1e-4)


def test_operations_are_a_little_more_than_vespcns_paper_prints():
    for (name, scale), printed in PUBLISHED.items():
        assert 0.945 < printed / (operations_per_frame(network(name, scale=scale)) / 1e9) < 0.985


def test_without_padding_srcnn_has_the_operations_that_are_printed():
    height, width, total = 1080, 1920, 0
    for one in work(network("srcnn")):
        height, width = height - one.layer.kernel + 1, width - one.layer.kernel + 1
        total += 2 * one.weights * height * width
    assert total / 1e9 == pytest.approx(PUBLISHED["srcnn", 3], abs=0.1)


def test_repeated_layers_count_as_often_as_they_are_applied():
    spec = network("drcn", recursions=5, width=7)
    assert multiply_adds(spec) == 9 * (7 + 49 + 5 * (49 + 49 + 7))
    slow, shared = (network("vespcn", frames=5, fusion=name, motion="none") for name in ("slow", "shared"))
    assert multiply_adds(slow) == multiply_adds(shared)
    assert slow.parameters > shared.parameters


def test_doubled_pictures_have_four_times_the_places():
    places = {one.layer.name: one.places for one in work(network("srresnet"))}
    assert [places[name] for name in ("conv2", "upsampling.0.conv", "upsampling.1.conv", "conv3")] == [1, 1, 4, 16]


def test_receptive_fields():
    fields = {"srcnn": 17, "espcn": 9, "vespcn": 19, "drcn": 41, "srresnet": 81, "srgan": 81}
    assert {name: receptive_field(network(name)) for name in NETWORKS} == fields
    assert receptive_field(network("srcnn", kernels=(9, 1, 5))) == 13


# ---- Said in espcn.md


def test_sub_pixel_convolution_is_a_strided_transposed_convolution():
    generator = np.random.default_rng(0)
    scale, reach, maps = 3, 1, 2
    small = generator.standard_normal((maps, 6, 5))
    kernels = generator.standard_normal((scale, scale, maps, 2 * reach + 1, 2 * reach + 1))
    rows, columns = small.shape[1:]
    shuffled = np.zeros((scale * rows, scale * columns))
    padded = np.pad(small, ((0, 0), (reach, reach), (reach, reach)))
    for a, b, i, j in np.ndindex(scale, scale, rows, columns):
        window = padded[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
        shuffled[scale * i + a, scale * j + b] = np.sum(window * kernels[a, b])
    # One large kernel g[a - r u, b - r v] = w_ab[u, v], a copy of which every small pixel adds.
    side = scale * (2 * reach + 1)
    large = np.zeros((maps, side, side))
    for a, b, u, v in np.ndindex(*kernels.shape[:2], *kernels.shape[3:]):
        tap = [scale * reach + phase - scale * (place - reach) for phase, place in ((a, u), (b, v))]
        large[:, tap[0], tap[1]] = kernels[a, b, :, u, v]
    canvas = np.zeros((scale * (rows - 1) + side, scale * (columns - 1) + side))
    for m, i, j in np.ndindex(maps, rows, columns):
        canvas[scale * i : scale * i + side, scale * j : scale * j + side] += small[m, i, j] * large[m]
    cut = scale * reach
    transposed = canvas[cut : cut + scale * rows, cut : cut + scale * columns]
    assert np.count_nonzero(large) == kernels.size
    assert np.allclose(shuffled, transposed, atol=1e-12)


def test_default_networks_are_those_of_the_papers():
    """The figures show the defaults, which the pages call the papers'."""
    fields = {name: dataclasses.asdict(network(name)) for name in NETWORKS}
    assert fields["srcnn"]["kernels"] == (9, 5, 5) and fields["espcn"]["activation"] == "tanh"
    assert (fields["drcn"]["recursions"], fields["drcn"]["width"]) == (16, 256)
    assert [fields["vespcn"][key] for key in ("frames", "fusion", "depth", "width")] == [3, "early", 9, 24]
    assert (fields["srresnet"]["blocks"], fields["srresnet"]["width"]) == (16, 64)
