"""A built-in component whose numbers change needs a new revision, so that its rows get new ids."""

from __future__ import annotations

import dataclasses
import importlib
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import golden_numbers
import pytest
from golden_numbers import CASES, COMMAND, EXEMPT, KINDS, RECORDED, Case

from benchbench.registry import load_registry

REGISTRY = load_registry()
HINT = (
    "numbers of {0} changed: raise its revision (Offer(revision=...)) and record golden values anew by '{1} {0}'. "
    "Changed are: {2}"
)


def check(case: Case) -> str:
    """What is wrong with the golden numbers of a case; empty where nothing is."""
    entry = golden_numbers.read().get(case.component, {"cases": {}})
    revision = REGISTRY.get(case.kind, case.name).offer.revision
    if case.key not in entry["cases"] or entry["revision"] != revision:
        return f"{case.key} has no golden numbers for revision {revision}: record them by '{COMMAND} {case.component}'"
    found = golden_numbers.differing(entry["cases"][case.key], golden_numbers.numbers_of(case, REGISTRY))
    return HINT.format(case.component, COMMAND, ", ".join(found)) if found else ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_numbers_are_those_of_the_revision(case: Case) -> None:
    family = case.name.partition(":")[0]
    if find_spec({"resnet50": "timm"}.get(family, family if family in ("timm", "foolbox") else "benchbench")) is None:
        pytest.skip(f"what {family} needs is not installed")
    if case.kind == "defense":
        pytest.importorskip("cvxpy")
    assert check(case) == ""


def test_augmentations_give_the_recorded_images() -> None:
    recorded, now = golden_numbers.read()["augmentation"], golden_numbers.augmentation_numbers()
    changed = [name for name in now if golden_numbers.differing(recorded.get(name, {}), now[name])]
    assert changed == [], "an augmentation has no revision, so that changed numbers need a new option of the recipe"


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_component_has_golden_numbers(kind: Any) -> None:
    offered = {f"{kind} {entry.offer.name}" for entry in REGISTRY.offers(kind) if entry.built_in}
    covered = {case.component for case in CASES if case.kind == kind}
    assert offered - covered - EXEMPT.keys() == set(), f"add a case to tests/golden_numbers.py, then '{COMMAND}'"
    assert covered - offered == set()
    assert covered & EXEMPT.keys() == set()


def test_no_golden_numbers_are_left_of_what_is_gone() -> None:
    keys = {
        key
        for component, entry in golden_numbers.read().items()
        if component != "augmentation"
        for key in entry["cases"]
    }
    assert keys == {case.key for case in CASES}


@pytest.mark.parametrize(
    ("place", "value", "case"),
    [
        ("benchbench.builtin.metrics.lipschitz.RELEASED_OFFSET", 1e-1, "metric lipschitz"),
        ("benchbench.builtin.metrics.lipschitz.EQUATION_STEP_RATIO", 0.25, "metric lipschitz"),
        ("benchbench.builtin.defenses.local_linearity.START_DEVIATION", 0.002, "defense llr"),
        ("benchbench.builtin.attacks.autoattack.climb.MOMENTUM", 0.8, "attack apgd"),
        ("benchbench.builtin.attacks.margins.ROUNDING", 1e-1, "attack autoattack"),
    ],
)
def test_changed_constant_is_noticed(place: str, value: float, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = place.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), name, value)
    wanted = f"raise its revision (Offer(revision=...)) and record golden values anew by '{COMMAND} {case}'"
    assert any(wanted in check(one) for one in CASES if one.component == case)


def test_component_of_another_revision_needs_new_golden_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = REGISTRY.get("defense", "natural")
    revised = dataclasses.replace(entry, offer=dataclasses.replace(entry.offer, revision=9))
    monkeypatch.setattr(type(REGISTRY), "get", lambda *_: revised)
    (case,) = [case for case in CASES if case.component == "defense natural"]
    assert check(case).startswith("defense natural {} has no golden numbers for revision 9: record them by")


def test_recording_refuses_numbers_that_changed_under_the_same_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "golden.json"
    copy.write_bytes(RECORDED.read_bytes())
    monkeypatch.setattr(golden_numbers, "RECORDED", copy)
    monkeypatch.setattr(importlib.import_module("benchbench.builtin.metrics.lipschitz"), "EQUATION_STEP_RATIO", 0.25)
    assert golden_numbers.main(["metric", "lipschitz"]) == 1
    assert "numbers of metric lipschitz changed: raise its revision (now 1)" in capsys.readouterr().err
    assert copy.read_bytes() == RECORDED.read_bytes()
    assert golden_numbers.main(["metric", "lipschitz", "--anyway"]) == 0
    assert copy.read_bytes() != RECORDED.read_bytes()


@pytest.mark.parametrize(
    ("recorded", "now", "same"),
    [
        ([1.0, -3.0], [1.0, -3.0 - 1e-7], True),
        ([1.0, -3.0], [1.0, -3.0 - 1e-5], False),
        ([0.0], [1e-9], False),
        ([math.inf, -math.inf], [math.inf, -math.inf], True),
        ([math.inf], [1.0], False),
        ([1.0], [math.nan], False),
        ([1.0], [1.0, 1.0], False),
    ],
)
def test_numbers_are_compared_relative_to_the_largest(recorded: list[float], now: list[float], same: bool) -> None:
    assert (golden_numbers.differing({"x": recorded}, {"x": now}) == []) is same
