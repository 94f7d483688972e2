"""What a network is measured on: test sets of pictures or of clips, as they lie in folders."""

import hashlib
import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from common.dataset import is_clip
from common.images import PictureError, find_pictures, read_picture
from common.manifest import clip_hash, identify, order, picture_hash
from common.video import VideoError, open_video


@dataclass(frozen=True)
class Item:
    """A picture or clip. hash: of its samples, see common/manifest.py. shape: (frames, height, width)."""

    path: Path
    hash: str
    shape: tuple[int, int, int]

    @property
    def name(self):
        return self.path.name

    @property
    def samples(self):
        """Pixels of all frames together."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Material:
    """A test set. kind: "pictures" or "clips"."""

    name: str
    kind: str
    items: tuple[Item, ...]

    @cached_property
    def identity(self):
        """(name of the papers' test set that this is, or None, a sentence about it)."""
        return identify(self.name, {item.name: item.hash for item in self.items})

    @property
    def hash(self):
        """SHA-256 of the names and hashes of its items: figures go with this very material."""
        text = "\n".join(f"{item.hash} {item.name}" for item in self.items)
        return hashlib.sha256(text.encode()).hexdigest()


def find_folders(data, more=()):
    """{name: folder} of the test sets in the folder `data`, if that is there, and of the folders `more`.

    Those of the papers come first. Raises ValueError if two have one name.
    """
    inside = [path for path in sorted(Path(data).iterdir()) if _paths(path)] if Path(data).is_dir() else []
    folders = {}
    for path in [*inside, *map(Path, more)]:
        name = path.resolve().name
        if name in folders:
            raise ValueError(f"there are two test sets called {name}: {folders[name]} and {path}")
        folders[name] = path
    return {name: folders[name] for name in sorted(folders, key=order)}


def find_sets(folders):
    """The `Material` in each of `folders`: its pictures, or if it has none its clips.

    Everything is read once, for its hash; files that cannot be read are named on stderr and left out.
    """
    sets = []
    for folder in folders:
        items = []
        for path in _paths(folder):
            try:
                items.append(_item(path))
            except (PictureError, VideoError) as error:
                print(f"Skipped: {error}", file=sys.stderr)
        if items:
            kind = "clips" if is_clip(items[0].path) else "pictures"
            sets.append(Material(Path(folder).resolve().name, kind, tuple(items)))
    return sets


def _paths(folder):
    """The pictures in a folder, or if it has none the clips, sorted by name."""
    if not Path(folder).is_dir():
        return []
    return find_pictures(folder) or sorted(path for path in Path(folder).iterdir() if path.is_file() and is_clip(path))


def _item(path):
    if not is_clip(path):
        pixels = read_picture(path).pixels
        return Item(path, picture_hash(pixels), (1, *pixels.shape[:2]))
    shapes = []

    def noted(frames):
        for frame in frames:
            shapes.append(frame.luma.shape)
            yield frame

    with open_video(path) as reader:
        digest = clip_hash(noted(reader))
    return Item(path, digest, (len(shapes), *shapes[0]))


def main(folders):
    """Print the rows of `common.manifest.KNOWN` for the test sets in `folders`."""
    for one in find_sets([Path(folder) for folder in folders]):
        print(f'    "{one.name}": {{')
        for item in one.items:
            print(f'        "{item.path.name}": "{item.hash}",')
        print("    },")


if __name__ == "__main__":
    main(sys.argv[1:])
