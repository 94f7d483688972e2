"""Films and pictures on a real Ray cluster of two nodes on this machine, which loses what it can lose."""

import _thread
import errno
import importlib
import json
import os
import pickle
import shutil
import signal
import sys
import time
from pathlib import Path

import kill_and_resume
import numpy as np
import pytest
from clips import make_clip
from kill_and_resume import read

import super_resolve
from common.cluster import ENVIRONMENT, TRIES, Crew, DismissedError, Hand, Task
from common.cluster_job import ClusterFilmJob, film_names, said
from common.cluster_worker import Worker, sendable
from common.errors import CommandError
from common.images import Picture, PictureError, read_picture, write_picture
from common.networks import network
from common.video_frames import VideoError
from common.weights import Weights, initial_tensors, load_weights, save_weights
from common.workplace import is_full

os.environ.update(ENVIRONMENT)  # before Ray reads it
DOCS = Path(__file__).resolve().parent.parent / "docs"
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def nodes():
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
    nodes = cluster_utils.Cluster(initialize_head=True, head_node_args=NODE)
    yield nodes
    nodes.shutdown()


@pytest.fixture
def cluster(nodes):
    """A cluster of two nodes with a CPU each."""
    if not nodes.worker_nodes:
        nodes.add_node(**NODE)
    return nodes


