"""Measures how fast everything is and writes docs/performance.md: its tables, its plots, and the figures they are from.

python docs/performance.py [PART ...]

What was measured is kept in docs/performance.json, so that named parts can be measured anew beside the others; with
--draw nothing is measured. All parts take about eight minutes on an idle machine; with --quick, for trying, one or two,
on small frames and in single rounds. What stands in the page between markers is made here, the rest by hand. DATA, if
it is there, is the folder of pictures that data sets are built from.
"""

import argparse
import json
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np
from papers import TITLES, filled, heads, row

from common import plots
from common.complexity import operations_seen
from common.networks import network
from common.processor import computes_bf16
from common.speed import HEIGHT, WIDTH, threads

PAGE, REPORT = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.json"
DATA = [ROOT.parent / "shared" / "data" / "train" / name for name in ("T91", "BSD200")]
EVERY, FASTEST = ["eager", "tf.function", "onnxruntime", "opencv"], ["eager", "tf.function", "onnxruntime"]
PLACES = {  # network: (scale, rows and columns of the result, rounds, peers); large networks on small frames
    "espcn": (3, HEIGHT, WIDTH, 2, EVERY),
    "vespcn": (3, HEIGHT, WIDTH, 1, EVERY),
    "srcnn": (3, HEIGHT // 2, WIDTH // 2, 1, FASTEST),
    "srresnet": (4, HEIGHT // 2, WIDTH // 2, 1, FASTEST),
    "drcn": (2, 96, 128, 1, FASTEST),
}
SIZES = ((135, 240), (270, 480), (540, 960), (1080, 1920), (2160, 3840))  # of results, for the growth with pixels
PATIENCE = 3.0  # seconds for a frame, above which no larger one is tried
FILMS = (50, 100, 200, 400, 800)  # frames
HALF = 0.5  # of the peak, below which the page says why
SHOWN = 0.05  # of the time of a network, from which on a layer is shown
REASONS = {
    "espcn": "the first layer has one map in and the last nine out, too few to fill the vector registers, and the two "
    "hyperbolic tangents are not counted",
    "vespcn": "24 maps are one and a half registers of sixteen numbers, and moving two frames is not counted",
    "srcnn": "the last layer has one map out, and leaves most of a register idle",
    "srresnet": "the last layer uses twelve of sixteen numbers in a register, and memory bounds what is between layers",
    "drcn": "the last layer has one map out, is in fp32 for the sake of quality, and is applied sixteen times",
}


# ---- What is measured


def inference(quick):
    """Every network against its peers, and the matrix products that are the limit."""
    from inference import measured, measured_peaks

    common = {"threads": threads(), "folder": ""}
    result = {"peaks": measured_peaks(Namespace(**common, height=HEIGHT, width=WIDTH)), "networks": {}}
    for name, (scale, height, width, rounds, peers) in PLACES.items():
        precisions = ("auto", "fp32") if name == "espcn" else ("auto",)
        ours = [f"{framework} {precision}" for precision in precisions for framework in ("torch", "tensorflow")]
        if quick:
            height, width, rounds = (48, 64, 1) if name == "drcn" else (height // 4, width // 4, 1)
            ours, peers = (ours[:2], ["eager", "onnxruntime"]) if name == "espcn" else (ours[:1], ["eager"])
        asked = Namespace(**common, height=height, width=width, rounds=rounds, ours=ours, peers=peers)
        runners = measured(name, scale, asked)
        result["networks"][name] = {"scale": scale, "height": height, "width": width, "runners": runners}
        said("  " + ", ".join([name, *(f"{runner} {one['ms']:.0f} ms" for runner, one in runners.items())]))
    return result


def steps(quick):
    """What each means gains for ESPCN."""
    from steps import measured

    size = (HEIGHT // 4, WIDTH // 4) if quick else (HEIGHT, WIDTH)
    return {framework: measured(framework, "espcn", 3, *size, threads()) for framework in ("torch", "tensorflow")}


def layers(quick):
    """Where the time of each network goes."""
    from layers import measured

    parts = ("times", "operations", "precision")
    return {name: dict(zip(parts, measured(name, place[0]), strict=True)) for name, place in PLACES.items()}


def growth(quick):
    """Milliseconds of a frame by its pixels and by threads, seconds and memory of a film by its frames."""
    from film_memory import peak

    from common import backend
    from common.upscaler import Upscaler
    from common.weights import weights_for

    def milliseconds(upscaler, height, width):
        low = np.random.default_rng(0).random((height // 3, width // 3, upscaler.spec.inputs), np.float32)
        upscaler.planes(low)
        spent = []
        for _ in range(1 if quick else 5):
            begin = time.perf_counter()
            upscaler.planes(low)
            spent.append(time.perf_counter() - begin)
            if sum(spent) > PATIENCE:
                break
        return 1000 * min(spent)

    use_threads = backend.load("torch", "runtime").use_threads
    pixels, by_threads, films = {}, {}, []
    for name in ("espcn", "vespcn", "srcnn"):
        upscaler, pixels[name] = Upscaler(weights_for(name, 3), "torch", "cpu"), []
        for size in SIZES[: 3 if quick else None]:
            pixels[name].append([size[0] * size[1], milliseconds(upscaler, *size)])
            if pixels[name][-1][1] > 1000 * PATIENCE:
                break
        by_threads[name] = []
        for count in sorted({*(1 << power for power in range(threads().bit_length())), threads()}):
            use_threads(count)
            by_threads[name].append([count, milliseconds(upscaler, *SIZES[1 if quick else 2])])
    with tempfile.TemporaryDirectory() as scratch:
        for frames in FILMS[: 2 if quick else None]:
            megabytes, speed = peak(Path(scratch), frames, "espcn", "torch")
            films.append([frames, frames / speed, megabytes])
    return {"pixels": pixels, "threads": by_threads, "films": films}


def film(quick):
    """A whole film beside its parts."""
    from film import COLUMNS, ROWS, measured, write_film

    from common.experiments import pictures_of
    from common.upscaler import Upscaler
    from common.weights import weights_for

    frames, result = 6 if quick else 25, {"size": [ROWS, COLUMNS]}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "film.mp4"
        write_film(path, pictures_of(None, Path(scratch)), frames)
        for name in ("espcn", "vespcn"):
            result[name] = measured(Upscaler(weights_for(name, 3), "torch", "cpu"), path, frames, 1)
    return result


def startup(quick):
    """The whole program for one picture beside the import of the framework."""
    from startup import measured

    return measured([], ["torch", "tensorflow"], 1 if quick else 3)


def dataset(quick):
    """Building of data sets beside plain scripts."""
    from dataset import measured

    from common.experiments import pictures_of

    folders = None if quick or not all(folder.is_dir() for folder in DATA) else DATA
    with tempfile.TemporaryDirectory() as scratch:
        paths = pictures_of(folders, Path(scratch))
        result = {name: measured(name, paths, 1, Path(scratch)) for name in ("srcnn", "espcn")}
    return {"pictures": len(paths), "networks": result}


def training(quick):
    """Steps a second on one batch that never changes, and on a data set."""
    from training_wait import measure

    result, count = {}, 4 if quick else 20
    with tempfile.TemporaryDirectory() as folder:
        for name in ("srcnn", "espcn"):
            for framework in ("tensorflow", "torch"):
                speeds = measure(name, framework, count, 1 if quick else 3, Path(folder), 2 << 30)
                result[f"{name} {framework}"] = [float(speed) for speed in speeds]
    return result


def around(quick):
    """What is done around the network for a frame of ESPCN x3, in milliseconds."""
    from common.color import luma, rgb_of_planes, rgb_to_ycbcr
    from common.metrics import psnr, ssim
    from common.upscaler import Upscaler
    from common.video_frames import Frame
    from common.weights import weights_for

    rows, columns = (side // 3 // (4 if quick else 1) for side in (HEIGHT, WIDTH))
    generator, upscaler = np.random.default_rng(0), Upscaler(weights_for("espcn", 3), "torch", "cpu")
    grey = generator.integers(16, 236, (rows, columns), np.uint8)
    frame = Frame(grey, (grey[::2, ::2].copy(), grey[1::2, 1::2].copy()))
    low = generator.random((rows, columns, 3), np.float32)
    high = generator.random((3, 3 * rows, 3 * columns), np.float32)
    work = {
        "frame": lambda: upscaler.frame([frame]),
        "bicubic of the chroma": lambda: upscaler._chroma(frame, True),
        "colour conversion of a picture": lambda: (luma(low), rgb_to_ycbcr(low), rgb_of_planes(*high, np.uint8)),
        "PSNR": lambda: psnr(*high[:2]),
        "SSIM": lambda: ssim(*high[:2]),
    }
    for function in work.values():
        function()
    spent = {name: [] for name in work}
    for _ in range(1 if quick else 5):
        for name, function in work.items():
            begin = time.perf_counter()
            function()
            spent[name].append(1000 * (time.perf_counter() - begin))
    return {name: min(times) for name, times in spent.items()}


MEASURED = {
    part.__name__: part for part in (inference, steps, layers, growth, film, startup, dataset, training, around)
}


def said(line):
    print(line, file=sys.stderr, flush=True)


# ---- What is shown


def operations(name, one):
    """Those of a frame as it is measured, in 10^9."""
    return operations_seen(network(name, scale=one["scale"]), one["height"], one["width"]) / 1e9


def digits(value):
    """A number as a table shows it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def best(one, peers=False):
    """(runner, milliseconds) of the fastest of ours in auto, or of the others that run the same network."""
    runners = {name: run["ms"] for name, run in one["runners"].items()}
    chosen = [name for name in runners if (name in EVERY if peers else name.endswith("auto"))]
    return min(((name, runners[name]) for name in chosen), key=lambda pair: pair[1])


def against(report):
    """Every network in auto beside each peer."""
    lines = heads("network", "result", "ours", "ms", *(f"/ {peer}" for peer in EVERY), "/ best of these")
    for name, one in report["inference"]["networks"].items():
        for runner, run in one["runners"].items():
            if runner in EVERY:
                continue
            peers = [one["runners"].get(peer, {}).get("ms") for peer in EVERY]
            ratios = [f"{run['ms'] / peer:.2f}" if peer else "" for peer in peers]
            framework, precision = runner.split()[0], run["precision"]
            size = f"{one['width']} x {one['height']}"
            lines.append(
                row(
                    f"{TITLES[name]} x{one['scale']}", size, f"{framework} {precision}", digits(run["ms"]), *ratios,
                    f"{run['ms'] / best(one, peers=True)[1]:.2f}",
                )
            )  # fmt: skip
    return "\n".join(lines)


def roofline(report):
    """How near each network comes to the speed of a matrix product, and why it is below half of it."""
    peaks = report["inference"]["peaks"]
    lines, notes = heads("network", "G operations", "by", "ms", "G operations a second", "share of the peak"), []
    for name, one in report["inference"]["networks"].items():
        runner, milliseconds = best(one)
        precision, work = one["runners"][runner]["precision"], operations(name, one)
        share = work / milliseconds * 1000 / peaks[precision]
        by = f"{runner.split()[0]} {precision}"
        speed = f"{work / milliseconds * 1000:.0f}"
        lines.append(
            row(f"{TITLES[name]} x{one['scale']}", digits(work), by, digits(milliseconds), speed, f"{share:.0%}")
        )
        if share < HALF:
            notes.append(f"- {TITLES[name]}: {REASONS[name]}.")
    peak = (
        f"The matrix product reaches {peaks['fp32']:.0f} G operations a second in fp32 and {peaks['bf16']:.0f} in bf16."
    )
    why = ["", "Below half of it:", "", *notes] if notes else []
    return "\n".join([*lines, "", peak, *why])


def shares(report):
    """The share of each layer in the time and in the operations of its network."""
    lines = heads("network", "layer", "of the time", "of the operations")
    for name, one in report["layers"].items():
        for part, share in sorted(one["times"].items(), key=lambda pair: -pair[1]):
            counted = f"{one['operations'][part]:.0%}" if part in one["operations"] else ""
            if share >= SHOWN:
                lines.append(row(f"{TITLES[name]}, {one['precision']}", f"`{part}`", f"{share:.0%}", counted))
    return "\n".join(lines)


def gains(report):
    """The means for ESPCN, one after the other."""
    lines = heads("framework", "ESPCN x3", "ms", "of the network as written")
    for framework, times in report["steps"].items():
        for step, milliseconds in times.items():
            lines.append(row(framework, step, digits(milliseconds), f"{milliseconds / times['as written']:.2f}"))
    return "\n".join(lines)


def films(report):
    """Whole films beside their parts."""
    rows, columns = report["film"]["size"]
    lines = heads(f"ms a frame, {columns} x {rows} x3", "decode", "network", "encode", "whole", "whole / sum")
    for name in ("espcn", "vespcn"):
        one = report["film"][name]
        times = [digits(one[part]) for part in ("decode", "network", "encode", "whole")]
        lines.append(row(TITLES[name], *times, f"{one['ratio']:.2f}"))
    return "\n".join(lines)


def beside(report):
    """Data sets, training, and what is done around the network."""
    data, frame = report["dataset"], report["around"]["frame"]
    lines = heads(
        f"data set of {data['pictures']} pictures", "s", "plain NumPy / ours", "plain OpenCV / ours", "MB", "plain MB"
    )
    for name, one in data["networks"].items():
        ours, plain, opencv = (one[who] for who in ("ours", "plain NumPy", "plain OpenCV"))
        ratios = [f"{who['seconds'] / ours['seconds']:.1f}" for who in (plain, opencv)]
        memory = [f"{who['megabytes']:.0f}" for who in (ours, plain)]
        lines.append(row(TITLES[name], f"{ours['seconds']:.3g}", *ratios, *memory))
    lines += ["", *heads("training", "bare steps a second", "on the data set", "share")]
    for name, (bare, real) in report["training"].items():
        model, framework = name.split()
        lines.append(row(f"{TITLES[model]}, {framework}", f"{bare:.3g}", f"{real:.3g}", f"{real / bare:.2f}"))
    lines += ["", *heads("around the network, for a frame of ESPCN x3", "ms", "share of the frame")]
    for name, milliseconds in report["around"].items():
        lines.append(row(name, f"{milliseconds:.2g}", "" if name == "frame" else f"{milliseconds / frame:.0%}"))
    return "\n".join(lines)


def targets(report):
    """What was to be reached, what was measured, and whether that is enough."""
    networks, start = report["inference"]["networks"], report["startup"]
    espcn, rows = networks["espcn"]["runners"], []

    def add(what, value, limit, form="{:.2f}", least=False):
        met = value >= limit if least else value <= limit
        wanted = f"at {'least' if least else 'most'} {form.format(limit)}"
        rows.append(row(what, wanted, form.format(value), "yes" if met else "**no**"))

    runtime = espcn["onnxruntime"]["ms"]
    plain = {name: espcn[f"{name} fp32"]["ms"] / runtime for name in ("torch", "tensorflow") if f"{name} fp32" in espcn}
    if plain:
        add("ESPCN x3 in fp32, the better of our frameworks / ONNX Runtime", min(plain.values()), 1.0)
    for framework, ratio in plain.items():
        add(f"... {framework} / ONNX Runtime", ratio, 1.3)
    add("ESPCN x3 in auto / ONNX Runtime in fp32", best(networks["espcn"])[1] / runtime, 0.6)
    if "opencv" in espcn:
        add("ESPCN x3 in auto / OpenCV's dnn", best(networks["espcn"])[1] / espcn["opencv"]["ms"], 0.25)
    for name, one in networks.items():
        if name != "espcn":
            ratio = best(one)[1] / min(one["runners"][peer]["ms"] for peer in FASTEST if peer in one["runners"])
            add(f"{TITLES[name]} x{one['scale']} in auto / the best of eager, tf.function, ONNX Runtime", ratio, 0.7)
    for name in ("espcn", "vespcn"):
        add(f"a film by {TITLES[name]} x3 / its parts measured alone", report["film"][name]["ratio"], 1.15)
    _, _, megabytes = zip(*report["growth"]["films"], strict=True)
    times = report["growth"]["films"][-1][0] // report["growth"]["films"][0][0]
    add(f"memory of a film {times} times as long / the short one's", megabytes[-1] / megabytes[0], 1.1)
    for framework in ("torch", "tensorflow"):
        ratio = start[f"picture {framework}"] / start[f"import {framework}"]
        add(f"one picture of 512 x 512, ESPCN x2, whole process / import {framework}", ratio, 1.6)
    add("`--help`, seconds", start["--help"], 0.3)
    for name, one in report["dataset"]["networks"].items():
        ratio = one["plain NumPy"]["seconds"] / one["ours"]["seconds"]
        add(f"plain NumPy / ours, building {TITLES[name]}'s data set", ratio, 3.0, "{:.1f}", least=True)
    growth = max(one["more"]["megabytes"] / one["ours"]["megabytes"] for one in report["dataset"]["networks"].values())
    add("memory of a data set four times as large / the small one's", growth, 1.1)
    for name, (bare, real) in report["training"].items():
        model, framework = name.split()
        what = f"training steps of {TITLES[model]} by {framework} / the bare step's"
        add(what, real / bare, 0.95, "{:.3f}", least=True)
    for name, milliseconds in report["around"].items():
        if name != "frame":
            add(f"{name} / a frame of ESPCN x3", milliseconds / report["around"]["frame"], 0.05)
    return "\n".join([*heads("what", "target", "measured", "met"), *rows])


def machine(report):
    """What the figures are from, in words that name no machine."""
    count = report["threads"]
    native = "with" if report["bf16"] else "without"
    trial = f" **Small frames, for trying only: {', '.join(report['quick'])}.**" if report["quick"] else ""
    return f"Measured on a CPU {native} instructions for bf16, with {count} thread{'s' if count > 1 else ''}.{trial}"


KINDS = {kind.__name__: kind for kind in (targets, against, roofline, shares, gains, films, beside, machine)}


def growth_figure(report):
    """Time by pixels, by frames and by threads."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    by_pixels, by_frames, by_threads = figure.subplots(1, 3)
    for name, points in report["growth"]["pixels"].items():
        megapixels, milliseconds = np.transpose(points)
        by_pixels.plot(megapixels / 1e6, milliseconds, "o-", color=plots.colour(name), label=name, markersize=3)
    by_pixels.set(xscale="log", yscale="log", xlabel="megapixels of the result", ylabel="ms a frame", title="pixels")
    by_pixels.xaxis.set_minor_formatter("")
    by_pixels.legend(frameon=False, fontsize=8)
    frames, seconds, megabytes = np.transpose(report["growth"]["films"])
    by_frames.plot(frames, seconds, "o-", color=plots.colour("espcn"), label="seconds", markersize=3)
    by_frames.set(xlabel="frames of 160 x 90, espcn x3", ylabel="seconds", title="frames", ylim=(0, None))
    memory = by_frames.twinx()
    memory.plot(frames, megabytes, "s--", color="0.5", label="MB", markersize=3)
    memory.set(ylabel="peak memory in MB", ylim=(0, 1.5 * max(megabytes)))
    by_frames.legend([*by_frames.lines, *memory.lines], ["seconds", "MB"], frameon=False, fontsize=8)
    for name, points in report["growth"]["threads"].items():
        count, milliseconds = np.transpose(points)
        by_threads.plot(count, milliseconds[0] / milliseconds, "o-", color=plots.colour(name), label=name, markersize=3)
    by_threads.plot(count, count, ":", color="0.5", label="all threads used")
    by_threads.set(xlabel="threads", ylabel="times as fast as with one", title="threads", xticks=count)
    by_threads.legend(frameon=False, fontsize=8)
    return figure


def roofline_figure(report):
    """Operations a second of each network below the peaks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes, peaks = figure.subplots(), report["inference"]["peaks"]
    for place, (name, one) in enumerate(report["inference"]["networks"].items()):
        runner, milliseconds = best(one)
        speed = operations(name, one) / milliseconds * 1000
        precision = one["runners"][runner]["precision"]
        axes.barh(place, speed, color=plots.colour(name))
        axes.text(speed, place, f" {speed / peaks[precision]:.0%} of {precision}", va="center")
    axes.margins(x=0.25)
    for precision, peak in peaks.items():
        axes.axvline(peak, color="0.5", linestyle="--", linewidth=1)
        axes.text(peak, -0.9, precision, ha="center", fontsize=8)
    names = report["inference"]["networks"]
    axes.set(
        xlabel="10^9 operations a second", yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6)
    )
    return figure


FIGURES = {"performance_growth.svg": growth_figure, "performance_roofline.svg": roofline_figure}


def rounded(value):
    """`value` with four digits wherever it is a float."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def draw(report, folder):
    """Write page and plots into `folder`."""
    for name, figure in FIGURES.items():
        plots.write(folder / name, lambda figure=figure: figure(report))
    text = filled(PAGE.read_text(encoding="utf-8"), report, KINDS)
    (folder / PAGE.name).write_text(text, encoding="utf-8")


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("part", nargs="*", help=f"of what is measured: {', '.join(MEASURED)} (default: all)")
    parse.add_argument("--quick", action="store_true", help="small frames and single rounds, for trying")
    parse.add_argument("--draw", action="store_true", help="measure nothing")
    parse.add_argument(
        "--report", type=Path, default=REPORT, metavar="FILE.json", help="default: docs/performance.json"
    )
    parse.add_argument("--folder", type=Path, default=PAGE.parent, help="for page and plots (default: docs)")
    arguments = parse.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8")) if arguments.report.exists() else {}
    for part in () if arguments.draw else arguments.part or MEASURED:
        begin = time.perf_counter()
        report |= {part: rounded(MEASURED[part](arguments.quick)), "threads": threads(), "bf16": computes_bf16()}
        tried = [one for one in report.get("quick", ()) if one != part]
        report["quick"] = [*tried, part] if arguments.quick else tried
        arguments.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        said(f"{part}: {time.perf_counter() - begin:.0f} s")
    draw(report, arguments.folder)


if __name__ == "__main__":
    main()
