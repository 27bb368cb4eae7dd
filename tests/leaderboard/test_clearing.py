"""Tables of one attack: what another attack's row says against a model counts there, too."""

from __future__ import annotations

from sample_rows import make_row

from benchbench.leaderboard.clearing import share_doubts
from benchbench.leaderboard.tables import paper_table
from benchbench.records import Row
from benchbench.report.boards import board_data

STANDARD = '{"queries":5000,"steps":100,"targets":9}'


def rows() -> list[Row]:
    """A masked and an honest model under PGD, uniform noise and AutoAttack."""
    masked = {"model_id": "masked", "defense": "quantised"}
    honest = {"model_id": "honest", "defense": "at"}
    return [
        make_row(cell_id="m-pgd", **masked, adv_test_accuracy=0.95, flags=("zero-gradients", "transfer-succeeds")),
        make_row(cell_id="m-noise", attack="noise", **masked, adv_test_accuracy=0.93),
        make_row(cell_id="m-aa", attack="autoattack", attack_options=STANDARD, **masked, adv_test_accuracy=0.2),
        make_row(cell_id="h-pgd", **honest, adv_test_accuracy=0.71),
        make_row(cell_id="h-noise", attack="noise", **honest, adv_test_accuracy=0.9, flags=("random-search-succeeds",)),
        make_row(cell_id="h-aa", attack="autoattack", attack_options=STANDARD, **honest, adv_test_accuracy=0.7),
    ]


def test_row_of_a_weak_attack_shares_the_doubts_of_its_model() -> None:
    flags = {row.cell_id: row.flags for row in share_doubts(rows())}
    assert flags["m-noise"] == ("transfer-succeeds", "zero-gradients")
    assert flags["h-noise"] == ("random-search-succeeds",)
    assert flags["m-aa"] == flags["h-aa"] == flags["h-pgd"] == ()


def test_masked_model_is_marked_in_the_table_of_a_weak_attack() -> None:
    lines = {line.cell_id: line for line in paper_table(rows()).lines}
    assert lines["m-noise"].flags == ("transfer-succeeds", "zero-gradients")
    assert not any(entry.best for entry in lines["m-noise"].entries)
    assert any(entry.best for entry in lines["h-aa"].entries)


def test_masked_model_is_marked_on_the_page_under_every_attack_but_a_conclusive_one() -> None:
    flagged = {row["id"] for row in board_data(rows())["rows"] if row["flagged"]}
    assert flagged == {"m-pgd", "m-noise", "h-noise"}


def test_other_radii_and_other_models_share_nothing() -> None:
    far = make_row(cell_id="far", model_id="masked", epsilon=0.3, attack="noise")
    other = make_row(cell_id="other", model_id="other", attack="noise")
    assert {row.cell_id: row.flags for row in share_doubts([*rows(), far, other])}["far"] == ()
    assert share_doubts([*rows(), far, other])[-1].flags == ()
