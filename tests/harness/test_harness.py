"""A plugin that changes what it was lent is refused, and the next cell gets what the plugin was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

import benchbench
from benchbench.contract import (
    Capabilities,
    DatasetSplits,
    DataSource,
    Evidence,
    Examples,
    KeyedGenerator,
    Measurement,
    Offer,
    Threat,
    hookimpl,
)

SUITE = """
name = "tiny"
protocol = "tiny-1"

[defaults]
architectures = [{{ name = "mlp", hidden = [8] }}]
defenses = ["natural"]
threat = {{ norm = "linf", epsilon = 0.1 }}
recipe = {{ optimizer = "adam", learning_rate = 0.01, batch_size = 32, epochs = 2 }}

[[experiments]]
name = "first"
dataset = "{dataset}"
attacks = [{first}]
metrics = ["accuracy", {metric}]

[[experiments]]
name = "second"
dataset = "{dataset}"
attacks = [{{ name = "pgd", steps = 2 }}]
metrics = ["accuracy", "adversarial-accuracy"]
"""


@dataclass
class Vandal:
    """A metric with a side effect."""

    deed: str = ""

    def measure(self, evidence: Evidence) -> Measurement:
        """Do it."""
        DEEDS[self.deed](evidence)
        return Measurement(values={"nothing": 0.0})


def poison(evidence: Evidence) -> None:
    """Change the weights for the next metric, and then crash."""
    next(evidence.model.parameters()).numpy().fill(0.0)
    raise RuntimeError("crashed")


DEEDS: dict[str, Callable[[Evidence], object]] = {
    "in place": lambda evidence: [evidence.examples(split).inputs.zero_() for split in ("train", "test")],
    "data": lambda evidence: evidence.examples("test").inputs.data.zero_(),
    "numpy": lambda evidence: evidence.examples("test").inputs.numpy().fill(0),
    "labels": lambda evidence: evidence.examples("test").labels.numpy().fill(0),
    "weights": lambda evidence: next(evidence.model.parameters()).data.zero_(),
    "training": lambda evidence: evidence.model.train(),
    "hook": lambda evidence: evidence.model.register_forward_hook(lambda *given: torch.zeros_like(given[2])),
    "crash": poison,
}


class Writes:
    """A metric that writes a column of the leaderboard that it does not declare."""

    def measure(self, evidence: Evidence) -> Measurement:
        """Write it."""
        ratios = [0.5] * len(evidence.examples("test"))
        return Measurement(values={"test_lipschitz": 0.5}, per_example={"lipschitz": ratios})


class Speaks:
    """A metric whose value is a text."""

    def measure(self, evidence: Evidence) -> Measurement:
        """Write it."""
        return Measurement(values=cast("dict[str, float]", {"mood": "good"}))


class Weakens:
    """An attack that changes the model instead of the images."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> Tensor:
        """Change it behind its version counters."""
        for parameter in model.parameters():
            parameter.data.zero_()
        return images


class Shared:
    """A dataset that hands out the same tensors each time."""

    def load(self, source: DataSource) -> DatasetSplits:
        """Make them once."""
        if not KEPT:
            images = torch.arange(64 * 16).reshape(64, 1, 4, 4).remainder(251).to(torch.uint8)
            both = [Examples(inputs=images.clone(), labels=torch.arange(64) % 2) for _ in range(2)]
            KEPT.append(DatasetSplits(train=both[0], test=both[1], classes=("even", "odd")))
        return KEPT[0]


KEPT: list[DatasetSplits] = []
NETWORKS: list[nn.Module] = []


