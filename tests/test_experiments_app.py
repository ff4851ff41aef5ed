"""The page: verdicts of what is uploaded, hostile files among it, and what it says without a run."""

import csv
import io
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import synthetic
from datasets.named import LARGEST_UPLOAD, Upload
from detector.explain import grad_cam
from experiments import app, classifier, runs, shell
from experiments.app import drawings
from experiments.classifier import Verdict
from experiments.views import under
from tests.conftest import SMALL
from tests.odd import odd_files

testing = pytest.importorskip("streamlit.testing.v1", reason="Streamlit, of the extra [app], is not installed")
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "experiments" / "app" / "page.py"
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.jpg"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small_data):
    """The root of one small run, by the verb that users run."""
    root = tmp_path_factory.mktemp("app") / "runs"
    words = [*SMALL, "aug=invert", f"data_root={small_data}", f"runs_root={root}"]
    subprocess.run([sys.executable, "-m", "experiments.run", *words], cwd=ROOT, check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def judge(trained):
    return classifier.load(runs.newest(trained), torch.device("cpu"))


@pytest.fixture
def page(trained, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(PAGE), str(trained)])
    return testing.AppTest.from_file(PAGE, default_timeout=60)


@pytest.fixture
def own_page(trained, tmp_path, monkeypatch):
    """The same over a copy of the run below tmp_path/runs, which a test may harm."""
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.setattr(sys, "argv", [str(PAGE), str(tmp_path / "runs")])
    return testing.AppTest.from_file(PAGE, default_timeout=60)


def test_the_examples_are_pictures_that_the_program_draws():
    drawn = {row.path: drawing for row, drawing in synthetic.rows(synthetic.SyntheticSettings())}
    assert len(EXAMPLES) == 4
    for path in EXAMPLES:
        label, name = path.name.split("-")
        assert path.read_bytes() == drawn[f"test/{label.upper()}/{name}"].read()


def test_an_example_gets_its_verdict_its_meter_and_whose_it_is(page, judge):
    page.run()
    assert not page.exception and "It has seen drawn pictures only" in page.caption[0].value
    page.pills[0].set_value(EXAMPLES[0].name).run()
    [verdict] = judge.judge([Upload(EXAMPLES[0].read_bytes())])
    assert not page.exception and page.subheader[0].value.startswith(verdict.word)
    assert f'aria-valuenow="{verdict.probability:.3f}"' in page.html[0].value
    facts, said = judge.facts, page.markdown[0].value
    assert f"`{facts['run']}`" in said and re.fullmatch(r"synthetic/cnn32/invert/[0-9a-f]{10}-seed0", facts["run"])
    low, high = facts["interval"]
    assert f"{100 * facts['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)" in said
    assert low < facts["accuracy"] < high and facts["test_images"] == 32
    page.select_slider[0].set_value(64).run()
    page.radio[0].set_value("hsv").run()
    assert not page.exception and page.select_slider[0].value == 64


def test_of_many_files_each_has_a_row_and_what_is_hostile_has_a_reason(page, trained):
    files = odd_files()
    page.run().file_uploader[0].set_value([(name, data, "image/jpeg") for name, (data, _) in files.items()]).run()
    assert not page.exception
    table = page.dataframe[0].value
    assert list(page.dataframe[0].proto.column_order)[:2] == ["verdict", "probability"]  # whatever the names' length
    assert list(table["verdict"] != "not scored") == [readable for _, readable in files.values()]
    assert all(map(str.isprintable, table["path"]))
    said = "".join(str(element.value) for kind in ("markdown", "error", "text") for element in page.get(kind))
    assert str(trained) not in said + table.to_csv()
    bad = [place for place, (_, readable) in enumerate(files.values()) if not readable]
    for place in bad[:2]:
        page.selectbox[0].set_value(place).run()
        assert not page.exception and page.error[0].value.startswith("Not scored: ")
    page.file_uploader[0].set_value([("again.jpg", EXAMPLES[0].read_bytes(), "image/jpeg")]).run()
    assert not page.exception and not page.dataframe and page.text[0].value == "again.jpg"


def test_without_a_run_the_page_says_what_to_do_and_looks_again(own_page, tmp_path):
    (tmp_path / "runs").rename(tmp_path / "away")
    own_page.run()
    assert not own_page.exception and own_page.warning[0].value.startswith("There is no finished run yet")
    assert own_page.code[0].value == "make run" and not own_page.file_uploader
    (tmp_path / "away").rename(tmp_path / "runs")
    own_page.button[0].click().run()
    assert not own_page.exception and own_page.file_uploader and not own_page.warning


def test_whose_verdicts_they_are_does_not_say_where_the_run_lies(judge, tmp_path):
    moved = tmp_path / "home" / "somebody"
    shutil.copytree(judge.run.folder, moved)
    assert classifier.load(moved, judge.device).facts == judge.facts


def test_a_run_that_cannot_be_used_is_said_without_its_place(own_page, tmp_path):
    next((tmp_path / "runs").rglob("last.pt")).write_bytes(b"no checkpoint")
    own_page.run()
    assert not own_page.exception and own_page.error[0].value.startswith("The run cannot be used")
    assert str(tmp_path) not in "".join(element.value for element in [*own_page.error, *own_page.markdown])


