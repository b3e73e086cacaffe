"""What a process and all that it started do, seen on real ones."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from comfy_supervisor.health.policy.evidence import Life
from comfy_supervisor.health.senses import proc, vitals
from comfy_supervisor.health.senses.vitals import Body, Checkup
from comfy_supervisor.launch import holds
from tests.comfyui_server import Server
from tests.contract.conftest import kinds
from tests.support import wait_until

MIB = 1024 * 1024
HOLD = "import sys, time; kept = bytearray({size}); kept[::4096] = b'x' * len(kept[::4096]); {then}"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); input()"
BURN = "while True: pass"

Run = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start Python with a piece of code, in a group that is ended with all that it started."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
        command, pipe = [sys.executable, "-c", code, *arguments], subprocess.PIPE
        started.append(subprocess.Popen(command, start_new_session=True, stdin=pipe, stdout=pipe))
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def go_on(process: subprocess.Popen[bytes]) -> None:
    """Let a process go on that waits in ``input()``."""
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()


def line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    return process.stdout.readline().decode().strip()


def look(body: Body, process: subprocess.Popen[bytes]) -> Checkup:
    found = body.look(process.pid)
    assert found
    return found


def test_children_are_counted() -> None:
    child = HOLD.format(size=60 * MIB, then="time.sleep(600)")
    parent = HOLD.format(size=40 * MIB, then=f"import subprocess; subprocess.run([sys.executable, '-c', {child!r}])")
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.DEVNULL, start_new_session=True)
    body = Body(1)
    try:
        wait_until(lambda: vitals.memory(process.pid) > 100 * MIB)
        assert vitals.memory(process.pid) < 300 * MIB
        wait_until(lambda: look(body, process).vitals.memory > 100 * MIB)
        assert look(body, process).vitals.memory < 300 * MIB
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_process_that_is_gone_has_none() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert vitals.memory(process.pid) == 0
    assert Body(1).look(process.pid) is None


def test_a_process_that_nobody_has_waited_for_is_dead(run: Run) -> None:
    process = run("input()")
    body = Body(1)
    life = look(body, process).life
    assert vitals.goes_on(life)
    process.kill()
    wait_until(lambda: look(body, process).vitals.status == "Z")
    assert not vitals.goes_on(life)
    process.wait()
    assert body.look(process.pid) is None
    assert not vitals.goes_on(life)


def test_one_whose_thread_outlives_it_is_not_over(run: Run) -> None:
    """As after SIGKILL with a thread that is stuck in the kernel: the process is a zombie, and nobody can reap it."""
    stay = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start()"
    process = run(f"{stay}; print(flush=True); ctypes.CDLL(None).pthread_exit(None)")
    line(process)
    life = look(Body(1), process).life
    wait_until(lambda: look(Body(1), process).vitals.status == "Z")
    assert vitals.goes_on(life)


def test_its_age_is_the_time_since_it_was_started(run: Run) -> None:
    began = time.monotonic()
    process = run("input()")
    checkup = look(Body(1), process)
    assert 0.0 <= checkup.age <= time.monotonic() - began + 0.1
    assert checkup.life.boot == vitals.boot_id() != ""
    assert abs(checkup.life.started + checkup.age - time.clock_gettime(time.CLOCK_BOOTTIME)) < 10


@pytest.mark.parametrize("code", [BURN, CHILD.format(child=BURN)])
def test_a_cpu_that_is_used_is_seen_also_in_a_child(run: Run, code: str) -> None:
    body, process = Body(1), run(code)
    wait_until(lambda: look(body, process).vitals.cpu > 1.0)


def test_a_thread_that_has_to_wait_for_a_cpu_is_seen(run: Run) -> None:
    """Two processes on one CPU: each waits while the other runs, on a thread that is not its first."""
    share = "import os, threading; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); os.fork()"
    process = run(f"{share}; threading.Thread(target=exec, args=({BURN!r},)).start()")
    body = Body(1)
    wait_until(lambda: look(body, process).vitals.waited > 1.0)


def test_a_process_that_waits_uses_nothing(run: Run) -> None:
    process = run("print(flush=True); input()")
    line(process)
    body = Body(1)
    wait_until(lambda: look(body, process).vitals.status == "S")
    before = look(body, process).vitals
    time.sleep(0.5)
    after = look(body, process).vitals
    assert (after.cpu - before.cpu, after.io - before.io, after.faults - before.faults) == (0.0, 0, 0)
    assert not after.waits_for_disk


def test_a_child_that_was_never_seen_is_counted_once_it_has_ended(run: Run) -> None:
    work = "import time\nwhile time.process_time() < 0.5: pass"
    process = run(
        f"import subprocess, sys\ninput()\nsubprocess.run([sys.executable, '-c', {work!r}])\nprint(flush=True)\ninput()"
    )
    body = Body(1)
    before = look(body, process).vitals.cpu
    go_on(process)
    line(process)
    after = look(body, process)
    assert after.pids == {process.pid}
    assert after.vitals.cpu - before >= 0.45


@pytest.mark.parametrize("waited", [True, False])
def test_what_an_ended_child_has_done_stays_done(run: Run, waited: bool) -> None:
    """A sum that fell would hide what is done afterwards."""
    work = "import time\nwhile time.process_time() < 0.5: pass\nopen('/dev/zero', 'rb').read(20_000_000)\ninput()"
    reap = "child.wait()" if waited else "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    process = run(
        f"import signal, subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {work!r}], "
        f"stdin=subprocess.PIPE)\ninput()\n{'' if waited else reap}\nchild.stdin.close()\n{reap if waited else ''}\n"
        "print(flush=True)\ninput()"
    )
    body = Body(1)
    wait_until(lambda: look(body, process).vitals.io > 20 * MIB * 0.95 and look(body, process).vitals.cpu >= 0.5)
    before = look(body, process)
    assert len(before.pids) == 2
    go_on(process)
    line(process)
    wait_until(lambda: look(body, process).pids == {process.pid})
    after = look(body, process).vitals
    assert before.vitals.cpu <= after.cpu < before.vitals.cpu + 0.5
    assert before.vitals.io <= after.io < before.vitals.io + 10 * MIB


def test_bytes_that_are_read_are_seen_also_from_the_page_cache(run: Run, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(bytes(8 * MIB))
    process = run(f"input()\nopen({str(tmp_path / 'model')!r}, 'rb').read()\nprint(flush=True)\ninput()")
    body = Body(1)
    wait_until(lambda: process.pid and look(body, process).vitals.io > 0)
    before = look(body, process).vitals.io
    go_on(process)
    line(process)
    assert 8 * MIB <= look(body, process).vitals.io - before < 24 * MIB


@pytest.mark.parametrize("kind", kinds(), ids=str)
def test_answers_over_http_are_no_activity(kind: object, tmp_path: Path) -> None:
    """Somebody who looks at a stalled ComfyUI's page must not keep it from being restarted."""
    server = Server(kind, tmp_path)  # type: ignore[arg-type]
    try:
        server.until_ready()
        body = Body(server.port)
        server.get("/object_info")
        before = look(body, server.process).vitals.io
        received = 0
        while received < MIB / 2:
            received += len(requests.get(f"{server.url}/object_info", timeout=30).content)
        assert look(body, server.process).vitals.io - before < received / 4
        assert look(body, server.process).vitals.listens is True
    finally:
        server.stop()


