"""Progress on stderr: bars that move on a terminal, and a line every so often in a log."""

import sys

LOG_EVERY = 10.0  # seconds between two lines of progress where there is no terminal


def frame_bar(title, total, quiet=False, initial=0):
    """A tqdm bar of frames, frames a second and time left; `total` is None where nobody knows it.

    initial: frames that were done before.
    """
    from tqdm import tqdm

    return tqdm(total=total, desc=title, unit="frame", initial=initial, **_bar_options(quiet))


class ProgressBar:
    """Percent done, time left and the newest numbers on stderr; lines every so often where there is no terminal."""

    def __init__(self, title, quiet=False):
        from tqdm import tqdm

        form = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}<{remaining}{postfix}"
        self.bar = tqdm(total=100, desc=title, unit="%", bar_format=form, **_bar_options(quiet))
        self.numbers, self.begun = {}, False

    def __call__(self, fraction, step, numbers):
        """`fraction` in [0, 1] of the work is done at `step`; `numbers` are shown beside.

        What is done at the first call was done before, and says nothing of the time that is left.
        """
        if not self.begun:
            self.begun, self.bar.initial = True, min(100.0, 100 * fraction)
        self.numbers.update(numbers)
        shown = {key: f"{value:.4g}" for key, value in self.numbers.items() if value > float("-inf")}
        self.bar.set_postfix({"step": step, **shown}, refresh=False)
        self.bar.update(min(100.0, 100 * fraction) - self.bar.n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.bar.close()


def _bar_options(quiet):
    """Options of tqdm for all bars: on a terminal they move, in a log they are a line every so often."""
    terminal = sys.stderr.isatty()
    every = 1.0 if terminal else LOG_EVERY
    return {"disable": quiet, "mininterval": 0.1 if terminal else every, "maxinterval": every, "ascii": not terminal}
