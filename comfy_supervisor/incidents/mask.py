"""Secrets are masked, and control characters written out, in whatever others have said: pure.

A mask is never undone by a second one, so that what is exported may be masked once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MASKED = "***"
SHORTEST = 6
"""Characters that a known secret has at least: a shorter one would mask half of the text."""

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:api_?keys?|(?:auth|access|refresh|bearer|id|session|security|api)_?tokens?|(?:access|private|secret)_?keys?"
    r"|secrets?|client_?secret|passw(?:or)?ds?|passwd|passphrase|pwd|(?:proxy_)?authorization|credentials?|(?:set_)?cookie"
    r"|webhook_?url|[a-z0-9]*token|[a-z0-9]*apikey)(?:_|$)(?!(?:normali[sz]ation|count|limit|ids?|size|length)$)"
    r"|^(?:sig|(?:x_[a-z]{2,10}_)?signature)$"  # of a link that is signed: Azure's, and Amazon's, Google's
    r"|(?:^|_)(?:openai|anthropic|gemini|google|civitai|hf|huggingface|stability|replicate|fal|runway|openrouter|groq)"
    r"_key$"
)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_KEYS?")
"""A variable of the environment that is called a key."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORDS = re.compile(r"[^A-Za-z0-9]+")

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b")
"""Colours and the like, and what would begin one once another is gone from its middle."""
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_HEADER = re.compile(
    r"""(?ix) (?P<name> \b(?:proxy-)?authorization | \b(?:set-)?cookie | \bx-[a-z-]*(?:key|token|secret) )
    (?P<sign> ["']? \s* [:=] \s* ["']? ) (?P<value> [^"'\r\n]+ )"""
)
_SCHEME = re.compile(r"\b(?P<scheme>Bearer|Basic|Digest|Token)\s+(?P<value>[A-Za-z0-9._~+/=-]{8,})", re.IGNORECASE)
_URL_USER = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/?#@'\"<>]+@")
_PAIR = re.compile(
    r"""(?x) (?<![A-Za-z0-9_.]) (?<![A-Za-z0-9_.]-) (?P<name> [A-Za-z_][A-Za-z0-9_.-]{1,63} )
    (?P<sign> \\?["']? \s{0,3} [:=] \s{0,3} )
    (?P<value> \\?"(?:[^"\\\r\n]|\\.)* \\?"? | '(?:[^'\\\r\n]|\\.)* '? | \[[^\]]{0,4096} | [^\s"'&,;<>(){}\[\]|]+ )"""
)
_OPTION = re.compile(r"(?<!\S)(?P<name>--?[A-Za-z][A-Za-z0-9-]{1,63})(?P<sign>\s+)(?P<value>[^\s-]\S*)")
_KNOWN_FORMS = re.compile(
    r"""(?x) \b(?: sk-[A-Za-z0-9_-]{16,} | hf_[A-Za-z0-9]{20,} | gh[pousr]_[A-Za-z0-9]{20,}
    | github_pat_[A-Za-z0-9_]{20,}
    | glpat-[A-Za-z0-9_-]{16,} | r8_[A-Za-z0-9]{20,} | AKIA[0-9A-Z]{16} | AIza[A-Za-z0-9_-]{30,}
    | xox[abeprs]-[A-Za-z0-9-]{10,} | comfyui-[0-9a-f]{24,}
    | (?<=hooks\.slack\.com/)[A-Za-z0-9_/-]{10,} | (?<=/api/webhooks/)[0-9]{5,}/[A-Za-z0-9_-]{10,}
    | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]* )"""
)
"""OpenAI's and others', Hugging Face's, GitHub's, GitLab's, Replicate's, AWS's, Google's, Slack's and Comfy.org's
keys, JSON Web Tokens: known by how they begin; and Slack's and Discord's webhooks, which are open to whoever knows
them."""


def is_secret_name(name: str) -> bool:
    """Tell whether what has this name (a key, a header, a variable, an option) is nobody else's business.

    ``max_tokens`` and ``token_normalization`` are a node's harmless inputs.
    """
    words = _WORDS.sub("_", _CAMEL.sub("_", name)).strip("_").lower()
    return bool(_SECRET_NAME.search(words) or _VARIABLE.fullmatch(name))


class Mask:
    """Masks what looks like a secret, and what is known to be one."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """Take the values that are secret wherever they stand; those too short to tell are passed over."""
        long = {each for each in known if len(each) >= SHORTEST and each != MASKED}
        self._known = re.compile("|".join(map(re.escape, sorted(long, key=len, reverse=True)))) if long else None

    def text(self, text: str) -> str:
        """Return a text without secrets, and without the colours in which one might be hidden."""
        text = _ANSI.sub("", text)
        if self._known:
            text = self._known.sub(MASKED, text)
        text = _PEM.sub(MASKED, text)
        text = _HEADER.sub(_value, text)
        text = _SCHEME.sub(rf"\g<scheme> {MASKED}", text)
        text = _URL_USER.sub(rf"\g<scheme>{MASKED}@", text)
        text = _PAIR.sub(_value_of_secret, text)
        text = _OPTION.sub(_value_of_secret, text)
        return _KNOWN_FORMS.sub(MASKED, text)

    def value(self, value: Any, name: str = "") -> Any:
        """Return a JSON value without secrets: by the names of keys, and in every text; a number is none."""
        if isinstance(value, str):
            return MASKED if name and value and is_secret_name(name) else self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(each, _narrower(name, str(key))) for key, each in value.items()}
        if isinstance(value, Sequence):
            return self._sequence(value, name)
        return value

    def _sequence(self, values: Sequence[Any], name: str) -> list[Any]:
        """Return a list; in an argv, what follows ``--api-key`` is masked, too."""
        before = ["", *values][: len(values)]
        return [
            self.value(each, last if isinstance(last, str) and last.startswith("-") and "=" not in last else name)
            for last, each in zip(before, values, strict=True)
        ]


def _narrower(name: str, key: str) -> str:
    """Return by which name a key's value is judged: below a secret one, all is secret."""
    return name if name and is_secret_name(name) else key


def _value(found: re.Match[str]) -> str:
    return f"{found['name']}{found['sign']}{MASKED}"


def _value_of_secret(found: re.Match[str]) -> str:
    """Return a name and its value, that masked if the name says so; the quotes around it stay."""
    value = found["value"]
    if not is_secret_name(found["name"]) or value.strip("\\\"'") in ("", MASKED, "None", "null", "true", "false"):
        return found[0]
    if value.startswith("["):
        return found[0] if value[1:].strip(" \t\r\n\"'") in ("", MASKED) else f"{found['name']}{found['sign']}[{MASKED}"
    quote = '\\"' if value.startswith('\\"') else value[0] if value[0] in "\"'" else ""
    end = quote if quote and value.endswith(quote) and len(value) > len(quote) else ""
    return f"{found['name']}{found['sign']}{quote}{MASKED}{end}"


def escaped(text: str) -> str:
    """Return a text whose control characters are written out, but for line ends and tabs: no terminal obeys it."""
    text = text.replace("\r\n", "\n")
    return "".join(each if each.isprintable() or each in "\n\t" else _written(each) for each in text)


def _written(character: str) -> str:
    return character.encode("unicode_escape").decode() if character != "\r" else "\n"


def decoded(content: bytes) -> str:
    """Return bytes as text; those that are no UTF-8 are written out."""
    return content.decode(errors="backslashreplace")
