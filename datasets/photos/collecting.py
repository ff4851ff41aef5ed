"""From candidates to a collection: each one is taken or refused with a reason, and the ledger knows which."""

import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from datasets.images import BadImage, ImageSettings, decode
from datasets.ledger import Ledger, sync_folder
from datasets.manifest import whole_file
from datasets.photos.api import KEPT, ServiceError
from datasets.photos.candidates import MAX_PIXELS, Candidate, Rules, objection, page_key, plain_title, too_small
from datasets.web import AskedToWait, Refused, Unreachable

IMAGES = "images"
CONNECTIONS = 2  # at once, the most that Wikimedia's file host allows
ATTEMPTS = 4
# Wikimedia's robot policy of 2025 allows 25 Mbit/s, measured over 10 s; this is 22 at most, for buffers hold some more.
BYTES_A_SECOND = 2_500_000
BYTES_AHEAD = 2_500_000
BACKOFF = 1.0  # seconds before the second attempt, doubled each time
SILENT = 3  # so many pictures in a row that cannot be reached: the network, not the pictures
DECODING = ImageSettings(min_side=1, max_pixels=MAX_PIXELS)
EXTENSIONS = {"JPEG": "jpg", "TIFF": "tif"}  # of the other formats: their name


@dataclass(slots=True)
class Outcome:
    """What became of one search: taken, refused by reason, and those that could not be reached this time."""

    taken: int = 0
    refused: Counter = field(default_factory=Counter)
    unreachable: int = 0
    unlicensed: int = 0  # of the taken ones

    @property
    def found(self) -> int:
        return self.taken + self.unreachable + self.refused.total()


class Pace:
    """A speed that downloads share: `rate` bytes a second, after `ahead` bytes that may come at once."""

    def __init__(self, rate: float, *, ahead: float) -> None:
        self._rate, self._ahead = rate, ahead / rate
        self._due = 0.0  # when all that has come will be paid for
        self._guard = threading.Lock()

    def spend(self, size: int) -> None:
        """Wait until `size` more bytes are paid for."""
        with self._guard:
            self._due = max(self._due, time.monotonic() - self._ahead) + size / self._rate
            wait = self._due - time.monotonic()
        if wait > 0:
            time.sleep(wait)


def collect(
    candidates: Iterable[Candidate],
    ledger: Ledger,
    *,
    source: str,
    query: str,
    rules: Rules,
    n: int | None,
    bring: Callable[[Candidate], bytes],
) -> None:
    """Take candidates in their order until `n` of this source and query are in the collection; None: all.

    A picture is in the collection when its file is whole on disk and the ledger says so, in this order. What is there
    already, or was refused for what its bytes are, is not brought again; what is decided from descriptions is decided
    anew each time. Decisions fall in the order of the candidates, whichever download ends first, so an interrupted
    search that is started again ends with the same pictures. `bring` is called in threads, CONNECTIONS at once.
    Raises ServiceError where the network fails again and again or a host of pictures asks for a long pause, OSError
    where the disk does not take a picture.
    """
    book = _Book(ledger, source, query, rules)
    fresh = filter(book.is_wanted, candidates)
    waiting: deque[tuple[Candidate, Future[bytes]]] = deque()
    failure: ServiceError | None = None
    silent = 0
    with tqdm(total=n, initial=book.taken, unit="photo", disable=None) as bar:
        while n is None or book.taken < n:
            room = CONNECTIONS if n is None else min(CONNECTIONS, n - book.taken)
            while failure is None and len(waiting) < room:
                try:
                    candidate = next(fresh)
                except StopIteration:
                    break
                except ServiceError as error:  # what is on its way is kept first
                    failure = error
                else:
                    waiting.append((candidate, _begun(bring, candidate)))
            if not waiting:
                if failure is not None:
                    raise failure
                return
            candidate, result = waiting.popleft()
            try:
                book.keep(candidate, result.result())
            except Refused as error:
                book.refuse(candidate, error.reason, final=True)
            except Unreachable as error:
                book.write("unreachable", candidate, reason=error.reason)
                silent += 1
                if silent == SILENT:
                    raise ServiceError(f"{candidate.url}: {error}, as {SILENT} pictures in a row; {KEPT}") from error
                continue
            except AskedToWait as error:
                book.write("unreachable", candidate, reason="the server asks for a long pause")
                failure = failure or ServiceError(f"{error}; {KEPT}")
                continue
            silent = 0
            bar.update(book.taken - bar.n)


def outcome(events: Iterable[dict[str, Any]], source: str, query: str) -> Outcome:
    """What became of all candidates of a search so far, the last word on each."""
    last = {e["origin"]: e for e in events if e.get("source") == source and e.get("query") == query}
    result = Outcome()
    for event in last.values():
        if event["event"] == "saved":
            result.taken += 1
            result.unlicensed += not event["license"]
        elif event["event"] == "refused":
            result.refused[event["reason"]] += 1
        else:
            result.unreachable += 1
    return result


