"""A few seconds of the long run, and proof that it notices what it is there to notice."""

import pytest
import soak


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """(path, moment of the flash) of a film of six seconds."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    return path, soak.make_film(path, 6)


def test_a_film_with_sound_goes_through_and_nothing_grows(film, tmp_path):
    path, flash = film
    result = soak.soak("espcn --resume --segment 1", path, flash, tmp_path, interval=0.02)
    assert result.faults == []
    assert (result.frames, result.last_frame, result.last_sound) == (150, 0, 0)
    assert abs(result.flash_to_click) <= soak.SYNC
    assert result.memory[0] > 20 and result.files[0] > 3 and result.cpu > 0
    assert len(soak.cells(result)) == len(soak.COLUMNS)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["errors"]


def test_what_fails_is_said(film, tmp_path):
    result = soak.soak("espcn --codec nonsense", *film, tmp_path, interval=0.02)
    (fault,) = result.faults
    assert fault.startswith("exit code 1: Error: ")


@pytest.mark.parametrize(
    ("samples", "faults"),
    [
        ([(100 + number % 3, 9) for number in range(100)], []),
        ([(500, 90)] * 20 + [(100, 9)] * 80, []),  # while it warms up
        ([(100 + number, 9) for number in range(100)], ["64 MB more at the end"]),
        ([(100, 9 + number // 10) for number in range(100)], ["6 open files more at the end"]),
        ([(100, 9)], ["it ended too soon to be looked at"]),
    ],
)
def test_growth_is_noticed(samples, faults):
    result = soak.Soaked("espcn")
    soak.look_at_process(result, samples)
    assert result.faults == faults


def test_sound_that_is_off_and_frames_that_are_missing_are_noticed(film, tmp_path):
    path, flash = film
    longer = tmp_path / "film.mkv"
    soak.make_film(longer, 7)
    result = soak.Soaked("espcn")
    soak.look_at_film(result, path, longer, flash)
    assert result.faults[0] == "175 frames, not those 150 of the film"
    assert [fault.split(" is ")[0] for fault in result.faults[2:]] == ["the flash", "the click"]
    assert result.last_frame == 1000
