"""The page of an evaluation, section by section; every number comes from experiments.evaluate.measuring."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import charts, figures
from experiments.evaluate import drawings
from experiments.evaluate.measuring import CHOSEN, FIXED, LARGEST, report
from experiments.report import origin
from experiments.report.blocks import Block, Bullets, Code, Picture, Report, Section, Table, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.predictions import TestSet

NONE = "-"


def document(
    found: Mapping[str, Any],
    test: "TestSet",
    scores: np.ndarray,
    *,
    epochs: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    examples: Sequence[Block],
) -> Report:
    """The whole page.

    found: of measuring.evaluation; test, scores: of predictions.parse; epochs: lines of metrics.jsonl, one an epoch;
    facts: of origin.gather; examples: pictures, or a sentence why there are none.
    """
    run = found["run"]
    fold = "" if run["fold"] is None else f", fold {run['fold']}"
    by_generator = LARGEST in found["called"]
    sections = [
        Section("The answer", [Text(answer(found)), Bullets(_which(run))]),
        Section("Classification report", _reports(found)),
        Section("Confusion", _generators(found) if by_generator else _confusions(found, test, scores)),
    ]
    if not by_generator:
        sections += [
            Section("Curves", _curves(found, test, scores)),
            Section("Calibration", _calibration(found)),
            Section("Scores", _scores(found)),
            *_parts(found),
        ]
    sections += [
        Section("Learning", _learning(found, epochs)),
        Section("Example pictures", examples),
        Section("The data", origin.data_card(dict(facts), [])),
        Section("Provenance", origin.provenance(dict(facts))),
    ]
    return Report(f"Hueprint: {run['data']}, {run['model']}, {run['aug']}, seed {run['seed']}{fold}", sections)


def answer(found: Mapping[str, Any]) -> str:
    """One sentence on the test images, and what its interval does not know."""
    key = next(iter(found["called"]))
    one = found["called"][key]["test"]["accuracy"]
    how = "by their largest score" if key == LARGEST else f"at a score of {key}"
    area = f", area under the ROC curve {found['metrics']['test']['auc']:.4f}" if key == FIXED else ""
    counts = ", ".join(f"{number:,} {name}" for name, number in found["images"]["test"].items())
    return (
        f"{one['count']:,} of {one['of']:,} test images ({counts}) are called rightly {how}: accuracy "
        f"{one['value']:.4f}, 95 % Wilson interval {one['low']:.4f} to {one['high']:.4f}{area}. Intervals here know "
        "these images alone, each as if it were independent of the others; another seed moves every number, as well."
    )


def _which(run: Mapping[str, Any]) -> list[str]:
    lines = [f"Run: {run['folder']}", f"Data: manifest {run['data_digest'][:12]}"]
    lines += [f"Ensemble of {', '.join(run['ensemble'])}"] if run["ensemble"] else []
    return [*lines, f"predictions.csv: sha256 {run['predictions'][:12]}"]


def how(found: Mapping[str, Any], key: str) -> str:
    """A threshold in words."""
    if key == LARGEST:
        return "by the largest score"
    chosen = ", chosen on validation" if key == CHOSEN else ""
    return f"fake from {found['thresholds'][key]:.4g} on{chosen}"


def _reports(found: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for key, by_split in found["called"].items():
        one = by_split["test"]
        blocks += [Text(f"Test images, {how(found, key)}", heading=True), Code(report(one).rstrip("\n"))]
        rows = [["accuracy", *_share(one["accuracy"])]]
        for name, each in one["each"].items():
            rows += [[f"{what} of {name}", *_share(each[what])] for what in ("precision", "recall")]
        caption = f"Shares and their 95 % Wilson intervals, {how(found, key)}"
        blocks.append(Table(caption, ["share", "value", "95 % interval", "images"], rows))
    return blocks


def _share(one: Mapping[str, Any]) -> list[str]:
    return [f"{one['value']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}", f"{one['count']:,} of {one['of']:,}"]


def _confusions(found: Mapping[str, Any], test: "TestSet", scores: np.ndarray) -> list[Block]:
    rows, blocks = [], []
    for key, by_split in found["called"].items():
        threshold = found["thresholds"][key]
        for split, one in by_split.items():
            (tn, fp), (fn, tp) = one["confusion"]
            rows.append([f"{split}, {how(found, key)}", *(f"{count:,}" for count in (tp, fp, tn, fn))])
        (tn, fp), (fn, tp) = by_split["test"]["confusion"]
        name = f"confusion-{'fixed' if key == FIXED else 'validation'}"
        alt = f"Confusion matrix: {tn} real called real, {fp} real called fake, {fn} fake called real, {tp} fake."
        drawing = figures.confusion(test.labels, scores, threshold)
        blocks.append(_picture(name, drawing, alt, f"Test images, {how(found, key)}.", narrow=True))
    head = ["images", "TP", "FP", "TN", "FN"]
    return [Table("Positive is fake: TP fake called fake, FP real called fake", head, rows), *blocks]


def _generators(found: Mapping[str, Any]) -> list[Block]:
    counts, names = np.array(found["called"][LARGEST]["test"]["confusion"]), found["classes"]
    words = "; ".join(
        f"{name}: {', '.join(f'{n} {to}' for n, to in zip(row, names, strict=True))}"
        for name, row in zip(names, counts.tolist(), strict=True)
    )
    drawing = figures.confusion_by_class(counts, names)
    return [_picture("confusion", drawing, f"Confusion matrix. {words}.", "Test images, by their largest score.")]


def _curves(found: Mapping[str, Any], test: "TestSet", scores: np.ndarray) -> list[Block]:
    one = found["metrics"]["test"]
    rates = ", ".join(f"{_number(one[f'tpr_at_fpr_{rate}'])} at {rate}\N{NO-BREAK SPACE}%" for rate in (1, 5, 10))
    words = (
        f"Equal error rate {_number(one['eer'])}. Share of fake pictures found at a false positive rate of: {rates}."
    )
    roc = f"ROC curve, area {_number(one['auc'])}."
    steps = f"Precision against recall, average precision {_number(one['average_precision'])}."
    return [
        _picture("roc", figures.roc(test.labels, scores), roc, f"{roc} Dashed: by lot.", narrow=True),
        _picture(
            "precision-recall",
            figures.precision_recall(test.labels, scores),
            steps,
            f"{steps} Dashed: by lot.",
            narrow=True,
        ),
        Text(words),
    ]


def _calibration(found: Mapping[str, Any]) -> list[Block]:
    known = found["calibration"]
    before, after = (known[key]["ece"] for key in ("before", "after"))
    sure = "above 1: the scores were too sure" if known["temperature"] > 1 else "below 1: the scores were too unsure"
    words = (
        f"Temperature {known['temperature']:.4f}, chosen on validation ({sure} there). Expected calibration error "
        f"of the test images: {before:.4f} before, {after:.4f} after."
    )
    alt = f"Reliability diagram; expected calibration error {before:.4f} before the temperature, {after:.4f} after."
    caption = "Share of fake in bins of the score, with 95 % Wilson intervals; below, how many images a bin holds."
    return [Text(words), _picture("reliability", drawings.reliability(known), alt, caption)]


def _scores(found: Mapping[str, Any]) -> list[Block]:
    drawing = drawings.scores(found["scores"], found["thresholds"])
    alt = "Histogram of the scores of real and of fake test images, with both thresholds."
    return [_picture("scores", drawing, alt, "Scores of the test images, not calibrated; the axis is logarithmic.")]


def _parts(found: Mapping[str, Any]) -> list[Section]:
    """Sections for sources and for what is shown, where there is more than one."""
    sections = []
    for key, title in (("sources", "Sources"), ("objects", "What is shown")):
        parts = found[key]
        if not parts:
            continue
        rows = [
            [
                name,
                f"{one[FIXED]['accuracy']['of']:,}",
                *(f"{one[at]['accuracy']['value']:.4f} ({_interval(one[at]['accuracy'])})" for at in (FIXED, CHOSEN)),
                *(_of_label(one[FIXED][label]) for label in ("REAL", "FAKE")),
                _number(one["auc"]),
            ]
            for name, one in parts.items()
        ]
        at = f"{found['thresholds'][CHOSEN]:.4g}"
        head = [title.lower(), "images", "accuracy at 0.5", f"accuracy at {at}", "REAL right", "FAKE right", "AUC"]
        caption = (
            "Test images, with 95 % Wilson intervals; REAL right, FAKE right: share of each called what it is, at 0.5"
        )
        worst = min(parts, key=lambda name: parts[name][FIXED]["accuracy"]["value"])
        alt = f"Shares called rightly, part by part; the worst is {worst}."
        drawing = _picture(key, drawings.parts(parts), alt, "Called what they are at 0.5; the worst on top.")
        sections.append(Section(title, [Table(caption, head, rows), drawing]))
    return sections


def _of_label(one: Mapping[str, Any]) -> str:
    return f"{one['value']:.4f} ({_interval(one)})" if one["of"] else NONE


def _interval(one: Mapping[str, Any]) -> str:
    return f"{one['low']:.3f} to {one['high']:.3f}"


def _learning(found: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> list[Block]:
    measured = found["metrics"]
    names = list(measured["test"])
    rows = [[name, *(_number(one.get(name)) for one in measured.values())] for name in names]
    caption = "All metrics; those of training were measured while the weights changed, through the view of training"
    blocks: list[Block] = [Table(caption, ["metric", *measured], rows)]
    if len(epochs) < 2:
        return [*blocks, Text("No curves: fewer than two epochs were recorded.")]
    alt = "Loss and accuracy of training and validation images along the epochs."
    return [*blocks, _picture("learning", drawings.learning(epochs), alt, alt)]


def _number(value: float | None) -> str:
    return NONE if value is None or np.isnan(value) else f"{value:.4f}"


def _picture(name: str, figure: "Figure", alt: str, caption: str, *, narrow: bool = False) -> Picture:
    return Picture(name, alt, caption, charts.png(figure), charts.svg(figure), narrow)
