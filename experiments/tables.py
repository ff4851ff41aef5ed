"""Comparisons as tables for terminals, papers, spreadsheets and programs: one source of every number as it is shown."""

import csv
import dataclasses
import io
import json
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from experiments.comparison import Arm, Comparison, LearningSpeed

HEADINGS = {  # in the order in which columns stand
    "aug": "aug",
    "n": "n",
    "mean": "mean ± sd",
    "difference": "points",
    "interval": "95 % interval",
    "p": "p",
    "p_family": "max-t",
    "verdict": "verdict",
    "speed": "epochs",
    "images_per_second": "img/s",
    "clipped": "clipped",
    "colors": "colours",
}
ESSENTIAL = ("aug", "n", "mean", "difference", "interval", "verdict")
FURTHER = ("p_family", "p", "speed", "images_per_second", "clipped", "colors")  # the last one goes first
PRINTED = ("aug", "n", "mean", "difference", "interval", "p_family", "verdict")  # what a page of paper holds
LEFT = ("aug", "mean", "verdict")
LEAST_WIDTH = 60  # below it one line a number
NONE = "-"  # no number to show
LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
}


def rows(comparison: "Comparison") -> list[dict[str, str]]:
    """Every number as shown, by the keys of HEADINGS: the baseline's row, then the arms', best first.

    points: the mean paired difference in hundredths of the metric; interval: over seeds, in points; p: sign-flip,
    max-t: the same corrected for all arms; epochs: how many more or fewer to reach the baseline's final validation
    score; clipped: mean share of channel values at 0 or 1; colours: mean number of colours in a picture.
    """
    names = labels(comparison)
    return [
        _row(arm, name, baseline=arm is comparison.baseline)
        for arm, name in zip([comparison.baseline, *comparison.arms], names, strict=True)
    ]


def labels(comparison: "Comparison") -> list[str]:
    """What the baseline and the arms are called: their names, with the digest where two share a name."""
    arms = [comparison.baseline, *comparison.arms]
    count = Counter(arm.name for arm in arms)
    return [arm.name if count[arm.name] == 1 else f"{arm.name} {arm.digest}" for arm in arms]


def _row(arm: "Arm", name: str, *, baseline: bool) -> dict[str, str]:
    evidence = arm.evidence
    shown = dict.fromkeys(HEADINGS, NONE) | {
        "aug": name,
        "n": str(len(arm.values)),
        "mean": f"{number(arm.mean, '.4f')} ± {number(arm.sd, '.4f')}",
        "verdict": "baseline" if baseline else word(arm),
        "speed": _speed(arm.speed),
        "images_per_second": number(arm.images_per_second, ",.0f"),
        "clipped": number(arm.clipped, ".1%").replace("%", " %"),
        "colors": number(arm.colors, ",.0f"),
    }
    if evidence:
        shown["difference"] = points(evidence.difference, "+z.2f")
        shown["interval"] = span(evidence.low, evidence.high)
        shown["p"], shown["p_family"] = probability(evidence.p), probability(evidence.p_family)
    return shown


def word(arm: "Arm") -> str:
    """The verdict in one word: what is undecided for want of pairs is exploratory."""
    return NONE if arm.verdict is None else "exploratory" if arm.verdict.exploratory else arm.verdict.kind


def spread(arm: "Arm") -> float:
    """Standard deviation (n - 1) of the paired differences, in metric units; nan for a single pair."""
    return float(arm.differences.std(ddof=1)) if len(arm.differences) > 1 else math.nan


def number(value: float | None, form: str) -> str:
    """`value` in the format `form`; where there is none, or none that is finite, a dash."""
    return NONE if value is None or not math.isfinite(value) else format(value, form)


def points(value: float | None, form: str = ".2f") -> str:
    """A number in metric units as points."""
    return number(None if value is None else 100 * value, form)


def span(low: float | None, high: float | None) -> str:
    """An interval in metric units as points."""
    ends = points(low, "+z.2f"), points(high, "+z.2f")
    return NONE if NONE in ends else " to ".join(ends)


