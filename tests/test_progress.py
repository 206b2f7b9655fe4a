"""How far a wait has come, where the output is a file."""

import re

import pytest

from hrnet_tf import progress


def test_short_waits_show_nothing(capsys):
    assert list(progress.track(range(5), "counting", "things")) == [0, 1, 2, 3, 4]
    with progress.bar("waiting", None, "things") as shown:
        shown.update(3)
    assert capsys.readouterr().err == ""


def test_long_waits_are_lines_with_rate_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(progress, "_BETWEEN_LINES", 0)
    with progress.bar("counting", 40, "things", initial=10) as shown:
        shown.set_postfix(loss="0.1", refresh=False)
        for _ in range(3):
            shown.update(10)
        progress.note("skipped: one")
    lines = capsys.readouterr().err.splitlines()
    pattern = r"counting: (\d+) of 40 things, (\?|[\d.]+[kM]?) things/s, \d\d:\d\d gone, (\?|\d\d:\d\d) to go, loss=0.1"
    found = [re.fullmatch(pattern, line) for line in lines if line != "skipped: one" and "loss" in line]
    assert all(found)
    assert [int(match[1]) for match in found][-3:] == [20, 30, 40]
    assert "skipped: one" in lines


def test_total_may_be_unknown(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(progress, "_BETWEEN_LINES", 0)
    assert len(list(progress.track(iter("abc"), "reading", "frames"))) == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("reading: 3 frames, ")


def test_a_listener_is_told_instead_and_may_end_the_wait(capsys):
    told = []
    with progress.told_to(lambda *what: told.append(what)):
        assert list(progress.track("ab", "reading", "letters")) == ["a", "b"]
    assert told == [("reading", 1, 2, "letters"), ("reading", 2, 2, "letters")]
    assert list(progress.track("ab", "reading", "letters")) == ["a", "b"] and len(told) == 2

    def stop(*what):
        raise InterruptedError

    with pytest.raises(InterruptedError), progress.told_to(stop):
        list(progress.track("ab", "reading", "letters"))
    assert capsys.readouterr().err == ""