class _Book:
    """What the ledger knows, by the questions that are asked of it; it also writes what is decided."""

    def __init__(self, ledger: Ledger, source: str, query: str, rules: Rules) -> None:
        self.ledger = ledger
        self.source, self.query, self.rules = source, query, rules
        images = ledger.folder / IMAGES
        images.mkdir(exist_ok=True)
        for part in images.glob(".*.part"):
            part.unlink()  # left behind by a process that was killed
        self.met: set[str] = set()
        self.last: dict[str, dict] = {}  # of this search, by origin
        self.pages: set[str] = set()  # saved from the network, by origin
        self.hashes: dict[str, dict] = {}  # saved, by sha256
        self.final: dict[str, str] = {}  # refused for what came, by url
        self.taken = 0
        for event in ledger.events:
            self.note(event)

    def note(self, event: dict[str, Any]) -> None:
        saved = event["event"] == "saved"
        if saved and not (self.ledger.folder / event["file"]).is_file():
            return  # removed by hand: it is brought again
        if saved:
            self.hashes[event["sha256"]] = event
            if event["url"]:
                self.pages.add(event["origin"])
        elif event["event"] == "refused" and event["final"]:
            self.final[event["url"]] = event["reason"]
        if (event["source"], event["query"]) == (self.source, self.query):
            before = self.last.get(event["origin"])
            self.taken += saved - (before is not None and before["event"] == "saved")
            self.last[event["origin"]] = event

    def write(self, event: str, candidate: Candidate, **facts: object) -> None:
        whence = {"source": self.source, "query": self.query, "origin": candidate.origin, "url": candidate.url}
        self.ledger.append(event, **whence, **facts)
        self.note(self.ledger.events[-1])

    def is_wanted(self, candidate: Candidate) -> bool:
        """Whether its bytes are worth having; where they are not, the ledger says why."""
        if candidate.origin in self.met:
            return False
        self.met.add(candidate.origin)
        if candidate.url and self.last.get(candidate.origin, {}).get("event") == "saved":
            return False
        if candidate.url and candidate.origin in self.pages:
            reason = "in the collection already, from another search"
        else:
            known = self.final.get(candidate.url, "")
            # One that was too small for other rules is looked at again.
            outdated = known.startswith("smaller than ") and known != too_small(self.rules)
            reason = objection(candidate, self.rules) or ("" if outdated else known)
        if reason:
            self.refuse(candidate, reason, final=False)
        return not reason

    def refuse(self, candidate: Candidate, reason: str, *, final: bool, detail: str = "") -> None:
        """final: for what came from its url, so that it need not be brought again."""
        last = self.last.get(candidate.origin, {})
        if (last.get("event"), last.get("reason")) != ("refused", reason):
            facts = {"detail": detail} if detail else {}
            self.write("refused", candidate, reason=reason, final=final and bool(candidate.url), **facts)

    def keep(self, candidate: Candidate, data: bytes) -> None:
        """Save what came of a candidate, or refuse it for what it is."""
        sha256 = hashlib.sha256(data).hexdigest()
        if same := self.hashes.get(sha256):
            if self.last.get(candidate.origin) is not same:
                self.refuse(candidate, "the same file as another", final=True, detail=same["file"])
            return
        try:
            _, facts = decode(data, DECODING)
        except BadImage as error:
            self.refuse(candidate, "cannot be decoded whole", final=True, detail=str(error))
            return
        if min(facts.width, facts.height) < self.rules.min_side:
            self.refuse(candidate, too_small(self.rules), final=True)
            return
        key = page_key(candidate.origin) if candidate.url else sha256[:12]
        file = f"{IMAGES}/{key}.{EXTENSIONS.get(facts.format, facts.format.lower())}"
        with whole_file(self.ledger.folder / file, "wb") as out:
            out.write(data)
        sync_folder(self.ledger.folder / IMAGES)
        self.write(
            "saved",
            candidate,
            key=key,
            file=file,
            sha256=sha256,
            bytes=len(data),
            title=candidate.title or plain_title(candidate.origin.rpartition("/")[2]),
            author=candidate.author,
            credit=candidate.credit,
            license=candidate.license,
            license_url=candidate.license_url,
            page=candidate.page,
            uploaded=candidate.uploaded,
        )


def _begun(bring: Callable[[Candidate], bytes], candidate: Candidate) -> Future[bytes]:
    """The bytes of a candidate, on their way in a thread that a program which is stopped does not wait for."""
    result: Future[bytes] = Future()

    def work() -> None:
        try:
            result.set_result(_patient(bring, candidate))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result


def _patient(bring: Callable[[Candidate], bytes], candidate: Candidate) -> bytes:
    for attempt in range(ATTEMPTS - 1):
        try:
            return bring(candidate)
        except Unreachable as fault:
            time.sleep(max(fault.wait, BACKOFF * 2**attempt))
    return bring(candidate)
