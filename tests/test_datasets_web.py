"""Strangers' servers are tried with one on this machine that does every bad thing, addresses with a drawn resolver."""

import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from servers.hostile import ANSWERS, HALF, PICTURE, REDIRECTS, HostileWeb

from datasets.manifest import DataError
from datasets.web import AskedToWait, Refused, Unreachable, fetch_picture, is_loopback, is_public

HOSTS = ["127.0.0.1", "pictures.example"]
PUBLIC = "93.184.216.34"
PRIVATE = Refused("redirects to a private address")
PLAIN = Refused("redirects to an address without https")

# What each path of the hostile server leads to: bytes, or the exception and its reason.
OUTCOMES = {
    **dict.fromkeys(("good", "good-without-length", "once", "twice", "thrice", "tdm-open"), PICTURE),
    "half-declared": HALF,  # the decoder's to refuse, as are the next two
    "html-as-jpeg": b"<html>log in</html>",
    "endless": Refused("larger than 0.2 MB"),
    "endless-chunks": Refused("larger than 0.2 MB"),
    "huge-length": Refused("larger than 0.2 MB"),
    "endless-header": Unreachable("the connection broke (LineTooLong)"),
    "drip": Unreachable("not done within 0.4 s"),
    "drip-without-length": Unreachable("not done within 0.4 s"),
    "drip-headers": Unreachable("not done within 0.4 s"),
    "wait-for-ever": Unreachable("not done within 0.4 s"),
    "silence": Unreachable("not done within 0.4 s"),
    "reset": Unreachable("the connection broke (ConnectionResetError)"),
    "nothing": Unreachable("the connection broke (RemoteDisconnected)"),
    "garbage": Unreachable("the connection broke (BadStatusLine)"),
    "half-headers": Unreachable("the connection ended early"),
    "half": Unreachable("the connection ended early"),
    "html": Refused("not an image: text/html"),
    "svg": Refused("not an image: image/svg+xml"),
    "no-type": Refused("not an image: no type"),
    "odd-type": Refused("not an image: no type"),
    "noai": Refused("opted out (noai)"),
    "noimageai": Refused("opted out (noimageai)"),
    "tdm": Refused("opted out (TDM-Reservation)"),
    "gzip-bomb": Refused("compressed for the way"),
    "forbidden": Refused("403"),
    "gone": Refused("404"),
    "too-many": AskedToWait("127.0.0.1: the server answers 429, and asks to wait 100,000 s"),
    "too-many-soon": Unreachable("the server answers 429", wait=7),
    "too-many-for-ever": AskedToWait("127.0.0.1: the server answers 429, and asks to wait inf s"),
    "too-many-till-2099": AskedToWait("127.0.0.1: the server answers 503, and asks to wait 2"),
    "too-many-till-soon": Unreachable("the server answers 503", wait=60),
    "too-many-till-nonsense": Unreachable("the server answers 503"),
    "error": Unreachable("the server answers 500"),
    **dict.fromkeys(("four-times", "loop", "nowhere"), Refused("redirected more than 3 times")),
    **dict.fromkeys(
        ("to-private", "to-metadata", "to-private-https", "to-mapped", "to-translated", "to-zero"), PRIVATE
    ),
    **dict.fromkeys(("to-short", "to-decimal", "to-hex", "to-file", "to-plain-http"), PLAIN),
    "to-elsewhere": Refused("redirects to a host that is not on the list"),
    "to-a-disguise": Refused("redirects to a host that is not on the list"),
    "to-nonsense": Refused("redirects to an unreadable address"),
}


@pytest.fixture(scope="module")
def web():
    with HostileWeb() as server:
        yield server


def fetch(url, *, hosts=HOSTS, max_bytes=200_000, loopback=True, **options):
    agent = "trial (jiří@example.org)"
    return fetch_picture(url, hosts=hosts, user_agent=agent, max_bytes=max_bytes, loopback=loopback, **options)


def test_every_bad_habit_has_an_expected_outcome():
    assert set(OUTCOMES) == {*ANSWERS, *REDIRECTS}


