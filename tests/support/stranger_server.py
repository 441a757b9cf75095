"""An invented server, `acme`, that sparkray knows nothing of: `stranger_server.py PORT NAME HOST [FAULT]`.

Faults: `dies_loading`, `never_ready`, `broken` (500 where it should say that it is ready), `wrong_model`, `dies_at_stop`,
`deaf` (ignores SIGTERM), `ends` (with status 0, under load).
"""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, NAME, HOST, FAULT = int(sys.argv[1]), sys.argv[2], sys.argv[3], "".join(sys.argv[4:])
BEGAN = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        loading = time.monotonic() - BEGAN < 0.5 or FAULT == "never_ready"
        status = 500 if FAULT == "broken" else 503 if self.path == "/ready" and loading else 200
        served = "other" if FAULT == "wrong_model" else NAME
        self.answer(status, {"build": {"number": "3.1"}, "data": [{"id": served}]})

    def do_POST(self) -> None:
        if FAULT == "ends":
            os._exit(0)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        tokens = asked["max_tokens"]
        for index in range(tokens):
            last = {"finish_reason": "length" if index + 1 == tokens else None}
            self.event({"choices": [{"text": "x", **last}]})
            time.sleep(0.002)
        self.event({"choices": [], "usage": {"prompt_tokens": len(asked["prompt"]), "completion_tokens": tokens}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, document: object) -> None:
        self.wfile.write(b"data: " + json.dumps(document).encode() + b"\n\n")

    def answer(self, status: int, document: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())


if FAULT == "dies_loading":
    sys.exit("acme: out of luck while loading")
signal.signal(signal.SIGTERM, lambda *_: None if FAULT == "deaf" else os._exit(3 if FAULT == "dies_at_stop" else 0))
print("acme: 12.5 MiB of cache, please", flush=True)
ThreadingHTTPServer((HOST, PORT), Handler).serve_forever()
