"""The ports that ComfyUI is to listen on."""

from __future__ import annotations

from collections.abc import Iterator

from .. import programs
from ..launch import orphans, ports
from . import finding
from .finding import Finding
from .patient import Patient


def taken_ports(patient: Patient) -> Iterator[Finding]:
    """Tell which ports are held, and by whom; a ComfyUI of ours may hold its own."""
    listen = patient.loaded.settings.comfyui.listen
    for program, port, marks in _wanted(patient):
        for host, number in ports.addresses(programs.addresses(listen, port)):
            trouble = ports.trouble(host, number)
            if not trouble:
                yield finding.ok("port", f"{number} on {host} is free", "free, or held by ours")
            elif _is_ours(trouble, marks):
                yield finding.ok("port", f"{trouble}, which is {program}", "free, or held by ours")
            else:
                yield finding.problem("port", trouble, "free, or held by ours", "stop that, or set comfyui.port")


def _wanted(patient: Patient) -> Iterator[tuple[str, int, list[dict[str, str]]]]:
    """Yield each program with its port and the marks of its processes; without a plan, what the settings say."""
    made = patient.known_plan
    if not made:
        known = [path.parent for path in patient.places.state.glob("*/starts.json")]
        yield "comfyui", patient.loaded.settings.comfyui.port, [orphans.marks(str(folder)) for folder in known]
        return
    for instance in made.instances:
        yield instance.program, instance.port, [orphans.marks(str(patient.places.instance_state(instance.id)))]


def _is_ours(trouble: str, marks: list[dict[str, str]]) -> bool:
    """Tell whether who holds a port, as `ports.trouble` words it, is a process of an instance of ours."""
    pids = {orphan.pid for each in marks for orphan in orphans.find(each)}
    return any(f"(pid {pid}, " in trouble for pid in pids)
