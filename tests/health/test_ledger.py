"""What the listener leaves behind: on disk, readable, bounded, and good for an audit."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor import codec
from comfy_supervisor.health import ledger, orders
from comfy_supervisor.health.audit import audit
from comfy_supervisor.health.ledger import Decision, Ledger
from comfy_supervisor.health.policy.evidence import Deed, Life, Observation, Reply, State, Verdict, Vitals, Word
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.watched import Watched

BOOT = "this boot"
LIFE = Life(BOOT, 7, 100.0, 5)
SEEN = Observation("RUNNING", LIFE, reply=Reply.GOOD, queue=0, vitals=Vitals("S", 1.0, 0, 0, 1024, listens=True))
RULES = Rules(stall_after=90.0)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Give an instance with folders of its own."""
    for name in ("state", "run"):
        (tmp_path / name).mkdir()
    folders = (str(tmp_path / "state"), str(tmp_path / "run"))
    return Watched("comfyui", "cpu", "http://127.0.0.1:1", 1, *folders, "/dev/null", rules=RULES)


def _decide(before: State, seen: Observation, now: float) -> tuple[State, Decision]:
    after, verdict = judge(before, seen, now, RULES)
    return after, Decision("2026-01-01T00:00:00.000+00:00", "cpu", now, RULES, before, seen, verdict)


def _lines(watched: Watched) -> list[str]:
    return (Path(watched.state) / ledger.DECISIONS).read_text().splitlines()


def test_a_change_is_written_down_and_its_repetition_is_not(watched: Watched) -> None:
    book = Ledger(watched, BOOT)
    state, first = _decide(State(), SEEN, 1000.0)
    book.enter(first)
    book.enter(_decide(state, SEEN, 1005.0)[1])
    (line,) = _lines(watched)
    assert json.loads(line)["verdict"]["word"] == "IDLE"


def test_what_is_written_stands_an_audit(watched: Watched) -> None:
    book, state = Ledger(watched, BOOT), State()
    for number in range(60):
        seen = replace(SEEN, reply=Reply.REFUSED, queue=None) if number > 10 else SEEN
        state, decision = _decide(state, seen, 1000.0 + 5 * number)
        book.enter(decision)
    found = list(audit(Path(watched.state) / ledger.DECISIONS))
    assert [each.decision.verdict.word for each in found[:3]] == [Word.IDLE, Word.SUSPECT, Word.RESTARTING]
    assert all(each.same for each in found)


def test_a_verdict_that_would_not_be_given_today_is_found(watched: Watched) -> None:
    book = Ledger(watched, BOOT)
    _, decision = _decide(State(), SEEN, 1000.0)
    book.enter(replace(decision, verdict=Verdict(Word.RESTARTING, Deed.RESTART, "stalled", "for no reason", LIFE)))
    (found,) = audit(Path(watched.state) / ledger.DECISIONS)
    assert (found.same, found.today.word, found.line) == (False, Word.IDLE, 1)


@pytest.mark.parametrize("line", ["{", "[]", '{"v": 1}', '{"at": 3}', "\x00"])
def test_a_line_that_is_no_decision_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "decisions.jsonl"
    file.write_text(f"\n{line}\n")
    with pytest.raises(codec.MalformedError, match=r"decisions\.jsonl:2: "):
        list(audit(file))


def test_the_record_is_put_aside_before_it_grows_without_end(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_BYTES", 20_000)
    book = Ledger(watched, BOOT)
    for number in range(100):
        book.enter(_decide(State(), SEEN, 1000.0 + number)[1])
    sizes = {file.name: file.stat().st_size for file in Path(watched.state).iterdir()}
    assert sizes.keys() == {"decisions.jsonl", "decisions.jsonl.1"}
    assert all(0 < size <= 20_000 for size in sizes.values())


def test_what_was_remembered_is_recalled_in_the_same_boot_alone(watched: Watched) -> None:
    state, _ = _decide(State(), SEEN, 1000.0)
    Ledger(watched, BOOT).show(state, SEEN, 1000.0)
    assert Ledger(watched, BOOT).recall() == state
    assert Ledger(watched, "the next boot").recall() == State()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"memory": 3}', '{"memory": {"boot_id": "this boot"}}'])
