"""The benchmark: what it measures, keeps and prints, and that what is stored is of the shipped weights."""

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from clips import av_frame

from common import benchmark, cli, evaluation, material, plots, speed, tables
from common.benchmark_report import weights_hash
from common.color import luma
from common.evaluation import Bicubic, blur, clip_figures, evaluate, evaluate_clip
from common.images import Picture, write_picture
from common.manifest import KNOWN, clip_hash, identify, order, picture_hash
from common.material import find_folders, find_sets
from common.metrics import Protocol, compare
from common.networks import NETWORKS, Network, network
from common.published import PUBLISHED, published
from common.video_frames import Frame
from common.weights import Weights, initial_tensors, save_weights, shipped_scales

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "docs" / "benchmark.json"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of weights of small networks in the place of the shipped ones."""
    folder = tmp_path / "weights"
    monkeypatch.setattr("common.weights.FOLDER", folder)
    for name, scale, seed in (("espcn", 3, 0), ("srcnn", 3, 1)):
        write_weights(folder, name, scale, seed)
    return folder


def write_weights(folder, name, scale, seed):
    spec = network(name, scale=scale, widths=(3, 3))
    save_weights(folder / f"{name}_x{scale}.safetensors", Weights(name, spec, initial_tensors(spec, seed)))


@pytest.fixture
def data(tmp_path, make_pixels):
    """A folder with a set of two pictures and one of two clips."""
    folder = tmp_path / "data"
    write_picture(folder / "stills" / "a.png", Picture(make_pixels(36, 42)))
    write_picture(folder / "stills" / "b.png", Picture(make_pixels(39, 33, 1)))
    for number, name in enumerate(("one", "two")):
        write_clip(folder / "films" / f"{name}.mkv", lumas(make_pixels, seed=number))
    return folder


def lumas(make_pixels, count=3, seed=0):
    picture = make_pixels(40, 50, 1, seed=seed)[..., 0]
    return [np.ascontiguousarray(picture[t : t + 33, t : t + 42]) for t in range(count)]


def write_clip(path, frames):
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "gray"
        for frame in frames:
            output.mux(stream.encode(av_frame([frame], "gray", stream.width, stream.height)))
        output.mux(stream.encode(None))


@pytest.fixture
def run(data, weights, capsys, monkeypatch):
    """A function that runs the benchmark on `data` and returns (exit code, lines of stdout, of stderr)."""
    monkeypatch.setattr(speed, "time_per_frame", lambda upscaler: speed.FrameTime(12.345))

    def call(*arguments):
        capsys.readouterr()
        line = ["--framework", "torch", "--data", data, *arguments]
        code = benchmark.main([str(word) for word in line])
        return code, *(stream.splitlines() for stream in capsys.readouterr())

    return call


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


# ---- What it measures


def test_all_networks_on_all_sets(run, data, tmp_path):
    code, out, err = run("--report", tmp_path / "report.json")
    assert code == cli.DONE
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in out]
    assert cells[0] == ["set", "scale", "network", "bicubic", "torch", "gain", "published (trained on)"]
    assert [row[:3] for row in cells[2:]] == [list(row) for row in product(("films", "stills"), ("x3",), NETWORKS)
                                              if row[2] in ("srcnn", "espcn")]  # fmt: skip
    assert "stills is no test set of the papers." in err
    report = read(tmp_path / "report.json")
    assert [one["kind"] for one in report["sets"]] == ["clips", "pictures"]
    assert {entry["model"] for entry in report["entries"]} == {"bicubic", "srcnn", "espcn"}
    assert {time["milliseconds"] for time in report["times"]} == {12.3}
    assert all(len(item["frames"]) == 3 for entry in report["entries"] if entry["set"] == "films"
               for item in entry["items"])  # fmt: skip


def test_the_figures_are_those_of_a_test(run, data, weights, make_pixels, tmp_path):
    from common.upscaler import Upscaler
    from common.weights import weights_for

    run("--report", tmp_path / "report.json", "--model", "espcn")
    report = read(tmp_path / "report.json")
    entries = {(entry["set"], entry["model"]): entry for entry in report["entries"]}
    upscaler = Upscaler(weights_for("espcn", 3), precision="fp32")
    still = evaluate(upscaler, "a", make_pixels(36, 42))
    film = evaluate_clip(upscaler, "one", [Frame(luma) for luma in lumas(make_pixels)])
    wanted = {"stills": (still.psnr, still.bicubic_psnr), "films": (film["psnr"], film["bicubic_psnr"])}
    for name, (one, expected) in wanted.items():
        ours, bicubic = (entries[name, model]["items"][0] for model in ("espcn", "bicubic"))
        assert ours["psnr"] == pytest.approx(one, abs=1e-4)
        assert bicubic["psnr"] == pytest.approx(expected, abs=1e-4)
        for measure in ("psnr", "ssim"):
            values = [item[measure] for item in entries[name, "espcn"]["items"]]
            assert entries[name, "espcn"]["mean"][measure] == pytest.approx(np.mean(values), abs=1e-6)


def test_it_measures_in_fp32_whatever_the_processor_can(monkeypatch):
    monkeypatch.setattr("torch_models.runtime.computes_bf16", lambda: True)
    assert benchmark.Job("srresnet", 4, "torch").upscaler("cpu").runtime.precision == "fp32"


def test_a_subset_and_a_further_folder(run, data, tmp_path, make_pixels):
    write_picture(tmp_path / "mine" / "c.png", Picture(make_pixels(30, 30)))
    code, out, _ = run(tmp_path / "mine", "--set", "mine", "--model", "espcn", "--scale", "3")
    assert code == cli.DONE
    assert [line.split("|")[1:4] for line in out[2:]] == [[" mine ", " x3 ", " espcn "]]


def test_results_are_saved_where_asked(run, tmp_path):
    run("--set", "stills", "--model", "espcn", "--pictures", tmp_path / "results")
    found = sorted(path.relative_to(tmp_path / "results").as_posix() for path in (tmp_path / "results").rglob("*.png"))
    assert found == [f"stills_x3/{name}/{one}.png" for name in ("bicubic", "espcn_torch") for one in "ab"]


def test_a_gallery_lays_the_results_over_each_other(run, tmp_path):
    page = tmp_path / "gallery.html"
    line = ["--report", tmp_path / "report.json", "--pictures", tmp_path / "results", "--gallery", page]
    assert run(*line)[0] == cli.DONE
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"<bdi>(.*?)</bdi></h2>", text) == ["stills a.png, x3", "stills b.png, x3"]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", text) == ["bicubic", "espcn", "srcnn", "original"] * 2
    shown = dict(re.findall(r"<dt>([^<]*)</dt><dd>([\d.]+) dB</dd>", text.partition("</section>")[0]))
    report = {one["model"]: one["items"][0]["psnr"] for one in read(tmp_path / "report.json")["entries"]
              if one["set"] == "stills"}  # fmt: skip
    assert shown == {model: f"{psnr:.2f}" for model, psnr in report.items()}


def test_a_gallery_of_nothing(run, tmp_path):
    code, _, err = run("--gallery", tmp_path / "page.html")
    assert code == cli.USAGE and "--pictures" in err[-1]
    code, _, err = run("--set", "films", "--pictures", tmp_path / "none", "--gallery", tmp_path / "page.html")
    assert code == cli.DONE and any("no pictures" in line for line in err)
    assert not (tmp_path / "page.html").exists()


def test_what_cannot_be_measured_is_named(run, data, tmp_path, make_pixels):
    (data / "stills" / "broken.png").write_bytes(b"no picture")
    write_picture(data / "stills" / "tiny.png", Picture(make_pixels(6, 6)))
    code, _, err = run("--set", "stills", "--report", tmp_path / "report.json")
    assert code == cli.DONE
    assert "| tiny | - / - |" in tables.page(read(tmp_path / "report.json"))
    assert any("broken.png" in line for line in err)
    assert any("tiny.png" in line for line in err)
    (entry,) = (entry for entry in read(tmp_path / "report.json")["entries"] if entry["model"] == "espcn")
    assert [item["psnr"] is None for item in entry["items"]] == [False, False, True]
    assert entry["mean"]["psnr"] == pytest.approx(np.mean([item["psnr"] for item in entry["items"][:2]]), abs=1e-6)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [("Set99", ["--set", "Set99"]), ("nowhere", ["--data", "nowhere"]), ("No weights", ["--scale", "7"]),
     ("no report", ["--report", "other.json"]), ("markers", ["--readme", "other.json"])],
)  # fmt: skip
def test_each_mistake_has_its_sentence(words, arguments, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text('{"a": 1}', encoding="utf-8")
    code, _, err = run(*arguments)
    assert code == cli.FAILED
    assert words.replace("markers", "no lines") in err[-1]
    assert Path("other.json").read_text(encoding="utf-8") == '{"a": 1}'


# ---- What it keeps


@pytest.fixture
def measured(monkeypatch):
    """The names of the pictures and clips that are measured, as (network, picture)."""
    names = []
    original = benchmark._figures

    def noted(upscaler, material, item, results):
        names.append((upscaler.name, item.name))
        return original(upscaler, material, item, results)

    monkeypatch.setattr(benchmark, "_figures", noted)
    return names


def test_nothing_is_measured_twice(run, measured, tmp_path):
    _, first, _ = run("--report", tmp_path / "report.json", "--model", "espcn")
    measured.clear()
    _, second, _ = run("--report", tmp_path / "report.json", "--model", "espcn")
    assert measured == []
    assert first == second
    run("--report", tmp_path / "report.json", "--set", "stills")
    assert measured == [("srcnn", "a.png"), ("srcnn", "b.png")]


def test_what_would_take_too_long_is_left_out_and_named(run, measured, tmp_path, monkeypatch):
    times = {"srcnn": speed.FrameTime(1e12), "espcn": speed.FrameTime(1.0)}
    monkeypatch.setattr(speed, "time_per_frame", lambda upscaler: times[upscaler.name])
    line = ["--set", "stills", "--report", tmp_path / "report.json"]
    code, out, err = run(*line)
    assert code == cli.DONE
    assert any("Left out: srcnn" in line and "minutes" in line for line in err)
    assert measured == [("bicubic", "a.png"), ("bicubic", "b.png"), ("espcn", "a.png"), ("espcn", "b.png")]
    assert "espcn" in "".join(out) and "srcnn" not in "".join(out)
    assert {entry["model"] for entry in read(tmp_path / "report.json")["entries"]} == {"bicubic", "espcn"}
    measured.clear()
    run(*line, "--longest", 1e9)
    assert measured == [("srcnn", "a.png"), ("srcnn", "b.png")]


def test_other_weights_and_pictures_are_measured_anew(run, measured, weights, data, tmp_path, make_pixels):
    line = ["--report", tmp_path / "report.json", "--set", "stills"]
    run(*line)
    write_weights(weights, "espcn", 3, seed=7)
    measured.clear()
    run(*line)
    assert measured == [("espcn", "a.png"), ("espcn", "b.png")]
    write_picture(data / "stills" / "b.png", Picture(make_pixels(39, 36)), overwrite=True)
    measured.clear()
    run(*line)
    assert len(measured) == 6
    assert len(read(tmp_path / "report.json")["entries"]) == 3


def test_an_interrupted_run_goes_on(run, measured, tmp_path, monkeypatch):
    line = ["--report", tmp_path / "report.json", "--set", "stills"]
    original = benchmark._figures

    def interrupted(upscaler, material, item, results):
        if len(measured) == 3:
            raise KeyboardInterrupt
        return original(upscaler, material, item, results)

    with monkeypatch.context() as context:
        context.setattr(benchmark, "_figures", interrupted)
        assert run(*line)[0] == cli.INTERRUPTED
    done = list(measured)
    measured.clear()
    _, out, _ = run(*line)
    assert len(done) == 3
    assert not set(done) & set(measured)
    assert len(measured) == 3
    (tmp_path / "report.json").unlink()
    assert out == run(*line)[1]


# ---- Pages and plots


def test_page_readme_and_terminal_show_one_table(run, tmp_path):
    pytest.importorskip("matplotlib")
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{tables.BEGIN}\nold\n{tables.END}\nbelow\n", encoding="utf-8")
    line = ["--report", tmp_path / "report.json", "--markdown", tmp_path / "page.md", "--readme", readme]
    _, out, _ = run(*line)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    text = readme.read_text(encoding="utf-8")
    assert tables.table_in(text).splitlines() == out
    assert text.startswith("above\n") and text.endswith("\nbelow\n") and "old" not in text
    assert "\n".join(out) in page
    assert page == tables.page(read(tmp_path / "report.json"), "page")
    drawn = {path.name: path.read_bytes() for path in tmp_path.glob("page_*.svg")}
    assert set(drawn) == {"page_stills.svg", "page_films.svg", "page_films_x3_frames.svg"}
    assert all(f"]({name})" in page for name in drawn)
    run(*line)
    assert drawn == {path.name: path.read_bytes() for path in tmp_path.glob("page_*.svg")}


def test_pages_name_no_machine_and_no_path(run, data, tmp_path):
    import platform

    run("--report", tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text(encoding="utf-8") + tables.page(read(tmp_path / "report.json"))
    assert str(tmp_path) not in text
    assert platform.node() not in text
    assert speed.machine("torch", "cpu").startswith("CPU, ")


def test_both_frameworks_stand_beside_each_other():
    means = {"psnr": 31.0, "ssim": 0.9}
    base = {"scale": 3, "set": "Set5", "items": [{"name": "a", **means}], "mean": means}
    entries = [{**base, "model": "bicubic", "framework": None, "mean": {"psnr": 30.39, "ssim": 0.8682}}]
    entries += [{**base, "model": "espcn", "framework": name} for name in ("torch", "tensorflow")]
    sets = [{"name": "Set5", "kind": "pictures", "known": "Set5", "note": ""}]
    times = [{"model": "espcn", "scale": 3, "framework": "torch", "machine": "CPU"}]
    times[0] |= {"milliseconds": 9, "extrapolated": True, "busy": True}
    report = {"sets": sets, "entries": entries, "times": times}
    assert tables.table(tables.rows(report)).splitlines()[-1] == (
        "| Set5 | x3 | espcn | 30.39 / 0.8682 | 31.00 / 0.9000 | 31.00 / 0.9000 | +0.61 "
        "| 33.13, +2.74 (ImageNet); 32.55 (T91) |"
    )
    page = tables.page(report)
    assert "| espcn | x3 | ~9 (busy) |" in page
    assert "by more than 0.0000 dB" in page
    sets[0]["known"] = None  # other pictures: nothing published is comparable
    assert "33.13" not in tables.page(report)


def test_a_slow_network_is_timed_on_a_part(monkeypatch):
    sizes = []

    class Slow(Bicubic):
        def frame(self, window):
            sizes.append(window[0].luma.shape)

    for scale in (2, 3, 4):
        assert not speed.time_per_frame(Slow(scale)).extrapolated
        assert max(sizes) == (1080 // scale, 1920 // scale)
        sizes.clear()
    monkeypatch.setattr(speed, "PATIENCE", 0)
    assert speed.time_per_frame(Slow(3)).extrapolated
    assert set(sizes) == {(90, 160)}


def test_times_of_a_busy_machine_are_measured_again(run, tmp_path, monkeypatch):
    line = ["--report", tmp_path / "report.json", "--set", "stills", "--model", "espcn"]
    times = iter([speed.FrameTime(50, busy=True), speed.FrameTime(40), speed.FrameTime(30)])
    monkeypatch.setattr(speed, "time_per_frame", lambda upscaler: next(times))
    for kept in (50, 40, 40):
        run(*line)
        assert [time["milliseconds"] for time in read(tmp_path / "report.json")["times"]] == [kept]


# ---- Test sets and published figures


def test_known_sets_are_recognised_by_their_content():
    names = {f"copy_{number}.bmp": digest for number, digest in enumerate(KNOWN["Set5"].values())}
    assert identify("anything", names)[0] == "Set5"
    names["copy_0.bmp"] = "other"
    known, sentence = identify("anything", names)
    assert known is None
    assert "copy_0.bmp differs" in sentence
    del names["copy_0.bmp"]
    assert "img_001.png is missing" in identify("anything", names)[1]
    assert "no test set" in identify("mine", {"a.png": "other"})[1]
    assert sorted(["Vid4", "a", "Set14", "Set5"], key=order) == ["Set5", "Set14", "Vid4", "a"]


@pytest.mark.parametrize("channels", [1, 3])
def test_hashes_are_of_the_pixels(channels, make_pixels, tmp_path):
    pixels = make_pixels(20, 30, channels)
    for folder, suffix in (("one", "png"), ("other", "bmp")):
        write_picture(tmp_path / folder / f"a.{suffix}", Picture(pixels))
    hashes = {item.hash for one in find_sets([tmp_path / "one", tmp_path / "other"]) for item in one.items}
    assert hashes == {picture_hash(pixels)}
    assert picture_hash(pixels) != picture_hash(pixels.reshape(30, 20, channels))
    assert clip_hash([Frame(pixels[..., 0])]) != clip_hash([Frame(pixels[..., 0])] * 2)


def test_rows_for_the_known_sets_are_printed(data, make_pixels, capsys):
    material.main([data / "stills"])
    rows = [f'"a.png": "{picture_hash(make_pixels(36, 42))}",', f'"b.png": "{picture_hash(make_pixels(39, 33, 1))}",']
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ['"stills": {', *rows, "},"]


def test_the_shared_test_sets_are_the_papers(shared_data):
    folders = find_folders(shared_data / "test")
    assert list(folders)[:3] == ["Set5", "Set14", "Vid4"]
    for name in ("Set5", "Set14"):
        (one,) = find_sets([folders[name]])
        assert one.identity == (name, f"{name} is the {name} that the papers used.")


def test_two_sets_of_one_name_are_refused(data):
    with pytest.raises(ValueError, match="two test sets called stills"):
        find_folders(data, [data / "stills"])


def test_published_figures_name_what_they_are_of():
    for name, test_set, trained_on, figures in PUBLISHED:
        assert test_set in KNOWN and trained_on
        for scale, (psnr, ssim, bicubic) in figures.items():
            assert 22 < (bicubic or 22.1) < psnr < 40 and scale in (2, 3, 4)
            assert ssim is None or 0.5 < ssim < 1
            assert name in {*NETWORKS, "drcn", "srresnet", "srgan"}
    assert [one.trained_on for one in published("espcn", "Set5", 3)] == ["ImageNet", "T91"]
    (vespcn,) = published("vespcn", "Vid4", 4)
    assert vespcn.gain == pytest.approx(1.53)
    assert published("espcn", None, 3) == []


# ---- The protocol where networks and material are unlike


class Same:
    """A network on RGB that does what bicubic interpolation does."""

    name, scale, spec = "same", 3, replace(Network(3), colour="rgb")
    planes = Bicubic(3).planes


def test_networks_on_rgb_are_measured_on_luma(make_pixels):
    colour, grey = make_pixels(36, 42), make_pixels(36, 42, 1)
    for pixels in (colour, grey):
        result = evaluate(Same(), "a", pixels)
        assert result.psnr == result.bicubic_psnr
        assert result.pixels.shape == pixels.shape
    assert evaluate(Same(), "a", grey).psnr == pytest.approx(evaluate(Bicubic(3), "a", grey).psnr, abs=1e-3)


def test_colours_out_of_range_count_as_those_of_a_saved_picture(make_pixels):
    truth = make_pixels(20, 20) / 255.0
    wild = truth + np.where(truth > 0.6, 0.7, -0.7)
    saved = np.round(np.clip(wild, 0, 1) * 255) / 255
    assert compare(truth, wild, Protocol()) == compare(truth, saved, Protocol())
    assert np.abs(luma(wild) - luma(saved)).max() > 0.1


def test_a_clip_is_read_frame_by_frame(make_pixels):
    alive, most = 0, 0

    def frames():
        nonlocal alive, most
        for plane in lumas(make_pixels, count=6):
            alive += 1
            most = max(most, alive)
            yield Frame(plane)

    class Counting(Bicubic):
        def frame(self, window):
            nonlocal alive
            alive -= 1
            return super().frame(window)

    figures = clip_figures(Counting(3), frames())
    assert len(figures["psnr"]) == len(figures["ssim"]) == 6
    assert most <= 2
    assert evaluation.clip_figures(Bicubic(3), [Frame(plane) for plane in lumas(make_pixels, 6)]) == figures


def test_blur_is_less_where_more_is_seen(make_pixels):
    pixels = make_pixels(48, 48)
    result = evaluate(Bicubic(4), "a", pixels)
    assert 0 < blur(pixels) < blur(result.pixels) < 1


# ---- What is stored in this repository


@pytest.fixture(scope="module")
def stored():
    if not STORED.exists():
        pytest.skip("there is no docs/benchmark.json: no full benchmark was stored with these weights")
    return read(STORED)


def test_the_stored_benchmark_is_of_the_shipped_weights(stored):
    shipped = {(name, scale) for name in NETWORKS for scale in shipped_scales(name)}
    measured = [entry for entry in stored["entries"] if entry["framework"]]
    for entry in measured + stored["times"]:
        assert entry["weights"] == weights_hash(entry["model"], entry["scale"])
    assert {(entry["model"], entry["scale"], entry["framework"]) for entry in measured} == {
        (*one, framework) for one in shipped for framework in tables.FRAMEWORKS
    }
    assert all(entry.get("mean") for entry in stored["entries"])


def test_the_stored_benchmark_is_of_the_papers_test_sets(stored):
    for one in stored["sets"]:
        assert one["known"] == one["name"]
        items = [entry["items"] for entry in stored["entries"] if entry["set"] == one["name"]]
        assert all(len(some) == len(KNOWN[one["name"]]) for some in items)


def test_readme_page_and_stored_benchmark_agree(stored):
    assert tables.table_in((ROOT / "README.md").read_text(encoding="utf-8")) == tables.table(tables.rows(stored))
    assert (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8") == tables.page(stored)
    for plot in plots.planned(stored):
        assert (ROOT / "docs" / plot.name("benchmark")).is_file()


def test_the_frameworks_agree_in_the_stored_benchmark(stored):
    for row in tables.rows(stored):
        assert row["torch"]["psnr"] == pytest.approx(row["tensorflow"]["psnr"], abs=1e-3)
