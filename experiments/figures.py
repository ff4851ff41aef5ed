"""Everything the project draws, in one style: curves with matplotlib, sheets of pictures with Pillow.

Real is blue and fake is vermillion everywhere (Okabe and Ito's colours, apart for colour-blind eyes too), and
never by colour alone. Nothing here touches pyplot, so no figure outlives its caller.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from detector import metrics

COLORS = {"real": "#0072B2", "fake": "#D55E00"}
NAMES = ("real", "fake")
INK = "#222222"
GAP = 6
MARGIN = 12
ABREAST = 4  # in a grid: TensorBoard shrinks pictures to cards some 350 pixels wide, and the words must survive it
STYLE: dict = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "text.color": INK,
    "axes.labelcolor": INK,
}


def roc(labels: np.ndarray, scores: np.ndarray) -> Figure:
    """The ROC curve with its area; positive = fake. Without both classes there is no curve, and the figure says so."""
    curve = metrics.roc(scores, labels)
    figure, axes = _figure(
        "ROC",
        xlabel="real pictures called fake\n(false positive rate)",
        ylabel="fake pictures found\n(true positive rate)",
    )
    axes.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=1.5)
    if curve.has_both_classes:
        wrong, found = (counts / counts[-1] for counts in (curve.false_positives, curve.true_positives))
        axes.plot(wrong, found, color=COLORS["fake"], linewidth=2.5)
        axes.title.set_text(f"ROC, area {metrics.auc(scores, labels):.4f}")
    else:
        axes.text(0.5, 0.5, "one class only", ha="center", bbox={"facecolor": "white", "edgecolor": "none"})
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure


def precision_recall(labels: np.ndarray, scores: np.ndarray) -> Figure:
    """Precision against recall in steps, with average precision; dashed is what calling by lot would reach."""
    curve = metrics.roc(scores, labels)
    figure, axes = _figure(
        "precision and recall",
        xlabel="fake pictures found\n(recall)",
        ylabel="fake among those called fake\n(precision)",
    )
    if curve.has_both_classes:
        found, wrong = curve.true_positives, curve.false_positives
        precision = found[1:] / (found[1:] + wrong[1:])
        axes.axhline(precision[-1], color="#888888", linestyle="--", linewidth=1.5)
        axes.step(found / found[-1], np.append(precision[0], precision), color=COLORS["fake"], linewidth=2.5)
        axes.title.set_text(f"average precision {metrics.average_precision(scores, labels):.4f}")
    else:
        axes.text(0.5, 0.5, "one class only", ha="center", bbox={"facecolor": "white", "edgecolor": "none"})
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure


def confusion(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Figure:
    """Counts and shares of each class; a picture is called fake where its score is at least `threshold`."""
    cells = metrics.confusion(scores, labels, threshold=threshold)
    counts = np.array([[cells.true_negatives, cells.false_positives], [cells.false_negatives, cells.true_positives]])
    figure, axes = _figure(f"fake from {threshold:.3g} on", xlabel="predicted", ylabel="actual")
    _cells(axes, counts, size=17)
    axes.set_xticks((0, 1), NAMES)
    axes.set_yticks((0, 1), NAMES, rotation=90, va="center")
    return figure


def confusion_by_class(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts (K, K), row = what a picture is, column = what it was called, each with its share of the row."""
    side = 2.2 + 0.95 * len(names)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(side, side), dpi=100, layout="constrained")  # the names have any length
        axes = figure.add_subplot(title="who made it", xlabel="predicted", ylabel="actual")
    _cells(axes, counts, size=12)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    return figure


