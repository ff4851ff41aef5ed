"""A web server of bad habits: each path answers with one thing that a stranger's server may do.

python tests/servers/hostile.py --port 8099
"""

import argparse
import gzip
import io
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable
from email.utils import formatdate
from socket import SO_LINGER, SOL_SOCKET
from time import time
from typing import Self

from PIL import Image


def picture() -> bytes:
    """A small JPEG."""
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "JPEG")
    return out.getvalue()


PICTURE = picture()
HALF = PICTURE[: len(PICTURE) // 2]


class HostileWeb(socketserver.ThreadingTCPServer):
    """Starts with `with`; asked: path and headers (names in lower case) of each request, in order."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Visitor)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str) -> str:
        """The address of one bad habit, a key of ANSWERS or REDIRECTS."""
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news here."""


class Visitor(socketserver.StreamRequestHandler):
    """One request, answered as its path asks for."""

    server: HostileWeb

    def handle(self) -> None:
        path = self.rfile.readline().decode("latin-1").split()[1].strip("/")
        lines = iter(lambda: self.rfile.readline().decode("latin-1").strip(), "")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.server.asked.append((path, headers))
        if path in REDIRECTS:
            self.answer(302, {"Location": REDIRECTS[path]})
        elif path in ANSWERS:
            ANSWERS[path](self)
        else:
            self.answer(404, {}, b"no such habit")

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"", declare: bool = True) -> None:
        """Headers and body; with `declare` the body's length, unless the headers name another."""
        if declare:
            headers = {"Content-Length": str(len(body))} | headers
        head = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.wfile.write("\r\n".join(head).encode("latin-1") + body)

    def image(self, body: bytes = PICTURE, **headers: object) -> None:
        """`body` as image/jpeg; an underscore in a header's name stands for a hyphen."""
        named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        self.answer(200, {"Content-Type": "image/jpeg"} | named, body)

    def pour(self, pieces: Iterable[bytes], seconds: float = 0.0) -> None:
        """Send piece after piece, `seconds` apart, as long as the other side stays."""
        gone = threading.Event()
        for piece in pieces:
            self.wfile.write(piece)
            gone.wait(seconds)

    def endless(self) -> None:
        self.answer(200, {"Content-Type": "image/jpeg"}, declare=False)
        self.pour(iter(lambda: b"\xff" * 65536, b""))

    def endless_chunks(self) -> None:
        self.answer(200, {"Content-Type": "image/jpeg", "Transfer-Encoding": "chunked"}, declare=False)
        self.pour(iter(lambda: b"10000\r\n" + b"\xff" * 65536 + b"\r\n", b""))

    def endless_header(self) -> None:
        self.answer(200, {"Content-Type": "image/jpeg", "X-Dust": "x" * 10_000_000}, PICTURE)

    def drip(self) -> None:
        self.answer(200, {"Content-Type": "image/jpeg", "Content-Length": str(len(PICTURE))})
        self.pour((bytes([value]) for value in PICTURE), 0.02)

    def drip_without_length(self) -> None:
        self.answer(200, {"Content-Type": "image/jpeg"}, declare=False)
        self.pour(iter(lambda: b"\xff", b""), 0.02)

    def drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Dust: ")
        self.pour(iter(lambda: b"x", b""), 0.02)

    def wait_for_ever(self) -> None:
        """100 Continue, again and again: a client that skips them never comes to the answer."""
        self.pour(iter(lambda: b"HTTP/1.1 100 Continue\r\n\r\n", b""), 0.02)

    def silence(self) -> None:
        self.rfile.read()

    def reset(self) -> None:
        self.answer(200, {"Content-Type": "image/jpeg", "Content-Length": str(len(PICTURE))}, HALF)
        self.request.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()

    def garbage(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")


ANSWERS: dict[str, Callable[[Visitor], None]] = {
    "good": Visitor.image,
    "good-without-length": lambda visitor: visitor.answer(200, {"Content-Type": "image/png"}, PICTURE, declare=False),
    "endless": Visitor.endless,
    "endless-chunks": Visitor.endless_chunks,
    "endless-header": Visitor.endless_header,
    "huge-length": lambda visitor: visitor.image(Content_Length=10**12),
    "drip": Visitor.drip,
    "drip-without-length": Visitor.drip_without_length,
    "drip-headers": Visitor.drip_headers,
    "wait-for-ever": Visitor.wait_for_ever,
    "silence": Visitor.silence,
    "reset": Visitor.reset,
    "nothing": lambda visitor: None,
    "garbage": Visitor.garbage,
    "half-headers": lambda visitor: visitor.pour([b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nX-Robots-T"]),
    "half": lambda visitor: visitor.image(HALF, Content_Length=len(PICTURE)),
    "half-declared": lambda visitor: visitor.image(Content_Length=len(HALF)),
    "html": lambda visitor: visitor.image(b"<html>log in</html>", Content_Type="text/html; charset=utf-8"),
    "html-as-jpeg": lambda visitor: visitor.image(b"<html>log in</html>"),
    "svg": lambda visitor: visitor.image(b"<svg xmlns='http://www.w3.org/2000/svg'/>", Content_Type="image/svg+xml"),
    "no-type": lambda visitor: visitor.answer(200, {}, PICTURE),
    "odd-type": lambda visitor: visitor.image(Content_Type="\x1b[31mimage/jpeg"),
    "noai": lambda visitor: visitor.image(X_Robots_Tag="noindex, NoAI"),
    "noimageai": lambda visitor: visitor.image(X_Robots_Tag="somebot: noimageai"),
    "tdm": lambda visitor: visitor.image(TDM_Reservation=1),
    "tdm-open": lambda visitor: visitor.image(TDM_Reservation=0, X_Robots_Tag="noindex"),
    "gzip-bomb": lambda visitor: visitor.image(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
    "forbidden": lambda visitor: visitor.answer(403, {}, b"no"),
    "gone": lambda visitor: visitor.answer(404, {"Content-Type": "image/jpeg"}, PICTURE),
    "too-many": lambda visitor: visitor.answer(429, {"Retry-After": "100000"}),
    "too-many-soon": lambda visitor: visitor.answer(429, {"Retry-After": "7"}),
    "too-many-for-ever": lambda visitor: visitor.answer(429, {"Retry-After": "9" * 5000}),
    "too-many-till-2099": lambda visitor: visitor.answer(503, {"Retry-After": "Thu, 01 Jan 2099 00:00:00 GMT"}),
    "too-many-till-soon": lambda visitor: visitor.answer(503, {"Retry-After": formatdate(time() + 60, usegmt=True)}),
    "too-many-till-nonsense": lambda visitor: visitor.answer(503, {"Retry-After": f"1 Jan {'9' * 30} 00:00"}),
    "error": lambda visitor: visitor.answer(500, {"Content-Type": "image/jpeg"}, PICTURE),
}

REDIRECTS = {
    "once": "/good",
    "thrice": "/twice",
    "twice": "/once",
    "four-times": "/thrice",
    "loop": "/loop",
    "nowhere": "",
    "to-private": "http://10.0.0.1/secret.jpg",
    "to-metadata": "http://169.254.169.254/latest/meta-data/",
    "to-private-https": "https://192.168.1.1/secret.jpg",
    "to-mapped": "https://[::ffff:10.0.0.1]/secret.jpg",
    "to-translated": "https://[64:ff9b::a00:1]/secret.jpg",
    "to-zero": "http://0.0.0.0/",
    "to-short": "http://127.1/good",
    "to-decimal": "http://2130706433/good",
    "to-hex": "http://0x7f.1/good",
    "to-file": "file:///etc/passwd",
    "to-plain-http": "http://pictures.example/good",
    "to-elsewhere": "https://elsewhere.example/good",
    "to-a-disguise": "https://pictures.example@elsewhere.example/good",
    "to-nonsense": "https://[nonsense/",
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8099)
    with HostileWeb(parser.parse_args().port) as web:
        print("Each of these addresses has one bad habit; datasets.web.fetch_picture takes them with loopback=True:")
        print("\n".join(web.url(path) for path in [*ANSWERS, *REDIRECTS]))
        web.thread.join()
