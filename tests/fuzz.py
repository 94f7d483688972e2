"""Feeds damaged and absurd input to the readers of this project and counts what it does to them.

    python tests/fuzz.py --count 10000                     every kind of input, with a table of figures
    python tests/fuzz.py --kind videos --seed 7 --jobs 8
    python tests/fuzz.py --again results/fuzz/videos-7-123.mkv

Each input ends in success or in one sentence. What counts as a finding is a traceback, a crash of the process, more
than LIMIT seconds, more than MEMORY bytes, a file left under the final name after a failure, or a temporary one left
at all. Findings are kept in a folder, under names that say what made them: kind, seed and number. Inputs run in
processes of their own, many in each, and one in every COMMANDS through the real command line.
"""

import argparse
import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fuzzing import KINDS, kind_of  # noqa: E402 - the checkout is on the path now

LIMIT = 120  # seconds that an input may take
MEMORY = 512 << 20  # bytes that it may take beyond those of the process before it
WALL = 6 << 30  # bytes at which the system stops a process, so that the machine survives a finding
COMMANDS = 500  # one input in so many goes through the command line
START = 120  # seconds until a process is ready
FINDINGS = ("traceback", "crash", "hang", "over memory", "half file")


@dataclass
class Figures:
    """What came of the inputs of one kind."""

    kind: str
    outcomes: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of all processors, but for starting
    most_memory: int = 0
    slowest: float = 0.0
    findings: list = field(default_factory=list)  # (file, outcome, what was said)

    @property
    def tried(self):
        return sum(self.outcomes.values())


# ---- In a process of its own


def work(kind_name, seed, numbers, folder, channel, limits, given=None):
    """Try the inputs with these numbers, or the file `given`, and say over `channel` what comes of each."""
    limit, memory = limits
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (WALL, WALL))
    log = os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    kind = kind_of(kind_name)
    valid = {path.relative_to(folder / "seeds").as_posix(): path.read_bytes() for path in _files(folder / "seeds")}
    channel.send(("ready", None, None))
    for number in numbers:
        path = Path(shutil.copy(given, folder)) if given else write_input(kind, kind_name, seed, number, valid, folder)
        channel.send(("begin", number, path))
        begin, cpu = time.perf_counter(), _cpu()
        outcome, said, used = try_one(kind, kind_name, seed, number, path, folder, limit)
        seconds, cpu = time.perf_counter() - begin, _cpu() - cpu
        if used > memory and outcome in ("success", "refusal"):
            outcome, said = "over memory", f"{used >> 20} MB: {said}"
        printed = (folder / "log").read_text(encoding="utf-8", errors="replace")
        if "Traceback (most recent" in printed and outcome in ("success", "refusal"):
            outcome, said = "traceback", printed[-3000:]
        os.ftruncate(log, 0)
        if outcome not in FINDINGS:
            path.unlink(missing_ok=True)
        channel.send(("end", number, (outcome, said, used, seconds, cpu)))
    channel.send(("done", None, None))


