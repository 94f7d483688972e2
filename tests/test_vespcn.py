"""The network that sees several frames: tiles, clips as training data, the embedded film."""

import numpy as np
import pytest
from clips import make_clip

import super_resolve
from common.dataset import Dataset, Source, build
from common.images import Picture, write_picture
from common.networks import network
from common.patches import degrade, moving, sub_windows
from common.upscaler import Upscaler
from common.video import open_video
from common.weights import Weights, initial_tensors, save_weights

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
    *figures, last = capsys.readouterr().out.splitlines()
    assert last == str(tmp_path / "film_vespcn_x3.mp4")
    assert [line.split()[3] for line in figures][0] == "bicubic"
    assert figures[-1].split()[3] == "vespcn"
    assert all(line.endswith(" dB") for line in figures)
    with open_video(last) as reader:
        assert [stream.kind for stream in reader.info.streams] == ["audio"]
        frames = list(reader)
    assert len(frames) == 48
    assert frames[0].luma.shape == (288, 384)
