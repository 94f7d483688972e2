"""The benchmark's plots, drawn with matplotlib: quality against time, and PSNR over the frames of clips."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.files import written_whole
from common.networks import NETWORKS

MARKERS = {"torch": "o", "tensorflow": "s"}
# Text stays text and nothing in the file depends on chance or on the day, so that it changes only with the figures.
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "benchmark", "font.family": "sans-serif", "font.size": 9}


@dataclass(frozen=True)
class Plot:
    """tag: what tells its file name from the others'; draw: makes the matplotlib Figure."""

    tag: str
    caption: str
    draw: Callable

    def name(self, stem):
        """Its file name where those of all plots begin with `stem`."""
        return f"{stem}_{re.sub(r'[^A-Za-z0-9_-]+', '_', self.tag)}.svg"


def planned(report):
    """The `Plot`s that can be drawn of a report (common/benchmark_report.py), times being of the machine with most."""
    plots, machines = [], [time["machine"] for time in report["times"]]
    machine = max(sorted(set(machines)), key=machines.count, default=None)
    for one in report["sets"]:
        entries = [entry for entry in report["entries"] if entry["set"] == one["name"] and entry.get("mean")]
        times = [time for time in report["times"] if time["machine"] == machine]
        points = _points(entries, times)
        if points:
            caption = f"Quality against time on {one['name']} ({machine}); dashed: bicubic interpolation"
            plots.append(Plot(one["name"], caption, partial(_quality_against_time, points, entries)))
        if one["kind"] == "clips":
            for scale in sorted({entry["scale"] for entry in entries if entry["model"] != "bicubic"}):
                chosen = _one_framework([entry for entry in entries if entry["scale"] == scale])
                caption = f"PSNR over the frames of {one['name']}, x{scale}"
                plots.append(Plot(f"{one['name']}_x{scale}_frames", caption, partial(_over_frames, chosen)))
    return plots


def draw(report, folder, stem):
    """Write the plots of a report into `folder`; returns their paths. Needs matplotlib."""
    paths = []
    for plot in planned(report):
        paths.append(Path(folder) / plot.name(stem))
        write(paths[-1], plot.draw)
    return paths


def write(path, draw):
    """Write the matplotlib Figure that `draw` makes as an SVG, the same for the same figures."""
    from matplotlib import rc_context

    with rc_context(SETTINGS), written_whole(path) as temporary:
        draw().savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def _points(entries, times):
    """{scale: [(network, framework, milliseconds, extrapolated, PSNR)]} of what was both measured and timed."""
    timed = {(time["model"], time["scale"], time["framework"]): time for time in times}
    points = {}
    for entry in entries:
        time = timed.get((entry["model"], entry["scale"], entry["framework"]))
        psnr = entry["mean"]["psnr"]
        if time and psnr is not None:
            point = entry["model"], entry["framework"], time["milliseconds"], time["extrapolated"], psnr
            points.setdefault(entry["scale"], []).append(point)
    return dict(sorted(points.items()))


def _one_framework(entries):
    """`entries` without TensorFlow's where there are PyTorch's."""
    torch = {entry["model"] for entry in entries if entry["framework"] == "torch"}
    return [entry for entry in entries if entry["framework"] != "tensorflow" or entry["model"] not in torch]


def colour(model):
    """That of a network, or of bicubic interpolation, in all plots."""
    return "0.5" if model == "bicubic" else f"C{list(NETWORKS).index(model)}"


def _quality_against_time(points, entries):
    from matplotlib.figure import Figure

    bicubic = {entry["scale"]: entry["mean"]["psnr"] for entry in entries if entry["model"] == "bicubic"}
    figure = Figure(figsize=(3.2 * len(points), 3), layout="constrained")
    for axes, (scale, chosen) in zip(figure.subplots(1, len(points), squeeze=False)[0], points.items(), strict=True):
        axes.set(title=f"x{scale}", xlabel="ms per frame of 1920 x 1080", xscale="log")
        axes.margins(0.25)
        if bicubic.get(scale) is not None:
            axes.axhline(bicubic[scale], color=colour("bicubic"), linestyle="--", linewidth=1)
        for model, framework, milliseconds, extrapolated, psnr in chosen:
            face = "none" if extrapolated else colour(model)
            axes.scatter(milliseconds, psnr, 25, marker=MARKERS[framework], edgecolors=colour(model), facecolors=face)
        for model in dict.fromkeys(point[0] for point in chosen):
            _, _, milliseconds, _, psnr = max((point for point in chosen if point[0] == model), key=lambda p: p[2])
            axes.annotate(model, (milliseconds, psnr), (0, 6), textcoords="offset points", ha="center")
    first = figure.axes[0]
    first.set_ylabel("PSNR in dB")
    for framework in dict.fromkeys(point[1] for chosen in points.values() for point in chosen):
        first.scatter([], [], 25, marker=MARKERS[framework], color="0.3", label=framework)
    first.legend(frameon=False, fontsize=8)
    return figure


def _over_frames(entries):
    from matplotlib.figure import Figure

    clips = [item["name"] for item in entries[0]["items"]]
    columns = min(2, len(clips))
    rows = -(-len(clips) // columns)
    figure = Figure(figsize=(4.8 * columns, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, place in zip(panels, range(len(clips)), strict=False):
        axes.set(title=Path(clips[place]).stem, xlabel="frame", ylabel="PSNR in dB")
        for entry in entries:
            line = entry["items"][place].get("frames", [])
            style = "--" if entry["model"] == "bicubic" else "-"
            axes.plot(
                range(1, len(line) + 1), line, style, color=colour(entry["model"]), linewidth=1, label=entry["model"]
            )
    for axes in list(figure.axes)[len(clips) :]:
        axes.set_axis_off()
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure
