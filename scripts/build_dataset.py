"""Build one data set out of several sources, so that its classes differ in nothing but being generated."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/build_dataset.py --name flux --fake flux --real photos
      two collections, equalised: the same sizes, the same codec, the same qualities
  python scripts/build_dataset.py --name cifake_flux --sources cifake flux photos
      CIFAKE beside them; train it with data=cifake_flux, which cuts 32x32 patches
  python scripts/build_dataset.py --name mine --fake pictures/made --real pictures/photographed --size 256
  python scripts/build_dataset.py --name parent --fake flux --real photos --equalize off
      as it came: size and codec tell the classes apart, for comparison

A source is cifake, the name of a collection in data/collections (scripts/generate_flux.py and
scripts/collect_photos.py make them), or the path of a folder: of one class with --fake or --real, with real and fake
inside with --sources; NAME=PATH gives it another name. Originals are never touched. The same command again makes the
same set.

Equalising brings a picture's long side into --long-side, never enlarging it, crops the middle to --size and saves it
as JPEG with a quality drawn from --quality; what is drawn depends on the picture's bytes, never on its class.
Pictures too small for that are left out and counted.
"""


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    parser.add_argument("--name", required=True, help="of the set; it becomes data/NAME and is trained with data=NAME")
    parser.add_argument("--fake", nargs="+", default=[], metavar="SOURCE", help="of generated images")
    parser.add_argument("--real", nargs="+", default=[], metavar="SOURCE", help="of photographs")
    parser.add_argument("--sources", nargs="+", default=[], metavar="SOURCE", help="that say themselves what is what")
    parser.add_argument("--equalize", choices=("on", "off"), default="on", help="(default: on)")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[512], metavar="PX", help="of every picture: side, or height and width"
    )
    parser.add_argument(
        "--long-side", type=int, nargs=2, metavar=("MIN", "MAX"), help="after scaling (default: 1.25 to 1.875 sizes)"
    )
    parser.add_argument(
        "--quality", type=int, nargs=2, default=[70, 95], metavar=("MIN", "MAX"), help="of the JPEGs (default: 70 95)"
    )
    parser.add_argument("--crop", choices=("center", "drawn"), default="center", help="where (default: center)")
    parser.add_argument("--seed", type=int, default=0, help="of what equalising draws (default: 0)")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="where data sets lie (default: %(default)s)"
    )
    arguments = parser.parse_args()
    shell.main("build_dataset", lambda: build(arguments))


def build(arguments: argparse.Namespace) -> None:
    """Assemble it, prepare it once, audit it, write its card."""
    from datasets import assemble, audit, card, origins
    from datasets.equalize import EqualizeSettings
    from datasets.manifest import FAKE, REAL, DataError

    root = arguments.data_root
    words = [(arguments.fake, FAKE), (arguments.real, REAL), (arguments.sources, None)]
    if not any(given for given, _ in words):
        raise DataError("no source given: expected --fake SOURCE --real SOURCE, or --sources SOURCE ...; see --help")
    found = [origins.find(word, root, label=label) for given, label in words for word in given]
    law = None
    if arguments.equalize == "on":
        size = arguments.size * 2 if len(arguments.size) == 1 else arguments.size
        if len(size) != 2:
            raise DataError(f"--size {' '.join(map(str, size))}: expected one side, or height and width")
        band = arguments.long_side or [round(1.25 * max(size)), round(1.875 * max(size))]
        try:
            law = EqualizeSettings(
                sizes=((size[0], size[1]),),
                long_side=tuple(band),
                quality=tuple(arguments.quality),
                crop=arguments.crop,
                seed=arguments.seed,
            )
        except ValueError as error:
            raise DataError(str(error)) from error
    made = assemble.assemble(arguments.name, found, law, data_root=root)
    path, data = card.write(made, root)
    for line in (*data.notes, *audit.lines(data.audit)):
        print(line)
    for line in card.left_out(made.quarantine):
        print(f"left out: {line}")
    left = f", {len(made.quarantine):,} left out (see {made.home / 'quarantine.csv'})" if made.quarantine else ""
    print(f"{len(made.rows):,} images{left}; described in {path}")
    where = "" if root == Path("data") else f" data_root={root}"
    arm = "cifake_flux" if any(origin.kind == "cifake" for origin in found) else "flux"
    chosen = arm if arguments.name == arm else f"{arm} data.name={arguments.name}"
    print(f"{made.home}; next: python -m experiments.run data={chosen} aug=saturate_x8{where}")


if __name__ == "__main__":
    main()
