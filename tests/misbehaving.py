"""A local HTTP server that fails in the ways that real servers do."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves files from memory.

    Attributes:
        files: Path → content.
        mishaps: Path → what happens at the first, second, … request; later ones succeed. Each is
            a status number or one of "drop" (half of the body, then the connection ends), "wrong"
            (other bytes), "html" (a page instead of the file), "long" (more bytes than promised),
            "ignore-range", "shifted" (resumes one byte too late), "stall" (headers, then nothing).
        requests: Path → number of requests.
        ranges: The Range headers in order.
        released: Set it to end the stalled requests.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.mishaps: dict[str, list] = {}
        self.requests: Counter = Counter()
        self.ranges: list[str | None] = []
        self.released = threading.Event()
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, asked = handler.path, handler.headers.get("Range")
        self.requests[path] += 1
        self.ranges.append(asked)
        queue = self.mishaps.get(path, [])
        mishap = queue.pop(0) if queue else (None if path in self.files else 404)
        body = b"" if isinstance(mishap, int) else self.files[path]
        if mishap == "wrong":
            body = bytes(255 - byte for byte in body)
        if mishap == "html":
            body = b"<html>Please log in</html>"
        if mishap == "long":
            body += b"more"
        start, status = 0, mishap if isinstance(mishap, int) else 200
        if asked and mishap not in ("ignore-range", "html") and status == 200:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        part = body[start + 1 :] + b"x" if mishap == "shifted" else body[start:]
        handler.send_response_only(status)
        handler.send_header("Content-Length", str(len(part)))
        handler.send_header("Content-Type", "text/html" if mishap == "html" else "image/jpeg")
        handler.end_headers()
        if mishap == "stall":
            self.released.wait(60)
        with contextlib.suppress(ConnectionError):
            handler.wfile.write(part[: len(part) // 2] if mishap == "drop" else part)
        handler.close_connection = True


@contextlib.contextmanager
def running():
    """Run a server on a free port of this machine."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield server
        finally:
            server.released.set()
            http.shutdown()
            thread.join()