def test_threads_that_use_one_classifier_get_what_each_would_get_alone(judge):
    pixels = np.random.RandomState(0).randint(0, 256, (64, 32, 32, 3)).astype(np.uint8)
    pictures = classifier.Pictures(pixels, np.zeros(64), judge.device)
    parts = [torch.arange(place, 64) for place in range(8)]
    alone = [judge.scores(pictures, part) for part in parts]
    found, start = {}, threading.Barrier(len(parts))

    def work(place):
        start.wait()
        for _ in range(5):
            found[place] = judge.scores(pictures, parts[place])
            judge.explained(pixels[:4])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, (scores, strange) in enumerate(alone):
        assert np.array_equal(found[place][0], scores) and np.array_equal(found[place][1], strange)


def test_where_it_looks_is_grad_cam_of_what_the_network_sees(judge):
    pictures, pixels = judge.decoded([Upload(path.read_bytes()) for path in EXAMPLES])
    seen, heat = judge.explained(pixels)
    assert np.array_equal(seen, 255 - pixels) and np.array_equal(
        seen, judge.looked_at([Upload(path.read_bytes()) for path in EXAMPLES])[1]
    )
    images = 1 - torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    assert np.allclose(heat, grad_cam(judge.members[0].network, images, by_place=True).numpy(), atol=1e-5)
    assert all(picture.shape == (256, 256, 3) for picture in pictures)


def test_heat_leaves_what_is_cold_and_the_meter_marks_the_threshold():
    picture = np.full((64, 64, 3), 90, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    assert np.array_equal(drawings.heated(picture, heat), picture)
    heat[:, :4] = 2
    shown = drawings.heated(picture, heat)
    assert np.array_equal(shown[:, 40:], picture[:, 40:]) and (shown[:, :20, 0] > 150).all()
    bar = drawings.meter(Verdict(0.25, False), np.nextafter(1.0, 2.0))
    assert "width:25.0%" in bar and "left:100.0%" in bar


def test_colours_are_those_of_the_arms():
    pixels = np.random.RandomState(1).randint(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    assert np.array_equal(under(pixels, [{"op": "invert"}]), 255 - pixels)


def test_an_upload_that_is_too_large_is_a_row_with_the_reason(judge):
    large, small = judge.judge([Upload(bytes(LARGEST_UPLOAD + 1)), Upload(EXAMPLES[0].read_bytes())])
    assert large.bad == f"{LARGEST_UPLOAD + 1} bytes; accepted are at most {LARGEST_UPLOAD}" and not small.bad
    table = io.StringIO()
    classifier.write_rows(table, [("a,b\n", large), ("c", small)], 0.5)
    first, second = csv.DictReader(io.StringIO(table.getvalue()))
    assert (first["path"], first["verdict"], first["reason"]) == ("a,b\n", "", large.bad)
    assert float(second["probability"]) == small.probability


def test_of_many_readers_only_some_are_decoded_for_at_once():
    from experiments.app import page

    class Judge:
        now, most = [], 0

        def judge(self, uploads):
            self.now.append(1)
            self.most = max(self.most, len(self.now))
            time.sleep(0.02)
            self.now.pop()
            return [Verdict(0.5, False) for _ in uploads]

    judge = Judge()
    readers = [
        threading.Thread(target=page._judged, args=(judge, {f"{name}": ("a.jpg", b"")}), daemon=True)
        for name in range(4 * page.AT_ONCE)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert 1 <= judge.most <= page.AT_ONCE


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """begun(host) -> the options with which Streamlit would be started there."""
    from streamlit import net_util
    from streamlit.runtime import memory_uploaded_file_manager as keeping
    from streamlit.web import bootstrap

    options = []
    monkeypatch.setattr(bootstrap, "load_config_options", lambda _: None)
    monkeypatch.setattr(bootstrap, "run", lambda *words: options.append(words[-1]))
    monkeypatch.setattr(net_util, "get_external_ip", net_util.get_external_ip)
    keeper = keeping.MemoryUploadedFileManager
    monkeypatch.setattr(keeper, "add_file", keeper.add_file)

    def begin(host):
        app.serve(host=host, port=0, runs=tmp_path, run=None)
        return options[-1]

    return begin


def test_the_page_asks_nobody_elsewhere_where_it_is(begun):
    from streamlit import net_util

    assert not begun("0.0.0.0")["server.allowedHosts"] and net_util.get_external_ip() is None
    assert begun("127.0.0.1")["server.allowedHosts"] == ["127.0.0.1", "::1", "localhost"]
    assert "127.0.0.2" in shell.names_of("127.0.0.2") and shell.names_of("::1") and not shell.names_of("a.example")


def test_of_what_is_uploaded_only_so_much_is_held(begun, monkeypatch):
    from starlette.exceptions import HTTPException
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
    from streamlit.runtime.uploaded_file_manager import UploadedFileRec

    monkeypatch.setattr(app, "MOST_HELD", 100)
    begun("127.0.0.1")
    keeper = MemoryUploadedFileManager("")
    for name in ("a", "b"):
        keeper.add_file(name, UploadedFileRec(name, "a.jpg", "image/jpeg", bytes(50)))
    with pytest.raises(HTTPException) as refused:
        keeper.add_file("b", UploadedFileRec("c", "a.jpg", "image/jpeg", b"1"))
    assert refused.value.status_code == 413 and "held already" in refused.value.detail
    keeper.remove_session_files("a")
    keeper.add_file("b", UploadedFileRec("c", "a.jpg", "image/jpeg", b"1"))
