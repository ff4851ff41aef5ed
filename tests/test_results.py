"""The committed results: the tables of runs that lie there give the committed verdicts, to the last digit."""

import re
from pathlib import Path

import pytest

from experiments import dose, tables, wording
from experiments.comparison import compare
from experiments.outcomes import find

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/runs.csv"))
every_result = pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)


@every_result
def test_the_committed_runs_give_the_committed_tables(folder):
    found = find(folder)
    comparisons, refused = compare(found.outcomes)
    assert not refused and not found.refused
    assert tables.csv_text(comparisons) == (folder / "table.csv").read_text()
    assert wording.page(comparisons) == (folder / "table.md").read_text()


@every_result
def test_a_committed_report_links_only_to_figures_beside_it_and_names_no_place_on_a_machine(folder):
    report = (folder / "report.md").read_text()
    linked = re.findall(r"\]\((.+?)\)", report)
    assert linked and all((folder / link).is_file() for link in linked)
    for name in ("report.md", "runs.csv", "provenance.json"):
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)/", (folder / name).read_text()), name


@every_result
def test_every_committed_run_was_made_by_committed_code(folder):
    outcomes = find(folder).outcomes
    assert outcomes and not any(outcome.facts["dirty"] for outcome in outcomes)
    assert all(outcome.plan.get("experiment") for outcome in outcomes)


def test_the_dose_response_stands_in_the_readme_as_the_runs_give_it():
    [comparison], _ = compare(find(ROOT / "results" / "dose_response").outcomes)
    readme = (ROOT / "README.md").read_text()
    for line, arms in dose.lines_of(comparison.arms).items():
        cells = [f"**{points(arm)}**" if arm.verdict.kind == "loss" else points(arm) for _, arm in arms]
        assert f"| {dose.name(*line)} | {' | '.join(cells)} |" in readme


def points(arm) -> str:
    return tables.points(arm.differences.mean(), "+z.2f").replace("+0.00", "0.00")


def test_the_first_answer_stands_in_the_readme_as_the_runs_give_it():
    [comparison], _ = compare(find(ROOT / "results" / "ab_cifake").outcomes)
    readme = (ROOT / "README.md").read_text()
    for row in tables.rows(comparison):
        assert row["mean"].replace("0.", ".") in readme, row
        assert row["difference"] == tables.NONE or row["difference"] in readme, row
