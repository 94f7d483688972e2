"""Labels that another network drew: what they are, who may draw them, and a run that learns from them."""

import h5py
import numpy as np
import pytest

import main
from common.dataset import Source, build
from common.images import Picture, write_picture
from common.metrics import compare, papers_protocol
from common.networks import network
from common.patches import crop_to_multiple, degrade, luma_or_rgb
from common.resize import resize
from common.samples import photograph
from common.teacher import Teacher, TeacherError
from common.weights import load_weights, shipped, weights_for

SRRESNET = weights_for("srresnet", 4)


@pytest.fixture(scope="module")
def pixels():
    return photograph("chelsea").pixels[60:190, 100:233]  # 130 x 133


def psnr(label, truth, scale):
    return compare(truth, label, papers_protocol(scale))["psnr"]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_teacher_draws_for_its_own_and_for_smaller_scales(scale, framework, pixels):
    spec = network("drcn", scale=scale)
    label = Teacher(SRRESNET, spec, framework)(pixels)
    truth = crop_to_multiple(luma_or_rgb(pixels, "luma"), scale)
    assert label.shape == truth.shape
    assert label.dtype == np.float32
    bicubic = degrade(np.ascontiguousarray(truth), spec)
    assert psnr(label, truth, scale) > psnr(bicubic, truth, scale) + 0.5


@pytest.mark.parametrize("model", ["srcnn", "espcn"])
def test_a_label_is_the_mean_over_the_picture_and_its_mirror_image(model, pixels):
    weights = weights_for(model, 3)
    teacher = Teacher(weights, network("espcn", scale=3))
    low = resize(np.ascontiguousarray(crop_to_multiple(luma_or_rgb(pixels, "luma"), 3)), 1 / 3)
    turned = np.ascontiguousarray(low[::-1, ::-1])
    drawn = (teacher.upscaler.planes(low) + teacher.upscaler.planes(turned)[::-1, ::-1]) / 2
    inner = np.s_[40:-40, 40:-40]  # further in than the border that a padded network sees
    assert np.allclose(teacher(pixels)[inner], drawn[inner], atol=1e-5)


def test_grey_is_taught_as_luma(pixels):
    grey = pixels[..., :1]
    label = Teacher(SRRESNET, network("espcn", scale=4))(grey)
    truth = crop_to_multiple(luma_or_rgb(grey, "luma"), 4)
    assert psnr(label, truth, 4) > psnr(resize(resize(truth, 1 / 4), 4), truth, 4)


def test_only_the_labels_are_the_teachers(pixels, tmp_path):
    spec = network("espcn", scale=3)
    path = tmp_path / "one.png"
    write_picture(path, Picture(pixels))
    source = Source("espcn", spec.to_json(), 12, 36, 9, enlargements=(1.0, 0.8))
    files = [tmp_path / "plain.h5", tmp_path / "taught.h5"]
    for file, teacher in zip(files, (None, Teacher(SRRESNET, spec)), strict=True):
        build(file, [path], spec, source, teacher=teacher)
    with h5py.File(files[0]) as plain, h5py.File(files[1]) as taught:
        assert np.array_equal(plain["data"], taught["data"])
        assert plain["label"].shape == taught["label"].shape
        assert not np.array_equal(plain["label"], taught["label"])
        assert np.abs(plain["label"][()] - taught["label"][()]).mean() < 0.02
        assert np.array_equal(plain["validation"]["one.png"], taught["validation"]["one.png"])


@pytest.mark.parametrize(
    ("teacher", "pupil"),
    [(("espcn", 2), ("espcn", 3)), (("vespcn", 3), ("espcn", 3)), (("espcn", 3), ("vespcn", 3))],
)
def test_who_cannot_teach(teacher, pupil):
    name, scale = pupil
    with pytest.raises(TeacherError):
        Teacher(weights_for(*teacher), network(name, scale=scale))


def test_luma_cannot_teach_colour():
    with pytest.raises(TeacherError, match="luma"):
        Teacher(weights_for("espcn", 3), network("espcn", scale=3, colour="rgb"))


def test_a_run_with_a_teacher(pixels, tmp_path, capsys):
    folder = tmp_path / "pictures"
    write_picture(folder / "one.png", Picture(pixels))
    line = ["--model", "espcn", "--framework", "torch", "--train_dir", str(folder), "--steps", "2"]
    line += ["--teacher", str(shipped("srresnet", 4)), "--checkpoint_dir", str(tmp_path / "made")]
    assert main.main(line) == 0
    about = load_weights(tmp_path / "made" / "espcn_x3.safetensors").info
    assert f"labels by srresnet_x4 {SRRESNET.fingerprint()[:12]}" in about["training_data"]
    assert main.main([*line, "--teacher", str(shipped("espcn", 2)), "--checkpoint_dir", str(tmp_path)]) == 1
    assert "cannot teach" in capsys.readouterr().err
