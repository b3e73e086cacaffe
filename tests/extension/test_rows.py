"""A job as a row of the journal: what is kept of it, what is withheld, and which forms are known."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import rows

JOB: tuple[Any, ...] = (2, "a", {"1": {}}, {"client_id": "me"}, ["1"])


def test_all_that_a_submission_needs_is_kept() -> None:
    before = time.time()
    row = rows.row(JOB, "queued", 7)
    assert before <= row.pop("now") <= time.time()
    assert json.loads(row.pop("body")) == {"prompt": {"1": {}}, "extra_data": {"client_id": "me"}, "outputs": ["1"]}
    assert row == {"prompt_id": "a", "number": 2.0, "state": "queued", "life": 7, "secrets": ""}
    assert isinstance(row["number"], float)


def test_of_keys_the_names_alone_are_kept_wherever_they_stand() -> None:
    """Those that are always known, those that somebody names, and those that newer releases hand over apart."""
    extra = {"x": 1, "mine": "SESAME", "api_key_comfy_org": "SESAME", "auth_token_comfy_org": "SESAME"}
    apart = rows.row((*JOB[:3], extra, [], {"auth": "SESAME"}), "queued", 1, rows.KEYS | {"mine"})
    assert apart["secrets"] == "api_key_comfy_org,auth,auth_token_comfy_org,mine"
    assert json.loads(apart["body"])["extra_data"] == {"x": 1}
    both = rows.row((*JOB[:3], {"api_key_comfy_org": "SESAME"}, [], {"api_key_comfy_org": "SESAME"}), "queued", 1)
    assert (both["secrets"], json.loads(both["body"])["extra_data"]) == ("api_key_comfy_org", {})
    within = rows.row((*JOB[:3], extra, []), "queued", 1)
    assert within["secrets"] == "api_key_comfy_org,auth_token_comfy_org"
    assert json.loads(within["body"])["extra_data"] == {"x": 1, "mine": "SESAME"}


@pytest.mark.parametrize("number", [math.nan, 10**400, "x", None])
def test_a_place_that_sqlite_would_keep_as_none_is_refused(number: Any) -> None:
    with pytest.raises(rows.OWN):
        rows.row((number, *JOB[1:]), "queued", 1)


@pytest.mark.parametrize("number", [math.inf, -math.inf, -1e300, True])
def test_an_absurd_place_is_one(number: float) -> None:
    assert rows.row((number, *JOB[1:]), "queued", 1)["number"] == number


EXTRA: tuple[Any, ...] = ({}, ["a list"], "text", 7, 7.5, None, True)
KNOWN: tuple[Any, ...] = (
    JOB,
    list(JOB),
    (*JOB, {}),
    (*JOB, {"auth": "SESAME"}, "of a later release"),
    *((*JOB[:3], extra_data, []) for extra_data in EXTRA),
)
UNKNOWN: tuple[Any, ...] = (
    (),
    JOB[:4],
    dict(enumerate(JOB)),
    "a text",
    None,
    ("2", *JOB[1:]),
    (2, b"a", *JOB[2:]),
    (*JOB[:2], [], *JOB[3:]),
    (*JOB[:3], object(), []),
    (*JOB[:4], {"1"}),
    (*JOB, "keys"),
)


@pytest.mark.parametrize("item", KNOWN)
def test_whatever_a_client_puts_into_it_its_form_is_known(item: Any) -> None:
    assert rows.is_known(item)


@pytest.mark.parametrize("item", UNKNOWN)
def test_what_no_comfyui_of_this_form_has_is_not_known(item: Any) -> None:
    assert not rows.is_known(item)


def test_an_id_is_found_in_whatever_has_one() -> None:
    """A later release's job may differ in all else."""
    for item in (JOB, list(JOB), (None, "a"), {1: "a"}):
        assert rows.id_of(item) == "a"
    for nameless in ((), (2,), (2, 7), (2, None), "text", {"prompt_id": "a"}, None, 7):
        assert rows.id_of(nameless) is None