def _cells(axes: Axes, counts: np.ndarray, *, size: int) -> None:
    """Counts and shares of each row as a field of blue squares."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        ink = "white" if share > 0.5 else INK
        axes.text(column, row, f"{count:,}\n{share:.1%}", ha="center", va="center", color=ink, fontsize=size)
    axes.grid(False)


def drawn(figure: Figure) -> Image.Image:
    """The figure as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _figure(title: str, *, xlabel: str, ylabel: str):
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.6), dpi=100)
        # a place that suits both figures: finding it by layout takes as long as drawing, at the end of every run
        axes = figure.add_axes((0.19, 0.16, 0.78, 0.76), title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def contact_sheet(columns: Mapping[str, np.ndarray], row_labels: Sequence[str], scale: int) -> Image.Image:
    """One row per picture, one titled column per view; rows labelled `real` or `fake` are marked in their colour.

    columns: title -> uint8 (N, H, W, 3), N = len(row_labels); scale: whole number, each pixel becomes scale x scale.
    """
    for title, pictures in columns.items():
        _check(title, pictures, len(row_labels))
    cells = [[columns[title][row] for title in columns] for row in range(len(row_labels))]
    return _sheet(cells, row_labels=row_labels, titles=list(columns), scale=scale)


def view_grid(
    before: np.ndarray,
    after: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    scale: int,
    beside: Mapping[str, np.ndarray] | None = None,
) -> Image.Image:
    """Pictures before (upper row) and after (lower row) the transform, four side by side; label and score below.
    One row where the transform leaves all of them as they are.

    before, after, and further rows `beside`: uint8 (N, H, W, 3); labels: 0 real, 1 fake; scores: of fake, in [0, 1].
    """
    rows = {"before": before, "after": after} if not np.array_equal(before, after) else {"as it is": before}
    return picture_grid(rows | dict(beside or {}), labels, scores, scale)


def picture_grid(rows: Mapping[str, np.ndarray], labels: np.ndarray, scores: np.ndarray, scale: int) -> Image.Image:
    """Pictures in as many titled rows as are given, uint8 (N, H, W, 3) each, four side by side; label and score of fake
    below."""
    for title, pictures in rows.items():
        _check(title, pictures, len(labels))
    captions = [(NAMES[int(label)], f"{score:.3f}") for label, score in zip(labels, scores, strict=True)]
    sheets = [
        _sheet(
            [list(pictures[four]) for pictures in rows.values()],
            row_labels=list(rows),
            captions=[("label", "p(fake)"), *captions[four]],
            scale=scale,
        )
        for four in (slice(start, start + ABREAST) for start in range(0, len(labels), ABREAST))
    ]
    return stacked(sheets)


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Pictures of any width one below the other, on white."""
    grid = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), "white")
    for place, sheet in enumerate(sheets):
        grid.paste(sheet, (0, sum(above.height for above in sheets[:place])))
    return grid


def _check(name: str, pictures: np.ndarray, count: int) -> None:
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[0] != count or pictures.shape[3] != 3:
        raise ValueError(f"{name}: pictures are {pictures.dtype} {pictures.shape}; expected uint8 ({count}, H, W, 3)")


def _sheet(
    cells: Sequence[Sequence[np.ndarray]],
    *,
    row_labels: Sequence[str],
    titles: Sequence[str] = (),
    captions: Sequence[tuple[str, str]] = (),
    scale: int,
) -> Image.Image:
    """Pictures in rows and columns on white: titles above, row labels at the left, captions of two lines below.

    The first caption stands under the row labels and says what the others are.
    """
    font = _font()
    line = sum(font.getmetrics())
    pictures = [[_enlarge(cell, scale) for cell in row] for row in cells]
    widest = max((picture.width for row in pictures for picture in row), default=0)
    wrapped = [_wrap(title, widest) for title in titles]
    texts = [text for title in wrapped for text in title] + [text for caption in captions[1:] for text in caption]
    width = max([widest, *(_width(text) for text in texts)]) + GAP
    heights = [max((picture.height for picture in row), default=0) + GAP for row in pictures]
    left = MARGIN + max((_width(text) for text in [*row_labels, *sum(captions[:1], ())]), default=0) + 3 * GAP
    top = MARGIN + line * max((len(title) for title in wrapped), default=0) + GAP
    foot = line * 2 * bool(captions)
    columns = max((len(row) for row in pictures), default=0)
    sheet = Image.new("RGB", (left + width * columns - GAP + MARGIN, top + sum(heights) + foot - GAP + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)

    for column, title in enumerate(wrapped):
        for row, text in enumerate(reversed(title)):
            draw.text((left + width * column, top - GAP - line * (row + 1)), text, INK, font)
    y = top
    for label, row_of_pictures, height in zip(row_labels, pictures, heights, strict=True):
        color = COLORS.get(label, INK)
        draw.text((MARGIN, y + (height - GAP) / 2), label, color, font, anchor="lm")
        if label in COLORS:
            draw.rectangle((left - 2 * GAP, y, left - GAP - 1, y + height - GAP - 1), color)
        for column, picture in enumerate(row_of_pictures):
            sheet.paste(picture, (left + width * column, y))
        y += height
    for column, (name, text) in enumerate(captions, start=-1):
        x = MARGIN if column < 0 else left + width * column
        draw.text((x, y - GAP / 2), f"{name}\n{text}", COLORS.get(name, INK), font, spacing=2)
    return sheet


@cache
def _font() -> ImageFont.FreeTypeFont:
    # Matplotlib brings this font along: the sheets look the same on a machine without any.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 14)


def _width(text: str) -> int:
    return int(np.ceil(_font().getlength(text)))


def _wrap(title: str, width: int) -> list[str]:
    """Break at underscores so that no line is wider than `width` pixels, where the words allow it."""
    lines = [""]
    for word in title.replace("_", "_\n").split("\n"):
        if lines[-1] and _width(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    return lines


def _enlarge(picture: np.ndarray, scale: int) -> Image.Image:
    return Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
