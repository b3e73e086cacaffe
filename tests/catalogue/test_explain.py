"""Why a log ends as it does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor import catalogue
from comfy_supervisor.catalogue import reading, search
from comfy_supervisor.catalogue.signs import LITERALS
from tests.catalogue.logs_kept import Kept, kept

START = b"Total VRAM 24082 MB, total RAM 64217 MB\nCheckpoint files will always be loaded safely.\n"
SERVES = START + b"Starting server\n\nTo see the GUI go to: http://127.0.0.1:8188\n"
STOPPED = b"\nStopped server\n"
OOM = b"!!! Exception during processing !!! Allocation on device \nGot an OOM, unloading all loaded models.\n"
MAIN = (
    b'Traceback (most recent call last):\n  File "/opt/ComfyUI/main.py", line 12, in <module>\n    import execution\n'
)
TAKEN = MAIN + b"OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8188): in use\n"
STICKY = b"!!! Exception during processing !!! CUDA error: an illegal memory access was encountered\n"


def explained(log: bytes, **ending: int) -> catalogue.Explanation:
    return catalogue.explain(log.splitlines(keepends=True), **ending)


def test_the_root_stands_above_its_consequences() -> None:
    after = b"!!! Exception during processing !!! cuDNN error: CUDNN_STATUS_EXECUTION_FAILED\n"
    found = explained(SERVES + STICKY + after * 50 + b"terminate called after throwing an instance of 'c10::Error'\n")
    assert (found.cause, found.evidence) == ("cuda_poisoned", (6,))
    assert set(found.also_possible) == {"segfault", "cudnn_or_cublas_error"}


def test_a_module_that_only_a_custom_node_lacks_is_a_warning() -> None:
    lacks = b"Traceback (most recent call last):\nModuleNotFoundError: No module named 'insightface'\n"
    node = (
        lacks
        + b"\nCannot import /opt/ComfyUI/custom_nodes/Faces module for custom nodes: No module named 'insightface'\n"
    )
    found = explained(START + node + b"Starting server\nPrompt executed in 2 seconds\n")
    assert (found.cause, dict(found.details)) == (
        "custom_node_import_failed",
        {"node": "Faces", "reason": "No module named 'insightface'"},
    )
    main = explained(START + node + MAIN + b"ModuleNotFoundError: No module named 'einops'\n")
    assert (main.cause, dict(main.details)) == ("missing_module", {"module": "einops"})
    assert main.evidence == (10,)


def test_a_traceback_that_somebody_caught_and_printed_is_no_failure() -> None:
    printed = (
        b"Traceback (most recent call last):\n  File \"y.py\", line 1, in f\nModuleNotFoundError: No module named 'a'\n"
    )
    assert explained(START + printed + b"Starting server\n").cause == "healthy"


def test_a_chain_of_exceptions_is_one() -> None:
    chain = (
        b"Traceback (most recent call last):\nModuleNotFoundError: No module named 'comfy_aimdo'\n\n"
        b"During handling of the above exception, another exception occurred:\n\n" + MAIN + b"SystemError: odd\n"
    )
    assert explained(START + chain).cause == "missing_module"


@pytest.mark.parametrize("prefix", [b"", b"[INFO] "])
def test_a_life_that_is_killed_in_its_first_second_is_not_blamed_with_the_end_of_the_one_before(prefix: bytes) -> None:
    crashed = SERVES + b"Fatal Python error: Segmentation fault\n"
    begun = prefix + b"Python version: 3.11.7\n" + prefix + b"ComfyUI version: 0.33.0\n"
    found = explained(crashed + begun, signal=9)
    assert (found.cause, found.evidence, found.also_possible) == ("host_oom_killed", (), ())


HELD = (
    b"2026-11-30 02:30:13 comfy-supervisor: waiting (backoff): a signal stopped the process (SIGSTOP) 6 s ago\n"
    b"2026-11-30 02:30:23 comfy-supervisor: the wait is over\n"
)


def test_what_the_launcher_waited_for_is_no_reason_for_the_end_of_the_life_that_came_then() -> None:
    assert explained(SERVES + HELD).cause == "process_stopped", "nothing has come of it yet"
    assert explained(SERVES + HELD + SERVES).cause == "healthy"
    assert explained(SERVES + HELD * 3 + SERVES + OOM).also_possible == ()


def test_what_a_life_says_itself_counts_whatever_it_has_waited_for() -> None:
    waited = b"2026-11-30 02:30:13 comfy-supervisor: waiting (configuration): Allocation on device\n"
    found = explained(SERVES + STOPPED + waited + START + b"Allocation on device \n" + b"Starting server\n" + OOM)
    assert found.cause == "cuda_oom"


def test_of_several_lives_the_last_that_ended_badly_is_explained() -> None:
    assert explained(SERVES + OOM + STOPPED + START + TAKEN).cause == "port_in_use"
    now_well = explained(START + TAKEN + SERVES)
    assert now_well.cause == "port_in_use"
    assert now_well.confidence < explained(START + TAKEN).confidence
    assert explained(SERVES + OOM + STOPPED + SERVES).cause == "healthy"


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        ({}, "healthy"),
        ({"exit_code": 0}, "healthy"),
        ({"signal": 15}, "healthy"),
        ({"signal": 2}, "healthy"),
        ({"exit_code": 7}, "unknown"),
        ({"signal": 9}, "host_oom_killed"),
        ({"exit_code": 137}, "host_oom_killed"),
        ({"exit_code": -11}, "segfault"),
        ({"signal": 64}, "unknown"),
    ],
)
def test_how_it_ended_counts_where_the_log_is_silent(ending: dict[str, int], cause: str) -> None:
    assert explained(SERVES, **ending).cause == cause


def test_what_nobody_knows_is_named_all_the_same() -> None:
    found = explained(START + MAIN + b"ZeroDivisionError: division by zero\n", exit_code=1)
    assert (found.cause, found.evidence) == ("unknown", (6,))
    assert "ZeroDivisionError: division by zero" in found.explanation


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"Bus error (core dumped)", "segfault"),
        (b"Aborted (core dumped)", "segfault"),
        (b"Aborted", "segfault"),
        (b"/start.sh: line 9:    17 Segmentation fault      (core dumped) python main.py --listen", "segfault"),
        (b"Illegal instruction (core dumped)", "binary_incompatible"),
        (b"[1]+  Killed                  python main.py", "host_oom_killed"),
        (b"[Manager] Killed 2 stale workers", "healthy"),
        (b"Killed 2 stale workers", "healthy"),
        (b"[WARN] onnxruntime may end with a Segmentation fault on this GPU, falling back", "healthy"),
        (b"Segmentation fault handler installed", "healthy"),
        (b"Aborted the download of 3 models", "healthy"),
        (b"pytorch version: 2.9.0+cpu", "healthy"),
    ],
)
def test_a_shells_word_counts_and_a_mere_mention_does_not(line: bytes, cause: str) -> None:
    assert explained(SERVES + line + b"\n").cause == cause


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"Value not in list: sams_model: 'sam_vit_b.bin' not in ['a.pth']", "model_missing"),
        (b"Value not in list: detector: 'face_yolov8m.pt' not in []", "model_missing"),
        (b"Value not in list: sampler_name: 'euler_x' not in ['euler']", "healthy"),
        (
            b"!!! Exception during processing !!! Unable to find a valid cuDNN algorithm to run convolution",
            "cudnn_or_cublas_error",
        ),
    ],
)
def test_jobs_of_which_the_log_says_why_they_failed(line: bytes, cause: str) -> None:
    assert explained(SERVES + line + b"\n").cause == cause


def test_what_is_not_known_never_hides_what_is() -> None:
    strange = MAIN + b"ZeroDivisionError: division by zero\n"
    lacks = MAIN + b"ModuleNotFoundError: No module named 'einops'\n"
    assert explained(START + lacks + strange).cause == explained(START + strange + lacks).cause == "missing_module"


def test_a_log_of_nothing_is_not_called_healthy() -> None:
    assert explained(b"").cause == explained(b"\x00\xff" * 100).cause == "unknown"


def test_what_a_terminal_obeys_is_not_handed_on() -> None:
    found = explained(MAIN + b"ModuleNotFoundError: No module named 'a\x1b[31m\x1b]0;b\x07\x9bc'\n")
    assert found.cause == "missing_module"
    assert found.explanation.isprintable()


def test_colours_hide_nothing() -> None:
    """ComfyUI from 0.30 on writes them into every line, off a terminal too."""

    def coloured(log: bytes) -> bytes:
        return b"".join(b"\x1b[32m[INFO]\x1b[0m " + line for line in log.splitlines(keepends=True))

    assert explained(coloured(SERVES + OOM + SERVES)).cause == "healthy"
    split = STICKY.replace(b"illegal memory", b"\x1b[1m\x1b[31millegal\x1b[0m memory")
    assert explained(SERVES + split).cause == "cuda_poisoned"


def test_an_error_behind_a_progress_bar_is_seen() -> None:
    bar = b"".join(b"\r%3d%%|####      | %d/1000" % (n // 10, n) for n in range(1000))
    assert explained(SERVES + bar + b"\r" + STICKY).cause == "cuda_poisoned"


def test_a_line_of_many_megabytes_keeps_nothing_from_being_seen() -> None:
    chunks = [SERVES, *[b"x" * (1 << 20)] * 20, b"\n", STICKY]
    found = catalogue.explain_chunks(chunks)
    assert (found.cause, found.evidence) == ("cuda_poisoned", (7,))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60), st.sampled_from([SERVES, START, OOM, TAKEN, STICKY, STOPPED, MAIN, b"\r", b"\x1b["])
        ),
        max_size=30,
    ),
    st.integers(1, 50),
    st.one_of(st.none(), st.integers(-300, 300)),
    st.one_of(st.none(), st.integers(0, 64)),
)
def test_any_bytes_have_an_explanation(parts: list[bytes], size: int, code: int | None, signal: int | None) -> None:
    """And it is the same whether lines are given or chunks, however these are cut."""
    log = b"".join(parts)
    lines = log.split(b"\n")
    found = catalogue.explain(lines, exit_code=code, signal=signal)
    assert found.cause in {entry.cause for entry in catalogue.ENTRIES}
    assert 0 <= found.confidence <= 1
    assert all(1 <= number <= len(lines) for number in found.evidence)
    assert found.cause not in found.also_possible
    assert (found.explanation + found.fix).isprintable()
    chunks = [log[at : at + size] for at in range(0, len(log), size)]
    assert catalogue.explain_chunks(chunks, exit_code=code, signal=signal) == found


@pytest.mark.parametrize("log", kept(), ids=lambda log: log.name)
def test_nothing_that_counts_lacks_the_words_that_are_looked_for(log: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every text looked for in every line, the answer is the same."""
    quick = log.explained()

    def slow(block: bytes) -> list[tuple[int, tuple[str, ...]]]:
        begins = [0, *(end.end() for end in re.finditer(b"\n", block[:-1]))]
        lines = [(begin, reading.text(block[begin:].partition(b"\n")[0], LITERALS)) for begin in begins]
        return [(begin, tuple(one for one in LITERALS if one in line)) for begin, line in lines]

    monkeypatch.setattr(search, "hits", slow)
    assert log.explained() == quick


