"""One large file from the network, whole or not at all, resumed where an earlier attempt stopped."""

import base64
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm

from datasets.manifest import DataError, whole_file
from datasets.web import is_loopback

REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 5
BUSY = (408, 429, 500, 502, 503, 504)  # worth another attempt
MAX_WAIT = 60.0  # seconds, whatever Retry-After asks
CHUNK = 65536  # bytes
REASONS = {
    "NameResolution": "the server's name cannot be resolved, is there a network?",
    "timed out": "the server is silent",
    "refused": "the server refuses the connection",
    "CERTIFICATE": "the server's certificate is not trusted",
}


class DownloadError(Exception):
    """The network or the server does not give the file; the text is one line that says what to do."""

    exit_status = 7


class DownloadBusy(Exception):
    """Another process is bringing the same file."""

    exit_status = 3


class _Interrupted(Exception):
    """This attempt has ended, another may succeed; wait: what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class _Remote:
    """What the server said of the file whose beginning lies in the part file; size -1 and md5 "": it did not say."""

    url: str
    etag: str
    size: int
    md5: str


def download(url: str, target: Path, *, attempts: int = 5, timeout: float = 30.0, backoff: float = 1.0) -> None:
    """Bring `url` to `target`; a `target` that is there already is left alone.

    What has come so far stays in `target`.part, so that the next attempt, or the next call, asks for the rest only. It
    is used only while the server vouches with its ETag that the file is the same, and the whole is held against the
    md5 where the server names one.

    timeout: seconds without a byte after which an attempt ends. backoff: seconds before the second attempt, doubled
    each time. Raises DataError for an address that is not https (http on this machine only), DownloadError where the
    network or the server does not give the file, DownloadBusy where another process is at it, OSError where the disk
    does not take it.
    """
    plain_http = is_loopback(url)
    if not _is_allowed(url, plain_http):
        raise DataError(f"{url}: expected an address that begins with https://")
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part, note = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    with part.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadBusy(f"{part}: another process is downloading it; wait until it is done") from error
        try:
            with tqdm(desc=target.name, unit="B", unit_scale=True, disable=None) as bar:
                for attempt in range(attempts):
                    try:
                        remote = _continue(url, handle, note, plain_http, timeout, bar)
                        break
                    except _Interrupted as fault:
                        if attempt == attempts - 1:
                            raise DownloadError(_gave_up(url, attempts, fault, handle.tell())) from fault
                        wait = min(max(fault.wait, backoff * 2**attempt), MAX_WAIT)
                        bar.set_postfix_str(f"{fault}; again in {wait:.0f} s")
                        time.sleep(wait)
            _verify(remote, part, handle)
            os.fsync(handle.fileno())
            part.replace(target)
            note.unlink(missing_ok=True)
        finally:
            if part.exists() and handle.tell() == 0:
                part.unlink()
                note.unlink(missing_ok=True)


def _continue(url: str, handle: IO[bytes], note: Path, plain_http: bool, timeout: float, bar: tqdm) -> _Remote:
    """Ask for what is missing and append it; returns what the server said of the whole once nothing is missing."""
    known = _known(note, url)
    have = handle.seek(0, os.SEEK_END)
    if known and have == known.size:
        return known
    headers = {"Accept-Encoding": "identity"}
    if known and known.etag and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.etag}
    try:
        with _answer(url, headers, plain_http, timeout) as response:
            if response.status_code == 206 and known and _is_the_rest(response.headers, have, known):
                remote = known
            else:
                _empty(handle)
                if response.status_code != 200:
                    raise _Interrupted("the file has changed on the server")
                remote = _remote(url, response.headers)
                with whole_file(note) as out:
                    json.dump(asdict(remote), out)
            bar.reset(total=remote.size if remote.size >= 0 else None)
            bar.initial = bar.n = handle.tell()
            for chunk in response.iter_content(CHUNK):
                handle.write(chunk)
                bar.update(len(chunk))
    except requests.RequestException as error:
        raise _Interrupted(_reason(error)) from error
    if handle.tell() < remote.size:
        raise _Interrupted("the connection ended early")
    return remote


@contextmanager
def _answer(url: str, headers: dict[str, str], plain_http: bool, timeout: float) -> Iterator[requests.Response]:
    """The answer with status 200, 206 or 416 at the end of all redirects, each checked; its body is not yet read."""
    place = url
    with requests.Session() as session:
        for _ in range(MAX_REDIRECTS + 1):
            with session.get(place, headers=headers, timeout=timeout, stream=True, allow_redirects=False) as response:
                if response.status_code in REDIRECTS:
                    place = urljoin(place, response.headers.get("Location", ""))
                    if not _is_allowed(place, plain_http):
                        raise DownloadError(f"{url}: leads to an address without https; refused")
                    continue
                if response.status_code in BUSY:
                    asked = response.headers.get("Retry-After", "")
                    raise _Interrupted(
                        f"the server answers {response.status_code}", int(asked) if asked.isdecimal() else 0
                    )
                if response.status_code not in (200, 206, 416):
                    answer = f"{response.status_code} {response.reason}".strip()
                    raise DownloadError(f"{url}: the server answers {answer}; check the address")
                if response.headers.get("Content-Type", "").startswith("text/html"):
                    raise DownloadError(
                        f"{url}: a web page came instead of a file; check the address, and any proxy between"
                    )
                yield response
                return
    raise DownloadError(f"{url}: redirected more than {MAX_REDIRECTS} times; check the address")


def _remote(url: str, headers: Mapping[str, str]) -> _Remote:
    etag = headers.get("ETag", "")
    size = headers.get("Content-Length", "")
    hashes = f"md5={headers.get('Content-MD5', '')},{headers.get('x-goog-hash', '')}"
    md5 = re.search(r"md5=([A-Za-z0-9+/]{22}==)", hashes)
    return _Remote(
        url=url,
        etag=etag if etag.startswith('"') else "",  # a weak one, W/"...", does not vouch for the bytes
        size=int(size) if size.isdecimal() else -1,
        md5=base64.b64decode(md5[1]).hex() if md5 else "",
    )


def _known(note: Path, url: str) -> _Remote | None:
    try:
        remote = _Remote(**json.loads(note.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return remote if remote.url == url else None


def _is_the_rest(headers: Mapping[str, str], have: int, known: _Remote) -> bool:
    """Whether a 206 continues the bytes that are here; not every storage host heeds If-Range."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
    if span is None:
        return False
    return (int(span[1]), int(span[2]), headers.get("ETag", known.etag)) == (have, known.size, known.etag)


