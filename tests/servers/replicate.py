"""Replicate on this machine: its predictions of FLUX.1-schnell and its file host, without money.

python tests/servers/replicate.py --port 8001
"""

import argparse
import base64
import hashlib
import itertools
import json
import math
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.schnell import MODEL, Prediction, complaint, picture, shown

DETAILS = {
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: ("Insufficient credit", "You have insufficient credit to run this model. Go to your billing page."),
    404: ("Not found", "The requested resource could not be found."),
    422: ("Input validation failed", "- input.prompt: this prompt is not accepted"),
}
# What may go wrong with an order: before it is made and paid, with the answer to it, with the model, with the file.
ORDER_FAULTS = (
    *("429 ~1s", "401", "402", "422", "500", "reset", "hang"),
    *("html", "list", "paid 500", "paid reset", "paid hang", "paid late"),
    *("failed", "canceled", "aborted", "slow", "forgotten", "no output"),
    *("half file", "once half file", "jpeg file", "html file", "expired file", "gone file", "busy file", "reset file"),
    *("forbidden file", "noai file", "pause file", "file elsewhere"),
)


class Replicate(ThreadingHTTPServer):
    """Starts with `with`. paid: the orders that were made; a restarted client finds them by id and in the list.

    faults: what goes wrong with the coming orders, one after another, from ORDER_FAULTS. answers: the same for the
    questions that cost nothing: a status, "reset", "html" or "object". every: seconds that must lie between
    two orders (small credit: 10). seconds: that a picture takes. tiny: pictures of a few pixels. late: seconds after
    which an order that is "paid late" shows up, its sender long gone. listed: what the list shows of a prediction,
    everything where it is empty.
    answers_left: after so many, what is asked for is done and not answered before answer_on is set.
    requests: of any kind, as they arrive; early: orders that came although a 429 had asked to wait longer; leaks:
    requests of files that carried a token; tokens: what the interface was given.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0, *, seconds: float = 0.0, tiny: bool = False) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.seconds, self.tiny = seconds, tiny
        self.every, self.page_size = 0.0, 100
        self.late, self.listed = 0.2, ()
        self.faults: list[str] = []
        self.answers: list[str] = []
        self.paid: dict[str, Prediction] = {}
        self.requests = self.early = self.leaks = 0
        self.tokens: set[str] = set()
        self.guard = threading.RLock()
        self.go_on = threading.Event()
        self.answers_left, self.answer_on = math.inf, threading.Event()
        self.next_order = self.told = 0.0
        self.numbers = itertools.count()

    @property
    def url(self) -> str:
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

    def pay(self, wanted: dict[str, Any], fault: str) -> Prediction:
        """Make an order: from here on it is billed."""
        with self.guard:
            digest = hashlib.sha256(f"{next(self.numbers)} {wanted}".encode()).digest()
            name = base64.b32encode(digest)[:26].decode().lower()
            self.paid[name] = Prediction(name, wanted, datetime.now(UTC), fault)
            return self.paid[name]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms between headers and body
    server: Replicate

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.welcome():
            return None
        if self.path != f"/v1/models/{MODEL}/predictions":
            return self.error(404)
        seconds = self.throttled()
        if seconds:
            text = f"Request was throttled. Your rate limit for creating predictions resets in ~{seconds}s."
            return self.json({"detail": text, "status": 429, "retry_after": seconds}, 429)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault in ("401", "402", "422", "500"):
            return self.error(int(fault))
        if fault in ("reset", "hang"):
            return self.nothing(fault)
        wanted = json.loads(body).get("input")
        if wrong := complaint(wanted):
            return self.json({"title": "Input validation failed", "detail": wrong, "status": 422}, 422)
        if fault == "paid late":
            threading.Timer(self.server.late, self.server.pay, (wanted, "")).start()
            return self.nothing("reset")
        order = self.server.pay(wanted, fault)
        if fault == "paid 500":
            return self.error(500)
        if fault in ("paid reset", "paid hang"):
            return self.nothing(fault)
        if fault == "html":
            return self.send(b"<html>Sign in to the hotel's network</html>", "text/html")
        return self.json([] if fault == "list" else shown(order, self.server.url, self.server.seconds), 201)

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path.startswith("/files/"):
            return self.file(place.path.split("/")[2])
        if not self.welcome():
            return None
        with self.server.guard:
            answer = self.server.answers.pop(0) if self.server.answers else ""
            orders = list(self.server.paid.values())[::-1]
        if answer == "reset":
            return self.nothing(answer)
        if answer == "object":
            return self.json({"detail": "temporarily disabled"})
        if answer == "html":
            return self.send(b"<html>maintenance</html>", "text/html")
        if answer:
            return self.error(int(answer))
        if place.path == "/v1/predictions":
            start = int(parse_qs(place.query).get("cursor", ["0"])[0])
            end = start + self.server.page_size
            following = f"{self.server.url}/v1/predictions?cursor={end}" if end < len(orders) else None
            results = [shown(order, self.server.url, self.server.seconds) for order in orders[start:end]]
            if self.server.listed:
                results = [{name: result[name] for name in self.server.listed} for result in results]
            return self.json({"previous": None, "next": following, "results": results})
        order = self.server.paid.get(place.path.removeprefix("/v1/predictions/"))
        if order is None or order.fault == "forgotten":
            return self.error(404)
        order.polled += 1
        return self.json(shown(order, self.server.url, self.server.seconds))

    def throttled(self) -> int:
        """Seconds to wait before the next order; 0 where this one may be made."""
        server, now = self.server, time.monotonic()
        with server.guard:
            server.early += now < server.told
            if server.faults and server.faults[0].startswith("429"):
                seconds = int(server.faults.pop(0)[5:-1])
            elif now < server.next_order:
                seconds = math.ceil(server.next_order - now)
            else:
                server.next_order = now + server.every
                return 0
            server.told = now + seconds
            return seconds

    def file(self, name: str) -> None:
        """The file host: another server in the wild, and no token of the interface's has anything to do there."""
        self.server.requests += 1
        self.server.leaks += "Authorization" in self.headers
        order = self.server.paid.get(name)
        if order is None or order.fault == "expired file" or datetime.now(UTC) - order.created > timedelta(hours=1):
            return self.error(404)
        if order.fault in ("gone file", "forbidden file"):
            return self.error(410 if order.fault == "gone file" else 403)
        order.fetched += 1
        data = picture(order.input, self.server.tiny)
        if order.fault == "half file" or (order.fault == "once half file" and order.fetched == 1):
            return self.send(data[: len(data) // 2], "image/png")
        if order.fault == "pause file":
            return self.send(b"", "text/plain", 503, more={"Retry-After": "3600"})
        if order.fault == "html file":
            return self.send(b"<html>", "text/html")
        if order.fault == "jpeg file":
            return self.send(picture({**order.input, "output_format": "jpg"}, self.server.tiny), "image/png")
        if order.fault in ("busy file", "reset file") and order.fetched < 3:
            return self.error(503) if order.fault == "busy file" else self.nothing("reset")
        return self.send(data, "image/png", more={"X-Robots-Tag": "noai"} if order.fault == "noai file" else {})

    def welcome(self) -> bool:
        """Whether the request may go on: it carries a token."""
        self.server.requests += 1
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.tokens.add(token)
        good = token not in ("", "expired")
        if not good:
            self.error(401)
        return good

    def error(self, status: int) -> None:
        title, detail = DETAILS.get(status, ("Error", "Try again."))
        self.json({"title": title, "detail": detail, "status": status}, status)

    def nothing(self, fault: str) -> None:
        """No answer: silence until the server ends, or a connection that breaks."""
        if "hang" in fault:
            self.server.go_on.wait(60)
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def json(self, answer: object, status: int = 200) -> None:
        self.send(json.dumps(answer).encode(), "application/json", status)

    def send(self, body: bytes, kind: str, status: int = 200, more: Mapping[str, str] = MappingProxyType({})) -> None:
        with self.server.guard:
            self.server.answers_left -= 1
            held = self.server.answer_on if self.server.answers_left < 0 else None
        if held:
            held.wait(60)
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--seconds", type=float, default=0.3, help="that a picture takes (default: %(default)s)")
    parser.add_argument("--every", type=float, default=0.0, help="seconds between two orders; small credit: 10")
    parser.add_argument(
        "--faults", default="", help=f"of the first orders, with commas between: {', '.join(ORDER_FAULTS)}"
    )
    arguments = parser.parse_args()
    server = Replicate(arguments.port, seconds=arguments.seconds)
    server.every = arguments.every
    server.faults = [fault.strip() for fault in arguments.faults.split(",") if fault.strip()]
    if unknown := {fault for fault in server.faults if not re.fullmatch(r"429 ~\d+s", fault)} - set(ORDER_FAULTS):
        parser.error(f"--faults {min(unknown)}: expected some of {', '.join(ORDER_FAULTS)}")
    print(f"export REPLICATE_BASE_URL={server.url} REPLICATE_API_TOKEN=anything", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(f"{len(server.paid)} orders were paid")


if __name__ == "__main__":
    main()
