"""Dataclasses as JSON and back: what was written is what is read, and what makes no sense says where."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_supervisor import codec
from comfy_supervisor.health import intent, ledger, pending, watched
from comfy_supervisor.health.policy.evidence import Observation, State, Verdict
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.senses.heartbeat import Heartbeat

KINDS = (State, Observation, Verdict, Rules, Heartbeat, intent.Intent, pending.Begun, ledger.Report, ledger.Saved)


class Colour(str, Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    """What a whole has several of."""

    size: float
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Whole:
    """One of each sort."""

    name: str
    count: int = 0
    well: bool = True
    parts: tuple[Part, ...] = ()
    pair: tuple[int, str] = (0, "")
    confidence: float | str | None = None
    figures: Mapping[str, int] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)


def shown(value: object) -> str:
    """Return all of a value, in which NaN is NaN; zero has no sign, as in a comparison with a default."""
    return repr(value).replace("-0.0", "0.0")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_written_is_what_is_read(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    for written in (codec.plain, codec.changed):
        assert shown(codec.read(kind, json.dumps(written(value)))) == shown(value)


def test_only_what_differs_from_its_default_is_written_where_that_is_wanted() -> None:
    rules = Rules(quiet=7.0)
    watch = watched.Watched("comfyui", "cpu", "http://127.0.0.1:1", 1, "/s", "/r", "/l", rules=rules)
    assert codec.changed(watch)["rules"] == {"quiet": 7.0}
    assert "rules" not in codec.changed(watched.Watched("comfyui", "cpu", "", 1, "", "", ""))
    assert codec.plain(rules)["frozen"] == rules.frozen


def test_what_was_added_since_is_passed_over_and_what_is_missing_has_its_default() -> None:
    assert codec.read(Whole, '{"name": "a", "of the next release": 1}') == Whole("a")


def test_a_whole_number_is_a_number_and_each_thing_has_its_type() -> None:
    text = """{"name": "a", "parts": [{"size": 1, "colour": "blue"}], "pair": [1, "b"], "confidence": "high",
               "figures": {"x": 1}, "rest": {"y": [null]}}"""
    found = codec.read(Whole, text)
    assert found == Whole("a", 0, True, (Part(1.0, Colour.BLUE),), (1, "b"), "high", {"x": 1}, {"y": [None]})
    assert type(found.parts[0].size) is float
    assert math.isinf(codec.understood(Part, {"size": math.inf}).size)


WRONG: tuple[tuple[object, str], ...] = (
    ([], "Whole: not an object"),
    ({}, "name: missing"),
    ({"name": 1}, "name: not a text"),
    ({"name": "\ud800"}, "name: half a character, which can't be written down"),
    ({"name": "a", "count": 1.0}, "count: not a whole number"),
    ({"name": "a", "count": True}, "count: not a whole number"),
    ({"name": "a", "well": 1}, "well: neither true nor false"),
    ({"name": "a", "parts": {}}, "parts: not a list"),
    ({"name": "a", "parts": [{"size": 1.0}, {"size": "1"}]}, "parts.1.size: not a number"),
    ({"name": "a", "parts": [{"size": True}]}, "parts.0.size: not a number"),
    ({"name": "a", "parts": [{"size": 10**400}]}, "parts.0.size: a number out of range"),
    ({"name": "a", "parts": [{"size": 1.0, "colour": "pink"}]}, "parts.0.colour: none of 'red', 'blue'"),
    ({"name": "a", "parts": [{"size": 1.0, "colour": []}]}, "parts.0.colour: none of 'red', 'blue'"),
    ({"name": "a", "pair": [1]}, "pair: not 2 values"),
    ({"name": "a", "confidence": []}, "confidence: not a text"),
    ({"name": "a", "figures": {"x": None}}, "figures.x: not a whole number"),
)


@pytest.mark.parametrize(("value", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_makes_no_sense_says_where(value: object, told: str) -> None:
    with pytest.raises(codec.MalformedError) as error:
        codec.understood(Whole, value)
    assert str(error.value) == told


@pytest.mark.parametrize("text", ["", "{", "[" * 60_000, "9" * 5000])
def test_what_is_no_json_is_malformed(text: str) -> None:
    with pytest.raises(codec.MalformedError):
        codec.read(Whole, text)
