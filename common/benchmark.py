"""Measures every shipped network on every test set, beside bicubic interpolation and beside its paper.

    python -m common.benchmark --data ../shared/data/test
    python -m common.benchmark my_pictures --model espcn --scale 3 --report mine.json

Each folder of pictures, or of clips, inside the folder --data is a test set. Pictures are measured by the protocol of
the papers (common/metrics.py), clips on the luma of every frame without a border. With --report, what was measured is
kept, and the same command later measures only what is missing: other weights, other pictures, another machine's times.
"""

import argparse
import importlib.util
import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common import cli, plots, speed, tables
from common.backend import FRAMEWORKS, installed
from common.benchmark_gallery import write_gallery
from common.benchmark_report import Report, weights_hash
from common.errors import CommandError, UsageError
from common.evaluation import Bicubic, blur, clip_figures, evaluate
from common.files import existing_folder, written_whole
from common.images import Picture, read_picture, write_picture
from common.material import find_folders, find_sets
from common.networks import NETWORKS
from common.progress import ProgressBar
from common.upscaler import Upscaler
from common.video import open_video
from common.weights import shipped_scales, weights_for

DATA = "../shared/data/test"
OTHER_WORK = 1.2e-3  # milliseconds a pixel, about what reading, shrinking and comparing take beside the network


@dataclass(frozen=True)
class Job:
    """What is measured with one `Upscaler`: a network at a scale in a framework, or (framework None) bicubic."""

    model: str
    scale: int
    framework: str | None = None

    @property
    def key(self):
        return {"model": self.model, "scale": self.scale, "framework": self.framework}

    @property
    def weights(self):
        """SHA-256 of the weights file, or None for bicubic."""
        return None if self.framework is None else weights_hash(self.model, self.scale)

    @property
    def title(self):
        return " ".join([self.model, f"x{self.scale}", self.framework or ""]).strip()

    def upscaler(self, device):
        if self.framework is None:
            return Bicubic(self.scale)
        return Upscaler(weights_for(self.model, self.scale), self.framework, device, "fp32")


def measure(
    report, jobs, sets, device="auto", pictures=None, longest=math.inf, progress=lambda done, what, numbers: None
):
    """Measure what `report` lacks of the jobs on the sets of `Material`, and keep it, even if interrupted.

    pictures: folder for the results on sets of pictures, or None. longest: minutes above which a job on a set is left
    out. progress(done in [0, 1], what, {"psnr": dB}) is called after every picture and clip.
    """
    cost = {job: OTHER_WORK + report.milliseconds(job) / (speed.HEIGHT * speed.WIDTH) for job in jobs}
    todo = {job: [] for job in jobs}
    for material in sets:
        report.begin_set(material)
        for job in jobs:
            left = [(material, item) for item in material.items if item.name not in report.measured(job, material)]
            minutes = cost[job] * sum(item.samples for _, item in left) / 60_000
            if job.framework is None or minutes <= longest:
                todo[job] += left
            else:
                print(f"Left out: {job.title} on {material.name}, about {minutes:.0f} minutes.", file=sys.stderr)
    total = sum(cost[job] * item.samples for job, items in todo.items() for _, item in items)
    spent = 0.0
    try:
        for job, items in todo.items():
            upscaler = job.upscaler(device) if items else None
            for material, item in items:
                figures = _figures(upscaler, material, item, pictures and _result(pictures, job, material, item))
                report.add(job, material, figures)
                spent += cost[job] * item.samples
                shown = {} if figures["psnr"] is None else {"psnr": figures["psnr"]}
                progress(spent / total, f"{job.title} {material.name}", shown)
    finally:
        report.save()


def time_frames(report, jobs, device="auto", progress=lambda done, what, numbers: None):
    """Add to `report` how long a frame takes with each job for which it does not say so for this machine."""
    jobs = [job for job in jobs if job.framework]
    try:
        for number, job in enumerate(jobs, 1):
            machine = speed.machine(job.framework, device)
            if not report.is_timed(job, machine):
                time = speed.time_per_frame(job.upscaler(device))
                report.add_time(job, machine, time)
                progress(number / len(jobs), job.title, {"ms": time.milliseconds})
    finally:
        report.save()


def _results(folder, job, material):
    """The folder for the results of a job on a set."""
    return Path(folder) / f"{material.name}_x{job.scale}" / "_".join(filter(None, [job.model, job.framework]))


def _result(folder, job, material, item):
    """The file for the result of a job on a picture of a set."""
    return _results(folder, job, material) / f"{item.path.stem}.png"


def _figures(upscaler, material, item, result):
    """The item of a report for one picture or clip; its figures are None if it is too small for any.

    result: file for what the network makes of a picture, or None.
    """
    if min(item.shape[1:]) < 3 * upscaler.scale:
        print(f"Skipped: {item.path} is too small to be tested at x{upscaler.scale}.", file=sys.stderr)
        return {"name": item.name, "psnr": None, "ssim": None}
    if material.kind == "pictures":
        return _picture_figures(upscaler, item, result)
    with open_video(item.path) as reader:
        figures = clip_figures(upscaler, reader)
    frames = [_rounded(psnr, 3) for psnr in figures["psnr"]]
    means = {measure: sum(values) / len(values) for measure, values in figures.items()}
    return {"name": item.name, "psnr": _rounded(means["psnr"], 4), "ssim": _rounded(means["ssim"], 6), "frames": frames}