def test_a_signal_that_stops_it_is_told_from_a_debugger(run: Run) -> None:
    stopped = run("print(flush=True)\ninput()")
    line(stopped)
    body = Body(1)
    wait_until(lambda: look(body, stopped).vitals.status == "S")
    stopped.send_signal(signal.SIGSTOP)
    wait_until(lambda: look(body, stopped).vitals.status == "T")
    stopped.send_signal(signal.SIGCONT)
    wait_until(lambda: look(body, stopped).vitals.status == "S")
    traced = run(
        "import ctypes, os, signal\nctypes.CDLL(None).ptrace(0, 0, 0, 0)\nos.kill(os.getpid(), signal.SIGSTOP)"
    )
    wait_until(lambda: look(Body(1), traced).vitals.status == "t")


def test_a_thread_that_cannot_be_interrupted_is_seen(run: Run, tmp_path: Path) -> None:
    """The kernel has a parent wait like that for a child made by vfork, which here waits for a pipe in turn."""
    os.mkfifo(tmp_path / "pipe")
    opening = f"[(os.POSIX_SPAWN_OPEN, 0, {str(tmp_path / 'pipe')!r}, os.O_RDONLY, 0)]"
    spawn = f"os.posix_spawn('/bin/true', ['true'], {{}}, file_actions={opening})"
    process = run(
        f"import os, threading\nthread = threading.Thread(target=lambda: {spawn})\nthread.start()\nthread.join()"
    )
    body = Body(1)
    wait_until(lambda: (found := look(body, process).vitals).waits_for_disk and found.status == "S")
    with (tmp_path / "pipe").open("w"):
        wait_until(lambda: not (found := body.look(process.pid)) or not found.vitals.waits_for_disk)


