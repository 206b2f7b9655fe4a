"""A server of files on this machine, which can be told to behave as servers on the network do."""

import contextlib
import dataclasses
import http.server
import threading


@dataclasses.dataclass
class Served:
    """What the server does when it is asked for a path.

    Attributes:
        content: of the file.
        breaks: after how many bytes of the file it breaks off, an answer each; later answers are whole.
        ranges: whether it sends a rest that is asked for.
        etag: the version that it tells, if any.
        status, headers: of the answer.
        hangs: whether it never answers.
        then: what takes its place after the first answer, if anything.
    """

    content: bytes = b""
    breaks: list[int] = dataclasses.field(default_factory=list)
    ranges: bool = True
    etag: str = '"1"'
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    hangs: bool = False
    then: "Served | None" = None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {}
        self.asked = []  # (path, Range or None)
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients that go away are none."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers.get("Range")))
        served = self.server.files.get(path, Served(status=404))
        if served.then:
            self.server.files[path] = served.then
        if served.hangs:
            self.server.released.wait(60)
            self.close_connection = True
            return
        start = 0
        asked = self.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        is_current = self.headers.get("If-Range") in (None, served.etag)
        if asked and served.ranges and served.status == 200 and is_current:
            start = int(asked)
        if start >= len(served.content) > 0:
            served, start = Served(status=416), 0
        self.send_response(206 if start else served.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}")
        if served.etag:
            self.send_header("ETag", served.etag)
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(served.content) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(served.content)
        if served.breaks:
            end = max(start, served.breaks.pop(0))
            self.close_connection = True
        with contextlib.suppress(OSError):  # the client has gone
            self.wfile.write(served.content[start:end])


@contextlib.contextmanager
def running():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
