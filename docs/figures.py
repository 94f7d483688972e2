"""Draws the networks from the layers that common/networks.py lists, so that a figure and its network cannot differ.

Each function of `FIGURES` makes one SVG picture as text. What a list of layers does not say, where an activation stands
and what is added to what, is said here as the twin files have it.
"""

from dataclasses import dataclass
from fractions import Fraction
from html import escape
from itertools import groupby
from typing import NamedTuple

from common.complexity import work
from common.networks import BatchNorm, Dense, PReLU, network

INK, FAINT, SKIP = "#1f2328", "#59636e", "#8250df"
FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, 'DejaVu Sans', sans-serif"
KINDS = {  # what a box stands for: (fill, outline)
    "picture": ("#f6f8fa", "#8c959f"),
    "convolution": ("#ddf4ff", "#54aeff"),
    "fixed": ("#fff8c5", "#d4a72c"),
    "learned": ("#dafbe1", "#4ac26b"),
    "group": ("none", "#afb8c1"),
}
MAPS = ("#54aeff", "#0969da", "#0a3069", "#ffa657", "#e16f24", "#953800", "#6fdd8b", "#2da44e", "#116329")
LINE, PADDING, SMALL = 16, 8, 11  # height of a line of text, space around text, size of captions


class Box(NamedTuple):
    """A rectangle and the middles of its sides."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self):
        return self.x, self.y + self.height / 2

    @property
    def right(self):
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self):
        return self.x + self.width / 2, self.y

    @property
    def bottom(self):
        return self.x + self.width / 2, self.y + self.height


@dataclass
class Block:
    """A box to draw: `lines` of text, the first bold; a caption above and sizes below; `copies` show as a pile."""

    lines: tuple
    kind: str = "convolution"
    width: float = 84
    above: str = ""
    below: str = ""
    copies: int = 1


class Drawing:
    """An SVG picture on a white sheet, which can be read on a light and on a dark page."""

    def __init__(self, width, height, title, description):
        self.width, self.height = width, height
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="title description" '
            f'font-family="{FONT}" font-size="12">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            "<defs>",
            *(_arrow_head(name, colour) for name, colour in (("ink", FAINT), ("skip", SKIP))),
            "</defs>",
            f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="12" fill="#ffffff" '
            'stroke="#d1d9e0"/>',
        ]

    def rectangle(self, box, fill, outline, dashed=False, radius=6, thickness=1.25):
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="{radius:g}" '
            f'fill="{fill}" stroke="{outline}" stroke-width="{thickness:g}"{dash}/>'
        )

    def text(self, x, y, text, size=12, colour=INK, bold=False, anchor="middle"):
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{weight}>'
            f"{escape(text)}</text>"
        )

    def heading(self, x, y, text):
        self.text(x, y, text, size=14, bold=True, anchor="start")

    def path(self, *points, skip=False, head=True, thickness=1.5):
        """A line through `points`, with a head at the last; `skip` marks what goes past layers."""
        colour, name = (SKIP, "skip") if skip else (FAINT, "ink")
        way = " ".join(f"{'L' if i else 'M'}{x:g},{y:g}" for i, (x, y) in enumerate(points))
        end = f' marker-end="url(#{name})"' if head else ""
        self.parts.append(
            f'<path d="{way}" fill="none" stroke="{colour}" stroke-width="{thickness:g}" stroke-linejoin="round"{end}/>'
        )

    def dot(self, x, y, radius=3, colour=SKIP):
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>')

    def sign(self, x, y, text="+", radius=11):
        """A circle with a sign in it; returns its `Box`."""
        self.parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="#ffffff" stroke="{FAINT}" stroke-width="1.25"/>'
        )
        self.text(x, y + 5, text, size=15)
        return Box(x - radius, y - radius, 2 * radius, 2 * radius)

    def block(self, x, middle, block):
        """Draw a `Block` whose left edge is `x`; returns its `Box`."""
        height = LINE * len(block.lines) + 2 * PADDING
        box = Box(x, middle - height / 2, block.width, height)
        fill, outline = KINDS[block.kind]
        for shift in (8, 4) if block.copies > 1 else ():
            self.rectangle(Box(box.x + shift, box.y - shift, *box[2:]), fill, outline)
        self.rectangle(box, fill, outline, radius=3 if block.kind == "picture" else 6)
        for i, line in enumerate(block.lines):
            self.text(box.top[0], box.y + PADDING + LINE * i + 12, line, bold=not i)
        for i, line in enumerate(reversed(block.above.split("\n"))):
            self.text(box.top[0], box.y - 10 - 14 * i - (8 if block.copies > 1 else 0), line, SMALL, FAINT)
        for i, line in enumerate(block.below.split("\n")):
            self.text(box.bottom[0], box.bottom[1] + 16 + 14 * i, line, SMALL, FAINT)
        return box

    def chain(self, x, middle, blocks, gap=26):
        """Blocks from left to right with arrows between; returns their `Box`es."""
        boxes = []
        for block in blocks:
            box = self.block(x, middle, block)
            if boxes:
                self.path((x - gap, middle), box.left)
            boxes.append(box)
            x = box.right[0] + (8 if block.copies > 1 else 0) + gap
        return boxes

    def group(self, boxes, caption="", below=12):
        """A dashed frame around boxes, `below` of whose room is under them, with a caption at its top."""
        left, top = min(box.x for box in boxes) - 12, min(box.y for box in boxes) - (28 if caption else 12)
        right, bottom = max(box.right[0] for box in boxes) + 12, max(box.bottom[1] for box in boxes) + below
        self.rectangle(Box(left, top, right - left, bottom - top), *KINDS["group"], dashed=True, radius=8)
        self.text(left + 10, top + 18, caption, SMALL, FAINT, anchor="start")

    def svg(self):
        return "\n".join([*self.parts, "</svg>", ""])


def _arrow_head(name, colour):
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="6" markerHeight="6" '
        f'orient="auto-start-reverse"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{colour}"/></marker>'
    )


def size(places, maps):
    """Feature maps in words: "H/4 × W/4 × 24" for a sixteenth of the places of H x W, "3H × 3W × 1" for nine times.

    places: a whole square, or one over it.
    """
    side = Fraction(places)
    up, down = round(side.numerator**0.5), round(side.denominator**0.5)
    sides = [f"{up if up > 1 else ''}{letter}{f'/{down}' if down > 1 else ''}" for letter in "HW"]
    return " × ".join([*sides, str(maps)])


def convolution(layer, activation="", below="", name=None, **options):
    """The `Block` of a convolution and of what follows it."""
    stride = f", stride {layer.stride}" if layer.stride > 1 else ""
    lines = [name or layer.name, f"{layer.kernel} × {layer.kernel}{stride}", _maps(layer.outputs), activation]
    return Block(tuple(filter(None, lines)), below=below, **options)


def _maps(count):
    return "1 map" if count == 1 else f"{count} maps"


def picture(name, below, width=62, **options):
    return Block((name,), "picture", width, below=below, **options)


def srcnn():
    spec = network("srcnn")
    scale, conv1, conv2, conv3 = spec.scale, *spec.layers
    drawing = Drawing(
        772, 236, "SRCNN", "The picture is enlarged by bicubic interpolation, then passes three convolutions."
    )
    large = scale**2
    drawing.heading(24, 34, f"SRCNN ×{scale}")
    drawing.chain(
        28,
        128,
        [
            picture("small", size(1, spec.channels)),
            Block(("bicubic", f"× {scale}"), "fixed", 76, below=size(large, spec.channels)),
            convolution(conv1, "ReLU", size(large, conv1.outputs), above="patch extraction", width=96),
            convolution(conv2, "ReLU", size(large, conv2.outputs), above="non-linear mapping", width=96),
            convolution(conv3, "linear", size(large, conv3.outputs), above="reconstruction", width=96),
            picture("large", size(large, spec.channels)),
        ],
        gap=44,
    )
    note = f"No padding: the picture is given {spec.halo} pixels more on every side, its edge repeated, and loses them."
    drawing.text(28, 216, note, SMALL, FAINT, anchor="start")
    return drawing.svg()


def espcn():
    spec = network("espcn")
    scale, conv1, conv2, conv3 = spec.scale, *spec.layers
    drawing = Drawing(
        772,
        236,
        "ESPCN",
        "The small picture passes three convolutions; the last one's maps are shuffled to a large one.",
    )
    drawing.heading(24, 34, f"ESPCN ×{scale}")
    boxes = drawing.chain(
        28,
        128,
        [
            picture("small", size(1, spec.channels)),
            convolution(conv1, spec.activation, size(1, conv1.outputs), above="feature maps", width=96),
            convolution(conv2, spec.activation, size(1, conv2.outputs), above="non-linear mapping", width=96),
            convolution(conv3, "linear", size(1, conv3.outputs), width=96),
            Block(("shuffle", f"× {scale}"), "fixed", 76, below=size(scale**2, spec.channels)),
            picture("large", size(scale**2, spec.channels)),
        ],
        gap=44,
    )
    drawing.group(boxes[3:5], "sub-pixel convolution", below=28)
    note = f"No padding: the picture is given {spec.halo} pixels more on every side, its edge repeated, and loses them."
    drawing.text(28, 216, note, SMALL, FAINT, anchor="start")
    return drawing.svg()


def drcn():
    spec = network("drcn")
    layers = {layer.name: layer for layer in spec.layers}
    depth, large = spec.recursions, spec.scale**2
    drawing = Drawing(
        960,
        560,
        "DRCN",
        f"After two convolutions a third is applied {depth} times; each result is reconstructed by the same two "
        "convolutions and added to the enlarged picture; the weighted sum of all is the output.",
    )
    drawing.heading(24, 34, f"DRCN ×{spec.scale}")
    one, two = (convolution(layers[f"embedding{i}"], "ReLU", size(large, spec.width), width=92) for i in (1, 2))
    one.lines, two.lines = (("embedding", *block.lines[1:]) for block in (one, two))
    small, bicubic, first, second = drawing.chain(
        28,
        128,
        [
            picture("small", size(1, spec.channels)),
            Block(("bicubic", f"× {spec.scale}"), "fixed", 72, below="x: " + size(large, spec.channels)),
            one,
            two,
        ],
        gap=32,
    )
    columns, last = [(490, "1"), (620, "2"), (820, str(depth))], second
    inferences, reconstructions, sums = [], [], []
    for x, number in columns:
        box = drawing.block(x, 128, convolution(layers["inference"], "ReLU", name="inference", width=92))
        if x == columns[-1][0]:
            drawing.path(last.right, (last.right[0] + 32, 128), head=False)
            drawing.text(766, 133, "…", size=18)
            drawing.path((788, 128), box.left)
        else:
            drawing.path(last.right, box.left)
        inner = drawing.block(x, 258, convolution(layers["reconstruction1"], "ReLU", name="reconstr. 1", width=92))
        outer = drawing.block(x, 356, convolution(layers["reconstruction2"], "linear", name="reconstr. 2", width=92))
        drawing.path(box.bottom, inner.top)
        drawing.text(box.bottom[0] + 6, box.bottom[1] + 27, f"H{subscript(number)}", SMALL, FAINT, anchor="start")
        drawing.path(inner.bottom, outer.top)
        add = drawing.sign(x + 46, 438)
        drawing.path(outer.bottom, add.top)
        last, inferences = box, [*inferences, box]
        reconstructions += [inner, outer]
        sums.append((add, number))
    drawing.group(inferences, f"one convolution, applied {depth} times")
    drawing.group(reconstructions)
    for i, line in enumerate(("one pair of", "convolutions,", "applied to", "every H")):
        drawing.text(766, 282 + 16 * i, line, SMALL, FAINT)
    start = (bicubic.right[0] + 14, 128)
    drawing.dot(*start)
    drawing.path(start, (start[0], 438), sums[0][0].left, skip=True)
    drawing.text(start[0] + 10, 430, "plus the enlarged picture x", SMALL, SKIP, anchor="start")
    for (before, _), (after, _) in zip(sums, sums[1:], strict=False):
        # x goes on below one sum and comes up to the next.
        x, y = before.left[0] - 16, 472
        drawing.path((x, y), (after.left[0] - 16, y), (after.left[0] - 16, 438), after.left, skip=True)
    drawing.path((sums[0][0].left[0] - 16, 438), (sums[0][0].left[0] - 16, 472), head=False, skip=True)
    drawing.dot(sums[0][0].left[0] - 16, 438)
    drawing.dot(sums[1][0].left[0] - 16, 472)
    whole = Box(490, 500, 422, 40)
    drawing.rectangle(whole, *KINDS["learned"])
    sum_text = f"ensemble:  ŷ = w₁ y₁ + w₂ y₂ + … + w{subscript(depth)} y{subscript(depth)}"
    drawing.text(whole.top[0], 525, sum_text, bold=True)
    for add, number in sums:
        drawing.path(add.bottom, (add.bottom[0], whole.y))
        drawing.text(add.bottom[0] + 6, 492, f"y{subscript(number)}", SMALL, FAINT, anchor="start")
    end = drawing.block(366, 520, picture("large", "", 72))
    drawing.text(end.left[0] - 8, 524, size(large, spec.channels), SMALL, FAINT, anchor="end")
    drawing.path(whole.left, end.right)
    return drawing.svg()


def subscript(number):
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def vespcn():
    spec = network("vespcn")
    drawing = Drawing(
        1000,
        792,
        "VESPCN",
        "Two neighbouring frames are moved onto the middle one by estimated flow; all three pass a network of "
        f"{spec.depth} convolutions whose last maps are shuffled to a large frame. Below, the estimator of flow in two "
        "stages, a coarse and a fine one.",
    )
    drawing.heading(24, 34, f"VESPCN ×{spec.scale}: motion compensation, early fusion, sub-pixel network")
    _vespcn_whole(drawing, spec)
    drawing.path((24, 352), (976, 352), head=False, thickness=0.5)
    drawing.heading(24, 382, "The estimator of flow, the same for both neighbours")
    _vespcn_flow(drawing, spec)
    return drawing.svg()


def _vespcn_whole(drawing, spec):
    rows = {-1: 92, 0: 182, 1: 272}
    frames = {
        t: drawing.block(28, y, Block((f"I{_time(t)}",), "picture", 66, below=size(1, 1))) for t, y in rows.items()
    }
    joined = Box(346, 76, 26, 212)
    flows = []
    for t in (-1, 1):
        flow = drawing.block(150, rows[t], Block(("flow", "estimator"), "convolution", 84))
        warp = drawing.block(272, rows[t], Block(("warp",), "fixed", 50))
        drawing.path(frames[t].right, flow.left)
        drawing.path(flow.right, warp.left)
        outer = flow.y - 16 if t < 0 else flow.bottom[1] + 16
        turn = 112, rows[t]
        drawing.dot(*turn)
        drawing.path(turn, (turn[0], outer), (warp.top[0], outer), warp.top if t < 0 else warp.bottom, skip=True)
        drawing.path((flow.top[0], 182), flow.bottom if t < 0 else flow.top)
        drawing.path(warp.right, (joined.x, rows[t]))
        flows.append(flow)
    drawing.dot(flows[0].top[0], 182, colour=FAINT)
    drawing.path(frames[0].right, (joined.x, 182))
    drawing.rectangle(joined, *KINDS["fixed"])
    drawing.text(joined.top[0], joined.bottom[1] + 16, f"concat: {size(1, spec.frames)}", SMALL, FAINT)
    body = [layer for layer in spec.layers if layer.name.startswith("body")]
    blocks = []
    for layers in _alike(body):
        layer, count = layers[0], len(layers)
        last = layers[-1] is body[-1]
        name = layer.name if count == 1 else f"{count} layers"
        block = convolution(layer, "linear" if last else "ReLU", size(1, layer.outputs), name, copies=count)
        if count > 1:
            block.above = f"{layer.name} … {layers[-1].name.split('.')[1]}"
        blocks.append(block)
    blocks += [
        Block(("shuffle", f"× {spec.scale}"), "fixed", 68),
        Block(("large", f"I{_time(0)}"), "picture", 66, below=size(spec.scale**2, 1)),
    ]
    boxes = drawing.chain(404, 182, blocks, gap=28)
    drawing.path(joined.right, boxes[0].left)


def _vespcn_flow(drawing, spec):
    done = {one.layer.name: one for one in work(spec)}
    shrink, chains = {"coarse": 4, "fine": 2}, {}
    for stage, middle, given in (
        ("coarse", 464, ("I_t, I_t+1",)),
        ("fine", 696, ("I_t, I_t+1,", "coarse flow,", "I_t+1 moved")),
    ):
        chosen = [one for name, one in done.items() if name.startswith(stage)]
        lines = (_maps(chosen[0].layer.inputs), *(_plain_time(line) for line in given))
        blocks = [Block(lines, "picture", 92, below=size(1, chosen[0].layer.inputs))]
        for one in chosen:
            layer, last = one.layer, one is chosen[-1]
            activation = "tanh" if last else "ReLU"
            block = convolution(layer, activation, size(one.places, layer.outputs), layer.name.split(".")[1], width=98)
            blocks.append(block)
        blocks[1].above = f"{stage} estimator"
        blocks.append(Block((f"shuffle × {shrink[stage]}", f"times {spec.reach:g} px"), "fixed", 86, below=size(1, 2)))
        chains[stage] = drawing.chain(28, middle, blocks, gap=17)
    coarse, fine = chains["coarse"], chains["fine"]
    end = 924
    drawing.path(coarse[-1].right, (end, 464), (end, 685))
    drawing.text(end - 6, 454, "coarse flow", SMALL, FAINT, anchor="end")
    add = drawing.sign(end, 696)
    drawing.path(fine[-1].right, add.left)
    drawing.path(add.right, (972, 696))
    drawing.text(954, 684, "flow", SMALL, FAINT)
    moved = drawing.block(34, 578, Block(("warp",), "fixed", 50))
    drawing.dot(end, 578, colour=FAINT)
    drawing.path((end, 578), moved.right)
    drawing.text(480, 571, "coarse flow", SMALL, FAINT)
    drawing.path((18, 500), (18, 578), moved.left, skip=True, head=True)
    drawing.path((28, 476), (18, 476), (18, 500), skip=True, head=False)
    drawing.text(24, 548, _plain_time("I_t+1"), SMALL, SKIP, anchor="start")
    drawing.path(moved.bottom, (moved.bottom[0], fine[0].y))
    drawing.dot(108, 578, colour=FAINT)
    drawing.path((108, 578), (108, fine[0].y))


def _time(shift):
    return {-1: "ₜ₋₁", 0: "ₜ", 1: "ₜ₊₁"}[shift]


def _plain_time(text):
    return text.replace("I_t+1", "Iₜ₊₁").replace("I_t", "Iₜ")


def _alike(layers):
    """Runs of neighbours that differ in nothing but their names, the last layer apart."""
    runs = [list(run) for _, run in groupby(layers, lambda one: (one.inputs, one.outputs, one.kernel, one.stride))]
    return runs if len(runs[-1]) == 1 else [*runs[:-1], runs[-1][:-1], runs[-1][-1:]]


def srgan():
    spec = network("srgan")
    rival = spec.discriminator(96)
    drawing = Drawing(
        1072,
        664,
        "SRResNet and SRGAN",
        f"The generator: a convolution, {spec.blocks} residual blocks with a long skip around them, sub-pixel "
        "convolutions that double the size, a last convolution. A residual block. The discriminator: convolutions that "
        "halve the size and double the maps, and two dense layers.",
    )
    drawing.heading(24, 34, f"Generator ×{spec.scale}, which is SRResNet")
    _srgan_generator(drawing, spec)
    drawing.path((24, 228), (1048, 228), head=False, thickness=0.5)
    drawing.heading(24, 258, f"One of the {spec.blocks} residual blocks")
    _residual_block(drawing, spec)
    drawing.path((24, 422), (1048, 422), head=False, thickness=0.5)
    drawing.heading(24, 452, f"Discriminator of pictures of {rival.side} × {rival.side}")
    _discriminator(drawing, rival)
    return drawing.svg()


def _srgan_generator(drawing, spec):
    layers = {layer.name: layer for layer in spec.layers}
    places = {one.layer.name: one.places for one in work(spec)}
    n = spec.width
    blocks = [
        picture("small", size(1, spec.channels), 60),
        convolution(layers["conv1"], _after(spec, "conv1"), size(1, n), width=80),
        Block((f"{spec.blocks} residual", "blocks"), "convolution", 90, below=size(1, n), copies=spec.blocks),
        convolution(layers["conv2"], _after(spec, "conv2"), size(1, n), width=96),
    ]
    boxes = drawing.chain(28, 130, blocks, gap=30)
    add = drawing.sign(boxes[-1].right[0] + 36, 130)
    drawing.path(boxes[-1].right, add.left)
    start = boxes[1].right[0] + 12, 130
    drawing.dot(*start)
    drawing.path(start, (start[0], 66), (add.top[0], 66), add.top, skip=True)
    blocks = []
    for step in range(spec.doublings):
        name = f"upsampling.{step}.conv"
        block = convolution(layers[name], "shuffle × 2", size(4 * places[name], n), f"upsampling.{step}", width=110)
        block.lines += (_after(spec, name),)
        blocks.append(block)
    last = layers["conv3"]
    blocks.append(convolution(last, spec.ending, size(places["conv3"], last.outputs), width=80))
    blocks.append(picture("large", size(spec.scale**2, spec.channels), 76))
    right = drawing.chain(add.right[0] + 28, 130, blocks, gap=28)
    drawing.path(add.right, right[0].left)


def _after(spec, name):
    """What follows the convolution `name` in the list of layers up to the next one, in words."""
    layers = spec.layers
    begin = [layer.name for layer in layers].index(name) + 1
    words = []
    for layer in layers[begin:]:
        if isinstance(layer, BatchNorm):
            words.append("batch norm")
        elif isinstance(layer, PReLU):
            words.append("PReLU")
        else:
            break
    return ", ".join(words)


def _residual_block(drawing, spec):
    rows = [layer for layer in spec.layers if layer.name.startswith("blocks.0.")]
    blocks = []
    for layer in rows:
        name = layer.name.removeprefix("blocks.0.")
        if isinstance(layer, (BatchNorm, PReLU)):
            lines = (name, "batch norm" if isinstance(layer, BatchNorm) else "PReLU", f"{layer.width} maps")
            blocks.append(Block(lines, "learned", 92))
        else:
            blocks.append(convolution(layer, name=name, width=92))
    boxes = drawing.chain(120, 350, blocks, gap=32)
    drawing.path((64, 350), boxes[0].left)
    add = drawing.sign(boxes[-1].right[0] + 44, 350)
    drawing.path(boxes[-1].right, add.left)
    drawing.dot(88, 350)
    drawing.path((88, 350), (88, 288), (add.top[0], 288), add.top, skip=True)
    drawing.path(add.right, (add.right[0] + 44, 350))
    drawing.text(add.right[0] + 54, 354, f"{size(1, spec.width)}, in and out", SMALL, FAINT, anchor="start")


def _discriminator(drawing, spec):
    blocks, side = [picture("RGB", f"{spec.side} × {spec.side}\n× {spec.channels}", 48)], spec.side
    normed = {layer.name.split(".norm")[0] for layer in spec.layers if isinstance(layer, BatchNorm)}
    for layer in spec.convolutions:
        name = layer.name.removesuffix(".conv")
        if isinstance(layer, Dense):
            last = layer.outputs == 1
            lines = (name, str(layer.outputs), "sigmoid" if last else "leaky ReLU")
            blocks.append(Block(lines, "learned", 82, below="" if last else f"{layer.outputs}"))
            continue
        side //= layer.stride
        lines = [name, f"{layer.kernel} × {layer.kernel}", f"stride {layer.stride}", _maps(layer.outputs)]
        lines += ["batch norm"] if name in normed else []
        block = Block((*lines, "leaky ReLU"), width=82, below=f"{side} × {side}\n× {layer.outputs}")
        blocks.append(block)
    blocks[-2].above = f"flat: {spec.flat:,}"
    drawing.chain(24, 556, blocks, gap=14)


def subpixel(scale=3, rows=3, columns=3):
    """Sub-pixel convolution: which map each pixel of the large picture comes from."""
    drawing = Drawing(
        772, 420, "Sub-pixel convolution", f"{scale**2} small maps become one picture {scale} times as large."
    )
    drawing.heading(
        24, 34, f"Periodic shuffling, r = {scale}: pixel (i, j) of map k = r a + b goes to (r i + a, r j + b)"
    )
    cell, apart, chosen = 24, 48, (1, 1)
    for k in range(scale**2):
        a, b = divmod(k, scale)
        left, top = 52 + b * (columns * cell + apart), 84 + a * (rows * cell + 34)
        drawing.text(left + columns * cell / 2, top - 7, f"k = {k}: a = {a}, b = {b}", SMALL, FAINT)
        _grid(drawing, left, top, rows, columns, cell, lambda i, j, k=k: k, chosen)
    right = 52 + scale * (columns * cell + apart)
    drawing.path((right - 24, 224), (right + 36, 224))
    drawing.text(right + 4, 214, "shuffle", SMALL, FAINT)
    left, top, side = right + 60, 90, 30
    drawing.text(left + scale * columns * side / 2, top - 7, f"{scale}H × {scale}W", SMALL, FAINT)

    def source(i, j):
        return scale * (i % scale) + j % scale

    _grid(drawing, left, top, scale * rows, scale * columns, side, source)
    i, j = chosen
    outline = Box(left + scale * j * side, top + scale * i * side, scale * side, scale * side)
    drawing.rectangle(outline, "none", INK, radius=0, thickness=3)
    note = "Outlined: one place of the small picture, and the r × r pixels that it becomes."
    drawing.text(32, 400, note, SMALL, FAINT, anchor="start")
    return drawing.svg()


def _grid(drawing, left, top, rows, columns, cell, number, chosen=None):
    """Cells coloured and numbered by the map that they belong to."""
    for i in range(rows):
        for j in range(columns):
            k = number(i, j)
            box = Box(left + j * cell, top + i * cell, cell, cell)
            drawing.rectangle(box, MAPS[k % len(MAPS)], "#ffffff", radius=0, thickness=1)
            drawing.text(box.top[0], box.y + cell / 2 + 4, str(k), SMALL, "#ffffff" if k % 3 else INK)
    if chosen:
        i, j = chosen
        drawing.rectangle(Box(left + j * cell, top + i * cell, cell, cell), "none", INK, radius=0, thickness=3)


def warp(dx=1.7, dy=0.6):
    """Bilinear sampling: the four pixels around the place where the flow points, and their shares."""
    drawing = Drawing(
        896, 384, "Bilinear warp", "A pixel of the result is the weighted mean of the four around its place."
    )
    drawing.heading(24, 34, f"Warping by the flow (dx, dy) = ({dx:g}, {dy:g})")
    cell, x, y, top = 52, 1, 2, 80
    left, right, words = 40, 352, 642
    for origin, caption in ((left, "I′: the neighbour, moved"), (right, "I: the neighbour as it is")):
        drawing.text(origin + 2.5 * cell, top - 12, caption, SMALL, FAINT)
        for place in range(25):
            box = Box(origin + place % 5 * cell, top + place // 5 * cell, cell, cell)
            drawing.rectangle(box, "#f6f8fa", "#d1d9e0", radius=0, thickness=1)
    own = Box(left + x * cell, top + y * cell, cell, cell)
    drawing.rectangle(own, "#ffebe9", "#cf222e", radius=0, thickness=2)
    drawing.text(own.top[0], own.y + cell / 2 + 4, "(x, y)")
    across_share, down_share = dx % 1, dy % 1
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (across_share if across else 1 - across_share) * (down_share if down else 1 - down_share)
        box = Box(right + (x + dx // 1 + across) * cell, top + (y + dy // 1 + down) * cell, cell, cell)
        drawing.rectangle(box, _mixed("#54aeff", share), "#ffffff", radius=0, thickness=1)
        corner = box.x + (cell - 5 if across else 5), box.y + (cell - 7 if down else 15)
        drawing.text(*corner, f"{share:.2f}", SMALL, bold=True, anchor="end" if across else "start")
    begin = right + (x + 0.5) * cell, top + (y + 0.5) * cell
    end = begin[0] + dx * cell, begin[1] + dy * cell
    drawing.dot(*begin, radius=4, colour="#cf222e")
    drawing.path(begin, end, skip=True, thickness=2)
    lines = [
        "The flow of (x, y) points to",
        f"(x + {dx:g}, y + {dy:g}), which lies",
        "between four pixels. Each counts",
        "the more the nearer it is:",
        "",
        f"a = {across_share:.1f} of a pixel to the right,",
        f"b = {down_share:.1f} of a pixel downwards.",
    ]
    for i, line in enumerate(lines):
        drawing.text(words, top + 70 + 20 * i, line, anchor="start")
    note = "Red: the place (x, y). Arrow: its flow. Numbers: the shares of the four pixels, whose sum is 1."
    drawing.text(left, 366, note, SMALL, FAINT, anchor="start")
    return drawing.svg()


def _mixed(colour, share):
    """`share` of a colour on white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (part - 255)):02x}" for part in parts)


