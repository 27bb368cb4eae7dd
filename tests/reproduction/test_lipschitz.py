"""The page on the two searches for the Lipschitz constant: what it concludes, from which rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sample_rows import make_row

from benchbench.leaderboard import published_rows
from benchbench.records import Row
from benchbench.registry import load_registry
from benchbench.reproduction.findings import Grounds, judge_findings
from benchbench.reproduction.lipschitz import lipschitz_page, searched
from benchbench.settings import find_folders
from benchbench.suite import read_suite

PUBLISHED = published_rows()
FULL = {"profile": "paper", "n_train": 60_000, "n_train_evaluated": 60_000, "n_test": 10_000, "epochs": 160}


def full(cell_id: str, equation: float, released: float, **columns: Any) -> Row:
    """A row at the paper's budget, of Natural on CNN2 (printed: 23.06) unless columns say otherwise."""
    known = {**FULL, "model_id": f"model-{cell_id}", **columns}
    return make_row(cell_id=cell_id, test_lipschitz=equation, extra={"test_lipschitz_released": released}, **known)


def page(*rows: Row) -> str:
    return lipschitz_page([*PUBLISHED, *rows], [], "closer-look")


def part(text: str, heading: str) -> str:
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_search_whose_ratio_to_the_printed_constant_is_smaller_is_nearer() -> None:
    text = page(full("a", 230.6, 20.0), full("b", 7.0, 0.6, defense="at"))  # printed: 23.06 and 6.09
    answer = part(text, "Answers")
    assert "Of 2 models at the paper's budget" in answer
    assert "released search's in 1, to the equation's in 1." in answer
    assert "Ours over printed: equation 1.15 to 10.00, released 0.10 to 0.87." in answer
    assert "### mnist, cnn2, paper profile\n\nlinf 0.1, the budget of the paper, 1 seed.\n" in text
    assert "| Natural | 23.06 | 230.60 | 20.00 | 10.00 | 0.87 |" in text
    assert "| AT | 6.09 | 7.00 | 0.60 | 1.15 | 0.10 |" in text


@pytest.mark.parametrize(("equation", "released", "nearer"), [(230.6, 20.0, "released"), (25.0, 2.0, "equation")])
def test_nearer_is_the_smaller_factor_in_either_direction(equation: float, released: float, nearer: str) -> None:
    (one,) = searched([*PUBLISHED, full("a", equation, released)])  # printed: 23.06
    assert one.nearer == nearer


def test_a_smaller_budget_is_named_and_answers_nothing() -> None:
    text = page(full("a", 230.6, 20.0, profile="short", epochs=4))
    assert "Open: no model was trained at the paper's budget." in text
    assert "### mnist, cnn2, short profile\n\nlinf 0.1, short profile, 4 epochs (paper: 160), 1 seed.\n" in text
    assert "| Natural | 23.06 | 230.60 | 20.00 | 10.00 | 0.87 |" in text


def test_training_in_bf16_is_another_budget() -> None:
    text = page(full("a", 230.6, 20.0, train_precision="bf16"))
    assert "Open: no model was trained at the paper's budget." in text
    assert "trained in bf16" in text


def test_methods_with_different_numbers_of_seeds_say_so() -> None:
    rows = [full("a", 230.0, 20.0), *(full(f"b{seed}", 7.0, 0.6, defense="at", seed=seed) for seed in (0, 1))]
    assert "linf 0.1, the budget of the paper, 1 to 2 seeds." in page(*rows)


def test_longer_training_comes_first_and_the_papers_budget_before_all() -> None:
    text = page(
        full("a", 230.0, 20.0, profile="short", epochs=4),
        full("b", 230.0, 20.0, profile="ten-epochs", epochs=10),
        full("d", 230.0, 20.0, profile="quick", epochs=10, n_train=2_500),
        full("c", 230.0, 20.0),
    )
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert [heading.split(", ")[2] for heading in headings] == [
        f"{name} profile" for name in ("paper", "ten-epochs", "short", "quick")
    ]


@pytest.mark.parametrize("attacks", [("mt-20", "pgd-10"), ("pgd-10", "mt-20")])
def test_a_model_counts_once_for_all_seeds_and_attacks_with_its_most_examples(attacks: tuple[str, str]) -> None:
    rows = [
        full(f"{attack}-{seed}", value, 20.0, seed=seed, attack=attack, n_test=n_test, model_id=f"model-{seed}")
        for attack, n_test, less in zip(attacks, (1_000, 10_000), (50.0, 0.0))
        for seed, value in enumerate((200.0 - less, 230.0 - less, 260.0 - less))
    ]
    (found,) = searched([*PUBLISHED, *rows])
    assert (found.printed, found.equation, found.released, len(found.runs)) == (23.06, 230.0, 20.0, 3)


