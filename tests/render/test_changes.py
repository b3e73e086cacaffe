"""What taking a configuration over would restart, in words."""

from __future__ import annotations

from comfy_supervisor.render.changes import between

OLD = {
    "supervisord": {"minfds": "1024"},
    "program:comfyui": {
        "command": "/py main.py --port 8188 --highvram 'a b'",
        "environment": 'A="1,2",B="x"',
        "stopwaitsecs": "10",
    },
}


def changed(section: str, **options: str) -> dict[str, dict[str, str]]:
    return {**OLD, section: {**OLD[section], **options}}


def test_the_same_changes_nothing() -> None:
    assert between(OLD, OLD) == ()


def test_a_flag_is_named() -> None:
    (found,) = between(OLD, changed("program:comfyui", command="/py main.py --port 8188 --gpu-only 'a b'"))
    assert found.restarts
    assert found.reasons == ("command: without --highvram a b, with --gpu-only a b",)


def test_a_variable_is_named() -> None:
    (found,) = between(OLD, changed("program:comfyui", environment='A="1,2",B="y"'))
    assert found.reasons == ("environment: another B",)


def test_the_values_of_variables_are_not_told() -> None:
    """They may be secret, and what is told stands in a journal."""
    for old, new, told in (
        ('A="secret"', 'B="secret"', "without A, with B"),
        ('A="secret"', None, "without A"),
        (None, 'A="secret,b=c"', "with A"),
        ("by=hand", 'A="secret"', "without by=hand, with A"),
    ):
        before, after = ({} if text is None else {"environment": text} for text in (old, new))
        (found,) = between({"program:x": {"command": "/x", **before}}, {"program:x": {"command": "/x", **after}})
        assert found.reasons == (f"environment: {told}",)


def test_other_options_show_both_values() -> None:
    (found,) = between(OLD, changed("program:comfyui", stopwaitsecs="20"))
    assert found.reasons == ("stopwaitsecs: 10 → 20",)


def test_supervisords_own_section_restarts_nothing() -> None:
    (found,) = between(OLD, changed("supervisord", minfds="4096"))
    assert not found.restarts


def test_siblings_in_a_group_restart_with_it() -> None:
    """supervisord takes a group over as a whole."""
    one, two = {"command": "/py a"}, {"command": "/py b"}
    old = {"group:comfyui": {"programs": "gpu0,gpu1"}, "program:gpu0": one, "program:gpu1": two, "program:other": one}
    new = {**old, "group:comfyui": {"programs": "gpu0"}}
    del new["program:gpu1"]
    found = {change.section: change.effect for change in between(old, new)}
    assert found == {"group:comfyui": "is put together anew", "program:gpu1": "ends", "program:gpu0": "restarts"}
    changed = {**old, "program:gpu1": {"command": "/py c"}}
    assert {change.section for change in between(old, changed)} == {"program:gpu1", "program:gpu0"}


def test_programs_come_and_go() -> None:
    new = {"supervisord": OLD["supervisord"], "program:gpu0": OLD["program:comfyui"]}
    assert [(change.section, change.reasons) for change in between(OLD, new)] == [
        ("program:comfyui", ("is gone",)),
        ("program:gpu0", ("is new",)),
    ]
