"""Make a picture, or a folder of pictures, larger and sharper: python super_resolve.py in.png"""

import argparse
import sys
from pathlib import Path

from common import cli

EXAMPLES = """examples:
  python super_resolve.py in.png                          three times larger, beside in.png
  python super_resolve.py photos --model srcnn --scale 2  every picture of a folder
  python super_resolve.py                                 an embedded photograph, with the PSNR reached
"""


def parser():
    parse = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("bare", nargs="?", metavar="INPUT", help="the same as --input")
    parse.add_argument("--model", choices=cli.model_names(), default="espcn", help="default: %(default)s")
    cli.add_common_flags(parse, framework="torch", scale=3)
    parse.add_argument(
        "--input", metavar="PATH", help="a picture or a folder of pictures (default: an embedded photograph)"
    )
    parse.add_argument("--output", metavar="PATH", help="the result (default: beside the input)")
    parse.add_argument(
        "--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto", help="default: %(default)s"
    )
    parse.add_argument(
        "--tile",
        type=cli.tile_size,
        default="auto",
        metavar="auto|0|N",
        help="side of the tiles worked on, 0 for none (default: %(default)s)",
    )
    parse.add_argument("--overwrite", action="store_true", help="replace an existing result")
    parse.add_argument("--quiet", action="store_true", help="print only the path of the result")
    return parse


def super_resolve(arguments):
    from common import stills
    from common.upscaler import Upscaler
    from common.weights import weights_for

    source = input_path(arguments)
    upscaler = Upscaler(
        weights_for(arguments.model, arguments.scale, arguments.weights),
        arguments.framework,
        arguments.device,
        arguments.precision,
        arguments.tile,
    )
    job = stills.Job(upscaler, arguments.overwrite, arguments.quiet)
    target = job.run(source, arguments.output)
    for warning in job.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    cli.write_report(arguments.report, job.report())
    print(target.resolve())
    if job.failed:
        raise cli.CommandError(f"{job.failed} of {job.frames_in} pictures could not be enlarged.")


def input_path(arguments):
    """The input given either way, or None for the embedded one."""
    if arguments.bare and arguments.input:
        raise cli.CommandError("The input was given twice, bare and as --input.")
    path = arguments.bare or arguments.input
    if path is not None and not Path(path).exists():
        raise cli.CommandError(f"{path} does not exist.")
    return None if path is None else Path(path)


def main(argv=None):
    return cli.run_command(super_resolve, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
