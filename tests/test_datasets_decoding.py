import hashlib
import io
import os
import select
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.decoding import Bad, Decoded, decode_all
from datasets.images import BadImage, ImageSettings

SETTINGS = ImageSettings(size=(8, 12), fit="pad")
ODD_IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data" / "odd-images.zip"


@dataclass(frozen=True, slots=True)
class Bytes:
    data: bytes
    stamp: str = ""

    def read(self):
        return self.data


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happens where an image should be read."""

    name: str
    stamp: str = ""

    def read(self):
        match self.name:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(3)
            case "hang":
                signal.pause()
            case "five GiB":
                return bytes(5 * 2**30)
            case "missing":
                raise FileNotFoundError(2, "No such file", "gone.jpg")
            case "print":
                os.write(1, b"noise among the answers\n")
                raise BadImage("printed")
            case "poison":
                os.environ["POISONED"] = "yes"
                return picture(50).data
            case "victim" if "POISONED" in os.environ:
                os.kill(os.getpid(), signal.SIGSEGV)
            case "victim":
                return picture(51).data
            case "process":
                raise BadImage(str(os.getpid()))
        raise KeyError("a fault of the program")


def picture(number):
    """A flat picture that tells its number by its colour."""
    out = io.BytesIO()
    Image.new("RGB", (24, 16), (number % 256, number // 256, 77)).save(out, "PNG")
    return Bytes(out.getvalue())


def numbers(results):
    """What each picture says; the reason for bad ones."""
    return [
        r.reason if isinstance(r, Bad) else int(r.pixels[0, 4, 6, 0]) + 256 * int(r.pixels[0, 4, 6, 1]) for r in results
    ]


def test_results_come_in_order_with_their_facts_whatever_the_number_of_children():
    locations = [picture(number) for number in range(700)]
    for workers in (1, 3):
        results = list(decode_all(locations, SETTINGS, workers=workers))
        assert numbers(results) == list(range(700))
    data = locations[5].data
    first = results[5]
    assert isinstance(first, Decoded)
    assert first.pixels.shape == (1, 8, 12, 3) and first.pixels.dtype == np.uint8
    assert (first.sha256, first.width, first.height, first.format, first.bytes) == (
        hashlib.sha256(data).hexdigest(),
        24,
        16,
        "PNG",
        len(data),
    )


def test_nothing_to_do_is_done_and_all_bad_is_all_bad():
    assert list(decode_all([], SETTINGS)) == []
    assert numbers(decode_all([Bytes(b"")] * 3, SETTINGS)) == ["the file is empty"] * 3


def test_an_image_that_kills_hangs_or_starves_the_child_costs_only_itself():
    locations = [picture(number) for number in range(60)]
    trouble = {0: "crash", 20: "hang", 21: "exit", 40: "five GiB", 41: "missing", 42: "print", 59: "crash"}
    # The victim dies of what its neighbour did to the process: both can be read.
    trouble |= {50: "poison", 51: "victim"}
    for place, name in trouble.items():
        locations[place] = Act(name)
    results = numbers(decode_all(locations, SETTINGS, workers=1, seconds=0.5))
    expected = list(range(60))
    expected[0] = expected[59] = "the decoder died (signal 11)"
    expected[20], expected[21] = "took longer than 0.5 s", "the decoder died (exit 3)"
    expected[40], expected[42] = "needs more than 3 GiB of memory", "printed"
    assert results[41].startswith("cannot be read: FileNotFoundError") and "gone.jpg" in results[41]
    expected[41] = results[41]
    assert results == expected


def test_a_fault_of_the_program_is_raised_and_not_filed_under_bad_images():
    with pytest.raises(RuntimeError, match="KeyError: 'a fault of the program'"):
        list(decode_all([picture(1), Act("fault")], SETTINGS))


def test_leaving_early_leaves_no_child_behind():
    results = decode_all([Act("process")] * 600 + [Act("hang")] * 600, SETTINGS, workers=2)
    process = int(next(results).reason)
    os.kill(process, 0)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watching a process that is no child of ours needs Linux")
@pytest.mark.parametrize(
    ("how", "second", "then"), [(signal.SIGKILL, "process", "signal.pause()"), (signal.SIGINT, "hang", "pass")]
)
def test_the_children_end_with_the_parent_killed_or_interrupted(how, second, then):
    """Killed while the child is idle; interrupted, as a terminal does it, parent and child alike, while it is busy."""
    lines = [
        "import signal",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",  # a shell's background job would not hear it
        "from contextlib import closing",
        "from datasets.decoding import decode_all",
        "from test_datasets_decoding import SETTINGS, Act",
        f"with closing(decode_all([Act('process'), Act('{second}')], SETTINGS, workers=1, seconds=60)) as results:",
        "    for result in results:",
        f"        print(result.reason, flush=True); {then}",
    ]
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    parent = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child = os.pidfd_open(int(parent.stdout.readline()))
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)
    else:
        parent.kill()
    _, complaints = parent.communicate(timeout=60)
    assert parent.returncode == -how
    assert select.select([child], [], [], 60)[0]
    os.close(child)
    assert complaints.count(b"Traceback") == (how == signal.SIGINT), "one from the parent, none from the child"


@pytest.fixture(scope="module")
def odd_images():
    if not ODD_IMAGES.exists():
        pytest.skip("the archive of odd images is not here")
    with zipfile.ZipFile(ODD_IMAGES) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def test_each_odd_image_is_decoded_or_refused_with_a_reason(odd_images, capfd):
    assert len(odd_images) == 1264
    settings = ImageSettings(size=(48, 48))
    results = dict(zip(odd_images, decode_all([Bytes(d) for d in odd_images.values()], settings), strict=True))
    reasons = [result.reason for result in results.values() if isinstance(result, Bad)]
    assert all(r.strip() and r.isprintable() and len(r) <= 200 and " at 0x" not in r for r in reasons)
    assert 800 < len(results) - len(reasons) < 900
    assert not [reason for reason in reasons if "died" in reason or "longer" in reason]
    for side in ("Landscape", "Portrait"):
        shown = [results[f"exif-orientation/{side}_{number}.jpg"].pixels[0].astype(int) for number in range(9)]
        for turned in shown:
            assert np.abs(turned - shown[1]).mean() < 1
    assert capfd.readouterr() == ("", "")
