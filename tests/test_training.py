"""Training as a user lives with it: resume, Ctrl-C, logs, limits, mistakes."""

import dataclasses
import json
import os
import signal
import threading

import numpy as np
import pytest
from safetensors.numpy import save_file

from common import training
from common.dataset import Dataset, Source, build
from common.errors import TrainingError
from common.images import Picture, write_picture
from common.logs import Log
from common.networks import network
from common.starting import StartError, started
from common.training import Interrupted, Run, train
from common.weights import load_weights, read_safetensors

FRAMEWORKS = ("tensorflow", "torch")
SPEC = network("espcn", scale=2, widths=(8, 4))
RECIPE = dataclasses.replace(SPEC.recipe, image_size=16, batch_size=8, warmup=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A small HDF5 file made of four pictures, one of which is held back."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(4):
        smooth = np.kron(generator.integers(0, 256, (12, 14)), np.ones((6, 6)))
        write_picture(folder / f"{number}.png", Picture(smooth[..., None].astype(np.uint8)))
    source = Source("espcn", SPEC.to_json(), RECIPE.image_size, 16, 7)
    build(folder / "set.h5", sorted(folder.glob("*.png")), SPEC, source)
    return folder / "set.h5"


def a_run(dataset, folder, **options):
    return Run("espcn", SPEC, RECIPE, dataset, folder, **{"framework": "torch", "steps": 30, **options})


def interrupt_at(step):
    """A progress function that sends Ctrl-C once `step` is reached."""

    sent = []

    def progress(fraction, now, numbers):
        if now >= step and not sent:
            sent.append(now)
            os.kill(os.getpid(), signal.SIGINT)

    return progress


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_resumed_equals_uninterrupted(framework, dataset, tmp_path):
    whole = train(a_run(dataset, tmp_path / "whole", framework=framework))
    with pytest.raises(Interrupted) as stop:
        train(a_run(dataset, tmp_path / "parts", framework=framework), interrupt_at(10))
    assert 10 <= stop.value.step < 30
    shown = []
    goes_on = a_run(dataset, tmp_path / "parts", framework=framework, resume=True)
    parts = train(goes_on, lambda fraction, step, numbers: shown.append(step))
    assert shown[0] == stop.value.step  # where a bar of progress begins
    assert parts["loss"] == whole["loss"]
    assert parts["validation"] == whole["validation"]
    first, second = (load_weights(report["weights"]).tensors for report in (whole, parts))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_a_run_goes_on_in_the_other_framework(dataset, tmp_path):
    with pytest.raises(Interrupted):
        train(a_run(dataset, tmp_path, framework="tensorflow"), interrupt_at(10))
    report = train(a_run(dataset, tmp_path, framework="torch", resume=True))
    whole = train(a_run(dataset, tmp_path / "whole", framework="torch"))
    assert report["steps"] == 30
    assert report["validation"][-1][1] == pytest.approx(whole["validation"][-1][1], abs=0.01)


def test_ctrl_c_is_heard_where_every_step_is_validated(dataset, tmp_path):
    with pytest.raises(Interrupted) as stop:
        train(a_run(dataset, tmp_path, steps=6), interrupt_at(2))
    assert stop.value.step < 6
    assert train(a_run(dataset, tmp_path, steps=6, resume=True))["steps"] == 6


def test_a_new_run_leaves_the_curves_of_the_one_before_alone(dataset, tmp_path):
    for seed in range(3):
        train(a_run(dataset, tmp_path, steps=2, seed=seed))
    boards = {path.name: len(list(path.iterdir())) for path in (tmp_path / "tensorboard").iterdir()}
    assert boards == {"espcn_x2_widths-8-4": 1, "espcn_x2_widths-8-4.previous": 1}


def test_a_flat_picture_among_those_held_back_hides_no_other(dataset, tmp_path, monkeypatch):
    flat = np.full((24, 24, 1), 128, np.uint8)
    held_back = Dataset.validation
    monkeypatch.setattr(Dataset, "validation", lambda self: [*held_back(self), ("flat", flat)])
    monkeypatch.setattr("common.validation.compare", lambda truth, drawn, protocol: {
        "psnr": np.inf if np.ptp(truth) == 0 else float(-np.abs(truth - drawn).mean())})  # fmt: skip
    report = train(a_run(dataset, tmp_path))
    assert all(np.isfinite(psnr) for _, psnr in report["validation"])


def test_training_learns_and_says_so(dataset, tmp_path):
    report = train(a_run(dataset, tmp_path, steps=150))
    assert report["steps"] == 150
    assert report["loss"][-1][1] < report["loss"][0][1] / 4
    assert report["validation"][-1][1] > report["validation"][0][1]
    assert len(report["validation"]) == training.VALIDATIONS
    assert report["samples_per_second"] > 0
    weights = load_weights(report["weights"])
    assert weights.name == "espcn"
    assert weights.network == SPEC
    assert json.loads(weights.info["recipe"])["image_size"] == 16
    best = max(psnr for _, psnr in report["validation"])
    assert float(weights.info["validation_psnr"]) == pytest.approx(best, abs=1e-4)


def test_the_log_is_there_to_be_read(dataset, tmp_path):
    train(a_run(dataset, tmp_path))
    records = [json.loads(line) for line in (tmp_path / "espcn_x2_widths-8-4.jsonl").read_text().splitlines()]
    assert {"step", "loss", "learning_rate", "samples_per_second"} <= set(records[0])
    assert records[-1]["step"] == 30
    assert any("psnr" in record for record in records)
    events = list((tmp_path / "tensorboard" / "espcn_x2_widths-8-4").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"validation" in events[0].read_bytes()
    assert b"PNG" in events[0].read_bytes()


def test_a_log_is_json_whatever_is_measured(tmp_path):
    log = Log(tmp_path / "log.jsonl", tmp_path)
    log.write(1, psnr=float("inf"))
    log.close()
    assert json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=pytest.fail) == {"step": 1, "psnr": None}


def test_a_timed_run_ends(dataset, tmp_path):
    report = train(a_run(dataset, tmp_path, steps=None, minutes=0.01))
    assert report["seconds"] >= 0.6
    assert report["validation"]


def test_the_same_seed_gives_the_same_weights(dataset, tmp_path):
    first, second, other = (
        load_weights(train(a_run(dataset, tmp_path / str(number), seed=seed, steps=5))["weights"]).tensors
        for number, seed in enumerate((3, 3, 4))
    )
    assert np.array_equal(first["conv1.weight"], second["conv1.weight"])
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])


