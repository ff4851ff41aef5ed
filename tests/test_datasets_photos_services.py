"""Questions to Commons and Openverse, put to servers on this machine that speak, and fail, as those do."""

import dataclasses
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from servers.commons import Commons
from servers.openverse import Openverse
from servers.photo_host import ODD_FILES, File, good_files

from datasets.manifest import DataError
from datasets.photos import api, commons, openverse
from datasets.photos.api import Service, ServiceError

ACCEPTED = ("CC0", "public domain", "CC BY", "CC BY-SA")


@pytest.fixture
def waits(monkeypatch):
    """The pauses that were made, in seconds; none of them is really made."""
    made: list[float] = []
    monkeypatch.setattr("datasets.photos.api.time.sleep", made.append)
    return made


def service(url: str) -> Service:
    return Service("The service", url, api.user_agent("you@example.org"))


def test_commons_gives_every_file_once_in_the_order_of_the_search():
    with Commons([*good_files(23), *ODD_FILES]) as server:
        whole = list(commons.candidates(service(server.api), "conference speaker", width=1280))
        assert [c.title for c in whole] == [f.name.removesuffix(".jpg") for f in server.files]
        assert len({c.origin for c in whole}) == len(whole)
        server.batch = 7
        assert list(commons.candidates(service(server.api), "conference speaker", width=1280)) == whole
        server.in_pieces = True
        assert list(commons.candidates(service(server.api), "conference speaker", width=1280)) == whole
        assert list(commons.candidates(service(server.api), "zebra", width=1280)) == []
        asked = server.api_asked[0]
    assert asked["gsrsearch"] == "filetype:bitmap filemime:image/jpeg conference speaker"
    assert (asked["gsrnamespace"], asked["maxlag"], asked["gsrlimit"]) == ("6", "5", "50")


def test_a_candidate_of_commons_says_what_its_page_says():
    with Commons(
        [File("A_b.jpg", width=2000, height=1500, author='<a href="x">Ada</a>', about="A talk <i>on</i> x")]
    ) as server:
        (small,) = commons.candidates(service(server.api), "talk", width=960)
        (original,) = commons.candidates(service(server.api), "talk", width=None)
    assert (small.width, small.height) == (960, 720) and "/960px-" in small.url
    assert (original.width, original.height) == (2000, 1500) and "thumb" not in original.url
    assert (small.title, small.author, small.license, small.uploaded) == ("A b", "Ada", "CC BY-SA 4.0", "2015-03-01")
    assert small.page == small.origin == "https://commons.wikimedia.org/wiki/File:A_b.jpg"
    assert "A talk on x" in small.hints and small.credit == "Own work"


def test_an_older_version_of_a_file_never_stands_for_it(monkeypatch):
    def page(day: str) -> dict:
        return {"pageid": 1, "index": 1, "title": "File:A.jpg", "imageinfo": [{"timestamp": day, "url": "u"}]}

    answers = [
        {"query": {"pages": [page("2023-01-01T00:00:00Z")]}, "continue": {"iistart": "x", "continue": "||"}},
        {"query": {"pages": [page("2012-01-01T00:00:00Z")]}, "batchcomplete": True},
    ]
    one = service("https://example.org/api")
    monkeypatch.setattr(one, "ask", lambda _: answers.pop(0))
    assert [c.uploaded for c in commons.candidates(one, "x", width=None)] == ["2023-01-01"]


@pytest.mark.parametrize("module", [commons, openverse])
def test_an_answer_of_another_make_is_no_crash(module):
    options = {"width": 960} if module is commons else {"licenses": ACCEPTED}
    with Commons([]) as server:
        server.faults = ["strange"]
        with pytest.raises(ServiceError, match="does not answer as"):
            list(module.candidates(service(server.api), "x", **options))


def test_openverse_is_asked_for_photographs_page_by_page_and_never_beyond_its_bound(waits):
    licenses = {"CC BY": "CC BY 2.0", "public domain": "Public domain", "CC BY-NC": "CC BY-NC 2.0", "CC0": "CC0"}
    files = [
        dataclasses.replace(file, license=[*licenses.values()][number % 4])
        for number, file in enumerate(good_files(600))
    ]
    with Openverse(files) as server:
        found = list(openverse.candidates(service(server.api), "conference speaker", licenses=[*licenses][:3]))
        assert len(server.api_asked) == 20
        assert server.api_asked[0] == {
            "q": "conference speaker",
            "license": "by,pdm,by-nc",
            "category": "photograph",
            "page_size": "20",
            "page": "1",
        }
        server.files = files[:160]
        few = list(openverse.candidates(service(server.api), "conference speaker", licenses=["CC0"]))
        assert len(server.api_asked) == 22
    wanted = [file for file in files if file.license != "CC0"][:400]
    assert [(c.title, c.license) for c in found] == [(f.name.removesuffix(".jpg"), f.license) for f in wanted]
    assert len(few) == 40 and {c.license for c in few} == {"CC0"}
    assert few[0].uploaded == files[3].uploaded[:10] and few[0].page.startswith("https://www.flickr.com/")
    with pytest.raises(DataError, match="knows none of them"):
        list(openverse.candidates(service("https://example.org"), "x", licenses=["GFDL"]))


