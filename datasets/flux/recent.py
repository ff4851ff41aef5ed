"""The service's list of recent predictions: where an order is looked for whose answer did not come."""

from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from datasets.flux import schnell
from datasets.flux.service import ServiceError

REMEMBERED = timedelta(hours=1)  # how long the service keeps inputs and outputs
MOST_PAGES = 400  # a hundred predictions each; more than 36,000 cannot be ordered in an hour
UNCLEAR = "; whether an order without an answer was made cannot be seen, and so nothing more is ordered"


class Recent:
    """get: puts a question to the service, None for 404. Threads may use it at once.

    What cannot be read is an error and never "not there", which would be paid for a second time.
    """

    def __init__(self, get: Callable[[str], dict[str, Any] | None]) -> None:
        self._get = get
        self._inputs: dict[str, dict[str, Any]] = {}  # by id, of predictions that the list shows without

    def find(self, wanted: dict[str, Any], claimed: Container[str]) -> str:
        """The id of a prediction with this input that nobody claims; empty where the last hour holds none.

        The hour is that before the newest prediction: the service's clock, whatever this machine's says.
        """
        query = ""
        since: datetime | None = None
        for _ in range(MOST_PAGES):
            page = self._get(f"/v1/predictions{query}") or {}
            results = page.get("results")
            if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
                raise ServiceError(f"Replicate does not show its list of recent predictions{UNCLEAR}")
            times = [_time(result.get("created_at")) for result in results]
            known = [each for each in times if each is not None]
            if since is None and known:
                since = max(known) - REMEMBERED
            for result, created in zip(results, times, strict=True):
                name = str(result.get("id") or "")
                if not name or name in claimed or (created and since and created < since):
                    continue
                if self._input(name, result).items() >= wanted.items():
                    return name
            if not page.get("next") or (known and since and min(known) < since):
                return ""
            # Its query only: the token would go to a whole address of the service's choosing.
            query = "?" + urlsplit(str(page["next"])).query
        raise ServiceError(f"Replicate's list of recent predictions does not end within {MOST_PAGES} pages{UNCLEAR}")

    def _input(self, name: str, listed: dict[str, Any]) -> dict[str, Any]:
        """What a prediction was asked for; the list may not tell. Empty where the service has deleted it."""
        if listed.get("input") and isinstance(listed["input"], dict):
            return listed["input"]
        if listed.get("data_removed") or listed.get("model", schnell.MODEL) != schnell.MODEL:
            return {}
        if name not in self._inputs:
            answer = self._get(f"/v1/predictions/{name}") or {"data_removed": True}
            theirs = answer.get("input")
            if not isinstance(theirs, dict) and not answer.get("data_removed"):
                raise ServiceError(f"Replicate does not show the input of prediction {name}{UNCLEAR}")
            self._inputs[name] = theirs or {}
        return self._inputs[name]


def _time(stamp: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(stamp))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
