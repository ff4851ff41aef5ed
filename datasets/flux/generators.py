"""Makers of pictures from prompts: what one must offer, and FLUX.1-schnell through Replicate's paid service."""

import re
import threading
import time
from typing import Any, Protocol

from datasets import web
from datasets.flux import schnell
from datasets.flux.purchases import Purchases, Request
from datasets.flux.recent import Recent
from datasets.flux.service import Answered, NoAnswer, NotSent, Service, ServiceError, explained
from datasets.images import BadImage, ImageSettings, decode
from datasets.ledger import Ledger

USER_AGENT = "hueprint/0.1"
MODEL_SECONDS = 300.0  # for one picture; a cold start takes a minute
TRIES = 4  # of an order, or of a file, that does not come, the first included
QUESTIONS = 6  # the same for what costs nothing: half a minute
MOST_LOSSES = 3  # files lost for one image, after which something is wrong with all of them
LONGEST_LIMIT = 120.0  # seconds that a rate limit may ask for
MOST_LIMITS = 60  # refusals by the rate limit in a row
GONE = ("404", "410")  # answers to the question for a file that tell that it will never come


class ImageGenerator(Protocol):
    """record: what makes its pictures besides prompt and seed, as JSON can hold it."""

    record: dict[str, Any]

    def generate(self, prompt: str, seed: int) -> bytes:
        """A whole PNG file; ModelFault where this prompt with this seed gives none, and another seed may."""
        ...


class ModelFault(Exception):
    """The model made no picture of this prompt with this seed: a safety filter, or a failure of its own."""


class Stopped(Exception):
    """The collection ends and nothing is begun any more; why is told elsewhere."""


