"""Ctrl-C, and the polite request to end that means the same: where they may stop the work, and where they must wait."""

import signal
from contextlib import contextmanager, suppress

SIGNALS = signal.SIGINT, signal.SIGTERM


@contextmanager
def terminable():
    """Inside, a polite request to end does what Ctrl-C does, so that nothing unfinished is left behind."""
    with _handled_by(signal.default_int_handler, [signal.SIGTERM]):
        yield


def signals_of_ctrl_c():
    """Those of SIGNALS that raise KeyboardInterrupt now, as SIGTERM does only inside `terminable`."""
    return [number for number in SIGNALS if signal.getsignal(number) is signal.default_int_handler]


class Interruption:
    """Use as a context manager. Turns the first of `signals` into the flag `asked`; a second one stops at once.

    then: called when the flag is set, in the midst of whatever the main thread is at.
    """

    def __init__(self, then=None, signals=SIGNALS):
        self.asked, self._then, self._signals = False, then, signals

    def __enter__(self):
        self._handlers = _handled_by(self._ask, self._signals)
        self._handlers.__enter__()
        return self

    def __exit__(self, *exception):
        self._handlers.__exit__(*exception)

    def _ask(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if self._then:
            self._then()


@contextmanager
def _handled_by(handler, signals):
    """Inside, `handler` is called for `signals`."""
    before = {}
    with suppress(ValueError):  # not in the main thread, where no signals arrive
        before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            if earlier is not None:  # one that Python did not set, and cannot set again
                signal.signal(number, earlier)
