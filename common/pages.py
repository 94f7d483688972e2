"""Pages of letters and lines, drawn at random: titles, subtitles and screens look like that, and photographs hardly do.

A network that learnt from photographs alone may overshoot where it meets letters, with bright and dark dots beside
them. A few such pages among the pictures that it is trained on teach it not to:

    python -m common.pages pages
    python main.py --model espcn --train_dir photographs pages
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from common import cli
from common.images import Picture, write_picture

SIDE = 800  # of a page, in pixels
COUNT = 4
FINER = 4  # times as many pixels while it is drawn
HEIGHTS = 9, 64  # of a line of letters, in pixels
SIGNS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?()&%+-=/ "
FACES = range(8)  # OpenCV's fonts, from plain to script
CONTRAST = 64  # at least, of 255, between what is drawn and what it is drawn on


def page(seed):
    """A page of bands, each of letters or of lines and curves in two colours of its own, (SIDE, SIDE, 3) uint8."""
    import cv2

    generator, bands, covered = np.random.default_rng(seed), [], 0
    while covered < SIDE:
        height = int(np.exp(generator.uniform(*np.log(HEIGHTS))))
        paper, ink = _colours(generator)
        band = np.full((FINER * min(2 * height, SIDE - covered), FINER * SIDE, 3), paper, np.uint8)
        (_letters if generator.random() < 0.8 else _lines)(band, FINER * height, ink, generator)
        bands.append(band)
        covered += len(band) // FINER
    return cv2.resize(np.concatenate(bands), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def write_pages(folder, count=COUNT, overwrite=False):
    """Write `count` pages, always the same, into `folder` as page1.png and so on; returns the paths.

    Raises PictureError if one of the files exists and `overwrite` is not given, or cannot be written.
    """
    paths = [Path(folder) / f"page{number}.png" for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        write_picture(path, Picture(page(number)), overwrite=overwrite)
    return paths


def _colours(generator):
    """Two colours; half of them black and white, either way round."""
    if generator.random() < 0.5:
        return [[0] * 3, [255] * 3][:: generator.choice([-1, 1])]
    while True:
        pair = generator.integers(0, 256, (2, 3))
        if abs(np.diff(pair.mean(1))) >= CONTRAST:
            return pair.tolist()


def _letters(band, height, ink, generator):
    import cv2

    face, thickness = int(generator.choice(FACES)), max(1, int(height * generator.uniform(0.04, 0.16)))
    size = cv2.getFontScaleFromHeight(face, height, thickness)
    text = "".join(generator.choice(list(SIGNS), 2 * SIDE * FINER // height))
    cv2.putText(band, text, (height // 4, int(1.4 * height)), face, size, ink, thickness, cv2.LINE_AA)


def _lines(band, height, ink, generator):
    import cv2

    rows, columns = band.shape[:2]
    for x in range(0, columns, height):
        ends = generator.integers(-height, 2 * height, (2, 2)) + (x, 0)
        thickness = int(height * generator.uniform(0.03, 0.2)) + 1
        if generator.random() < 0.5:
            cv2.line(band, *ends.tolist(), ink, thickness, cv2.LINE_AA)
        else:
            cv2.circle(band, ends[0].tolist(), int(generator.uniform(0.2, 1) * height), ink, thickness, cv2.LINE_AA)


def parser():
    parse = argparse.ArgumentParser(
        prog="python -m common.pages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parse.add_argument("folder", help="where the pages are written, as page1.png and so on")
    parse.add_argument("--count", type=cli.positive(int), default=COUNT, help="number of pages (default: %(default)s)")
    parse.add_argument("--overwrite", action="store_true", help="replace existing files")
    parse.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parse


def write(arguments):
    for path in write_pages(arguments.folder, arguments.count, arguments.overwrite):
        print(path)


def main(argv=None):
    return cli.run_command(write, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