def test_a_status_file_that_makes_no_sense_is_no_memory(content: str, watched: Watched) -> None:
    (Path(watched.state) / ledger.STATUS).write_text(content)
    assert Ledger(watched, BOOT).recall() == State()
    assert ledger.report(Path(watched.state), time.time()) is None


def test_the_report_is_for_a_while_only(watched: Watched) -> None:
    now = time.monotonic()
    state, _ = _decide(State(), SEEN, now)
    Ledger(watched, BOOT).show(state, SEEN, now)
    found = ledger.report(Path(watched.state), time.time())
    assert found
    assert (found.word, found.budget, found.restarts) == ("IDLE", 5, ())
    assert abs(found.at - time.time()) < 60
    assert ledger.report(Path(watched.state), time.time() + 1000) is None


def test_a_folder_that_is_gone_is_trouble_and_no_more(watched: Watched) -> None:
    Path(watched.state).rmdir()
    book = Ledger(watched, BOOT)
    state, decision = _decide(State(), SEEN, 1000.0)
    book.enter(decision)
    book.show(state, SEEN, 1000.0)
    assert "No such file" in book.trouble
    Path(watched.state).mkdir()
    book.show(state, SEEN, 1000.0)
    assert "decisions.jsonl" in book.trouble
    assert "status.json" not in book.trouble
    book.enter(decision)
    assert book.trouble == ""


def test_a_link_in_the_place_of_the_record_is_not_followed(watched: Watched, tmp_path: Path) -> None:
    """An account of ComfyUI's own owns the folder, and the listener may run as root."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (ledger.DECISIONS, ledger.STATUS):
        (Path(watched.state) / name).symlink_to(precious)
    book = Ledger(watched, BOOT)
    state, decision = _decide(State(), SEEN, 1000.0)
    book.enter(decision)
    assert book.trouble
    book.show(state, SEEN, 1000.0)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("name", [ledger.DECISIONS, ledger.STATUS])
def test_a_pipe_in_its_place_holds_nobody_up(name: str, watched: Watched) -> None:
    os.mkfifo(Path(watched.state) / name)
    book = Ledger(watched, BOOT)
    assert book.recall() == State()
    state, decision = _decide(State(), SEEN, 1000.0)
    book.enter(decision)
    book.show(state, SEEN, 1000.0)
    assert bool(book.trouble) == (name == ledger.DECISIONS)


def test_what_a_terminal_would_obey_is_not_told(watched: Watched) -> None:
    now = time.monotonic()
    state, _ = _decide(State(), SEEN, now)
    Ledger(watched, BOOT).show(replace(state, reason="job \x1b]0;mine\x07 ended\n"), SEEN, now)
    found = ledger.report(Path(watched.state), time.time())
    assert found
    assert found.reason == "job ]0;mine ended"


class TestOrders:
    def test_maintenance_lasts_until_it_is_ended(self, watched: Watched) -> None:
        assert not orders.maintenance(watched.state)
        orders.begin_maintenance(watched.state, 1.0)
        assert orders.maintenance(watched.state)
        orders.end_maintenance(watched.state)
        orders.end_maintenance(watched.state)
        assert not orders.maintenance(watched.state)

    def test_a_reset_is_heard_once(self, watched: Watched) -> None:
        assert not orders.heard_reset(watched.run)
        orders.reset(watched.run, 1.0)
        assert orders.heard_reset(watched.run)
        assert not orders.heard_reset(watched.run)

    def test_a_folder_in_its_place_is_no_order(self, watched: Watched) -> None:
        (Path(watched.run) / "reset.json").mkdir()
        assert not orders.heard_reset(watched.run)
