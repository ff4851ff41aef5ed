"""Replicate's interface over the network, one request at a time: the only file that knows its client."""

import math
import os
import re
from typing import Any
from urllib.parse import urlsplit

from datasets import web
from datasets.manifest import DataError

REQUEST_SECONDS = 30.0  # of silence, after which a request has failed
SHORTEST_PAUSE = 0.1  # seconds between two questions to somebody else's service
ACCOUNT = "replicate.com/account"


class ServiceError(Exception):
    """The paid service, or the network to it, does not give what is asked for; the text says what to do."""

    exit_status = 7


class Answered(Exception):
    """The service answered with an error, and did nothing else."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class NoAnswer(Exception):
    """No answer, or none that can be read: the service may have done what it was asked for, or not."""


def token_from_environment() -> str:
    """REPLICATE_API_TOKEN; DataError, without showing it, where there is none or it cannot be one."""
    token = os.environ.get("REPLICATE_API_TOKEN", "").strip()
    if not token:
        raise DataError(f"no token for Replicate: export REPLICATE_API_TOKEN=... (from {ACCOUNT}/api-tokens)")
    # Anything else cannot stand in a header, and the client's complaint would show it.
    if not re.fullmatch("[!-~]+", token):
        raise DataError("REPLICATE_API_TOKEN holds a space or a special character; copy the token again")
    return token


class NotSent(NoAnswer):
    """No connection was made, so the service knows nothing of what it was to be asked for."""


def pause_from_environment() -> float:
    """Seconds between two questions: REPLICATE_POLL_INTERVAL, or half a second; DataError where it cannot be one."""
    text = os.environ.get("REPLICATE_POLL_INTERVAL", "0.5")
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 60:
        raise DataError(f"REPLICATE_POLL_INTERVAL={text}: expected seconds, above 0 and at most 60")
    return seconds


class Service:
    """The service at REPLICATE_BASE_URL, or Replicate's own. Threads may use it at once.

    pause: seconds between two questions about the same thing. settle: seconds in which an order that was sent must have
    shown up in the service's list. host: the service's; loopback: it is on this machine. The token goes to it alone.
    DataError where the address is not https (http on this machine only).
    """

    def __init__(self, token: str) -> None:
        self.pause = pause_from_environment()  # before the client stumbles over it

        import httpx
        import replicate

        base_url = os.environ.get("REPLICATE_BASE_URL") or "https://api.replicate.com"
        self.loopback = web.is_loopback(base_url)
        self.host = _host(base_url, ("https", "http") if self.loopback else ("https",))
        timeout = httpx.Timeout(REQUEST_SECONDS, connect=10.0)
        self._client = replicate.Client(api_token=token, base_url=base_url, timeout=timeout)
        self._connections = self._client._client  # made at first use: two threads at once would make two
        # Its own retries wait as long as any Retry-After asks and cannot be interrupted.
        self._connections._transport.max_attempts = 1  # type: ignore[attr-defined]
        self._token = token
        if not self.loopback:
            self.pause = max(self.pause, SHORTEST_PAUSE)
        self.settle = 60 * self.pause if self.loopback else REQUEST_SECONDS

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """The answer to one request, which is a JSON object. Raises Answered, NoAnswer or NotSent.

        It goes through the client, but below its own functions: they know no time-out for an order without waiting,
        and fall over the status `aborted`, a whole page of the list with it.
        """
        import httpx
        from replicate.exceptions import ReplicateError

        try:
            answer = self._client._request(method, path, **body).json()
        except ReplicateError as error:
            status = error.status or 0
            if status == 408 or status >= 500:
                raise NoAnswer(f"it answers {status}") from error
            raise Answered(status, self.plain(error.detail or error.title or "no reason given")) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotSent(f"no connection, {type(error).__name__}; is there a network?") from error
        except httpx.TimeoutException as error:
            raise NoAnswer("it is silent") from error
        except httpx.HTTPError as error:  # its text may hold a header, and so the token
            raise NoAnswer(f"the connection broke ({type(error).__name__})") from error
        except (ValueError, AttributeError) as error:  # the latter in the client, where an error's JSON is no object
            raise NoAnswer("no JSON came") from error
        if not isinstance(answer, dict):
            raise NoAnswer("the JSON that came is no object")
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def plain(self, text: object) -> str:
        """What the service says, in one line of at most 300 characters, without the token should it stand there."""
        return " ".join(str(text).replace(self._token, "[token]").split())[:300]


def explained(error: Answered) -> Exception:
    """What to tell the user of an answer that the next request would get too."""
    if error.status == 401:
        text = "Replicate does not accept the token, it may have expired: export REPLICATE_API_TOKEN=... with a new one"
        return ServiceError(f"{text} from {ACCOUNT}/api-tokens")
    if error.status == 402:
        return ServiceError(f"there is no credit left at Replicate; buy some at {ACCOUNT}/billing")
    if error.status == 422:
        return DataError(f"Replicate refuses the prompt or its settings: {error}")
    return ServiceError(f"Replicate answers {error.status}: {error}")


def _host(base_url: str, schemes: tuple[str, ...]) -> str:
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in schemes:
        raise DataError(f"REPLICATE_BASE_URL={base_url}: expected an address that begins with https://")
    return host
