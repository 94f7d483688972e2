"""Does memory grow with the length of a film? Peak memory of a film ten times as long, as a share of the short one's.

Every film is enlarged by a process of its own, so that one's memory is not the other's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.sample_film import RATE, truth


def write_film(path, frames, columns=160, rows=90):
    """The embedded film, shrunk, forwards and backwards until it has `frames` frames."""
    import av
    import cv2

    pictures = [cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA) for frame in truth()]
    pictures += pictures[::-1]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(pictures[number % len(pictures)], format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def peak(folder, frames, model, framework):
    """(peak memory in MB, frames a second) of enlarging a film of `frames` frames."""
    film, report = folder / f"{frames}.mp4", folder / "report.json"
    if not film.exists():
        write_film(film, frames)
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "super_resolve.py"), str(film), "--model", model, "--framework", framework),
            *("--output", str(folder / "out.mp4"), "--overwrite", "--quiet", "--report", str(report)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert figures["frames_out"] == frames, figures
    return figures["peak_rss_mb"], figures["fps"]


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--model", nargs="+", default=["espcn", "vespcn"])
    parse.add_argument("--framework", nargs="+", default=["torch", "tensorflow"])
    parse.add_argument("--frames", type=int, default=200, help="of the short film (default: %(default)s)")
    arguments = parse.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.model:
            for framework in arguments.framework:
                short, _ = peak(Path(scratch), arguments.frames, model, framework)
                long, speed = peak(Path(scratch), 10 * arguments.frames, model, framework)
                print(
                    f"{model} {framework}: {arguments.frames} frames {short:.0f} MB, ten times as many {long:.0f} MB, "
                    f"ratio {long / short:.3f} ({speed:.0f} frames/s of 160x90)"
                )


if __name__ == "__main__":
    main()