def test_weights_of_another_scale_are_a_start(dataset, tmp_path):
    report = train(a_run(dataset, tmp_path, steps=2))
    start = load_weights(report["weights"])
    other = dataclasses.replace(start, network=dataclasses.replace(SPEC, scale=3))
    begun = started(other, SPEC, {"conv1.weight": start.tensors["conv1.weight"]}, 0)
    assert np.array_equal(begun["conv1.weight"], start.tensors["conv1.weight"])
    with pytest.raises(StartError, match="no layer in common"):
        started(other, SPEC, {"conv1.weight": np.zeros((1, 1, 3, 3))}, 0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_loss_that_is_no_number_ends_the_run(framework, dataset, tmp_path):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e20, clip_norm=0.0, optimizer="sgd", warmup=0)
    with pytest.raises(TrainingError, match="no number any more at step 25; a --learning_rate below"):
        train(dataclasses.replace(a_run(dataset, tmp_path, framework=framework, steps=1000), recipe=recipe))


def test_resume_without_or_with_a_foreign_checkpoint_is_refused(dataset, tmp_path):
    with pytest.raises(TrainingError, match="nothing to resume"):
        train(a_run(dataset, tmp_path, resume=True))
    train(a_run(dataset, tmp_path, steps=2))
    with pytest.raises(TrainingError, match="another network, recipe, precision, seed or data set"):
        train(a_run(dataset, tmp_path, steps=4, seed=1, resume=True))


def test_a_checkpoint_from_before_an_option_existed_goes_on_with_its_default(dataset, tmp_path):
    """As long as it is the default that is asked for."""
    train(a_run(dataset, tmp_path, steps=2))
    path = tmp_path / "espcn_x2_widths-8-4.checkpoint"
    arrays, header = read_safetensors(path)
    (name, spec, recipe, *rest), *data = json.loads(header["identity"])
    spec, recipe = json.loads(spec), dict(recipe)
    del spec["activation"], recipe["mesh_weight"], recipe["betas"]
    header["identity"] = json.dumps([[name, json.dumps(spec), recipe, *rest], *data])
    save_file(arrays, path, metadata=header)
    other = a_run(dataset, tmp_path, steps=4, resume=True)
    for changed in ({"mesh_weight": 1.0}, {"betas": (0.9, 0.99)}):
        with pytest.raises(TrainingError, match="another network, recipe, precision, seed or data set"):
            train(dataclasses.replace(other, recipe=dataclasses.replace(RECIPE, **changed)))
    assert train(other)["steps"] == 4


@pytest.mark.parametrize("identity", ["", "7", "[]", "[[[]]]", "[" * 10**5, '[["espcn", "{", {}, 0, "fp32"], [], []]',
                                      '[["espcn", 3, null, 0, "fp32"], [], []]'])  # fmt: skip
