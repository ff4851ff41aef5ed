"""The endpoint as a client meets it: the script on a port of this machine, odd files, limits, crowds, and a fuzzer."""

import asyncio
import concurrent.futures
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("fastapi", reason="FastAPI, of the extra [app], is not installed")
import requests
from PIL import Image

from datasets.named import LARGEST_UPLOAD, Upload
from experiments import classifier, endpoint, runs
from tests.conftest import SMALL
from tests.odd import odd_files, saved
from tests.services import PATIENCE, ROOT, served

EXAMPLE = next((ROOT / "docs" / "examples").glob("*.jpg")).read_bytes()


@pytest.fixture(scope="module")
def service(tmp_path_factory, small_data):
    """Address, process and root of the runs."""
    folder = tmp_path_factory.mktemp("serve")
    words = [*SMALL, f"data_root={small_data}", f"runs_root={folder / 'runs'}"]
    subprocess.run([sys.executable, "-m", "experiments.run", *words], cwd=ROOT, check=True, capture_output=True)
    with served("serve", "/health", folder / "log", "--runs", folder / "runs") as (address, process):
        yield address, process, folder / "runs"
    assert "Traceback" not in (folder / "log").read_text()


def form(files: list[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """A multipart body whose names stand as they are, as no client of good manners would send them."""
    body = b"".join(
        b'--cut\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), data)
        for name, data in files
    )
    return body + b"--cut--\r\n", {"Content-Type": "multipart/form-data; boundary=cut"}


def asked(address: str, files: list[tuple[str, bytes]], more: dict[str, str] = {}) -> requests.Response:  # noqa: B006
    body, headers = form(files)
    patience = 10 * PATIENCE  # of a crowd the last waits for all the others
    return requests.post(f"{address}/predict", data=body, headers=headers | more, timeout=patience)


def peak(process: subprocess.Popen) -> int:
    """Most bytes of memory that the process ever held."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc here to measure memory by")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024


def test_each_file_has_a_row_as_predict_gives_it_and_what_is_hostile_a_reason(service):
    address, _, root = service
    files = {name.replace("\n", " "): found for name, found in odd_files().items()}  # none can stand in a header
    answer = asked(address, [(name, data) for name, (data, _) in files.items()])
    assert answer.status_code == 200
    rows = answer.json()["files"]
    judge = classifier.load(runs.newest(root), torch.device("cpu"))
    assert [row["path"] for row in rows] == list(files) and answer.json()["threshold"] == judge.threshold
    for row, (data, readable) in zip(rows, files.values(), strict=True):
        [verdict] = judge.judge([Upload(data)])
        assert (row["reason"] == "") == readable and row["reason"] == verdict.bad
        assert row["verdict"] == (verdict.word or None)
        assert row["probability"] is None or row["probability"] == pytest.approx(verdict.probability, abs=1e-5)
    assert str(root.parent) not in answer.text
    health = requests.get(f"{address}/health", timeout=PATIENCE).json()
    assert health == json.loads(json.dumps(judge.facts)) and health["run"] == answer.json()["run"]


def test_what_is_no_form_of_files_is_an_error_in_json_without_any_place(service):
    address, _, root = service
    body, _ = form([("a.jpg", EXAMPLE)])
    many = [("a.jpg", EXAMPLE)] * (endpoint.MOST_FILES + 1)
    without = {"data": body, "headers": {"Content-Type": "multipart/form-data"}}  # a boundary
    wrong = [
        (404, requests.get(f"{address}/nowhere", timeout=PATIENCE)),
        (405, requests.get(f"{address}/predict", timeout=PATIENCE)),
        (422, requests.post(f"{address}/predict", json={"files": ["a"]}, timeout=PATIENCE)),
        (400, requests.post(f"{address}/predict", timeout=PATIENCE, **without)),
        (422, asked(address, many)),
    ]
    for status, answer in wrong:
        assert answer.status_code == status and answer.json()["detail"]
        assert str(root.parent) not in answer.text and str(ROOT) not in answer.text
    large, small = asked(address, [("large", bytes(LARGEST_UPLOAD + 1)), ("a.jpg", EXAMPLE)]).json()["files"]
    assert f"accepted are at most {LARGEST_UPLOAD}" in large["reason"] and small["verdict"]


@pytest.mark.parametrize("declared", [True, False])
def test_two_gibibytes_are_refused_while_they_come_and_not_held(service, declared):
    address, process, _ = service
    before = peak(process)
    host, port = address.removeprefix("http://").split(":")
    piece, sent = bytes(2**20), 0
    body, headers = form([("a.jpg", b"")])
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
        size = f"Content-Length: {2 * 2**30}" if declared else "Transfer-Encoding: chunked"
        head = ["POST /predict HTTP/1.1", f"Host: {host}", f"Content-Type: {headers['Content-Type']}", size, "", ""]
        line.sendall("\r\n".join(head).encode())
        start = body.partition(b"\r\n--cut--")[0]
        try:
            line.sendall(start if declared else b"%x\r\n%s\r\n" % (len(start), start))
            while sent < 2 * 2**30:
                line.sendall(piece if declared else b"%x\r\n%s\r\n" % (len(piece), piece))
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = http.client.HTTPResponse(line)
            answer.begin()
            assert answer.status == 413 and "at most" in json.loads(answer.read())["detail"]
        except ConnectionResetError:
            pass  # so much was under way that the answer was lost with it
    assert sent < 2 * endpoint.MOST_BYTES
    assert peak(process) - before < 4 * endpoint.MOST_BYTES
    assert asked(address, [("a.jpg", EXAMPLE)]).status_code == 200


def test_of_a_crowd_each_is_answered_or_told_when_to_come_again(service):
    address, process, _ = service
    before = peak(process)
    noise = saved(Image.effect_noise((600, 600), 90), "PNG")
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        crowd = [pool.submit(asked, address, [("a.png", noise)]) for _ in range(200)]
        assert requests.get(f"{address}/health", timeout=PATIENCE).status_code == 200
        assert not all(each.done() for each in crowd)
        answers = [each.result() for each in crowd]
    statuses = [answer.status_code for answer in answers]
    assert len(statuses) == 200 and set(statuses) <= {200, 503} and statuses.count(200) >= endpoint.MOST_WAITING
    for answer in answers:
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0 and "busy" in answer.json()["detail"]
        else:
            assert len(answer.json()["files"]) == 1 and not answer.json()["files"][0]["reason"]
    assert peak(process) - before < 300 * 2**20
    assert asked(address, [("a.png", noise)]).status_code == 200


@pytest.mark.parametrize(
    ("size", "most"),
    [(b"20", endpoint.MOST_WAITING), (str(endpoint.MOST_BYTES).encode(), 8), (None, 8)],  # 8 x 64 MiB are all
)
def test_whoever_finds_no_room_is_told_to_come_again_and_room_is_given_back(size, most):
    go_on, said = asyncio.Event(), []

    async def app(scope, receive, send):
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        said.append(message)

    async def crowd():
        door = endpoint.Door(app)
        scope = {"type": "http", "method": "POST", "headers": [(b"content-length", size)] if size else []}
        inside = [asyncio.create_task(door(scope, None, send)) for _ in range(most)]
        await asyncio.sleep(0)
        assert not said
        await door(scope, None, send)
        assert said[0]["status"] == 503 and (b"retry-after", b"5") in said[0]["headers"]
        go_on.set()
        await asyncio.gather(*inside)
        await door(scope, None, send)
        assert [each["status"] for each in said if "status" in each] == [503, *[200] * (most + 1)]
        assert door.waiting == door.held == 0

    asyncio.run(crowd())


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Origin": "http://127.0.0.1:8502"}, 200),
        ({"Host": "evil.example"}, 403),  # whose name was made to mean this machine
        ({"Host": "["}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_only_those_of_this_machine_are_answered(service, more, status):
    address, _, _ = service
    assert requests.get(f"{address}/health", headers=more, timeout=PATIENCE).status_code == status
    if status == 403:
        refused = asked(address, [("a.jpg", EXAMPLE)], more)
        assert refused.status_code == 403 and "localhost" in refused.json()["detail"]


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(endpoint, "SECONDS", 0.05)

    async def never():
        await asyncio.Event().wait()

    async def wait():
        await endpoint._limited(never)()

    with pytest.raises(endpoint.HTTPException) as raised:
        asyncio.run(wait())
    assert raised.value.status_code == 408


def test_the_page_that_describes_it_needs_nothing_from_elsewhere(service, browser):
    address, _, _ = service
    page, elsewhere, errors = browser.new_page(), [], []
    page.set_default_timeout(PATIENCE * 1000)
    page.on("request", lambda request: elsewhere.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/docs")
    page.locator(".opblock-post").wait_for()
    page.close()
    assert not errors and not [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))]


def test_a_refusal_arrives_though_the_body_comes_after_it(service):
    host, _, port = service[0].removeprefix("http://").partition(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: 200000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
        line.sendall(head.encode())
        for _ in range(2):
            time.sleep(0.1)  # whoever closes early has closed by then
            line.sendall(b"x" * 100_000)
        assert line.recv(1000).startswith(b"HTTP/1.1 422 ")


@pytest.mark.slow
def test_a_fuzzer_finds_no_answer_that_the_description_does_not_allow(service, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis, of the extra [test], is not installed")
    address, _, _ = service
    command = [sys.executable, "-m", "schemathesis.cli"]
    words = ["run", f"{address}/openapi.json", "--max-examples", "60", "--seed", "0", "--no-color"]
    words += ["--exclude-checks", "negative_data_rejection"]  # to it, bytes that a form holds can be of a wrong type
    told = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
