"""Writes docs/scaling.md: what a thousand machines and a million hours of film would take, by the benchmark's times.

python docs/scaling.py docs/benchmark.json
"""

import json
from pathlib import Path
from sys import argv, path

ROOT = Path(__file__).resolve().parent.parent
path.insert(0, str(ROOT))

from common.cluster import SHARE
from common.cluster_job import AHEAD, FILMS_AT_ONCE
from common.segments import MOST_FRAMES, SECONDS

MACHINES, CORES = 1000, 16
HOURS, FILM = 1_000_000, 2  # hours of film in all, and of one
RATE = 25  # frames a second
THREADS = 2  # on which the times were taken
MBITS_IN, MBITS_OUT = 4, 12  # of a film and of its result, a second
TIMES_READ_AND_WRITTEN = 3

PAGE = """# A thousand machines and a million hours

What `--cluster` ([guide](guide.md#many-machines)) would do at that size, on paper. This page is written by `python
docs/scaling.py docs/benchmark.json`, whose first lines hold what is supposed; the times are those that `python -m
common.benchmark --report docs/benchmark.json` took: luma of a result of 1920 x 1080, full precision, PyTorch on
{threads} threads of a CPU. Nothing here was run on a thousand machines.

Supposed: {machines:,} machines of {cores} cores; {films:,} films of {film} hours at {rate} frames a second;
{mbits_in} Mbit/s in, {mbits_out} Mbit/s out; twice the cores, half the time. Decoding, encoding and chroma come on
top of the times here: `python benchmarks/cluster.py` prints their share, and how far real workers fall short of "half
the time".

## What it costs

{costs}

Core-hours are those for an hour of film; times the price of a core-hour they are its price. A result of 3840 x 2160
takes four times as many. The table says what to buy: up to VESPCN the work is one for CPUs, SRResNet and DRCN are not
for films without GPUs. A node with GPUs gets a worker for each of them. What one of these costs for an hour of film
follows in the same way from the time that `python -m common.benchmark --report results/gpu.json` takes on it.

## Segments

A segment is {seconds:g} seconds of film at the most, {frames} frames. The columns above say how long one takes a
worker of {share} cores, and how many are finished a second in the whole cluster.

- **Too short** costs: a key frame that the encoder would not have made, the frames between a key frame of the input
  and the segment's first frame, which are decoded for nothing, for VESPCN a neighbour on either side, a message, and
  two lines of the journal.
- **Too long** costs: what a lost machine takes with it, which is half a segment for each of its workers, and idle
  workers at the end of the job, half a segment as well.
- {seconds:g} seconds are right where a segment takes from a few seconds to some minutes. For SRResNet on CPUs take
  `--segment 2`. None has more than {most} frames, so the faster the workers, the more is asked of the scheduler.

A machine that is lost costs {workers} half segments. If every machine is lost once a week, that is no part of the
work worth naming for any network here but DRCN, which loses 2 % by it.

## The scheduler

The scheduler is one process, which knows {all_workers:,} workers. For each segment it writes two lines to the film's
journal, each on the disk before it goes on, sends two messages and gets two. `python benchmarks/cluster.py` prints
how much CPU that takes it for a segment; its inverse is how many segments a second one scheduler can deal with. The
table says how many it would have to. Frames do not pass through it, and neither do weights, which each machine gets
once. {films_at_once} films are worked at a time, each by a thread that mostly waits. For each worker, {ahead} tasks
at the most are planned ahead in each film, so memory does not grow with the job.

Ray itself is asked for {all_workers:,} actors and a message for each segment. It does not hold the job together: all
that must survive is in the journals, beside the results.

## Storage

A film is read when it is planned, when it is worked and when it is joined; its result is written as segments, read,
and written as a film: {traffic:.1f} GB for an hour of film. The last column is what all machines together ask of the
storage. Of space, the result is needed twice, but only for the films at work: {space:,.0f} GB for {films_at_once}
films.

What counts as much as the rate are the many small things: each segment is a file, made, synchronised, read and
removed, and each line of a journal is synchronised.

## What breaks first

In this order, for the fast networks; the slow ones never get there.

1. **Looking at the films.** Before the work begins one process opens each film to know how much there is to do. At 10
   ms each, {films:,} films take {look:.1f} hours. *Then:* a job for every few thousand films, each with a folder and
   a scheduler of its own. Films know nothing of each other, so nothing is lost by it.
2. **The scheduler's CPU**, where the table asks for more segments a second than it can deal with. *Then:* the same,
   each with a part of the machines.
3. **The storage.** *Then:* several file servers, a job for each; segments on disks of a whole rack instead of the one
   where the results go (they lie beside the result today, so this is work to be done); films of one job on one
   server.
4. **The last films.** When few films are left, their planning, which is one worker's for each film and has to decode
   all of it, is slower than the workers are. *Then:* the longest films first, and more than one job at a time on the
   cluster.
5. **The slowest machine.** On a cluster of CPUs and GPUs a segment that a CPU takes last holds up a film. *Then:*
   jobs for GPUs alone with `--device cuda`.
6. **The head node.** If it is lost, Ray ends, and with it every job. *Then:* the same commands again. What is
   finished stays finished.

What does not break: the result. Each segment says by a fingerprint which frames it was planned for; a worker that
reads others, from a stale cache or a disk that errs, looks further, and ends the film with a sentence rather than
write them.
"""


