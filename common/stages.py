"""Stages of work that overlap: a thread that runs ahead of its consumer, and one that runs behind its producer.

Queues are bounded, so memory does not grow with the length of the work. An error in a thread comes out where the work
is handed over, and ends the other stages.
"""

import queue
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

END = object()


def ahead(iterable, depth):
    """The items of `iterable`, made by a thread that keeps up to `depth` of them ready."""
    ready, stop = queue.Queue(depth), threading.Event()

    def put(item):
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def produce():
        try:
            for item in iterable:
                put((item, None))
                if stop.is_set():
                    return
            put((END, None))
        except BaseException as error:  # noqa: BLE001 - belongs to the consumer, whatever it is
            put((END, error))

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is END:
                return
            yield item
    finally:
        stop.set()
        thread.join()


def made_by(workers, function, items):
    """function(item) of all `items`, in their order, made by `workers` threads, a result for each of which may wait."""
    waiting = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Behind:
    """Calls `function` with each item that is put, in a thread, up to `depth` items behind.

    Use as a context manager: leaving it waits until all is done, or, after an exception, drops what is waiting.
    """

    def __init__(self, function, depth):
        self.function, self.waiting = function, queue.Queue(depth)
        self.error = None
        self.thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.error = self.error or RuntimeError("dropped")  # makes the thread skip what is waiting
        self._put(END)
        self.thread.join()
        if kind is None and self.error:
            raise self.error

    def put(self, item):
        """Hand over one item; raises the error, if the thread has met one."""
        if self.error:
            raise self.error
        self._put(item)

    def _put(self, item):
        while self.thread.is_alive():
            try:
                return self.waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def _work(self):
        while (item := self.waiting.get()) is not END:
            if self.error:
                continue
            try:
                self.function(item)
            except BaseException as error:  # noqa: BLE001 - belongs to the producer, whatever it is
                self.error = error
