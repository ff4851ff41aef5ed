"""results/performance.md: the commands, and everything that has been measured so far, read from the files beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from datasets.manifest import whole_file
from experiments.benchmark.measuring import FAILED
from experiments.benchmark.scaling import TITLES, limits

WORTH_TELLING = 0.02  # of the processor's time
HEADER = ("what", "ours", "against", "its figure", "ratio", "needed", "verdict")
COMMANDS = """```
python scripts/benchmark.py --out results/performance                  # both sides, three rounds
python scripts/benchmark.py --quick                                    # fewer images, one round: under three minutes
python scripts/benchmark.py --device cuda --out results/performance    # on a machine with a GPU
python scripts/benchmark_scaling.py --out results/performance          # the picture at the foot; --device cuda
```"""
INTRODUCTION = f"""# Performance

What a run and a sweep cost here, held against PARENT: the plain way, written from the description of the project that
asked the question (`experiments/benchmark/parent.py` says what was assumed). Both sides are measured in turn in one
program, each as a process of its own, on the same files. Figures are medians of the rounds, in brackets the least and
the most; a ratio is the median of the rounds' own ratios, and the verdict goes by it.

{COMMANDS}
"""
MEASURED_BY = {
    "cpu": ("On the processor", "python scripts/benchmark.py --out results/performance"),
    "cuda": ("On one GPU", "python scripts/benchmark.py --device cuda --out results/performance"),
}


def write(prefix: Path) -> Path:
    """Write PREFIX.md from those of PREFIX_cpu.json, PREFIX_cuda.json and PREFIX_scaling_*.json that are there."""
    parts = [INTRODUCTION]
    for device, (title, command) in MEASURED_BY.items():
        parts.append(f"## {title}\n")
        report = _read(prefix, device)
        parts.append(section(report) if report else f"Not measured yet: `{command}`.\n")
    parts.append("## Scaling\n")
    drawn = [device for device in MEASURED_BY if _read(prefix, f"scaling_{device}")]
    for device in drawn:
        parts.append(_scaling_section(_read(prefix, f"scaling_{device}"), beside(prefix, f"scaling_{device}.png").name))
    if not drawn:
        parts.append("Not measured yet: `python scripts/benchmark_scaling.py --out results/performance`.\n")
    path = prefix.with_name(f"{prefix.name}.md")
    with whole_file(path) as file:
        file.write("\n".join(parts))
    return path


def beside(prefix: Path, ending: str) -> Path:
    """PREFIX_ending"""
    return prefix.with_name(f"{prefix.name}_{ending}")


def _read(prefix: Path, part: str) -> dict[str, Any]:
    path = beside(prefix, f"{part}.json")
    return json.loads(path.read_text()) if path.exists() else {}


def section(report: Mapping[str, Any]) -> str:
    """What one run of the benchmark found: machine, table, notes, limits."""
    rounds = f"{report['rounds']} round{'s' * (report['rounds'] != 1)}"
    quick = "; --quick: fewer images, so what happens once weighs more" if report["quick"] else ""
    lines = [f"{machine_words(report['machine'])}. {report['data']}; {rounds}{quick}.", "", table(report["rows"]), ""]
    lines += [f"- {row['what']}: {words}" for row in report["rows"].values() if (words := _words(row))]
    if report.get("limits"):
        lines += ["", *_limit_lines(report)]
    return "\n".join(lines) + "\n"


def machine_words(machine: Mapping[str, Any]) -> str:
    """One line for the reader."""
    processor = f"{machine['cpus']} CPUs of {machine['processor']}"
    versions = f"Python {machine['python']}, PyTorch {machine['torch']}, torchvision {machine['torchvision']}"
    return ", ".join(filter(None, (machine["gpu"], processor, machine["system"], versions)))


def _words(row: Mapping[str, Any]) -> str:
    """What stands beside the figures; empty where nothing does."""
    stolen = max(row["stolen"], default=0.0)
    disturbed = f"other machines took up to {stolen:.0%} of the processor meanwhile" if stolen >= WORTH_TELLING else ""
    return row["failure"] or "; ".join(filter(None, (row["note"], disturbed)))


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows as a markdown table, its columns aligned."""
    cells = [HEADER, *(_cells(row) for row in rows.values())]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["verdict"] == FAILED:
        return row["what"], "-", row["against"], "-", "-", _needed(row), FAILED
    times = "" if row["at_most"] is not None else "x"
    ratio = _spread([f"{ratio:.3f}" if not times else f"{ratio:.2f}" for ratio in _ordered(row["ratios"])], times)
    ours, other = (_spread([number(value) for value in _ordered(row[side])], "") for side in ("ours", "other"))
    return (
        row["what"],
        f"{ours} {row['unit']}",
        row["against"],
        f"{other} {row['unit']}",
        ratio,
        _needed(row),
        row["verdict"],
    )


def _needed(row: Mapping[str, Any]) -> str:
    if row["at_least"] is not None:
        return f"at least {row['at_least']:g}x"
    return f"at most {row['at_most']:g}" if row["at_most"] is not None else "-"


def _ordered(values: list[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


def _spread(texts: list[str], unit: str) -> str:
    middle, least, most = texts
    return f"{middle}{unit}" if least == most else f"{middle}{unit} ({least} to {most})"


def number(value: float) -> str:
    """Three digits or more, never a power of ten."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def _limit_lines(report: Mapping[str, Any]) -> list[str]:
    """The roofline of a step in words, and how far it lies from PARENT's epoch."""
    lines = ["What stands in the way of a step of A32 (batch 32), measured in one process:", ""]
    for limit in report["limits"]:
        times = {key: 32_000 / limit[f"{key}_ms"] for key in ("step", "layers", "roofline")}
        text = (
            f"- {limit['precision']}, {limit['threads']} threads: best convolution "
            f"{number(limit['convolution_gflops'])} GFLOP/s, memory {number(limit['memory_gbytes'])} GB/s; a step has "
            f"{number(limit['step_gflop'])} GFLOP and moves {number(limit['step_mbytes'])} MB. A step takes "
            f"{number(limit['step_ms'])} ms ({times['step']:,.0f} images/s); its convolutions and linear layers alone "
            f"{number(limit['layers_ms'])} ms ({times['layers']:,.0f} images/s); the roofline, bound by "
            f"{limit['bound']}, is {number(limit['roofline_ms'])} ms ({times['roofline']:,.0f} images/s)"
        )
        epoch = report["rows"].get("epoch", {}).get("other")
        if epoch:
            shares = ", ".join(f"{times[key] / median(epoch):.2f}x for the {key}" for key in times)
            text += f". Against PARENT's epoch: {shares}"
        lines.append(text + ".")
    return lines


def _scaling_section(report: Mapping[str, Any], picture: str) -> str:
    """The picture with what limits what, in words."""
    words = [f"- {TITLES[name]}: {limits(name, points)[1]}" for name, points in report["curves"].items()]
    quick = " --quick: the lower end of each curve." if report["quick"] else ""
    return "\n".join(
        [
            f"{machine_words(report['machine'])}. Pictures are uint8 noise; a run takes {report['start']:.1f} s to its "
            f"first step.{quick}",
            "",
            f"![Cost against number of images, models trained together and size of images]({picture})",
            "",
            *words,
            "",
        ]
    )
