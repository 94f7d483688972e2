"""What the benchmark measured, as Markdown: the table of the README and the page docs/benchmark.md.

The report that they are made from is described in common/benchmark_report.py.
"""

import re
from pathlib import Path

from common.manifest import order
from common.networks import NETWORKS
from common.plots import planned
from common.published import published

BEGIN, END = "<!-- benchmark -->", "<!-- end of benchmark -->"
FRAMEWORKS = ("tensorflow", "torch")  # order of the columns

HEAD = """# Benchmark

Every network whose weights are shipped, in every framework, on the papers' test sets. This page and its plots are
written, and the table of the README with it, by

```sh
python -m common.benchmark --report docs/benchmark.json --markdown docs/benchmark.md --readme README.md
```

which measures only what `docs/benchmark.json` does not hold yet for the same weights and pictures. `make benchmark`
measures all of it anew into `results/`.

PSNR is in dB, then SSIM, both on 8-bit luma. **Pictures**: the low resolution is kept in floating point, and as many
pixels as the scale are cut from every side (`common/metrics.py`). **Clips**: the low resolution is rounded to 8 bits,
every frame counts, no border is cut, and the mean is over the frames of a clip, then over the clips; networks for
pictures enlarge frame by frame. *Gain* is over bicubic interpolation. Published figures name what their network was
trained on; ours were trained as [weights/README.md](../weights/README.md) says. A published gain is given where the
same paper prints bicubic; on Vid4, where its bicubic is not ours, compare gains and not figures.
"""

SHARPNESS = """## Sharpness without the truth

PSNR prefers the mean of all that the truth might be, which is blurred, so it speaks against networks trained to look
sharp. Below, from 0 (sharp) to 1 (blurred), is the perceptual blur of Crete et al. 2007 as scikit-image computes it
(`skimage.measure.blur_effect` on luma), the mean over a set. It says how crisp a result is and nothing about whether it
is right: ringing, noise and invented texture count as sharpness. What is near the originals is good, not what is least.

NIQE is left out: pyiqa, which has it, installs torchvision, transformers and much more, scikit-video is not maintained
any longer, and neither scikit-image nor torchmetrics has it.
"""


def rows(report):
    """The table's rows: {"model", "set", "known", "kind", "scale", "bicubic", framework, ...}.

    "bicubic" and each framework that was measured are {"psnr", "ssim", ...}, means over the set. What is not measured
    to its end is left out.
    """
    entries = {key: entry["mean"] for key, entry in _complete(report).items()}
    sets = {one["name"]: one for one in report["sets"]}
    result = []
    for name, scale, model in sorted({key[:3] for key in entries}, key=_order):
        bicubic = entries.get((name, scale, "bicubic", None))
        if model == "bicubic" or bicubic is None:
            continue
        row = {"model": model, "scale": scale, "set": name, "known": sets[name]["known"], "kind": sets[name]["kind"]}
        measured = {f: entries[name, scale, model, f] for f in FRAMEWORKS if (name, scale, model, f) in entries}
        result.append(row | {"bicubic": bicubic} | measured)
    return result


def ours(row):
    """The means of a row by whichever framework measured it, PyTorch if both did."""
    return row["torch"] if "torch" in row else row["tensorflow"]


def table(chosen):
    """The table of rows as Markdown."""
    frameworks = [name for name in FRAMEWORKS if any(name in row for row in chosen)]
    lines = _heads("set", "scale", "network", "bicubic", *frameworks, "gain", "published (trained on)")
    for row in chosen:
        figures = [_figures(row.get(key)) for key in ("bicubic", *frameworks)]
        paper = "; ".join(_published(one) for one in published(row["model"], row["known"], row["scale"]))
        gain = _signed(_difference(ours(row)["psnr"], row["bicubic"]["psnr"]))
        lines.append(_line(row["set"], f"x{row['scale']}", row["model"], *figures, gain, paper))
    return "\n".join(lines)


def page(report, stem="benchmark"):
    """docs/benchmark.md: everything in the report. `stem` begins the names of the plots beside it."""
    chosen = rows(report)
    parts = [HEAD, "## Test sets\n\n" + "\n".join(f"- {one['note']}" for one in report["sets"]) + "\n"]
    parts.append(f"## Results\n\n{table(chosen)}\n\n{_agreement(report)}{_missing(report, chosen)}\n")
    parts += [f"![{plot.caption}]({plot.name(stem)})\n\n*{plot.caption}*\n" for plot in planned(report)]
    parts.append(f"## Time per frame\n\n{_times(report)}\n")
    parts.append(f"{SHARPNESS}\n{_sharpness(chosen)}\n")
    parts.append("## Picture by picture, clip by clip\n\n" + "\n\n".join(_by_item(report)) + "\n")
    return "\n".join(parts)


def _missing(report, chosen):
    """A sentence on the networks that were measured on some of the sets only, if there are any."""
    measured = {}
    for row in chosen:
        measured.setdefault(row["model"], set()).add(row["set"])
    sets = [one["name"] for one in report["sets"]]
    gaps = [f"{model} on {' and '.join(s for s in sets if s not in seen)}" for model, seen in measured.items()
            if seen < set(sets)]  # fmt: skip
    return f" Not measured: {', '.join(gaps)}." if gaps else ""


