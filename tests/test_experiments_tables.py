"""Comparisons as tables: the same strings everywhere, lines that fit, files that other programs read."""

import csv
import dataclasses
import io
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest

from experiments import tables, wording
from experiments.comparison import Arm, Comparison, LearningSpeed
from experiments.outcomes import TestSet as Images
from experiments.verdicts import Evidence, judge

WIDTHS = (40, 59, 60, 70, 80, 100, 120, 140, 200)


def made_arm(name, differences, *, baseline=False, speed=None, digest="0123456789"):
    """An arm as comparison.compare would make it, its numbers given or derived here by other means."""
    differences = np.asarray(differences, float)
    n, mean = len(differences), float(np.mean(differences))
    half = 2 * float(np.std(differences, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    ends = (mean - half, mean + half)
    evidence = Evidence(n, mean, *ends, 0.03125, 0.0625, 0.0625, *ends, 0.2, *ends, *ends)
    values = 0.93 + differences
    return Arm(
        name=name,
        digest=digest,
        view={"train": [], "eval": []},
        members=[],
        pairs=[(seed, None) for seed in range(n)],
        values=values,
        differences=differences,
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if n > 1 else math.nan,
        evidence=None if baseline else evidence,
        verdict=None if baseline else judge(evidence, margin=0.005),
        mcnemar=np.full(n, 0.5),
        discordant=np.full(n, 0.0612),
        detectable=0.0075 if n > 5 else math.inf,
        detectable_images=0.007,
        speed=speed,
        images_per_second=1117.1,
        clipped=0.0217,
        colors=828.5,
    )


def made(arms=None, *, baseline="none", **changes):
    """A comparison of hand-made arms."""
    images = Images("t", np.zeros(4, np.uint8), np.arange(4), np.arange(4), np.array(["cifake"] * 4), np.array([]))
    speed = LearningSpeed(epochs=3.2, baseline_epochs=4.7, difference=-1.5, low=-2.0, high=-1.0, never=1, pairs=6)
    given = [
        made_arm("saturate_x8", [0.0031, 0.0012, 0.005, 0.0041, 0.0022, 0.003], speed=speed),
        made_arm("invert_saturate_hsv_x500", [-0.171, -0.168, -0.165, -0.172, -0.169, -0.17]),
    ]
    settings = {
        "data": "cifake",
        "model": "cnn32",
        "recipe": "parent",
        "settings": {"train": {"epochs": 5.0, "batch_size": 32.0}},
        "metric": "accuracy",
        "lower_is_better": False,
        "margin": 0.005,
        "baseline": made_arm(baseline, np.zeros(6), baseline=True),
        "arms": given if arms is None else arms,
        "num_images": 9932,
        "num_groups": 9702,
        "test": images,
        "plan": {"experiment": "ab_cifake", "question": "Does it help?", "baseline": "none"},
        "changes": [],
        "notes": [],
    }
    return Comparison(**{**settings, **changes})


def test_every_number_stands_in_the_table_as_computed_by_hand():
    first, second, third = tables.rows(made())
    assert (first["aug"], first["mean"], first["verdict"]) == ("none", "0.9300 ± 0.0000", "baseline")
    assert {first[key] for key in ("difference", "interval", "p", "p_family", "speed")} == {"-"}
    assert (second["n"], second["difference"]) == ("6", "+0.31")  # (.31 + .12 + .50 + .41 + .22 + .30) / 6
    assert second["mean"] == "0.9331 ± 0.0013"
    assert second["interval"] == "+0.20 to +0.42"  # .31 +- 2 * .1344 / sqrt(6)
    assert (second["p"], second["p_family"]) == (".031", ".062")
    assert second["speed"] == "-1.5 [-2.0, -1.0], 1 never"
    assert (second["images_per_second"], second["clipped"], second["colors"]) == ("1,117", "2.2 %", "828")
    assert third["difference"] == "-16.92"


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_terminal_and_no_name_is_lost(width):
    table = tables.text(made(), width)
    assert max(map(len, table.splitlines())) <= width
    assert "invert_saturate_hsv_x500" in table.replace("\n", "")
    assert "+0.31" in table and "-16.92" in table


def test_eighty_columns_hold_what_is_essential_and_wider_ones_everything():
    short = made([made_arm("saturate_x500", [0.0031, 0.0012, 0.005, 0.0041, 0.0022, 0.003])])
    head, *lines = tables.text(short, 80).splitlines()
    assert all(tables.HEADINGS[key] in head for key in tables.ESSENTIAL)
    assert [line.split()[0] for line in lines[:2]] == ["none", "saturate_x500"]
    assert "colours" in " ".join(lines[2:])  # named as left out
    head, *lines = tables.text(short, 130).splitlines()
    assert all(heading in head for heading in tables.HEADINGS.values()) and len(lines) == 2


def test_numbers_stand_below_each_other():
    lines = tables.text(made(), 200).splitlines()
    ends = {line.index(value) + len(value) for line, value in zip(lines[::2], ("points", "+0.31"), strict=True)}
    assert ends == {lines[3].index("-16.92") + len("-16.92")}


def test_the_table_in_markdown_shows_the_strings_of_the_terminal():
    comparison = made()
    lines = tables.markdown(comparison).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert cells[0] == list(tables.HEADINGS.values())
    shown = tables.text(comparison, 200).splitlines()
    for row, line in zip([cells[0], *cells[2:]], shown, strict=True):
        assert re.split(r"\s{2,}", line.strip()) == row


def test_arms_of_one_name_are_told_apart_and_a_bar_in_a_name_does_not_end_its_cell():
    arms = [made_arm("a|b", [0.001] * 6, digest="1111111111"), made_arm("a|b", [0.002] * 6, digest="2222222222")]
    comparison = made(arms)
    assert [row["aug"] for row in tables.rows(comparison)] == ["none", "a|b 1111111111", "a|b 2222222222"]
    assert r"| a\|b 1111111111 |" in tables.markdown(comparison)


def test_one_seed_has_no_spread_and_says_so_with_dashes():
    arm = made_arm("saturate_x8", [0.003])
    row = tables.rows(made([arm]))[1]
    assert (row["n"], row["mean"], row["interval"], row["verdict"]) == ("1", "0.9330 ± -", "-", "exploratory")


def test_a_probability_has_three_digits_and_is_never_shown_as_zero():
    shown = [tables.probability(p) for p in (0.03125, 1.0, 0.0499, 0.0004, 0.0, math.nan, None)]
    assert shown == [".031", "1.000", ".050", "< .001", "< .001", "-", "-"]


def test_what_can_be_found_is_said_of_the_arm_of_median_spread_once_for_each_number_of_pairs():
    wide = [made_arm(f"arm{k}", k * np.array([0.001, -0.001, 0.001, -0.001, 0.001, -0.001])) for k in (3, 1, 2)]
    lines = wording.detectable(made([*wide, made_arm("few", [0.001, 0.002, 0.003])]))
    assert lines == [
        "With 3 pairs (1 arm) no effect can be claimed, however large: it takes 6; by 9,702 groups of test images "
        "one pair of runs with 6.1 % discordance finds 0.70 points.",
        "With 6 pairs (3 arms) and a spread of 0.22 points (the median), an effect of 0.75 points is found 4 times in "
        "5 by the seeds of one arm alone; by 9,702 groups of test images one pair of runs with 6.1 % discordance finds "
        "0.70 points.",  # .2 * sqrt(6 / 5)
    ]
    [same] = wording.detectable(made([dataclasses.replace(made_arm("same", [0.002] * 6), detectable=0.0)]))
    assert same.startswith("With 6 pairs of equal differences no spread is known, nor what would be found; by")


def test_the_arms_that_the_tests_are_corrected_for_are_counted_as_they_were():
    arms = [made_arm(f"arm{k}", [0.001, 0.002, 0.003] * (1 + (k < 2))) for k in range(5)]
    for chosen, said in (
        (arms, "corrected for the 2 with 6 pairs or more of 5 arms (the others among themselves) held against none"),
        (arms[:2], "corrected for all 2 arms held"),
        (arms[3:], "corrected for all 2 arms held"),
        (arms[:1], "corrected for the one arm held"),
    ):
        assert said in wording.closing(made(chosen))[-1]


def test_how_fast_an_arm_learns_is_said_and_so_is_that_it_never_gets_there():
    never = LearningSpeed(math.nan, math.nan, math.nan, math.nan, math.nan, never=6, pairs=6)
    comparison = made([made().arms[0], made_arm("slow", [0.001] * 6, speed=never)])
    first, second = wording.reasons(comparison)
    assert first.endswith(
        "; reaches none's final validation score after 3.2 epochs, none itself after 4.7 "
        "(-1.5, 95 % interval -2.0 to -1.0), never in 1 of 6 pairs, which are in no mean"
    )
    assert second.endswith("; never reaches none's final validation score")
    assert tables.rows(comparison)[2]["speed"] == "never"


def test_many_arms_with_too_few_pairs_share_one_line():
    few = [made_arm(f"few{k}", [0.001, 0.002, 0.003]) for k in range(4)]
    *_, last = lines = wording.reasons(made([made().arms[0], *few]))
    assert len(lines) == 2 and last.startswith("exploratory, as a claim needs 6 pairs")
    assert last.endswith("few0 (+0.20), few1 (+0.20), few2 (+0.20), few3 (+0.20)")
    assert len(wording.reasons(made(few[:3]))) == 3


def test_a_table_for_narrow_places_has_only_the_columns_asked_for():
    head = tables.markdown(made(), tables.PRINTED).splitlines()[0]
    assert head == "| aug | n | mean ± sd | points | 95 % interval | max-t | verdict |"


def test_changes_and_notes_stand_under_the_table():
    lines = wording.closing(made(changes=["margin: 1 now"], notes=["seed 3: another torch"]))
    assert lines[:2] == ["changed: margin: 1 now", "note: seed 3: another torch"]


def test_latex_escapes_what_it_must_and_has_as_many_cells_in_every_row():
    table = tables.latex(made(), "cifake, 5 % & more #1 {x} ~ ^ \\ · parent")
    assert r"invert\_saturate\_hsv\_x500" in table and r"95 \% interval" in table and r"$\pm$" in table
    assert r"5 \% \& more \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} $\cdot$ parent" in table
    assert "$-$16.92" in table and "+0.31" not in table.replace("$+$0.31", "")
    body = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(tables.PRINTED) - 1}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no LaTeX here")
def test_latex_compiles(tmp_path):
    table = tables.latex(made(), "cifake · cnn32 · 5 % & more_of #1 {x} ~ ^ \\ < >")
    page = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{table}\\end{{document}}\n"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "Overfull" not in done.stdout, done.stdout


def test_the_spreadsheet_has_one_row_an_arm_in_full_and_in_metric_units():
    comparison = made()
    rows = list(csv.DictReader(io.StringIO(tables.csv_text([comparison, comparison]))))
    assert len(rows) == 6
    assert float(rows[1]["difference [metric]"]) == comparison.arms[0].evidence.difference
    assert rows[0]["difference [metric]"] == "" and rows[0]["verdict"] == "baseline"
    assert (rows[1]["epochs trained [epochs]"], rows[1]["never at level [pairs]"]) == ("5.0", "1")
    assert rows[1]["reason"] == comparison.arms[0].verdict.reason
    assert not {"nan", "inf", "None"} & {value for row in rows for value in row.values()}


def test_json_is_strict_and_loses_no_digit():
    arm = made_arm("saturate_x8", [0.003])  # its spread is not a number, what it detects infinite

    def refuse(word):
        raise AssertionError(word)

    comparison = made([arm, *made().arms])
    read = json.loads(tables.json_text({"comparisons": [comparison]}), parse_constant=refuse)["comparisons"][0]
    assert read["arms"][0]["sd"] is None and read["arms"][0]["detectable"] is None
    assert read["arms"][1]["evidence"]["difference"] == comparison.arms[1].evidence.difference
    assert read["arms"][1]["differences"] == comparison.arms[1].differences.tolist()
    assert read["arms"][1]["verdict"]["kind"] == comparison.arms[1].verdict.kind
    assert read["plan"]["experiment"] == "ab_cifake" and "test" not in read
