"""Collect photographs that may be used, with licence and author: from Wikimedia Commons, Openverse or a folder."""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

if TYPE_CHECKING:
    from datasets.photos.candidates import Candidate, Rules
    from datasets.photos.collecting import Outcome

LICENSES = ("CC0", "public domain", "CC BY", "CC BY-SA")
BEFORE = "2022-01-01"
MIN_SIDE = 600
WIDTH = "1280"
N = 100
LONGEST_QUERY = 200  # characters; Openverse cuts the rest off without a word
EXAMPLES = f"""examples:
  export HUEPRINT_CONTACT=you@example.org
  python scripts/collect_photos.py --query "conference speaker" --n 1000
  python scripts/collect_photos.py --query "street market" --n 200 --source openverse
  python scripts/collect_photos.py --query harbour --n 50 --accept-licenses CC0 "public domain" --name harbour
  python scripts/collect_photos.py --from-dir pictures --licenses pictures/licenses.csv

The same command again goes on where it stopped and downloads nothing twice; another query adds to the same
collection. Everything lies in data/collections/NAME: images/ as they came, ledger.jsonl with what was taken and what
was refused and why, ATTRIBUTION.csv with whom to name.

commons     Wikimedia Commons; a picture's day is the day its last version was uploaded.
openverse   Flickr's and Wikimedia's photographs as Openverse lists them, at most 400 a search; other hosts are
            refused. Openverse does not say when a picture was uploaded: its day is the day Openverse first listed it,
            which is later, so a picture may be refused that is old enough, never the other way round.
--from-dir  a folder is copied, never moved; its files carry no day, so --before does not apply: make sure yourself
            that no generated picture is among them. --licenses is a CSV with the columns
            file,license,author,page,title, file being the path inside the folder; files it does not name are taken
            without a licence and counted.

Refused are: other licences; pictures not yet public before {BEFORE}, for later ones may be generated; what is
described as generated; what is smaller than --min-side; what cannot be decoded whole; what its server opts out of
mining (X-Robots-Tag: noai, TDM-Reservation: 1). A program must say who runs it (foundation.wikimedia.org, User-Agent
policy): --contact goes into the User-Agent of the requests and nowhere else.
"""


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--query", metavar="WORDS", help="what to search for")
    origin.add_argument("--from-dir", type=Path, metavar="FOLDER", help="take pictures that are here already")
    parser.add_argument("--n", type=int, help=f"how many of this query (default: {N}; of a folder: all)")
    parser.add_argument("--source", choices=("commons", "openverse"), help="where to search (default: commons)")
    parser.add_argument("--licenses", type=Path, metavar="CSV", help="of the files in --from-dir")
    parser.add_argument(
        "--accept-licenses",
        nargs="+",
        default=LICENSES,
        metavar="LICENSE",
        help=f"in any version and country (default: {', '.join(LICENSES)})",
    )
    parser.add_argument("--before", metavar="DAY", help=f"take what was public before it (default: {BEFORE})")
    parser.add_argument(
        "--min-side", type=int, default=MIN_SIDE, metavar="PX", help="of the shorter side (default: %(default)s)"
    )
    parser.add_argument(
        "--width",
        choices=("960", "1280", "1920", "original"),
        help=f"at which Commons shall give larger pictures (default: {WIDTH})",
    )
    parser.add_argument("--contact", metavar="ADDRESS", help="your mail or web address (default: HUEPRINT_CONTACT)")
    parser.add_argument("--api", metavar="URL", help="another server that speaks as the source does, for trials")
    parser.add_argument("--name", default="photos", help="of the collection (default: %(default)s)")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="where data sets lie (default: %(default)s)"
    )
    arguments = parser.parse_args()
    shell.main("collect_photos", lambda: collect(arguments))


def collect(arguments: argparse.Namespace) -> None:
    """Search, choose, bring, and say what became of everything that was found."""
    from datasets import photos
    from datasets.ledger import Ledger
    from datasets.manifest import DataError
    from datasets.photos import collecting

    rules = _rules(arguments)
    if arguments.from_dir:
        source, place, query = "folder", str(arguments.from_dir), arguments.from_dir.resolve().name
        candidates, bring = _of_folder(arguments)
    else:
        source, query = arguments.source or "commons", " ".join(arguments.query.split())
        place, candidates, bring = _of_network(arguments, source, query, rules)
    n = arguments.n or (None if arguments.from_dir else N)
    folder = arguments.data_root / "collections" / arguments.name
    with Ledger(folder, kind=photos.KIND) as ledger:
        try:
            collecting.collect(candidates, ledger, source=source, query=query, rules=rules, n=n, bring=bring)
        finally:
            photos.write_attribution(folder, ledger.events)
            result = collecting.outcome(ledger.events, source, query)
            _print_table(result)
        if not result.found:
            raise DataError(f"--query {query!r}: {place} finds no photograph; try other or fewer words")
        if not result.taken:
            raise DataError(
                f"none of the {result.found:,} found in {place} is taken: see above; try other words or rules"
            )
        total = len({event["file"] for event in ledger.events if event["event"] == "saved"})
    if n and result.taken < n:
        print(f"only {result.taken:,} of {n:,}: {place} has no more that fit; other words may find others")
    if result.unreachable:
        full = n is not None and result.taken >= n
        rest = "others took their place" if full else "the same command asks for them again"
        print(f"{result.unreachable:,} could not be reached; {rest}")
    if result.unlicensed:
        print(f"{result.unlicensed:,} of the taken have no licence: name it with --licenses before you pass them on")
    root = "" if arguments.data_root == Path("data") else f" --data-root {arguments.data_root}"
    print(
        f"{folder}: {total:,} photographs, whom to name in ATTRIBUTION.csv; next: python scripts/generate_flux.py "
        f"--match {arguments.name}{root}, then python scripts/build_dataset.py --name flux --fake flux "
        f"--real {arguments.name}{root}"
    )


