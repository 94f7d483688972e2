"""The pipeline: tiles leave no trace, edges are repeated, every kind of picture keeps its colour, depth and alpha."""

import numpy as np
import pytest

from common import backend
from common.images import Picture
from common.networks import network
from common.resize import resize
from common.upscaler import WORKING_SET, Upscaler, divided, enlarged
from common.video import Frame, PixelLayout, frame_of_rgb
from common.video_frames import layout_of_frame
from common.weights import Weights, initial_tensors, weights_for

SMALL = {"widths": (8, 4)}
RECURSIVE = {"recursions": 3, "width": 6}
CASES = {
    "srcnn x3": ("srcnn", {"scale": 3, **SMALL}),
    "srcnn x2": ("srcnn", {"scale": 2, "kernels": (9, 1, 5), **SMALL}),
    "espcn x3": ("espcn", {"scale": 3, **SMALL}),
    "espcn x4": ("espcn", {"scale": 4, "activation": "relu", **SMALL}),
    "espcn rgb": ("espcn", {"scale": 2, "colour": "rgb", **SMALL}),
    "drcn x2": ("drcn", {"scale": 2, **RECURSIVE}),
    "srresnet x4": ("srresnet", {"blocks": 1, "width": 6}),
    "srgan x2": ("srgan", {"scale": 2, "blocks": 1, "width": 4}),
}
# Of networks with so many layers that float32 rounds more; to all others 1e-6 applies.
TOLERANCES = {"srresnet x4": 3e-6}
SIZES = [(40, 33), (9, 50), (3, 4), (1, 7), (1, 1)]


def upscaler(case, tile="auto", framework="torch", seed=0):
    """An `Upscaler` with random weights whose output has about the contrast of its input."""
    name, options = CASES[case]
    spec = network(name, **options)
    tensors, last = initial_tensors(spec, seed), spec.convolutions[-1].name
    tensors[f"{last}.weight"] *= 10
    tensors[f"{last}.bias"] += 0.5
    return Upscaler(Weights(name, spec, tensors), framework, "cpu", "fp32", tile)


