"""Variants behind the published numbers: agreements at the paper's budget, only values at smaller budgets."""

from __future__ import annotations

import json
from typing import Any

from sample_rows import make_row

from benchbench.leaderboard import published_rows
from benchbench.records import Row
from benchbench.reproduction import Measured, make_table
from benchbench.reproduction.pages import render_page
from benchbench.reproduction.papers import find_table

PUBLISHED = published_rows()


def options(**chosen: Any) -> str:
    return json.dumps(chosen)


def measured(cell_id: str, **columns: Any) -> Row:
    return make_row(profile="short", cell_id=cell_id, model_id=f"model-{cell_id}", **columns)


def page(*rows: Row, number: str = "2") -> str:
    evidence = Measured(suite="closer-look", rows=[*PUBLISHED, *rows])
    paper_table = find_table("neurips2020", number)
    return render_page(paper_table, make_table(paper_table, evidence), evidence)


def test_a_smaller_budget_leaves_the_question_open_but_shows_both_variants_beside_the_published_number() -> None:
    text = page(
        measured("a", defense="llr", defense_options=options(variant="equation"), test_accuracy=0.1135),
        measured("b", defense="llr", defense_options=options(variant="released"), test_accuracy=0.97),
    )
    assert "this is open. At smaller budgets" in text
    assert "| LLR (variant=equation) | mnist, cnn2, short profile | 99.57, 11.35 |" in text
    assert "| LLR (variant=released) | mnist, cnn2, short profile | 99.57, 97.00 |" in text


FULL = {"profile": "paper", "n_train": 60_000, "n_train_evaluated": 60_000, "n_test": 10_000, "epochs": 160}


def full(cell_id: str, **columns: Any) -> Row:
    return make_row(**FULL, cell_id=cell_id, model_id=f"model-{cell_id}", **columns)


def test_each_published_number_counts_once_for_a_variant_under_several_seeds_and_one_run_leaves_it_open() -> None:
    def runs(variant: str, *values: float) -> list[Row]:
        return [
            full(
                f"{variant}-{seed}",
                defense="llr",
                defense_options=options(variant=variant),
                seed=seed,
                test_accuracy=value,
                test_accuracy_low=value - 0.001,
                test_accuracy_high=value + 0.001,
            )
            for seed, value in enumerate(values)
        ]

    text = page(*runs("equation", 0.9), *runs("released", 0.995, 0.996, 0.997))  # published: 99.57
    assert "- llr (variant=equation): 0 of 1 numbers agree, 1 are open: the spread over runs is unknown" in text
    assert "- llr (variant=released): 1 of 1 numbers agree\n" in text


def test_both_variants_of_the_multi_targeted_attack_are_shown_beside_the_published_number() -> None:
    rows = [
        measured(
            f"{variant}-{seed}",
            attack="mt-20",
            attack_options=options(variant=variant),
            seed=seed,
            adv_test_accuracy=accuracy + 0.01 * seed,
            test_accuracy=0.99,
        )
        for variant, accuracy in (("equation", 0.75), ("released", 0.8))
        for seed in (0, 1)
    ]
    section, _, numbers = page(*rows, number="10").partition("## The numbers")
    assert "leaves 5.00 points more than the equation's on average (5.00 to 5.00)" in section
    assert "| Natural | mnist, cnn2, short profile, 2 seeds | 81.35 | 75.50 | 80.50 |" in section
    for variant in ("equation", "released"):
        assert f"Natural, mt-20 (variant={variant})" in numbers


def test_a_method_without_one_variant_of_the_attack_says_so() -> None:
    row = measured("a", attack="mt-20", attack_options=options(variant="released"), adv_test_accuracy=0.8)
    section = page(row, number="10").partition("## The numbers")[0]
    assert "| Natural | mnist, cnn2, short profile | 81.35 | - | 80.00 |" in section
    assert "points more" not in section


def test_seeds_of_a_variant_at_a_smaller_budget_are_one_line_their_mean() -> None:
    rows = [
        measured(f"{seed}", defense="llr", defense_options=options(variant="released"), seed=seed, test_accuracy=value)
        for seed, value in enumerate((0.97, 0.98))
    ]
    assert "| LLR (variant=released) | mnist, cnn2, short profile, 2 seeds | 99.57, 97.50 |" in page(*rows)


def test_failed_rows_are_no_evidence() -> None:
    row = measured("a", defense="llr", defense_options=options(variant="released"), status="failed", error="diverged")
    assert "At smaller budgets" not in page(row)
