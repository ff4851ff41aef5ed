"""What a ledger says of every picture that was ordered from a paid service: nothing is known that it does not hold."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Request:
    """One order. number: its place among all orders of the ledger.

    id: the service's name of it, empty while unknown. fault: why the model made no picture, empty if it did or may yet.
    over: it was refused, or lost, or sent without an answer and not found at the service: order again.
    """

    number: int
    input: dict[str, Any]
    id: str = ""
    fault: str = ""
    over: bool = False


class Purchases:
    """The orders of a ledger, rebuilt from its events: after a kill it is what it was before.

    Other events are passed over. ids: of all predictions that some line of the ledger claims;
    unclear: how many orders got no answer and were not found, so that they may have been billed all the same.
    """

    def __init__(self, events: Iterable[dict[str, Any]] = ()) -> None:
        self.requests: list[Request] = []
        self.ids: set[str] = set()
        self.refused = self.unclear = 0
        self._latest: dict[str, Request] = {}
        self._saved: set[tuple[str, int]] = set()
        for event in events:
            self.apply(event)

    @property
    def counted(self) -> int:
        """Orders that cost something, may have, or may yet; a fault of the model counts too."""
        return len(self.requests) - self.refused

    def under_way(self) -> set[tuple[str, int]]:
        """Prompt and seed of the orders whose picture is still to come."""
        open_ones = (_image(each.input) for each in self.requests if not (each.over or each.fault))
        return set(open_ones) - self._saved

    def latest(self, wanted: dict[str, Any]) -> Request | None:
        """The last order with exactly this input."""
        return self._latest.get(_key(wanted))

    def apply(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        kind = event["event"]
        if kind == "asking":
            request = Request(len(self.requests), event["input"])
            self.requests.append(request)
            self._latest[_key(request.input)] = request
            self._saved.discard(_image(request.input))  # its file was removed, and it is made again
        elif kind == "saved":
            self._saved.add(_image(event))
        elif kind in CHANGES:
            request = self.requests[event["request"]]
            if kind == "created":
                request.id = event["id"]
                self.ids.add(request.id)
            elif kind == "outcome":
                request.fault = event["fault"]
            else:
                request.over = True
                self.refused += kind == "refused"
                self.unclear += kind == "possibly billed"


def _image(wanted: dict[str, Any]) -> tuple[str, int]:
    return wanted["prompt"], wanted["seed"]


def _key(wanted: dict[str, Any]) -> str:
    return json.dumps(wanted, sort_keys=True)


CHANGES = ("created", "outcome", "refused", "lost", "possibly billed")
