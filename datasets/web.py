"""One picture from a stranger's server, taken in such a way that neither the address nor the answer can do harm."""

import functools
import http.client
import ipaddress
import os
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from datasets.manifest import DataError

REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 3
BUSY = (408, 429)  # worth another attempt, as every 5xx is
MAX_WAIT = 120.0  # seconds: who asks for a longer pause is asked again another day
CONNECT_SECONDS = 10.0  # for each address of a host, so that one that is silent leaves time for the next
CHUNK = 65536  # bytes
URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"
OPT_OUTS = ("noai", "noimageai")

# A network without IPv4 gives every IPv4 server such an address, the IPv4 one at its end (RFC 6052).
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
# What Python 3.11's is_global lets through and no server of pictures has: outside 2000::/3 lie the IPv4 addresses in
# other IPv6 clothes (mapped, compatible); inside it 2002::/16 is 6to4, another such dress.
ORDINARY = tuple(map(ipaddress.ip_network, ("0.0.0.0/0", "2000::/3")))
SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "224.0.0.0/4", "2002::/16", "3fff::/20")))


class Refused(Exception):
    """A picture we do not take, and no second attempt would change it; reason: short, and the same for its likes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unreachable(Exception):
    """The network or the server does not give the picture now; wait: the seconds the server asks for."""

    exit_status = 7

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class AskedToWait(Exception):
    """The server asks for a pause longer than MAX_WAIT: nothing more should be asked of it today."""

    exit_status = 7


def fetch_picture(
    url: str,
    *,
    hosts: Sequence[str],
    user_agent: str,
    max_bytes: int = 50_000_000,
    seconds: float = 60.0,
    loopback: bool = False,
    heed_opt_out: bool = True,
    spend: Callable[[int], object] = lambda size: None,
) -> bytes:
    """The bytes of the picture at `url`, asked for once; whether they can be decoded is for the decoder to say.

    hosts: which may be asked, for the address itself and for each of at most three redirects: a name, or
    "*.example.org" for all names below example.org. seconds: for everything, from the first look-up to the last byte.
    loopback: plain http and addresses of this machine are allowed too, for trials with a server of one's own.
    heed_opt_out: refuse what X-Robots-Tag or TDM-Reservation withhold from mining; one's own pictures need not.
    spend: told the size of every piece that has come; where it waits, the server waits too.
    Neither cookies nor passwords are sent, and proxies of the environment are not used.
    Raises Refused, Unreachable, AskedToWait; DataError where the environment's REQUESTS_CA_BUNDLE has no certificates.
    """
    deadline = time.monotonic() + seconds
    base, place, leads = "", url, ""
    try:
        for _ in range(MAX_REDIRECTS + 1):
            parts = _checked(base, place, hosts, loopback, leads)
            found = _resolved(parts, loopback, leads, deadline)
            with _answer(parts, found, user_agent, deadline) as response:
                if response.status not in REDIRECTS:
                    _check_headers(response, heed_opt_out)
                    return _body(response, max_bytes, deadline, spend)
                # http.client reads every header as latin-1, whatever it is
                place = quote(response.headers.get("Location", "").encode("latin-1"), URL_CHARACTERS)
                base, leads = parts.geturl(), "redirects to "
        raise Refused(f"redirected more than {MAX_REDIRECTS} times")
    except (OSError, http.client.HTTPException, Refused, Unreachable) as error:
        if time.monotonic() >= deadline:  # headers that were cut off may look like something to refuse
            raise Unreachable(f"not done within {seconds:g} s") from error
        if isinstance(error, Unreachable) and error.wait > MAX_WAIT:
            raise AskedToWait(f"{parts.hostname}: {error}, and asks to wait {error.wait:,.0f} s") from error
        if isinstance(error, (Refused, Unreachable)):
            raise
        raise Unreachable(_reason(error)) from error


def is_loopback(url: str) -> bool:
    """Whether the address names this machine: localhost, 127.0.0.0/8 or ::1."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether an IP address can be that of a server in the open Internet."""
    ip = ipaddress.ip_address(address)
    if ip in TRANSLATED:
        ip = ipaddress.IPv4Address(ip.packed[-4:])
    return ip.is_global and any(ip in net for net in ORDINARY) and not any(ip in net for net in SPECIAL)


def retry_after(asked: str | None) -> float:
    """The header Retry-After, a number or a date, as seconds from now; 0 where it is missing or neither."""
    asked = (asked or "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _checked(base: str, place: str, hosts: Sequence[str], loopback: bool, leads: str) -> SplitResult:
    """The parts of an address that may be asked, as far as the address itself tells; `leads` begins the reason."""
    try:
        parts = urlsplit(urljoin(base, place))
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"{leads}an unreadable address") from error
    at_home = loopback and is_loopback(parts.geturl())
    with suppress(ValueError):  # a name
        if not is_public(host) and not at_home:
            raise Refused(f"{leads}a private address")
    if parts.scheme != "https" and not (parts.scheme == "http" and at_home):
        raise Refused(f"{leads}an address without https")
    if not any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in map(str.lower, hosts)):
        raise Refused(f"{leads}a host that is not on the list")
    return parts


