"""A crew of workers on the machines of a Ray cluster: as many as there is room for, replaced where they are lost.

Each node gets one worker per GPU, or one per share of its CPUs. Tasks wait in the order of the films and go to whoever
is idle. A task whose worker is lost with its process or its machine is done by another one. Nodes that come later are
taken on as well.
"""

import heapq
import itertools
import logging
import os
import queue
import socket
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from common.cluster_worker import Worker, versions
from common.errors import CommandError, sentence
from common.interruption import Interruption, signals_of_ctrl_c, terminable

SHARE = 4  # CPUs of a worker
STORE = 100 << 20  # bytes for objects on a node of our own; only weights and paths lie there
LOOK = 2.0  # seconds between two looks at the nodes
PATIENCE = 300.0  # seconds in which one worker at least must be ready
PARTING = 5.0  # seconds in which workers that are dismissed may remove what they have not finished
TRIES = 3  # workers that a task may cost before it is to blame; and a node, with nothing done, before it is
# What a worker does beside its main work, in a thread each, and how many tasks of a kind it is given at once: pictures
# are so small that the next one lies ready.
BESIDE = {"plan": 1, "join": 1}
STOP = {"stop": 1}  # and whatever it is at
AT_ONCE = {"plan": 16, "join": 1, "work": 1, "picture": 2}
ENVIRONMENT = {  # of Ray, read when it is imported and when a cluster is started
    "RAY_worker_niceness": "0",  # workers are no background here
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # also what is said of lost workers, which is dealt with here
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class DismissedError(Exception):
    """The crew is gone, and with it what it was asked to do."""


@dataclass(order=True)
class Task:
    """A method of `Worker` to be called with `arguments`. order: by which tasks are taken up. losses: of workers."""

    order: tuple
    method: str = field(compare=False)
    arguments: tuple = field(compare=False)
    future: Future = field(compare=False, default_factory=Future)
    losses: int = field(compare=False, default=0)


class Hand:
    """A worker as it is seen from here: its actor, the node it is on, and the tasks it has: {id: Task}."""

    def __init__(self, actor, node):
        self.actor, self.node = actor, node
        self.tasks, self.ready = {}, False

    def can(self, method):
        """Whether it may be given another task that calls `method`."""
        lane = {task.method for task in self.tasks.values()} - (set(BESIDE) - {method})
        count = sum(task.method == method for task in self.tasks.values())
        return self.ready and lane <= {method} and count < AT_ONCE[method]


class Crew:
    """Use as a context manager, in the main thread. address: "local" for a cluster of this machine alone, "auto" for
    that which this machine belongs to, or HOST:PORT.

    weights, framework, device, precision, tile: as for `common.upscaler.Upscaler`, which each worker holds. threads:
    CPUs of a worker. paths: of files and folders that all machines must see; to be set before. equipment:
    `common.cluster_worker.Equipment` of the first worker. nodes: ids of those with workers. most, lost: workers at one
    time, and that were lost. warnings: sentences on nodes that are of no use.
    Raises CommandError if the cluster cannot be reached, or no node of it can do the work.
    """

    def __init__(self, address, weights, framework, device, precision, tile, threads=None):
        self._address, self._weights, self._device, self._threads = address, weights, device, threads
        self._options = framework, precision, tile
        self._events, self._waiting, self._numbers = queue.SimpleQueue(), {}, itertools.count()
        self._hands, self._planners, self._losses, self._unfit = [], {}, Counter(), {}
        self._able = {method: {} for method in AT_ONCE}  # hands, those that were given a task last at the end
        self._looked, self._dismissed, self._lock = 0.0, False, threading.Lock()
        self._awaited = set()  # futures, wherever their tasks are when Ctrl-C comes
        self.paths, self.equipment, self.warnings = [], None, []
        self.nodes, self.most, self.lost = set(), 0, 0

    @property
    def size(self):
        """Workers that are ready."""
        return sum(hand.ready for hand in self._hands)

    # Asking for work, from any thread

    def submit(self, order, method, *arguments):
        """A Future of `Worker.method(*arguments)`. Raises DismissedError if the crew is gone."""
        task = Task((order, next(self._numbers)), method, arguments)
        with self._lock:
            if self._dismissed:
                raise DismissedError
            self._awaited.add(task.future)
            self._events.put((self._queue, task))
        task.future.add_done_callback(self._awaited.discard)
        return task.future

    def nudge(self):
        """Have `serve` look again whether it is finished."""
        self._events.put((lambda: None,))

    # Having it done, in the main thread

    def __enter__(self):
        self._ray = connect(self._address)
        try:
            self._shared = self._ray.put(self._weights)
            self._kind = self._ray.remote(concurrency_groups={**BESIDE, **STOP})(Worker)
            begin = time.monotonic()
            while self.equipment is None:
                self._turn()
                if time.monotonic() - begin > PATIENCE:
                    raise CommandError(f"No worker was ready within {PATIENCE:.0f} seconds; is the cluster busy?")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self.dismiss()
        self._ray.shutdown()

    def serve(self, finished):
        """Have tasks done until `finished()` says that there will be no more.

        Ctrl-C ends it between two steps: inside one its exception could be dropped, as those of destructors and of
        callbacks from C are, or a task be only half given out. A second Ctrl-C ends it at once.
        """
        with Interruption(lambda: self._events.put((_stop,)), signals_of_ctrl_c()):
            while not finished():
                self._turn()

    def dismiss(self):
        """End all workers and whatever waits for them."""
        with self._lock:
            self._dismissed = True
        try:
            self._stop_writing()
            for hand in self._hands:
                self._ray.kill(hand.actor)
        finally:  # also if somebody is in a hurry
            for future in list(self._awaited):
                if not future.done():
                    future.set_exception(DismissedError())
            self._hands = []

    def _stop_writing(self):
        """Have workers give up what they write; one that is killed leaves it, and is not dead at once."""
        at_it = []
        for hand in self._hands:
            writing = [reference for reference, task in hand.tasks.items() if task.method not in ("begin", "plan")]
            if writing:
                hand.actor.stop.options(concurrency_group="stop").remote()
                at_it += writing
        if at_it:
            with suppress(self._ray.exceptions.RayError):
                self._ray.wait(at_it, num_returns=len(at_it), timeout=PARTING)

    def _turn(self):
        if time.monotonic() - self._looked > LOOK:
            self._look()
            self._looked = time.monotonic()
        with suppress(queue.Empty):
            step, *arguments = self._events.get(timeout=LOOK)
            step(*arguments)
            while True:
                step, *arguments = self._events.get_nowait()
                step(*arguments)
        self._give_out()

    def _look(self):
        """Take on as many workers as the nodes that there are now have room for."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        here = Counter(hand.node for hand in self._hands)
        for node in nodes:
            name = node["NodeID"]
            if name not in self._unfit:
                for cpus, gpus in self._shares(node["Resources"])[here[name] :]:
                    self._take_on(name, cpus, gpus)
        if not self._hands:
            if self._unfit:
                raise CommandError(f"No machine of the cluster can do the work: {next(iter(self._unfit.values()))}")
            if self.lost:
                raise CommandError("All workers of the cluster are lost; the same command goes on with others.")
            if self._device == "cuda":
                raise CommandError("No machine of the cluster has a GPU.")

    def _shares(self, resources):
        """(CPUs, GPUs) of each worker that a node has room for."""
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        if gpus and self._device != "cpu":
            return [(min(self._threads or SHARE, cpus // gpus), 1)] * gpus
        if not cpus or self._device == "cuda":
            return []
        count = max(1, cpus // (self._threads or SHARE))
        return [(cpus // count if self._threads is None else min(self._threads, cpus), 0)] * count

    def _take_on(self, node, cpus, gpus):
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        place = NodeAffinitySchedulingStrategy(node, soft=False)
        framework, precision, tile = self._options
        options = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": place, "max_restarts": 0}
        actor = self._kind.options(**options).remote(framework)
        hand = Hand(actor, node)
        self._hands.append(hand)
        device = self._device if gpus else "cpu"
        task = Task((), "begin", (self._shared, framework, device, precision, tile, cpus or None, self.paths))
        self._call(hand, task)

    def _call(self, hand, task):
        method = getattr(hand.actor, task.method)
        group = {"concurrency_group": task.method} if task.method in BESIDE else {}
        reference = method.options(**group).remote(*task.arguments)
        hand.tasks[reference] = task
        self._see_what_it_can(hand)
        reference.future().add_done_callback(lambda _: self._events.put((self._take_back, hand, reference)))

    def _see_what_it_can(self, hand):
        for method, able in self._able.items():
            able.pop(hand, None)
            if hand.can(method):
                able[hand] = None

    def _queue(self, task):
        heapq.heappush(self._waiting.setdefault(task.method, []), task)

    def _give_out(self):
        for method, tasks in self._waiting.items():
            while tasks and self._able[method]:
                self._call(self._hand_for(tasks[0]), heapq.heappop(tasks))

    def _hand_for(self, task):
        hand = next(iter(self._able[task.method]))
        if task.method == "plan":  # a film is planned on where it was planned so far
            known = self._planners.get(task.arguments[0])
            hand = known if known in self._able["plan"] else hand
            self._planners[task.arguments[0]] = hand
        return hand

    def _take_back(self, hand, reference):
        """A task has ended in one way or another."""
        errors = self._ray.exceptions
        task = hand.tasks.pop(reference, None)
        if task is None:
            return
        self._see_what_it_can(hand)
        try:
            result = self._ray.get(reference)
        except errors.RayTaskError as error:
            self._failed(hand, task, error.cause)
        except errors.RayError:
            hand.tasks[reference] = task
            self._lose(hand)
        else:
            if task.method == "begin":
                self._begun(hand, result)
            else:
                self._losses.pop(hand.node, None)
                task.future.set_result(result)

    def _begun(self, hand, equipment):
        others = {name for name, version in versions().items() if equipment.versions.get(name) != version}
        if others:
            self._leave_out(hand, f"it has another version of {' and '.join(sorted(others))}.")
            return
        hand.ready = True
        self._see_what_it_can(hand)
        self.equipment = self.equipment or equipment
        self.nodes.add(hand.node)
        self.most = max(self.most, self.size)

    def _failed(self, hand, task, error):
        if task.method == "begin":
            self._leave_out(hand, sentence(error))
        else:
            task.future.set_exception(error)

    def _leave_out(self, hand, why):
        """Do without the node of a worker."""
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]}
        if hand.node in addresses and hand.node not in self._unfit:
            self._unfit[hand.node] = f"{addresses[hand.node]} is left out: {why}"
            self.warnings.append(self._unfit[hand.node])
        self._part_with(hand)

    def _lose(self, hand):
        """Have what a lost worker was doing done by others."""
        if hand not in self._hands:
            return
        self._losses[hand.node] += 1
        self.lost += hand.ready
        if self._losses[hand.node] < TRIES:
            self._part_with(hand)
        else:
            self._leave_out(hand, "worker after worker was lost; is this program there, and memory enough?")
        for task in hand.tasks.values():
            if task.method == "begin":
                continue
            task.losses += 1
            if task.losses < TRIES:
                self._queue(task)
            else:
                task.future.set_exception(CommandError(f"{task.losses} workers were lost on {task.arguments[0]}."))
        hand.tasks = {}
        self._looked = 0.0

    def _part_with(self, hand):
        self._ray.kill(hand.actor)  # should it only be out of reach
        self._hands.remove(hand)
        hand.ready = False
        self._see_what_it_can(hand)


def _stop():
    raise KeyboardInterrupt


def connect(address):
    """The module `ray`, connected with the cluster at `address` and silent. Raises CommandError."""
    os.environ.update(ENVIRONMENT)
    try:
        import ray
        from ray.job_config import JobConfig
    except ImportError:
        raise CommandError("Ray is not installed: pip install 'video-super-resolution[cluster]'.") from None
    quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    options = {**quiet, "job_config": JobConfig(code_search_path=[here])}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": STORE}
    elif address != "auto":
        check_reachable(address)
    try:
        with terminable():  # for Ray takes the signal for itself
            ray.init(address=address, **options)
    except Exception as error:  # noqa: BLE001 - Ray raises that itself where a node does not start in time
        if address == "auto":
            raise CommandError("This machine belongs to no Ray cluster: ray start --address HOST:PORT.") from error
        raise CommandError(f"There is no Ray cluster to be used at {address}.") from error
    return ray


def check_reachable(address):
    """Raise CommandError unless somebody listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError):
        raise CommandError(f"No Ray cluster answers at {address}.") from None
