import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from datasets import archive
from datasets.archive import entries
from datasets.images import BadImage
from datasets.manifest import DataError

PLAIN = {"train/REAL/0000.jpg": b"one", "train/FAKE/0000 (2).jpg": b"two" * 50}


def zipped(path: Path, files, *, method: int = zipfile.ZIP_STORED) -> Path:
    """A zip of (name or ZipInfo, bytes) pairs."""
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in files:
            out.writestr(name, data)
    return path


def directory_field(path: Path, entry: int, offset: int, form: str, value: int) -> Path:
    """Overwrite one field of an entry's record in the zip's directory."""
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(entry + 1):
        place = data.index(b"PK\x01\x02", place + 1)
    struct.pack_into(form, data, place + offset, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_entry_reads_as_zipfile_reads_it(tmp_path, method):
    first, second = PLAIN.items()
    dated = zipfile.ZipInfo(first[0])
    dated.extra = struct.pack("<HH4s", 0x7855, 4, b"more")
    path = zipped(tmp_path / "a.zip", [(dated, first[1]), second], method=method)
    path.write_bytes(b"something in front" + path.read_bytes())
    assert {entry.name: entry.read() for entry in entries(path)} == PLAIN


def test_folders_are_left_out(tmp_path):
    path = zipped(tmp_path / "a.zip", [("train/", b""), ("train/a.jpg", b"a")])
    assert [entry.name for entry in entries(path)] == ["train/a.jpg"]


def test_the_stamp_changes_with_the_bytes_and_not_with_their_place(tmp_path):
    here = zipped(tmp_path / "a.zip", PLAIN.items())
    there = zipped(tmp_path / "b.zip", [("first.jpg", b"!"), *PLAIN.items()])
    other = zipped(tmp_path / "c.zip", [(name, data + b".") for name, data in PLAIN.items()])
    stamps = [{entry.name: entry.stamp for entry in entries(path)} for path in (here, there, other)]
    assert all(stamps[0][name] == stamps[1][name] != stamps[2][name] for name in PLAIN)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_in_the_data_is_a_bad_image(tmp_path, method):
    path = zipped(tmp_path / "a.zip", [("a.jpg", bytes(range(256)))], method=method)
    [entry] = entries(path)
    data = bytearray(path.read_bytes())
    data[entry.offset + 100] ^= 16
    path.write_bytes(data)
    with pytest.raises(BadImage, match="broken inside the archive"):
        entry.read()


def test_data_that_inflate_beyond_their_declared_size_are_a_bad_image_and_cost_no_memory(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a.jpg", bytes(20_000_000))], method=zipfile.ZIP_DEFLATED)
    directory_field(path, 0, 24, "<L", 10)
    directory_field(path, 0, 16, "<L", zlib.crc32(bytes(10)))
    [entry] = entries(path)
    tracemalloc.start()
    with pytest.raises(BadImage, match="not the 10 bytes"):
        entry.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "name",
    ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "a//x.jpg", "./x.jpg", "C:x.jpg", "C:/x.jpg", "a\\x.jpg", "a\nb.jpg"],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    refused(zipped(tmp_path / "a.zip", [("train/a.jpg", b"a"), (name, b"x")]), repr(name))


def test_a_name_with_a_zero_byte_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a.jpg_b.jpg", b"x")])
    path.write_bytes(path.read_bytes().replace(b"a.jpg_b.jpg", b"a.jpg\0b.jpg"))
    refused(path, "malformed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "names", [("a.jpg", "a.jpg"), ("a/B.jpg", "A/b.jpg"), ("straße.jpg", "STRASSE.jpg"), ("a", "a/")]
)
def test_names_that_fall_together_are_refused(tmp_path, names):
    refused(zipped(tmp_path / "a.zip", [(name, b"") for name in names]), "twice")


def test_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("a.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(zipped(tmp_path / "a.zip", [(link, b"/etc/passwd")]), "link")


def test_an_encrypted_entry_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", PLAIN.items())
    refused(directory_field(path, 1, 8, "<H", 1), "encrypted")


def test_rare_compression_is_refused(tmp_path):
    refused(zipped(tmp_path / "a.zip", PLAIN.items(), method=zipfile.ZIP_BZIP2), "method 12")


def test_a_bomb_is_refused_by_its_ratio(tmp_path):
    refused(zipped(tmp_path / "a.zip", [("a.jpg", bytes(2_000_000))], method=zipfile.ZIP_DEFLATED), "at most x200")


@pytest.mark.parametrize(("cap", "value"), [("MAX_ENTRY_BYTES", 149), ("MAX_TOTAL_BYTES", 152)])
def test_sizes_have_caps(tmp_path, monkeypatch, cap, value):
    path = zipped(tmp_path / "a.zip", PLAIN.items())  # 3 and 150 bytes
    monkeypatch.setattr(archive, cap, value + 1)
    assert len(entries(path)) == 2
    monkeypatch.setattr(archive, cap, value)
    refused(path, f"at most {value}")


def test_a_stored_entry_of_two_sizes_is_refused(tmp_path):
    refused(directory_field(zipped(tmp_path / "a.zip", PLAIN.items()), 0, 24, "<L", 4), "stored")


def test_two_names_for_the_same_bytes_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a.jpg", b"same"), ("b.jpg", b"same")])
    refused(directory_field(path, 1, 42, "<L", 0), "shares bytes")


def test_an_entry_that_reaches_into_the_next_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a.jpg", b"abcd"), ("b.jpg", b"efgh")])
    for field in (20, 24):
        directory_field(path, 0, field, "<L", 5)
    refused(path, "shares bytes")


@pytest.mark.parametrize("offset", [55, 10**9])
def test_an_entry_where_no_entry_begins_is_refused(tmp_path, offset):
    path = zipped(tmp_path / "a.zip", PLAIN.items())  # the second begins at 52
    refused(directory_field(path, 1, 42, "<L", offset), "no entry where")


def test_an_entry_that_reaches_into_the_directory_is_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", [("a.jpg", b"abcd")])
    for field in (20, 24):
        directory_field(path, 0, field, "<L", 5)
    refused(path, "beyond the data")


def test_a_truncated_zip_says_to_bring_it_again(tmp_path):
    path = zipped(tmp_path / "a.zip", PLAIN.items())
    for length in range(4, path.stat().st_size, 7):
        cut = tmp_path / "cut.zip"
        cut.write_bytes(path.read_bytes()[:length])
        refused(cut, "download or copy it again")


def test_what_is_no_zip_is_named(tmp_path):
    page = tmp_path / "page.zip"
    page.write_text("<html>")
    refused(page, "not a zip archive")
    refused(tmp_path / "missing.zip", "no such file")
    refused(tmp_path, "no such file")


@pytest.mark.parametrize("seed", range(3))
def test_any_broken_byte_of_a_directory_is_refused_or_read_right(tmp_path, seed):
    path = zipped(tmp_path / "a.zip", PLAIN.items(), method=zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 + (seed * 37 + place * 11) % 255
        path.write_bytes(broken)
        try:
            read = [entry.read() for entry in entries(path)]
        except (DataError, BadImage):
            continue
        assert set(read) <= set(PLAIN.values())


def refused(path: Path, reason: str) -> None:
    """One line that names the file and the reason; nothing is written beside it."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        entries(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and reason in text and "\n" not in text
    assert sorted(path.parent.rglob("*")) == before