EXEC = """
import os, subprocess, sys, threading
if len(sys.argv) < 4:
    print(len(sys.argv), flush=True)
    input()
    threading.Thread(target=len, args=('thread',)).start()
    subprocess.run(['true'])
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    print('worked', flush=True)
    input()
    os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], *sys.argv[1:], 'again'])
"""


def test_each_exec_is_another_life_and_nothing_else_is(run: Run) -> None:
    process = run(EXEC, EXEC)
    body = Body(1)
    lives: list[Life] = []
    for turn in ("2", "3"):
        wait_until(lambda turn=turn: line(process) == turn)  # type: ignore[misc]
        lives.append(look(body, process).life)
        go_on(process)
        wait_until(lambda: line(process) == "worked")
        assert look(body, process).life == lives[-1]
        assert vitals.goes_on(lives[-1])
        go_on(process)
    first, second = lives
    assert first.image != second.image
    assert 0 not in (first.image, second.image)
    assert (first.pid, first.started, first.boot) == (second.pid, second.started, second.boot)
    assert not vitals.goes_on(first)


def test_who_has_no_command_line_is_about_to_get_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the middle of execve(2); but the dead have none, either."""
    process = run("print('up', flush=True); input()")
    assert line(process) == "up"
    assert not vitals.launches(process.pid)
    with monkeypatch.context() as patch:
        patch.setattr(proc, "command", lambda _: [b""])
        assert vitals.launches(process.pid)
    process.kill()
    wait_until(lambda: "Z" in Path(f"/proc/{process.pid}/stat").read_text())
    assert not vitals.launches(process.pid)


def test_the_launcher_waits_until_it_has_become_its_command(run: Run, tmp_path: Path) -> None:
    """The command's own arguments may name the launcher as they like."""
    folder = tmp_path / "run"
    folder.mkdir()
    holds.write(str(folder), holds.Hold("maintenance", "a test", 0.0))
    command = [sys.executable, "-c", "input()", "-m", "comfy_supervisor.launch"]
    names = {"INSTANCE": "cpu", "STATE": str(tmp_path / "state"), "RUN": str(folder)}
    environment = {f"COMFY_SUPERVISOR_{name}": value for name, value in names.items()}
    launcher = [sys.executable, "-I", "-m", "comfy_supervisor.launch", "cpu", "--", *command]
    process = subprocess.Popen(launcher, env={**os.environ, **environment}, stdin=subprocess.PIPE)
    body = Body(1)
    try:
        wait_until(lambda: proc.command(process.pid)[1:4] == [b"-I", b"-m", b"comfy_supervisor.launch"])
        before = look(body, process)
        assert before.waits
        assert before.vitals.listens is None
        holds.clear(str(folder))
        wait_until(lambda: not look(body, process).waits)
        after = look(body, process)
        assert (after.life.pid, after.life.started) == (before.life.pid, before.life.started)
        assert after.life != before.life
    finally:
        process.kill()
        process.wait()


def test_a_child_that_has_not_executed_anything_yet_is_waited_for(run: Run) -> None:
    """As supervisord's is for a moment, with supervisord's own command line."""
    process = run("import os\npid = os.fork()\nprint(pid, flush=True) if pid else None\ninput()")
    child = int(line(process))
    found = Body(1).look(child)
    assert found
    assert found.waits
    assert not look(Body(1), process).waits


