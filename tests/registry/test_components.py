"""Components that are options of others: resolved, made, named by their own configuration, and their mistakes reported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sample_rows import make_cell, make_row

from benchbench.cell.model import Cell, Component, digest, to_json
from benchbench.cell.reading import read_cell
from benchbench.cli import invoke
from benchbench.contract import Attack, Capabilities, Dataset, Defense, Metric, Offer, OptionError, hookimpl
from benchbench.errors import PluginError, Problem, SuiteError
from benchbench.leaderboard.names import component_label, dataset_label
from benchbench.planning.obstacles import find_obstacle
from benchbench.registry import InvalidOptionsError, Registry, load_registry
from benchbench.registry.catalog import MAXIMUM_NESTING
from benchbench.suite import read_suite


class Half:
    """A dataset made from another one."""

    def __init__(self, *, base: Dataset, share: float = 0.5) -> None:
        if not 0 < share <= 1:
            raise OptionError(f"share must be in (0, 1], got {share}")
        self.base, self.share = base, share

    def load(self, source: Any) -> Any:
        return self.base.load(source)


class Strongest:
    """An attack made of others."""

    def __init__(self, *, attacks: tuple[Attack, ...], first: Attack | None = None) -> None:
        self.attacks, self.first = attacks, first

    def perturb(self, *arguments: Any, **named: Any) -> Any: ...


class Twice:
    """A defense made from one that has a loss."""

    def __init__(self, *, inner: Defense) -> None:
        self.inner = inner

    def loss(self, *arguments: Any, **named: Any) -> Any: ...


class Stepping:
    def step(self, *arguments: Any, **named: Any) -> Any: ...


class Quiet:
    def perturb(self, *arguments: Any, **named: Any) -> Any: ...
    def measure(self, *arguments: Any, **named: Any) -> Any: ...


def elsewhere(*, data: Dataset, attack: Attack) -> Metric:
    quiet = Quiet()
    quiet.seen = (data, attack)  # type: ignore[attr-defined]
    return quiet


class Toys:
    __version__ = "1"

    @hookimpl
    def benchbench_datasets(self) -> Sequence[Offer]:
        preset = {"base": {"name": "digits", "scale": 1}}
        circular = {"base": "circular"}
        return [
            Offer(name="half", summary="Toy.", factory=Half),
            Offer(name="half-digits", summary="Toy.", factory=Half, preset=preset),
            Offer(name="circular", summary="Toy.", factory=Half, preset=circular),
        ]

    @hookimpl
    def benchbench_attacks(self) -> Sequence[Offer]:
        limited = Capabilities(norms=("l2",), requires={"no_such_module": "pip install it"})
        return [
            Offer(name="strongest", summary="Toy.", factory=Strongest),
            Offer(name="limited", summary="Toy.", factory=Quiet, capabilities=limited),
        ]

    @hookimpl
    def benchbench_defenses(self) -> Sequence[Offer]:
        return [
            Offer(name="twice", summary="Toy.", factory=Twice),
            Offer(name="stepping", summary="Toy.", factory=Stepping),
        ]

    @hookimpl
    def benchbench_metrics(self) -> Sequence[Offer]:
        return [Offer(name="elsewhere", summary="Toy.", factory=elsewhere)]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(extra_plugins=[Toys()])


def test_component_is_resolved_with_its_own_options_and_given_made(registry: Registry) -> None:
    component = registry.resolve("dataset", "half", {"base": {"name": "digits", "scale": 1}})
    base = component.options["base"]
    assert isinstance(base, Component)
    assert (base.kind, base.name, base.options) == ("dataset", "digits", {"scale": 1})
    made = registry.make("dataset", component)
    assert (type(made.base).__name__, made.base.scale) == ("Digits", 1)


def test_component_of_another_kind_is_not_made(registry: Registry) -> None:
    with pytest.raises(TypeError, match="expected a component of kind 'attack', got dataset 'half-digits'"):
        registry.make("attack", registry.resolve("dataset", "half-digits"))


def test_name_alone_means_the_defaults(registry: Registry) -> None:
    by_name = registry.resolve("dataset", "half", {"base": "digits"})
    by_table = registry.resolve("dataset", "half", {"base": {"name": "digits", "scale": 2}})
    assert by_name == by_table
    assert digest(by_name) == digest(by_table)


def test_components_in_components_lists_and_optional_ones(registry: Registry) -> None:
    nested = registry.resolve("dataset", "half", {"base": {"name": "half", "base": "digits", "share": 1}})
    assert registry.make("dataset", nested).base.base.scale == 2
    attacks = [{"name": "pgd", "steps": 3}, "pgd-10"]
    strongest = registry.resolve("attack", "strongest", {"attacks": attacks})
    assert [one.name for one in strongest.with_nested] == ["strongest", "pgd", "pgd-10"]
    made = registry.make("attack", strongest)
    assert ([attack.steps for attack in made.attacks], made.first) == ([3, 10], None)
    assert registry.resolve("attack", "strongest", {"attacks": [], "first": "pgd"}).options["first"].name == "pgd"


def test_component_that_is_resolved_already_is_taken_as_it_is(registry: Registry) -> None:
    base = registry.resolve("dataset", "half-digits")
    assert registry.resolve("dataset", "half", {"base": base}).options["base"] == base


def test_factory_function_may_take_several_kinds(registry: Registry) -> None:
    component = registry.resolve("metric", "elsewhere", {"data": "digits", "attack": "limited"})
    data, attack = registry.make("metric", component).seen
    assert (type(data).__name__, type(attack).__name__) == ("Digits", "Quiet")


@pytest.mark.parametrize(
    "change", [{"options": {"scale": 2}}, {"version": "9"}, {"distribution": "another"}, {"name": "mnist"}]
)
def test_ids_depend_on_the_component_within(registry: Registry, change: dict[str, Any]) -> None:
    def cell(base: Component) -> Cell:
        outer = registry.resolve("dataset", "half", {"base": "digits"})
        return make_cell(dataset=dataclasses.replace(outer, options={**outer.options, "base": base}))

    base = registry.resolve("dataset", "digits", {"scale": 1})
    before, after = cell(base), cell(dataclasses.replace(base, **change))
    assert before.cell_id != after.cell_id
    assert before.training.model_id != after.training.model_id


def test_cell_is_read_back_from_its_row_with_components_within(registry: Registry) -> None:
    attack = registry.resolve("attack", "strongest", {"attacks": [{"name": "pgd", "steps": 3}]})
    dataset = registry.resolve("dataset", "half", {"base": {"name": "half", "base": "digits"}})
    cell = make_cell(dataset=dataset)
    cell = dataclasses.replace(cell, evaluation=dataclasses.replace(cell.evaluation, attack=attack))
    again = read_cell(to_json(cell))
    assert again == cell
    assert registry.make("dataset", again.training.dataset).base.base.scale == 2


@pytest.mark.parametrize(
    ("kind", "name", "options", "message"),
    [
        ("dataset", "half", {}, "base: required option is missing (expected the name of a dataset, or a table"),
        ("dataset", "half", {"base": "digts"}, "base: unknown dataset 'digts' (did you mean 'digits'"),
        (
            "dataset",
            "half",
            {"base": 3},
            "base: expected the name of a dataset, or a table of its name and options, got",
        ),
        ("dataset", "half", {"base": {"scale": 1}}, "base: expected the name of a dataset"),
        ("dataset", "half", {"base": {"name": "digits", "scal": 1}}, "base.scal: unknown option (did you mean 'scale'"),
        ("dataset", "half", {"base": {"name": "digits", "scale": 99}}, "base: dataset 'digits': digits: scale must"),
        (
            "dataset",
            "half",
            {"base": {"name": "half", "base": {"name": "digits", "scale": "x"}}},
            "base.base.scale: expected an integer, got 'x'",
        ),
        ("attack", "strongest", {"attacks": ["pgd", {"name": "pgd", "stps": 3}]}, "attacks[1].stps: unknown option"),
        ("attack", "strongest", {"attacks": [], "first": "pgdd"}, "first: unknown attack 'pgdd' (did you mean 'pgd'"),
        ("attack", "strongest", {"attacks": [], "first": 3}, "first: expected the name of an attack, or a table"),
        ("defense", "twice", {"inner": "stepping"}, "inner: defense 'stepping' makes a Stepping, which is no Defense"),
    ],
)
def test_mistake_is_reported_with_its_place_and_the_nearest_name(
    registry: Registry, kind: Any, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionsError) as caught:
        registry.resolve(kind, name, options)
    assert message in str(caught.value)


def test_all_mistakes_of_all_components_are_reported_together(registry: Registry) -> None:
    attacks = [{"name": "pgd", "steps": "x", "step": 1}, "pgdd"]
    with pytest.raises(InvalidOptionsError) as caught:
        registry.resolve("attack", "strongest", {"attacks": attacks, "frst": 1})
    places = {problem.option for problem in caught.value.problems}
    assert places == {"frst", "attacks[0].steps", "attacks[0].step", "attacks[1]"}


def test_endless_nesting_is_an_error_that_is_reported(registry: Registry) -> None:
    with pytest.raises(PluginError, match=f"nested more than {MAXIMUM_NESTING} deep"):
        registry.resolve("dataset", "circular")
    entry: Any = "digits"
    for _ in range(MAXIMUM_NESTING + 1):
        entry = {"name": "half", "base": entry}
    with pytest.raises(InvalidOptionsError, match="nested more than"):
        registry.resolve("dataset", "half", {"base": entry})
    assert registry.resolve("dataset", "half", {"base": "digits"}).options["base"].name == "digits"


def test_preset_fixes_a_component(registry: Registry) -> None:
    assert registry.make("dataset", registry.resolve("dataset", "half-digits")).base.scale == 1
    with pytest.raises(InvalidOptionsError, match="base: fixed to the dataset 'digits' by this name"):
        registry.resolve("dataset", "half-digits", {"base": "mnist"})


SUITE = """\
name = "nested"
protocol = "nested-1"