def _cpu():
    """Seconds of processors used by this process and those it began."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def dice(kind_name, seed, number, use):
    """The random numbers of one input: those it is made by, and those by which it is tried."""
    return random.Random(f"{use} {kind_name} {seed} {number}")


def write_input(kind, kind_name, seed, number, valid, folder):
    content, suffix = kind.make(dice(kind_name, seed, number, "make"), valid)
    path = folder / f"{kind_name}-{seed}-{number}{suffix}"
    path.write_bytes(content)
    return path


def try_one(kind, kind_name, seed, number, path, folder, limit=LIMIT):
    """(outcome, what was said, bytes of memory used) of one input."""
    place = folder / "results"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    before = _start_counting_memory()
    if number % COMMANDS == COMMANDS - 1:
        outcome, said = _by_command(kind, path, place, limit)
    else:
        outcome, said = _in_process(kind, path, place, dice(kind_name, seed, number, "try"))
    used = _most_memory() - before
    if outcome in ("success", "refusal") and (left := _left_behind(kind, place, outcome, folder)):
        outcome, said = "half file", f"{left}: {said}"
    return outcome, said, used


def _in_process(kind, path, place, random):
    try:
        code = kind.attempt(path, place, random)
    except kind.DOCUMENTED as error:
        said = str(error)
        one_sentence = said and len(said.splitlines()) == 1
        return ("refusal", said) if one_sentence else ("traceback", f"not one sentence: {said!r}")
    except BaseException:  # noqa: BLE001 - whatever it is, it is a finding
        return "traceback", traceback.format_exc()
    finally:
        gc.collect(0)
    return ("refusal", f"exit code {code}") if code else ("success", "")


def _by_command(kind, path, place, limit):
    words = [os.fsencode(str(word)) for word in kind.command(path, place)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    if not words[0].startswith(b"-"):
        words[0] = os.fsencode(ROOT) + b"/" + words[0] if not words[0].startswith(b"/") else words[0]
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            _, error = process.communicate(timeout=4 * limit)
        except subprocess.TimeoutExpired:
            process.kill()
            return "hang", "by the command line"
    said = error.decode("utf-8", "replace")
    if process.returncode < 0:
        return "crash", f"signal {-process.returncode} of the command line: {said[-2000:]}"
    if "Traceback (most recent" in said or process.returncode not in (0, 1, 2):
        return "traceback", f"exit code {process.returncode}: {said[-3000:]}"
    return ("refusal" if process.returncode else "success"), said[-300:]


def _left_behind(kind, place, outcome, folder):
    """Names of files that should not be there."""
    if hasattr(kind, "whole"):
        try:
            kind.whole(place, folder / "seeds")
        except Exception as error:  # noqa: BLE001 - however it is broken
            return repr(error)
    names = [
        path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir() or path.suffix == ".part"
    ]
    temporary = [name for name in names if ".part" in name]
    if hasattr(kind, "whole"):
        return ", ".join(temporary)
    return ", ".join(names if outcome == "refusal" else temporary)


def _start_counting_memory():
    """Bytes in use now, from which on the most is counted."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _most_memory():
    return _memory("VmHWM")


def _memory(name):
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---- The run


class Worker:
    """A process that tries inputs, and what is to be done when it is lost."""

    def __init__(self, kind, seed, numbers, seeds, limits, given=None):
        self.kind, self.seed, self.left, self.limits, self.given = kind, seed, list(numbers), limits, given
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz"))
        shutil.copytree(seeds, self.folder / "seeds")
        self.start()

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.channel, theirs = context.Pipe()
        arguments = self.kind, self.seed, self.left, self.folder, theirs, self.limits, self.given
        self.process = context.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self.current, self.deadline = None, time.monotonic() + START

    def stop(self):
        self.process.kill()
        self.process.join()
        self.channel.close()

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def run(kind_name, count, seed, workers=1, kept=None, limit=LIMIT, memory=MEMORY, report=lambda figures: None):
    """Try `count` inputs of a kind; returns the `Figures`.

    kept: a folder for the inputs that are findings. report: called now and then with the figures so far.
    """
    share = -(-count // max(1, min(workers, count)))
    shares = [range(start, min(count, start + share)) for start in range(0, count, share)]
    return _run(kind_name, seed, shares, kept, (limit, memory), report)


def again(path):
    """Try one kept input alone, in a process of its own; returns the `Figures`."""
    kind_name, seed, number = Path(path).name.split(".")[0].split("-")
    return _run(kind_name, seed, [[int(number)]], None, (LIMIT, MEMORY), lambda figures: None, given=path)


def _run(kind_name, seed, shares, kept, limits, report, given=None):
    figures, begin = Figures(kind_name), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        write_seeds(kind_name, Path(scratch))
        crew = [Worker(kind_name, seed, numbers, scratch, limits, given) for numbers in shares]
        try:
            while crew:
                ready = multiprocessing.connection.wait([worker.channel for worker in crew], timeout=0.5)
                for worker in list(crew):
                    if not _attend(worker, worker.channel in ready, figures, kept, limits[0]):
                        worker.remove()
                        crew.remove(worker)
                figures.seconds = time.monotonic() - begin
                report(figures)
        finally:
            for worker in crew:
                worker.remove()
    return figures


def write_seeds(kind_name, folder):
    for name, content in kind_of(kind_name).seeds().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _attend(worker, has_news, figures, kept, limit):
    """Take what a worker says, or replace one that is lost; returns whether it has more to do."""
    try:
        while has_news and worker.channel.poll():
            what, number, more = worker.channel.recv()
            if what == "done":
                return False
            if what == "begin":
                of_command = number % COMMANDS == COMMANDS - 1
                worker.current, worker.deadline = more, time.monotonic() + limit * (5 if of_command else 1)
            elif what == "end":
                _count(figures, worker, number, *more, kept)
                worker.current, worker.deadline = None, time.monotonic() + START
    except EOFError:
        worker.process.join()
        return _lost(worker, "crash", f"exit code {worker.process.exitcode}", figures, kept)
    if time.monotonic() > worker.deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process.pid, signal.SIGABRT)  # which shows where it hangs
            worker.process.join(2)
        return _lost(worker, "hang", f"more than {limit} s", figures, kept)
    return True