def page(times):
    """The text of docs/scaling.md. times: list "times" of a report of `common.benchmark`."""
    films = HOURS // FILM
    gigabytes = TIMES_READ_AND_WRITTEN * (MBITS_IN + MBITS_OUT) * 3600 / 8 / 1000
    result = MBITS_OUT * 3600 * FILM / 8 / 1000
    return PAGE.format(
        machines=MACHINES,
        cores=CORES,
        films=films,
        film=FILM,
        rate=RATE,
        mbits_in=MBITS_IN,
        mbits_out=MBITS_OUT,
        threads=THREADS,
        costs=costs(times, gigabytes),
        seconds=SECONDS,
        most=MOST_FRAMES,
        frames=round(SECONDS * RATE),
        share=SHARE,
        workers=CORES // SHARE,
        all_workers=MACHINES * CORES // SHARE,
        films_at_once=FILMS_AT_ONCE,
        ahead=AHEAD,
        traffic=gigabytes,
        space=2 * result * FILMS_AT_ONCE,
        look=films * 0.010 / 3600,
    )


def costs(times, gigabytes):
    """A table with a row for each network and scale."""
    lines = [
        "| network | core-hours | days for all | seconds a segment | segments a second | storage, GB/s |",
        "|---|---|---|---|---|---|",
    ]
    for time in sorted((time for time in times if time["framework"] == "torch"), key=lambda time: time["milliseconds"]):
        core_seconds = time["milliseconds"] / 1000 * THREADS
        hours = core_seconds * RATE  # for an hour of film, as each second of it takes as many seconds
        all_seconds = hours * HOURS / (MACHINES * CORES) * 3600
        segments = HOURS * 3600 / SECONDS / all_seconds
        row = [
            f"{time['model']} x{time['scale']}",
            f"{hours:,.2f}" if hours < 10 else f"{hours:,.0f}",
            f"{all_seconds / 86400:,.1f}" if all_seconds < 8640000 else f"{all_seconds / 86400:,.0f}",
            f"{core_seconds / SHARE * SECONDS * RATE:,.0f}",
            f"{segments:,.0f}" if segments >= 10 else f"{segments:.2g}",
            f"{gigabytes * HOURS / all_seconds:.3g}",
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main(report):
    text = page(json.loads(Path(report).read_text(encoding="utf-8"))["times"])
    (ROOT / "docs" / "scaling.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(argv[1])