def probability(p: float | None) -> str:
    """Three digits without the zero before the point: .031, < .001, 1.000."""
    shown = number(p, ".3f").removeprefix("0")
    return "< .001" if shown == ".000" else shown


def _speed(speed: "LearningSpeed | None") -> str:
    if speed is None or not speed.pairs:
        return NONE
    if speed.never == speed.pairs:
        return "never"
    ends = f" [{speed.low:+z.1f}, {speed.high:+z.1f}]" if math.isfinite(speed.low) and math.isfinite(speed.high) else ""
    return f"{number(speed.difference, '+z.1f')}{ends}" + (f", {speed.never} never" if speed.never else "")


def text(comparison: "Comparison", width: int) -> str:
    """The table for a terminal of `width` columns; no line is longer.

    As many columns as fit, the essential ones at least: a name too long for that stands on a line of its own. Below 60
    columns every number has a line. What is left out is named below the table.
    """
    lines = rows(comparison)
    widths = {key: max(len(HEADINGS[key]), *(len(line[key]) for line in lines)) for key in HEADINGS}
    for count in range(len(FURTHER), -1, -1):
        shown = [key for key in HEADINGS if key in ESSENTIAL or key in FURTHER[:count]]
        if width >= LEAST_WIDTH and _width(widths, shown) <= width:
            table = [_line(line, widths, shown) for line in (HEADINGS, *lines)]
            return "\n".join([*table, *_left_out(widths, shown, width)])
    shown = [key for key in ESSENTIAL if key != "aug"]
    if width >= LEAST_WIDTH and _width(widths, shown) + 2 <= width:
        table = ["  " + _line(HEADINGS, widths, shown)]
        for line in lines:
            table += [*textwrap.wrap(line["aug"], width), "  " + _line(line, widths, shown)]
        return "\n".join([*table, *_left_out(widths, ["aug", *shown], width)])
    return "\n".join(part for line in lines for part in _stack(line, width))


def _width(widths: Mapping[str, int], shown: Sequence[str]) -> int:
    return sum(widths[key] for key in shown) + 2 * (len(shown) - 1)


def _line(line: Mapping[str, str], widths: Mapping[str, int], shown: Sequence[str]) -> str:
    cells = [line[key].ljust(widths[key]) if key in LEFT else line[key].rjust(widths[key]) for key in shown]
    return "  ".join(cells).rstrip()


def _left_out(widths: Mapping[str, int], shown: Sequence[str], width: int) -> list[str]:
    missing = [HEADINGS[key] for key in HEADINGS if key not in shown]
    if not missing:
        return []
    all_of_them = _width(widths, list(HEADINGS))
    return textwrap.wrap(f"(columns with no room here: {', '.join(missing)}; {all_of_them} columns hold all)", width)


def _stack(line: Mapping[str, str], width: int) -> list[str]:
    indent = max(map(len, HEADINGS.values())) + 4
    parts = textwrap.wrap(line["aug"], width)
    for key, heading in HEADINGS.items():
        if key != "aug" and line[key] != NONE:
            label = f"  {heading}".ljust(indent)
            parts += textwrap.wrap(line[key], width, initial_indent=label, subsequent_indent=" " * indent)
    return parts