def _lost(worker, outcome, said, figures, kept):
    if worker.current is None:
        raise RuntimeError(f"The process for {worker.kind} ended before its next input ({said}): {_log(worker)}")
    _count(figures, worker, worker.left[0], outcome, f"{said}\n{_log(worker)}", 0, 0.0, 0.0, kept)
    worker.stop()
    if worker.left:
        worker.start()
    return bool(worker.left)


def _log(worker):
    return (worker.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]


def _count(figures, worker, number, outcome, said, used, seconds, cpu, kept):
    worker.left.remove(number)
    figures.outcomes[outcome] += 1
    figures.cpu += cpu
    figures.most_memory, figures.slowest = max(figures.most_memory, used), max(figures.slowest, seconds)
    if outcome not in FINDINGS:
        return
    path = worker.current
    if kept is not None and path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        path = Path(shutil.copy(path, kept))
        path.with_name(f"{path.name}.txt").write_text(f"{outcome}\n{said}\n", encoding="utf-8", errors="replace")
    figures.findings.append((path, outcome, said))


# ---- The command line

COLUMNS = ("kind", "tried", "succeeded", "refused", "tracebacks", "crashes", "hangs", "over memory", "half files")
OUTCOMES = ("success", "refusal", *FINDINGS)


def table(all_figures):
    """The lines of a Markdown table of `Figures`, with all of them together at the end if there are several."""
    yield f"| {' | '.join((*COLUMNS, 'most MB', 'slowest s', 'CPU ms each', 'seconds'))} |"
    yield "|" + "---|" * (len(COLUMNS) + 4)
    for figures in [*all_figures, *([total(all_figures)] if len(all_figures) > 1 else [])]:
        cells = [figures.kind, figures.tried, *(figures.outcomes[outcome] for outcome in OUTCOMES)]
        cells += [figures.most_memory >> 20, f"{figures.slowest:.2f}"]
        cells += [f"{1000 * figures.cpu / max(1, figures.tried):.1f}", f"{figures.seconds:.0f}"]
        yield f"| {' | '.join(map(str, cells))} |"


def total(all_figures):
    """The `Figures` of all kinds together."""
    return Figures(
        "all",
        sum((figures.outcomes for figures in all_figures), Counter()),
        *(sum(getattr(figures, name) for figures in all_figures) for name in ("seconds", "cpu")),
        *(max(getattr(figures, name) for figures in all_figures) for name in ("most_memory", "slowest")),
    )


def parser():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--kind", choices=KINDS, nargs="+", default=KINDS, help="default: all")
    parse.add_argument("--count", type=int, default=10_000, help="inputs of each kind (default: %(default)s)")
    parse.add_argument("--seed", default="0", help="default: %(default)s")
    parse.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parse.add_argument("--kept", type=Path, default=Path("results/fuzz"), help="findings (default: %(default)s)")
    parse.add_argument("--again", metavar="FILE", help="try this input alone, and show what comes of it")
    return parse


def show(figures):
    if sys.stderr.isatty():
        print(
            f"\r{figures.kind} {figures.tried}, {len(figures.findings)} findings", end="", file=sys.stderr, flush=True
        )


def main(argv=None):
    arguments = parser().parse_args(argv)
    if arguments.again:
        all_figures = [again(arguments.again)]
    else:
        all_figures = [
            run(kind, arguments.count, arguments.seed, arguments.jobs, arguments.kept, report=show)
            for kind in arguments.kind
        ]
    for figures in all_figures:
        for path, outcome, said in figures.findings:
            print(f"{path}: {outcome}: {said}\n")
    print("\n".join(table(all_figures)))
    return 1 if any(figures.findings for figures in all_figures) else 0


if __name__ == "__main__":
    sys.exit(main())