def _verify(remote: _Remote, part: Path, handle: IO[bytes]) -> None:
    """DownloadError, and nothing kept, where the whole is not what the server said it is."""
    handle.flush()
    size = part.stat().st_size
    with part.open("rb") as whole:
        md5 = hashlib.file_digest(whole, "md5").hexdigest()
    if remote.size not in (-1, size) or remote.md5 not in ("", md5):
        _empty(handle)
        there = f"{remote.size:,} bytes with md5 {remote.md5 or 'unknown'}"
        raise DownloadError(
            f"{remote.url}: {size:,} bytes with md5 {md5} came, the server names {there}; "
            "what came was removed: run the same command again"
        )


def _empty(handle: IO[bytes]) -> None:
    handle.seek(0)
    handle.truncate()


def _gave_up(url: str, attempts: int, fault: _Interrupted, have: int) -> str:
    kept = f"{have:,} bytes are kept: " if have else ""
    return f"{url}: {fault}, {attempts} times; {kept}run the same command again{' to resume' if have else ''}"


def _reason(error: requests.RequestException) -> str:
    for sign, reason in REASONS.items():
        if sign in str(error):
            return reason
    return f"the connection broke ({type(error).__name__})"


def _is_allowed(url: str, plain_http: bool) -> bool:
    scheme = url.partition(":")[0].lower()
    return bool(_host(url)) and (scheme == "https" or (scheme == "http" and plain_http and is_loopback(url)))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
