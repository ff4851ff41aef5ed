"""Small sets of drawn pictures, built as a user builds them; shared by the tests of built sets."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import assemble, origins
from datasets.equalize import EqualizeSettings
from datasets.manifest import FAKE, REAL

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "build_dataset.py"
LAW = EqualizeSettings(sizes=((48, 48),), long_side=(60, 90))
SMALL = ["--size", "48", "--long-side", "60", "90"]


def picture(path, seed, size, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    random_state = np.random.RandomState(seed)
    coarse = random_state.randint(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(path, **options)


def pictures_in(tmp_path):
    """Forty fakes of one size as PNG, forty photographs of many sizes as JPEG; one too small, one torn."""
    for i in range(40):
        picture(tmp_path / "in" / "made" / f"{i}.png", i, (134, 77))
        size = random.Random(i).choice([(150, 100), (100, 150), (128, 96), (160, 120)])
        picture(tmp_path / "in" / "shot" / f"{i}.jpg", 1000 + i, size, quality=50 + i)
    picture(tmp_path / "in" / "shot" / "small.jpg", 5, (50, 50))
    whole = (tmp_path / "in" / "shot" / "0.jpg").read_bytes()
    (tmp_path / "in" / "shot" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "in"


def build_set(pictures, data_root, law=LAW, name="mine"):
    found = [
        origins.find(str(pictures / word), data_root, label=label) for word, label in (("made", FAKE), ("shot", REAL))
    ]
    return assemble.assemble(name, found, law, data_root=data_root)


def digests(folder):
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def shell(pictures, data_root, *words, **options):
    command = [sys.executable, SCRIPT, "--name", "mine", "--fake", pictures / "made", "--real", pictures / "shot"]
    return subprocess.Popen(
        [*map(str, command), *SMALL, "--data-root", str(data_root), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )
