"""How each kind of value is written, and what is refused; that supervisord reads it is test_proof's."""

from __future__ import annotations

import pytest

from comfy_supervisor.errors import UserError
from comfy_supervisor.render import quote


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/srv/comfy", "/srv/comfy"),
        ("50% off", "50%% off"),
        ("a;b#c", "a;b#c"),
        ("a = (b)", "a = (b)"),
        ("", ""),
        ("é", "é"),
        ("%%", "%%%%"),
    ],
)
def test_a_value_is_written_with_each_percent_sign_doubled(text: str, written: str) -> None:
    assert quote.value(text, "key") == written


def test_a_value_that_is_expanded_twice_is_doubled_twice() -> None:
    assert quote.value("50%", "key", 2) == "50%%%%"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" a", "begins or ends with white space, which supervisord cuts off"),
        ("a ", "begins or ends with white space, which supervisord cuts off"),
        ("a\nb", "has a control character, a line break or white space other than a blank"),
        ("a\tb", "has a control character, a line break or white space other than a blank"),
        ("a ;b", "has white space before ; or #, which begins a comment"),
        ("a #b", "has white space before ; or #, which begins a comment"),
        ("a/%(here)s", "has %(here)s, which supervisord replaces"),
    ],
)
def test_a_value_that_cannot_be_said_is_refused_with_its_key(text: str, why: str) -> None:
    with pytest.raises(UserError) as caught:
        quote.value(text, "paths.state")
    assert str(caught.value) == f"paths.state = {text!r}: {why}; choose another value"


@pytest.mark.parametrize(
    ("argv", "written"),
    [
        (["python", "main.py", "--port=8188"], "python main.py --port=8188"),
        (["a b"], "'a b'"),
        (["it's"], "'it'\"'\"'s'"),
        (["100%"], "100%%"),
        (["a ;b"], "'a '';b'"),
        (["a #b ;c"], "'a ''#b '';c'"),
        ([""], "''"),
    ],
)
def test_a_command_is_quoted_for_the_shell_and_holds_no_comment(argv: list[str], written: str) -> None:
    assert quote.command(argv, "key") == written


@pytest.mark.parametrize("argument", ["a\nb", "%(here)s", "a\tb"])
def test_an_argument_that_cannot_be_said_is_refused_as_it_was_given(argument: str) -> None:
    with pytest.raises(UserError, match=r"^comfyui\.extra_args = ") as caught:
        quote.command(["fine", argument], "comfyui.extra_args")
    assert str(caught.value).startswith(f"comfyui.extra_args = {argument!r}: ")


def test_variables_are_quoted_and_doubled_and_separated_by_commas() -> None:
    written = quote.environment({"A": "1,2", "B": "50%", "C": "it's", "D": r"a\b", "E": ""}, str)
    assert written == r'''A="1,2",B="50%%",C="it's",D="a\b",E=""'''


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('a"b', 'has a ", which supervisord has no way to write in an environment'),
        ("'a", "begins or ends with a ', which supervisord before 4.4 cuts off"),
        ("it's'", "begins or ends with a ', which supervisord before 4.4 cuts off"),
        ("a'", "begins or ends with a ', which supervisord before 4.4 cuts off"),
        ("'", "begins or ends with a ', which supervisord before 4.4 cuts off"),
        (r"a\\b", r"has a \ before another or at its end, which supervisord's versions read differently"),
        ("a\\", r"has a \ before another or at its end, which supervisord's versions read differently"),
        ("a\nb", "has a control character, a line break or white space other than a blank"),
        ("a ;b", "has white space before ; or #, which begins a comment"),
        ("%(here)s", "has %(here)s, which supervisord replaces"),
    ],
)
def test_a_variable_that_cannot_be_said_is_refused_by_its_setting_and_not_shown(text: str, why: str) -> None:
    with pytest.raises(UserError) as caught:
        quote.environment({"TOKEN": text}, lambda name: f"env.{name}")
    assert str(caught.value) == f"env.TOKEN: its value, which isn't shown, {why}; choose another"


def test_a_comment_is_kept_within_its_line() -> None:
    assert quote.comment("made by\nme\x1b[0m é") == "made by?me?[0m é"
