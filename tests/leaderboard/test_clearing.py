"""Flags that an attack clears, and flags of other attacks in tables of one attack."""

from __future__ import annotations

import pytest
import torch
from sample_rows import make_row
from torch import Tensor, nn

from benchbench.builtin.attacks.pgd import Pgd
from benchbench.comparison.contenders import Contender
from benchbench.comparison.ranking import rank
from benchbench.contract import Examples, KeyedGenerator, Threat
from benchbench.evaluation import Outcome, evaluate
from benchbench.leaderboard.clearing import share_doubts, standing_flags
from benchbench.leaderboard.tables import paper_table
from benchbench.records import Row
from benchbench.report.boards import board_data
from benchbench.testing.toys import smooth_toy

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


@pytest.mark.parametrize(("found", "cleared"), [(0.2, True), (0.3, True), (0.4, False), (0.6, False)])
def test_conclusive_attack_clears_flags_if_it_is_as_strong_as_every_flagged_one(found: float, cleared: bool) -> None:
    flagged = ("zero-gradients",)
    attacks = [
        make_row(cell_id="pgd", attack="pgd-10", flags=flagged),
        make_row(cell_id="mt", attack="mt-20", flags=flagged),
        make_row(cell_id="aa", attack="autoattack", attack_options=STANDARD),
    ]
    assert standing_flags(attacks, [0.5, 0.3, found]) == (() if cleared else flagged)


def test_masked_model_is_marked_in_the_table_of_a_weak_attack() -> None:
    lines = {line.cell_id: line for line in paper_table(rows()).lines}
    assert lines["m-noise"].flags == ("transfer-succeeds", "zero-gradients")
    assert not any(entry.best for entry in lines["m-noise"].entries)
    assert any(entry.best for entry in lines["h-aa"].entries)


def test_masked_model_is_marked_on_the_page_under_every_attack_but_a_conclusive_one() -> None:
    flagged = {row["id"] for row in board_data(share_doubts(rows()))["rows"] if row["flagged"]}
    assert flagged == {"m-pgd", "m-noise", "h-noise"}


def test_other_radii_and_other_models_share_nothing() -> None:
    far = make_row(cell_id="far", model_id="masked", epsilon=0.3, attack="noise")
    other = make_row(cell_id="other", model_id="other", attack="noise")
    assert {row.cell_id: row.flags for row in share_doubts([*rows(), far, other])}["far"] == ()
    assert share_doubts([*rows(), far, other])[-1].flags == ()


class Quantised(nn.Module):
    """A network behind rounded pixels."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images * 20).round() / 20)  # type: ignore[no-any-return]


class UniformNoise:
    """A useless attack without gradients."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        return threat.project(images + generator.uniform_like(images, low=-threat.epsilon, high=threat.epsilon), images)


def contender_of(name: str, model: nn.Module, examples: Examples) -> Contender:
    """The model under PGD-10 and under noise, evaluated and flagged as in a run."""
    found: dict[str, Outcome] = {}
    for attack_name, attack in {"noise": UniformNoise(), "pgd-10": Pgd()}.items():
        found[attack_name] = evaluate(
            model,
            train=examples,
            test=examples,
            train_rows=torch.arange(len(examples)),
            test_rows=torch.arange(len(examples)),
            classes=4,
            threat=Threat(epsilon=0.1),
            attack=attack,
            attack_name=attack_name,
            metrics={},
            seed=0,
            device=torch.device("cpu"),
        )
    made = [
        make_row(cell_id=f"{name}-{attack}", model_id=name, attack=attack, flags=outcome.flags)
        for attack, outcome in found.items()
    ]
    columns = [{key: value.numpy() for key, value in outcome.per_example.items()} for outcome in found.values()]
    return Contender(rows=tuple(made), outcomes=tuple(columns))


def test_uniform_noise_does_not_clear_a_quantised_network() -> None:
    """The masked network was first with the noise: that row had no flags, and noise was as strong as PGD."""
    inputs = (KeyedGenerator(7, torch.arange(150)).uniform(1, 6, 6) * 255).to(torch.uint8)
    inner = smooth_toy((1, 6, 6), 4)
    with torch.no_grad():
        inner[-1].weight.mul_(8.0)  # type: ignore[index]
        inner[-1].bias.sub_(inner(inputs.float() / 255).mean(dim=0))  # type: ignore[index]
        examples = Examples(inputs=inputs, labels=inner(inputs.float() / 255).argmax(dim=1))
    places = rank([contender_of("masked", Quantised(inner), examples), contender_of("honest", inner, examples)])
    assert [place.contender.row.model_id for place in places] == ["honest", "masked"]
    assert places[0].value < places[1].value
    assert places[0].contender.flags == ()
    assert "zero-gradients" in places[1].contender.flags


@pytest.mark.parametrize(("n_train", "groups"), [(None, [2]), (500, [1, 1])])
def test_models_trained_elsewhere_are_in_one_group_whatever_else_was_measured(
    n_train: int | None, groups: list[int]
) -> None:
    rows = [
        make_row(cell_id=f"c{read}", model_id=f"m{read}", defense=f"d{read}", n_train=n_train, n_train_evaluated=read)
        for read in (0, 100)  # the latter with a metric, such as lipschitz
    ]
    assert [len(group.lines) for group in paper_table(rows).groups] == groups