def adversarial():
    """What SRGAN's two networks minimise."""
    spec = network("srgan")
    drawing = Drawing(
        940,
        310,
        "SRGAN's losses",
        "True and enlarged pictures go to VGG19, whose maps the content loss compares, and to the discriminator, whose "
        "verdicts make the adversarial loss of the generator and the discriminator's own.",
    )
    drawing.heading(24, 34, "Training against a discriminator")
    small, _, enlarged = drawing.chain(
        28,
        104,
        [
            picture("x: small", "", 66),
            Block(("generator G", "trained"), "convolution", 104),
            picture("G(x): enlarged", "", 122),
        ],
        gap=28,
    )
    truth = drawing.block(enlarged.x, 226, picture("y: true", "", 122))
    features = drawing.block(470, 104, Block(("VGG19", "given"), "fixed", 124))
    judge = drawing.block(470, 226, Block(("discriminator D", "trained"), "convolution", 124))
    for source, target, turn, shift in ((enlarged, judge, 418, -10), (truth, features, 440, 10)):
        drawing.dot(turn, source.right[1], colour=FAINT)
        end = target.left[1] + shift
        drawing.path((turn, source.right[1]), (turn, end), (target.x, end))
    drawing.path((enlarged.right[0], 104), (features.x, 104))
    drawing.path((truth.right[0], 226), (judge.x, 226))
    weight = spec.recipe.adversarial_weight
    content = Block(("content loss", "squared difference of the maps"), "group", 230)
    loss = Block(("adversarial loss, for G", "− log D(G(x))"), "group", 230)
    own = Block(("loss of D", "− log D(y) − log(1 − D(G(x)))"), "group", 230)
    boxes = [drawing.block(650, y, one) for y, one in ((104, content), (190, loss), (262, own))]
    drawing.path(features.right, boxes[0].left)
    for box in boxes[1:]:
        drawing.path(judge.right, (622, 226), (622, box.left[1]), box.left)
    drawing.text(765, 153, f"+ {weight:g} ×", 13, bold=True)
    return drawing.svg()


FIGURES = {
    "srcnn": srcnn,
    "espcn": espcn,
    "subpixel": subpixel,
    "drcn": drcn,
    "vespcn": vespcn,
    "warp": warp,
    "srgan": srgan,
    "adversarial": adversarial,
}