def same_network(*, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network that was made first."""
    if not NETWORKS:
        NETWORKS.append(nn.Sequential(nn.Flatten(), nn.Linear(64, classes)))
    return NETWORKS[0]


class Plugin:
    """Offers them."""

    @hookimpl
    def benchbench_metrics(self) -> tuple[Offer, ...]:
        """The metrics."""
        return (
            Offer(name="vandal", summary="changes", factory=Vandal),
            Offer(name="speaks", summary="writes a text", factory=Speaks),
            Offer(name="writes", summary="writes", factory=Writes, capabilities=Capabilities(fills=("test_accuracy",))),
        )

    @hookimpl
    def benchbench_attacks(self) -> tuple[Offer, ...]:
        """The attack."""
        return (Offer(name="weakens", summary="changes the model", factory=Weakens),)

    @hookimpl
    def benchbench_datasets(self) -> tuple[Offer, ...]:
        """The dataset."""
        return (Offer(name="shared", summary="the same", factory=Shared),)

    @hookimpl
    def benchbench_architectures(self) -> tuple[Offer, ...]:
        """The architecture."""
        return (Offer(name="same", summary="the same", factory=same_network),)


@pytest.fixture(autouse=True)
def _planted(plant: Callable[[object], None]) -> None:
    plant(Plugin())
    KEPT.clear()
    NETWORKS.clear()


def run(folder: Path, *, first: str = '"pgd-10"', metric: str = "", dataset: str = "digits") -> benchbench.RunResult:
    folder.mkdir()
    (folder / "tiny.toml").write_text(SUITE.format(first=first, metric=metric, dataset=dataset))
    return benchbench.run(
        str(folder / "tiny.toml"), device="cpu", runs=folder / "runs", leaderboards=folder / "leaderboards"
    )


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float | None]:
    return second(run(tmp_path_factory.mktemp("honest") / "run"))


def second(result: benchbench.RunResult) -> dict[str, float | None]:
    (row,) = (row for row in result.rows if row.experiment == "second")
    return {name: getattr(row, name) for name in ("train_accuracy", "test_accuracy", "adv_test_accuracy")}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.sampled(3)
def test_metric_that_changes_what_it_was_lent_leaves_the_next_cell_as_it_would_be(
    tmp_path: Path, honest: dict[str, float | None], deed: str
) -> None:
    result = run(tmp_path / "run", metric=f'{{ name = "vandal", deed = "{deed}" }}')
    (failure,) = result.failures
    assert "metric 'vandal': it " in failure.error
    assert {row.experiment for row in result.rows} == {"second"}  # the first one is refused
    assert second(result) == honest


def test_attack_that_changes_the_weights_leaves_the_next_cell_as_it_would_be(
    tmp_path: Path, honest: dict[str, float | None]
) -> None:
    result = run(tmp_path / "run", first='"weakens"')
    assert "attack 'weakens' on test: it changed the model's parameters or buffers" in result.failures[0].error
    assert second(result) == honest
    assert not [*(tmp_path / "run" / "runs" / "measurements").glob("*/*/*")]


def test_metric_that_writes_a_column_it_does_not_declare_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path / "run", metric='"writes"')
    assert "metric 'writes': it fills the column 'test_lipschitz' of the leaderboard" in result.failures[0].error
    assert {row.experiment for row in result.rows} == {"second"}


def test_metric_whose_value_is_no_number_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path / "run", metric='"speaks"')
    assert "metric 'speaks': mood is of type str, expected a number" in result.failures[0].error


def test_dataset_that_cannot_be_loaded_as_it_was_fails_the_next_cell_instead_of_spoiling_it(tmp_path: Path) -> None:
    result = run(tmp_path / "run", metric='{ name = "vandal", deed = "numpy" }', dataset="shared")
    assert len(result.failures) == 2
    assert "read again, it is not what it was" in result.failures[1].error
    assert result.rows == ()


def test_architecture_that_hands_out_one_network_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(
        SUITE.format(first='"pgd-10"', metric="", dataset="digits")
        .replace('{ name = "mlp", hidden = [8] }', '"same"')
        .replace("[defaults]", "seeds = [0, 1]\n\n[defaults]")
    )
    result = benchbench.run(str(tmp_path / "tiny.toml"), device="cpu", runs=tmp_path / "r", leaderboards=tmp_path / "l")
    assert "architecture 'same' made a network of parameters that another one has" in result.failures[0].error
