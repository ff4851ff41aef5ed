"""The download is tried against a server on this machine that speaks as Kaggle's does, and misbehaves on demand."""

import fcntl
from pathlib import Path

import pytest
from servers.kaggle import Handler, Kaggle

from datasets.fetch import DownloadBusy, DownloadError, download
from datasets.manifest import DataError


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "cifake" / "archive.zip"


def fetch(kaggle: Kaggle, target: Path, *faults: str, attempts: int = 3) -> None:
    kaggle.faults[:] = faults
    download(kaggle.url, target, attempts=attempts, timeout=20, backoff=0)


def only_the_file(target: Path, data: bytes) -> bool:
    return target.read_bytes() == data and list(target.parent.iterdir()) == [target]


def test_a_file_comes_whole_and_a_second_call_asks_for_nothing(kaggle, target):
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == [""]
    fetch(kaggle, target)
    assert kaggle.asked == [""]


def test_after_a_cut_only_the_rest_is_asked_for(kaggle, target):
    fetch(kaggle, target, "cut", "cut")
    assert only_the_file(target, kaggle.data)
    starts = [int(asked[6:-1]) for asked in kaggle.asked[1:]]
    assert kaggle.asked[0] == "" and 0 < starts[0] < starts[1] < len(kaggle.data)


def test_a_server_that_gives_the_rest_in_pieces_is_asked_on(kaggle, target):
    fetch(kaggle, target, "cut", "a little")
    assert only_the_file(target, kaggle.data) and len(kaggle.asked) == 3


def test_a_weak_etag_does_not_vouch_for_what_came(kaggle, target):
    fetch(kaggle, target, "weak")
    assert only_the_file(target, kaggle.data) and kaggle.asked == ["", ""]


def test_what_came_from_another_address_is_not_used(kaggle, target):
    with pytest.raises(DownloadError):
        fetch(kaggle, target, "cut", attempts=1)
    download(f"{kaggle.url}/mirror", target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == ["", ""]


def test_the_next_call_goes_on_where_the_last_gave_up(kaggle, target):
    with pytest.raises(DownloadError, match="bytes are kept: run the same command again to resume"):
        fetch(kaggle, target, "cut", attempts=1)
    kept = target.with_name("archive.zip.part").stat().st_size
    assert not target.exists() and kept > 100_000
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == ["", f"bytes={kept}-"]


@pytest.mark.parametrize("fault", ["ignores Range", "416"])
def test_a_server_that_cannot_resume_sends_all_again(kaggle, target, fault):
    fetch(kaggle, target, "cut", fault)
    assert only_the_file(target, kaggle.data)


@pytest.mark.parametrize("fault", ["", "ignores If-Range"])
def test_a_file_that_changed_between_two_calls_is_begun_anew(kaggle, target, fault):
    with pytest.raises(DownloadError):
        fetch(kaggle, target, "cut", attempts=1)
    kaggle.data = kaggle.data[::-1]
    fetch(kaggle, target, fault)
    assert only_the_file(target, kaggle.data)


def test_a_part_of_unknown_origin_is_not_used(kaggle, target):
    target.parent.mkdir(parents=True)
    target.with_name("archive.zip.part").write_bytes(b"something else")
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == [""]


def test_a_part_that_is_already_whole_is_only_verified(kaggle, target):
    with pytest.raises(DownloadError):
        fetch(kaggle, target, "cut", attempts=1)
    target.with_name("archive.zip.part").write_bytes(kaggle.data)
    fetch(kaggle, target)
    assert only_the_file(target, kaggle.data) and kaggle.asked == [""]


@pytest.mark.parametrize("fault", ["500", "503", "429"])
def test_a_busy_server_is_asked_again_but_not_for_ever(kaggle, target, fault):
    fetch(kaggle, target, fault, fault)
    assert only_the_file(target, kaggle.data)
    target.unlink()
    with pytest.raises(DownloadError, match=f"answers {fault}, 3 times"):
        fetch(kaggle, target, *[fault] * 3)
    assert list(target.parent.iterdir()) == []


def test_retry_after_is_obeyed_up_to_a_minute(kaggle, target, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("datasets.fetch.time.sleep", waits.append)
    answer = Handler.answer
    asked = iter(["7", "86400", "soon"])
    monkeypatch.setattr(
        Handler,
        "answer",
        lambda self, status, headers, *rest: answer(
            self, status, headers | ({"Retry-After": next(asked)} if status == 429 else {}), *rest
        ),
    )
    kaggle.faults[:] = ["429"] * 3
    download(kaggle.url, target, attempts=4, timeout=20, backoff=0.5)
    assert waits == [7, 60, 2]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", "answers 404"),
        ("403", "answers 403"),
        ("page", "a web page came"),
        ("to http elsewhere", "without https"),
        ("wrong md5", "was removed"),
    ],
)
def test_what_no_second_attempt_would_mend_ends_at_once_and_leaves_nothing(kaggle, target, fault, reason):
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch(kaggle, target, fault)
    assert "\n" not in str(caught.value)
    assert kaggle.asked == [""] and list(target.parent.iterdir()) == []


def test_redirects_have_an_end(kaggle, target):
    with pytest.raises(DownloadError, match="redirected more than 5 times"):
        fetch(kaggle, target, *["round in circles"] * 9)


@pytest.mark.parametrize(
    "url", ["http://example.org/a.zip", "ftp://127.0.0.1/a", "file:///etc/passwd", "https://", "a.zip"]
)
def test_an_address_without_https_is_refused(target, url):
    with pytest.raises(DataError, match="expected an address that begins with https://"):
        download(url, target)
    assert not target.parent.exists()


def test_two_at_once_are_told_apart(kaggle, target):
    target.parent.mkdir(parents=True)
    with target.with_name("archive.zip.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadBusy, match="another process"):
            fetch(kaggle, target)
