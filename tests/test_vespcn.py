"""The network that sees several frames: tiles, clips as training data, the embedded film."""

from dataclasses import replace

import numpy as np
import pytest
from clips import make_clip

import super_resolve
from common import backend
from common.dataset import Dataset, Source, build
from common.images import Picture, write_picture
from common.metrics import psnr
from common.motion import compensated
from common.networks import OPTICAL_FLOWS, network
from common.patches import degrade, luma_or_rgb, moving, sub_windows
from common.samples import photograph
from common.training import Run, train
from common.upscaler import Upscaler
from common.video import open_video
from common.weights import (
    Weights,
    WeightsError,
    initial_tensors,
    load_weights,
    save_weights,
    shipped_scales,
    weights_for,
    with_motion,
)

SMALL = {"width": 6, "depth": 4}


def random_weights(seed=0, **options):
    """Weights whose flows are of several pixels."""
    spec = network("vespcn", **{**SMALL, **options})
    tensors = initial_tensors(spec, seed)
    for key in tensors:
        tensors[key] = tensors[key] * (5 if key.endswith("conv5.weight") else 1)
    return Weights("vespcn", spec, tensors)


@pytest.mark.parametrize("options", [{}, {"frames": 5, "fusion": "slow", "depth": 6}, {"motion": "none"}])
def test_tiles_leave_no_trace(options):
    weights = random_weights(**options)
    window = np.random.default_rng(0).random((50, 61, weights.network.frames), np.float32)
    # In double precision, because on noise the rounding of a flow alone is worth more than the tolerance.
    whole, *tiled = (Upscaler(weights, "torch", "cpu", "fp64", tile).planes(window) for tile in (0, 12, 30, "auto"))
    assert whole.shape == (150, 183, 1)
    for result in tiled:
        assert np.abs(result - whole).max() <= 1e-6


def test_the_halo_is_no_smaller_than_what_the_network_sees():
    """A change just beyond the halo of an output leaves it as it was; one inside the reach of its flow does not."""
    upscaler = Upscaler(random_weights(), "torch", "cpu", "fp32", tile=0)
    halo = upscaler.spec.halo
    window = np.random.default_rng(1).random((2 * halo + 8, 2 * halo + 8, 3), np.float32)
    changed = window.copy()
    changed[0] += 1
    before, after = upscaler.planes(window), upscaler.planes(changed)
    assert np.array_equal(before[(halo + 1) * 3 :], after[(halo + 1) * 3 :])
    assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    "options", [{"frames": 2}, {"frames": 9}, {"fusion": "late"}, {"motion": "guess"}, {"depth": 2}]
)
def test_impossible_networks_are_refused(options):
    with pytest.raises(ValueError, match="VESPCN|fusion|motion"):
        network("vespcn", **options)


@pytest.fixture
def panned():
    """A window (72, 90, 3) of a picture that moves by (2, 1) pixels a frame."""
    plane = luma_or_rgb(photograph("coffee").pixels[40:140, 40:160], "luma")[..., 0]
    return np.stack([plane[t : t + 72, 2 * t : 2 * t + 90] for t in range(3)], axis=-1)


@pytest.mark.parametrize("method", OPTICAL_FLOWS)
@pytest.mark.parametrize(("kind", "unit"), [(np.float32, 1), (np.uint8, 255), (np.uint16, 255 << 2)])
def test_an_optical_flow_brings_neighbours_onto_the_middle_frame(panned, method, kind, unit):
    window = (panned * unit).astype(kind)
    moved = compensated(window, method, unit)
    inside = np.s_[8:-8, 8:-8]
    for side in (0, 2):
        before, after = (psnr(pixels[inside][..., 1], pixels[inside][..., side], unit) for pixels in (window, moved))
        assert after > before + 10
    assert np.array_equal(moved[..., 1], window[..., 1])


def test_frames_too_small_for_a_flow_stay_as_they_are():
    window = np.random.default_rng(0).random((9, 40, 3), np.float32)
    assert np.array_equal(compensated(window, "dis"), window)


@pytest.mark.parametrize("method", OPTICAL_FLOWS)
def test_a_network_may_see_frames_moved_by_an_optical_flow(panned, method):
    plain = random_weights(motion="none")
    moving_network = replace(plain, network=replace(plain.network, motion=method))
    result = Upscaler(moving_network, tile=20).planes(panned)
    assert np.array_equal(result, Upscaler(plain, tile=20).planes(compensated(panned, method)))
    clip = np.moveaxis(panned.repeat(3, 0).repeat(3, 1), -1, 0)
    data, unmoved = (sub_windows(clip, spec, 24, 30, 24)[0] for spec in (moving_network.network, plain.network))
    assert data.shape == unmoved.shape
    assert np.abs(data[..., 0] - data[..., 1]).mean() < np.abs(unmoved[..., 0] - unmoved[..., 1]).mean()


@pytest.mark.parametrize("scale", shipped_scales("vespcn"))
def test_what_was_learned_brings_neighbours_onto_the_middle_frame_alike_in_both_frameworks(panned, scale):
    weights, window = weights_for("vespcn", scale), panned[:, :88]
    runtimes = (backend.load(framework, "runtime").Runtime for framework in ("torch", "tensorflow"))
    ours, theirs = (
        runtime(weights.network, weights.tensors, "cpu", "fp32").compensated(window[None])[0] for runtime in runtimes
    )
    assert np.abs(ours - theirs).max() <= 1e-5
    inside = np.s_[8:-8, 8:-8]
    for side in (0, 2):
        before, after = (psnr(frames[inside][..., 1], frames[inside][..., side]) for frames in (window, ours))
        assert after > before + 2