def with_table(text, new):
    """`text` with the table between its markers replaced by `new`. Raises ValueError if there are no markers."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"there are no lines {BEGIN} and {END} to put the table between")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{rest.split(END, 1)[1]}"


def table_in(text):
    """The table between the markers of `text`, as `with_table` put it there."""
    return re.search(f"{BEGIN}\n\n(.*?)\n\n{END}", text, re.DOTALL)[1]


def _complete(report):
    """{(set, scale, network, framework): entry} of what was measured to its end."""
    return {(e["set"], e["scale"], e["model"], e["framework"]): e for e in report["entries"] if e.get("mean")}


def _order(key):
    """Sets and networks in the order of their tables, others behind by name."""
    name, scale, model = key
    return (*order(name), scale, ["bicubic", *NETWORKS].index(model))


def _agreement(report):
    """What the frameworks differ by, in a sentence."""
    figures = {
        (e["model"], e["scale"], e["set"], item["name"], e["framework"]): item["psnr"]
        for e in report["entries"]
        for item in e["items"]
    }
    pairs = [(figures.get((*key[:4], "tensorflow")), psnr) for key, psnr in figures.items() if key[4] == "torch"]
    gaps = [abs(one - other) for one, other in pairs if None not in (one, other)]
    if not gaps:
        return "Only one framework was measured."
    return f"Between the frameworks, no picture or clip differs by more than {max(gaps):.4f} dB."


def _times(report):
    """The times on each machine."""
    parts = []
    for machine in sorted({one["machine"] for one in report["times"]}):
        times = {(t["model"], t["scale"], t["framework"]): t for t in report["times"] if t["machine"] == machine}
        frameworks = [name for name in FRAMEWORKS if any(key[2] == name for key in times)]
        lines = _heads("network", "scale", *frameworks)
        for model, scale in sorted({key[:2] for key in times}, key=lambda key: (list(NETWORKS).index(key[0]), key[1])):
            cells = [_milliseconds(times.get((model, scale, name))) for name in frameworks]
            lines.append(_line(model, f"x{scale}", *cells))
        parts.append(f"Milliseconds for the luma of one frame of 1920 x 1080, on: {machine}.\n\n" + "\n".join(lines))
    parts.append(
        "The least of three repetitions. A ~ marks what was extrapolated from a part of the frame, *busy* what was "
        "measured while other work held the machine."
    )
    return "\n\n".join(parts)


def _sharpness(chosen):
    """The blur of the originals, of bicubic and of the networks, where it was measured."""
    lines = _heads("set", "scale", "network", "blur", "bicubic", "originals")
    for row in chosen:
        blurs = [ours(row).get("blur"), row["bicubic"].get("blur"), row["bicubic"].get("original_blur")]
        if None not in blurs:
            lines.append(_line(row["set"], f"x{row['scale']}", row["model"], *(f"{value:.3f}" for value in blurs)))
    return "\n".join(lines)


def _by_item(report):
    """A table for every set and scale, the networks side by side."""
    entries = _complete(report)
    chosen = rows(report)
    for name, scale in dict.fromkeys((row["set"], row["scale"]) for row in chosen):
        networks = [row["model"] for row in chosen if (row["set"], row["scale"]) == (name, scale)]
        columns = [entries[name, scale, "bicubic", None]]
        columns += [
            next(entries[name, scale, model, f] for f in FRAMEWORKS[::-1] if (name, scale, model, f) in entries)
            for model in networks
        ]
        lines = _heads(f"{name} x{scale}", "bicubic", *networks)
        for items in zip(*(column["items"] for column in columns), strict=True):
            lines.append(_line(Path(items[0]["name"]).stem, *map(_figures, items)))
        lines.append(_line("mean", *(_figures(column["mean"]) for column in columns)))
        yield "\n".join(lines)


def _heads(*heads):
    return [_line(*heads), "|" + "---|" * len(heads)]


def _line(*cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _figures(measured):
    """PSNR and SSIM, either of which may be undefined."""
    if measured is None:
        return ""
    psnr, ssim = measured["psnr"], measured["ssim"]
    return f"{'-' if psnr is None else f'{psnr:.2f}'} / {'-' if ssim is None else f'{ssim:.4f}'}"


def _published(one):
    gain = "" if one.gain is None else f", {_signed(one.gain)}"
    return f"{one.psnr:.2f}{'' if one.ssim is None else f' / {one.ssim:.4f}'}{gain} ({one.trained_on})"


def _difference(one, other):
    return None if None in (one, other) else one - other


def _signed(value):
    return "" if value is None else f"{value:+.2f}"


def _milliseconds(time):
    if time is None:
        return ""
    return f"{'~' if time['extrapolated'] else ''}{time['milliseconds']:g}{' (busy)' if time['busy'] else ''}"
