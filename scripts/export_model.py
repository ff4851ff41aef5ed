"""Write a finished run as one file for other programs."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import shell

EXAMPLES = """examples:
  python scripts/export_model.py runs/cifake/cnn32/none/87ddb061cc-seed0 --format onnx --out detector.onnx
  python scripts/export_model.py runs/cifake/cnn32/none/87ddb061cc-seed0 --format safetensors --out detector.safetensors

RGB, float32 (batch, 3, height, width) in [0, 1] at the run's size goes in, the calibrated probability of FAKE (batch,)
comes out: view, network and temperature in one. Threshold, size, fit, classes and digest stand in the metadata;
pictures have to be decoded and fitted as in training; where `patches` is above 1, a picture's probability is the mean
over its patches. ONNX holds everything; safetensors the weights, with what this program needs to build the rest
(experiments.deployed.load). It is read back and compared with the run, computed in float32, on its test pictures: where
a probability is off by more than 1e-4, no file is written.

Needs the extra [export]: pip install -e '.[export]'. Exit status: 0; 2 the run cannot be written so.
"""


def main() -> None:
    arguments = parsed()
    shell.main("export_model", lambda: write(arguments))


def parsed() -> argparse.Namespace:
    """The words of the command line."""
    parser = shell.parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a finished run")
    add("--format", required=True, choices=("safetensors", "onnx"))
    add("--out", type=Path, required=True, metavar="FILE")
    add("--network-only", action="store_true", help="without the view: it is fed what the view would have made")
    return parser.parse_args()


def write(arguments: argparse.Namespace) -> int:
    """Load, write, say."""
    if arguments.out.is_dir():
        raise shell.Unusable(f"--out {arguments.out}: is a folder; expected a file")
    if file := next((above for above in arguments.out.parents if above.is_file()), None):
        raise shell.Unusable(f"--out {arguments.out}: {file} is a file; expected a folder")
    from experiments import classifier, deployed
    from experiments.material import choose_device

    judge = classifier.load(arguments.run, choose_device("cpu"))
    try:
        checked = deployed.export(judge, arguments.out, kind=arguments.format, network_only=arguments.network_only)
    except ModuleNotFoundError as error:
        raise shell.Unusable(f"{error.name} is not installed; pip install -e '.[export]'") from error
    print(f"checked against the run: {checked}")
    print(f"result: {arguments.out}\nnext:   its metadata say what goes in and from which threshold on it is FAKE")
    return 0


if __name__ == "__main__":
    main()
