"""What the services of photographs have in common on this machine: drawn pictures, faults on demand, a record."""

import functools
import io
import json
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import ExifTags, Image

SIZES = ((1600, 1200), (1280, 853), (900, 1350), (2000, 1333), (640, 640), (1024, 768), (1400, 700))
LICENSES = ("CC BY-SA 4.0", "CC BY 2.0", "CC0", "Public domain", "CC BY-SA 3.0 de", "CC BY-SA 2.5", "CC BY 3.0")
HIDDEN = '<span style="display: none;">Unknown author</span>'
AUTHORS = (
    '<a href="//commons.wikimedia.org/wiki/User:Ada" title="User:Ada">Ada&nbsp;Example</a>',
    "Béla &amp; Söhne",
    f'<bdi><a href="https://en.wikipedia.org/wiki/unknown">Unknown author</a></bdi>{HIDDEN}',
    "",
    '<a rel="nofollow" href="https://www.flickr.com/people/1@N02">Chinua</a> from <i>Lagos</i>',
)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="900" height="900"><circle r="9"/></svg>'

TOWNS = ("Accra", "Bergen", "Cusco", "Dhaka", "Essen", "Fez", "Graz", "Hanoi", "Izmir", "Jaipur")
PLACES = [f"{topic} in {town}" for topic in ("Law", "Maps", "Music", "Optics", "Roads", "Seeds") for town in TOWNS]


@dataclass(frozen=True)
class File:
    """A file as its page describes it; fault: what goes wrong when its picture is asked for, a key of BODIES."""

    name: str
    width: int = 1280
    height: int = 960
    quality: int = 90
    license: str = "CC BY-SA 4.0"
    author: str = AUTHORS[0]
    uploaded: str = "2015-03-01T12:00:00Z"
    about: str = "A speaker at a conference"
    categories: str = "Conferences|Speakers"
    mime: str = "image/jpeg"
    turned: bool = False
    fault: str = ""
    like: str = ""  # the name of another file whose pixels it has


def good_files(count: int, words: str = "Conference speaker") -> list[File]:
    """Photographs that nothing speaks against, of many sizes, qualities, licences, authors and days."""
    draw = random.Random(0)
    return [
        File(
            name=f"{words} {number:03d}.jpg",
            **dict(zip(("width", "height"), SIZES[number % len(SIZES)], strict=True)),
            quality=draw.randint(60, 98),
            license=LICENSES[number % len(LICENSES)],
            author=AUTHORS[number % len(AUTHORS)],
            uploaded=f"{draw.randint(2006, 2021)}-{draw.randint(1, 12):02d}-15T08:30:00Z",
            turned=number % 4 == 3,
        )
        for number in range(count)
    ]


ODD_FILES = [
    File("Conference speaker new.jpg", uploaded="2022-01-01T00:00:00Z"),
    File("Conference speaker of 2024.jpg", uploaded="2024-06-01T10:00:00Z"),
    File("Conference speaker NC.jpg", license="CC BY-NC 2.0"),
    File("Conference speaker ND.jpg", license="CC BY-ND 4.0"),
    File("Conference speaker GFDL.jpg", license="GFDL 1.2"),
    File("Conference speaker without licence.jpg", license=""),
    File("Conference speaker tiny.jpg", width=400, height=300),
    File("Conference speaker dreamt.jpg", about="Conference speaker, <b>AI-generated</b> with Midjourney"),
    File("Conference speaker drawn.svg", mime="image/svg+xml"),
    File("Conference speaker half.jpg", fault="cut"),
    File("Conference speaker vector.jpg", fault="svg"),
    File("Conference speaker disguised.jpg", fault="svg as jpeg"),
    File("Conference speaker led astray.jpg", fault="private redirect"),
    File("Conference speaker without end.jpg", fault="endless"),
    File("Conference speaker not for machines.jpg", fault="noai"),
    File("Conference speaker page.jpg", fault="html"),
    File("Conference speaker deleted.jpg", fault="404"),
    File("Conference speaker 000 copy.jpg", width=1600, height=1200, like="Conference speaker 000.jpg"),
]


def trial_files() -> list[File]:
    """600 photographs of 60 events by 150 authors, the odd ones among them: to try the scripts with."""
    good = [
        replace(file, author=f"Ada Example {(10 * event + number) % 150}")
        for event, place in enumerate(PLACES)
        for number, file in enumerate(good_files(10, f"Conference speaker at {place}"))
    ]
    return [*good[:30], *ODD_FILES, *good[30:]]


@functools.lru_cache(maxsize=512)
def jpeg(name: str, width: int, height: int, quality: int, exif: bool, turned: bool) -> bytes:
    """A drawn photograph; `turned` stores it lying, with the EXIF mark that says so."""
    draw = random.Random(name)
    coarse = Image.frombytes("RGB", (12, 9), draw.randbytes(12 * 9 * 3)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = Image.frombytes("L", (64, 64), draw.randbytes(64 * 64)).resize((width, height), Image.Resampling.NEAREST)
    picture = Image.blend(coarse, grain.convert("RGB"), 0.1)
    tags = Image.Exif()
    if exif:
        tags[ExifTags.Base.Make], tags[ExifTags.Base.Model] = "Example", f"Camera {draw.randint(1, 9)}"
        tags[ExifTags.Base.DateTime] = "2014:05:06 07:08:09"
        if turned:
            tags[ExifTags.Base.Orientation] = 6
            picture = picture.transpose(Image.Transpose.ROTATE_90)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, exif=tags)
    return out.getvalue()


