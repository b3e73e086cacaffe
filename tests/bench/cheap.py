"""``main.py`` of a ComfyUI that only answers what the health listener asks: dozens of it fit on a small machine."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWERS = {
    "/prompt": {"exec_info": {"queue_remaining": 0}},
    "/queue": {"queue_running": [], "queue_pending": []},
    "/history": {},
    "/system_stats": {"system": {"comfyui_version": "0.33.0"}, "devices": [{"name": "cuda:0", "type": "cuda"}]},
}


class Handler(BaseHTTPRequestHandler):
    """Answers as an idle ComfyUI does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # http.server's name
        """Answer what is known."""
        answer = ANSWERS.get(self.path.partition("?")[0])
        body = json.dumps(answer).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Log nothing."""


def _port(argv: list[str]) -> int:
    for place, word in enumerate(argv):
        name, _, value = word.partition("=")
        if name == "--port":
            return int(value or argv[place + 1])
    raise SystemExit("no --port")


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", _port(sys.argv)), Handler).serve_forever()
