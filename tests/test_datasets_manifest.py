import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import manifest
from datasets.manifest import FAKE, REAL, DataError, Row, whole_file

ROWS = [
    Row(
        "train/REAL/0000 (2).jpg",
        REAL,
        "train",
        "cifake",
        "automobile",
        "ab" * 32,
        32,
        32,
        "JPEG",
        bytes=979,
        group="ab",
    ),
    Row('odd, "quoted"\nname 🌈.png', FAKE, "unused"),
    Row("c.png", FAKE),
]


def test_what_is_written_is_read_back_names_with_newlines_and_emoji_included(tmp_path):
    manifest.write(tmp_path / "m.csv", ROWS)
    assert manifest.read(tmp_path / "m.csv") == ROWS


def test_the_digest_sees_every_column_and_the_order():
    reference = manifest.digest(ROWS)
    assert manifest.digest(ROWS[::-1]) != reference
    for name, value in ROWS[0]._asdict().items():
        other = 1 - value if name == "label" else value + 1 if isinstance(value, int) else value + "x"
        assert manifest.digest([ROWS[0]._replace(**{name: other}), *ROWS[1:]]) != reference


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("REAL,train", "FAEK,train", "label is 'FAEK'; expected REAL or FAKE"),
        (",train,", ",trian,", "split is 'trian'"),
        (",979,", ",many,", "bytes is 'many'; expected a whole number"),
        (",32,32,", ",32,", "columns"),
        ("path,", "file,", "columns are file,"),
    ],
)
def test_an_edited_manifest_is_refused_naming_the_place(tmp_path, old, new, expected):
    path = tmp_path / "m.csv"
    path.write_text(manifest.encoded(ROWS).decode().replace(old, new, 1))
    with pytest.raises(DataError, match=expected) as caught:
        manifest.read(path)
    assert str(path) in str(caught.value)


def test_a_manifest_saved_by_another_program_is_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xef\xbb\xbf" + manifest.encoded(ROWS))
    assert manifest.read(path) == ROWS
    path.write_bytes(manifest.encoded([Row("é.png", REAL)]).decode().encode("latin-1"))
    with pytest.raises(DataError, match=r"m.csv: not UTF-8 text"):
        manifest.read(path)
    path.write_bytes(manifest.encoded(ROWS) + b'"never closed')
    with pytest.raises(DataError, match=r"m.csv:\d+: not a row of a CSV file"):
        manifest.read(path)


def test_a_double_row_is_refused(tmp_path):
    manifest.write(tmp_path / "m.csv", [ROWS[0], ROWS[0]])
    with pytest.raises(DataError, match="stands there twice"):
        manifest.read(tmp_path / "m.csv")


def test_a_file_appears_whole_or_not_at_all_also_when_the_process_is_killed_while_writing(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as handle:
        handle.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    code = (
        "import os, signal, pathlib, sys; from datasets.manifest import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as handle:\n"
        "    handle.write('half'); handle.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(manifest.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