def _rules(arguments: argparse.Namespace) -> "Rules":
    """What is taken; DataError where an option is not what it may be, or stands beside one it has no meaning with."""
    import re
    from datetime import date

    from datasets.manifest import DataError
    from datasets.photos.candidates import Rules

    if arguments.from_dir:
        for option in ("source", "before", "width", "contact", "api"):
            if getattr(arguments, option) is not None:
                raise DataError(f"--{option}: has no meaning with --from-dir; expected it with --query only")
    elif arguments.licenses:
        raise DataError("--licenses: expected with --from-dir only; the network's pictures bring their licences")
    for option in ("n", "min_side"):
        if (value := getattr(arguments, option)) is not None and value < 1:
            raise DataError(f"--{option.replace('_', '-')} {value}: expected a whole number from 1")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", arguments.name):
        raise DataError(f"--name {arguments.name!r}: expected letters, digits, dots, dashes and underscores")
    if not all(license.strip() for license in arguments.accept_licenses):
        raise DataError("--accept-licenses: one is empty; expected names such as 'CC BY-SA'")
    before = arguments.before or BEFORE
    try:
        before = date.fromisoformat(before).isoformat()
    except ValueError as error:
        raise DataError(f"--before {before}: expected a day such as {BEFORE}") from error
    if before > BEFORE:
        print(
            f"collect_photos: --before {before}: pictures of 2022 and later may be generated, whatever their page "
            "says; one of them in the real class makes every result doubtful",
            file=sys.stderr,
        )
    return Rules(licenses=tuple(arguments.accept_licenses), before=before, min_side=arguments.min_side)


def _of_folder(arguments: argparse.Namespace) -> "tuple[Iterable[Candidate], Callable[[Candidate], bytes]]":
    from datasets.photos import own

    return own.candidates(arguments.from_dir, arguments.licenses), own.read


def _of_network(
    arguments: argparse.Namespace, source: str, query: str, rules: "Rules"
) -> "tuple[str, Iterable[Candidate], Callable[[Candidate], bytes]]":
    """The service's name, its candidates, and what brings one of them."""
    import os
    from urllib.parse import urlsplit

    from datasets.manifest import DataError
    from datasets.photos import api, collecting, commons, openverse
    from datasets.web import fetch_picture, is_loopback

    if not 1 <= len(query) <= LONGEST_QUERY:
        raise DataError(f"--query: {len(query)} characters; expected words, at most {LONGEST_QUERY} characters")
    if source == "openverse" and arguments.width:
        raise DataError("--width: Openverse gives pictures at one size only; expected with --source commons only")
    contact = arguments.contact or os.environ.get("HUEPRINT_CONTACT", "")
    if not contact:
        raise DataError(
            "--contact is missing: the services ask every program to say who runs it (Wikimedia's User-Agent policy); "
            "give a mail or web address of yours, or set HUEPRINT_CONTACT"
        )
    agent = api.user_agent(contact)
    module = {"commons": commons, "openverse": openverse}[source]
    service = api.Service(module.NAME, arguments.api or module.API, agent)
    hosts = (*module.HOSTS, *([urlsplit(arguments.api).hostname or ""] if arguments.api else []))
    loopback = is_loopback(service.url)
    if source == "commons":
        width = arguments.width or WIDTH
        candidates = commons.candidates(service, query, width=None if width == "original" else int(width))
    else:
        candidates = openverse.candidates(service, query, licenses=rules.licenses)

    pace = collecting.Pace(collecting.BYTES_A_SECOND, ahead=collecting.BYTES_AHEAD)

    def bring(candidate: "Candidate") -> bytes:
        return fetch_picture(candidate.url, hosts=hosts, user_agent=agent, loopback=loopback, spend=pace.spend)

    return module.NAME, candidates, bring


def _print_table(result: "Outcome") -> None:
    if not result.found:
        return
    lines = [
        ("taken", result.taken),
        *((f"refused: {reason}", count) for reason, count in result.refused.most_common()),
    ]
    if result.unreachable:
        lines.append(("could not be reached", result.unreachable))
    width = max(len(text) for text, _ in lines)
    for text, count in lines:
        print(f"{text:{width}}{count:8,}")


if __name__ == "__main__":
    main()
