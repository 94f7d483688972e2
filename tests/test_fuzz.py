"""A short run of every kind of hostile input, and proof that the fuzzer notices what it is there to notice."""

import json
from collections import Counter

import fuzz
import pytest
from fuzzing import KINDS, kind_of, traps

COUNT = 60
SEED = "short"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A function that makes a folder with the valid files of a kind: (folder, {name: content})."""

    def make(kind):
        folder = tmp_path_factory.mktemp(kind)
        fuzz.write_seeds(kind, folder / "seeds")
        files = (path for path in (folder / "seeds").rglob("*") if path.is_file())
        return folder, {path.relative_to(folder / "seeds").as_posix(): path.read_bytes() for path in sorted(files)}

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_ends_in_success_or_a_sentence(kind, room, tmp_path):
    folder, valid = room(kind)
    outcomes = []
    for number in range(COUNT):
        path = fuzz.write_input(kind_of(kind), kind, SEED, number, valid, folder)
        outcome, said, used = fuzz.try_one(kind_of(kind), kind, SEED, number, path, folder)
        assert outcome in ("success", "refusal"), f"{kind} {number}: {outcome}: {said}"
        assert used < fuzz.MEMORY
        outcomes.append(outcome)
    assert len(set(outcomes)) == 2  # or the inputs are all too wild, or too tame


def test_commands_that_train_get_as_far_as_training(room):
    folder, _ = room("commands")
    path = folder / "commands-0-0.json"
    for number, devices in enumerate(("1", "3")):
        path.write_text(json.dumps(["main.py", "--framework", "tensorflow", "--devices", devices]))
        assert fuzz.try_one(kind_of("commands"), "commands", SEED, number, path, folder)[0] == "success"


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_inputs(kind, room):
    folder, valid = room(kind)
    made = [[kind_of(kind).make(fuzz.dice(kind, seed, n, "make"), valid) for n in range(5)] for seed in (1, 1, 2)]
    if kind != "weights":  # a zip file knows the time
        assert made[0] == made[1]
    assert made[0] != made[2]


EXPECTED = {
    "success": "success",
    "refusal": "refusal",
    "traceback": "traceback",
    "lines": "traceback",
    "thread": "traceback",
    "crash": "crash",
    "hang": "hang",
    "memory": "over memory",
    "half file": "half file",
    "temporary": "half file",
}


def test_the_fuzzer_notices_each_finding_keeps_it_and_goes_on(tmp_path, capsys, monkeypatch):
    count, seed = 16, "113"  # by which each comes, and only once what takes long
    made = [traps.make(fuzz.dice("traps", seed, n, "make"), {})[0].decode() for n in range(count)]
    assert set(made) == set(EXPECTED)
    figures = fuzz.run("traps", count, seed, workers=2, kept=tmp_path, limit=3, memory=32 << 20)
    assert figures.outcomes == Counter(EXPECTED[way] for way in made)
    kept = [path for path in tmp_path.iterdir() if path.suffix == ".trap"]
    assert len(kept) == len(figures.findings) == sum(EXPECTED[way] in fuzz.FINDINGS for way in made)
    again = next(path for path in kept if path.read_text() == "traceback")
    assert "nobody thought of it" in again.with_name(f"{again.name}.txt").read_text()
    both = fuzz.total([figures, figures])
    assert (both.tried, both.slowest) == (2 * figures.tried, figures.slowest)
    assert both.cpu == 2 * figures.cpu > 0
    monkeypatch.setattr(fuzz, "KINDS", ("traps",))
    assert fuzz.main(["--again", str(again)]) == 1
    assert "| traps | 1 | 0 | 0 | 1 | 0 | 0 | 0 | 0 |" in capsys.readouterr().out
