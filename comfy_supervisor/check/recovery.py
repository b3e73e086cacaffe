"""Whether somebody restarts ComfyUI, both when it ends and when it only stops working."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..programs import LISTENER
from ..status import DOWN, HELD, Status
from .line import Line, fails, holds, unknown

ITEM = "restart"
_LAUNCHER = "comfy_supervisor.launch"
_APPLY = "comfy-supervisor apply, which renders it anew"


def judge(row: Status, program: Mapping[str, str], *, wanted: bool, now: float) -> Line:
    """Say whether a failure of this instance would be seen and mended.

    ``program``: its section of the configuration that supervisord runs with; ``wanted``: whether a health listener
    is part of that; ``now``: seconds since the epoch.
    """
    health = row.health
    figures = {
        "autorestart": program.get("autorestart"),
        "state": row.state,
        "health": health.word if health else None,
        "looked_seconds_ago": round(now - health.at, 1) if health else None,
        "restarts": len(health.restarts) if health else None,
        "budget": health.budget if health else None,
    }
    for found, mend in _troubles(row, program, wanted):
        return fails(ITEM, found, mend, figures=figures)
    if health is None:
        found = "after its end, supervisord; the health listener has not looked at this life yet"
        return unknown(ITEM, found, "ask again in half a minute", figures)
    spent = f"; {len(health.restarts)} of {health.budget} restarts spent" if health.restarts else ""
    looked = f"it looked {max(0.0, now - health.at):.0f} s ago: {health.word.lower()}"
    return holds(
        ITEM, f"after its end, supervisord; when it stalls, the health listener: {looked}{spent}", figures=figures
    )


def _troubles(row: Status, program: Mapping[str, str], wanted: bool) -> Iterator[tuple[str, str]]:
    """Yield what stands in a restart's way, with its mend; what matters most first."""
    name, health = row.instance.program, row.health
    if not row.pid:
        start = "" if row.state == DOWN else f"comfy-supervisor start {name}"  # what is DOWN, the text says how to mend
        yield f"is {row.state}: {row.text or 'it stays so until somebody starts it'}", start
    if program.get("autorestart") != "true":
        yield f"supervisord does not start it again: autorestart={program.get('autorestart', '')}", _APPLY
    if _LAUNCHER not in program.get("command", "").split():
        yield "is not run by comfy-supervisor's launcher, which ends leftovers and waits for the port", _APPLY
    if row.state == HELD:
        yield f"is held back: {row.text}", f"mend that; to start it now: comfy-supervisor start {name}"
    if not wanted:
        yield "nobody sees that it has stopped working: health.watch = false", "health.watch = true, then apply"
    elif not row.watched:
        mend = f"supervisorctl start {LISTENER}; comfy-supervisor logs {LISTENER} tells why it does not run"
        yield "nobody sees that it has stopped working: the health listener has not looked for a minute and more", mend
    if health and health.maintenance:
        yield "the health listener only looks: maintenance is on", f"comfy-supervisor maintenance off {name}"
    if health and health.given_up:
        yield f"was given up: {health.reason}", f"mend that, then comfy-supervisor reset {name}"
