"""What the stand-in can be told to do wrong: ``POST /standin {"do": NAME, …}``.

Each function takes the fault's options and does it, or returns what can only be done once the command has
been answered.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from aiohttp import web

from comfy_supervisor.standin import answers
from comfy_supervisor.standin.fault_nodes import CRASHES
from comfy_supervisor.standin.state import STANDIN, Handler, Standin

Deed = Callable[[], object]
"""What leaves no time for an answer."""
_LOOPBACK = ("127.", "::1", "::ffff:127.")


def stall(standin: Standin, deaf: bool = False) -> None:
    """The running job, or the next, stands still without using a CPU; if `deaf`, interrupts don't help."""
    standin.control.order(stalled=True, deaf=deaf)


def worker_dies(standin: Standin) -> None:
    """The worker thread dies in the running job, or the next."""
    standin.control.order(worker_dies=True)


def cuda_poisoned(standin: Standin) -> None:
    """Every later job fails at once, as if CUDA's context were broken."""
    standin.control.poison()


def hold_answers(standin: Standin, how: str = "wait", seconds: float | None = None) -> Deed | None:
    """Accept connections and answer nothing, for `seconds` or for ever.

    `how`: ``wait`` holds each request; ``sleep`` blocks the event loop; ``burn`` blocks it using a CPU;
    ``gil`` blocks it with the interpreter's lock held, so that no thread runs and no SIGINT is heard.
    """
    if how != "wait":
        return partial(_BLOCKS[how], seconds)
    _answer_with(answers.none(), standin, seconds)
    return None


def close_port(standin: Standin) -> Deed:
    """Stop listening, and close every connection; whatever else goes on."""
    return partial(asyncio.ensure_future, _close_port(standin))


def http_500(standin: Standin, seconds: float | None = None) -> None:
    """Every request is an internal error."""
    _answer_with(answers.http_500(), standin, seconds)


def malformed_json(standin: Standin, seconds: float | None = None) -> None:
    """Every answer is broken JSON."""
    _answer_with(answers.malformed_json(), standin, seconds)


def huge_answer(standin: Standin, size: int = 1024**3, seconds: float | None = None) -> None:
    """Every answer has `size` bytes."""
    _answer_with(answers.huge(size), standin, seconds)


def slow_loris(standin: Standin, interval: float = 0.5, seconds: float | None = None) -> None:
    """Every answer trickles, one byte each `interval` seconds."""
    _answer_with(answers.slow_loris(interval), standin, seconds)


def redirect(standin: Standin, to: str, seconds: float | None = None) -> None:
    """Every answer leads to the address `to`."""
    _answer_with(answers.redirect(to), standin, seconds)


def lose_answers(standin: Standin, count: int = 1, after: int = 0) -> None:
    """Do what each of the next `count` submissions asks for, and close its connection instead of answering.

    The next `after` ones are answered.
    """
    come = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal come
        response = await request.match_info.handler(request)
        if request.method == "POST" and request.path.endswith("/prompt"):
            come += 1
            if come == after + count and standin.answer is answer:
                standin.answer = None
            if come > after and request.transport is not None:
                request.transport.close()
        return response

    standin.answer = answer


def pause(standin: Standin) -> None:
    """The worker takes no further job."""
    standin.queue.pause(True)


def crash(_standin: Standin, how: str = "segfault", code: int = 1) -> Deed:
    """End the process: ``abort``, ``segfault``, or ``exit`` with a code."""
    return partial(CRASHES[how], code)


def reexec(standin: Standin) -> Deed:
    """Start anew in the same process, as ComfyUI-Manager's restart does."""
    return partial(os.execv, sys.executable, [sys.executable, *standin.configuration.argv])


def leak(_standin: Standin, mib_per_second: float = 10.0) -> None:
    """Use more memory every tenth of a second, for ever."""
    threading.Thread(target=_leak, args=(mib_per_second,), daemon=True).start()


def ignore_sigint(_standin: Standin) -> None:
    """SIGINT has no effect any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def recover(standin: Standin) -> None:
    """Take all faults back, but for those that can't be."""
    standin.control.recover()
    standin.queue.pause(False)
    standin.answer = None


FAULTS: Mapping[str, Callable[..., Deed | None]] = {
    fault.__name__: fault
    for fault in (
        stall,
        worker_dies,
        cuda_poisoned,
        hold_answers,
        close_port,
        http_500,
        malformed_json,
        huge_answer,
        slow_loris,
        redirect,
        lose_answers,
        pause,
        crash,
        reexec,
        leak,
        ignore_sigint,
        recover,
    )
}


async def post_standin(request: web.Request) -> web.StreamResponse:
    """Do what the body says: ``{"do": NAME, option: value, …}``; known on the loopback only."""
    if not (request.remote or "").startswith(_LOOPBACK):
        return web.Response(status=404)
    try:
        order = await request.json()
        deed = FAULTS[order.pop("do")](request.app[STANDIN], **order)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        known = {name: inspect.getdoc(fault) for name, fault in FAULTS.items()}
        return web.json_response({"ok": False, "error": repr(error), "commands": known}, status=400)
    answer = web.json_response({"ok": True})
    await answer.prepare(request)
    await answer.write_eof()
    if deed is not None:
        deed()
    return answer


@web.middleware
async def misanswer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the wrong answer that was ordered, if any, to all requests but further orders."""
    wrong = request.app[STANDIN].answer
    if wrong is None or request.path == ROUTE.path:
        return await handler(request)
    return await wrong(request)


ROUTE = web.post("/standin", post_standin)


def _answer_with(answer: Handler, standin: Standin, seconds: float | None) -> None:
    """Answer wrongly for `seconds`, or until `recover`."""

    def end() -> None:
        if standin.answer is answer:
            standin.answer = None

    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, end)
    standin.answer = answer


async def _close_port(standin: Standin) -> None:
    runner = standin.runner
    if runner is None or runner.server is None:
        return
    for site in tuple(runner.sites):
        await site.stop()
    for connection in runner.server.connections:
        connection.close()


def _sleep(seconds: float | None) -> None:
    """Block without using a CPU."""
    threading.Event().wait(seconds)


def _burn(seconds: float | None) -> None:
    """Block using a CPU; other threads still get the interpreter's lock now and then."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        pass


def _hold_lock(seconds: float | None) -> None:
    """Block using a CPU in one call of a function in C, which lets go of nothing before it ends."""
    if seconds is None:
        deque(itertools.repeat(None), maxlen=0)
        return
    sample, started = 5_000_000, time.perf_counter()
    deque(itertools.repeat(None, sample), maxlen=0)
    pace = sample / (time.perf_counter() - started)
    deque(itertools.repeat(None, round(pace * seconds)), maxlen=0)


_BLOCKS: Mapping[str, Callable[[float | None], None]] = {"sleep": _sleep, "burn": _burn, "gil": _hold_lock}


def _leak(mib_per_second: float) -> None:
    kept = []
    while True:
        kept.append(os.urandom(int(mib_per_second * 1024**2 / 10)))
        time.sleep(0.1)
