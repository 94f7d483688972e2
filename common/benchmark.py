"""The table of figures: every shipped network on every test set, beside bicubic and beside its paper.

    python -m common.benchmark --data ../shared/data/test

Each folder of pictures in the given one is a test set. The protocol is that of the papers (common/metrics.py).
"""

import argparse
import sys
from pathlib import Path

from common import cli
from common.networks import NETWORKS

# PSNR in dB on luma as published: (network, set, scale) -> (figure, what the paper trained on).
PUBLISHED = {
    ("srcnn", "Set5", 2): (36.66, "ImageNet"),
    ("srcnn", "Set5", 3): (32.75, "ImageNet"),
    ("srcnn", "Set5", 4): (30.49, "ImageNet"),
    ("srcnn", "Set14", 2): (32.45, "ImageNet"),
    ("srcnn", "Set14", 3): (29.30, "ImageNet"),
    ("srcnn", "Set14", 4): (27.50, "ImageNet"),
    ("espcn", "Set5", 3): (33.13, "ImageNet"),
    ("espcn", "Set5", 4): (30.90, "ImageNet"),
    ("espcn", "Set14", 3): (29.49, "ImageNet"),
    ("espcn", "Set14", 4): (27.73, "ImageNet"),
}


def measure(data, models, scales, frameworks, report=lambda name: None):
    """Rows of the table: {"model", "set", "scale", "bicubic", "published", framework: {"psnr", "ssim"}, ...}.

    data: folder of test sets. Only networks and scales for which weights are shipped are measured.
    """
    from common.evaluation import evaluate, mean
    from common.images import find_pictures, read_picture
    from common.upscaler import Upscaler
    from common.weights import shipped_scales, weights_for

    rows = []
    for folder in sorted(path for path in Path(data).iterdir() if path.is_dir()):
        pictures = [(path.name, read_picture(path).pixels) for path in find_pictures(folder)]
        if not pictures:
            continue
        for model in models:
            for scale in (scale for scale in shipped_scales(model) if scale in scales):
                row = {"model": model, "set": folder.name, "scale": scale}
                row["published"] = PUBLISHED.get((model, folder.name, scale))
                for framework in frameworks:
                    report(f"{model} x{scale} {folder.name} {framework}")
                    upscaler = Upscaler(weights_for(model, scale), framework)
                    average = mean([evaluate(upscaler, name, pixels).figures for name, pixels in pictures])
                    row[framework] = {key: average[key] for key in ("psnr", "ssim")}
                    row["bicubic"] = {"psnr": average["bicubic_psnr"], "ssim": average["bicubic_ssim"]}
                rows.append(row)
    return rows


def markdown(rows, frameworks):
    """The table as Markdown."""
    heads = ["network", "set", "scale", "bicubic", *frameworks, "the paper (trained on)"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        figures = [f"{row[key]['psnr']:.2f} / {row[key]['ssim']:.4f}" for key in ("bicubic", *frameworks)]
        paper = "{:.2f} ({})".format(*row["published"]) if row["published"] else ""
        lines.append("| " + " | ".join([row["model"], row["set"], f"x{row['scale']}", *figures, paper]) + " |")
    return "\n".join(lines)


def benchmark(arguments):
    """Measure and print."""
    rows = measure(
        cli.existing_folder(arguments.data),
        arguments.model,
        arguments.scale,
        arguments.framework,
        lambda name: print(name, file=sys.stderr),
    )
    if not rows:
        raise cli.CommandError(f"{arguments.data} holds no folder with pictures, or no weights are shipped.")
    cli.write_report(arguments.report, rows)
    print(markdown(rows, arguments.framework))


def parser():
    parse = argparse.ArgumentParser(
        prog="python -m common.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("--data", default="../shared/data/test", help="folder of test sets (default: %(default)s)")
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parse.add_argument("--scale", nargs="+", type=int, default=[2, 3, 4])
    parse.add_argument("--framework", nargs="+", choices=list(cli.FRAMEWORKS), default=list(cli.FRAMEWORKS))
    parse.add_argument("--report", metavar="FILE.json", help="write the figures as JSON")
    parse.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parse


if __name__ == "__main__":
    sys.exit(cli.run_command(benchmark, parser().parse_args()))