[[experiments]]
name = "one"
architectures = ["mlp"]
defenses = ["natural"]
attacks = ["pgd-10", { name = "strongest", attacks = ["pgd", { name = "limited" }] }]
metrics = ["accuracy"]
threat = { epsilon = 0.1 }
recipe = { learning_rate = 0.01, epochs = 1 }

[experiments.dataset]
name = "half"
share = 0.25

[experiments.dataset.base]
name = "digits"
scale = 1
"""


def problems(registry: Registry, tmp_path: Path, text: str) -> list[Problem]:
    file = tmp_path / "suite.toml"
    file.write_text(text)
    with pytest.raises(SuiteError) as caught:
        read_suite(file, registry)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("right", "wrong", "location", "line", "message"),
    [
        ("scale = 1", "scal = 1", "experiments[0].dataset.base.scal", 19, "unknown option (did you mean 'scale'?)"),
        ("scale = 1", "scale = true", "experiments[0].dataset.base.scale", 19, "expected an integer"),
        ('name = "digits"', 'name = "digts"', "experiments[0].dataset.base", 17, "unknown dataset 'digts'"),
        ('"pgd", {', '"pgdd", {', "experiments[0].attacks[1].attacks[0]", 8, "did you mean 'pgd'"),
        (
            'name = "digits"\nscale = 1',
            'name = "staircase"',
            "experiments[0].dataset",
            13,
            "'staircase' is for regression",
        ),
        ("", "", "experiments[0].attacks", 8, "attack 'limited' does not work for the norm linf"),
    ],
)
def test_suite_tells_the_line_within_the_component(
    registry: Registry, tmp_path: Path, right: str, wrong: str, location: str, line: int, message: str
) -> None:
    found = problems(registry, tmp_path, SUITE.replace(right, wrong) if right else SUITE)
    assert any((p.location, p.line) == (location, line) and message in str(p) for p in found), found


def test_suite_with_a_component_within_is_read(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "suite.toml"
    file.write_text(SUITE.replace('{ name = "limited" }', '"pgd-10"'))
    (experiment,) = read_suite(file, registry).profile("paper")
    assert experiment.dataset.options["base"].options == {"scale": 1}
    assert [one.name for one in experiment.attacks[1].with_nested] == ["strongest", "pgd", "pgd-10"]


def test_plan_skips_for_what_a_component_within_lacks(registry: Registry) -> None:
    from benchbench.contract import DataSource

    here = Path()
    attack = registry.resolve("attack", "strongest", {"attacks": ["limited"]})
    cell = make_cell(
        dataset=registry.resolve("dataset", "digits"), architecture=registry.resolve("architecture", "mlp")
    )
    cell = dataclasses.replace(
        cell,
        training=dataclasses.replace(cell.training, defense=registry.resolve("defense", "natural")),
        evaluation=dataclasses.replace(cell.evaluation, attack=attack, metrics=()),
    )
    splits = registry.make("dataset", cell.training.dataset).load(DataSource(root=here, cache=here))
    assert find_obstacle(cell, splits, registry) == "attack 'limited' needs no_such_module; pip install it"


def test_labels_say_what_a_dataset_is_made_from(registry: Registry) -> None:
    dataset = registry.resolve("dataset", "half", {"base": {"name": "half", "base": "digits"}})
    row = make_row(dataset="half", configuration=to_json(make_cell(dataset=dataset)))
    assert dataset_label(row) == "half (base=half (base=digits, share=0.5), share=0.5)"
    assert component_label("half", dataset.options) == dataset_label(row)
    assert dataset_label(make_row(dataset="mnist", configuration='{"training": [1]}')) == "mnist"


def test_show_says_how_to_write_such_an_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = load_registry(extra_plugins=[Toys()])
    monkeypatch.setattr("benchbench.cli.show.load_registry", lambda: registry)
    assert invoke(["show", "dataset", "half", "--json"]) == 0
    base, share = json.loads(capsys.readouterr().out)["options"]
    assert base["type"] == "the name of a dataset, or a table of its name and options"
    assert (base["required"], share["type"]) == (True, "float")
    assert invoke(["show", "dataset", "half-digits"]) == 0
    assert "the dataset 'digits' (fixed)" in capsys.readouterr().out
    assert invoke(["show", "attack", "strongest"]) == 0
    assert "the name of an attack" in capsys.readouterr().out
