"""The files that the rounds of the benchmark read, and how much of everything is measured."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from datasets import cifake
from experiments.benchmark.pictures import DrawnLarge, Files, Pictures, drawn_files, first, write_archive, write_tree


@dataclass(frozen=True)
class Sizes:
    """How much is measured: (training, test) files of each set; of the training files a fifth becomes validation.

    cifake: what is packed and loaded, None: all; epoch: what an epoch is of, None: the same.
    processes: PARENT's that are measured of a sweep, None: every one; pairs: of steps with and without the view.
    """

    cifake: tuple[int, int] | None
    epoch: tuple[int, int] | None
    sweep: tuple[int, int]
    short: tuple[int, int]
    large: tuple[int, int]
    processes: int | None
    pairs: int


FULL = Sizes(
    cifake=None,
    epoch=(20_000, 4_000),
    sweep=(25_000, 2_500),
    short=(2_500, 500),
    large=(1000, 100),
    processes=2,
    pairs=100,
)
QUICK = Sizes(
    cifake=(5_000, 1_000),
    epoch=(1_250, 250),
    sweep=(1_250, 250),
    short=(1_250, 250),
    large=(44, 8),
    processes=1,
    pairs=10,
)


def sizes_of(images: int | None, *, quick: bool) -> Sizes:
    """FULL or QUICK; images: so many of CIFAKE's training files, and a fifth as many test files, are packed and are an
    epoch."""
    sizes = QUICK if quick else FULL
    return sizes if images is None else replace(sizes, cifake=(images, images // 5), epoch=None)


class Material:
    """The files that all rounds read, written below `place` when they are first asked for; no time counts that."""

    def __init__(self, pictures: Pictures, place: Path, sizes: Sizes):
        self._pictures, self._place, self.sizes, self._homes = pictures, place, sizes, 0

    @cached_property
    def archive(self) -> Path:
        """CIFAKE, or the part of it that is measured, as the zip that our side starts from."""
        if self.sizes.cifake is None and self._pictures.archive:
            return self._pictures.archive.resolve()
        return write_archive(self._main, self._place / "archive.zip")

    @cached_property
    def tree(self) -> Path:
        """The same unpacked, as PARENT needs it."""
        return write_tree(self._main, self._place / "cifake")

    @cached_property
    def epoch(self) -> Path:
        """What epochs are measured on, unpacked."""
        return (
            self.tree if self.sizes.epoch is None else write_tree(self._part(self.sizes.epoch), self._place / "epoch")
        )

    @property
    def _main(self) -> Files:
        return self._part(self.sizes.cifake) if self.sizes.cifake else self._pictures.files

    def _part(self, counts: tuple[int, int]) -> Files:
        return first(self._pictures.files, {"train": counts[0], "test": counts[1]})

    @cached_property
    def sweep(self) -> Path:
        if self.sizes.sweep == self.sizes.epoch:
            return self.epoch
        return write_tree(self._part(self.sizes.sweep), self._place / "sweep")

    @cached_property
    def short(self) -> Path:
        if self.sizes.short == self.sizes.sweep:
            return self.sweep
        return write_tree(self._part(self.sizes.short), self._place / "short")

    @cached_property
    def large(self) -> Path:
        train, test = self.sizes.large
        return write_tree(drawn_files({"train": train, "test": test}, DrawnLarge), self._place / "large")

    def new_home(self, origin: Path) -> Path:
        """An empty folder for data and runs, whose CIFAKE lies at `origin`."""
        self._homes += 1
        home = self._place / f"home{self._homes}"
        cifake.write_origin(home / "data" / "cifake", origin)
        return home
