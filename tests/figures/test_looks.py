"""Decisions as the listener writes them, read for figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.figures import looks
from comfy_supervisor.health import ledger
from comfy_supervisor.health.ledger import DECISIONS, Decision, Ledger
from comfy_supervisor.health.policy.evidence import Ending, Life, Observation, Reply, State, Vitals
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.watched import Watched

LIFE = Life("boot", 7, 100.0, 5)
SEEN = Observation("RUNNING", LIFE, reply=Reply.GOOD, queue=0, vitals=Vitals("S", 1.0, 0, 0, 1024), lives=3)
DEAF = replace(SEEN, reply=Reply.TIMEOUT, queue=None)


def write(folder: Path, *seen: Observation) -> None:
    """Have the listener's own ledger write down one look each five seconds."""
    book, state = Ledger(Watched("comfyui", "cpu", "", 1, str(folder), "", ""), "boot"), State()
    for number, each in enumerate(seen):
        now = 1000.0 + 5 * number
        before = state
        state, verdict = judge(before, each, now, Rules())
        at = f"2026-01-01T00:{number // 12:02}:{number % 12 * 5:02}.000+00:00"
        book.enter(Decision(at, "cpu", now, Rules(), before, each, verdict))


def test_a_restart_tells_its_cause_its_process_and_since_when_nothing_was_well(tmp_path: Path) -> None:
    write(tmp_path, *[SEEN] * 3, *[DEAF] * 20)
    first, *_, last = looks.read(tmp_path)
    assert (first.word, first.process, first.lives) == ("IDLE", ("boot", 7, 100.0), 3)
    assert (last.deed, last.cause) == ("restart", "api_unresponsive")
    assert last.undetected == last.at - first.at - 10.0
    assert last.undetected >= Rules().quiet


def test_another_process_is_an_end_unless_it_was_ours(tmp_path: Path) -> None:
    killed = Ending("exited: terminated by SIGKILL; not expected", "flag_unknown")
    write(tmp_path, SEEN, replace(SEEN, life=Life("boot", 8, 101.0), waits=True, hold="backoff", ending=killed))
    _, last = looks.read(tmp_path)
    assert (last.before, last.process) == (("boot", 7, 100.0), ("boot", 8, 101.0))
    assert (last.ending, last.fault) == (killed.text, "flag_unknown")
    (tmp_path / DECISIONS).unlink()
    write(tmp_path, SEEN, *[DEAF] * 20, replace(SEEN, life=Life("boot", 8, 101.0)))
    assert list(looks.read(tmp_path))[-1].before is None


def test_both_files_are_read_the_older_one_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_BYTES", 4000)
    write(tmp_path, SEEN, *[DEAF] * 20, SEEN, DEAF, SEEN)
    assert (tmp_path / f"{DECISIONS}.1").exists()
    found = list(looks.read(tmp_path))
    assert len(found) > len((tmp_path / DECISIONS).read_text().splitlines())
    assert [look.at for look in found] == sorted(look.at for look in found)


def test_what_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, SEEN)
    good = (tmp_path / DECISIONS).read_bytes()
    bad = [b"", b"\xff\xfe", b"[]", b"null", b"{}", b'{"at": "yesterday"}', good[:-40], good.replace(b'"IDLE"', b"{}")]
    noise = b"\n".join(line.rstrip(b"\n") for line in bad[:-1]) + b"\n"
    (tmp_path / DECISIONS).write_bytes(noise + good + b"[" * 100_000 + b"\n" + good)
    assert len(list(looks.read(tmp_path))) == 2


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, SEEN)
    (tmp_path / DECISIONS).rename(tmp_path / "elsewhere")
    (tmp_path / DECISIONS).symlink_to(tmp_path / "elsewhere")
    assert not list(looks.read(tmp_path))
