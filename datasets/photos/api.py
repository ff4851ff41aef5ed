"""Questions to a public JSON API: one at a time, with a contact, at the pace the service asks for."""

import json
import os
import re
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from datasets.manifest import DataError
from datasets.web import MAX_WAIT, is_loopback, retry_after

ATTEMPTS = 5
BACKOFF = 1.0  # seconds before the second attempt, doubled each time
SECONDS = 60.0  # for one answer, from its first to its last byte
MAX_BYTES = 20_000_000
LAGGED = 5.0  # seconds to wait at least when the databases are behind, as the manual of maxlag asks for
TRY_LATER = ("maxlag", "ratelimited", "readonly")
PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
KEPT = "what was collected is kept: run the same command again later"


class ServiceError(Exception):
    """The service or the network does not answer as it should; status: of the answer where that was the reason."""

    exit_status = 7

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class _Again(Exception):
    """This attempt has failed, another may succeed; wait: what the service asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def user_agent(contact: str) -> str:
    """The User-Agent of all requests; DataError where `contact` is neither a mail address nor a web address."""
    if not re.fullmatch(r"[!-~]+@[!-~]+\.[!-~]+|https?://[!-~]+\.[!-~]+", contact) or set(contact) & set("()"):
        raise DataError(
            f"--contact {contact!r}: expected a mail address or a web address at which you can be reached, "
            "for example you@example.org"
        )
    return f"Hueprint/{metadata.version('hueprint')} ({contact}) python-requests/{requests.__version__}"


class Service:
    """One API at `url`; name: what the user calls it. Proxies and passwords of the environment are not used."""

    def __init__(self, name: str, url: str, agent: str) -> None:
        scheme = re.fullmatch(r"(https?)://[^/\s]+(/\S*)?", url)
        if scheme is None or (scheme[1] == "http" and not is_loopback(url)):
            raise DataError(
                f"--api {url}: expected an address that begins with https:// (http:// on this machine only)"
            )
        self.name = name
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._session.headers["User-Agent"] = agent
        self._pause, self._why = 0.0, ""

    def ask(self, parameters: Mapping[str, str | int]) -> dict[str, Any]:
        """The answer to one question; asked again within bounds where the fault may pass.

        Heeds Retry-After, MediaWiki's maxlag and Openverse's X-RateLimit. Raises ServiceError.
        """
        for attempt in range(ATTEMPTS):
            self._wait(self._pause, self._why)
            self._pause = 0.0
            try:
                return self._answer(parameters)
            except _Again as fault:
                if attempt == ATTEMPTS - 1:
                    raise ServiceError(f"{self.name}: {fault}, {ATTEMPTS} times; {KEPT}") from fault
                self._wait(max(fault.wait, BACKOFF * 2**attempt), str(fault))
        raise AssertionError

    def _wait(self, seconds: float, why: str) -> None:
        if seconds > MAX_WAIT:
            raise ServiceError(f"{self.name}: {why}, and asks to wait {seconds:,.0f} s; {KEPT}")
        if seconds > 0:
            line = f"{self.name}: {why}; again in {seconds:.0f} s"
            with tqdm(total=0, desc=line, bar_format="{desc}", leave=False, disable=None):
                time.sleep(seconds)

    def _answer(self, parameters: Mapping[str, str | int]) -> dict[str, Any]:
        try:
            with self._session.get(
                self.url, params=parameters, timeout=SECONDS / 2, stream=True, allow_redirects=False
            ) as response:
                headers, status = response.headers, response.status_code
                body = _body(response)
        except (requests.RequestException, HTTPError) as error:
            raise _Again(_reason(error)) from error
        self._heed_allowance(headers)
        if status in (408, 429) or status >= 500:
            raise _Again(f"the server answers {status}", retry_after(headers.get("Retry-After")))
        if status != 200:
            answer = f"{status} {response.reason}".strip()
            raise ServiceError(f"{self.name}: {self.url} answers {answer}; check --contact and --api", status)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            page = "html" in headers.get("Content-Type", "").lower()
            raise _Again("a web page came instead of JSON" if page else "broken JSON came") from error
        if not isinstance(answer, dict):
            raise _Again("something else than the answer came")
        if isinstance(fault := answer.get("error"), dict):
            if fault.get("code") in TRY_LATER:
                raise _Again(
                    f"the server answers {fault['code']}", max(LAGGED, retry_after(headers.get("Retry-After")))
                )
            text = " ".join(str(fault.get("info", fault.get("code"))).split())[:200]
            raise ServiceError(f"{self.name}: the server answers: {text}")
        return answer

    def _heed_allowance(self, headers: Mapping[str, str]) -> None:
        """Where the answer says that an allowance such as 20/min is used up: pause before the next question."""
        for name, left in headers.items():
            kind = re.fullmatch(r"x-ratelimit-available-(.+)", name.lower())
            if kind and left.strip() == "0":
                limit = headers.get(f"X-RateLimit-Limit-{kind[1]}", "")
                period = PERIODS.get(limit.partition("/")[2][:1], PERIODS["m"])
                if period > self._pause:
                    self._pause, self._why = period, f"the allowance of {limit or 'requests'} is used up"


def _body(response: requests.Response) -> bytes:
    deadline, body = time.monotonic() + SECONDS, bytearray()
    while chunk := response.raw.read1(65536, decode_content=True):
        body += chunk
        if len(body) > MAX_BYTES or time.monotonic() > deadline:
            raise _Again("the answer does not end")
    return bytes(body)


def _reason(error: Exception) -> str:
    if "NameResolution" in str(error):
        return "the server's name cannot be resolved, is there a network?"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "the server is silent"
    return f"the connection broke ({type(error).__name__})"
