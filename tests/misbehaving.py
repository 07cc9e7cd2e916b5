"""A local HTTP server that does what servers do on bad days."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves files from memory, each with a list of mishaps for its first requests.

    Attributes:
        files: Path → content.
        mishaps: Path → what happens at the first, second, … request; then all goes well. One of
            "drop" (half of the body, then the line is cut), "wrong" (other bytes), "html" (a page
            instead of the file), "long" (more bytes than it should), "ignore-range", "shifted"
            (continues at the wrong byte), "stall" (headers, and then nothing for a minute), a
            status number, (status, Retry-After), or a dict of headers to answer with.
        requests: Path → how often it was asked for.
        ranges: The Range headers in order.
        released: Set it to end what stalls.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.mishaps: dict[str, list] = {}
        self.requests: Counter = Counter()
        self.ranges: list[str | None] = []
        self.amazon = False
        self.released = threading.Event()
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        self.requests[path] += 1
        self.ranges.append(handler.headers.get("Range"))
        queue = self.mishaps.get(path, [])
        mishap = queue.pop(0) if queue else None
        if path not in self.files and mishap is None:
            mishap = 404
        if isinstance(mishap, int | tuple):
            self._refuse(handler, mishap)
            return
        body = self.files[path]
        extra = mishap if isinstance(mishap, dict) else {}
        tag = hashlib.md5(body).hexdigest()
        start, status = self._start(handler, len(body), mishap)
        if start is None:
            self._refuse(handler, 416)
            return
        if mishap == "wrong":
            body = bytes(255 - b for b in body)
        if mishap == "html":
            body, start, status = b"<html>Please log in</html>", 0, 200
        if mishap == "long":
            body = body + b"more"
        part = body[start:]
        handler.send_response_only(302 if "Location" in extra else status)
        for name, value in ({"Content-Length": str(len(part))} | extra).items():
            handler.send_header(name, value)
        if status == 206:
            first = start + 1 if mishap == "shifted" else start
            handler.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        if self.amazon:
            handler.send_header("Server", "AmazonS3")
            handler.send_header("ETag", f'"{tag}"')
        handler.end_headers()
        if mishap == "stall":
            self.released.wait(60)
        with contextlib.suppress(ConnectionError):
            handler.wfile.write(part[: len(part) // 2] if mishap == "drop" else part)
        handler.close_connection = True

    def _start(self, handler, length, mishap):
        asked = handler.headers.get("Range")
        if not asked or mishap == "ignore-range":
            return 0, 200
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        return (start, 206) if start < length else (None, 416)

    def _refuse(self, handler, mishap):
        status, wait = mishap if isinstance(mishap, tuple) else (mishap, None)
        handler.send_response_only(status)
        handler.send_header("Content-Length", "0")
        if wait is not None:
            handler.send_header("Retry-After", wait)
        handler.end_headers()


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
