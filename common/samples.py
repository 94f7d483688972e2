"""The embedded input: photographs that come inside the scikit-image package, so that every command runs without data.

Only photographs that their authors gave away are used, as the documentation of `skimage.data` states for each:

astronaut          Eileen Collins, NASA Great Images; released into the public domain.
chelsea            a cat, by Stefan van der Walt; CC0.
coffee             a cup at Pikolo Espresso Bar, by Rachel Michetti; CC0.
hubble_deep_field  the eXtreme Deep Field of the Hubble telescope, NASA, HubbleSite; public domain.
rocket             launch of a Falcon 9 with DSCOVR, SpaceX Photos; released into the public domain.
camera             a photographer at his camera, by Lav Varshney; CC0; the only grey one.
"""

from importlib.util import find_spec
from pathlib import Path

from common.images import PictureError, read_picture, write_picture

DEMONSTRATION = "astronaut"  # what the program shows when nothing is asked of it
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "rocket", "camera")


def photograph(name):
    """The photograph `name`, one of PHOTOGRAPHS, as an 8-bit `Picture`.

    Raises PictureError for another name and if scikit-image, or the file in it, is missing.
    """
    if name not in PHOTOGRAPHS:
        raise PictureError(f"there is no embedded photograph {name!r}; there are {', '.join(PHOTOGRAPHS)}")
    package = find_spec("skimage")  # found, not imported, which would take a second
    if package is None:
        raise PictureError("the embedded photographs come with scikit-image, which is not installed")
    folder = Path(package.origin).parent / "data"
    for path in (folder / f"{name}.png", folder / f"{name}.jpg"):
        if path.exists():
            return read_picture(path)
    raise PictureError(f"the photograph {name!r} is missing from the installed scikit-image ({folder})")


def photographs():
    """{name: Picture} of all PHOTOGRAPHS, in their order; raises as `photograph` does."""
    return {name: photograph(name) for name in PHOTOGRAPHS}


def write_photographs(folder):
    """Write all PHOTOGRAPHS into `folder` as NAME.png and return the paths.

    Raises PictureError if one of the files exists or cannot be written.
    """
    paths = [Path(folder) / f"{name}.png" for name in PHOTOGRAPHS]
    for path in paths:
        write_picture(path, photograph(path.stem))
    return paths
