"""What is written down of each job, as ComfyUI's queue handles it."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import gate, hooks
from comfy_supervisor.extension.comfy_supervisor_bridge import journal as extension_journal
from comfy_supervisor.extension.comfy_supervisor_bridge.heartbeat import Heart
from comfy_supervisor.extension.comfy_supervisor_bridge.journal import LOST_END
from comfy_supervisor.extension.comfy_supervisor_bridge.rows import REPLAYED
from comfy_supervisor.standin.prompt_queue import Item, PromptQueue

from .conftest import DONE, INTERRUPTED, Bridged, failed

STICKY = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"


def test_a_job_is_written_down_before_it_is_queued(bridged: Bridged, monkeypatch: pytest.MonkeyPatch) -> None:
    at_push: list[list[str]] = []
    monkeypatch.setattr(bridged.queue.server, "queue_updated", lambda: at_push.append(bridged.states("a")))
    bridged.put("a", client_id="me")
    assert at_push == [["queued"]]
    row = bridged.row("a")
    assert row["body"] == '{"prompt":{"1":{"class_type":"X"}},"extra_data":{"client_id":"me"},"outputs":["1"]}'
    assert (row["number"], row["life"]) == (1.0, 1)


def test_each_end_is_written_down(bridged: Bridged, caplog: pytest.LogCaptureFixture) -> None:
    for number, prompt_id in enumerate("abc"):
        bridged.put(prompt_id, float(number))
    taken = bridged.take()
    assert taken
    assert bridged.states("a") == ["running"]
    bridged.queue.task_done(taken[1], {}, status=None)
    bridged.run(failed("no\nbecause"))
    bridged.run(INTERRUPTED)
    assert bridged.states("a", "b", "c") == ["done", "failed", "deleted"]
    assert (bridged.row("b")["note"], bridged.row("a")["body"]) == ("no", None)
    assert not caplog.messages


def test_who_asked_it_to_give_up_decides_what_becomes_of_it(bridged: Bridged) -> None:
    """The user's word is final; at the listener's it waits to be tried again."""
    for prompt_id, who in (("a", "user"), ("b", "listener")):
        bridged.put(prompt_id)
        taken = bridged.take()
        assert taken
        if who == "listener":
            bridged.listener_asks("b")
        bridged.nodes.interrupt_processing()
        assert bridged.row(prompt_id)["asked"] == who
        bridged.queue.task_done(taken[1], {}, status=INTERRUPTED)
    assert bridged.states("a", "b") == ["deleted", "running"]
    assert bridged.row("b")["asked"] == "obeyed"
    assert bridged.row("b")["body"]
    assert bridged.interrupted == 2


ASKED = {
    "a user after the listener": ("mark", "heard", "heard"),
    "a user before the listener's request is come to": ("mark", "heard", "heard"),
    "a user first": ("heard", "mark", "heard"),
    "a user twice": ("heard", "heard"),
    "the listener twice": ("mark", "heard", "mark", "heard"),
    "the listener twice at once": ("mark", "mark", "heard", "heard"),
    "the listener, whose second request is lost": ("mark", "heard", "mark"),
    "a user after the listener's two": ("mark", "mark", "heard", "heard", "heard"),
}


@pytest.mark.parametrize("how", ASKED)
def test_a_users_own_word_counts_whatever_the_listener_has_asked(bridged: Bridged, how: str) -> None:
    """The listener marks each request before it sends it, and ComfyUI does not tell from whom one comes."""
    bridged.put("a")
    taken = bridged.take()
    assert taken
    for what in ASKED[how]:
        bridged.listener_asks("a") if what == "mark" else bridged.nodes.interrupt_processing()
    bridged.queue.task_done(taken[1], {}, status=INTERRUPTED)
    assert bridged.row("a")["state"] == ("deleted" if "user" in how else "running")
    assert bridged.row("a")["asked"] == ("user" if "user" in how else "obeyed")


def test_who_asked_a_running_job_is_not_forgotten_when_stock_is_taken(bridged: Bridged) -> None:
    """Else one that stood still, and gave up when the listener asked it, would be taken for its user's."""
    bridged.put("a")
    taken = bridged.take()
    assert taken
    bridged.listener_asks("a")
    bridged.nodes.interrupt_processing()
    bridged.hooks.take_stock()
    bridged.queue.task_done(taken[1], {}, status=INTERRUPTED)
    assert (bridged.row("a")["state"], bridged.row("a")["asked"]) == ("running", "obeyed")


