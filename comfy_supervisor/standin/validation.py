"""Checks a graph before it is queued, and complains in ComfyUI's form."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy_supervisor.standin.graph import Prompt
from comfy_supervisor.standin.node_types import NodeType
from comfy_supervisor.standin.release import MISSING_NODE_TYPE, Release

_log = logging.getLogger(__name__)

Problem = dict[str, Any]
"""``{"type", "message", "details", "extra_info"}``."""


@dataclass(frozen=True)
class Verdict:
    """What is to be executed, and what is wrong."""

    outputs: tuple[str, ...] = ()
    """The output nodes that can be executed; none: the job is refused."""
    error: Problem | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)


def problem(kind: str, message: str, details: str = "", **extra_info: object) -> Problem:
    """Return a complaint as clients get it."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def validate(prompt: Prompt, targets: Sequence[str] | None, types: Mapping[str, NodeType], release: Release) -> Verdict:
    """Check a graph; `targets`, if given, are the only output nodes wanted."""
    for node_id in prompt:
        if unknown := _unknown(node_id, prompt[node_id], types, release):
            return Verdict(error=unknown)
    outputs = [node_id for node_id in prompt if types[prompt[node_id]["class_type"]].is_output]
    outputs = [node_id for node_id in outputs if targets is None or node_id in targets]
    if not outputs:
        return Verdict(error=problem("prompt_no_outputs", "Prompt has no outputs"))
    inspection = _Inspection(prompt, types)
    good = tuple(node_id for node_id in outputs if inspection.accepts(node_id))
    if good:
        return Verdict(good, node_errors=inspection.node_errors)
    details = "\n".join(
        f"{wrong['message']}: {wrong['details']}" for node_id in outputs for wrong in inspection.problems[node_id]
    )
    error = problem("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
    return Verdict(error=error, node_errors=inspection.node_errors)


def _unknown(node_id: str, node: Any, types: Mapping[str, NodeType], release: Release) -> Problem | None:
    """Complain of a node whose class does not exist."""
    missing = "class_type" not in node
    name = None if missing else node["class_type"]
    if not missing and name in types:
        return None
    details = f"Node ID '#{node_id}'"
    if not release.has(MISSING_NODE_TYPE):
        what = "a node is missing the class_type property" if missing else f"node {name} does not exist"
        return problem("invalid_prompt", f"Cannot execute because {what}.", details)
    title = node.get("_meta", {}).get("title", name)
    what = "has no class_type. The workflow may be corrupted or a custom node is missing."
    message = f"Node '{title or f'ID #{node_id}'}' {what}"
    if not missing:
        message = f"Node '{title}' not found. The custom node may not be installed."
    return problem("missing_node_type", message, details, node_id=node_id, class_type=name, node_title=title)


class _Inspection:
    """Checks the inputs of all nodes that an output depends on, each once."""

    def __init__(self, prompt: Prompt, types: Mapping[str, NodeType]) -> None:
        self._prompt = prompt
        self._types = types
        self._valid: dict[str, bool] = {}
        self.problems: dict[str, list[Problem]] = {}
        self.node_errors: dict[str, Any] = {}

    def accepts(self, output: str) -> bool:
        """Tell whether an output node can be executed; else note why not."""
        try:
            valid = self._check(output, ())
        except Exception as error:  # noqa: BLE001  # any malformed graph is answered, not crashed on
            valid = self._valid[output] = False
            self.problems[output] = [_exception(error, "exception_during_validation", "Exception when validating node")]
        if not valid:
            self._report(output)
        return valid

    def _report(self, output: str) -> None:
        """Add the nodes found wrong to `node_errors`, as what makes `output` impossible."""
        _log.error("Failed to validate prompt for output %s:", output)
        for node_id, problems in self.problems.items():
            if problems and not self._valid.get(node_id):
                name = self._prompt[node_id]["class_type"]
                fresh = {"errors": problems, "dependent_outputs": [], "class_type": name}
                self.node_errors.setdefault(node_id, fresh)["dependent_outputs"].append(output)
                for wrong in problems:
                    _log.error("* %s %s:\n  - %s: %s", name, node_id, wrong["message"], wrong["details"])
        _log.error("Output will be ignored")

    def _check(self, node_id: str, above: tuple[str, ...]) -> bool:
        """Tell whether a node and all that it depends on are fit to run."""
        if node_id in self._valid:
            return self._valid[node_id]
        if node_id in above:
            cycle = [*above[above.index(node_id) :], node_id]
            path = " -> ".join(f"{one} ({self._prompt[one]['class_type']})" for one in cycle)
            self.problems[node_id] = [problem("dependency_cycle", "Dependency cycle detected", path)]
            return False
        given = self._prompt[node_id]["inputs"]
        declared = self._types[self._prompt[node_id]["class_type"]].declared()
        found = [self._check_input(name, given, declared[name], (*above, node_id)) for name in declared]
        wrong = [*self.problems.get(node_id, []), *(one for one in found if isinstance(one, dict))]
        self.problems[node_id] = wrong
        self._valid[node_id] = not wrong and False not in found
        return self._valid[node_id]

    def _check_input(
        self, name: str, given: dict[str, Any], declared: tuple[Any, dict[str, Any], bool], above: tuple[str, ...]
    ) -> Problem | bool:
        """Return what is wrong with an input; False if only something that it depends on is."""
        kind, settings, required = declared
        if name not in given:
            missing = problem("required_input_missing", "Required input is missing", name, input_name=name)
            return missing if required else True
        about = {"input_name": name, "input_config": (kind, settings)}
        if isinstance(given[name], list):
            return self._check_link(name, given[name], kind, about, above)
        value = _converted(given[name], kind)
        if isinstance(value, Exception):
            message = f"Failed to convert an input value to a {kind} value"
            details = f"{name}, {given[name]}, {value}"
            about |= {"received_value": given[name], "exception_message": str(value)}
            return problem("invalid_input_type", message, details, **about)
        given[name] = value
        return _out_of_range(name, value, kind, settings, about) or True

    def _check_link(
        self, name: str, link: list[Any], kind: Any, about: dict[str, Any], above: tuple[str, ...]
    ) -> Problem | bool:
        """Check that a link leads to an output of the right type, and the node that it leads to."""
        if len(link) != 2:  # noqa: PLR2004
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return problem("bad_linked_input", message, name, **about, received_value=link)
        source, slot = link
        received = self._types[self._prompt[source]["class_type"]].returns[slot]
        if received != kind:
            message = "Return type mismatch between linked nodes"
            details = f"{name}, received_type({received}) mismatch input_type({kind})"
            about |= {"received_type": received, "linked_node": link}
            return problem("return_type_mismatch", message, details, **about)
        try:
            return self._check(source, above)
        except Exception as error:  # noqa: BLE001  # as above; this node's fault lies further up
            message = "Exception when validating inner node"
            wrong = _exception(error, "exception_during_inner_validation", message)
            wrong["extra_info"] |= {**about, "exception_message": str(error), "linked_node": link}
            self.problems[source], self._valid[source] = [wrong], False
            return False


_CONVERSIONS: Mapping[object, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def _converted(value: Any, kind: Any) -> Any:
    """Return the value as the input's type wants it, or the error of trying."""
    if isinstance(value, dict) and "__value__" in value:  # how clients mark a list that is no link
        value = value["__value__"]
    try:
        return _CONVERSIONS[kind](value) if isinstance(kind, str) and kind in _CONVERSIONS else value
    except (TypeError, ValueError) as error:
        return error


def _out_of_range(name: str, value: Any, kind: Any, settings: dict[str, Any], about: dict[str, Any]) -> Problem | None:
    """Complain of a value beyond its limits, or not among its choices."""
    about = {**about, "received_value": value}
    if "min" in settings and value < settings["min"]:
        message = f"Value {value} smaller than min of {settings['min']}"
        return problem("value_smaller_than_min", message, name, **about)
    if "max" in settings and value > settings["max"]:
        message = f"Value {value} bigger than max of {settings['max']}"
        return problem("value_bigger_than_max", message, name, **about)
    if isinstance(kind, list) and value not in kind:
        return problem("value_not_in_list", "Value not in list", f"{name}: {value!r} not in {kind}", **about)
    return None


def _exception(error: Exception, kind: str, message: str) -> Problem:
    """Describe an error of the check itself."""
    where = traceback.format_tb(error.__traceback__)
    return problem(kind, message, str(error), exception_type=full_name(type(error)), traceback=where)


def full_name(kind: type) -> str:
    """Return a class's name with its module, unless it is a built-in one."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
