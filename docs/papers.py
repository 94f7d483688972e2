"""Brings docs/papers/ up to date: draws its figures, and fills the tables of its pages.

python -m common.benchmark --report docs/benchmark.json && python docs/papers.py [FOLDER]

What stands in a page between `<!-- kind: networks -->` and `<!-- end -->` is made here, from the layers that
common/networks.py lists and from what the benchmark measured; the rest of the page is written by hand. FOLDER is where
the results go, by default the folder of the pages itself.
"""

import json
import re
from itertools import groupby
from math import prod
from pathlib import Path
from sys import argv, path

ROOT = Path(__file__).resolve().parent.parent
path.insert(0, str(ROOT))

from figures import FIGURES

from common.complexity import PUBLISHED, multiply_adds, operations_per_frame, receptive_field, work
from common.networks import NETWORKS, BatchNorm, PReLU, Vector, network
from common.published import published
from common.tables import ours, rows, table

PAGES = ROOT / "docs" / "papers"
REPORT = ROOT / "docs" / "benchmark.json"
MARKED = re.compile(r"(<!-- (\w+)(?:: ([\w ]+))? -->\n).*?(<!-- end -->)", re.DOTALL)
REST = {  # what those layers hold that are no convolutions
    BatchNorm: "factors and offsets of batch normalisation",
    PReLU: "slopes of rectifiers",
    Vector: "weights of the ensemble",
}
TITLES = {name: network(name).title for name in NETWORKS}


def filled(page, report, kinds=None):
    """The text of a page with everything between its markers made anew, by the functions KINDS or others.

    Raises KeyError for an unknown kind.
    """

    def make(match):
        begin, kind, names, end = match.groups()
        return f"{begin}\n{(kinds or KINDS)[kind](report, *(names or '').split())}\n\n{end}"

    return MARKED.sub(make, page)


def layers(report, name):
    """The convolutions of a network at its default scale, those alike on one line, and how the work is shared."""
    spec = network(name)
    lines = heads("layers", "kernel", "maps in", "maps out", "weights", "multiply-adds per input pixel", "share")
    every, whole = work(spec), multiply_adds(spec)
    for run in (list(run) for _, run in groupby(every, _form)):
        first, count = run[0], len(run) * run[0].layer.times
        total = sum(one.multiply_adds for one in run)
        lines.append(
            row(
                _names([one.layer.name for one in run]),
                f"{first.layer.kernel} × {first.layer.kernel}" + (", stride 2" if first.layer.stride == 2 else ""),
                first.layer.inputs,
                first.layer.outputs,
                f"{sum(one.weights for one in run):,}",
                f"{round(total):,}" + (f" ({count} times {round(total / count):,})" if count > 1 else ""),
                f"{100 * float(total / whole):.1f} %",
            )
        )
    kernels = sum(one.weights for one in every)
    lines.append(row("all", "", "", "", f"{kernels:,}", f"{round(whole):,}", "100 %"))
    others = {"biases": spec.parameters - kernels}
    for layer in spec.layers:
        words = REST.get(type(layer))
        if words:
            size = sum(prod(shape) for key, shape in layer.shapes.items() if key not in spec.statistics)
            others[words] = others.get(words, 0) + size
            others["biases"] -= size
    *most, last = (f"{count:,} {words}" for words, count in others.items())
    besides = " and ".join([", ".join(most), last] if most else [last])
    note = f"With {besides}, {TITLES[name]} x{spec.scale} has **{spec.parameters:,}** parameters."
    return "\n".join(lines) + f"\n\n{note}"


def _form(one):
    """What layers have in common that stand on one line."""
    layer = one.layer
    return layer.name.split(".")[0], layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.times, one.places


def _names(names):
    return f"`{names[0]}`" if len(names) == 1 else f"`{names[0]}` to `{names[-1]}`"


def measured(report, *names):
    """What the benchmark measured of some networks, and how far that is from the papers."""
    chosen, parts = [one for one in rows(report) if one["model"] in names], []
    if chosen:
        parts.append(table(chosen))
        parts.append(
            "PSNR in dB and SSIM on luma; *gain* is over bicubic interpolation. [The benchmark](../benchmark.md) has "
            "every picture and clip and the protocol, [the cards](../../weights/README.md) say how each was trained."
        )
        parts += [_beside_the_paper(chosen)] if _differences(chosen) else []
    missing = [name for name in names if name not in {one["model"] for one in chosen}]
    return "\n\n".join([*parts, *([_not_measured(missing)] if missing else [])])


def _not_measured(missing):
    titles, commands = (
        " and ".join(words)
        for words in ([TITLES[name] for name in missing], [f"`python main.py --model {name}`" for name in missing])
    )
    are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
    return (
        f"{titles} {are} not measured yet: the benchmark measures networks whose weights are in "
        f"[weights/](../../weights/README.md). {commands} will train {them}."
    )


