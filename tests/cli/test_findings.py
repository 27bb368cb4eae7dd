"""``benchbench findings``: a suite's own statements, the papers', documents and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.conftest import SUITE, Command, WriteSuite
from sample_rows import make_row

import benchbench
from benchbench.leaderboard import write_leaderboard

FINDINGS = """
[[findings]]
name = "at-is-more-robust"
statement = "AT is more robust than natural training."
measures = ["adv_test_accuracy"]
above = 0
where = {{ attack = "pgd-10" }}
groups = [{{ defense = "natural" }}, {{ defense = "at" }}]
"""


def write_rows(folder: Path, gains: list[float]) -> None:
    rows = [
        make_row(
            suite="tiny",
            cell_id=f"{defense}-{seed}",
            model_id=f"{defense}-{seed}",
            defense=defense,
            seed=seed,
            adv_test_accuracy=0.5 + 0.01 * seed + gain * (defense == "at"),
        )
        for seed, gain in enumerate(gains)
        for defense in ("natural", "at")
    ]
    write_leaderboard(folder / "leaderboards" / "tiny.parquet", rows)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [([0.1, 0.11, 0.12], "supported"), ([-0.1, -0.11, -0.12], "contradicted"), ([0.1, -0.1, 0.1], "undecided")],
)
def test_suite_of_a_third_party_is_judged_from_its_rows(
    command: Command, write_suite: WriteSuite, tmp_path: Path, gains: list[float], verdict: str
) -> None:
    suite = write_suite(text=SUITE + FINDINGS, defenses=["natural", "at"])
    write_rows(tmp_path, gains)
    (one,) = command("findings", suite, "--profile", "quick", "--json").document
    assert (one["verdict"], one["profile"], one["measure"]) == (verdict, "quick", "adv_test_accuracy")
    assert one["finding"]["statement"] == "AT is more robust than natural training."
    assert one["judged"]["effect"] == pytest.approx(sum(gains) / 3)
    assert one["judged"]["seeds"] == 3
    text = command("findings", suite).out
    assert "at-is-more-robust" in text
    assert verdict in text
    assert "published" not in text.partition("quick profile")[0]


def test_without_rows_findings_are_not_run(command: Command, write_suite: WriteSuite) -> None:
    answer = command("findings", write_suite(text=SUITE + FINDINGS, defenses=["natural", "at"]))
    assert answer.status == 0
    assert "not run" in answer.out


def test_suite_without_findings_says_how_to_state_one(command: Command, write_suite: WriteSuite) -> None:
    answer = command("findings", write_suite())
    assert answer.status == 2
    assert "suite 'tiny' states no findings\n  a [[findings]] table" in answer.err


def test_unknown_profile_is_refused_with_the_nearest(command: Command) -> None:
    answer = command("findings", "closer-look", "--profile", "papr")
    assert answer.status == 2
    assert "did you mean 'paper'?" in answer.err


def test_published_numbers_are_judged_without_a_leaderboard(command: Command) -> None:
    document = command("findings", "closer-look", "--profile", "published", "--json").document
    named = {one["finding"]["name"]: one for one in document}
    assert named["robust-methods-are-smoother"]["profile"] == "published"
    assert named["staircase-at-overfits"]["verdict"] == "supported"
    assert json.dumps(document)


def test_function_and_command_agree(command: Command, write_suite: WriteSuite, tmp_path: Path) -> None:
    suite = write_suite(text=SUITE + FINDINGS, defenses=["natural", "at"])
    write_rows(tmp_path, [0.1, 0.11, 0.12])
    found = benchbench.findings(suite, leaderboards=tmp_path / "leaderboards")
    document = command("findings", suite, "--json").document
    assert [(one.profile, one.verdict) for one in found] == [(one["profile"], one["verdict"]) for one in document]
    assert [one.profile for one in found] == ["paper", "quick"]
