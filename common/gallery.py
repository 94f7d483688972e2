"""Pages on which pictures or short films are laid over each other and compared by eye: one HTML file, nothing outside.

Pictures are stored without loss as WebP, films as the MP4 they are given as, both inside the page. Its security policy
forbids it to load anything, and to run any script but its own. Layout, style and behaviour are in `page.html`; without
scripts the sides stand one below the other.
"""

import base64
import hashlib
import html
import io
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import __version__
from common.errors import CommandError
from common.files import check_place, written_whole
from common.images import Picture
from common.upscaler import from_unit, to_unit

PIXELS = 3_000_000  # shown of one picture; of a larger one its centre
LONGEST_SIDE = 16_383  # WebP holds no more
ENTRIES = 24
BYTES = 100_000_000  # after which no further entry is begun

TEMPLATE = Path(__file__).with_name("page.html")


class Side(NamedTuple):
    """One version of what is compared.

    label: what the reader calls it. content: a `Picture`, pixels (H, W) or (H, W, 1 or 3) uint8 or uint16, or the bytes
    of an MP4 file. psnr: dB, None where no truth is known.
    """

    label: str
    content: object
    psnr: float | None = None


class Entry(NamedTuple):
    """Versions of one picture or film. sides: two or more `Side`s of one size; the first two are shown at first.

    caption: a sentence or more, for below the name.
    """

    name: str
    sides: list[Side]
    caption: str = ""


def write_page(path, title, entries, overwrite=False):
    """Write a page that compares the sides of each of `entries`, an iterable of `Entry` of which one is held at a time.

    Only ENTRIES of them, or BYTES, are shown and PIXELS of each picture; the page says so. It appears whole or not at
    all. Raises CommandError if `path` is there already and `overwrite` is not given, ValueError for no entries or sides
    that cannot be compared.
    """
    check_page(path, overwrite)
    page = Page()
    for entry in entries:
        if page.has_room():
            page.add(entry)
    page.write(path, title)


def check_page(path, overwrite, *others):
    """Raise CommandError if no page can be written to `path`, or only over one of `others` or, unasked, a file."""
    path = Path(path)
    for other in map(Path, others):
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise CommandError(f"{path} cannot be the page of the comparison, because it is the input or the output.")
    if path.is_dir():
        raise CommandError(f"{path} is a folder, not a page.")
    if path.exists() and not overwrite:
        raise CommandError(f"{path} exists already; --overwrite replaces it.")
    check_place(path, "page")


