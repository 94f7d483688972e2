"""The page of performance is what its program makes of the figures stored, and all benchmarks can be asked for help."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from common.networks import NETWORKS
from common.weights import shipped_scales

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
REPORT = ROOT / "docs" / "performance.json"
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.fixture
def performance(monkeypatch):
    """The module docs/performance.py."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("performance")


@pytest.fixture
def report():
    return json.loads(REPORT.read_text(encoding="utf-8"))


def test_page_and_plots_are_what_the_program_makes_now(performance, report, tmp_path):
    performance.draw(report, tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(made) == {PAGE.name, *performance.FIGURES}
    assert made == {name: (PAGE.parent / name).read_bytes() for name in made}


def test_every_part_and_every_network_with_weights_is_measured(performance, report):
    assert set(performance.MEASURED) <= set(report)
    assert set(report["inference"]["networks"]) == set(performance.PLACES)
    assert {name for name in NETWORKS if shipped_scales(name)} - {"srgan"} == set(performance.PLACES)  # as SRResNet


def test_what_misses_its_target_is_not_hidden(performance, report):
    network = report["inference"]["networks"]["espcn"]["runners"]
    for run in network.values():
        run["ms"] = 10.0
    assert "| at most 1.30 | 1.00 | yes |" in performance.targets(report)
    assert "| at most 0.60 | 1.00 | **no** |" in performance.targets(report)
    network["onnxruntime"]["ms"] = 5.0
    assert "| at most 1.30 | 2.00 | **no** |" in performance.targets(report)


def test_what_is_far_below_the_peak_is_explained(performance, report):
    report["inference"]["peaks"] = {"fp32": 1e9, "bf16": 1e9}
    text = performance.roofline(report)
    assert all(reason in text for reason in performance.REASONS.values())
    report["inference"]["peaks"] = {"fp32": 1e-3, "bf16": 1e-3}
    assert not any(reason in performance.roofline(report) for reason in performance.REASONS.values())


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_are_programs(path):
    done = subprocess.run([sys.executable, path, "--help"], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def test_plain_scripts_cut_the_same_sub_images(monkeypatch, make_pixels, tmp_path):
    from common.images import Picture, write_picture

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    dataset = importlib.import_module("dataset")
    for number, channels in enumerate((3, 1, 3)):
        write_picture(tmp_path / f"{number}.png", Picture(make_pixels(120, 130, channels, seed=number)))
    paths = sorted(tmp_path.glob("*.png"))
    for name in ("srcnn", "espcn"):
        for contestant in ("ours", "plain NumPy"):
            dataset.build_one(contestant, name, paths, tmp_path / f"{contestant}.h5")
        assert dataset.largest_difference(tmp_path / "ours.h5", tmp_path / "plain NumPy.h5") < 1e-5