class Local(ThreadingHTTPServer):
    """A server on this machine; runs inside a `with`.

    faults: what goes wrong with the coming answers of the API, in order; picture_faults: the same of the pictures.
    api_asked, pictures_asked: the questions and paths of all requests, in order; agents: the User-Agents that came.
    on_picture: called before a picture is given. go_on: what hangs ends with it.
    """

    daemon_threads = True
    handler: type[BaseHTTPRequestHandler]

    def __init__(self, files: list[File], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), self.handler)
        self.files = files
        self.faults: list[str] = []
        self.picture_faults: list[str] = []
        self.api_asked: list[dict[str, str]] = []
        self.pictures_asked: list[str] = []
        self.agents: set[str] = set()
        self.on_picture: Callable[[], object] = lambda: None
        self.go_on = threading.Event()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news here."""


class Answers(BaseHTTPRequestHandler):
    """What both services have in common: pictures, and faults of the API."""

    protocol_version = "HTTP/1.1"
    server: Local

    def do_GET(self) -> None:
        agent = self.headers.get("User-Agent", "")
        self.server.agents.add(agent)
        if "@" not in agent and "http" not in agent:
            return self.answer(
                403, {"Content-Type": "text/plain"}, b"Please set a user-agent and respect our robot policy"
            )
        place = urlsplit(self.path)
        if place.path.endswith(self.server.api_path):
            question = {key: values[0] for key, values in parse_qs(place.query).items()}
            self.server.api_asked.append(question)
            fault = self.server.faults.pop(0) if self.server.faults else ""
            return self.go_wrong(fault) if fault else self.api(question)
        return self.picture(unquote(place.path))

    def go_wrong(self, fault: str) -> None:
        """`fault` is a status, perhaps with the seconds of Retry-After behind it, or has a name."""
        status, _, seconds = fault.partition(" ")
        if status.isdecimal():
            headers = {"Retry-After": seconds} if seconds else {}
            return self.answer(int(status), headers | {"Content-Type": "text/html"}, b"<html>no</html>")
        if fault == "html":
            return self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>please log in</html>")
        if fault == "broken json":
            return self.answer(200, {"Content-Type": "application/json"}, b'{"query": {"pages": [')
        if fault == "maxlag":
            error = {"code": "maxlag", "info": "Waiting for 10.0.0.1: 7.5 seconds lagged.", "lag": 7.5}
            return self.json({"error": error, "servedby": "mw1"}, {"Retry-After": "5", "X-Database-Lag": "7"})
        if fault == "strange":
            return self.json({"query": {"pages": {"1": "?"}}, "results": 3})
        if fault == "redirect":
            return self.answer(302, {"Location": f"{self.server.root}/secret"})
        if fault == "hang":
            self.server.go_on.wait(30)
        # reset
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        return None

    def give(self, file: File, width: int | None) -> None:
        """A file's picture, made smaller to a width or as it was uploaded."""
        server = self.server
        server.pictures_asked.append(self.path)
        fault = server.picture_faults.pop(0) if server.picture_faults else ""
        server.on_picture()
        if fault:
            return self.go_wrong(fault)
        name = file.like or file.name
        if width is None or width >= file.width:
            data = jpeg(name, file.width, file.height, file.quality, True, file.turned)
        else:
            data = jpeg(name, width, round(file.height * width / file.width), 87, False, False)
        return BODIES[file.fault](self, data)

    def endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while not self.server.go_on.is_set():
            self.wfile.write(bytes(1_000_000))

    def json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self.answer(
            200, {"Content-Type": "application/json; charset=utf-8"} | (headers or {}), json.dumps(value).encode()
        )

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


JPEG = {"Content-Type": "image/jpeg"}
BODIES = {
    "": lambda visitor, data: visitor.answer(200, JPEG, data),
    "cut": lambda visitor, data: visitor.answer(200, JPEG, data[: len(data) // 2]),
    "svg": lambda visitor, _: visitor.answer(200, {"Content-Type": "image/svg+xml"}, SVG),
    "svg as jpeg": lambda visitor, _: visitor.answer(200, JPEG, SVG),
    "private redirect": lambda visitor, _: visitor.answer(302, {"Location": "https://10.0.0.1/picture.jpg"}),
    "endless": lambda visitor, _: visitor.endless(),
    "noai": lambda visitor, data: visitor.answer(200, JPEG | {"X-Robots-Tag": "noai, noimageai"}, data),
    "html": lambda visitor, _: visitor.answer(200, {"Content-Type": "text/html"}, b"<html>gone</html>"),
    "404": lambda visitor, _: visitor.answer(404, {"Content-Type": "text/html"}, b"<html>not found</html>"),
    "503": lambda visitor, _: visitor.answer(503, {"Content-Type": "text/html"}, b"<html>overloaded</html>"),
    "elsewhere": lambda visitor, data: visitor.answer(200, JPEG, data),
}


def serve(server: Local, words: str, more: str = "") -> None:
    """Run until Ctrl-C, after saying how to use it."""
    print(f"listening on {server.root}; try:")
    print(
        f"python scripts/collect_photos.py --query '{words}' --n 20{more} --api {server.api} "
        "--contact you@example.org --data-root /tmp/trial",
        flush=True,
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
