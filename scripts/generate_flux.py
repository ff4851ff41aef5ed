"""Generate pictures with FLUX.1-schnell: paid for once, kept with their prompts and seeds, resumed after any stop."""

import argparse
import math
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/generate_flux.py --n 1000 --dry-run               what it would ask for, what it would cost
  python scripts/generate_flux.py --n 1000 --max-cost 5            woman presenting on stage; again: goes on
  python scripts/generate_flux.py --n 500 --prompts theme.txt --name markets
  python scripts/generate_flux.py --match photos --name flux       one for each photograph, from its title
  python scripts/generate_flux.py --n 20 --generator diffusers     on this machine, without money

a file of prompts: one a line. a theme: the first line begins with `base:`, every further line is a modifier; a
prompt is the base and two different modifiers. Lines that begin with # do not count.

Which prompt and seed an image has depends on the prompts, --seed and its number alone, so that a larger --n goes on
with the same list. Replicate takes about 3 dollars for 1000 images; its token comes from replicate.com/account:
  export REPLICATE_API_TOKEN=...
Everything lies in data/collections/NAME: images/ and ledger.jsonl, which holds each request and its outcome.
exit status: 0 all are there; 2 something to mend here, such as a prompt that the service refuses; 3 another process
is at it; 4 the disk; 7 the service or the network: token, credit, --max-cost, rate limit, or a model that fails.
"""
ASK_ABOVE = 1.0  # dollars
MOST_IMAGES = 1_000_000
LOCAL_IMAGE_SECONDS = 600.0  # that an interruption waits for an image made here, which no other call can fetch


def main() -> None:
    parser = shell.parser(__doc__, EXAMPLES)
    parser.add_argument("--n", type=int, metavar="N", help="how many images the collection is to hold in the end")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompts", type=Path, metavar="FILE", help="prompts or a theme (default: a conference stage)")
    source.add_argument("--match", metavar="COLLECTION", help="one image for each of its photographs")
    parser.add_argument("--aspect-ratio", default="16:9", metavar="W:H", help="default: %(default)s")
    parser.add_argument("--megapixels", default="1", metavar="M", help="1 or 0.25 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and images (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=4, help="images under way at once (default: %(default)s)")
    parser.add_argument(
        "--max-cost",
        type=float,
        metavar="DOLLARS",
        help="for all images of this collection, those of earlier calls too",
    )
    parser.add_argument("--dry-run", action="store_true", help="show prompts, count, price and time; spend nothing")
    parser.add_argument("--yes", action="store_true", help=f"do not ask before spending more than {ASK_ABOVE:g} dollar")
    parser.add_argument("--generator", choices=("replicate", "diffusers"), default="replicate", help="who makes them")
    parser.add_argument("--name", default="flux", help="of the collection (default: %(default)s)")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="where data sets lie (default: %(default)s)"
    )
    arguments = parser.parse_args()
    shell.main("generate_flux", lambda: generate(arguments))


def generate(arguments: argparse.Namespace) -> None:
    """Check everything, ask before spending, make what is missing, say where it is."""
    from datasets.flux import generation, history, schnell, service
    from datasets.flux.purchases import Purchases

    _check(arguments)
    paid = arguments.generator == "replicate"
    token = ""
    if paid and not arguments.dry_run:
        token = service.token_from_environment()
        service.pause_from_environment()
    folder = arguments.data_root / "collections" / arguments.name
    wanted = _wanted(arguments)
    if paid:
        record = schnell.record(arguments.aspect_ratio, arguments.megapixels)
    else:
        from datasets.flux.local import DiffusersGenerator

        width, height = schnell.image_size(arguments.aspect_ratio, arguments.megapixels)
        local = DiffusersGenerator(width=width, height=height)
        record = local.record
    events = history.read_or_begin(folder)
    lacking = generation.missing(wanted, events, record, folder)
    spent = Purchases(events)
    under_way = spent.under_way()
    to_order = [wish for wish in lacking if not any((wish.prompt, seed) in under_way for seed in wish.seeds)]
    orders = len(to_order) if paid else 0
    _tell_gone(lacking, events, orders, folder)
    if arguments.dry_run:
        _show(arguments, wanted, len(lacking), orders)
        return
    _check_cost(arguments, orders, spent.counted)
    _ask(arguments, orders)

    import contextlib
    import threading

    from datasets.ledger import Ledger

    ending = threading.Event()
    with Ledger(folder, kind=history.KIND) as ledger:
        if paid:
            from datasets.flux.generators import ReplicateGenerator

            maker = ReplicateGenerator(ledger, record=record, token=token, max_cost=arguments.max_cost, ending=ending)
            try:
                with contextlib.closing(maker):
                    generation.collect(wanted, maker, ledger, workers=arguments.workers, ending=ending)
            except (KeyboardInterrupt, shell.Terminated):
                _tell_waiting(ledger.events)
                raise
        else:
            generation.collect(wanted, local, ledger, workers=1, ending=ending, home=LOCAL_IMAGE_SECONDS)
        _report(arguments, len(wanted), len(lacking), ledger.events)


def _tell_gone(lacking: list, events: list, orders: int, folder: Path) -> None:
    from datasets.flux import schnell

    saved = {event["key"] for event in events if event["event"] == "saved"}
    gone = sum(wish.key in saved for wish in lacking)
    if gone:
        price = f", ordering them again costs up to {gone * schnell.PRICE:.3f} dollars" if orders else ""
        print(f"{gone:,} images that were saved are gone from {folder / 'images'}{price}")


def _tell_waiting(events: list) -> None:
    from datasets.flux.purchases import Purchases

    waiting = len(Purchases(events).under_way())
    if waiting:
        print(f"{waiting:,} paid images wait at Replicate for one hour; start again within it", file=sys.stderr)


def _check(arguments: argparse.Namespace) -> None:
    from datasets.manifest import DataError

    if arguments.n is None and arguments.match is None:
        raise DataError("--n is missing: how many images? for example --n 1000, or --match with a collection of photos")
    if arguments.n is not None and not 1 <= arguments.n <= MOST_IMAGES:
        raise DataError(f"--n {arguments.n}: expected a whole number from 1 to {MOST_IMAGES:,}")
    if arguments.seed < 0:
        raise DataError(f"--seed {arguments.seed}: expected a whole number of at least 0")
    if not 1 <= arguments.workers <= 32:
        raise DataError(f"--workers {arguments.workers}: expected a whole number from 1 to 32")
    if arguments.max_cost is not None and not (math.isfinite(arguments.max_cost) and arguments.max_cost >= 0):
        raise DataError(f"--max-cost {arguments.max_cost}: expected an amount in dollars, such as 5 or 0.50")
    for option, name in (("--name", arguments.name), ("--match", arguments.match)):
        if name is not None and not re.fullmatch(r"[\w-][\w.-]*", name):
            raise DataError(f"{option} {name}: expected the name of a collection: letters, digits, dots and hyphens")


def _wanted(arguments: argparse.Namespace) -> list:
    from datasets.flux import generation, prompts
    from datasets.manifest import DataError

    if arguments.match is None:
        theme = prompts.read(arguments.prompts or prompts.DEFAULT_THEME)
        return generation.wishes(theme, n=arguments.n, seed=arguments.seed)
    from datasets import photos

    folder = arguments.data_root / "collections" / arguments.match
    titles = photos.titles(folder)
    n = len(titles) if arguments.n is None else arguments.n
    if not titles or n > len(titles):
        raise DataError(f"--match {arguments.match}: {folder} holds {len(titles)} photographs, asked for are {n}")
    return generation.wishes_for_photographs(titles, n=n, seed=arguments.seed)


def _show(arguments: argparse.Namespace, wanted: list, lacking: int, orders: int) -> None:
    print(f"{len(wanted):,} images, {len(wanted) - lacking:,} of them are there; their prompts:")
    for wish in wanted[:10]:
        print(f"  {wish.prompt}")
    if len(wanted) > 10:
        print(f"  and {len(wanted) - 10:,} more")
    print(f"to make: {lacking:,} images")
    if arguments.generator == "replicate":
        print(_price(arguments, orders))
    print("nothing was asked for and nothing was spent")


def _price(arguments: argparse.Namespace, orders: int) -> str:
    from datasets.flux import schnell

    usual, slow = (math.ceil(seconds / 60) for seconds in schnell.seconds(orders, arguments.workers))
    return (
        f"to order: {orders:,} for about {orders * schnell.PRICE:.2f} dollars, in about {usual:,} min "
        f"({slow:,} min below 5 dollars of credit, where Replicate takes 6 orders a minute)"
    )


def _check_cost(arguments: argparse.Namespace, orders: int, before: int) -> None:
    from datasets.flux import schnell
    from datasets.manifest import DataError

    if arguments.max_cost is not None and orders and before + orders > schnell.affordable(arguments.max_cost):
        raise DataError(
            f"--max-cost {arguments.max_cost:g}: {orders:,} images to order cost {orders * schnell.PRICE:.3f} dollars, "
            f"{(before + orders) * schnell.PRICE:.3f} with earlier orders for it; give more, or a smaller --n"
        )


def _ask(arguments: argparse.Namespace, orders: int) -> None:
    from datasets.flux import schnell
    from datasets.manifest import DataError

    if orders * schnell.PRICE <= ASK_ABOVE or arguments.yes:
        return
    if not sys.stdin.isatty():
        raise DataError(f"{_price(arguments, orders)}; give --yes if that is meant")
    print(f"{_price(arguments, orders)}. Go on? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise DataError("nothing was ordered")


def _report(arguments: argparse.Namespace, there: int, made: int, events: list) -> None:
    from datasets.flux import schnell
    from datasets.flux.purchases import Purchases

    folder = arguments.data_root / "collections" / arguments.name
    print(f"{there:,} images are in {folder / 'images'}, {made:,} of them new")
    spent = Purchases(events)
    if spent.counted:
        unclear = f", {spent.unclear} of them without an answer" if spent.unclear else ""
        print(f"ordered so far: {spent.counted:,}{unclear}, at most {spent.counted * schnell.PRICE:.3f} dollars")
    root = "" if arguments.data_root == Path("data") else f" --data-root {arguments.data_root}"
    photos = arguments.match or "photos"
    print(
        f"next: python scripts/build_dataset.py --name {arguments.name} --fake {arguments.name} --real {photos}{root}"
    )


if __name__ == "__main__":
    main()
