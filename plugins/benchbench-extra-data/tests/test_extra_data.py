"""The conformance kit, and what a batch holds: a fixed share, each example once in a pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from benchbench_extra_data import benchbench_defenses
from benchbench_extra_data.defense import ExtraDataTraining
from torch import Tensor, nn

from benchbench.contract import (
    DatasetSplits,
    DataSource,
    KeyedGenerator,
    OptionError,
    PacedDefense,
    Progress,
    Recipe,
    SteppingDefense,
    Threat,
)
from benchbench.testing import check_defense, smooth_toy, toy_training_examples, toy_training_host


class Nothing:
    """A dataset that the kit never loads."""

    def load(self, source: DataSource) -> DatasetSplits:
        raise AssertionError


def method(**options: Any) -> ExtraDataTraining:
    return ExtraDataTraining(extra=Nothing(), **options)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_method_keeps_the_contract_and_trains_robustly(share: float) -> None:
    check_defense(method(share=share), accuracy=0.95, robust_accuracy=0.9)


def test_protocols_are_those_of_a_step_with_progress() -> None:
    assert isinstance(method(), SteppingDefense)
    assert isinstance(method(), PacedDefense)


@pytest.mark.parametrize(
    ("share", "sizes"), [(0.5, [(20, 20), (20, 20), (10, 10)]), (0.7, [(20, 47), (20, 47), (10, 23)])]
)
def test_each_batch_has_the_given_share_and_each_pass_sees_each_extra_example_once(
    share: float, sizes: list[tuple[int, int]]
) -> None:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(192, 2)

        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return self.inner(images.flatten(1))

    model = Watching()
    one = method(share=share, steps=1)
    one.prepare(toy_training_host(smooth_toy((3, 8, 8), 2), recipe=Recipe(learning_rate=0.1, epochs=2, batch_size=20)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found, rows = [], torch.arange(50)
    for step, chosen in enumerate(torch.split(rows, 20)):
        one.at_step(Progress(epoch=0, step=step, epochs=2, steps=3))
        images = torch.full((len(chosen), 3, 8, 8), 2.0)  # outside of the box of the others
        generator = KeyedGenerator(0, chosen)
        one.step(
            model,
            images,
            chosen % 2,
            threat=Threat(epsilon=0.0),
            generator=generator,
            optimizer=optimizer,
        )
        own = (seen[-1] == 2.0).flatten(1).all(1)
        found.append((int(own.sum()), int((~own).sum())))
        extras.append(seen[-1][~own])
    assert found == sizes
    stream = torch.cat(extras)
    assert len(stream.flatten(1).unique(dim=0)) == len(stream)  # fewer than the 128 toy examples: none comes twice
    extras.clear()
    assert len(toy_training_examples()) == 128


extras: list[Tensor] = []


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 1.0}, {"steps": 0}, {"step_ratio": 0.0}])
def test_option_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be"):
        method(**options)


def test_offer_names_the_method() -> None:
    assert [(offer.name, offer.label) for offer in benchbench_defenses()] == [("at-extra", "AT with extra data")]