def test_motion_can_be_left_out_of_weights_that_learned_it_but_not_put_in():
    learned = random_weights()
    bare = with_motion(learned, "none")
    assert not any(key.startswith(("coarse", "fine")) for key in bare.tensors)
    assert with_motion(learned, None) is learned
    with pytest.raises(WeightsError, match="lack coarse"):
        with_motion(bare, "learned")
    with pytest.raises(WeightsError, match="one frame"):
        with_motion(weights_for("espcn", 3), "dis")


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_parts_are_trained_apart(tmp_path, framework):
    spec = network("vespcn", scale=2, **SMALL)
    for number in range(2):
        make_clip(tmp_path / f"{number}.mkv", range(0, 200, 40), width=96, height=72)
    build(tmp_path / "set.h5", sorted(tmp_path.glob("*.mkv")), spec, Source("vespcn", spec.to_json(), 24, 32, 12))
    start = Weights("vespcn", spec, initial_tensors(spec, 0))
    for part, layers in (("motion", ("coarse", "fine")), ("resolution", ("body",))):
        recipe = replace(spec.recipe_for(part), batch_size=4)
        run = Run("vespcn", spec, recipe, tmp_path / "set.h5", tmp_path, framework, steps=3, start=start)
        report = train(run)
        trained = load_weights(report["weights"])
        changed = {key for key, tensor in trained.tensors.items() if not np.array_equal(tensor, start.tensors[key])}
        assert {key.split(".")[0] for key in changed} == set(layers)
        assert float(trained.info["validation_compensated_psnr"]) != float(trained.info["validation_neighbour_psnr"])


def test_a_network_without_parts_says_so():
    with pytest.raises(ValueError, match="no parts"):
        network("espcn").recipe_for("motion")


def test_windows_of_a_clip_hold_its_neighbours():
    spec = network("vespcn", motion="none", **SMALL)
    clip = np.random.default_rng(0).random((4, 60, 72)).astype(np.float32)
    data, label = sub_windows(clip, spec, 12, 12, 12)
    each = len(data) // 4
    lows = [degrade(frame[..., None], spec)[:12, :12, 0] for frame in clip]
    for time, chosen in enumerate([(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3)]):
        assert np.array_equal(data[time * each], np.stack([lows[t] for t in chosen], axis=-1))
        assert np.array_equal(label[time * each][..., 0], clip[time, 12:24, 12:24])


def test_windows_two_frames_apart():
    spec = network("vespcn", motion="none", **SMALL)
    clip = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 36, 36), np.float32) / 10
    data, _ = sub_windows(clip, spec, 12, 12, 12, step=2)
    assert np.allclose(data[2][0, 0], [0.0, 0.2, 0.4], atol=1e-6)


def test_a_picture_that_moves():
    plane = np.random.default_rng(0).random((90, 120)).astype(np.float32)
    clip = moving(plane, 3, np.random.default_rng(1))
    assert clip.shape[0] == 3
    assert 0 <= clip.min() <= clip.max() <= 1
    cut = min(plane.shape) // 12
    assert np.allclose(clip[1], plane[cut:-cut, cut:-cut], atol=1e-6)  # the frame in the middle is the picture
    assert np.abs(clip[0] - clip[1]).mean() > 0.01


def test_a_data_set_of_clips_and_pictures(tmp_path):
    for number in range(3):
        make_clip(tmp_path / f"{number}.mkv", range(0, 200, 40), width=96, height=72)
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 1), np.uint8)
    write_picture(tmp_path / "still.png", Picture(noise))
    (tmp_path / "broken.mkv").write_bytes(b"no film")
    spec = network("vespcn", scale=2, **SMALL)
    source = Source("vespcn", spec.to_json(), 16, 16, 8)
    paths = sorted(path for path in tmp_path.iterdir())
    skipped = build(tmp_path / "set.h5", paths, spec, source)
    assert [path.name for path, _ in skipped] == ["broken.mkv"]
    with Dataset(tmp_path / "set.h5", 4) as dataset:
        data, label = dataset.batch(0)
        assert data.shape == (4, 16, 16, 3)
        assert label.shape == (4, 16, 16, 1)
        ((name, clip),) = dataset.validation()
        assert name.endswith(".mkv")
        assert clip.shape == (5, 72, 96, 1)


def test_the_embedded_film(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_weights("vespcn.safetensors", random_weights(motion="none"))
    assert super_resolve.main(["--model", "vespcn", "--weights", "vespcn.safetensors"]) == 0
    *figures, how, last = capsys.readouterr().out.splitlines()
    assert how.startswith("vespcn x3 by torch ")
    assert last == str(tmp_path / "film_vespcn_x3.mp4")
    assert [line.split()[3] for line in figures][0] == "bicubic"
    assert figures[-1].split()[3] == "vespcn"
    assert all(line.endswith(" dB") for line in figures)
    with open_video(last) as reader:
        assert [stream.kind for stream in reader.info.streams] == ["audio"]
        frames = list(reader)
    assert len(frames) == 48
    assert frames[0].luma.shape == (288, 384)
