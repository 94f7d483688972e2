"""How fast our bicubic is: milliseconds for a 1080p frame, and the ratio to OpenCV's and Pillow's on the same pixels.

Theirs are other functions (see common/resize.py), so this compares speed only. One thread each.
"""

import argparse
import time
from pathlib import Path
from sys import path

path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from PIL import Image

from common.resize import resize

ROUNDS = 15
CASES = [
    ("enlarge x2", (540, 960), 2),
    ("enlarge x3", (360, 640), 3),
    ("enlarge x4", (270, 480), 4),
    ("shrink x3", (1080, 1920), 1 / 3),
]


def milliseconds(function):
    begin = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - begin)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cv2.setNumThreads(1)
    print(f"{'one float32 plane':20}{'ours ms':>10}{'OpenCV ms':>11}{'Pillow ms':>11}{'/OpenCV':>9}{'/Pillow':>9}")
    for name, (rows, columns), scale in CASES:
        plane = np.random.default_rng(0).random((rows, columns), np.float32)
        picture = Image.fromarray(plane)
        size = round(columns * scale), round(rows * scale)
        contestants = [
            lambda plane=plane, scale=scale: resize(plane, scale),
            lambda plane=plane, size=size: cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC),
            lambda picture=picture, size=size: picture.resize(size, Image.Resampling.BICUBIC),
        ]
        for contestant in contestants:
            contestant()
        ours, opencv, pillow = np.median([[milliseconds(one) for one in contestants] for _ in range(ROUNDS)], axis=0)
        print(f"{name:20}{ours:10.2f}{opencv:11.2f}{pillow:11.2f}{ours / opencv:9.2f}{ours / pillow:9.2f}")


if __name__ == "__main__":
    main()