def _picture_figures(upscaler, item, path):
    pixels = read_picture(item.path).pixels
    result = evaluate(upscaler, item.name, pixels)
    if path:
        write_picture(path, Picture(result.pixels.copy()), overwrite=True)
    figures = {"name": item.name, "psnr": _rounded(result.psnr, 4), "ssim": _rounded(result.ssim, 6)}
    figures["blur"] = _rounded(blur(result.pixels), 4)
    if upscaler.name == "bicubic":
        figures["original_blur"] = _rounded(blur(pixels), 4)
    return figures


def _rounded(value, digits):
    """For a report: None where the figure is undefined, or infinite."""
    return round(float(value), digits) if math.isfinite(value) else None


def benchmark(arguments):
    """Measure, write and print."""
    check(arguments)
    folders = chosen_folders(arguments)
    networks = [
        (model, scale) for model in arguments.model for scale in shipped_scales(model) if scale in arguments.scale
    ]
    if not networks:
        raise CommandError("No weights are shipped for what was asked for.")
    jobs = [Job("bicubic", scale) for scale in sorted({scale for _, scale in networks})]
    jobs += [Job(model, scale, framework) for model, scale in networks for framework in arguments.framework]
    report = Report(arguments.report)
    speed.same_threads_everywhere()
    sets = find_sets(folders.values())
    for material in sets:
        print(material.identity[1], file=sys.stderr)
    with ProgressBar("Timing") as bar:
        time_frames(report, jobs, arguments.device, bar)
    with ProgressBar("Measuring") as bar:
        measure(report, jobs, sets, arguments.device, arguments.pictures, arguments.longest, bar)
    write_pages(report.content, arguments.markdown, arguments.readme)
    if arguments.gallery and not write_gallery(
        arguments.gallery, report, jobs, sets, partial(_result, arguments.pictures)
    ):
        print("There is no gallery, because no pictures were measured and kept.", file=sys.stderr)
    chosen = [row for row in tables.rows(report.content) if (row["model"], row["scale"]) in networks]
    print(tables.table([row for row in chosen if row["set"] in folders]))


def check(arguments):
    """Raise CommandError now, and not when hours of work are done, for what cannot be done."""
    cli.check_report(arguments.report)
    cli.check_report(arguments.markdown)
    if arguments.gallery and not arguments.pictures:
        raise UsageError("The --gallery shows what lies in the folder of --pictures, so name one.")
    if arguments.markdown and importlib.util.find_spec("matplotlib") is None:
        raise CommandError("The plots need matplotlib: pip install 'video-super-resolution[benchmark]'.")
    if arguments.readme:
        tables.with_table(Path(arguments.readme).read_text(encoding="utf-8"), "")


def chosen_folders(arguments):
    """{name: folder} of the test sets asked for. Raises CommandError if there are none."""
    if arguments.data != DATA or not arguments.folders:
        existing_folder(arguments.data)
    found = find_folders(arguments.data, map(existing_folder, arguments.folders))
    unknown = [name for name in arguments.set or () if name not in found]
    if unknown or not found:
        names = ", ".join(found) or "none"
        raise CommandError(f"There is no test set {' or '.join(unknown)} in {arguments.data}; found: {names}.")
    return {name: found[name] for name in found if not arguments.set or name in arguments.set}


def write_pages(content, markdown, readme):
    """Write the page with its plots beside it, and the table into the README, where they are asked for."""
    if markdown:
        page = Path(markdown)
        with written_whole(page) as temporary:
            temporary.write_text(tables.page(content, page.stem), encoding="utf-8")
        plots.draw(content, page.parent, page.stem)
    if readme:
        text = tables.with_table(Path(readme).read_text(encoding="utf-8"), tables.table(tables.rows(content)))
        with written_whole(readme) as temporary:
            temporary.write_text(text, encoding="utf-8")


def parser():
    parse = argparse.ArgumentParser(
        prog="python -m common.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument(
        "folders", nargs="*", metavar="FOLDER", help="further test sets: folders of pictures, or of clips"
    )
    parse.add_argument("--data", default=DATA, help="folder of test sets (default: %(default)s)")
    parse.add_argument("--set", nargs="+", metavar="NAME", help="only these test sets, e.g. Set5")
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="only these networks")
    parse.add_argument("--scale", nargs="+", type=cli.positive(int), default=[2, 3, 4], help="only these scales")
    parse.add_argument(
        "--framework",
        nargs="+",
        choices=list(FRAMEWORKS),
        default=[name for name in FRAMEWORKS if installed(name) == name],
        help="default: those that are installed",
    )
    parse.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: %(default)s")
    parse.add_argument(
        "--longest",
        type=cli.positive(float),
        default=60,
        metavar="MINUTES",
        help="leave out a network on a test set if it would take longer (default: %(default)s)",
    )
    parse.add_argument("--report", type=cli.json_path, metavar="FILE.json", help="go on with this report, and keep it")
    parse.add_argument("--markdown", metavar="FILE.md", help="write all of the report as a page, plots beside it")
    parse.add_argument("--readme", metavar="FILE.md", help=f"replace the table between {tables.BEGIN} and {tables.END}")
    parse.add_argument("--pictures", metavar="FOLDER", help="save the results on pictures that are measured now")
    parse.add_argument(
        "--gallery", type=cli.page_path, metavar="PAGE.html", help="a page that compares what lies in that folder"
    )
    parse.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parse


def main(argv=None):
    return cli.run_command(benchmark, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
