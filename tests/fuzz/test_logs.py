"""Logs of anything: explained, quoted and masked in time, and nothing that a terminal obeys comes out."""

from __future__ import annotations

from pathlib import Path

from hypothesis import event, example, given
from hypothesis import strategies as st

from comfy_supervisor import catalogue
from comfy_supervisor.incidents import dumps, explain, mask
from comfy_supervisor.launch import lastword
from tests.catalogue import logs_kept

from . import bounded, damaged, examples, words

LINES = sorted(
    {
        line[:400]
        for log in Path(logs_kept.__file__).parent.glob("logs/*/*.log")
        for line in log.read_bytes().splitlines()
    }
)
"""Each line of the logs that the catalogue is tested with."""
LONG = (b"a" * 30_000, b"\x1b[" * 10_000, b'"' * 30_000, b"\\" * 30_000, b"://" * 10_000, b"= " * 10_000, b" " * 30_000)
"""Lines over which a pattern may brood; each is put behind the beginning of a real one."""


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Give a line as ComfyUI writes it, or nearly, or not at all."""
    real = draw(st.sampled_from(LINES))
    how = draw(st.sampled_from(["real", "damaged", "long", "words", "bytes"]))
    if how == "damaged":
        return draw(damaged(real))
    if how == "long":
        return real[: draw(st.integers(0, 60))] + draw(st.sampled_from(LONG)) + real[-20:]
    if how == "words":
        return draw(words).encode(errors="replace")
    return draw(st.binary(max_size=60)) if how == "bytes" else real


logs = st.lists(lines(), max_size=12).map(b"\n".join)
codes = st.one_of(st.none(), st.integers(-70, 300))


@examples(300)
@given(logs, codes, st.one_of(st.none(), st.integers(0, 70)), st.lists(st.integers(1, 5000), max_size=4))
@example(b"Traceback (most recent call last):\n" + b"  " * 40_000, None, 11, [1])
def test_a_log_is_explained_however_it_is_cut(
    log: bytes, code: int | None, number: int | None, cuts: list[int]
) -> None:
    with bounded():
        found = catalogue.explain(log.splitlines(keepends=True), exit_code=code, signal=number)
        quoted = catalogue.quoted([log], found.evidence)
    event(found.cause)
    assert catalogue.entry(found.cause).cause == found.cause
    assert 0.0 <= found.confidence <= 1.0
    shown = (found.explanation, found.fix, *quoted.values(), *found.details.values(), *found.also_possible)
    assert all(text.isprintable() for text in shown), shown
    chunks: list[bytes] = []
    left = log
    for cut in cuts:
        chunks, left = [*chunks, left[:cut]], left[cut:]
    assert catalogue.explain_chunks([*chunks, left], exit_code=code, signal=number) == found


@examples(150)
@given(logs, st.one_of(words, st.from_regex(r"(exit status|terminated by SIG)[A-Z0-9 ]*", fullmatch=True)))
@example(b"", f"exited: exit status {'9' * 5000}; not expected")
@example(b"", "exited: terminated by SIGNALS; not expected")
def test_what_an_incident_takes_from_a_log(log: bytes, ending: str) -> None:
    text = mask.decoded(log)
    with bounded():
        told, details = explain.of_log(text.splitlines(), ending)
        dumps.threads(text)
        dumps.tracebacks(text.splitlines())
        dumps.fatal(text.splitlines())
        lastword.printable(text)
    assert catalogue.entry(told.cause).cause == told.cause
    assert all(isinstance(each, str) for pair in details for each in pair)


KEY = "planted-0f3a9c"
names = st.sampled_from(["HF_TOKEN", "api_key", "password", "Authorization", "x-api-key", "client_secret"])


@examples(200)
@given(logs, logs, names, st.sampled_from(["=", ": ", '": "', "' : '"]))
@example(b"", b"\x1b[\x1b[[Y", "HF_TOKEN", "=")
def test_what_is_named_as_a_secret_is_masked_whatever_stands_around_it(
    before: bytes, after: bytes, name: str, sign: str
) -> None:
    masker = mask.Mask([KEY])
    log = f"{mask.decoded(before)}\n{name}{sign}{KEY}\n{mask.decoded(after)}"
    with bounded():
        once = masker.text(log)
        shown = mask.escaped(once)
        mask.Mask().text(log)
    assert KEY not in shown
    assert masker.text(once) == once
    assert all(each.isprintable() or each in "\n\t" for each in shown)
