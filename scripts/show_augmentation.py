"""Draw what the network sees: pictures (rows) under every colour arm (columns), as one labelled PNG."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/show_augmentation.py --out views.png                         eight drawn pictures, all arms
  python scripts/show_augmentation.py --augs none invert saturate_x8          some arms
  python scripts/show_augmentation.py --images real/a.jpg fake/b.png --size 128   your own pictures
"""


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    parser.add_argument("--out", type=Path, default=Path("views.png"), help="the PNG to write (default: %(default)s)")
    parser.add_argument("--images", type=Path, nargs="+", help="your own pictures; default: drawn ones")
    parser.add_argument("--augs", nargs="+", help="arms, as in conf/aug; default: all that differ")
    parser.add_argument("--n", type=int, default=8, help="how many drawn pictures (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=128, help="side of your own pictures in pixels (default: %(default)s)"
    )
    arguments = parser.parse_args()
    shell.main("show_augmentation", lambda: show(arguments))


def show(arguments: argparse.Namespace) -> None:
    """Draw and write the sheet."""
    from datasets.manifest import DataError, whole_file

    if arguments.n < 2 or arguments.n % 2:
        raise DataError(f"--n {arguments.n}: expected an even number, half of them real and half fake")
    if not 8 <= arguments.size <= 1024:
        raise DataError(f"--size {arguments.size}: expected 8 to 1024 pixels")
    if arguments.out.is_dir():
        raise DataError(f"--out {arguments.out}: is a folder; expected a file such as views.png")

    from experiments import views

    if arguments.images:
        images, labels = views.opened(arguments.images, arguments.size)
    else:
        images, labels = views.drawn(arguments.n)
    names = arguments.augs or views.distinct_arms()
    picture = views.sheet(images, labels, names, scale=max(1, 96 // images.shape[1]))
    with whole_file(arguments.out, "wb") as file:
        picture.save(file, format="PNG")
    if not arguments.augs:
        print("not drawn: " + ", ".join(f"{arm} (as {other})" for arm, other in views.SAME_AS.items()))
    print(
        f"{arguments.out}: {len(images)} pictures under {len(names)} arms\n"
        f"next: python -m experiments.run aug={names[-1]}"
    )


if __name__ == "__main__":
    main()