def markdown(comparison: "Comparison", columns: Sequence[str] = tuple(HEADINGS)) -> str:
    """The table with all columns or with some, in the strings of `text`."""
    marks = ["---" if key in LEFT else "---:" for key in columns]
    cells = [[HEADINGS[key] for key in columns], marks]
    cells += [[line[key].replace("|", "\\|") for key in columns] for line in rows(comparison)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def latex(comparison: "Comparison", caption: str) -> str:
    """A table for a paper that loads booktabs; without the columns for which a page has no room."""
    body = [" & ".join(_escaped(line[key]) for key in PRINTED) + r" \\" for line in rows(comparison)]
    body.insert(1, r"\midrule")  # below the baseline
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\begin{{tabular}}{{@{{}}{''.join('l' if key in LEFT else 'r' for key in PRINTED)}@{{}}}}",
            r"\toprule",
            " & ".join(_escaped(HEADINGS[key]) for key in PRINTED) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _escaped(words: str) -> str:
    """For LaTeX; a sign before a number is a sign, not a hyphen."""
    parts = ["".join(LATEX.get(letter, letter) for letter in word) for word in words.split(" ")]
    return " ".join(
        f"${part[0]}${part[1:]}" if part[0:1] in ("-", "+") and part[1:2].isdigit() else part for part in parts
    )


def csv_text(comparisons: Sequence["Comparison"]) -> str:
    """One row an arm, numbers in full and in metric units (accuracy from 0 to 1), nothing where there is none."""
    records = [
        _record(comparison, arm) for comparison in comparisons for arm in (comparison.baseline, *comparison.arms)
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _record(comparison: "Comparison", arm: "Arm") -> dict[str, Any]:
    evidence, speed, train = arm.evidence, arm.speed, comparison.settings.get("train", {})
    verdict = arm.verdict
    record = {
        "data": comparison.data,
        "model": comparison.model,
        "recipe": comparison.recipe,
        "epochs trained [epochs]": train.get("epochs"),
        "batch size [images]": train.get("batch_size"),
        "test images [count]": comparison.num_images,
        "groups of test images [count]": comparison.num_groups,
        "metric": comparison.metric,
        "margin [metric]": comparison.margin,
        "baseline": comparison.baseline.name,
        "aug": arm.name,
        "digest": arm.digest,
        "n [pairs]": len(arm.values),
        "mean [metric]": arm.mean,
        "sd [metric]": arm.sd,
        "difference [metric]": evidence and evidence.difference,
        "low 95 % [metric]": evidence and evidence.low,
        "high 95 % [metric]": evidence and evidence.high,
        "p sign-flip": evidence and evidence.p,
        "p max-t": evidence and evidence.p_family,
        "p Holm": evidence and evidence.p_holm,
        "low 90 % paired t [metric]": evidence and evidence.equivalent_low,
        "high 90 % paired t [metric]": evidence and evidence.equivalent_high,
        "p equivalence Holm": evidence and evidence.p_equivalent,
        "low 95 % images [metric]": evidence and evidence.images_low,
        "high 95 % images [metric]": evidence and evidence.images_high,
        "low 90 % images [metric]": evidence and evidence.images_equivalent_low,
        "high 90 % images [metric]": evidence and evidence.images_equivalent_high,
        "verdict": verdict.kind if verdict else "baseline",
        "exploratory": verdict and verdict.exploratory,
        "detectable by pairs [metric]": arm.detectable if verdict else None,
        "detectable by images [metric]": arm.detectable_images if verdict else None,
        "discordant, mean [share]": float(np.mean(arm.discordant)) if verdict and len(arm.discordant) else None,
        "to baseline's level [epochs]": speed and speed.epochs,
        "baseline to its level [epochs]": speed and speed.baseline_epochs,
        "difference to level [epochs]": speed and speed.difference,
        "low 95 % to level [epochs]": speed and speed.low,
        "high 95 % to level [epochs]": speed and speed.high,
        "never at level [pairs]": speed and speed.never,
        "images per second [1/s]": arm.images_per_second,
        "clipped [share of values]": arm.clipped,
        "colors [per picture]": arm.colors,
        "reason": verdict and verdict.reason,
    }
    return {key: "" if plain is None else plain for key, plain in _plain(record).items()}


def json_text(document: Mapping[str, Any]) -> str:
    """Comparisons and what belongs to them as strict JSON, every number in full and in metric units.

    null stands for what is not a finite number. Runs and their images are left out: outcomes.export writes them.
    """
    return json.dumps(_plain(document), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.name not in ("members", "test")]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
