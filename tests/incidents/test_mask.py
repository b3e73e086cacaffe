"""Secrets are masked wherever they stand, harmless things are left alone, and no terminal obeys what is kept."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor.incidents.mask import MASKED, Mask, escaped, is_secret_name
from comfy_supervisor.launch.lastword import printable

SECRET = "Zq3vT9xPwL7mKr5s"

TEXTS = [
    "Authorization: Bearer {}",
    "authorization: Basic {}",
    "{{'Authorization': 'Token {}'}}",
    "proxy-authorization: {}",
    "Cookie: session={}; other=1",
    "Cookie: theme=dark; id={}",
    "Authorization: AWS4-HMAC-SHA256 Credential=me, Signature={}",
    "X-Api-Key: {}",
    "curl -H 'Authorization: Bearer {}' https://example.com",
    'headers={{"x-goog-api-key": "{}"}}',
    '{{"extra_data": {{"api_key_comfy_org": "{}"}}}}',
    '{{\\"auth_token_comfy_org\\": \\"{}\\"}}',
    "HF_TOKEN={}",
    "export OPENAI_API_KEY='{}'",
    "main.py --api-key {} --port 8188",
    "main.py --auth-token={}",
    "password: {}",
    "https://someone:{}@example.com/x",
    "https://:{}@example.com",
    "GET /view?filename=a.png&token={}&x=1",
    "https://civitai.com/api/download/1?type=Model&access_token={}",
    "client_secret = {}",
    "dbPassword={}",
    "\x1b[31mtoken\x1b[0m=\x1b[1m{}",
    "OPENAI_KEY={}",
    "export CIVITAI_KEY='{}'",
    '{{"openai_key": "{}"}}',
    "https://x.blob.core.windows.net/a?sv=2024&sig={}&se=2026",
    "https://b.s3.amazonaws.com/m.sft?X-Amz-Date=2026&X-Amz-Signature={}",
    '{{"api_keys": ["", "{}"]}}',
    '"access_tokens": [\n  "a",\n  "{}"\n]',
    "https://hooks.slack.com/services/T01234567/B01234567/{}",
    "https://discord.com/api/webhooks/123456789012345678/{}",
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
]
KEYS = [
    "hf_abcdefghijklmnopqrstuvwx",
    "sk-proj-abcdefghijklmnop1234",
    "ghp_abcdefghijklmnopqrstuvwx1234",
    "AKIAABCDEFGHIJKLMNOP",
    "comfyui-0123456789abcdef0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
]
HARMLESS = [
    "max_tokens: 512",
    '{"token_normalization": "none"}',
    "Token indices sequence length is longer than 77",
    "[INFO] got prompt",
    "monkey=banana keyboard=1 author=me",
    "pytorch version: 2.9.0+cu128",
    '  File "/opt/ComfyUI/custom_nodes/token/nodes.py", line 3 in tokenize',
    "api_key: None",
    "lora_key not loaded: lora_unet_down_blocks_0",
    "primary_key=3 design=4 signal=9",
    '{"max_tokens": [1, 2]}',
    '{"api_keys": []}',
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_is_masked(text: str) -> None:
    masked = Mask().text(text.format(SECRET))
    assert SECRET not in masked
    assert MASKED in masked


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_known_by_its_form(key: str) -> None:
    assert key not in Mask().text(f"using {key} for it")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays(text: str) -> None:
    assert Mask().text(text) == text


def test_json_is_masked_by_its_keys_and_in_its_texts() -> None:
    value: dict[str, Any] = {
        "extra_data": {"api_key_comfy_org": SECRET, "client_id": "me", "nested": [{"Authorization": SECRET}]},
        "command": ["python", "main.py", "--api-key", SECRET, "--port", "8188"],
        "inputs": {"max_tokens": 5, "seed": 1, "url": f"https://u:{SECRET}@h/x", "token_count": 7},
        "passwords": [SECRET],
        "credentials": {"user": SECRET},
    }
    masked = Mask().value({**value, "password": SECRET})
    assert SECRET not in json.dumps(masked["extra_data"]) + json.dumps(masked["command"]) + json.dumps(masked["inputs"])
    assert SECRET not in json.dumps([masked["passwords"], masked["credentials"]])
    assert masked["password"] == MASKED
    assert masked["inputs"]["max_tokens"] == 5
    assert masked["extra_data"]["client_id"] == "me"
    assert masked["command"][-2:] == ["--port", "8188"]


def test_what_is_known_to_be_secret_is_masked_wherever_it_stands() -> None:
    mask = Mask([SECRET, "abc"])
    assert mask.text(f"who says {SECRET} says abc") == f"who says {MASKED} says abc"


@given(st.text(), st.lists(st.text(min_size=6), max_size=3))
def test_a_second_mask_changes_nothing(text: str, known: list[str]) -> None:
    masked = Mask(known).text(text)
    assert Mask().text(masked) == Mask().text(Mask().text(masked))
    assert Mask().text(Mask().text(text)) == Mask().text(text)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_nothing_that_is_kept_has_a_control_character(text: str) -> None:
    assert all(each.isprintable() or each in "\n\t" for each in escaped(text))
    assert printable(text).isprintable() or not printable(text)


@given(st.from_regex(r"[A-Za-z0-9]{8,40}", fullmatch=True), st.sampled_from(["api_key", "HF_TOKEN", "password"]))
def test_any_secret_value_is_masked_under_a_secret_name(value: str, name: str) -> None:
    if value.lower() not in ("none", "null", "true", "false"):
        assert value not in Mask().text(f"{name}={value}").replace(name, "")
        assert Mask().value({name: value})[name] == MASKED


def test_names() -> None:
    assert all(map(is_secret_name, ("apiKey", "API-KEY", "x-auth-token", "dbPassword", "AWS_SECRET_ACCESS_KEY")))
    assert not any(map(is_secret_name, ("max_tokens", "monkey", "tokenizer", "author", "keyboard", "key", "seed")))


def test_a_picture_in_a_graph_costs_no_time() -> None:
    began = time.process_time()
    for text in ("A" * 500_000, "a-b." * 100_000, "a://" * 100_000, "x=" * 200_000, '"' * 300_000):
        Mask().text(text)
    assert time.process_time() - began < 10
