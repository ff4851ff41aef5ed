"""A web page on this machine: drop pictures, see the verdict of a finished run, where it looks, and their colours."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/app.py                                          by the run that was finished last
  python scripts/app.py --run runs/cifake/cnn32/none/87ddb061cc-seed0
  python scripts/app.py --port 8600 --host 0.0.0.0               for the whole network: there is no password

Then open the address that it prints; Ctrl-C ends it. What is uploaded is held for the one who uploaded it while the
page is open, files of 20 MiB, 1 GiB of all; nothing is kept, and nothing is sent anywhere else.
"""


def main() -> None:
    arguments = parsed()
    shell.main("app", lambda: app(arguments))


def parsed() -> argparse.Namespace:
    """The words of the command line."""
    parser = shell.parser(__doc__, EXAMPLES)
    shell.add_service(parser, port=8501)
    return parser.parse_args()


def app(arguments: argparse.Namespace) -> None:
    """Serve the page."""
    from experiments.app import serve

    serve(**vars(arguments))


if __name__ == "__main__":
    main()