def passing_on(name, tile="auto", **options):
    """An `Upscaler` that adds nothing: SRCNN gives its bicubic input, ESPCN repeats each pixel."""
    spec = network(name, widths=(3, 3), **({"activation": "relu"} if name == "espcn" else {}), **options)
    tensors = {}
    for layer in spec.layers:
        weight = np.zeros(layer.shapes[f"{layer.name}.weight"], np.float32)
        repeat = spec.factor**2 if layer is spec.layers[-1] or layer.name == "conv3" else 1
        for output in range(layer.outputs):
            weight[output, min(output // repeat, layer.inputs - 1), layer.kernel // 2, layer.kernel // 2] = 1
        tensors |= {f"{layer.name}.weight": weight, f"{layer.name}.bias": np.zeros(layer.outputs, np.float32)}
    return Upscaler(Weights(name, spec, tensors), "torch", "cpu", "fp32", tile)


def low_planes(model, height, width, make_pixels):
    return make_pixels(height, width, model.spec.channels).astype(np.float32) / 255


def at_once(model, low):
    """What the network gives for the whole of `low`, its edge repeated as far as it is to see it, if at all."""
    seen = resize(low, model.scale) if model.spec.upscale_first else low
    beyond = model.spec.beyond
    high = model.runtime(np.pad(seen, ((beyond, beyond), (beyond, beyond), (0, 0)), mode="edge")[None])[0]
    spare = (beyond - model.spec.margin) * model.spec.factor
    return high[spare : high.shape[0] - spare, spare : high.shape[1] - spare]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("case", CASES)
def test_the_edge_is_repeated_or_padded_as_in_training(case, height, width, make_pixels):
    model = upscaler(case, tile=0)
    low = low_planes(model, height, width, make_pixels)
    high = model.planes(low)
    assert high.shape == (height * model.scale, width * model.scale, model.spec.channels)
    assert high.dtype == np.float32
    assert np.abs(high - at_once(model, low)).max() < TOLERANCES.get(case, 1e-6)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("tile", ["auto", 7, 16, 21, 500])
@pytest.mark.parametrize("case", CASES)
def test_tiles_leave_no_trace(case, tile, height, width, make_pixels):
    model = upscaler(case, tile)
    low = low_planes(model, height, width, make_pixels)
    assert np.abs(model.planes(low) - at_once(model, low)).max() < TOLERANCES.get(case, 1e-6)


@pytest.mark.parametrize("tile", [1, 2])
@pytest.mark.parametrize("case", ["srcnn x3", "espcn x3"])
def test_tiles_of_a_pixel_or_two(case, tile, make_pixels):
    model = upscaler(case, tile)
    low = low_planes(model, 6, 5, make_pixels)
    assert np.abs(model.planes(low) - at_once(model, low)).max() < TOLERANCES.get(case, 1e-6)


@pytest.mark.parametrize("case", ["srcnn x3", "espcn x3", "drcn x2", "srresnet x4", "srgan x2"])
def test_tensorflow_works_in_tiles_too(case, make_pixels):
    pytest.importorskip("tensorflow")
    model = upscaler(case, 13, "tensorflow")
    low = low_planes(model, 30, 25, make_pixels)
    assert np.abs(model.planes(low) - at_once(model, low)).max() < TOLERANCES.get(case, 1e-6)
    assert np.abs(model.planes(low) - upscaler(case, 0).planes(low)).max() < 1e-5


def test_random_weights_show_what_tiles_could_spoil(make_pixels):
    """The other tests compare to 1e-6 or little more, which means something only if the output varies much more."""
    for case in CASES:
        model = upscaler(case)
        assert model.planes(low_planes(model, 30, 30, make_pixels)).std() > 0.003


class Recorder:
    """Stands in for a network: notes the shape of each batch and answers with zeros."""

    working_set, precision = WORKING_SET, "fp32"

    def __init__(self, spec):
        self.spec, self.shapes = spec, []

    def __call__(self, batch):
        self.shapes.append(batch.shape)
        count, rows, columns, channels = batch.shape
        sides = ((side - 2 * self.spec.margin) * self.spec.factor for side in (rows, columns))
        return np.zeros((count, *sides, channels), np.float32)


@pytest.mark.parametrize("case", ["srcnn x3", "espcn x3"])
def test_a_tile_larger_than_the_picture_costs_no_more_than_the_picture(case):
    model = upscaler(case, tile=700)
    model.runtime = Recorder(model.spec)
    model.planes(np.zeros((20, 30, 1), np.float32))
    grow, halo = (3 if model.spec.upscale_first else 1), model.spec.halo
    assert model.runtime.shapes == [(1, 20 * grow + 2 * halo, 30 * grow + 2 * halo, 1)]


@pytest.mark.parametrize(("height", "width"), [(40, 40), (700, 900), (30, 20_000)])
@pytest.mark.parametrize("name", ["srcnn", "espcn", "drcn"])
def test_memory_is_bounded_whatever_the_size(name, height, width):
    spec = network(name, scale=2)
    model = Upscaler(Weights(name, spec, initial_tensors(spec, 0)), "torch", "cpu")
    model.runtime = Recorder(spec)
    covered = sum(output.size for _, output in model.tiles(np.zeros((height, width, 1), np.float32)))
    assert covered == 4 * height * width
    assert max(np.prod(shape) for shape in model.runtime.shapes) * 4 * spec.widest <= 1.1 * WORKING_SET


@pytest.mark.parametrize("halo", [0, 2, 9])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(20, 17), (2, 9), (1, 1)])
def test_a_part_of_the_enlargement_is_that_of_the_whole(height, width, scale, halo, make_pixels):
    low = make_pixels(height, width).astype(np.float32) / 255
    whole = np.pad(resize(low, scale), ((halo, halo), (halo, halo), (0, 0)), mode="edge")
    generator = np.random.default_rng(height)
    for _ in range(8):
        rows, columns = (
            slice(*sorted(generator.choice(side * scale + 1, 2, replace=False))) for side in (height, width)
        )
        part = enlarged(low, rows, columns, scale, halo)
        expected = whole[rows.start : rows.stop + 2 * halo, columns.start : columns.stop + 2 * halo]
        assert part.shape == expected.shape
        assert np.abs(part - expected).max() < 1e-6


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("case", ["srcnn x2", "espcn x3", "espcn rgb", "drcn x2", "srresnet x4", "srgan x2"])
def test_every_kind_of_picture_keeps_its_kind(case, alpha, channels, depth, make_pixels):
    model = upscaler(case, tile=9)
    pixels = make_pixels(13, 10, channels, depth)
    alpha = make_pixels(13, 10, 1, depth, seed=1)[..., 0] if alpha else None
    before = pixels.copy()
    picture = Picture(pixels, alpha, icc=b"profile", exif=b"II*\0", dpi=(300, 300), format="PNG")
    larger = model.picture(picture)
    assert larger.pixels.shape == (13 * model.scale, 10 * model.scale, channels)
    assert larger.pixels.dtype == pixels.dtype
    assert (larger.icc, larger.exif, larger.dpi) == (picture.icc, picture.exif, picture.dpi)
    assert np.array_equal(picture.pixels, before)
    if alpha is None:
        assert larger.alpha is None
    else:
        assert larger.alpha.shape == larger.pixels.shape[:2]
        assert larger.alpha.dtype == pixels.dtype


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("case", ["srcnn x2", "espcn x3", "espcn rgb", "drcn x2", "srresnet x4", "srgan x2"])
def test_pictures_do_not_depend_on_tiles(case, depth, make_pixels):
    picture = Picture(make_pixels(31, 22, 3, depth), make_pixels(31, 22, 1, depth, seed=1)[..., 0])
    whole, tiled = (upscaler(case, tile).picture(picture) for tile in (0, 10))
    for first, second in ((whole.pixels, tiled.pixels), (whole.alpha, tiled.alpha)):
        assert np.abs(first.astype(int) - second).max() <= 1


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", ["luma", "rgb"])
def test_srcnn_that_adds_nothing_gives_the_bicubic_enlargement(colour, channels, depth, make_pixels):
    pixels = make_pixels(17, 23, channels, depth)
    larger = passing_on("srcnn", 16, scale=3, colour=colour).picture(Picture(pixels)).pixels
    expected = np.clip(resize(pixels.astype(np.float64), 3), 0, 2**depth - 1)
    assert np.abs(larger - expected).max() <= 0.5 + 1e-5 * 2**depth


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["srcnn", "espcn"])
def test_a_constant_picture_keeps_its_colour(name, scale, depth):
    for colour in ([255, 0, 0], [0, 128, 255], [10, 200, 90], [0, 0, 0], [255, 255, 255], [77]):
        colour = np.array(colour, f"u{depth // 8}") * (1 if depth == 8 else 257)
        picture = Picture(np.broadcast_to(colour, (9, 11, len(colour))).copy())
        larger = passing_on(name, 5, scale=scale).picture(picture).pixels
        assert np.abs(larger.astype(int) - colour).max() <= (0 if depth == 8 else 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_luma_comes_from_the_network_and_the_chroma_from_bicubic(channels, make_pixels):
    """Each pixel of ESPCN repeats; with bicubic chroma, colour pictures of one luma come out as smooth as chroma is."""
    pixels = make_pixels(12, 14, channels)
    larger = passing_on("espcn", scale=2).picture(Picture(pixels)).pixels
    repeated = pixels.repeat(2, axis=0).repeat(2, axis=1)
    weights = [1] if channels == 1 else [0.299, 0.587, 0.114]
    assert np.abs((larger.astype(float) - repeated) @ weights).max() <= 1
    assert np.array_equal(larger, repeated) == (channels == 1)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("value", [0, 1, 254, 255])
def test_a_constant_alpha_stays_as_it_is(value, depth, make_pixels):
    alpha = np.full((8, 9), value, f"u{depth // 8}")
    larger = upscaler("espcn x3").picture(Picture(make_pixels(8, 9, 3, depth), alpha))
    assert (larger.alpha == value).all()


@pytest.mark.parametrize("case", ["srcnn x2", "espcn x3", "espcn rgb", "srresnet x4"])
def test_alpha_stays_clean_where_it_is_nothing_or_all(case, make_pixels):
    alpha = np.zeros((16, 20), np.uint8)
    alpha[:, 10:] = 255
    model = upscaler(case)
    larger = model.picture(Picture(make_pixels(16, 20), alpha)).alpha
    assert (larger[:, : 9 * model.scale] == 0).all()
    assert (larger[:, 11 * model.scale :] == 255).all()


def test_alpha_is_enlarged_as_luma_is(make_pixels):
    alpha = make_pixels(12, 10, 1)[..., 0]
    larger = passing_on("espcn", scale=2).picture(Picture(make_pixels(12, 10), alpha)).alpha
    assert np.array_equal(larger, alpha.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_video_keeps_its_colours_through_rgb(matrix, full_range, subsampling, bits):
    """A network on RGB that repeats each pixel gives frames whose samples are repeated, whatever they stand for."""
    frame = frame_of_rgb(smooth_colours(), PixelLayout(subsampling, bits), matrix, full_range)
    model = passing_on("espcn", scale=2, colour="rgb")
    larger = model.frame([frame], matrix=matrix, full_range=full_range)
    assert (larger.bits, larger.luma.dtype) == (bits, frame.luma.dtype)
    assert layout_of_frame(larger) == layout_of_frame(frame)
    assert np.abs(larger.luma.astype(int) - frame.luma.repeat(2, 0).repeat(2, 1)).max() <= 1
    for small, large in zip(frame.chroma, larger.chroma, strict=True):
        difference = large.astype(float) - small.repeat(2, 0).repeat(2, 1)
        assert np.abs(difference).max() <= (1 if subsampling == (1, 1) else 8 * 2 ** (bits - 8))
        assert abs(difference.mean()) <= 0.5 * 2 ** (bits - 8)


def smooth_colours():
    """(24, 32, 3) float32 RGB in [0, 1] that changes slowly."""
    y, x = np.mgrid[:24, :32] / 32
    return np.stack([0.5 + 0.4 * np.sin(3 * x), 0.5 + 0.4 * np.cos(2 * y), 0.2 + 0.5 * x * y], axis=-1).astype("f4")


@pytest.mark.parametrize("chroma", [None, 128])
def test_grey_video_stays_grey_in_a_network_on_colours(chroma, make_pixels):
    luma = make_pixels(10, 12, 1)[..., 0]
    chroma = chroma and (np.full((5, 6), chroma, np.uint8),) * 2
    larger = upscaler("srresnet x4").frame([Frame(luma, chroma, alpha=luma)])
    assert larger.luma.shape == larger.alpha.shape == (40, 48)
    assert larger.luma.std() > 0
    if chroma is None:
        assert larger.chroma is None
    else:
        assert all(plane.shape == (20, 24) and (plane == 128).all() for plane in larger.chroma)


def test_pictures_of_grey_in_colours_stay_grey(make_pixels):
    larger = upscaler("srresnet x4").picture(Picture(make_pixels(9, 8, 1).repeat(3, axis=-1))).pixels
    assert (larger == larger[..., :1]).all()


def test_tiles_of_a_large_halo_are_no_smaller_than_it_pays():
    spec = network("srgan")
    model = Upscaler(Weights("srgan", spec, initial_tensors(spec, 0)), "torch", "cpu")
    model.runtime = Recorder(spec)
    assert sum(output.size for _, output in model.tiles(np.zeros((540, 960, 3), np.float32))) == 540 * 960 * 16 * 3
    shared = sum(np.prod(shape[:3]) for shape in model.runtime.shapes) / (540 * 960)
    assert shared < 1.7
    assert max(np.prod(shape[:3]) for shape in model.runtime.shapes) * 4 * spec.widest < 1400 << 20


def test_srgan_draws_nothing_at_the_edge_that_its_losses_did_not_see():
    """Of an even picture, which has no edges of its own. Beside zeros it draws bands of colour."""
    model = Upscaler(weights_for("srgan", 4), "torch", "cpu", "fp32")
    high = model.planes(np.full((24, 20, 3), 0.4, np.float32))
    assert np.ptp(high, axis=(0, 1)).max() < 0.01


@pytest.mark.parametrize("case", ["drcn x2", "srresnet x4"])
def test_a_picture_in_one_piece_costs_a_padded_network_no_more_than_itself(case):
    model = upscaler(case, tile=0)
    model.runtime = Recorder(model.spec)
    model.planes(np.zeros((20, 31, model.spec.channels), np.float32))
    grow = 2 if model.spec.upscale_first else 1
    assert [shape[1:3] for shape in model.runtime.shapes] == [(20 * grow, 31 * grow)]


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("name", ["espcn", "vespcn", "drcn", "srgan"])
def test_tiles_cover_an_axis_once_and_see_a_halo_around(name, multiple):
    spec = network(name)
    multiple *= spec.grid
    for length in (1, 2, 7, 40, 41, 79, 80, 97, 131, 200):
        for side in (1, 8, 33, 64, 300):
            tiles = divided(length, side, spec, multiple)
            assert [n for kept, _ in tiles for n in range(kept.start, kept.stop)] == list(range(length))
            assert len({seen.stop - seen.start for _, seen in tiles}) == 1
            for kept, seen in tiles:
                assert kept.stop - kept.start <= max(-(-side // multiple) * multiple + 2 * (spec.halo - spec.beyond), 1)
                assert seen.start <= max(kept.start - spec.halo, -spec.beyond)
                assert seen.stop >= min(kept.stop + spec.halo, length + spec.beyond)
                assert spec.beyond or (seen.start >= 0 and seen.stop <= length)


class Short(Recorder):
    """A network whose memory is too short for more than `pixels`."""

    def __init__(self, spec, pixels):
        super().__init__(spec)
        self.pixels = pixels

    def __call__(self, batch):
        if np.prod(batch.shape[:3]) > self.pixels:
            raise MemoryError
        return super().__call__(batch)


def test_where_memory_is_short_tiles_are_halved_and_it_is_said_once():
    model = upscaler("espcn x3", tile=0)
    model.runtime = Short(model.spec, 40 * 40)
    for _ in range(2):
        covered = np.zeros((300, 240), bool)
        for place, _ in model.tiles(np.zeros((100, 80, 1), np.float32)):
            covered[place] = True
        assert covered.all()
    assert model.warnings == ["Memory was too short for tiles of 50 pixels, so that they are of 25 now."]


def test_memory_too_short_for_any_tile_is_an_error():
    model = upscaler("espcn x3")
    model.runtime = Short(model.spec, 10)
    with pytest.raises(MemoryError):
        list(model.tiles(np.zeros((100, 80, 1), np.float32)))
    assert model.tile == "auto" or model.tile >= 8  # so that a later picture is not drawn in crumbs


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_the_want_of_memory_is_one_error_in_both_frameworks(framework, monkeypatch):
    spec = network("espcn")
    runtime = backend.load(framework, "runtime").Runtime(spec, initial_tensors(spec, 0), "cpu")

    def fails(batch):
        if framework == "torch":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        raise pytest.importorskip("tensorflow").errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(runtime, "graph", fails)
    with pytest.raises(MemoryError):
        runtime(np.zeros((1, 20, 20, 1), np.float32))
