"""Several processes or devices train as one: the same weights, one writer, and no one waits for the dead."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import main
from common import cli
from common.images import Picture, write_picture
from common.logs import read_log

ROOT = Path(__file__).resolve().parent.parent
BATCH = 6  # no multiple of 8: shares begin anywhere among the 8 ways to turn a sub-image
NETWORKS = {
    "espcn": ["--model", "espcn", "--variant", "widths=8-4", "--image_size", "16", "--learning_rate", "0.05"],
    # Batch normalisation amplifies rounding, which is no matter of how a batch is shared.
    "srresnet": ["--model", "srresnet", "--variant", "blocks=1", "--variant", "width=8", "--image_size", "8",
                 "--learning_rate", "0.01", "--optimizer", "adam", "--precision", "fp64"],
    "srgan": ["--model", "srgan", "--variant", "blocks=1", "--variant", "width=8", "--image_size", "16",
              "--label_size", "32", "--learning_rate", "0.001", "--optimizer", "sgd", "--precision", "fp64"],
}  # fmt: skip
BOUND = 300  # seconds after which a process is taken to wait for ever
# Processes are copies of one that has loaded both frameworks, so that each begins at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch_models.training", "torch_models.distributed", "tf_models.training",
                                "tf_models.distributed", "common.experiments", "common.training", "main"])  # fmt: skip


def work(arguments, environment, output):
    """What a process does: `main.py` with these arguments, all it says going to the file `output`."""
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.exit(main.main(arguments))


class Processes:
    """`number` processes in `framework`, each `main.py` with `arguments`, writing to `folder`."""

    def __init__(self, framework, number, folder, arguments):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        arguments = ["--framework", framework, "--scale", "2", "--threads", "1", "--batch_size", str(BATCH),
                     "--stride", "5", "--checkpoint_dir", str(folder), *arguments]  # fmt: skip
        self.outputs = [self.folder / f"output{rank}.txt" for rank in range(number)]
        for output in self.outputs:
            output.unlink(missing_ok=True)
        places = of_tensorflow(number) if framework == "tensorflow" else of_torchrun(number)
        self.all = [
            CONTEXT.Process(target=work, args=(arguments, place, str(output)), daemon=True)
            for place, output in zip(places, self.outputs, strict=True)
        ]
        for process in self.all:
            process.start()

    def ended(self):
        """The exit codes of all, which end in bounded time."""
        for process in self.all:
            process.join(BOUND)
        codes = [process.exitcode for process in self.all]
        for process in self.all:
            process.kill()
        return codes

    def until(self, step):
        """Wait until the log has come to `step`, a few minutes at most."""
        end = time.monotonic() + 300
        while all(process.is_alive() for process in self.all) and time.monotonic() < end:
            if any(record["step"] >= step for record in read_log(log_of(self.folder))):
                return self
            time.sleep(0.01)
        pytest.fail(self.said(0))

    def said(self, rank):
        """What process `rank` wrote on the terminal."""
        return self.outputs[rank].read_text(encoding="utf-8")


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def of_torchrun(number):
    """What torchrun tells each of `number` processes."""
    common = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]


def of_tensorflow(number):
    """The TF_CONFIG of each of `number` processes."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(number)]}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})}
        for rank in range(number)
    ]


def log_of(folder):
    return next((path for path in folder.glob("*.jsonl") if "previous" not in path.name), folder / "none")


def state_of(folder):
    """All arrays of the checkpoint in a folder."""
    (path,) = folder.glob("*.checkpoint")
    return load_file(path)