def test_what_was_asked_of_a_job_in_an_earlier_life_is_forgotten(bridged: Bridged) -> None:
    bridged.put("a")
    bridged.take()
    bridged.nodes.interrupt_processing()
    bridged.execute("UPDATE jobs SET life = 99")
    bridged.hooks.take_stock()
    assert bridged.row("a")["asked"] == ""


def test_an_interruption_that_is_taken_back_is_none(bridged: Bridged) -> None:
    bridged.put("a")
    bridged.take()
    bridged.nodes.interrupt_processing(False)
    assert (bridged.row("a")["asked"], bridged.interrupted) == ("", 0)


def test_what_is_deleted_stays_so(bridged: Bridged) -> None:
    for prompt_id in "abc":
        bridged.put(prompt_id)
    assert bridged.queue.delete_queue_item(lambda item: item[1] == "b")
    assert not bridged.queue.delete_queue_item(lambda item: item[1] == "b")
    assert bridged.states("a", "b", "c") == ["queued", "deleted", "queued"]
    bridged.queue.wipe_queue()
    assert bridged.states("a", "b", "c") == ["deleted"] * 3
    bridged.put("d")
    assert bridged.queue.delete_queue_item(lambda item: item[1] == "d")
    assert bridged.states("d") == ["deleted"]


def test_the_same_id_twice_is_one_job_until_both_have_run(bridged: Bridged) -> None:
    bridged.put("a", 1.0)
    bridged.put("a", 2.0)
    bridged.run()
    assert bridged.states("a") == ["queued"]
    bridged.run()
    assert bridged.states("a") == ["done"]
    bridged.put("a", 3.0)
    assert bridged.states("a") == ["queued"]


def test_the_listener_asking_twice_is_heard_once(bridged: Bridged) -> None:
    bridged.put("a", REPLAYED - 5)
    bridged.put("a", REPLAYED - 5)
    assert len(bridged.queue.queue) == 1
    bridged.put("a", REPLAYED - 4)
    assert len(bridged.queue.queue) == 2


def test_what_was_dropped_while_its_submission_was_under_way_is_not_queued(bridged: Bridged) -> None:
    """ComfyUI may come to a request long after whoever sent it has given up; a user may submit it anew."""
    bridged.execute("INSERT INTO jobs VALUES (1, 'a', 1.0, 'deleted', NULL, '', '', '', 0, 0, '', 0.0, NULL, 0.0)")
    bridged.put("a", REPLAYED - 5)
    assert (bridged.queue.queue, bridged.states("a")) == ([], ["deleted"])
    bridged.put("a", 5.0)
    assert (len(bridged.queue.queue), bridged.states("a")) == (1, ["queued"])


def test_keys_are_nowhere_on_the_disk(bridged: Bridged) -> None:
    """Those of ComfyUI's list, those that are always known, and those that newer ones hand over apart."""
    item: Item = (
        1.0,
        "a",
        {},
        {"api_key_comfy_org": "SESAME-1", "auth_token_comfy_org": "SESAME-5", "secret": "SESAME-2", "x": 1},
        [],
        {"auth": "SESAME-3"},
    )
    bridged.queue.put(item)
    bridged.run()
    bridged.put("b", secret="SESAME-4")
    assert bridged.row("a")["secrets"] == "api_key_comfy_org,auth,auth_token_comfy_org,secret"
    assert not [file for file in bridged.folder.iterdir() if b"SESAME" in file.read_bytes()]


def test_how_arguments_are_given_makes_no_difference(bridged: Bridged) -> None:
    """ComfyUI's releases, and other extensions, give them by place or by name."""
    for number, prompt_id in enumerate("ab"):
        bridged.put(prompt_id, float(number))
    (bridged.folder / gate.PAUSE).touch()
    assert bridged.queue.get(0.01) is None
    (bridged.folder / gate.PAUSE).unlink()
    taken = bridged.queue.get(0.01)
    bridged.nodes.interrupt_processing(value=False)
    assert bridged.row("a")["asked"] == ""
    bridged.queue.task_done(taken[1], {}, failed("no"))
    assert (bridged.states("a"), bridged.queue.get()[0][1]) == (["failed"], "b")


def test_the_listeners_numbers_end_where_users_begin(bridged: Bridged) -> None:
    """A job of the listener's that was dropped meanwhile is not queued; a user may submit it anew at any place."""
    for number, queued in ((-1e12, 0), (-1e12 + 1, 1)):
        bridged.execute(
            "INSERT OR REPLACE INTO jobs VALUES (1, 'a', 1.0, 'deleted', NULL, '', '', '', 0, 0, '', 0.0, NULL, 0.0)"
        )
        bridged.put("a", number)
        assert len(bridged.queue.queue) == queued