@pytest.mark.parametrize("columns", [{"status": "failed", "error": "diverged"}, {"source": "published"}])
def test_only_finished_measured_rows_count(columns: dict[str, str]) -> None:
    assert "| Natural |" not in page(full("a", 230.6, 20.0, **columns))


def test_a_row_without_the_released_search_is_left_out() -> None:
    assert searched([*PUBLISHED, make_row(**FULL, cell_id="a", test_lipschitz=230.6)]) == []


def test_the_rank_correlations_are_spearmans() -> None:
    values = {"natural": (9.0, 1.0), "gr": (5.0, 2.0), "llr": (7.0, 3.0), "at": (3.0, 4.0)}  # printed: 23, 20, 10, 6
    text = page(*(full(name, *found, defense=name) for name, found in values.items()))
    assert (
        "over these 4 lines: printed with equation 0.80, printed with released -1.00, equation with released -0.80."
        in text
    )
    assert "order the methods alike?** Rank correlation -0.80 in the 1 table below" in part(text, "Answers")
    assert "Rank correlation over" not in page(
        *(full(name, *values[name], defense=name) for name in ("natural", "gr", "at"))
    )


def test_the_answer_spans_the_tables_in_which_the_order_is_known() -> None:
    values = {"natural": (9.0, 4.0), "gr": (5.0, 3.0), "llr": (7.0, 2.0), "at": (3.0, 1.0)}
    rows = [full(f"a{name}", *found, defense=name) for name, found in values.items()]
    others = [full(f"b{name}", 1.0, -rank, defense=name) for rank, name in enumerate(values, -10)]
    orders = [full(f"c{name}", found[1], found[1], defense=name, architecture="cnn1") for name, found in values.items()]
    text = part(page(*rows, *orders), "Answers")
    assert "Rank correlation 0.80 to 1.00 in the 2 tables below" in text
    assert "order the methods" not in part(page(*others), "Answers")  # one of the searches cannot tell any apart


def judged_page(rows: Sequence[Row]) -> str:
    suite, registry = read_suite("closer-look", load_registry()), load_registry()
    found = judge_findings(suite, Grounds(rows=rows, separations=[], registry=registry, source=find_folders().source()))
    return lipschitz_page(rows, found, "closer-look")


def statements(text: str) -> dict[str, list[str]]:
    lines = part(text, "Do the paper's statements hold under both searches?").splitlines()
    return {cells[0]: cells[1:] for line in lines if line.startswith("| ") and (cells := line.strip("| ").split(" | "))}


def test_each_statement_is_judged_under_both_searches() -> None:
    rows = [
        full(f"{defense}-{seed}", equation + seed, released + 0.01 * seed, defense=defense, seed=seed)
        for seed in range(5)
        for defense, equation, released in (("natural", 100.0, 1.0), ("at", 50.0, 2.0))
    ]
    text = judged_page([*PUBLISHED, *rows])
    judged = statements(text)
    assert judged["statement"] == ["paper profile, equation", "paper profile, released", "printed"]
    smoother = judged["AT, RST and TRADES have smaller Lipschitz constants than natural training, GR and LLR."]
    assert [verdict.split(" ")[0] for verdict in smoother] == ["supported", "contradicted", "supported"]
    assert smoother[0] == "supported (5 of 5)"
    answers = part(text, "Answers")
    assert (
        "- paper profile, equation search: 2 supported\n- paper profile, released search: 2 contradicted\n" in answers
    )
    assert not any("staircase" in statement for statement in judged)  # where the released search never ran


def test_models_trained_on_all_examples_are_listed_with_their_cost_and_how_to_check_them() -> None:
    known: dict[str, Any] = {"train_seconds": 9600.0, "evaluate_seconds": 1200.0, "device": "cpu (X)"}
    rows = [
        full("b", 7.0, 0.6, defense="at", profile="ten-epochs", epochs=10, **known),
        full("c", 230.6, 20.0, profile="ten-epochs", epochs=10, **known),
        full("d", 230.6, 20.0, profile="short", n_train=5_000, **known),
        full("a", 230.6, 20.0, **known),
    ]
    assert "## Check it" not in page(rows[2])
    text = part(page(*rows), "Check it")
    assert "| Natural | mnist | cnn2 | paper | 9,600 | 1,200 | cpu (X) | a | model-a |" in text
    listed = [
        line.strip("| ").split(" | ")[-2] for line in text.splitlines() if line.endswith(" |") and "model-" in line
    ]
    assert listed == ["a", "c", "b"]  # the paper's budget, then the paper's order of methods
    assert "benchbench rerun a --leaderboard leaderboards/closer-look.parquet" in text
    assert "--checkpoint leaderboards/closer-look/models/model-a.safetensors" in text
    assert "--architecture cnn2 --dataset mnist --epsilon 0.1 --n-test 10000" in text
