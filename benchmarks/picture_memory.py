"""How much memory does a large picture take? Peak memory of the whole process, with the tiles chosen by the program.

The picture is an embedded photograph at 1920 x 1080, for DRCN the result is: it works on the enlarged picture.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common.images import write_picture
from common.samples import photograph

PHOTOGRAPH = "rocket"
CASES = {  # model: (scale, columns and rows of the input)
    "drcn": (2, (960, 540)),
    "srresnet": (4, (1920, 1080)),
    "srgan": (4, (1920, 1080)),
}


def peak(folder, model, framework, precision):
    """The program's own report on a picture as large as CASES says."""
    import cv2

    scale, size = CASES[model]
    picture, report = folder / f"{model}.png", folder / "report.json"
    if not picture.exists():
        source = photograph(PHOTOGRAPH)
        pixels = cv2.resize(source.pixels, size, interpolation=cv2.INTER_CUBIC)
        write_picture(picture, replace(source, pixels=pixels))
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "super_resolve.py"), str(picture), "--model", model, "--scale", str(scale)),
            *("--framework", framework, "--precision", precision, "--quiet", "--report", str(report)),
            *("--output", str(folder / "out.png"), "--overwrite"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(report.read_text(encoding="utf-8"))


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", nargs="+", choices=CASES, default=["drcn", "srresnet"])
    parse.add_argument("--framework", nargs="+", default=["torch", "tensorflow"])
    parse.add_argument("--precision", nargs="+", default=["auto"])
    arguments = parse.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.model:
            for framework in arguments.framework:
                for precision in arguments.precision:
                    report = peak(Path(scratch), model, framework, precision)
                    print(
                        f"{model} {framework} {report['precision']}: {report['peak_rss_mb']:.0f} MB at most, tiles of "
                        f"{' x '.join(map(str, report['tile']))}, {report['working_set_mb']:.0f} MB of feature maps "
                        f"({report['seconds']:.0f} s)"
                    )


if __name__ == "__main__":
    main()