def _resolved(parts: SplitResult, loopback: bool, leads: str, deadline: float) -> list[tuple]:
    """The addresses of a host, as getaddrinfo gives them, each checked: one that is private condemns them all."""
    answers: queue.SimpleQueue = queue.SimpleQueue()
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    # getaddrinfo knows no time limit
    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty as error:
        raise TimeoutError from error
    if isinstance(found, UnicodeError):
        raise Refused(f"{leads}an unreadable address") from found
    if isinstance(found, OSError):
        raise Unreachable("the server's name cannot be resolved, is there a network?") from found
    for address in (place[0] for *_, place in found):
        if not is_public(address) and not (loopback and ipaddress.ip_address(address).is_loopback):
            raise Refused(f"{leads}a private address")
    return found


@contextmanager
def _answer(
    parts: SplitResult, found: list[tuple], user_agent: str, deadline: float
) -> Iterator[http.client.HTTPResponse]:
    """The server's answer, its body not yet read; whatever it is doing when the time is up, it is cut off.

    Against a name that leads elsewhere when it is asked a second time: it is not asked. The connection is made to the
    very addresses that were checked, and the name only serves for the certificate and the Host header.
    """
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(host, parts.port)
    context = None
    if parts.scheme == "https":
        context = _trust(os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH)
        connection = http.client.HTTPSConnection(host, parts.port, context=context)
    connection.auto_open = 0  # never by name
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers: dict[str, str | bytes] = {
        "User-Agent": user_agent.encode(),
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    with closing(connection):
        connection.sock = _connected(found, deadline)
        # A time limit of a socket begins anew with every byte, so a dripping server is cut off from outside.
        with connection.sock.dup() as handle:
            timer = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, [handle])
            timer.daemon = True
            timer.start()
            try:
                if context:
                    connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
                connection.request("GET", quote(path, URL_CHARACTERS), headers=headers)
                with connection.getresponse() as response:
                    yield response
            finally:
                timer.cancel()


def _connected(found: list[tuple], deadline: float) -> socket.socket:
    fault = OSError("no address")
    for family, kind, protocol, _, place in found:
        line = socket.socket(family, kind, protocol)
        try:
            line.settimeout(max(0.001, min(CONNECT_SECONDS, deadline - time.monotonic())))
            line.connect(place)
            line.settimeout(max(0.001, deadline - time.monotonic()))
            return line
        except OSError as error:
            line.close()
            fault = error
    raise fault


def _cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


@functools.cache
def _trust(bundle: str) -> ssl.SSLContext:
    """This machine's certificate authorities and those of the file `bundle`."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(bundle)
    except OSError as error:
        raise DataError(f"REQUESTS_CA_BUNDLE={bundle}: expected a file of certificates") from error
    return context


def _check_headers(response: http.client.HTTPResponse, heed_opt_out: bool) -> None:
    """Pass an answer whose headers promise a picture that may be taken."""
    status, headers = response.status, response.headers
    if status in BUSY or status >= 500:
        raise Unreachable(f"the server answers {status}", retry_after(headers.get("Retry-After")))
    if status != 200:
        raise Refused(str(status))
    for word in re.findall(r"[a-z]+", " ".join(headers.get_all("X-Robots-Tag", [])).lower()):
        if heed_opt_out and word in OPT_OUTS:
            raise Refused(f"opted out ({word})")
    if heed_opt_out and headers.get("TDM-Reservation", "").strip() == "1":
        raise Refused("opted out (TDM-Reservation)")
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Refused("compressed for the way")  # and who knows how large it is
    kind = re.match(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}", headers.get("Content-Type", "").lower())
    if kind is None or not kind[0].startswith("image/") or kind[0].startswith("image/svg"):
        raise Refused(f"not an image: {kind[0] if kind else 'no type'}")


def _body(response: http.client.HTTPResponse, max_bytes: int, deadline: float, spend: Callable[[int], object]) -> bytes:
    too_large = Refused(f"larger than {max_bytes / 1e6:g} MB")
    if response.length is not None and response.length > max_bytes:
        raise too_large
    expected, data = response.length, bytearray()
    while chunk := response.read1(CHUNK):
        data += chunk
        if len(data) > max_bytes:
            raise too_large
        spend(len(chunk))
    if time.monotonic() >= deadline:
        raise TimeoutError  # what is cut off ends like a body without a declared length
    if len(data) < (expected or 1):  # headers that were cut off leave no body
        raise Unreachable("the connection ended early")
    return bytes(data)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the server's certificate is not trusted"
    if isinstance(error, ConnectionRefusedError):
        return "the server refuses the connection"
    if isinstance(error, TimeoutError):
        return "the server is silent"
    return f"the connection broke ({type(error).__name__})"
