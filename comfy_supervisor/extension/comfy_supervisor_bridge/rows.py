"""One of ComfyUI's jobs as a row of the journal. For both of its sides."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

Item = Sequence[Any]
"""ComfyUI's: ``(number, prompt_id, prompt, extra_data, outputs)``, and from 0.3.68 on the API keys."""
_PUBLIC = 5
_JSON = (dict, list, str, int, float, type(None))
"""What a client may send as ``extra_data``: ComfyUI does not look at it."""
KEYS = frozenset({"auth_token_comfy_org", "api_key_comfy_org"})
"""In ``extra_data``, and never kept; what ComfyUI itself calls sensitive comes to it."""
REPLAYED = -1e12
"""Numbers up to this one are the listener's: jobs that it submits again, before all others."""
OWN = (
    *(ValueError, TypeError, AttributeError, OverflowError, RecursionError),
    *(sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError),
)
"""What is wrong with one job's values, and nobody else's trouble."""

ACCEPT = """
INSERT INTO jobs (prompt_id, number, state, life, secrets, accepted, changed)
VALUES (:prompt_id, :number, :state, :life, :secrets, :now, :now)
ON CONFLICT (prompt_id) DO UPDATE SET
    number = excluded.number, state = excluded.state, life = excluded.life,
    asked = CASE WHEN excluded.state = 'running' AND life = excluded.life THEN asked ELSE '' END,
    waits = '', note = '', begun = CASE excluded.state WHEN 'running' THEN begun END,
    secrets = CASE excluded.secrets WHEN '' THEN secrets ELSE excluded.secrets END,
    accepted = CASE WHEN state IN ('queued', 'running') THEN accepted ELSE excluded.accepted END,
    suspect = CASE WHEN state IN ('done', 'failed', 'deleted') THEN 0 ELSE suspect END,
    victim = CASE WHEN state IN ('done', 'failed', 'deleted') THEN 0 ELSE victim END,
    changed = excluded.changed
"""
MARK = "CASE WHEN asked = '' THEN 'listener+' WHEN asked LIKE 'listener%' THEN asked || '+' ELSE asked END"
"""What is written of a running job before the listener asks it to give up, each time …"""
HEARD = "CASE WHEN asked LIKE '%+' THEN substr(asked, 1, length(asked) - 1) ELSE 'user' END"
"""… and once ComfyUI is asked: that was the listener, as often as it has said before that it will, and else a user."""
IS_LISTENERS = "asked LIKE 'listener%'"
"""Nobody but the listener has asked it."""
BODY = """
INSERT INTO bodies (seq, body) SELECT seq, :body FROM jobs WHERE prompt_id = :prompt_id
ON CONFLICT (seq) DO UPDATE SET body = excluded.body
"""
NOTE = f"""
CASE WHEN :state = 'failed' AND secrets <> '' AND number <= {REPLAYED}
    THEN 'run again without its API keys (' || secrets || '): ' || :note ELSE :note END
"""
"""What is written of a job's end: of one that fails without what is not kept, that is likely to be why."""
IS_OVER = "SELECT state FROM jobs WHERE prompt_id = :prompt_id AND state IN ('done', 'failed', 'deleted')"
END = f"""
UPDATE jobs SET state = :state, note = {NOTE}, changed = :now
WHERE prompt_id = :prompt_id AND state IN ('queued', 'running')
"""  # noqa: S608  # words of ours


def _place(number: Any) -> float:
    """Return a job's place in the queue; raises what ``OWN`` names for what SQLite would keep, or take for NULL."""
    place = float(number)
    if math.isnan(place):
        raise ValueError("its number is none")
    return place


def is_known(item: Any) -> bool:
    """Tell whether a job has the form that is known here; what a client can put in it makes no difference."""
    if not isinstance(item, (tuple, list)) or len(item) < _PUBLIC:
        return False
    number, prompt_id, prompt, extra_data, outputs = item[:_PUBLIC]
    return (
        isinstance(number, (int, float))
        and isinstance(prompt_id, str)
        and isinstance(prompt, dict)
        and isinstance(extra_data, _JSON)
        and isinstance(outputs, list)
        and (len(item) == _PUBLIC or isinstance(item[_PUBLIC], dict))
    )


def id_of(item: Any) -> str | None:
    """Return a job's id, whatever else it is like; None: it has none that is text."""
    try:
        prompt_id = item[1]
    except (TypeError, LookupError):
        return None
    return prompt_id if isinstance(prompt_id, str) and not isinstance(item, str) else None


def row(item: Item, state: str, life: int, keys: frozenset[str] = KEYS) -> dict[str, Any]:
    """Return the values of ``ACCEPT`` and ``BODY``; raises what ``OWN`` names where they can't be written down."""
    number, prompt_id, prompt, extra_data, outputs = item[:_PUBLIC]
    withheld = {name for name in extra_data if name in keys} | set(item[_PUBLIC] if len(item) > _PUBLIC else ())
    kept = {name: value for name, value in extra_data.items() if name not in withheld}
    return {
        "prompt_id": prompt_id,
        "number": _place(number),
        "state": state,
        "life": life,
        "body": json.dumps({"prompt": prompt, "extra_data": kept, "outputs": outputs}, separators=(",", ":")),
        "secrets": ",".join(sorted(withheld)),
        "now": time.time(),
    }
