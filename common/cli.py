"""What the entry points share: flags, their parsing, and how an error becomes an exit code."""

import argparse
import json
import os
import sys
import traceback
from contextlib import suppress

from common import __version__, backend
from common.errors import UsageError, sentence
from common.files import check_place, finite, written_whole
from common.interruption import terminable
from common.networks import MOTIONS, NETWORKS

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def run_command(function, arguments):
    """Call function(arguments) and return the exit code; errors become one sentence on stderr.

    `arguments.debug` shows the traceback as well.
    """
    try:
        with terminable():
            function(arguments)
            sys.stdout.flush()  # while it can be said what goes wrong
        return DONE
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stderr.close()
        return FAILED
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the user gets a sentence
        if arguments.debug:
            traceback.print_exc()
        print(f"Error: {sentence(error)}", file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else FAILED
    finally:
        forget_unwritten_output()


def forget_unwritten_output():
    """Leave nothing on standard output that cannot be written: Python would try when it ends, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def boolean(text):
    """True or False of the words people write for them; argparse's own `bool` takes "False" for true."""
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def positive(kind, most=2**31 - 1):
    """An argparse type: a number of `kind` (int or float) above zero, and a whole one at most `most`."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not value > 0 or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive {'whole ' if kind is int else ''}number")
        if kind is int and value > most:
            raise argparse.ArgumentTypeError(f"{text!r} is above {most}")
        return value

    return parse


def not_negative(kind):
    """An argparse type: a finite number of `kind` (int or float), zero or above, and a whole one of 32 bits."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 <= value < (2**32 if kind is int else float("inf")):
            raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' if kind is int else ''}number from zero on")
        return value

    return parse


def port(text):
    """An argparse type: the number of a port, or 0."""
    if text.isdecimal() and int(text) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")


def tile_size(text):
    """An argparse type: "auto", 0, or a side in pixels."""
    if text == "auto" or text.isdigit():
        return text if text == "auto" else int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither 'auto' nor a number of pixels")


def variant(text):
    """An argparse type: KEY=VALUE for a field of a network, e.g. kernels=9-1-5 or activation=relu."""
    key, equals, value = text.partition("=")
    if not key or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    numbers = value.split("-")
    if all(number.isdigit() for number in numbers):
        return key, tuple(map(int, numbers)) if len(numbers) > 1 else int(value)
    with suppress(ValueError):
        return key, float(value)
    return key, value


def layer_rate(text):
    """An argparse type: LAYER=FACTOR, e.g. conv3=0.1; 0 keeps the layer as it is."""
    layer, _, factor = text.partition("=")
    try:
        value = float(factor)
    except ValueError:
        value = -1.0
    if not layer or not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYER=FACTOR")
    return layer, value


class Parser(argparse.ArgumentParser):
    """A parser whose --scale and --c_dim default to what the network has that --model names."""

    def parse_known_args(self, args=None, namespace=None):
        namespace, rest = super().parse_known_args(args, namespace)
        spec = NETWORKS[namespace.model]()
        for flag, value in (("scale", spec.scale), ("c_dim", spec.channels)):
            if getattr(namespace, flag, value) is None:
                setattr(namespace, flag, value)
        return namespace, rest


def add_common_flags(parser, framework):
    """The flags that both entry points have; `framework` is their default where it is installed."""
    default = backend.installed(framework)
    parser.add_argument("--framework", choices=list(backend.FRAMEWORKS), default=default, help="default: %(default)s")
    parser.add_argument("--scale", type=positive(int), help="enlargement factor (default: 3, srresnet and srgan 4)")
    parser.add_argument("--weights", metavar="FILE", help="weights to use, or to start training from, instead of ours")
    parser.add_argument(
        "--motion", choices=MOTIONS, help="how a video network brings neighbours onto a frame (default: as trained)"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=positive(int, 1024), help="CPU threads to compute on (default: all that pay)")
    parser.add_argument(
        "--report", type=json_path, metavar="FILE.json", help="write what was done and measured as JSON"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=__version__)


def add_page_flags(parser):
    """The flags of the local page."""
    page = parser.add_argument_group("a local page")
    page.add_argument("--serve", action="store_true", help="do it in a browser instead, one picture or clip at a time")
    page.add_argument("--host", help="address to listen at (default: 127.0.0.1, for this machine only)")
    page.add_argument("--port", type=port, help="port to listen at, 0: any that is free (default: 7860)")
    page.add_argument("--jobs", type=positive(int), help="how many are worked on at once; others wait (default: 1)")


def page_asked_for(arguments):
    """Whether --serve was given; raises UsageError if it was not and other flags of the page were."""
    given = [f"--{flag}" for flag in ("host", "port", "jobs") if getattr(arguments, flag) is not None]
    if given and not arguments.serve:
        raise UsageError(f"{given[0]} is for --serve.")
    return arguments.serve


def use_threads(arguments):
    """Hold the framework of `arguments` to their --threads, if they name a number."""
    if arguments.threads:
        backend.load(arguments.framework, "runtime").use_threads(arguments.threads)


def model_names():
    return list(NETWORKS)


def json_path(text):
    """An argparse type: a path that ends in .json, so that no picture is taken for a place for the report."""
    if not text.lower().endswith(".json"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .json")
    return text


def any_path(text):
    """An argparse type: a path, which is not empty, as a variable that nobody set would be."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def page_path(text):
    """An argparse type: a path that ends as a page does, so that no picture is taken for a place for it."""
    if not text.lower().endswith((".html", ".htm")):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .html")
    return text


def check_report(path):
    """Raise CommandError if no report can be written to `path`, if one was given."""
    if path:
        check_place(path, "report")


def write_report(path, report):
    """Write `report` as JSON to `path`, if a path was given."""
    if path:
        report = finite(report)
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
