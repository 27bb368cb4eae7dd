"""What ships with benchbench passes the kit that it asks of strangers."""

from __future__ import annotations

from typing import Any

import pytest

from benchbench.registry import load_registry
from benchbench.testing import check_architecture, check_attack, check_dataset, check_defense, check_metric

REGISTRY = load_registry()


def make(kind: str, name: str, **options: Any) -> Any:
    return REGISTRY.make(kind, REGISTRY.resolve(kind, name, options))


def single_offers(kind: str) -> list[str]:
    """Names of this distribution's classification components, families left out."""
    return [
        entry.offer.name
        for entry in REGISTRY.offers(kind)
        if entry.built_in and entry.offer.members is None and entry.offer.capabilities.task != "regression"
    ]


GENTLER: dict[str, dict[str, Any]] = {"llr": {"mu": 1.0}}  # three times the toy's linear term outweighs its loss
ROUNDING = {"llr": 1e-2}  # where its search starts, the deviation from linear is rounding noise


@pytest.mark.parametrize("name", single_offers("defense"))
def test_defense_conforms(name: str) -> None:
    capabilities = REGISTRY.get("defense", name).offer.capabilities
    defense = make("defense", name, **GENTLER.get(name, {}))
    check_defense(defense, rounding=ROUNDING.get(name, 1e-3), uses_threat=capabilities.uses_threat)


@pytest.mark.parametrize("name", ["at", "rst", "trades"])
def test_robust_defense_finds_the_robust_classifier(name: str) -> None:
    check_defense(make("defense", name), robust_accuracy=0.95)


SHORTER: dict[str, dict[str, Any]] = {"square": {"queries": 300}, "autoattack": {"steps": 20, "queries": 60}}
SLACK = {"square": 2.5}  # it asks for no gradient, and the toy's signs are white noise, the worst case for squares


@pytest.mark.parametrize("name", single_offers("attack"))
def test_attack_conforms_for_every_norm_that_it_claims(name: str) -> None:
    attack = make("attack", name, **SHORTER.get(name, {}))
    norms = REGISTRY.get("attack", name).offer.capabilities.norms
    check_attack(attack, norms=norms, slack=SLACK.get(name, 1.1))


@pytest.mark.parametrize("name", single_offers("metric"))
def test_metric_conforms(name: str) -> None:
    capabilities = REGISTRY.get("metric", name).offer.capabilities
    check_metric(make("metric", name), norms=capabilities.norms, fills=capabilities.fills)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("cnn1", {}, (1, 28, 28)),
        ("cnn2", {}, (1, 28, 28)),
        ("mlp", {}, (1, 8, 8)),
        ("wrn", {"depth": 10, "width": 1, "dropout": 0.3}, (3, 32, 32)),
    ],
)
def test_architecture_conforms(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    component = REGISTRY.resolve("architecture", name, options)
    check_architecture(lambda **supplied: REGISTRY.make("architecture", component, **supplied), input_shapes=[shape])


def test_embedded_dataset_conforms() -> None:
    check_dataset(make("dataset", "digits"), input_shape=(1, 16, 16), classes=10, n_train=1437, n_test=360)