@pytest.mark.parametrize("literal", LITERALS)
def test_every_text_is_found_by_one_of_its_words(literal: str) -> None:
    """Whatever stands beside it, as long as that is no part of the word."""
    for line in (literal, f"x {literal}: y", f"({literal}) {literal}", f"\x1b[32m[INFO]\x1b[0m {literal}"):
        block = search.plain(f"a\n{line}\nb\n".encode())
        assert [literal in found for begin, found in search.hits(block) if begin == 2] == [True]


def _seconds_of(chunks: Callable[[], Iterable[bytes]], read: Callable[[Iterable[bytes]], object]) -> float:
    times = []
    for _ in range(3):
        began = time.thread_time()
        read(chunks())
        times.append(time.thread_time() - began)
    return min(times)


ERROR = "[ERROR] [node {n}] RuntimeError: the shapes {n} and {m:x} of request {m} don't fit, while it ran\n"
TRACE = (
    "!!! Exception during processing !!! {m:x}\nTraceback (most recent call last):\n"
    + '  File "/opt/ComfyUI/custom_nodes/pack-{n}/nodes.py", line {n}, in run\n    return self.inner({m})\n' * 8
    + "ValueError: {m:x}\n\nPrompt executed in {n}.12 seconds\ngot prompt\n"
)
CAUGHT = 'Traceback (most recent call last):\n  File "/opt/{m}.py", line {n}, in run\nValueError: {m:x}\n'