LISTEN = "import socket, subprocess, sys; s = socket.create_server(('{host}', 0), family=socket.{family})"


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", "AF_INET"), ("::1", "AF_INET6")])
def test_who_listens_is_known_by_the_port(run: Run, host: str, family: str) -> None:
    open_ = f"{LISTEN.format(host=host, family=family)}; print(s.getsockname()[1], flush=True); input(); s.close(); "
    process = run(f"{open_}print(flush=True); input()")
    stranger = run("input()")
    port = int(line(process))
    body, other = Body(port), Body(port)
    assert [look(body, process).vitals.listens for _ in range(3)] == [True] * 3
    assert look(other, stranger).vitals.listens is False
    go_on(process)
    line(process)
    assert look(body, process).vitals.listens is False


def test_a_child_may_be_the_one_that_listens(run: Run) -> None:
    child = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    process = run(CHILD.format(child=child))
    assert look(Body(int(line(process))), process).vitals.listens is True


def test_a_connection_is_nobody_who_listens(run: Run) -> None:
    """A server that is closed may still have connections at its port."""
    process = run(
        f"{LISTEN.format(host='127.0.0.1', family='AF_INET')}; print(s.getsockname()[1], flush=True); "
        "c, _ = s.accept(); s.close(); print(flush=True); input()"
    )
    port = int(line(process))
    with socket.create_connection(("127.0.0.1", port)):
        line(process)
        assert look(Body(port), process).vitals.listens is False


def test_of_another_users_process_what_may_be_seen_is_said(run: Run) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    process = run(
        "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    port = int(line(process))
    wait_until(lambda: look(Body(port), process).vitals.status == "S")  # waits for input
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            ctypes.CDLL(None).prctl(4, 1)  # as any process that began as this user
            found = look(Body(port), process)
            seen = (found.life.image, found.vitals.io, found.vitals.listens, found.vitals.status, found.waits)
            again = look(Body(port), process).life == found.life and vitals.goes_on(found.life)
            os.write(writing, repr((*seen, found.vitals.memory > MIB, again)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000).decode() == repr((0, 0, None, "S", False, True, True))


def test_a_kernel_that_lists_no_children_shows_them_in_another_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {0!r}], stdin=0); "
    code += "print(p.pid, flush=True); input()"
    process = run(code.format(code.format("input()")))
    children = {int(line(process)), int(line(process))}
    assert set(proc.descendants(process.pid)) == children
    monkeypatch.setattr(proc, "_has_children", lambda: False)
    assert set(proc.descendants(process.pid)) == children
    assert look(Body(1), process).pids == {process.pid, *children}


def test_processes_that_come_and_go_while_they_are_looked_at_do_no_harm(run: Run) -> None:
    process = run(
        "import subprocess\nwhile True: [each.wait() for each in [subprocess.Popen('true') for _ in range(8)]]"
    )
    body = Body(1)
    before = look(body, process).vitals
    for _ in range(40):
        after = look(body, process).vitals
        assert (after.cpu, after.io, after.faults) >= (before.cpu, 0, 0)
        assert after.io >= before.io
        before = after


def test_a_log_that_moved_has_another_mark(tmp_path: Path) -> None:
    log = tmp_path / "log"
    marks = [vitals.log_mark(str(log))]
    log.write_text("one\n")
    marks.append(vitals.log_mark(str(log)))
    with log.open("a") as file:
        file.write("two\n")
    marks.append(vitals.log_mark(str(log)))
    assert vitals.log_mark(str(log)) == marks[-1]
    log.rename(tmp_path / "log.1")
    log.write_text("3\nfour:\n")
    marks.append(vitals.log_mark(str(log)))
    log.write_text("")
    marks.append(vitals.log_mark(str(log)))
    assert marks[0] == 0
    assert len(set(marks)) == len(marks)


def test_a_processs_name_says_nothing_of_its_handlers() -> None:
    """The name stands before, and may have a line's end in it that is not the kernel's."""
    rename = "print(open('/proc/self/comm', 'w').write('a\\rSigCgt:ffff'), flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-I", "-c", rename], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"13\n"
        assert not proc.catches(process.pid, signal.SIGTERM)
        process.kill()