def same_training(first, second):
    """Fail unless two folders hold the same weights and the same log, but for the rounding of sums."""
    ours, theirs = state_of(first), state_of(second)
    assert set(ours) == set(theirs)
    held = [key for key in ours if not key.startswith(("optimizer/", "discriminator_optimizer/"))]
    assert max(float(np.abs(ours[key] - theirs[key]).max()) for key in held) <= 1e-4
    logs = [
        [{key: record[key] for key in record if key != "samples_per_second"} for record in read_log(log_of(folder))]
        for folder in (first, second)
    ]
    for record, other in zip(*logs, strict=True):
        assert record == pytest.approx(other, rel=1e-4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory, make_pixels):
    """A folder of four small pictures, one of which is held back."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        write_picture(folder / f"{number}.png", Picture(make_pixels(64, 72, seed=number)))
    return folder


@pytest.fixture(scope="module")
def alone(photos, tmp_path_factory):
    """A function: the folder of a short run of a network in a framework by one process."""
    folders = {}

    def folder(framework, name):
        if (framework, name) not in folders:
            folders[framework, name] = tmp_path_factory.mktemp("alone")
            processes = Processes(framework, 1, folders[framework, name], short_run(photos, name))
            assert processes.ended() == [cli.DONE], processes.said(0)
        return folders[framework, name]

    return folder


def short_run(photos, name):
    """Twenty steps; fewer of SRGAN, whose checkpoints are large."""
    return [*NETWORKS[name], "--train_dir", str(photos), "--steps", "5" if name == "srgan" else "20"]


@pytest.mark.parametrize(
    ("framework", "name"), [*product(("tensorflow", "torch"), ("espcn", "srresnet")), ("torch", "srgan")]
)
def test_two_processes_train_as_one(framework, name, photos, alone, tmp_path):
    processes = Processes(framework, 2, tmp_path, short_run(photos, name))
    assert processes.ended() == [cli.DONE, cli.DONE], processes.said(0) + processes.said(1)
    same_training(alone(framework, name), tmp_path)


def test_the_first_process_alone_writes(photos, tmp_path):
    report = tmp_path / "report.json"
    arguments = [*short_run(photos, "espcn"), "--report", str(report)]
    processes = Processes("torch", 2, tmp_path, arguments)
    assert processes.ended() == [cli.DONE, cli.DONE]
    assert "Cutting sub-images" in processes.said(0)
    assert "20 steps in" in processes.said(0)
    assert processes.said(1) == ""
    assert json.loads(report.read_text())["steps"] == 20
    assert len(list(tmp_path.glob("tensorboard/*/events*"))) == 1
    names = {path.name.removeprefix("espcn_x2_widths-8-4") for path in tmp_path.iterdir()}
    assert names == {".h5", ".safetensors", ".checkpoint", ".jsonl", "tensorboard", "report.json",
                     "output0.txt", "output1.txt"}  # fmt: skip


def test_torchrun_trains_as_one_process(photos, alone, tmp_path):
    arguments = ["--framework", "torch", "--scale", "2", "--threads", "1", "--batch_size", str(BATCH), "--stride", "5",
                 "--checkpoint_dir", str(tmp_path), *short_run(photos, "espcn")]  # fmt: skip
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [*torchrun, str(ROOT / "main.py"), *arguments], capture_output=True, encoding="utf-8", timeout=BOUND
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("20 steps in") == 1
    same_training(alone("torch", "espcn"), tmp_path)


def test_two_devices_of_one_machine_train_as_one(photos, alone, tmp_path):
    """In TensorFlow; the one device that they are compared with is PyTorch's, which computes the same."""
    arguments = [*short_run(photos, "srgan"), "--device", "cpu", "--devices", "2"]
    processes = Processes("tensorflow", 1, tmp_path, arguments)
    assert processes.ended() == [cli.DONE], processes.said(0)
    same_training(alone("torch", "srgan"), tmp_path)


def test_a_run_goes_on_with_another_number_of_processes(photos, tmp_path):
    """Stopped twice by asking one process that is not the first to end, in the other framework in between."""
    long_run = [*NETWORKS["espcn"], "--precision", "fp64", "--train_dir", str(photos), "--steps", "400"]
    assert Processes("torch", 1, tmp_path / "whole", long_run).ended() == [cli.DONE]
    step, parts = 0, tmp_path / "parts"
    for framework, resume in (("torch", []), ("tensorflow", ["--resume"])):
        processes = Processes(framework, 2, parts, [*long_run, *resume]).until(step + 10)
        os.kill(processes.all[1].pid, signal.SIGTERM)
        assert processes.ended() == [cli.INTERRUPTED] * 2, processes.said(0)
        step = read_log(log_of(parts))[-1]["step"]
        assert 10 <= step < 400
        assert "Stopped after step" in processes.said(0)
        assert "Stopped after step" not in processes.said(1)
    processes = Processes("torch", 3, parts, [*long_run, "--resume"])
    assert processes.ended() == [cli.DONE] * 3, processes.said(0)
    same_training(tmp_path / "whole", parts)