def test_a_job_that_fails_when_it_is_run_again_without_its_keys_says_so(bridged: Bridged) -> None:
    """Else nobody would know why it did; its first run had them, and so has one that its user submits anew."""
    unauthorized = failed("Unauthorized: Please login first to use this node.\n")
    told = "Unauthorized: Please login first to use this node."
    bridged.put("a", 1.0, api_key_comfy_org="SESAME")
    bridged.run(unauthorized)
    assert bridged.row("a")["note"] == told
    again: dict[float, dict[str, str]] = {REPLAYED - 5: {}, 2.0: {"api_key_comfy_org": "SESAME"}}
    for number, keys in again.items():
        bridged.put("b", 1.0, api_key_comfy_org="SESAME")
        bridged.queue.queue.clear()  # as a death does
        bridged.put("b", number, **keys)
        bridged.run(unauthorized)
        without = "" if keys else "run again without its API keys (api_key_comfy_org): "
        assert bridged.row("b")["note"] == without + told
    bridged.put("c", REPLAYED - 4)
    bridged.run(unauthorized)
    assert bridged.row("c")["note"] == told


def test_files_are_closed_to_others(bridged: Bridged) -> None:
    bridged.put("a")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in bridged.folder.glob("journal.sqlite*")}
    assert modes == dict.fromkeys(("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"), 0o600)


@pytest.mark.parametrize(
    "item",
    [
        (1.0, "odd", {"1": object()}, {}, [], {}),
        (1.0, "odd", {}, None, [], {}),
        (1.0, "odd\udcff", {}, {}, [], {}),
        (float("nan"), "odd", {}, {}, [], {}),
        (10**400, "odd", {}, {}, [], {}),
        (1.0, "odd", {}, ["a list"], []),
    ],
    ids=["unserialisable", "no extra_data", "surrogates", "NaN", "huge number", "odd extra_data"],
)
def test_a_job_that_cannot_be_written_down_harms_nobody(bridged: Bridged, item: tuple[Any, ...]) -> None:
    bridged.put("a", 0.0)
    bridged.queue.put(item)
    assert bridged.run() == "a"
    assert bridged.journal.ok
    bridged.hooks.take_stock()
    bridged.run()
    bridged.put("b")
    assert bridged.beat()["journal"] == "ok"
    assert bridged.states("a", "b") == ["done", "queued"]


class Other:
    """A job as it is not known: all fields are there, in another thing."""

    def __init__(self, *fields: Any) -> None:
        self.fields = fields

    def __getitem__(self, place: Any) -> Any:
        return self.fields[place]

    def __lt__(self, other: Other) -> bool:
        return bool(self.fields < other.fields)


STRANGE = {
    "another thing": Other(2.0, "odd", {}, {}, []),
    "a mapping": {"number": 2.0, "prompt_id": "odd"},
    "too few": (2.0, "odd", {}, {}),
    "another order": ("odd", 2.0, {}, {}, []),
    "a number that is none": ("2", "odd", {}, {}, []),
    "an id that is no text": (2.0, b"odd", {}, {}, []),
    "a graph that is a thing": (2.0, "odd", object(), {}, []),
    "extra_data that no client can send": (2.0, "odd", {}, object(), []),
    "outputs that are a set": (2.0, "odd", {}, {}, {"1"}),
    "keys in another way": (2.0, "odd", {}, {}, [], "keys"),
}


def _comes(bridged: Bridged, came: str, job: Any) -> None:
    """Have a job in the queue, which is empty: ComfyUI's own heap compares no such things."""
    assert not bridged.queue.queue
    if came == "by put":
        bridged.queue.put(job)
    else:
        bridged.queue.queue[:] = [job]
        bridged.journal.miss()
        bridged.heart._tend()


@pytest.mark.parametrize("came", ["by put", "unseen"])
@pytest.mark.parametrize("what", STRANGE)
def test_where_the_first_job_has_a_form_that_is_not_known_all_are_left_to_the_listener(
    bridged: Bridged, caplog: pytest.LogCaptureFixture, what: str, came: str
) -> None:
    """Half a journal is worse than what is seen from outside. It is said once."""
    _comes(bridged, came, STRANGE[what])
    assert bridged.queue.queue == [STRANGE[what]]
    bridged.hooks.take_stock()
    assert bridged.beat()["journal"] == "left"
    bridged.queue.queue.clear()
    bridged.put("a")
    assert bridged.run() == "a"
    bridged.put("b")
    bridged.queue.delete_queue_item(lambda _: True)
    assert bridged.states("a", "b") == ["unknown", "unknown"]
    assert not bridged.journal._owed
    assert _witness(bridged) == "listener"
    assert [message for message in caplog.messages if "looks at them from outside" in message] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("came", ["by put", "unseen"])
