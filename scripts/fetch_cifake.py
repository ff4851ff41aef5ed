"""Bring CIFAKE here: download it, or say where it already lies. It is checked, counted and never unpacked."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

PAGE = "https://www.kaggle.com/datasets/birdy654/cifake-real-and-ai-generated-synthetic-images"
URL = PAGE.replace("/datasets/", "/api/v1/datasets/download/")
EXAMPLES = f"""examples:
  python scripts/fetch_cifake.py                           download 105 MB, no account needed; again: resumes
  python scripts/fetch_cifake.py --archive archive.zip     use a zip that is here already, where it lies
  python scripts/fetch_cifake.py --root pictures/cifake    use an unpacked tree: train|test / REAL|FAKE
  python scripts/fetch_cifake.py --url https://...         download from a mirror

The data set's page, with licence (MIT) and papers to cite:
  {PAGE}
Downloaded from:
  {URL}
"""


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--archive", type=Path, metavar="FILE", help="a zip that is here already")
    source.add_argument("--root", type=Path, metavar="FOLDER", help="a folder it is already unpacked in")
    source.add_argument(
        "--url", default=URL, help="where to download the zip from (default: Kaggle, without an account)"
    )
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="where data sets lie (default: %(default)s)"
    )
    arguments = parser.parse_args()
    shell.main("fetch_cifake", lambda: fetch(arguments))


def fetch(arguments: argparse.Namespace) -> None:
    """Find or download it, check names, layout and counts, then note where it lies."""
    from datasets import cifake

    home = arguments.data_root / "cifake"
    origin = arguments.archive or arguments.root
    if origin is None:
        origin = home / "archive.zip"
        _download(arguments.url, origin)
    elif arguments.root and not origin.is_dir():
        raise cifake.DataError(f"--root {origin}: no such folder; expected one that holds train and test")
    elif arguments.archive and not origin.is_file():
        raise cifake.DataError(f"--archive {origin}: no such file; expected a zip")
    try:
        rows = [row for row, _ in cifake.listing(origin)]
    except cifake.DataError as error:
        mend = "" if arguments.archive or arguments.root else "; delete it, and the same command downloads it again"
        raise cifake.DataError(f"{error}{mend}") from error
    note = cifake.write_origin(home, origin)
    print(f"{'':12}{'found':>8}{'official':>10}")
    for (split, label), number in cifake.count(rows).items():
        print(f"{split + '/' + label:12}{number:8,}{cifake.OFFICIAL_COUNTS[split, label]:10,}")
    for line in cifake.count_report(rows) or ["all counts are the official ones"]:
        print(line)
    where = "" if arguments.data_root == Path("data") else f" data_root={arguments.data_root}"
    print(f"{origin}: noted in {note}; next: python -m experiments.run data=cifake aug=invert_saturate_x500{where}")


def _download(url: str, target: Path) -> None:
    from datasets.fetch import DownloadError, download

    try:
        download(url, target)
    except DownloadError as error:
        raise DownloadError(f"{error}; or take it from {PAGE} with a browser and give it as --archive FILE") from error


if __name__ == "__main__":
    main()