@pytest.mark.parametrize(("framework", "lost"), [("torch", 0), ("torch", 1), ("tensorflow", 0), ("tensorflow", 1)])
def test_a_lost_process_ends_the_others(framework, lost, photos, tmp_path):
    arguments = [*NETWORKS["espcn"], "--train_dir", str(photos), "--steps", "1000"]
    processes = Processes(framework, 2, tmp_path, arguments).until(51)  # the first checkpoint is that of step 50
    processes.all[lost].kill()
    codes = processes.ended()
    assert codes[lost] == -signal.SIGKILL
    assert codes[1 - lost] == cli.FAILED
    *_, last = processes.said(1 - lost).splitlines()
    assert last.endswith(
        "Error: Another process of this training has ended or does not answer; "
        f"--resume goes on from {tmp_path / 'espcn_x2_widths-8-4.checkpoint'}."
    )
    assert 50 <= state_of(tmp_path)["count"][0] < 1000


def test_the_clock_of_the_first_process_is_that_of_all(photos, tmp_path):
    processes = Processes("torch", 2, tmp_path, [*NETWORKS["espcn"], "--train_dir", str(photos), "--minutes", "0.01"])
    assert processes.ended() == [cli.DONE, cli.DONE], processes.said(0) + processes.said(1)  # neither waited in vain


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_of_several_processes_the_first_tests(framework, photos, tmp_path):
    report, samples = tmp_path / "report.json", tmp_path / "samples"
    arguments = ["--model", "espcn", "--is_train=False", "--test_dir", str(photos), "--sample_dir", str(samples)]
    processes = Processes(framework, 2, tmp_path, [*arguments, "--report", str(report)])
    assert processes.ended() == [cli.DONE, cli.DONE], processes.said(0) + processes.said(1)
    assert processes.said(0).splitlines()[-1] == str(samples)
    assert processes.said(1) == "A test is the work of process 0; process 1 of 2 has nothing to do.\n"
    assert len(json.loads(report.read_text())["images"]) == 4


def test_a_batch_that_cannot_be_shared_is_refused(photos, tmp_path):
    arguments = [*short_run(photos, "espcn"), "--batch_size", "5"]
    processes = Processes("torch", 2, tmp_path, arguments)
    assert processes.ended() == [cli.FAILED, cli.FAILED]
    assert processes.said(1) == (
        "Error: A batch of 5 sub-images cannot be shared equally by 2: take a --batch_size that is a multiple of 2.\n"
    )


@pytest.mark.parametrize(
    ("framework", "environment", "sentence"),
    [
        ("tensorflow", of_torchrun(2)[0], "torchrun is for --framework torch"),
        ("torch", of_tensorflow(2)[0], "TF_CONFIG is for --framework tensorflow"),
        ("tensorflow", {"TF_CONFIG": "worker 0"}, "TF_CONFIG should say {"),
        ("tensorflow", {"TF_CONFIG": json.dumps({"cluster": {"worker": ["a:1", "b:1"]}})}, "TF_CONFIG should say {"),
        ("torch", {"WORLD_SIZE": "two"}, "are no numbers"),
    ],
)
def test_a_launcher_that_makes_no_sense_is_refused(framework, environment, sentence, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for is_train in (True, False):
        assert main.main(["--framework", framework, f"--is_train={is_train}"]) == cli.FAILED
        assert sentence in capsys.readouterr().err


def test_torch_has_a_process_for_each_device(capsys):
    assert main.main(["--framework", "torch", "--devices", "2"]) == cli.FAILED
    assert "torchrun --nproc_per_node 2 main.py" in capsys.readouterr().err


def test_more_devices_than_a_cpu_can_be_are_refused_at_once(capsys):
    assert main.main(["--framework", "tensorflow", "--device", "cpu", "--devices", "1000000"]) == cli.FAILED
    assert capsys.readouterr().err == "Error: A CPU has 64 parts at the most, so --devices 1000000 is too many.\n"