@pytest.mark.parametrize("path", OUTCOMES)
def test_a_bad_habit_ends_in_time_and_with_its_reason(web, path):
    expected = OUTCOMES[path]
    seconds = 0.4 if "0.4 s" in str(expected) else 20.0
    started = time.monotonic()
    if isinstance(expected, bytes):
        assert fetch(web.url(path), seconds=seconds) == expected
    else:
        with pytest.raises(type(expected)) as caught:
            fetch(web.url(path), seconds=seconds)
        assert str(caught.value).startswith(str(expected))
        assert vars(caught.value) == pytest.approx(vars(expected), abs=2)
    assert time.monotonic() - started < 5


def test_ones_own_pictures_are_taken_whatever_is_withheld_from_mining(web):
    assert {fetch(web.url(path), heed_opt_out=False) for path in ("noai", "noimageai", "tdm")} == {PICTURE}


def test_every_byte_is_spent_as_it_comes(web):
    pieces: list[int] = []
    assert fetch(web.url("good"), spend=pieces.append) == PICTURE and sum(pieces) == len(PICTURE)


def test_a_request_tells_its_user_agent_and_nothing_else(web, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(web.url("good").replace("//", "//me:secret@")) == PICTURE
    headers = web.asked[-1][1]
    assert headers.pop("user-agent").encode("latin-1").decode() == "trial (jiří@example.org)"
    assert headers == {
        "host": web.url("").split("/")[2],
        "accept": "image/*",
        "accept-encoding": "identity",
        "connection": "close",
    }


def test_odd_characters_of_an_address_are_escaped_once(web):
    for path, asked in (("a b%20ü?x=1&y=%2F ", "a%20b%20%C3%BC?x=1&y=%2F%20"), ("a\r\nX-Header: b", "aX-Header:%20b")):
        with pytest.raises(Refused, match="404"):
            fetch(web.url(path))
        assert web.asked[-1][0] == asked


def test_without_loopback_this_machine_is_a_private_address(web):
    asked = len(web.asked)
    for url in (web.url("good"), web.url("good").replace("http:", "https:"), "https://[::1]/a.jpg"):
        with pytest.raises(Refused, match=r"^a private address$"):
            fetch(url, hosts=[*HOSTS, "::1"], loopback=False)
    assert len(web.asked) == asked


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize(
    "url",
    [
        *("https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/", "https://localhost./"),
        *("https://elsewhere.example/", "https://example/", "https://pictures.example.elsewhere.example/"),
        *("https://pictures.example\\@elsewhere.example/", "https://below.pictures.example/", "https:///a.jpg"),
        *("https://evilexample.org/", "https://example.org/", "http://pictures.example/", "ftp://pictures.example/"),
        *("pictures.example", "", "https://[::1", "https://pictures.example:99999/", "data:image/png;base64,AAAA"),
        *("https://10.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:93.184.216.34]/"),
    ],
)
def test_an_address_off_the_list_is_refused_before_its_name_is_looked_up(monkeypatch, url, loopback):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    with pytest.raises(Refused):
        fetch(url, hosts=[*HOSTS, "*.example.org"], loopback=loopback)


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "127.1.2.3", "0.0.0.0", "169.254.169.254"),
        *("100.64.0.1", "192.0.0.8", "192.0.0.170", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:93.184.216.34", "::7f00:1", "::5db8:d822"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::c000:8", "64:ff9b::e000:1", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:5db8:d822::1", "2001::1"),
        *("2001:db8::1", "3fff::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1"),
    ],
)
def test_an_address_that_is_no_server_of_the_open_internet_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", [PUBLIC, "185.15.59.240", "2a02:ec80:300:ed1a::2:b", "2606:2800:220:1::1", "64:ff9b::5db8:d822"]
)
def test_a_servers_address_is_public(address):
    assert is_public(address)


def test_this_machine_has_few_names():
    assert all(map(is_loopback, ["http://localhost:80/", "https://127.0.0.1", "http://127.9.9.9/a", "http://[::1]:8/"]))
    assert not any(map(is_loopback, ["http://127.1/", "http://localhost.example/", "http://10.0.0.1", "http://[", ""]))


