"""Prompts from a file: one a line, or a theme whose base prompt is joined by two of its modifiers."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from datasets.manifest import DataError

DEFAULT_THEME = Path(__file__).with_name("themes") / "conference.txt"
LONGEST_PROMPT = 2000  # characters; FLUX.1-schnell reads no more than 256 tokens
SEEDS = 2**31  # a seed is a whole number below it


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a file of prompts says. base: of a theme, else empty; lines: its modifiers, or the prompts themselves."""

    base: str
    lines: tuple[str, ...]

    def draw(self, seed: int, index: int) -> str:
        """The prompt of image `index`, a function of the file's text, `seed` and `index` alone.

        A theme: the base and two different modifiers, in the order of the file, every pair equally likely. A list: its
        prompts in order, from the first again after the last.
        """
        if not self.base:
            return self.lines[index % len(self.lines)]
        count = len(self.lines)
        first, second = divmod(number(f"prompt {seed} {index}") % (count * (count - 1)), count - 1)
        second += second >= first
        return ", ".join((self.base, self.lines[min(first, second)], self.lines[max(first, second)]))


def number(text: str) -> int:
    """A large whole number that looks random and is the same for the same text on any machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])


def image_seed(seed: int, key: str, attempt: int) -> int:
    """The seed of the image named `key`: from 0 to 2^31 - 1; each attempt at it has its own."""
    return number(f"image {seed} {key} {attempt}") % SEEDS


def read(path: Path) -> Prompts:
    """Read a file of prompts: UTF-8, one a line; empty lines and lines that begin with # do not count.

    Where the first line begins with `base:` it is a theme: what follows are its modifiers. DataError names the file,
    and the line where it is about one.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"--prompts {path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"--prompts {path}: not a text file (UTF-8); expected one prompt a line") from error
    lines: list[str] = []
    for count, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if any(ord(character) < 32 and character != "\t" for character in line):
            raise DataError(f"--prompts {path}:{count}: holds control characters; expected text, one prompt a line")
        if len(line) > LONGEST_PROMPT:
            raise DataError(f"--prompts {path}:{count}: {len(line):,} characters; accepted are {LONGEST_PROMPT:,}")
        lines.append(line)
    if not lines:
        raise DataError(f"--prompts {path}: holds no prompt; expected one a line")
    if not lines[0].startswith("base:"):
        return Prompts("", tuple(lines))
    return _theme(lines[0].removeprefix("base:").strip(), lines[1:], path)


def _theme(base: str, modifiers: list[str], path: Path) -> Prompts:
    if not base:
        raise DataError(f"--prompts {path}: nothing stands behind base:; expected what every prompt begins with")
    twice = {modifier for modifier in modifiers if modifiers.count(modifier) > 1}
    if twice:
        raise DataError(f"--prompts {path}: the modifier {min(twice)!r} stands there twice; expected it once")
    if len(modifiers) < 2:
        raise DataError(f"--prompts {path}: a theme needs at least 2 different modifiers, this has {len(modifiers)}")
    longest = len(base) + sum(sorted(map(len, modifiers))[-2:]) + 4
    if longest > LONGEST_PROMPT:
        raise DataError(f"--prompts {path}: makes prompts of {longest:,} characters; accepted are {LONGEST_PROMPT:,}")
    return Prompts(base, tuple(modifiers))
