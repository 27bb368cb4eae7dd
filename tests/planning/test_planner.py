"""Plans: the grid in order, what is done, skipped or failed and why, and the selection of cells."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchbench.cell.selection import parse_only
from benchbench.contract import (
    Capabilities,
    CorruptDataError,
    Dataset,
    DatasetSplits,
    DataSource,
    Examples,
    MissingDataError,
    Offer,
    Recipe,
    hookimpl,
)
from benchbench.errors import SuiteError, UnknownNameError, UsageError
from benchbench.planning import Plan, make_plan
from benchbench.registry import Registry, load_registry
from benchbench.suite import Suite, suite_from_table

LOADED: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Blobs:
    """A toy dataset whose loads are counted."""

    side: int = 8
    margin: int = 0
    classes: int = 3
    fault: str = ""

    def load(self, source: DataSource) -> DatasetSplits:
        LOADED.append("blobs")
        if self.fault == "missing":
            raise MissingDataError("blobs: no file", fetch="benchbench data fetch blobs")
        if self.fault == "corrupt":
            raise CorruptDataError("blobs: checksum differs")

        def split(count: int, side: int) -> Examples:
            labels = torch.arange(count) % self.classes
            inputs = (labels[:, None, None, None] * 10).expand(count, 1, side, side).to(torch.uint8).contiguous()
            return Examples(inputs=inputs, labels=labels)

        names = tuple(f"class {number}" for number in range(self.classes))
        train = split(60, self.side + self.margin)
        return DatasetSplits(train=train, test=split(30, self.side), classes=names)


class Toy:
    """A toy that fits every kind but data."""

    def perturb(self, *args: Any, **kwargs: Any) -> Any: ...
    def measure(self, *args: Any, **kwargs: Any) -> Any: ...
    def loss(self, *args: Any, **kwargs: Any) -> Any: ...


class Learner(Toy):
    """Draws from another dataset, and averages weights."""

    def __init__(self, *, extra: Dataset, decay: float = 0.9) -> None:
        self.decay = decay

    def adapt_recipe(self, recipe: Recipe) -> Recipe:
        return replace(recipe, weight_averaging="ema", ema_decay=self.decay)


def network(*, input_shape: tuple[int, ...], classes: int, dropout: float = 0.0) -> torch.nn.Module:
    raise AssertionError("planning makes no network")


def toy(name: str, **capabilities: Any) -> Offer:
    return Offer(name=name, summary="Toy.", factory=Toy, capabilities=Capabilities(**capabilities))


class Toys:
    """One plugin with everything that a plan needs."""

    @hookimpl
    def benchbench_datasets(self) -> list[Offer]:
        return [Offer(name="blobs", summary="Toy.", factory=Blobs)]

    @hookimpl
    def benchbench_architectures(self) -> list[Offer]:
        large = Capabilities(smallest_input=(16, 16))
        colour = Capabilities(channels=(3,))
        return [
            Offer(name="net", summary="Toy.", factory=network),
            Offer(name="other-net", summary="Toy.", factory=network),
            Offer(name="large-net", summary="Toy.", factory=network, capabilities=large),
            Offer(name="colour-net", summary="Toy.", factory=network, capabilities=colour),
        ]

    @hookimpl
    def benchbench_defenses(self) -> list[Offer]:
        learner = Offer(name="learner", summary="Toy.", factory=Learner)
        return [toy("plain"), toy("robust"), toy("choosy", architectures=("net", "family")), learner]

    @hookimpl
    def benchbench_attacks(self) -> list[Offer]:
        return [toy("weak"), toy("strong"), toy("many-classes", minimum_classes=5)]

    @hookimpl
    def benchbench_metrics(self) -> list[Offer]:
        return [toy("count")]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(extra_plugins=[Toys()])


@pytest.fixture(autouse=True)
def _no_loads_yet() -> None:
    LOADED.clear()


def experiment(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "one",
        "dataset": "blobs",
        "architectures": ["net"],
        "defenses": ["plain", "robust"],
        "attacks": ["weak", "strong"],
        "metrics": ["count"],
        "threat": {"norm": "linf", "epsilon": 0.1},
        "recipe": {"learning_rate": 0.1, "epochs": 1},
    }
    return {**base, **changes}


@pytest.fixture
def suite_of(registry: Registry) -> Callable[..., Suite]:
    def build(*experiments: dict[str, Any]) -> Suite:
        return suite_from_table({"name": "toy", "protocol": "toy-1", "experiments": list(experiments)}, registry)

    return build


@pytest.fixture
def plan_of(registry: Registry, suite_of: Callable[..., Suite], tmp_path: Path) -> Callable[..., Plan]:
    def build(*experiments: dict[str, Any], **options: Any) -> Plan:
        source = DataSource(root=tmp_path, cache=tmp_path)
        return make_plan(suite_of(*experiments), registry, profile="paper", source=source, **options)

    return build


def columns(plan: Plan, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(planned.identity[name] for name in names) for planned in plan.cells]


def statuses(plan: Plan) -> set[tuple[str, str]]:
    return {(planned.status, planned.reason) for planned in plan.cells}


def test_importing_the_plan_loads_no_torch() -> None:
    code = "import sys, benchbench.planning, benchbench.suite; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_cells_of_one_model_are_adjacent_and_the_attack_varies_fastest(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(), seeds=[0, 1])
    assert columns(plan, "seed", "defense", "attack") == [
        (seed, defense, attack) for seed in (0, 1) for defense in ("plain", "robust") for attack in ("weak", "strong")
    ]
    assert [planned.status for planned in plan.cells] == ["ready"] * 8
    assert plan.ready == tuple(planned.cell for planned in plan.cells)


def test_one_model_is_evaluated_at_every_radius(plan_of: Callable[..., Plan]) -> None:
    radii = [{}, {"epsilon": "1/255"}, {"norm": "l2", "epsilon": 2}]
    plan = plan_of(experiment(evaluation=radii, attacks=["weak"]))
    assert columns(plan, "defense", "norm", "epsilon", "train_epsilon") == [
        (defense, norm, epsilon, trained)
        for defense, trained in (("plain", 0.1), ("robust", 0.1))
        for norm, epsilon in (("linf", 0.1), ("linf", 1 / 255), ("l2", 2.0))
    ]
    assert len({cell.training.model_id for cell in plan.ready}) == 2
    assert len({cell.cell_id for cell in plan.ready}) == 6


def test_cell_at_the_radius_of_training_keeps_its_id_beside_others(plan_of: Callable[..., Plan]) -> None:
    def ids(plan: Plan) -> dict[tuple[object, ...], tuple[str, str]]:
        known = ((cell.identity(), cell) for cell in plan.ready)
        return {(i["defense"], i["attack"], i["epsilon"]): (cell.cell_id, cell.training.model_id) for i, cell in known}

    alone, beside = ids(plan_of(experiment())), ids(plan_of(experiment(evaluation=[{"epsilon": 0.2}, {}])))
    assert alone.items() <= beside.items()


def test_seeds_are_those_of_each_experiment_unless_the_run_names_others(plan_of: Callable[..., Plan]) -> None:
    grid = [
        experiment(seeds=[3, 5], defenses=["plain"], attacks=["weak"]),
        experiment(name="other", threat={"epsilon": 0.2}),
    ]
    assert {seed for (seed,) in columns(plan_of(*grid, only=["experiment=one"]), "seed")} == {3, 5}
    assert {seed for (seed,) in columns(plan_of(*grid, only=["experiment=other"]), "seed")} == {0}
    assert {seed for (seed,) in columns(plan_of(*grid, seeds=[7]), "seed")} == {7}


def test_radius_of_an_evaluation_beyond_the_box_of_the_data_is_refused(plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(SuiteError, match=r"evaluation\.epsilon"):
        plan_of(experiment(evaluation=[{"norm": "l2", "epsilon": 1000}]))


def test_equal_suites_give_equal_plans(plan_of: Callable[..., Plan]) -> None:
    assert plan_of(experiment()).cells == plan_of(experiment()).cells


def test_counts_are_clamped_to_what_there_is(plan_of: Callable[..., Plan]) -> None:
    counts = ("n_train", "n_train_evaluated", "n_test")
    assert columns(plan_of(experiment()), *counts)[0] == (60, 60, 30)
    large = {"n_train": 10**9, "n_train_evaluated": 10**9, "n_test": 10**9}
    assert columns(plan_of(experiment(**large)), *counts)[0] == (60, 60, 30)
    small = {"n_train": 20, "n_train_evaluated": 50, "n_test": 10}
    assert columns(plan_of(experiment(**small)), *counts)[0] == (20, 20, 10)


def test_proof_of_concept_trains_on_both_splits(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(trained_on="train+test"))
    assert columns(plan, "trained_on", "n_train", "n_train_evaluated")[0] == ("train+test", 90, 60)


def test_validation_split_is_taken_from_the_training_examples(plan_of: Callable[..., Plan]) -> None:
    counts = ("n_train", "n_validation", "n_train_evaluated", "checkpoint_selection")
    for validation, n_train, expected in ((15, None, (45, 15, 45)), (0.1, None, (54, 6, 54)), (0.5, 20, (10, 10, 10))):
        recipe = {"learning_rate": 0.1, "epochs": 1, "validation": validation, "checkpoint_selection": "best-clean"}
        plan = plan_of(experiment(recipe=recipe, **({} if n_train is None else {"n_train": n_train})))
        assert columns(plan, *counts)[0] == (*expected, "best-clean")
    recipe = {"learning_rate": 0.1, "epochs": 1, "validation": 60}
    (state, *_) = statuses(plan_of(experiment(recipe=recipe)))
    assert state == ("failed", "the validation split takes 60 training examples, which are all")


def test_fields_of_a_recipe_with_their_defaults_change_no_id(plan_of: Callable[..., Plan]) -> None:
    stated = {"validation": 0, "checkpoint_selection": "last", "weight_averaging": "none", "schedule": "multi-step"}
    recipe = {
        "learning_rate": 0.1,
        "epochs": 1,
        **stated,
        "warm_up_epochs": 0,
        "label_smoothing": 0,
        "ema_decay": 0.995,
    }
    assert columns(plan_of(experiment(recipe=recipe)), "cell_id") == columns(plan_of(experiment()), "cell_id")
    recipe["weight_averaging"] = "ema"
    assert columns(plan_of(experiment(recipe=recipe)), "cell_id") != columns(plan_of(experiment()), "cell_id")


def test_extra_data_are_counted_and_identify_the_model(plan_of: Callable[..., Plan]) -> None:
    def learner(**blobs: Any) -> list[dict[str, Any]]:
        return [{"name": "learner", "extra": {"name": "blobs", **blobs}}]

    plan = plan_of(experiment(defenses=learner()))
    assert columns(plan, "n_train", "n_extra", "weight_averaging")[0] == (60, 60, "ema-0.9")
    spec = plan.ready[0].training
    assert spec.extra_digest == spec.dataset_digest
    assert columns(plan_of(experiment()), "n_extra")[0] == (0,)
    with_margin = plan_of(experiment(defenses=learner(margin=2)))  # the same examples in larger images
    assert with_margin.ready[0].training.extra_digest != spec.extra_digest
    wrong = {"side": 4}, {"classes": 4}, {"fault": "corrupt"}, {"fault": "missing"}
    states = [next(iter(statuses(plan_of(experiment(defenses=learner(**options)))))) for options in wrong]
    assert [state for state, _ in states] == ["failed", "failed", "failed", "skipped"]
    assert "(1, 4, 4)" in states[0][1]
    assert "(1, 8, 8)" in states[0][1]
    assert "4 classes" in states[1][1]
    assert "fetch" in states[3][1]


def test_defense_for_some_architectures_is_skipped_on_others(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(architectures=["net", "other-net"], defenses=["choosy"], attacks=["weak"]))
    assert [(one.identity["architecture"], one.status, one.reason) for one in plan.cells] == [
        ("net", "ready", ""),
        ("other-net", "skipped", "defense 'choosy' works with net or family only, not with 'other-net'"),
    ]


def test_box_comes_from_the_data(plan_of: Callable[..., Plan]) -> None:
    threat = plan_of(experiment()).ready[0].training.threat
    assert (threat.lower, threat.upper) == (0.0, 1.0)


def test_each_dataset_is_loaded_once_and_handed_on(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(), experiment(name="two", n_train=10))
    assert LOADED == ["blobs"]
    loaded = plan.datasets.load(plan.ready[0].training.dataset)
    assert loaded.digest == plan.ready[0].training.dataset_digest
    assert LOADED == ["blobs"]


def test_recorded_cells_are_done(plan_of: Callable[..., Plan]) -> None:
    recorded = {plan_of(experiment()).ready[0].cell_id}
    plan = plan_of(experiment(), done=lambda cell: cell.cell_id in recorded)
    assert [planned.status for planned in plan.cells] == ["done", "ready", "ready", "ready"]
    assert len(plan.ready) == 3


def test_same_cell_in_two_experiments_is_planned_once(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(), experiment(name="two", defenses=["plain"], attacks=["weak"]))
    assert columns(plan, "experiment") == [("one",)] * 4


def test_missing_data_is_skipped_with_the_command_that_fetches_it(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(dataset={"name": "blobs", "fault": "missing"}), experiment(name="two"))
    skipped = plan.with_status("skipped")
    assert [planned.cell for planned in skipped] == [None] * 4
    assert skipped[0].reason == "blobs: no file; benchbench data fetch blobs"
    assert len(plan.ready) == 4
    assert LOADED == ["blobs", "blobs"]  # tried once, however many cells need it


def test_corrupt_data_is_a_failure(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(dataset={"name": "blobs", "fault": "corrupt"}))
    assert statuses(plan) == {("failed", "blobs: checksum differs")}


def test_skipped_experiment_loads_no_data(plan_of: Callable[..., Plan]) -> None:
    assert statuses(plan_of(experiment(skip="too large"))) == {("skipped", "too large")}
    assert LOADED == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architectures": ["large-net"]}, "architecture 'large-net' needs images of at least 16x16, the data has 8x8"),
        ({"architectures": ["colour-net"]}, "architecture 'colour-net' needs 3 channels, the data has 1"),
        ({"attacks": ["many-classes"]}, "attack 'many-classes' needs at least 5 classes, the data has 3"),
        (
            {"recipe": {"learning_rate": 0.1, "epochs": 1, "augmentation": {"crop": 16}}},
            "augmentation crops to 16 pixels, the test images have 8x8",
        ),
        (
            {"recipe": {"learning_rate": 0.1, "epochs": 1, "augmentation": {"padding": 9}}},
            "augmentation pads 9 pixels, the test images have 8x8",
        ),
    ],
)
def test_impossible_combination_is_skipped_with_its_reason(
    plan_of: Callable[..., Plan], changes: dict[str, Any], expected: str
) -> None:
    assert statuses(plan_of(experiment(**changes))) == {("skipped", expected)}


def test_impossible_combination_is_skipped_though_it_is_recorded(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(experiment(attacks=["weak", "many-classes"]), done=lambda cell: True)
    assert [planned.status for planned in plan.cells] == ["done", "skipped"] * 2


def test_precision_of_the_training_is_of_methods_that_train(plan_of: Callable[..., Plan]) -> None:
    trained = experiment(defenses=["plain"], attacks=["weak"])
    fitted = {**trained, "name": "two", "recipe": {"optimizer": "none"}}
    plan = plan_of(trained, fitted, train_precision="bf16")
    assert columns(plan, "experiment", "train_precision") == [("one", "bf16"), ("two", "float32")]
    assert columns(plan, "cell_id")[1] == columns(plan_of(fitted), "cell_id")[0]


def test_training_images_with_a_margin_are_cropped_to_the_test_images(plan_of: Callable[..., Plan]) -> None:
    recipe = {"learning_rate": 0.1, "epochs": 1, "augmentation": {"crop": 8, "padding": 1}}
    plan = plan_of(experiment(dataset={"name": "blobs", "margin": 2}, recipe=recipe))
    assert statuses(plan) == {("ready", "")}


def test_unknown_profile_is_refused(registry: Registry, suite_of: Callable[..., Suite], tmp_path: Path) -> None:
    source = DataSource(root=tmp_path, cache=tmp_path)
    with pytest.raises(UnknownNameError, match="profile"):
        make_plan(suite_of(experiment()), registry, profile="papr", source=source)


# Selection ---------------------------------------------------------------------------------------------------------


def test_filters_are_parsed_and_add_up() -> None:
    assert parse_only(["a=x, y", "b=z", "a=w"]) == {"a": ("x", "y", "w"), "b": ("z",)}
    assert parse_only(['a={"x":[1,2],"y":"p,q"},z']) == {"a": ('{"x":[1,2],"y":"p,q"}', "z")}


@pytest.mark.parametrize("text", ["dataset", "=mnist", "dataset=", "dataset=,", ""])
def test_malformed_filter_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parse_only([text])


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["defense=robust"], [("robust", "weak"), ("robust", "strong")]),
        (["defense=robust", "attack=weak"], [("robust", "weak")]),
        (["attack=strong,weak", "epsilon=0.10", "seed=0", "defense=plain"], [("plain", "weak"), ("plain", "strong")]),
        (["n_train=60", "attack=weak"], [("plain", "weak"), ("robust", "weak")]),
    ],
)
def test_filters_select_cells(plan_of: Callable[..., Plan], only: list[str], expected: list[tuple[str, str]]) -> None:
    assert columns(plan_of(experiment(), only=only), "defense", "attack") == expected


def test_filter_by_cell_id(plan_of: Callable[..., Plan]) -> None:
    cell = plan_of(experiment()).ready[2]
    assert plan_of(experiment(), only=[f"cell_id={cell.cell_id}"]).ready == (cell,)


def test_filtered_out_dataset_is_not_loaded(plan_of: Callable[..., Plan]) -> None:
    other = experiment(name="two", dataset={"name": "blobs", "side": 9})
    plan_of(experiment(), other, only=["experiment=two"])
    assert LOADED == ["blobs"]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["datset=blobs"], "did you mean 'dataset'"),
        (["defense=robst"], "did you mean 'robust'"),
        (["seed=7"], "known: 0"),
        (["seed=zero"], "known: 0"),
        (["n_test=31"], "known: 30"),
        (["experiment=two", "attack=strong"], "drop one of them"),
    ],
)
def test_filter_that_matches_nothing_is_refused(plan_of: Callable[..., Plan], only: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(experiment(), experiment(name="two", attacks=["weak"], n_train=5), only=only)
    assert expected in caught.value.hint


def test_a_filter_by_radius_may_be_a_fraction(plan_of: Callable[..., Plan]) -> None:
    small, large = ({"norm": "linf", "epsilon": radius} for radius in ("4/255", "8/255"))
    plan = plan_of(experiment(threat=small), experiment(name="two", threat=large), only=["epsilon=8/255"])
    assert set(columns(plan, "experiment", "epsilon")) == {("two", 8 / 255)}
    same = experiment(name="two", threat={"norm": "linf", "epsilon": 8 / 255})
    assert columns(plan, "cell_id") == columns(plan_of(same), "cell_id")


def test_radii_beyond_the_box_of_the_data_are_refused_together(plan_of: Callable[..., Plan]) -> None:
    wrong = [
        experiment(name=f"in-{norm}", threat={"norm": norm, "epsilon": epsilon}, defenses=["plain"], attacks=["weak"])
        for norm, epsilon in (("linf", 1.5), ("l2", 9.0), ("l1", 65.0), ("l2", 8.0))
    ]
    with pytest.raises(SuiteError) as caught:
        plan_of(*wrong[:3], experiment(name="right"), {**wrong[3], "name": "at-the-limit"})
    assert [problem.location for problem in caught.value.problems] == [
        f"in-{norm}.threat.epsilon" for norm in ("linf", "l2", "l1")
    ]
    assert caught.value.problems[1].hint == "did you mean 9/255?"


def test_a_radius_of_data_that_is_not_there_is_left_for_later(plan_of: Callable[..., Plan]) -> None:
    lost = experiment(dataset={"name": "blobs", "fault": "missing"}, threat={"norm": "l2", "epsilon": 9.0})
    assert {planned.status for planned in plan_of(lost).cells} == {"skipped"}


def test_thousand_cells_plan_in_seconds(plan_of: Callable[..., Plan]) -> None:
    started = time.process_time()
    assert len(plan_of(experiment(), seeds=range(250), only=["epsilon=0.1"]).cells) == 1000
    assert time.process_time() - started < 3.0


def test_cell_ids_depend_on_the_data(plan_of: Callable[..., Plan]) -> None:
    one = plan_of(experiment()).ready[0]
    other = plan_of(experiment(dataset={"name": "blobs", "side": 9})).ready[0]
    assert one.cell_id != other.cell_id
    renamed = replace(one, experiment="other name")
    assert renamed.cell_id == one.cell_id