@pytest.fixture(scope="module")
def material(tmp_path_factory, make_pixels):
    """A folder of two films and three pictures, one of them damaged, and weights of small networks."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "in").mkdir()
    for number, frames in enumerate((60, 20)):
        times = np.cumsum(np.random.default_rng(number).integers(20, 61, frames)).tolist()
        make_clip(folder / "in" / f"{number}.mkv", times, width=48, height=32, audio=[("aac", times[-1] / 1000, {})],
                  options={"g": "10", "bf": "2"})  # fmt: skip
    for number in range(3):
        write_picture(folder / "in" / f"{number}.png", Picture(make_pixels(20 + number, 24, seed=number)))
    (folder / "in" / "1.png").write_bytes(b"no picture")
    spec = network("espcn", scale=2, widths=(4, 4))
    save_weights(folder / "espcn.safetensors", Weights("espcn", spec, initial_tensors(spec, 0)))
    save_weights(folder / "vespcn.safetensors", kill_and_resume.small_vespcn())
    return folder


@pytest.fixture
def run(material, capfd):
    """Calls the command with arguments; returns (exit code, stdout, stderr), those of all processes."""

    def call(*arguments, model="espcn"):
        line = ["--scale", 2, "--threads", 1, "--model", model, "--weights", material / f"{model}.safetensors"]
        code = super_resolve.main([str(word) for word in [*line, "--quiet", *arguments]])
        return (code, *capfd.readouterr())

    return call


@pytest.fixture
def after(monkeypatch):
    """after(number, event): while segment `number` of those that are finished is noted, event(job) is called."""

    def arrange(number, event):
        finish, count = ClusterFilmJob._finish, []

        def noted(job, *arguments):
            finish(job, *arguments)
            count.append(job)
            if len(count) == number:
                event(job)

        monkeypatch.setattr(ClusterFilmJob, "_finish", noted)

    return arrange


def whole_film(run, material, tmp_path, model):
    """What a film becomes in a single process."""
    code, _, error = run(material / "in" / "0.mkv", "--output", tmp_path / "whole.mkv", "--resume", "--segment", 0.3,
                         model=model)  # fmt: skip
    assert (code, error) == (0, "")
    return read(tmp_path / "whole.mkv")


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- What is lost is done by others


def test_a_node_that_dies_in_the_middle_costs_no_frame(run, cluster, material, tmp_path, after):
    whole = whole_film(run, material, tmp_path, "vespcn")

    def kill_a_node(job):
        end = time.monotonic() + 120
        while job._crew.size < 2 and time.monotonic() < end:
            time.sleep(0.05)
        ray, node = job._crew._ray, next(iter(cluster.worker_nodes))
        lost = next(hand for hand in job._crew._hands if hand.node == node.node_id)
        cluster.remove_node(node, allow_graceful=False)
        with pytest.raises(ray.exceptions.RayError):
            while True:  # a worker survives its node for a moment
                ray.get(lost.actor.__ray_ready__.remote())

    after(2, kill_a_node)
    target, report = tmp_path / "film.mkv", tmp_path / "report.json"
    line = ["--output", target, "--segment", 0.3, "--cluster", cluster.address, "--report", report]
    code, out, error = run(material / "in" / "0.mkv", *line, model="vespcn")
    assert (code, out, error) == (0, f"{target}\n", "Warning: Workers lost: 1; what they were at was done by others.\n")
    assert read(target) == whole
    assert files(tmp_path) == ["film.mkv", "report.json", "whole.mkv"]
    told = json.loads(report.read_text())
    assert told["frames_out"] == 60
    assert (told["cluster"]["machines"], told["cluster"]["workers_lost"]) == (2, 1)
    assert min(told["stage_seconds"].values()) > 0


def test_a_folder_of_films_and_pictures_though_a_worker_is_killed(run, cluster, material, tmp_path, after):
    whole = whole_film(run, material, tmp_path, "espcn")
    after(3, lambda job: job._crew._ray.kill(job._crew._hands[0].actor))
    target = tmp_path / "out"
    line = [material / "in", "--output", target, "--segment", 0.3, "--cluster", cluster.address]
    code, _, error = run(*line)
    assert code == 1
    assert "1.png" in error.splitlines()[0] + error.splitlines()[1]
    assert error.splitlines()[-1] == "Error: 1 picture could not be enlarged."
    assert files(target) == ["0.mkv", "0.png", "1.mkv", "2.png"]
    assert files(tmp_path) == ["out", "whole.mkv"]
    assert read(target / "0.mkv") == whole
    code, _, _ = run(material / "in" / "2.png", "--output", tmp_path / "alone.png")
    assert code == 0
    np.testing.assert_array_equal(read_picture(target / "2.png").pixels, read_picture(tmp_path / "alone.png").pixels)
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    shutil.copytree(material / "in", tmp_path / "in", ignore=shutil.ignore_patterns("*.png"))
    code, _, error = run(tmp_path / "in", *line[1:])
    assert (code, error) == (0, "Warning: 2 of 2 films were finished before.\n")
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before


def test_ctrl_c_says_how_to_go_on_and_one_process_alone_can(run, cluster, material, tmp_path, after):
    whole = whole_film(run, material, tmp_path, "espcn")
    after(2, lambda job: _thread.interrupt_main())
    target = tmp_path / "film.mkv"
    line = [material / "in" / "0.mkv", "--output", target, "--segment", 0.3]
    code, out, error = run(*line, "--cluster", cluster.address)
    assert (code, out) == (130, "")
    said, interrupted = error.splitlines()
    assert said.startswith("Stopped: ") and said.endswith("; the same command goes on from there.")
    assert interrupted == "Interrupted."
    assert not target.exists()
    assert not list((tmp_path / "film.mkv.segments").glob(".*.part*"))
    report = tmp_path / "report.json"
    code, _, error = run(*line, "--resume", "--report", report)
    assert (code, error) == (0, "")
    assert json.loads(report.read_text())["frames_kept"] > 0
    assert read(target) == whole


# ---- What cannot be


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:port", "127.0.0.1:99999"])
def test_an_address_where_nobody_answers_is_one_sentence(run, material, tmp_path, address):
    pytest.importorskip("ray", reason="Ray is not installed")
    code, _, error = run(material / "in" / "0.png", "--output", tmp_path / "out.png", "--cluster", address)
    assert (code, error) == (1, f"Error: No Ray cluster answers at {address}.\n")
    assert files(tmp_path) == []


def test_without_ray_it_is_said_how_to_get_it(run, material, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, error = run(material / "in" / "0.mkv", "--output", tmp_path / "out.mkv", "--cluster", "local")
    assert (code, error) == (1, "Error: Ray is not installed: pip install 'video-super-resolution[cluster]'.\n")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--compare", "page.html"], "--compare needs a film in one go, without --cluster; a cut piece of it will do."),
        (["--output", "-"], "--cluster is for films and pictures in files, and for folders of them."),
        (["--rate", 25], "--rate is for numbered pictures"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_cluster_is_begun(run, material, tmp_path, arguments, sentence):
    code, _, error = run(material / "in" / "0.mkv", *arguments, "--cluster", "local")
    assert code == 2
    assert sentence in error


def test_options_of_films_are_refused_for_pictures(run, material, tmp_path):
    code, _, error = run(material / "in" / "0.png", "--crf", 20, "--segment", 5, "--cluster", "local")
    assert (code, error) == (2, "Error: --segment and --crf are for films, and there are none.\n")


def test_a_result_that_is_there_is_not_replaced(run, material, tmp_path):
    (tmp_path / "out.mkv").write_bytes(b"film")
    code, _, error = run(material / "in" / "0.mkv", "--output", tmp_path / "out.mkv", "--cluster", "local")
    assert code == 1
    assert "exists already" in error


# ---- Who does what


@pytest.mark.parametrize(
    ("device", "threads", "resources", "workers"),
    [
        ("auto", None, {"CPU": 16.0}, [(4, 0)] * 4),
        ("auto", None, {"CPU": 6.0}, [(6, 0)]),
        ("auto", 1, {"CPU": 3.0}, [(1, 0)] * 3),
        ("auto", 8, {"CPU": 2.0}, [(2, 0)]),
        ("auto", None, {"CPU": 16.0, "GPU": 2.0}, [(4, 1)] * 2),
        ("cpu", None, {"CPU": 16.0, "GPU": 2.0}, [(4, 0)] * 4),
        ("cuda", None, {"CPU": 16.0}, []),
        ("auto", None, {}, []),
    ],
)
def test_a_node_gets_a_worker_for_each_gpu_or_share_of_its_cpus(device, threads, resources, workers):
    assert Crew("auto", None, "torch", device, "auto", "auto", threads)._shares(resources) == workers


class NoRay:
    """Stands for Ray where nothing is to be called."""

    def kill(self, actor):
        pass

    def nodes(self):
        return []


def test_the_task_of_a_lost_worker_is_done_again_until_it_is_to_blame_itself():
    crew, task = Crew("auto", None, "torch", "auto", "auto", "auto"), Task((0, 0), "work", ("film.mkv",))
    crew._ray = NoRay()
    for losses in range(1, TRIES + 1):
        hand = Hand(None, f"node {losses}")
        hand.ready, hand.tasks = True, {"reference": task}
        crew._hands.append(hand)
        crew._lose(hand)
        assert crew._hands == [] and crew.lost == losses
        assert task.future.done() == (losses == TRIES)
        assert crew._waiting.pop("work", []) == [task] * (losses < TRIES)
    with pytest.raises(CommandError, match="3 workers were lost on film.mkv"):
        task.future.result()


@pytest.mark.parametrize("lost_in", ["the queue", "the hand", "between them"])
def test_whoever_waits_for_a_crew_that_is_dismissed_is_told(lost_in):
    """Ctrl-C comes between any two steps, also when the main thread holds a task that is nowhere else."""
    crew = Crew("auto", None, "torch", "auto", "auto", "auto")
    crew._ray = NoRay()
    future = crew.submit(0, "work", "film.mkv")
    if lost_in != "the queue":
        _, task = crew._events.get()
    if lost_in == "the hand":
        crew._queue(task)
    crew.dismiss()
    with pytest.raises(DismissedError):
        future.result(timeout=0)
    with pytest.raises(DismissedError):
        crew.submit(0, "work", "film.mkv")


@pytest.mark.parametrize(("times", "done"), [(1, ["begun", "ended"]), (2, ["begun"])])
def test_ctrl_c_waits_for_a_step_and_a_second_one_does_not(times, done):
    crew, steps = Crew("auto", None, "torch", "auto", "auto", "auto"), []
    crew._ray = NoRay()

    def step():
        steps.append("begun")
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        steps.append("ended")

    crew._events.put((step,))
    with pytest.raises(KeyboardInterrupt):
        crew.serve(lambda: False)
    assert steps == done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_not_lost_where_exceptions_are(monkeypatch):
    """As when an object is deleted."""

    class Deleted:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("common.cluster.LOOK", 0.01)
    crew, turns = Crew("auto", None, "torch", "auto", "auto", "auto"), iter(range(10))
    crew._ray = NoRay()
    crew._events.put((lambda _: None, Deleted()))
    with pytest.raises(KeyboardInterrupt):
        crew.serve(lambda: next(turns, None) is None)


def test_a_worker_that_is_stopped_leaves_nothing_behind(material, tmp_path):
    worker, source, path = Worker("torch"), material / "in" / "0.mkv", tmp_path / "00000.nut"
    worker.begin(load_weights(material / "espcn.safetensors"), "torch", "cpu", "fp32", "auto", 1, [])
    segment = worker.plan(source, 0.3, None)
    frame, enlarged = worker._upscaler.frame, []

    def enlarge(*arguments, **options):
        enlarged.append(files(tmp_path))
        worker.stop()
        return frame(*arguments, **options)

    worker._upscaler.frame = enlarge
    for _ in range(2):
        with pytest.raises(CommandError, match="given up"):
            worker.work(source, tmp_path / "out.mkv", {}, segment, path)
    assert len(enlarged) == 1 and ".part" in enlarged[0][0]
    with pytest.raises(CommandError, match="given up"):
        worker.picture(material / "in" / "0.png", tmp_path / "0.png", tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (VideoError("film.mkv is damaged"), CommandError("film.mkv is damaged.")),
        (PictureError("in.png is no picture"), PictureError("in.png is no picture")),
        (OSError(errno.ENOSPC, "full", "here"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        (FileNotFoundError(errno.ENOENT, "missing", "in.mkv"), CommandError("in.mkv: missing.")),
    ],
)
def test_errors_of_workers_can_travel(error, told):
    with pytest.raises(type(told)) as caught, sendable():
        raise error
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert (type(arrived), str(arrived)) == (type(told), str(told))
    assert is_full(arrived) == is_full(error)


def test_names_of_films(tmp_path):
    assert film_names([tmp_path / "a.mp4", tmp_path / "b.mpg"], tmp_path / "out") == [
        tmp_path / "out" / "a.mp4",
        tmp_path / "out" / "b.mkv",
    ]
    with pytest.raises(Exception, match="Two films of the folder would both be saved as b.mkv"):
        film_names([tmp_path / "b.mkv", tmp_path / "b.mpg"], tmp_path / "out")
    assert (said(2, 1), said(1, 0), said(0, 3)) == ("2 films and 1 picture", "1 film", "3 pictures")


def test_the_page_on_scaling_has_the_figures_of_the_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    times = json.loads((DOCS / "benchmark.json").read_text(encoding="utf-8"))["times"]
    assert (DOCS / "scaling.md").read_text(encoding="utf-8") == importlib.import_module("scaling").page(times)