@pytest.mark.parametrize(("unit", "most"), [(ERROR, 10), (TRACE, 40), (CAUGHT, 25)], ids=["errors", "jobs", "caught"])
def test_what_is_never_the_same_twice_takes_no_longer(unit: str, most: int) -> None:
    """Ten megabytes of it, in so many times what it takes to part them into words."""
    count = (10 << 20) // len(unit)
    chunk = "".join(unit.format(n=n, m=n * 2654435761 % 2**32) for n in range(count)).encode()
    chunks = [START, *(chunk[at : at + (1 << 18)] for at in range(0, len(chunk), 1 << 18))]
    parted = _seconds_of(lambda: chunks, lambda them: [len(one.split()) for one in them])
    assert _seconds_of(lambda: chunks, catalogue.explain_chunks) < most * parted


def _seconds(pattern: re.Pattern[str], text: str) -> float:
    times = []
    for _ in range(3):
        began = time.thread_time()
        pattern.search(text)
        times.append(time.thread_time() - began)
    return min(times)


@pytest.mark.parametrize("entry", catalogue.ENTRIES, ids=lambda entry: entry.cause)
def test_no_pattern_goes_back_over_a_long_line_again_and_again(entry: catalogue.Entry) -> None:
    """Sixteen times the line takes about sixteen times as long: hundreds of times if it were tried anew each time."""
    for signature in entry.signatures:
        pattern = re.compile(signature.pattern)
        for filler in ("a", " ", "/", "'", "0", "a/", ".", "("):
            unit = signature.literal + filler * 40
            assert _seconds(pattern, unit * 1024) < 100 * _seconds(pattern, unit * 64) + 0.02, (signature, filler)