class Lines:
    """Stands for the network: getaddrinfo answers from `answers` in turn, sockets note where they are led."""

    def __init__(self, monkeypatch, *answers):
        self.answers, self.connected, self.fault = list(answers), [], ConnectionRefusedError
        monkeypatch.setattr(socket, "getaddrinfo", self.getaddrinfo)
        monkeypatch.setattr(socket, "socket", lambda *_: self)

    def getaddrinfo(self, host, port, **_):
        assert host == "pictures.example"
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, port)) for ip in answer]

    def settimeout(self, seconds):
        assert 0 < seconds <= 10

    def connect(self, place):
        self.connected.append(place)
        raise self.fault

    def close(self):
        pass


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize(
    "found", [["10.0.0.1"], [PUBLIC, "10.0.0.1"], ["169.254.169.254"], [PUBLIC, "::ffff:127.0.0.1"], ["64:ff9b::a00:1"]]
)
def test_a_name_with_any_private_address_is_refused_before_a_line_is_opened(monkeypatch, found, loopback):
    lines = Lines(monkeypatch, found)
    with pytest.raises(Refused, match=r"^a private address$"):
        fetch("https://pictures.example/a.jpg", loopback=loopback)
    assert lines.connected == []


def test_a_name_is_looked_up_once_and_every_checked_address_is_tried(monkeypatch):
    found = ["2606:2800:220:1::1", "64:ff9b::5db8:d822", PUBLIC]
    lines = Lines(monkeypatch, found, ["127.0.0.1"])
    with pytest.raises(Unreachable, match="the server refuses the connection"):
        fetch("https://pictures.example/a.jpg", loopback=False)
    assert lines.connected == [(address, 443) for address in found] and lines.answers == [["127.0.0.1"]]


def test_a_silent_address_leaves_time_for_the_next(monkeypatch):
    lines = Lines(monkeypatch, [PUBLIC, "1.1.1.1"])
    lines.fault = TimeoutError
    with pytest.raises(Unreachable, match="the server is silent"):
        fetch("https://pictures.example/a.jpg", seconds=60)
    assert [place[0] for place in lines.connected] == [PUBLIC, "1.1.1.1"]


def test_a_name_without_an_answer_is_unreachable(monkeypatch):
    Lines(monkeypatch, socket.gaierror(-2, "Name or service not known"))
    with pytest.raises(Unreachable, match="cannot be resolved"):
        fetch("https://pictures.example/a.jpg")


def test_a_silent_name_server_does_not_outlast_the_time(monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(30))
    with pytest.raises(Unreachable, match=r"not done within 0\.2 s"):
        fetch("https://pictures.example/a.jpg", seconds=0.2)
    answer.set()


def test_a_silent_handshake_does_not_outlast_the_time():
    # The kernel takes the connection, nobody answers.
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(Unreachable, match=r"not done within 0\.2 s"),
    ):
        fetch(f"https://127.0.0.1:{silent.getsockname()[1]}/a.jpg", seconds=0.2)


@pytest.fixture
def secure(monkeypatch, tmp_path):
    """The hostile server behind TLS as pictures.example; (port, names that clients asked for)."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=trial"
    names = ["-addext", "subjectAltName=DNS:pictures.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: real("127.0.0.1", *rest, **named))
    with HostileWeb() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server, certificate, asked


def test_the_certificate_is_held_against_the_name_and_not_the_address(secure, monkeypatch):
    server, certificate, asked = secure
    port = server.server_address[1]
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        fetch(f"https://pictures.example:{port}/good")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.parent / "missing.pem"))
    with pytest.raises(DataError, match=r"REQUESTS_CA_BUNDLE=.*missing\.pem: expected a file of certificates"):
        fetch(f"https://pictures.example:{port}/good")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert fetch(f"https://pictures.example:{port}/good") == PICTURE
    assert asked[-1] == "pictures.example" and server.asked[-1][1]["host"] == f"pictures.example:{port}"
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        fetch(f"https://other.example:{port}/good", hosts=["*.example"])
    for path in ("drip", "drip-without-length", "drip-headers", "silence"):
        with pytest.raises(Unreachable, match=r"not done within 0\.4 s"):
            fetch(f"https://pictures.example:{port}/{path}", seconds=0.4)
    for path in ("half", "to-private", "endless"):
        with pytest.raises(type(OUTCOMES[path]), match=OUTCOMES[path].reason):
            fetch(f"https://pictures.example:{port}/{path}")