def centre(height, width, scale=1):
    """(rows, columns) of the part of a picture that is shown once it is `scale` times larger, as slices."""
    shrink = min(1, math.sqrt(PIXELS / (height * width * scale**2)))
    shown = [max(1, min(int(side * shrink), LONGEST_SIDE // scale)) for side in (height, width)]
    starts = [(side - part) // 2 for side, part in zip((height, width), shown, strict=True)]
    return tuple(slice(start, start + part) for start, part in zip(starts, shown, strict=True))


def part_of(height, width):
    """The sentence for a picture of that size of which only the centre is shown."""
    return f"Shown is the centre of {width} × {height} pixels."


class Page:
    """A page as it grows: entries are encoded as they are added. left_out: how many more there would have been."""

    def __init__(self):
        self.sections, self.names = [], []
        self.size = self.left_out = 0

    def has_room(self):
        """Whether another entry can be added; those that cannot are counted."""
        room = len(self.sections) < ENTRIES and self.size < BYTES
        self.left_out += not room
        return room

    def add(self, entry):
        """Encode `entry`. Raises ValueError if it has fewer than two sides, or sides of several sizes or kinds."""
        if len(entry.sides) < 2:
            raise ValueError(f"{entry.name} has nothing to be compared with")
        films = {isinstance(side.content, bytes) for side in entry.sides}
        if len(films) > 1:
            raise ValueError(f"{entry.name} is compared with what is not of its kind")
        notes = [entry.caption]
        if films == {True}:
            figures = [_film(entry.name, side) for side in entry.sides]
        else:
            pictures = [_as_picture(side.content) for side in entry.sides]
            sizes = {picture.pixels.shape[:2] for picture in pictures}
            if len(sizes) > 1:
                raise ValueError(f"{entry.name} is compared with a picture of another size")
            (size,) = sizes
            place = centre(*size)
            if any(part.stop - part.start < side for part, side in zip(place, size, strict=True)):
                notes.append(part_of(*size))
            figures = [_still(entry.name, s, p, place) for s, p in zip(entry.sides, pictures, strict=True)]
        section = _section(len(self.sections) + 1, entry, " ".join(filter(None, notes)), figures)
        self.sections.append(section)
        self.names.append(entry.name)
        self.size += len(section)

    def write(self, path, title):
        """Write the page, replacing what is there. Raises ValueError if it has no entries."""
        if not self.sections:
            raise ValueError("there is nothing to compare")
        template = TEMPLATE.read_text(encoding="utf-8")
        parts = {
            "policy": _policy(template),
            "title": _text(title),
            "note": f'<p class="note">{_text(self.note)}</p>' if self.left_out else "",
            "layout": "single" if self.names == [title] else "many",
            "entries": "\n".join(self.sections),
            "version": _text(__version__),
        }
        # In one pass, so that nothing in a name is taken for a place to fill.
        whole = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)
        with written_whole(path) as temporary:
            temporary.write_text(whole, encoding="utf-8")

    @property
    def note(self):
        """The sentence on what was left out."""
        return f"{len(self.sections)} of {len(self.sections) + self.left_out} are shown."


def _policy(template):
    """The Content-Security-Policy: nothing from anywhere, the style and script of the template by their hashes."""
    hashes = {}
    for tag in ("style", "script"):
        code = re.search(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)[1]
        hashes[tag] = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; media-src data: blob:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )


def _text(words):
    """Anything as text of HTML, also file names that are no valid Unicode."""
    return html.escape(str(words).encode("utf-8", "replace").decode("utf-8"))


def _section(number, entry, caption, figures):
    known = [side for side in entry.sides if _figure(side)]
    rows = "".join(f"<div><dt>{_text(side.label)}</dt><dd>{_figure(side)}</dd></div>" for side in known)
    figures_list = f'<div class="figures"><h3>PSNR</h3><dl>{rows}</dl></div>' if known else ""
    return (
        f'<section class="entry" aria-labelledby="entry-{number}">\n'
        f'<h2 id="entry-{number}"><bdi>{_text(entry.name)}</bdi></h2>\n'
        f'<p class="caption">{_text(caption)}</p>\n'
        f'<div class="sides">\n{"".join(figures)}</div>\n{figures_list}</section>'
    )


def _figure(side):
    if side.psnr is None or math.isnan(side.psnr):
        return ""
    return "identical" if math.isinf(side.psnr) else f"{side.psnr:.2f} dB"


def _side(label, shown):
    return f'<figure class="side"><figcaption>{_text(label)}</figcaption>{shown}</figure>\n'


def _data(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _film(name, side):
    source, label = _data("video/mp4", side.content), f"{_text(name)}, {_text(side.label)}"
    return _side(
        side.label, f'<video controls muted playsinline preload="auto" aria-label="{label}" src="{source}"></video>'
    )


def _still(name, side, picture, place):
    height, width = (part.stop - part.start for part in place)
    kind = ' class="transparent"' if picture.alpha is not None else ""
    source, alt = _data("image/webp", _webp(picture, place)), f"{_text(name)}, {_text(side.label)}"
    return _side(
        side.label, f'<img{kind} width="{width}" height="{height}" decoding="async" alt="{alt}" src="{source}">'
    )


def _as_picture(content):
    if isinstance(content, Picture):
        return content
    content = np.asarray(content)
    return Picture(content if content.ndim == 3 else content[..., None])


def _webp(picture, place):
    """The part of `picture` at `place` as WebP without loss, in 8 bits, with its colour profile."""
    from PIL import Image

    def samples(array):
        return np.ascontiguousarray(array[place] if array.dtype == np.uint8 else from_unit(to_unit(array[place]), "u1"))

    pixels = samples(picture.pixels)
    image = Image.fromarray(np.squeeze(pixels, 2) if picture.is_grey else pixels).convert("RGB")
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(samples(picture.alpha)))
    icc = picture.icc if picture.icc and picture.icc[16:20] == b"RGB " else None  # grey is stored as RGB
    file = io.BytesIO()
    # More effort than 1 takes three times as long and gains a hundredth; `exact` keeps the colour of what is clear.
    image.save(file, "WEBP", lossless=True, exact=True, quality=20, method=1, icc_profile=icc)
    return file.getvalue()