def _differences(chosen):
    """{(network, set, trained on, kind): {scale: dB}} of ours less the paper's: PSNR of pictures, gains of clips."""
    found = {}
    for one in chosen:
        for paper in published(one["model"], one["known"], one["scale"]):
            psnr = ours(one)["psnr"]
            clips = one["kind"] == "clips"
            if not clips or paper.gain is not None:
                difference = psnr - one["bicubic"]["psnr"] - paper.gain if clips else psnr - paper.psnr
                key = one["model"], one["set"], paper.trained_on, "gain" if clips else "PSNR"
                found.setdefault(key, {})[one["scale"]] = difference
    return found


def _beside_the_paper(chosen):
    lines = ["Ours less the paper's, in dB:", ""]
    for (name, test_set, data, kind), figures in _differences(chosen).items():
        figures = ", ".join(f"x{scale} {value:+.2f}" for scale, value in sorted(figures.items()))
        lines.append(f"- {TITLES[name]}, {kind} on {test_set}, against the figures for *{data}*: {figures}")
    return "\n".join(lines)


def cost(report):
    """Parameters, receptive field and work of every network at every scale, and how long it took."""
    machine, times = _times(report)
    lines = heads(
        "scale", "network", "parameters", "receptive field", "G multiply-adds", "G operations", "VESPCN's paper", "ms"
    )
    for scale in (2, 3, 4):
        for name in NETWORKS:
            if scale not in NETWORKS[name].scales:
                continue
            spec = network(name, scale=scale)
            side, operations = receptive_field(spec), operations_per_frame(spec)
            unit = "enlarged" if spec.upscale_first else "small"
            lines.append(
                row(
                    f"x{scale}",
                    TITLES[name],
                    f"{spec.parameters:,}",
                    f"{side} × {side} {unit}" + (f", × {spec.frames} frames" if spec.frames > 1 else ""),
                    _giga(operations / 2),
                    _giga(operations),
                    f"{PUBLISHED[name, scale]:.2f}" if (name, scale) in PUBLISHED else "",
                    f"{times[name, scale]:g}" if (name, scale) in times else "",
                )
            )
    notes = (
        f"*ms*: milliseconds for the luma of one frame with the faster of the two frameworks, on: {machine}."
        if times
        else "Times are not measured yet."
    )
    return "\n".join(lines) + f"\n\n{notes}"


def _giga(operations):
    return f"{operations / 1e9:,.2f}" if operations < 1e11 else f"{operations / 1e9:,.0f}"


def _times(report):
    """(machine, {(network, scale): least milliseconds}) of the machine with most times, none that was kept busy."""
    free = [one for one in report["times"] if not one["busy"]]
    machines = [one["machine"] for one in free]
    machine, times = max(sorted(set(machines)), key=machines.count, default=None), {}
    for one in free:
        if one["machine"] == machine:
            key = one["model"], one["scale"]
            times[key] = min(times.get(key, one["milliseconds"]), one["milliseconds"])
    return machine, times


def quality(report):
    """PSNR and SSIM of every network on every set of the papers, a row for each scale and network."""
    chosen = [one for one in rows(report) if one["known"]]
    sets = list(dict.fromkeys(one["known"] for one in chosen))
    cells = {(one["scale"], one["model"], one["known"]): ours(one) for one in chosen}
    cells |= {(one["scale"], "bicubic", one["known"]): one["bicubic"] for one in chosen}
    lines = heads("scale", "network", *sets)
    for scale in sorted({key[0] for key in cells}):
        for name in ("bicubic", *NETWORKS):
            figures = [cells.get((scale, name, test_set)) for test_set in sets]
            if any(figures):
                title = TITLES.get(name, name)
                shown = [f"{one['psnr']:.2f} / {one['ssim']:.4f}" if one else "" for one in figures]
                lines.append(row(f"x{scale}", title, *shown))
    missing = [name for name in NETWORKS if name not in {one["model"] for one in chosen}]
    return "\n".join(lines) + (f"\n\n{_not_measured(missing)}" if missing else "")


def heads(*names):
    """The first two lines of a table."""
    return [row(*names), "|" + "---|" * len(names)]


def row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


KINDS = {"layers": layers, "measured": measured, "cost": cost, "quality": quality}


def main():
    folder = Path(argv[1]) if len(argv) > 1 else PAGES
    folder.mkdir(parents=True, exist_ok=True)
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    for name, draw in FIGURES.items():
        (folder / f"{name}.svg").write_text(draw(), encoding="utf-8")
    for page in sorted(PAGES.glob("*.md")):
        (folder / page.name).write_text(filled(page.read_text(encoding="utf-8"), report), encoding="utf-8")


if __name__ == "__main__":
    main()