@pytest.mark.parametrize("what", STRANGE)
def test_a_job_of_another_form_among_others_costs_itself_alone_its_place_in_the_journal(
    bridged: Bridged, caplog: pytest.LogCaptureFixture, what: str, came: str
) -> None:
    """Some node may put one. It is said once, and costs no other."""
    bridged.put("a")
    bridged.run()
    for _ in range(2):
        _comes(bridged, came, STRANGE[what])
        taken = bridged.take()
        assert taken
        assert taken[0] is STRANGE[what]
        bridged.nodes.interrupt_processing()
        bridged.hooks.take_stock()
        bridged.put("b")
        with suppress(KeyError):  # ComfyUI's own, which puts no mapping into its history
            bridged.queue.task_done(taken[1], {}, status=DONE)
        assert bridged.beat()["journal"] == "ok"
        bridged.run()
    assert bridged.interrupted == 2
    assert bridged.states("a", "b", "odd") == ["done", "done", "unknown"]
    assert _witness(bridged) == "extension"
    assert [message for message in caplog.messages if "such jobs are not written down" in message] == caplog.messages
    assert len(caplog.messages) == 1


def test_what_holds_jobs_back_needs_no_form_of_theirs(bridged: Bridged) -> None:
    """A pause, a drain's wait for the running job, and a poisoned GPU go on where the listener follows the jobs."""
    bridged.queue.put(Other(1.0, "odd", {}, {}, []))
    pause = bridged.folder / gate.PAUSE
    pause.touch()
    assert (bridged.take(), bridged.beat()["held"]) == (None, "paused")
    pause.unlink()
    taken = bridged.take()
    assert taken
    told = bridged.beat()
    assert (told["prompt_id"], told["worker"], told["queue"], told["held"]) == ("odd", "alive", [1, 0], "")
    bridged.queue.task_done(taken[1], {}, status=failed(STICKY))
    told = bridged.beat()
    assert (told["prompt_id"], told["queue"], told["held"]) == ("", [0, 0], "poisoned")
    bridged.queue.put(Other(2.0, "next", {}, {}, []))
    assert bridged.take() is None


