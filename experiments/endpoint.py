"""The same classifier over HTTP: POST /predict with one or many files, JSON out; /health; /docs and /openapi.json."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, File, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datasets.named import LARGEST_UPLOAD, Upload
from experiments import classifier, runs
from experiments.classifier import Classifier
from experiments.material import choose_device
from experiments.shell import listening, names_of

MOST_FILES = 32  # of a request
MOST_BYTES = 64 * 2**20
SECONDS = 60.0  # in which its body must have come
MOST_HELD = 512 * 2**20  # bytes of all requests that are read, wait or are scored
MOST_WAITING = 100  # of those requests
AT_ONCE = 2  # of them scored
RETRY_AFTER = {"Retry-After": "5"}  # seconds


@dataclass
class Judged:
    """Of one file; probability: of fake. What could not be scored has a reason instead."""

    path: str
    verdict: str | None
    probability: float | None
    unlike: str
    reason: str


@dataclass
class Answer:
    """What `python scripts/predict.py --json` gives, of uploads."""

    run: str
    threshold: float
    files: list[Judged]


@dataclass
class Health:
    """That it works, and by which run: accuracy and its 95 % interval are of the run's own test images."""

    run: str
    data: str
    model: str
    aug: str
    accuracy: float
    interval: list[float]
    test_images: int
    threshold: float


@dataclass
class Problem:
    """Why there is no answer."""

    detail: str


class Door:
    """Lets in as many requests as there is room for, and refuses a body while it comes, not when it is there.

    names: by which it may be asked for, any where there are none; nor do pages of other names ask.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str] = ()) -> None:
        self.app = app
        self.names = names
        self.waiting = 0
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not self._is_known(b"//" + headers.get(b"host", b"")) or not self._is_known(headers.get(b"origin")):
            await _refusal(403, f"asked for by another name than {', '.join(self.names)}")(scope, receive, send)
            return
        if scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        declared = headers.get(b"content-length")
        size = int(declared) if declared else MOST_BYTES
        if size > MOST_BYTES:
            await _refusal(413, _too_large(), {"Connection": "close"})(scope, receive, send)
        elif self.waiting == MOST_WAITING or self.held + size > MOST_HELD:
            await _refusal(503, "busy with other requests; come again", RETRY_AFTER)(scope, receive, send)
        else:
            self.waiting += 1
            self.held += size
            try:
                await self.app(scope, _limited(receive), send)
            finally:
                self.waiting -= 1
                self.held -= size

    def _is_known(self, address: bytes | None) -> bool:
        try:
            return address is None or not self.names or urlsplit(address.decode("latin-1")).hostname in self.names
        except ValueError:
            return False


def build(judge: Classifier, names: Sequence[str] = ()) -> FastAPI:
    """The endpoint of one classifier; names: see Door."""
    # whose pages of description fetch nothing from elsewhere
    app = FastAPIOffline(title="Hueprint", description=__doc__ or "", redoc_url=None)
    places = asyncio.Semaphore(AT_ONCE)
    problems: dict[int | str, dict[str, Any]] = {
        400: {"model": Problem, "description": "not a form that can be read"},
        403: {"model": Problem, "description": "asked for by a name that is not its own"},
        408: {"model": Problem, "description": f"the body took longer than {SECONDS:g} s"},
        413: {"model": Problem, "description": _too_large()},
        422: {"model": Problem, "description": "no files, too many of them, or what are no files"},
        503: {"model": Problem, "description": "busy; Retry-After says when to come again"},
    }

    @app.get("/health")
    async def health() -> Health:
        """Whether it works, and by which run."""
        return Health(**judge.facts)

    @app.post("/predict", responses=problems)
    async def predict(files: Annotated[list[UploadFile], File(min_length=1, max_length=MOST_FILES)]) -> Answer:
        """Say of each file whether it is generated; a file that cannot be scored has the reason, the others go on."""
        uploads = [Upload(await file.read()) for file in files]
        async with places:
            verdicts = await run_in_threadpool(lambda: list(judge.judge(uploads)))
        rows = [verdict.row(file.filename or "") for file, verdict in zip(files, verdicts, strict=True)]
        return Answer(judge.facts["run"], judge.threshold, [Judged(**row) for row in rows])

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
        return _refusal(422, f"expected 1 to {MOST_FILES} files as multipart/form-data, each with the name `files`")

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _refusal(500, "a fault of the program; its log says more")

    app.add_middleware(Door, names=names)
    return app


def serve(*, host: str, port: int, runs_root: Path, run: Path | None) -> None:
    """Answer until the process is asked to end."""
    socket = listening(host, port)
    judge = classifier.load(run or runs.newest(runs_root), choose_device("auto"))
    print(f"run: {judge.run.folder}\nhttp://{host}:{socket.getsockname()[1]}/docs says how to ask", flush=True)
    app = build(judge, names_of(host))
    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_keep_alive=10)
    with suppress(KeyboardInterrupt):  # as a service ends
        uvicorn.Server(config).run(sockets=[socket])
    print("stopped", flush=True)


def _limited(receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body as it comes, up to MOST_BYTES and for SECONDS; HTTPException beyond."""
    come, until = 0, time.monotonic() + SECONDS

    async def more() -> Message:
        nonlocal come, until
        try:
            message = await asyncio.wait_for(receive(), until - time.monotonic() if until else None)
        except TimeoutError:
            raise HTTPException(408, f"the body took longer than {SECONDS:g} s", {"Connection": "close"}) from None
        come += len(message.get("body", b""))
        if come > MOST_BYTES:
            raise HTTPException(413, _too_large(), {"Connection": "close"})
        if not message.get("more_body", False):
            until = 0.0  # what comes after is the end of the connection, which may take as long as it likes
        return message

    return more


def _too_large() -> str:
    return f"accepted are requests of at most {MOST_BYTES} bytes, files of at most {LARGEST_UPLOAD}"


def _refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The connection stays where the rest of the body is not too large to be passed over: closed before it is read, it
    is reset, and the answer may be lost on the way."""
    return JSONResponse({"detail": detail}, status, headers)
