"""What a whole film costs beside its parts: file to file, 640 x 360 to 1920 x 1080, and decoding, network and encoding
measured alone, in milliseconds a frame; the ratio is of the whole to their sum.

The film is a camera that drifts over pictures, of a folder or the embedded photographs, one scene of 25 frames each.
The parts and the whole take turns in one process; the least of all rounds counts.

    python benchmarks/film.py --model espcn vespcn --framework torch tensorflow
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.experiments import pictures_of
from common.films import FilmJob
from common.images import read_picture
from common.networks import NETWORKS
from common.upscaler import Upscaler
from common.video import open_video, open_writer
from common.weights import weights_for
from common.windows import windows

ROWS, COLUMNS, SCALE = 360, 640, 3
SCENE, ROOM = 25, 40  # frames of a scene, and pixels that the camera drifts in it
TARGET = 1.15


def scenes(paths):
    """Yield (ROWS, COLUMNS, 3) uint8 frames without end."""
    import cv2

    while True:
        for path in paths:
            pixels = read_picture(path).pixels[..., :3]
            pixels = (pixels >> 8 * (pixels.itemsize - 1)).astype(np.uint8)
            grow = max((ROWS + ROOM) / pixels.shape[0], (COLUMNS + ROOM) / pixels.shape[1])
            kind = cv2.INTER_AREA if grow < 1 else cv2.INTER_CUBIC
            ground = cv2.resize(pixels, None, fx=grow, fy=grow, interpolation=kind)
            for at in np.linspace(0, ROOM, SCENE).astype(int):
                frame = ground[at : at + ROWS, at : at + COLUMNS].reshape(ROWS, COLUMNS, -1)
                yield np.broadcast_to(frame, (ROWS, COLUMNS, 3)).copy()


def write_film(path, paths, frames):
    import av

    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, "yuv420p"
        for _, frame in zip(range(frames), scenes(paths), strict=False):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def one_round(upscaler, film, larger):
    """{part: seconds}: "decode", "network", "encode" and "whole"."""
    frames, enlarged = [], []

    def decode():
        with open_video(film) as reader:
            frames.extend(reader)

    def network():
        enlarged.extend(upscaler.frame(window) for window in windows(frames, upscaler.spec.frames // 2))

    def encode():
        with open_video(film) as reader, open_writer(larger, reader, scale=SCALE, overwrite=True) as writer:
            for frame in enlarged:
                writer.write(frame)

    def whole():
        FilmJob(upscaler, overwrite=True, quiet=True).run(film, larger)

    return {part.__name__: seconds(part) for part in (decode, network, encode, whole)}


def measured(upscaler, film, frames, rounds):
    """{part: least milliseconds a frame}, with "ratio", that of the whole to the sum of its parts."""
    larger = film.with_name("larger.mp4")
    every = [one_round(upscaler, film, larger) for _ in range(1 + rounds)][1:]
    least = {part: 1000 * min(one[part] for one in every) / frames for part in every[0]}
    return least | {"ratio": least["whole"] / (least["decode"] + least["network"] + least["encode"])}


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("folder", nargs="*", help="of pictures")
    parse.add_argument("--model", nargs="+", choices=list(NETWORKS), default=["espcn", "vespcn"])
    parse.add_argument("--framework", nargs="+", default=["torch"])
    parse.add_argument("--device", default="cpu", help="default: %(default)s")
    parse.add_argument("--frames", type=int, default=75, help="default: %(default)s")
    parse.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    arguments = parse.parse_args()
    parts = ("decode", "network", "encode", "whole")
    print(f"{'ms a frame':22}" + "".join(f"{part:>9}" for part in parts) + f"{'ratio':>8}  (target {TARGET})")
    with tempfile.TemporaryDirectory() as scratch:
        film = Path(scratch) / "film.mp4"
        write_film(film, pictures_of(arguments.folder or None, Path(scratch)), arguments.frames)
        for name in arguments.model:
            for framework in arguments.framework:
                upscaler = Upscaler(weights_for(name, SCALE), framework, arguments.device)
                times = measured(upscaler, film, arguments.frames, arguments.rounds)
                shown = "".join(f"{times[part]:9.1f}" for part in parts)
                print(f"{name + ' x3 ' + framework:22}{shown}{times['ratio']:8.2f}", flush=True)


if __name__ == "__main__":
    main()
