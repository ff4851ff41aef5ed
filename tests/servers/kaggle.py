"""Gives CIFAKE's zip as Kaggle does, by way of another address, and misbehaves on demand."""

import base64
import hashlib
import io
import random
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOLDERS = [f"{split}/{label}" for split in ("train", "test") for label in ("REAL", "FAKE")]


def small_archive() -> bytes:
    """300 kB of noise in CIFAKE's layout."""
    out, noise = io.BytesIO(), random.Random(0)
    with zipfile.ZipFile(out, "w") as archive:
        for folder in FOLDERS:
            archive.writestr(zipfile.ZipInfo(f"{folder}/0000.jpg"), noise.randbytes(75_000))
    return out.getvalue()


class Kaggle(ThreadingHTTPServer):
    """/api leads to /storage, which gives `data`; faults: what goes wrong with its coming answers, in order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = small_archive()
        self.faults: list[str] = []
        self.asked: list[str] = []  # the Range of each request to /storage
        self.stalled, self.go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Kaggle

    def do_GET(self) -> None:
        if self.path.startswith("/api"):
            return self.answer(302, {"Location": "/storage?signature=1"})
        data = self.server.data
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        md5 = base64.b64encode(hashlib.md5(data + (b"!" if fault == "wrong md5" else b"")).digest()).decode()
        etag = f"W/{etag}" if fault == "weak" else etag
        headers = {"ETag": etag, "x-goog-hash": f"crc32c=AAAAAA==,md5={md5}", "Content-Type": "application/zip"}
        if fault.isdecimal():
            return self.answer(int(fault), {"Retry-After": "0"}, b"<html>")
        if fault == "page":
            return self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>log in</html>")
        if fault == "to http elsewhere":
            return self.answer(302, {"Location": "http://example.org/archive.zip"})
        if fault == "round in circles":
            return self.answer(302, {"Location": "/api"})
        valid = self.headers.get("If-Range") == etag or fault == "ignores If-Range"
        if asked and valid and fault != "ignores Range":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
            stop = start + 1000 if fault == "a little" else len(data)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            return self.answer(206, headers, data[start:stop], fault)
        return self.answer(200, headers, data, "cut" if fault == "weak" else fault)

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"", fault: str = "") -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if fault in ("cut", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            if fault == "stall":
                self.wfile.flush()
                self.server.stalled.set()
                self.server.go_on.wait(30)
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