def test_pages_that_openverse_has_not_end_the_search():
    with Openverse(good_files(60)) as server:
        server.faults = ["", "401"]
        assert 0 < len(list(openverse.candidates(service(server.api), "speaker", licenses=ACCEPTED))) <= 20
        server.faults = ["401"]
        with pytest.raises(ServiceError, match="401"):
            list(openverse.candidates(service(server.api), "speaker", licenses=ACCEPTED))


@pytest.mark.parametrize("fault", ["429 7", "503", "500", "maxlag", "html", "broken json", "reset"])
def test_a_fault_that_may_pass_is_waited_out_within_bounds(fault, waits):
    with Commons(good_files(1)) as server:
        server.faults = [fault, fault]
        assert len(list(commons.candidates(service(server.api), "speaker", width=960))) == 1
        assert len(server.api_asked) == 3
        assert waits == {"429 7": [7, 7], "maxlag": [5, 5]}.get(fault, [1, 2])
        server.faults = [fault] * 9
        with pytest.raises(ServiceError, match="5 times; what was collected is kept"):
            list(commons.candidates(service(server.api), "speaker", width=960))
        assert len(server.api_asked) == 3 + 5


def test_a_service_that_falls_silent_is_not_waited_for_without_end(monkeypatch, waits):
    monkeypatch.setattr("datasets.photos.api.SECONDS", 0.2)
    with Commons(good_files(1)) as server:
        server.faults = ["hang"] * 5
        with pytest.raises(ServiceError, match="the server is silent, 5 times"):
            list(commons.candidates(service(server.api), "speaker", width=960))


def test_a_long_pause_is_asked_for_another_day(waits):
    with Commons(good_files(1)) as server:
        server.faults = ["429 3600"]
        with pytest.raises(ServiceError, match=r"answers 429, and asks to wait 3,600 s; what was collected is kept"):
            list(commons.candidates(service(server.api), "speaker", width=960))
    assert waits == []


def test_retry_after_may_be_a_date(waits):
    with Commons(good_files(1)) as server:
        server.faults = ["503 " + format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)]
        assert len(list(commons.candidates(service(server.api), "speaker", width=960))) == 1
    assert len(waits) == 1 and 25 < waits[0] <= 30


def test_an_allowance_that_is_used_up_is_heeded(waits):
    with Openverse(good_files(60)) as server:
        server.left = 1
        assert len(list(openverse.candidates(service(server.api), "speaker", licenses=ACCEPTED))) > 20
        assert waits[0] == 60
        server.left_today = 0
        with pytest.raises(ServiceError, match=r"allowance of 200/day is used up, and asks to wait 86,400 s"):
            list(openverse.candidates(service(server.api), "speaker", licenses=ACCEPTED))


def test_an_answer_without_end_is_cut_off(monkeypatch, waits):
    monkeypatch.setattr("datasets.photos.api.MAX_BYTES", 100)
    with Commons(good_files(3)) as server, pytest.raises(ServiceError, match="does not end"):
        service(server.api).ask(commons.QUESTION | {"gsrsearch": "speaker"})


def test_what_no_second_question_mends_ends_at_once(waits):
    with Commons([]) as server:
        with pytest.raises(ServiceError, match="is no standard size"):
            list(commons.candidates(service(server.api), "x", width=777))
        server.faults = ["403"]
        with pytest.raises(ServiceError, match="answers 403 Forbidden; check --contact"):
            list(commons.candidates(service(server.api), "x", width=960))
        server.faults = ["redirect"]  # which may lead into a private network
        with pytest.raises(ServiceError, match="answers 302 Found"):
            list(commons.candidates(service(server.api), "x", width=960))
        assert len(server.api_asked) == 3
    for url in ("http://example.org/w/api.php", "ftp://127.0.0.1/", "https://", "api.php"):
        with pytest.raises(DataError, match="https://"):
            service(url)


def test_the_user_agent_names_program_version_and_contact():
    assert api.user_agent("https://example.org/me").startswith(
        "Hueprint/0.1.0 (https://example.org/me) python-requests/2."
    )
    for contact in (
        "me",
        "a@b",
        "a b@example.org",
        "a@example.org\r\nX: y",
        "ä@example.org",
        "(a@example.org)",
        "https://x",
    ):
        with pytest.raises(DataError, match="expected a mail address or a web address"):
            api.user_agent(contact)
