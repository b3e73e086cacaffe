"""A test generation of which nobody knows whether it was taken: whatever came of it, nothing of it stays."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from comfy_supervisor.check import generation, vram

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}


@pytest.mark.parametrize("runs", [False, True])
def test_one_that_may_have_been_taken_is_taken_back(runs: bool) -> None:
    """ComfyUI may answer 500, and have the job in its queue all the same."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self._answer(500 if self.path == "/prompt" else 200, {})

        def do_GET(self) -> None:
            running = [[0, asked[0][1]["prompt_id"], {}, {}, []]] if runs else []
            self._answer(200, {"queue_running": running, "queue_pending": []})

        def _answer(self, status: int, value: object) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        found = generation.run(url, GRAPH, vram.watch(url, ""), 5.0)
        server.shutdown()
    prompt_id = asked[0][1]["prompt_id"]
    assert found.trouble == "was not taken: HTTP 500"
    assert asked[1:2] == [("/queue", {"delete": [prompt_id]})]
    assert asked[2:] == ([("/interrupt", {"prompt_id": prompt_id})] if runs else [])
