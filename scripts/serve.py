"""The verdicts of a finished run over HTTP: pictures by POST /predict, JSON back."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/serve.py                                        by the run that was finished last
  curl -F files=@photo.jpg -F files=@other.png http://127.0.0.1:8502/predict
  python scripts/serve.py --run runs/cifake/cnn32/none/87ddb061cc-seed0 --port 8600

/docs describes it and lets one try, /openapi.json is the same for programs, /health says by which run it answers.
Limits: 32 files in a request (422) of 64 MiB (413); 20 MiB, 50 million pixels and 20 s a picture (a row with
the reason, the others go on); when too many wait, 503 with Retry-After. There is no password: --host opens it to all.
While it listens to this machine alone, it answers by no name but localhost and 127.0.0.1, nor pages of others (403).
"""


def main() -> None:
    arguments = parsed()
    shell.main("serve", lambda: serve(arguments))


def parsed() -> argparse.Namespace:
    """The words of the command line."""
    parser = shell.parser(__doc__, EXAMPLES)
    shell.add_service(parser, port=8502)
    return parser.parse_args()


def serve(arguments: argparse.Namespace) -> None:
    """Answer requests."""
    try:
        from experiments import endpoint
    except ImportError as error:
        raise shell.Unusable(f"the endpoint needs FastAPI: pip install -e '.[app]' ({error})") from error
    endpoint.serve(host=arguments.host, port=arguments.port, runs_root=arguments.runs, run=arguments.run)


if __name__ == "__main__":
    main()