def test_a_checkpoint_of_nothing_known_is_refused(identity, dataset, tmp_path):
    train(a_run(dataset, tmp_path, steps=2))
    path = tmp_path / "espcn_x2_widths-8-4.checkpoint"
    arrays, header = read_safetensors(path)
    save_file(arrays, path, metadata={**header, "identity": identity})
    with pytest.raises(TrainingError, match="another network, recipe, precision, seed or data set"):
        train(a_run(dataset, tmp_path, steps=4, resume=True))


@pytest.mark.parametrize("part", [{"place": "[1, 2]"}, {"place": '{"step": "x"}'}, {"place": "[" * 10**5},
                                  {"best_psnr": "much"}, {"figures": "7"}])  # fmt: skip
def test_a_checkpoint_that_does_not_say_where_it_stands_is_refused(part, dataset, tmp_path):
    train(a_run(dataset, tmp_path, steps=2))
    path = tmp_path / "espcn_x2_widths-8-4.checkpoint"
    arrays, header = read_safetensors(path)
    save_file(arrays, path, metadata={**header, **part})
    with pytest.raises(TrainingError, match="is not complete"):
        train(a_run(dataset, tmp_path, steps=4, resume=True))


def test_a_data_set_of_another_network_is_refused(dataset, tmp_path):
    run = dataclasses.replace(a_run(dataset, tmp_path), spec=network("espcn", scale=2))
    with pytest.raises(TrainingError, match="was made for espcn"):
        train(run)


def test_training_in_a_thread_needs_no_signals(dataset, tmp_path):
    reports = []
    thread = threading.Thread(target=lambda: reports.append(train(a_run(dataset, tmp_path, steps=2))))
    thread.start()
    thread.join()
    assert reports[0]["steps"] == 2


def test_no_half_written_files_remain(dataset, tmp_path):
    train(a_run(dataset, tmp_path, steps=3))
    names = {path.name.removeprefix("espcn_x2_widths-8-4") for path in tmp_path.iterdir()}
    assert names == {".safetensors", ".checkpoint", ".jsonl", "tensorboard"}


def test_a_finished_run_can_be_made_longer(dataset, tmp_path):
    first = train(a_run(dataset, tmp_path, steps=10))
    longer = train(a_run(dataset, tmp_path, steps=60, resume=True))
    assert longer["steps"] == 60
    assert longer["validation"][-1][0] == 60
    assert max(psnr for _, psnr in longer["validation"]) > max(psnr for _, psnr in first["validation"])
    assert int(load_weights(longer["weights"]).info["steps"]) > 10


def test_a_new_run_sets_the_old_one_aside(dataset, tmp_path):
    report = train(a_run(dataset, tmp_path, steps=30))
    before = load_weights(report["weights"]).tensors
    train(a_run(dataset, tmp_path, steps=1))
    kept = load_weights(tmp_path / "espcn_x2_widths-8-4.previous.safetensors").tensors
    assert all(np.array_equal(before[key], kept[key]) for key in before)


@pytest.mark.parametrize("resume", [False, True])
def test_the_second_of_two_runs_in_a_folder_is_refused(resume, dataset, tmp_path):
    train(a_run(dataset, tmp_path, steps=2))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    log = Log(tmp_path / "espcn_x2_widths-8-4.jsonl", tmp_path / "tensorboard", first_step=2)
    with pytest.raises(TrainingError, match="Another run is at work on .*_x2_widths-8-4[.]jsonl; .*checkpoint_dir"):
        train(a_run(dataset, tmp_path, steps=4, resume=resume))
    log.close()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before
    assert train(a_run(dataset, tmp_path, steps=4, resume=resume))["steps"] == 4


def test_weights_that_are_no_numbers_are_never_saved(dataset, tmp_path):
    recipe = dataclasses.replace(RECIPE, clip_norm=float("nan"))
    with pytest.raises(TrainingError, match="no number any more at step 1; a --learning_rate below [^;]*help[.]$"):
        train(dataclasses.replace(a_run(dataset, tmp_path, steps=3), recipe=recipe))
    assert not list(tmp_path.glob("*.checkpoint"))


def test_a_checkpoint_of_another_precision_is_refused(dataset, tmp_path):
    train(a_run(dataset, tmp_path, steps=2, precision="fp64"))
    with pytest.raises(TrainingError, match="precision"):
        train(a_run(dataset, tmp_path, steps=4, resume=True))


def test_every_place_of_a_batch_sees_every_sub_image(dataset):
    """The place decides the symmetry by which a sub-image is turned, so it must not hang on its place in the file."""
    with Dataset(dataset, 8, seed=1) as opened:
        order = {sub_image.tobytes(): number for number, sub_image in enumerate(opened.data)}
        first = {order[opened.batch(step)[0][0].tobytes()] for step in range(8 * opened.steps_per_epoch)}
        assert max(first) > 0.8 * len(opened)
        assert min(first) < 0.2 * len(opened)
