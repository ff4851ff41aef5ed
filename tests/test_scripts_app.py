"""The page as a reader uses it: its script, a real browser, pictures handed over by a real input."""

import http.client
import socket
import subprocess
import sys

import pytest

from tests.conftest import SMALL
from tests.odd import bomb
from tests.services import PATIENCE, ROOT, served

pytest.importorskip("streamlit", reason="Streamlit, of the extra [app], is not installed")
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.jpg"))


@pytest.fixture(scope="module")
def address(tmp_path_factory, small_data):
    folder = tmp_path_factory.mktemp("page")
    words = [*SMALL, f"data_root={small_data}", f"runs_root={folder / 'runs'}"]
    subprocess.run([sys.executable, "-m", "experiments.run", *words], cwd=ROOT, check=True, capture_output=True)
    with served("app", "/_stcore/health", folder / "log", "--runs", folder / "runs") as (address, _):
        yield address
    assert "Traceback" not in (folder / "log").read_text()


@pytest.mark.parametrize(("size", "scheme"), [((1280, 900), "light"), ((390, 844), "dark")])
def test_pictures_are_uploaded_and_their_colours_turned(browser, address, tmp_path, size, scheme):
    from playwright.sync_api import expect

    (tmp_path / "bomb.png").write_bytes(bomb())
    with (tmp_path / "large.jpg").open("wb") as large:
        large.truncate(2 * 2**30)
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page, errors, elsewhere = context.new_page(), [], []
    page.set_default_timeout(PATIENCE * 1000)
    expect.set_options(timeout=PATIENCE * 1000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto(address)
    page.locator("input[type=file]").set_input_files([*EXAMPLES, tmp_path / "bomb.png", tmp_path / "large.jpg"])
    expect(page.get_by_role("heading", name="5 files: ")).to_contain_text("1 not scored")
    expect(page.get_by_text("File must be")).to_be_visible()  # the large one, which is never sent
    picture = page.locator("[data-testid=stImage] img").last
    before = picture.get_attribute("src")
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("luma x16")).to_be_visible()
    expect(picture).not_to_have_attribute("src", before)
    with page.expect_download() as table:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    lines = table.value.path().read_text().splitlines()
    assert lines[0].startswith("path,verdict,") and len(lines) == 6
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    dark = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (sum(map(int, dark[4:-1].split(","))) < 300) == (scheme == "dark")
    context.close()
    assert not errors
    assert not [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"Host": "localhost:1"}, 101),
        ({"Host": "evil.example"}, 403),  # whose name was made to mean this machine
        ({"Origin": "https://evil.example"}, 403),
    ],
)
def test_only_pages_of_this_machine_may_talk_to_it(address, more, status):
    line = http.client.HTTPConnection(address.removeprefix("http://"), timeout=PATIENCE)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    line.request("GET", "/_stcore/stream", headers={**headers, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", **more})
    assert line.getresponse().status == status
    line.close()


@pytest.mark.parametrize("script", ["app", "serve"])
def test_help_is_instant_and_a_taken_port_is_one_line(script, tmp_path):
    command = [sys.executable, "-X", "importtime", str(ROOT / "scripts" / f"{script}.py")]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in told.stdout and "127.0.0.1" in told.stdout
    assert not {"torch", "numpy", "streamlit", "fastapi"} & {line.split()[-1] for line in told.stderr.splitlines()}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = subprocess.run([command[0], command[-1], "--port", port], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 2 and f"--port {port}: " in told.stderr.splitlines()[-1]