class ReplicateGenerator:
    """FLUX.1-schnell through Replicate; every order stands in the ledger before and after it is sent.

    generate() of a prompt and seed that the ledger knows goes on where an earlier process left off, killed or not: it
    asks by its id for what was ordered, and looks in the service's list of recent predictions for an order whose answer
    is unknown, before it orders anew. Threads may call it at once. Orders go out one after another, so that the rate
    limit of one holds for all; after an error that stands in the way of every order, no more of them go out.

    record: as schnell.record gives it. max_cost: US dollars for all orders of the ledger together, or None. ending:
    once it is set, nothing is ordered and generate() raises Stopped; what was ordered may still come home.
    Raises ServiceError, and DataError for the user's mistakes.
    """

    def __init__(
        self, ledger: Ledger, *, record: dict[str, Any], token: str, max_cost: float | None, ending: threading.Event
    ) -> None:
        self.record = record
        self._ledger = ledger
        self._purchases = Purchases(ledger.events)
        self._service = Service(token)
        self._file_hosts = ["replicate.delivery", "*.replicate.delivery"]
        self._file_hosts += [self._service.host] * self._service.loopback
        self._max_cost = max_cost
        self._ending = ending
        self._turn = threading.Lock()
        self._recent = Recent(self._get)

    def generate(self, prompt: str, seed: int) -> bytes:
        """A PNG file, decoded once to be sure that it is whole; paid for once while the service remembers it."""
        wanted = {"prompt": prompt, "seed": seed, **self.record["input"]}
        for _ in range(MOST_LOSSES):
            request = self._ordered(wanted)
            url = self._outcome(request)
            data = self._file(request, url) if url else b""
            if data:
                return data
        raise self._closed_by(f"{MOST_LOSSES} paid files of one image were lost, the last of prediction {request.id}")

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def _ordered(self, wanted: dict[str, Any]) -> Request:
        """The order with this input that is known, found or made; the ledger holds its id."""
        for _ in range(TRIES):
            request = self._purchases.latest(wanted)
            if request and not request.over and not request.id:
                self._look_for(request)
            if request is None or request.over:
                request = self._order(wanted)
            if request.id:
                return request
        raise self._closed_by(f"Replicate does not answer, {TRIES} times, but may have billed what it was asked for")

    def _order(self, wanted: dict[str, Any]) -> Request:
        """Send an order when its turn has come; the request has no id where the answer is unknown."""
        with self._turn:
            for _ in range(MOST_LIMITS):
                if self._ending.is_set():
                    raise Stopped
                if self._max_cost is not None and self._purchases.counted >= schnell.affordable(self._max_cost):
                    raise self._closed_by(
                        f"--max-cost {self._max_cost:g} is reached by what was ordered so far; give more"
                    )
                self._note("asking", **self.record | {"input": wanted}, cost=schnell.PRICE)
                request = self._purchases.requests[-1]
                try:
                    answer = self._service.call(
                        "POST", f"/v1/models/{schnell.MODEL}/predictions", json={"input": wanted}
                    )
                except NotSent as fault:
                    self._note("refused", request=request.number, status=0, reason=str(fault))
                    raise self._closed_by(f"Replicate cannot be reached: {fault}") from fault
                except NoAnswer as fault:
                    self._note("unanswered", request=request.number, reason=str(fault))
                    return request
                except Answered as error:
                    self._note("refused", request=request.number, status=error.status, reason=str(error))
                    if error.status != 429:
                        raise self._closed_by(explained(error)) from error
                    if self._ending.wait(self._limit(str(error))):
                        raise Stopped from error
                    continue
                if answer.get("id"):
                    self._note("created", request=request.number, id=str(answer["id"]))
                else:
                    self._note("unanswered", request=request.number, reason="the answer has no id")
                return request
            raise self._closed_by(f"Replicate's rate limit refused {MOST_LIMITS} orders in a row; try again later")

    def _limit(self, text: str) -> float:
        """Seconds that the rate limit asks to wait for."""
        found = re.search(r"resets in ~?(\d+)\s*s", text)
        seconds = float(found[1]) if found else 10.0
        if seconds > LONGEST_LIMIT:
            raise self._closed_by(f"Replicate's rate limit takes orders again in {seconds:.0f} s; try again then")
        return seconds

    def _look_for(self, request: Request) -> None:
        """Claim the recent prediction that has this order's input, or note that there is none: then it is over.

        The service may still be busy with it, even where its sender is gone, so the list is looked at for some time.
        """
        start, pause = time.monotonic(), 4 * self._service.pause
        while True:
            left = start + self._service.settle - time.monotonic()
            if name := self._recent.find(request.input, self._purchases.ids):
                self._note("created", request=request.number, id=name, found=True)
                return
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause *= 2
        self._note("possibly billed", request=request.number)

    def _outcome(self, request: Request) -> str:
        """The address of the picture once it is made; empty, and noted as lost, where the service has none any more."""
        if request.fault:
            raise ModelFault(request.fault)
        deadline = time.monotonic() + MODEL_SECONDS
        while True:
            answer = self._get(f"/v1/predictions/{request.id}")
            if answer is None:
                self._lost(request, "404")
                return ""
            status, output = answer.get("status"), answer.get("output")
            facts = {"request": request.number, "id": request.id, "status": status}
            if status == "succeeded":
                url = str((output[0] if isinstance(output, list) and output else output) or "")
                self._note("outcome", **facts, fault="", url=url)
                if not url:
                    self._lost(request, "the service has deleted its output")
                return url
            if status in ("failed", "canceled", "aborted"):
                fault = f"{status}: {self._service.plain(answer.get('error') or 'no reason given')}"
                self._note("outcome", **facts, fault=fault, url="")
                raise ModelFault(fault)
            if time.monotonic() > deadline:
                raise self._closed_by(f"prediction {request.id} is not done after {MODEL_SECONDS:g} s")
            time.sleep(self._service.pause)

    def _file(self, request: Request, url: str) -> bytes:
        """The picture's file, decoded whole; empty, and noted as lost, where it is gone or comes broken twice.

        Whatever else keeps it back would keep back the next one too, which is not paid for.
        """
        broken = 0
        for attempt in range(TRIES):
            try:
                data = web.fetch_picture(
                    url,
                    hosts=self._file_hosts,
                    user_agent=USER_AGENT,
                    loopback=self._service.loopback,
                    heed_opt_out=False,  # it is the user's own picture
                )
                kind = decode(data, ImageSettings())[1].format
                if kind == "PNG":
                    return data
                reason = f"{kind} instead of PNG"
                break
            except web.Unreachable as error:
                reason = error.reason
                time.sleep(max(error.wait, 2 * self._service.pause * 2**attempt))
            except web.AskedToWait as error:
                reason = f"{error}; what is paid is kept there for one hour"
                raise self._closed_by(f"the file of prediction {request.id} does not come: {reason}") from error
            except BadImage as error:
                reason = str(error)
                broken += 1
                if broken == 2:
                    return self._lost(request, reason)
            except web.Refused as error:
                reason = error.reason
                if reason in GONE:
                    return self._lost(request, reason)
                break
        raise self._closed_by(f"the file of prediction {request.id} does not come: {reason}")

    def _get(self, path: str) -> dict[str, Any] | None:
        """The answer to a question that costs nothing, asked several times; None for 404."""
        for attempt in range(QUESTIONS):
            if attempt:
                time.sleep(self._service.pause * 2**attempt)
            try:
                return self._service.call("GET", path)
            except NoAnswer as fault:
                reason = str(fault)
            except Answered as error:
                if error.status == 404:
                    return None
                if error.status != 429:
                    raise self._closed_by(explained(error)) from error
                reason = "too many questions"
        raise self._closed_by(f"Replicate does not answer, {QUESTIONS} times: {reason}")

    def _note(self, event: str, **facts: Any) -> None:
        self._purchases.apply(self._ledger.append(event, **facts))

    def _lost(self, request: Request, reason: str) -> bytes:
        self._note("lost", request=request.number, id=request.id, reason=reason)
        return b""

    def _closed_by(self, error: Exception | str) -> Exception:
        """The error to raise after which no more orders go out; what is under way may still come home."""
        self._ending.set()
        return ServiceError(error) if isinstance(error, str) else error
