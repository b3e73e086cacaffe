"""Incidents on the disk: whole or not at all, closed to others, masked, and bounded in number and size."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.codec import MalformedError
from comfy_supervisor.incidents import incident as incidents
from comfy_supervisor.incidents import store
from comfy_supervisor.incidents.compose import LEFT, Case, compose, shortened
from comfy_supervisor.incidents.dumps import Suspect
from comfy_supervisor.incidents.incident import Incident, Jobs, Kind, Step
from comfy_supervisor.incidents.mask import MASKED, Mask
from comfy_supervisor.incidents.outside import Queue
from comfy_supervisor.incidents.parts import Findings
from comfy_supervisor.incidents.report import report
from comfy_supervisor.incidents.store import Store

AT = 1_790_000_000.0
SECRET = "Zq3vT9xPwL7mKr5s"


def make(at: float = AT, instance: str = "cpu", **more: object) -> Incident:
    name = incidents.new_id(at, instance, "stalled")
    made = Incident(name, at, instance, "comfyui", Kind.RESTART, "stalled", "it made no step")
    return replace(made, **more)  # type: ignore[arg-type]


def test_it_is_written_for_its_owner_alone_and_read_back(tmp_path: Path) -> None:
    kept = Store(tmp_path / "incidents")
    written = kept.add(make(jobs=Jobs("p1")), {"log-before.txt": "one\ntwo\n"}, Mask())
    assert store.load(kept.folder, written.id) == written
    here = kept.folder / written.id
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (kept.folder, here)}
    assert (modes, {stat.S_IMODE(file.stat().st_mode) for file in here.iterdir()}) == ({0o700}, {0o600})
    assert set(written.files) == {file.name for file in here.iterdir()}
    assert [each.name for each in kept.folder.iterdir()] == [written.id], "nothing half-written is left"
    assert json.loads((here / "incident.json").read_text())["v"] == 1


def test_secrets_and_control_characters_are_in_none_of_its_files(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    texts = {"log-before.txt": f"Authorization: Bearer {SECRET}\n\x1b[31mred\x07 {SECRET}\n"}
    written = kept.add(make(reason=f"token={SECRET}\x1b[2J"), texts, Mask([SECRET]))
    for file in (tmp_path / written.id).iterdir():
        assert SECRET not in file.read_text()
        assert not set("\x1b\x07") & set(file.read_text())
    with tarfile.open(fileobj=io.BytesIO(store.archive(tmp_path, written.id))) as tar:
        assert {f"{written.id}/{name}" for name in written.files} == set(tar.getnames())


def test_the_oldest_make_room(tmp_path: Path) -> None:
    kept = Store(tmp_path, keep=3)
    made = [kept.add(make(AT + second), {}, Mask()).id for second in range(5)]
    assert store.names(tmp_path) == made[:1:-1]


def test_they_take_no_more_than_they_may(tmp_path: Path) -> None:
    kept = Store(tmp_path, max_size=100_000)
    for second in range(20):
        kept.add(make(AT + second), {"log-before.txt": "x" * 20_000, "graph.json": "y" * 1_000_000}, Mask())
    size = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert 20_000 < size <= 100_000
    newest = store.newest(tmp_path, "cpu")
    assert newest
    assert "graph.json" in newest.missing


def test_no_record_grows_with_the_queue(tmp_path: Path) -> None:
    """A hundred thousand jobs are counted, and the first ones named, also in what is amended."""
    ids = tuple(f"{number:036}" for number in range(110_000))
    kept = Store(tmp_path, max_size=1_000_000)
    name = kept.add(make(jobs=Jobs("p", ids)), {"log-before.txt": "x" * 200_000}, Mask()).id
    kept.amend(name, lambda found: replace(found, jobs=replace(found.jobs, settled=True, rescued=ids)))
    assert sum(file.stat().st_size for file in (tmp_path / name).iterdir()) < 250_000
    found = store.load(tmp_path, name)
    assert (len(found.jobs.waiting), found.jobs.more) == (100, {"waiting": 109_900, "rescued": 109_900})
    assert f"waiting behind it: 110000: {ids[0]}, " in store.page(tmp_path, name)
    assert "and 109995 more" in store.page(tmp_path, name)


def test_the_record_counts_among_what_may_be_taken(tmp_path: Path) -> None:
    kept = Store(tmp_path, max_size=100_000)
    written = kept.add(make(reason="r" * 8000), {"log-before.txt": "x" * 20_000}, Mask())
    assert "log-before.txt" in written.missing
    assert "log-before.txt" in kept.add(make(), {"log-before.txt": "x" * 20_000}, Mask()).files


def test_two_within_one_second_are_two(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    first, second = (kept.add(make(), {}, Mask()).id for _ in range(2))
    assert second == f"{first}-2"
    assert store.names(tmp_path) == [second, first]


def test_one_is_amended_in_place(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    name = kept.add(make(), {}, Mask()).id
    kept.amend(name, lambda found: replace(found, steps=(Step("it answers again", 5.0),)))
    assert "+5.0 s: it answers again" in store.page(tmp_path, name)
    assert store.load(tmp_path, name).steps
    kept.amend("20200101T000000Z-cpu-gone", lambda found: found)


def test_what_others_left_there_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "20260101T000000Z-cpu-stalled").mkdir()
    (tmp_path / "20260101T000001Z-cpu-stalled").mkdir()
    (tmp_path / "20260101T000001Z-cpu-stalled" / "incident.json").write_text("{")
    assert list(store.every(tmp_path)) == []
    with pytest.raises(MalformedError):
        store.load(tmp_path, "20260101T000001Z-cpu-stalled")
    assert store.newest(tmp_path / "nowhere", "cpu") is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_leaves_nothing_half_written(small_disk: Path) -> None:
    kept = Store(small_disk / "incidents", max_size=10_000_000)
    with pytest.raises(OSError, match="No space left"):
        kept.add(make(), {"log-before.txt": "x" * 1_000_000}, Mask())
    assert list(kept.folder.iterdir()) == []
    assert kept.add(make(), {"log-before.txt": "x"}, Mask()).id


def test_a_page_is_a_page(tmp_path: Path) -> None:
    """Whatever came together, it has less than 100 lines, and no line that others wrote as they liked."""
    moments = tuple(incidents.Moment("2026", "SUSPECT", "", "stalled", "# not a title\n# nor this") for _ in range(500))
    text = report(make(timeline=moments, jobs=Jobs("p", tuple(f"job {n}" for n in range(5000)))))
    assert len(text.splitlines()) < 100
    assert not [line for line in text.splitlines() if line.startswith(("# not", "# nor"))]
    assert "5000: job 0" in text


def test_a_crash_is_named_by_its_signal_and_a_restart_by_what_the_policy_saw() -> None:
    case = Case(Kind.CRASH, "healthy", AT, "cpu", "comfyui", ending="exited: terminated by SIGSEGV; not expected")
    assert compose(case, Mask())[0].cause == "segfault"
    assert compose(Case(Kind.RESTART, "stalled", AT, "cpu", "comfyui"), Mask())[0].cause == "stalled"


SERVES = """Total VRAM 24082 MB, total RAM 64217 MB
Cannot import /opt/ComfyUI/custom_nodes/Faces module for custom nodes: No module named 'insightface'
Starting server
"""


def test_the_headline_of_a_crash_says_how_it_ended_and_of_what_if_that_is_known() -> None:
    killed = "was ended by SIGKILL from outside, not by us: a kill -9"
    case = Case(
        Kind.CRASH, "unknown", AT, "cpu", "comfyui", killed, ending="exited: terminated by SIGKILL; not expected"
    )
    assert compose(case, Mask())[0].headline == f"comfyui {killed}"
    case.reason, case.ending = "crashed with SIGSEGV", "exited: terminated by SIGSEGV; not expected"
    found, _ = compose(case, Mask())
    assert found.headline == "comfyui crashed with SIGSEGV (segfault)"
    suspect = Suspect("heartbeat", class_type="KSampler", package="pack")
    assert replace(found, suspect=suspect).headline == "comfyui crashed with SIGSEGV (segfault, at KSampler of pack)"
    unknown = replace(found, suspect=suspect, cause="unknown")
    assert unknown.headline == "comfyui crashed with SIGSEGV (at KSampler of pack)"


def test_the_headline_of_what_was_given_up_says_what_was_seen() -> None:
    seen = "3 deaths and restarts within 60 min"
    case = Case(
        Kind.GAVE_UP, "unknown", AT, "cpu", "comfyui", seen, ending="exited: terminated by SIGKILL; not expected"
    )
    assert compose(case, Mask())[0].headline == f"comfyui was given up: {seen}"
    stalled = make(kind=Kind.RESTART)
    assert stalled.headline == "comfyui was restarted: stalled: it made no step"
    suspect = Suspect("heartbeat", class_type="KSampler")
    assert replace(stalled, suspect=suspect).headline == "comfyui was restarted: stalled, at KSampler"
    assert replace(stalled, suspect=suspect, cause="unknown").headline == "comfyui was restarted: at KSampler"
    assert replace(stalled, cause="unknown", reason="").headline == "comfyui was restarted: unknown"


def test_a_crash_is_not_blamed_on_what_comfyui_goes_on_without() -> None:
    case = Case(Kind.CRASH, "healthy", AT, "cpu", "comfyui", "ended, and it can't be told how", log_before=SERVES)
    found, _ = compose(case, Mask())
    assert (found.cause, found.headline) == ("unknown", "comfyui ended, and it can't be told how")
    assert "The log also speaks of custom_node_import_failed: " in report(found)


def test_one_that_was_left_behind_is_said_to_have_been() -> None:
    ended = "2026-11-30 02:31:10 comfy-supervisor: ended python (pid {}), left from an earlier life, with SIGTERM\n"
    case = Case(Kind.CRASH, "healthy", AT, "cpu", "comfyui", "ended, and it can't be told how", pid=739)
    case.log_after = ended.format(739)
    assert compose(case, Mask())[0].reason == LEFT
    case.log_after = ended.format(7390)
    assert compose(case, Mask())[0].reason == "ended, and it can't be told how"


OLD = """!!! Exception during processing !!! CUDA out of memory. Tried to allocate 2.00 GiB
Traceback (most recent call last):
  File "/opt/ComfyUI/execution.py", line 5, in execute
  File "/opt/ComfyUI/custom_nodes/old_pack/nodes.py", line 3, in run
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
Prompt executed in 3 seconds
"""


def test_a_jobs_failure_of_long_ago_is_not_suspected_of_a_stall(tmp_path: Path) -> None:
    """The page says what the log speaks of besides; of a crash, it is the suspect."""
    case = Case(Kind.RESTART, "stalled", AT, "cpu", "comfyui", log_before=OLD)
    found, _ = compose(case, Mask())
    assert (found.cause, found.suspect) == ("stalled", None)
    assert found.log_says
    assert found.log_says.cause == "cuda_oom"
    assert "The log also speaks of cuda_oom: " in report(found)
    crashed, _ = compose(replace(case, kind=Kind.CRASH, cause="unknown"), Mask())
    assert crashed.suspect
    assert crashed.suspect.package == "old_pack"
    assert crashed.log_says is None


def test_no_secret_of_a_process_or_a_graph_gets_into_the_texts_beside_it(tmp_path: Path) -> None:
    """An option and its value are two lines of JSON by then."""
    case = Case(Kind.RESTART, "stalled", AT, "cpu", "comfyui")
    case.found = Findings(
        {
            "processes": [
                {"pid": 1, "command": ["main.py", "--token", SECRET, "--port", "8188"], "threads": 1, "memory_mib": 1}
            ],
            "gpu-processes": [{"command": ["other.py", "--api-key", SECRET]}],
            "queue": Queue(("p1",), (), {"1": {"inputs": {"api_keys": [SECRET], "text": "a cat"}}}),
        }
    )
    mask = Mask()
    kept = Store(tmp_path)
    written = kept.add(*compose(case, mask), mask)
    told = {name: (tmp_path / written.id / name).read_text() for name in written.files}
    assert {"process.json", "gpu.json", "queue.json", "graph.json"} <= told.keys()
    assert not [name for name, text in told.items() if SECRET in text]
    assert '"8188"' in told["process.json"]
    assert "a cat" in told["graph.json"]


def test_long_texts_of_a_graph_are_cut() -> None:
    (cut,) = shortened({"1": ["x" * 10_000]})["1"]
    assert len(cut) < 5000
    assert MASKED not in cut