@pytest.mark.parametrize("opened", [True, False])
def test_a_life_is_left_to_the_listener_once_that_can_be_written(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    """Whether the journal was open or not when the first job of another form came."""
    monkeypatch.setattr(extension_journal, "PATIENCE", 0.05)
    bridged.hooks.take_stock()
    if not opened:
        bridged.journal._close()
    with closing(sqlite3.connect(bridged.file, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        bridged.queue.put(STRANGE["too few"])
        assert (bridged.hooks.left, bridged.journal.handed_over) == (True, False)
        assert bridged.beat()["journal"] == "degraded", "until then, nobody writes them down"
        assert (bridged.journal.handed_over, len(bridged.said)) == (False, 1)
    assert bridged.beat()["journal"] == "left"
    assert (_witness(bridged), bridged.journal.handed_over, bridged.journal._connection) == ("listener", True, None)
    assert bridged.said[1:] == ["the journal is written again"]
    bridged.execute("UPDATE lives SET witness = 'somebody'")
    bridged.heart._tend()
    assert _witness(bridged) == "somebody", "that is over"


def test_a_life_that_can_not_be_left_in_this_file_is_later(bridged: Bridged) -> None:
    """Somebody has damaged it, and it is set aside, or mended."""
    bridged.execute("ALTER TABLE lives RENAME TO others")
    bridged.queue.put(STRANGE["too few"])
    assert (bridged.beat()["journal"], bridged.journal.handed_over) == ("degraded", False)
    assert bridged.said == [
        "journal.sqlite can't be written (no such table: lives): ComfyUI goes on, but a restart would lose its jobs"
    ]
    bridged.execute("ALTER TABLE others RENAME TO lives")
    assert bridged.beat()["journal"] == "left"


@pytest.mark.parametrize("lost", ["its life", "the file"])
def test_a_life_that_the_journal_does_not_know_is_left_to_the_listener_too(bridged: Bridged, lost: str) -> None:
    """Else that one would wait for it to speak, or take the life before in the same process for it."""
    bridged.execute("UPDATE lives SET token = 'before'")
    if lost == "the file":
        for file in bridged.folder.glob("journal.sqlite*"):
            file.unlink()
    bridged.queue.put(STRANGE["too few"])
    with closing(sqlite3.connect(bridged.file)) as connection:
        lives = connection.execute("SELECT token, witness, guilt FROM lives ORDER BY id").fetchall()
    assert lives[-1] == ("token", "listener", None)
    assert lives[:-1] == ([("before", "extension", "innocent")] if lost == "its life" else [])


def test_while_the_disk_is_late_a_life_is_left_to_the_listener_once(bridged: Bridged) -> None:
    bridged.hooks.left = bridged.journal._writer.late = True
    for _ in range(3):
        bridged.heart._tend()
    assert bridged.journal._writer._deeds.empty()
    bridged.journal._writer.late = False
    bridged.heart._tend()
    assert _witness(bridged) == "listener"


def _witness(bridged: Bridged) -> str:
    with closing(sqlite3.connect(bridged.file)) as connection:
        (found,) = connection.execute("SELECT witness FROM lives").fetchone()
    return str(found)


@pytest.mark.parametrize(("name", "value"), [("queue", set()), ("currently_running", [])])
def test_a_queue_that_keeps_its_jobs_otherwise_is_left_alone(
    bridged: Bridged, other: SimpleNamespace, name: str, value: object
) -> None:
    setattr(other.queue, name, value)
    bridged.hooks.queue = other.queue
    with pytest.raises(AttributeError, match="keeps its jobs otherwise"):
        hooks.install(bridged.hooks, other.server, other.execution, other.nodes)


def test_surrogates_within_a_job_are_kept(bridged: Bridged) -> None:
    bridged.put("a", text="\udcff")
    assert r"\udcff" in bridged.row("a")["body"]


def test_a_pause_holds_the_worker_and_lets_words_through(bridged: Bridged) -> None:
    bridged.put("a")
    (bridged.folder / gate.PAUSE).touch()
    assert bridged.take() is None
    assert bridged.beat()["held"] == "paused"
    bridged.queue.set_flag("free_memory", True)
    assert bridged.queue.get(timeout=10.0) is None, "it waits for no job while there is something else to do"
    assert bridged.queue.get_flags() == {"free_memory": True}
    (bridged.folder / gate.PAUSE).unlink()
    assert bridged.run() == "a"


def test_a_poisoned_gpu_gets_no_job_for_a_time(bridged: Bridged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first to fail stays running, as the suspect; those after it have not been tried."""
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(gate, "time", clock)
    for number, prompt_id in enumerate("abc"):
        bridged.put(prompt_id, float(number))
    bridged.run(failed(STICKY))
    assert bridged.take() is None
    assert bridged.beat()["held"] == "poisoned"
    clock.monotonic = lambda: 1119.9
    assert bridged.take() is None
    clock.monotonic = lambda: 1120.0
    assert bridged.run(failed(STICKY)) == "b"
    assert bridged.states("a", "b", "c") == ["running", "queued", "queued"]
    assert bridged.row("a")["note"] == STICKY.partition("\n")[0]


def test_a_paused_worker_looks_again_soon_however_long_it_would_wait_for_a_job(bridged: Bridged) -> None:
    bridged.put("a")
    (bridged.folder / gate.PAUSE).touch()
    began = time.monotonic()
    assert bridged.queue.get(timeout=10.0) is None
    assert 0.4 <= time.monotonic() - began < 9.0, "nor does it look all the time"


@pytest.mark.parametrize("late", [0.0, 0.1])
def test_a_job_is_taken_at_once_when_it_comes_or_has_come(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    monkeypatch.setattr(hooks, "LOOK", 10.0)
    comes = threading.Timer(late, bridged.put, ["a"])
    comes.start()
    if not late:
        comes.join()
    began = time.monotonic()
    taken = bridged.queue.get(timeout=10.0)
    comes.join()
    assert (taken[0][1], time.monotonic() - began < 9.0) == ("a", True)


def test_a_gpu_that_ran_out_of_memory_is_not_poisoned(bridged: Bridged) -> None:
    """Whatever else the exception says, its type tells: ComfyUI unloads its models, and the next job often works."""
    error = {"exception_type": "torch.OutOfMemoryError", "exception_message": STICKY}
    bridged.put("a")
    bridged.run(PromptQueue.ExecutionStatus("error", False, [("execution_error", error)]))
    assert (bridged.states("a"), bridged.beat()["held"]) == (["failed"], "")


def test_of_an_error_a_line_is_kept_and_no_more_than_200_characters(bridged: Bridged) -> None:
    bridged.put("a")
    bridged.run(failed(f"  {'x' * 300}\nbecause"))
    assert bridged.row("a")["note"] == "x" * 200


def test_stock_forgets_no_job_that_waits_for_the_next_life(bridged: Bridged) -> None:
    """It is in the journal alone: ComfyUI's queue no longer has it."""
    for prompt_id in "abcd":
        bridged.put(prompt_id)
    bridged.run(failed(STICKY))
    bridged.hooks.gate.poisoned = -1e9
    bridged.run(failed(STICKY))
    taken = bridged.take()
    assert taken
    bridged.listener_asks("c")
    bridged.queue.task_done(taken[1], {}, status=INTERRUPTED)
    bridged.hooks.take_stock()
    assert bridged.states("a", "b", "c", "d") == ["running", "queued", "running", "queued"]


@pytest.mark.parametrize("name", ["accepted", "taken", "ended", "gave_up", "removed", "asked", "is_ours"])
def test_whatever_fails_of_ours_comfyui_goes_on(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(bridged.journal, name, breaks)
    _goes_on(bridged)
    assert len(set(caplog.messages)) == len(caplog.messages), "each hook says it once"


@pytest.mark.parametrize("name", ["_is_repeated", "_waits", "_begin", "_poisons", "_node", "_end"])
def test_whatever_fails_in_a_hook_comfyui_goes_on(bridged: Bridged, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def breaks(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(hooks.Hooks, name, breaks)
    _goes_on(bridged)


def _goes_on(bridged: Bridged) -> None:
    """Nothing of ComfyUI's is hindered, and what the journal has missed it has caught up with a beat later."""
    for prompt_id in "abcd":
        bridged.put(prompt_id)
    assert bridged.run() == "a"
    assert bridged.run(failed("no")) == "b"
    assert bridged.execution.execute() == "executed"
    assert bridged.server.PromptServer.instance.send_sync("progress", None) == "sent"
    bridged.nodes.interrupt_processing()
    assert bridged.interrupted == 1
    assert bridged.queue.delete_queue_item(lambda item: item[1] == "c")
    assert bridged.run(INTERRUPTED) == "d"
    bridged.put("e")
    bridged.queue.wipe_queue()
    bridged.put("f")
    assert list(bridged.queue.history) == ["a", "b", "d"]
    told = bridged.beat()
    assert not {"queued", "running"} & set(bridged.states(*"abcde"))
    assert (bridged.states("f"), told["journal"]) == (["queued"], "ok")


def test_a_comfyui_on_its_way_out_begins_no_job_and_fails_none(bridged: Bridged) -> None:
    """Its worker hears of it last: what it is given then fails for want of threads, and was never tried."""
    serving = True
    bridged.hooks.loop = SimpleNamespace(is_running=lambda: serving)
    for prompt_id in "abcd":
        bridged.put(prompt_id)
    taken = bridged.take()
    assert taken
    serving = False
    bridged.queue.task_done(taken[1], {}, status=failed(STICKY))
    assert bridged.take() is None
    assert bridged.hooks.gate.poisoned is None
    assert bridged.beat()["held"] == "ending"
    assert bridged.states(*"abcd") == ["running", "queued", "queued", "queued"]
    assert bridged.row("a")["body"]


def test_a_comfyui_whose_main_thread_has_ended_is_on_its_way_out(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "main_thread", threading.Thread)
    bridged.put("a")
    assert (bridged.take(), bridged.beat()["held"]) == (None, "ending")


def test_what_is_done_on_the_way_out_is_done(bridged: Bridged) -> None:
    serving = True
    bridged.hooks.loop = SimpleNamespace(is_running=lambda: serving)
    bridged.put("a")
    taken = bridged.take()
    assert taken
    serving = False
    bridged.queue.task_done(taken[1], {}, status=DONE)
    assert bridged.states("a") == ["done"]


def test_a_parameter_that_is_not_known_is_passed_on(bridged: Bridged) -> None:
    """As a newer release, or another extension's wrapper, may have one."""
    heard: list[Any] = []
    for name in ("put", "get", "wipe_queue", "delete_queue_item", "interrupt_processing", "send_sync"):
        hook = getattr(bridged.hooks, name)
        hook(lambda *_, **named: heard.append(named["more"]), bridged.queue, (1.0, "a", {}, {}, []), more=name)
    assert len(heard) == 6


def test_where_it_can_not_be_told_what_waited_nothing_is_taken_for_deleted(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, told = hooks._waiting, list[set[str]]()

    def fails_once(queue: Any) -> set[str]:
        told.append(waiting(queue))
        if len(told) == 1:
            raise RuntimeError("broken")
        return told[-1]

    for prompt_id in "ab":
        bridged.put(prompt_id)
    monkeypatch.setattr(hooks, "_waiting", fails_once)
    assert bridged.queue.delete_queue_item(lambda item: item[1] == "b")
    assert (len(told), bridged.states("a")) == (2, ["queued"])
    assert bridged.beat()["journal"] == "ok"
    assert bridged.states("a", "b") == ["queued", "done"]


def test_what_a_hook_could_not_write_down_is_said_until_it_is(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A ComfyUI that ends its jobs in another way: else they would be run again in the next life, and charged."""

    def breaks(*_: Any) -> None:
        raise KeyError("prompt_id")

    monkeypatch.setattr(hooks.Hooks, "_end", breaks)
    for prompt_id in "abcd":
        bridged.put(prompt_id)
    for prompt_id in "abc":
        assert bridged.run() == prompt_id
    assert bridged.heart._told(0.0)["journal"] == "degraded"
    assert bridged.beat()["journal"] == "ok"
    assert bridged.states(*"abcd") == ["done", "done", "done", "queued"]
    assert {bridged.row(each)["note"] for each in "abc"} == {LOST_END}
    assert caplog.messages == ["comfy-supervisor: journal, task_done: KeyError: 'prompt_id': going on without it"]


def test_what_is_missed_while_stock_is_taken_is_not_forgotten(
    bridged: Bridged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue was looked at before; the disk may take its time until that is written."""
    begin = bridged.journal._begin

    def begins(*arguments: Any) -> None:
        bridged.journal.miss()
        begin(*arguments)

    monkeypatch.setattr(bridged.journal, "_begin", begins)
    bridged.journal.miss()
    bridged.hooks.take_stock()
    assert not bridged.journal.ok


@pytest.fixture
def other() -> SimpleNamespace:
    """Give a ComfyUI that is still without hooks."""
    queue_type: Any = type("PromptQueue", (PromptQueue,), {})
    prompt_server: Any = type("PromptServer", (), {"send_sync": lambda *_: "sent"})
    return SimpleNamespace(
        queue=queue_type(SimpleNamespace(queue_updated=lambda: None)),
        server=SimpleNamespace(PromptServer=SimpleNamespace(instance=prompt_server())),
        execution=SimpleNamespace(execute=lambda *_: "executed"),
        nodes=SimpleNamespace(interrupt_processing=lambda: None),
    )


@pytest.mark.parametrize("name", ["put", "get", "task_done", "wipe_queue", "delete_queue_item", "interrupt_processing"])
def test_a_comfyui_without_one_of_the_journals_places_gets_no_hook_at_all(
    bridged: Bridged, other: SimpleNamespace, name: str
) -> None:
    """Half a journal would have finished jobs run again, or deleted ones come back; the outside view does neither."""
    if name == "interrupt_processing":
        del other.nodes.interrupt_processing
    else:
        setattr(type(other.queue), name, None)
    before = dict(vars(type(other.queue)))
    bridged.hooks.queue = other.queue
    with pytest.raises(AttributeError, match=f"this ComfyUI's .* has no {name}"):
        hooks.install(bridged.hooks, other.server, other.execution, other.nodes)
    assert dict(vars(type(other.queue))) == before
    assert other.execution.execute() == "executed"


def test_hooks_that_can_not_all_be_put_in_place_are_taken_back(bridged: Bridged, other: SimpleNamespace) -> None:
    class Nodes:
        __slots__ = ()

        def interrupt_processing(self) -> None: ...

    put = type(other.queue).put
    bridged.hooks.queue = other.queue
    with pytest.raises(AttributeError, match="interrupt_processing can't be replaced"):
        hooks.install(bridged.hooks, other.server, other.execution, Nodes())
    assert type(other.queue).put is put


@pytest.fixture
def refusing(bridged: Bridged, other: SimpleNamespace) -> Callable[[Callable[[Any, Item], None]], None]:
    """Have another extension, or ComfyUI itself, stand before the queue as is said."""

    def refuse(put: Callable[[Any, Item], None]) -> None:
        setattr(type(other.queue), "put", put)  # noqa: B010
        bridged.hooks.queue = bridged.queue = other.queue
        hooks.install(bridged.hooks, other.server, other.execution, other.nodes)

    return refuse


def _refuses(*_: Any) -> None:
    raise ValueError("too many jobs")


def test_a_job_that_is_refused_when_it_is_written_down_is_not_run_later(
    bridged: Bridged, refusing: Callable[..., None]
) -> None:
    """Its user was answered 500; one of the listener's goes on waiting, and may be submitted once more."""
    refusing(_refuses)
    with pytest.raises(ValueError, match="too many jobs"):
        bridged.put("a")
    assert (bridged.row("a")["state"], bridged.row("a")["note"]) == ("deleted", "its submission failed")
    for _ in range(2):
        with pytest.raises(ValueError, match="too many jobs"):
            bridged.put("b", REPLAYED - 5)
        assert (bridged.row("b")["state"], bridged.row("b")["life"]) == ("queued", None)
    assert bridged.row("b")["body"]


def test_a_job_that_is_queued_although_its_submission_fails_is_kept(
    bridged: Bridged, refusing: Callable[..., None]
) -> None:
    """ComfyUI's heap does so where two jobs have one number and one id."""

    def queues_and_fails(queue: Any, item: Item) -> None:
        queue.queue.append(item)
        raise TypeError("'<' not supported between instances of 'dict' and 'dict'")

    refusing(queues_and_fails)
    with pytest.raises(TypeError):
        bridged.put("a")
    assert (bridged.row("a")["state"], bridged.row("a")["life"]) == ("queued", 1)


def test_what_is_hooked_still_looks_like_comfyuis(bridged: Bridged) -> None:
    """Other extensions look at it, too."""
    queue = type(bridged.queue)
    assert (queue.put.__name__, queue.put.__doc__, queue.put.__wrapped__) == (
        "put",
        PromptQueue.put.__doc__,
        PromptQueue.put,
    )


@pytest.mark.parametrize("name", ["execute", "send_sync"])
def test_without_a_place_for_the_progress_the_journal_goes_on(
    bridged: Bridged, other: SimpleNamespace, name: str
) -> None:
    if name == "execute":
        del other.execution.execute
    else:
        del type(other.server.PromptServer.instance).send_sync
    bridged.hooks.queue = bridged.queue = other.queue
    hooks.install(bridged.hooks, other.server, other.execution, other.nodes)
    bridged.put("a")
    assert bridged.states("a") == ["queued"]


def test_a_lock_that_can_not_be_taken_twice_is_left_alone(bridged: Bridged) -> None:
    bridged.queue.mutex = threading.Lock()
    bridged.queue.not_empty = threading.Condition(bridged.queue.mutex)
    with pytest.raises(AttributeError, match="another lock"):
        hooks.install(bridged.hooks, bridged.server, bridged.execution, bridged.nodes)


def test_a_queue_that_is_another_is_left_alone(bridged: Bridged) -> None:
    class Other:
        def put(self, item: object) -> None: ...

    before = Other.put
    bridged.hooks.queue = Other()
    with pytest.raises(AttributeError, match="PromptQueue has no mutex"):
        hooks.install(bridged.hooks, bridged.server, bridged.execution, bridged.nodes)
    assert Other.put is before


def test_the_heartbeat_goes_on_where_its_folder_was_deleted(bridged: Bridged) -> None:
    run = bridged.folder / "run"
    Heart(str(run), bridged.life, bridged.hooks, None, "")._beat(2.0)
    assert json.loads((run / "heartbeat.json").read_text())["at"] == 2.0
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_the_heartbeat_tells_what_runs(bridged: Bridged) -> None:
    bridged.put("a")
    bridged.put("b")
    bridged.take()
    graph = SimpleNamespace(get_node=lambda _: {"class_type": "KSampler"})
    bridged.execution.execute(None, graph, None, "3")
    send = bridged.server.PromptServer.instance.send_sync
    send("progress", {"node": "3", "value": 2, "max": 20})
    told = bridged.beat()
    assert (told["prompt_id"], told["node"], told["class_type"]) == ("a", "3", "KSampler")
    assert (told["step"], told["total"], told["queue"], told["worker"]) == (2.0, 20.0, [1, 1], "alive")
    before = told["progress_at"]
    send("progress", {"node": "3", "value": 2, "max": 20})
    assert bridged.beat()["progress_at"] == before, "the same step again is none"
    send("progress_state", {"nodes": {"3": {"state": "running", "value": 3, "max": 20}}})
    assert bridged.beat()["progress_at"] > before
