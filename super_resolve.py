"""Make pictures and video larger and sharper: python super_resolve.py in.png"""

import argparse
import sys
from pathlib import Path

from common import cli
from common.errors import CommandError, UsageError

EXAMPLES = """examples:
  python super_resolve.py in.png                          three times larger, beside in.png
  python super_resolve.py holiday.mkv --scale 2           a video, with its sound and everything else
  python super_resolve.py holiday.mkv --resume            ... and the same again goes on where it was stopped
  python super_resolve.py photos --model srcnn            every picture of a folder
  python super_resolve.py films --cluster auto            every film of a folder, on all machines of a Ray cluster
  python super_resolve.py in.png --compare page.html      and a page to compare before and after
  python super_resolve.py                                 an embedded photograph, with the PSNR reached
  python super_resolve.py --serve                         a page in the browser that does the same
"""
ENCODER = ("codec", "crf", "preset", "rate")  # flags of films


def parser():
    parse = cli.Parser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parse.add_argument
    add("bare", nargs="?", type=cli.any_path, metavar="INPUT", help="the same as --input")
    add("--model", choices=cli.model_names(), default="espcn", help="default: %(default)s")
    cli.add_common_flags(parse, framework="torch")
    kinds = "a picture, a folder of pictures, a video, or - (default: a photograph of ours)"
    add("--input", type=cli.any_path, metavar="PATH", help=kinds)
    add("--output", type=cli.any_path, metavar="PATH", help="the result (default: beside the input)")
    add("--compare", type=cli.page_path, metavar="PAGE.html", help="also write a page that compares before and after")
    add("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto", help="default: %(default)s")
    add("--tile", type=cli.tile_size, default="auto", metavar="auto|0|N", help="side of the tiles, 0: none")
    add("--overwrite", action="store_true", help="replace an existing result")
    add("--resume", action="store_true", help="keep what is finished, and go on where the same command was stopped")
    machines = "work on all machines of a Ray cluster, on folders of films as well; implies --resume"
    add("--cluster", type=cli.any_path, metavar="local|auto|ADDRESS", help=machines)
    add("--quiet", action="store_true", help="no progress, only the path of the result")

    video = parse.add_argument_group("video")
    video.add_argument("--codec", help="encoder, such as h264, h265, vp9, ffv1 (default: what suits the file)")
    video.add_argument("--crf", type=float, help="quality in the encoder's own scale, lower is better")
    video.add_argument("--preset", help="effort in the encoder's own words, such as veryfast or slow")
    video.add_argument(
        "--segment",
        type=cli.positive(float),
        metavar="SECONDS",
        help="of film that --resume or --cluster finishes at a time (default: 10)",
    )
    video.add_argument("--rate", type=cli.positive(float), help="of numbered pictures (default: 25)")
    cli.add_page_flags(parse)
    return parse


def super_resolve(arguments):
    from common.upscaler import Upscaler
    from common.weights import weights_for, with_motion

    cli.check_report(arguments.report)
    source = input_path(arguments)
    comparison = comparison_for(source, arguments)
    weights = with_motion(weights_for(arguments.model, arguments.scale, arguments.weights), arguments.motion)
    network = {flag: getattr(arguments, flag) for flag in ("framework", "device", "precision", "tile")}
    if arguments.cluster:
        job = finished(cluster_job(arguments, weights, network), source, arguments)
    else:
        cli.use_threads(arguments)
        job = enlarge(source, arguments, Upscaler(weights, **network), comparison)
    target, upscaler = job.target, job.upscaler
    if not arguments.quiet and upscaler.working_set:
        print(upscaler.summary(), file=sys.stderr if target == "-" else sys.stdout)
    for warning in job.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    cli.write_report(arguments.report, job.report())
    if target != "-":
        print(target)
    if job.failed:
        raise CommandError(job.failure)


def enlarge(source, arguments, upscaler, comparison):
    """Do the job that suits the input, and write the page that compares, if there is one; returns the finished job."""
    return finished(job_for(source, arguments, upscaler, comparison), source, arguments, comparison)


def finished(job, source, arguments, comparison=None):
    job.run(source, arguments.output)
    job.warnings += job.upscaler.warnings
    if comparison:
        job.warnings += comparison.write()
    return job


def input_path(arguments):
    """The input given either way: a Path, "-", or None for the embedded one."""
    if arguments.bare and arguments.input:
        raise UsageError("The input was given twice, bare and as --input.")
    path = arguments.bare or arguments.input
    if path in (None, "-"):
        return path
    from common.video_reader import is_pattern

    if not Path(path).exists() and not is_pattern(path):
        raise CommandError(f"{path} does not exist.")
    return Path(path)


def comparison_for(source, arguments):
    """The page that was asked for, still empty, or None."""
    if not arguments.compare:
        return None
    from common.comparison import Comparison

    return Comparison(arguments.compare, source, arguments.output, arguments.overwrite)


def job_for(source, arguments, upscaler, comparison):
    """The job that suits the input."""
    from common.films import FilmJob, is_film
    from common.resuming import ResumableFilmJob
    from common.stills import StillsJob

    film = is_film(source, arguments.output) or (source is None and upscaler.spec.frames > 1)
    encoder = {flag: getattr(arguments, flag) for flag in ENCODER}
    if arguments.segment and not (film and arguments.resume):
        raise UsageError("--segment is for films with --resume.")
    if film and arguments.resume:
        if comparison:
            raise UsageError("--compare needs a film in one go, without --resume; a cut piece of it will do.")
        seconds = arguments.segment
        return ResumableFilmJob(upscaler, arguments.overwrite, arguments.quiet, seconds=seconds, **encoder)
    if film:
        return FilmJob(upscaler, arguments.overwrite, arguments.quiet, comparison, **encoder)
    if given := [f"--{flag}" for flag, value in encoder.items() if value is not None]:
        raise UsageError(f"{' and '.join(given)} are for video, which this is not.")
    return StillsJob(upscaler, arguments.overwrite, arguments.quiet, comparison, arguments.resume)


def cluster_job(arguments, weights, network):
    """The job that has it done by other processes."""
    from common.cluster_job import ClusterJob

    if arguments.compare:
        raise UsageError("--compare needs a film in one go, without --cluster; a cut piece of it will do.")
    encoder = {flag: getattr(arguments, flag) for flag in ENCODER}
    how = arguments.threads, arguments.overwrite, arguments.quiet
    return ClusterJob(arguments.cluster, weights, network, *how, seconds=arguments.segment, **encoder)


def work(arguments):
    if cli.page_asked_for(arguments):
        from common.serving import serve

        serve(arguments, enlarge)
    else:
        super_resolve(arguments)


def main(argv=None):
    return cli.run_command(work, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
