"""Suites: what is read, how layers apply, and that all mistakes are reported at once, with lines."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.contract import Capabilities, Offer, hookimpl
from benchbench.contract.recipe import NO_TRAINING
from benchbench.errors import BenchbenchError, Problem, SuiteError, UnknownNameError
from benchbench.registry import Registry, load_registry
from benchbench.suite import Suite, read_suite, suite_from_table
from benchbench.suite.files import parse, read_text

SUITES = Path(__file__).parents[2] / "benchbench" / "builtin" / "suites"

SMALL = """\
name = "small"
protocol = "small-1"

[defaults]
attacks = ["pgd-10"]
metrics = ["accuracy"]
threat = { epsilon = 0.1 }

[profiles.paper]
[profiles.quick]
n_train = 100
recipe = { epochs = 2 }

[[experiments]]
name = "one"
dataset = { name = "digits", scale = 2 }
architectures = ["mlp"]
defenses = [
    "natural",
    "at",
    { name = "trades", beta = 3 },
]
recipe = { learning_rate = 1e-2, epochs = 9 }

[[experiments.overrides]]
defenses = ["at", "trades"]
learning_rate = 1e-3

[experiments.profiles.quick]
defenses = ["natural", "at"]

[[experiments.profiles.quick.overrides]]
defenses = ["at"]
epochs = 4
"""


class Quiet:
    """A toy that fits every kind."""

    def perturb(self, *args: Any, **kwargs: Any) -> Any: ...
    def measure(self, *args: Any, **kwargs: Any) -> Any: ...
    def loss(self, *args: Any, **kwargs: Any) -> Any: ...


class Toys:
    """Components with limits."""

    @hookimpl
    def benchbench_attacks(self) -> list[Offer]:
        only_l2 = Capabilities(norms=("l2",))
        return [Offer(name="only-l2", summary="Toy.", factory=Quiet, capabilities=only_l2)]

    @hookimpl
    def benchbench_metrics(self) -> list[Offer]:
        return [Offer(name="only-l1", summary="Toy.", factory=Quiet, capabilities=Capabilities(norms=("l1",)))]

    @hookimpl
    def benchbench_defenses(self) -> list[Offer]:
        regression = Capabilities(task="regression")
        return [Offer(name="regressing", summary="Toy.", factory=Quiet, capabilities=regression)]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(extra_plugins=[Toys()])


@pytest.fixture
def read(registry: Registry, tmp_path: Path) -> Any:
    def read_text_as_suite(text: str) -> Suite:
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return read_suite(path, registry)

    return read_text_as_suite


def problems_of(read: Any, text: str) -> list[Problem]:
    with pytest.raises(SuiteError) as caught:
        read(text)
    return list(caught.value.problems)


def places_of(read: Any, text: str) -> list[tuple[str, int | None]]:
    return [(problem.location, problem.line) for problem in problems_of(read, text)]


def line_of(text: str, fragment: str) -> int:
    return text[: text.index(fragment)].count("\n") + 1


# What is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "profiles"), [("closer-look", ("paper", "quick", "short", "ten-epochs")), ("smoke", ("paper", "quick"))]
)
def test_builtin_suite_reads_by_name(registry: Registry, name: str, profiles: tuple[str, ...]) -> None:
    suite = read_suite(name, registry)
    assert (suite.name, suite.profiles) == (name, profiles)
    assert Path(suite.source) == SUITES / f"{name}.toml"


def test_every_builtin_suite_file_is_offered(registry: Registry) -> None:
    offered = {entry.offer.name for entry in registry.offers("suite") if entry.built_in}
    assert offered == {path.stem for path in SUITES.glob("*.toml")}


def test_suite_reads_with_components_resolved(read: Any) -> None:
    (experiment,) = read(SMALL).profile("paper")
    assert experiment.dataset.options["scale"] == 2
    assert [defense.name for defense in experiment.defenses] == ["natural", "at", "trades"]
    assert experiment.defenses[2].options["beta"] == 3.0
    assert (experiment.threat.norm, experiment.threat.epsilon) == ("linf", 0.1)
    assert (experiment.n_train, experiment.trained_on, experiment.skip) == (None, "train", "")


def test_a_radius_may_be_written_as_a_fraction(read: Any) -> None:
    (experiment,) = read(SMALL.replace("0.1", '"8/255"')).profile("paper")
    assert experiment.threat.epsilon == 8 / 255


def test_a_layer_may_change_norm_and_radius_or_the_radius_alone(read: Any) -> None:
    text = SMALL.replace("n_train = 100", 'threat = { norm = "l2", epsilon = 0.5 }')
    assert [read(text).profile(name)[0].threat.norm for name in ("paper", "quick")] == ["linf", "l2"]
    text = SMALL.replace("epsilon = 0.1", 'norm = "l2"').replace("n_train = 100", "threat = { epsilon = 0.5 }")
    text = text.replace("[profiles.paper]", "[profiles.paper]\nthreat = { epsilon = 1.5 }")
    assert [read(text).profile(name)[0].threat.epsilon for name in ("paper", "quick")] == [1.5, 0.5]


def test_overrides_apply_to_the_named_defenses(read: Any) -> None:
    (experiment,) = read(SMALL).profile("paper")
    rates = [experiment.recipe_for(experiment.architectures[0], d).learning_rate for d in experiment.defenses]
    assert rates == [1e-2, 1e-3, 1e-3]


def test_profile_layers_win_over_the_experiment_field_by_field(read: Any) -> None:
    (experiment,) = read(SMALL).profile("quick")
    recipes = [experiment.recipe_for(experiment.architectures[0], d) for d in experiment.defenses]
    assert [(r.learning_rate, r.epochs) for r in recipes] == [(1e-2, 2), (1e-3, 4)]
    assert experiment.n_train == 100


def test_empty_skip_takes_an_experiment_in_again(read: Any) -> None:
    text = SMALL.replace("n_train = 100", 'n_train = 100\nskip = "too large"')
    assert read(text).profile("quick")[0].skip == "too large"
    text = text.replace("[experiments.profiles.quick]", '[experiments.profiles.quick]\nskip = ""')
    assert read(text).profile("quick")[0].skip == ""


def test_suite_without_profiles_has_the_paper_profile(read: Any) -> None:
    head, tail = SMALL.split("[profiles.paper]")
    text = head + tail[tail.index("[[experiments]]") :].split("[experiments.profiles.quick]")[0]
    assert read(text).profiles == ("paper",)


def test_unknown_profile_suggests_the_nearest(read: Any) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'quick'"):
        read(SMALL).profile("qick")


def test_unknown_suite_suggests_the_nearest(registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'closer-look'"):
        read_suite("closer-lok", registry)


def test_suite_is_found_by_relative_path(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(SMALL)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "without-suffix").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    assert read_suite("mine.toml", registry).name == "small"
    assert read_suite("folder/without-suffix", registry).name == "small"


# The closer-look protocol ------------------------------------------------------------------------------------------

PROTOCOL = {  # experiment: (epsilon, optimiser, momentum, batch, epochs, decays, augmentation), from PROTOCOL.md
    "mnist": (0.1, "sgd", 0.9, 64, 160, (40, 80, 120, 140), "none"),
    "svhn": (0.031, "sgd", 0.0, 64, 60, (30, 50), "none"),
    "svhn-dropout": (0.031, "sgd", 0.0, 64, 60, (30, 50), "none"),
    "cifar-10": (0.031, "sgd", 0.0, 64, 120, (40, 80, 100), "crop4+flip"),
    "cifar-10-dropout": (0.031, "sgd", 0.0, 64, 120, (40, 80, 100), "crop4+flip"),
    "cifar-10-unaugmented": (0.031, "sgd", 0.0, 64, 120, (40, 80, 100), "none"),
    "restricted-imagenet": (0.005, "adam", 0.0, 128, 70, (40, 60), "crop64"),
    "mnist-proof-of-concept": (0.1, "sgd", 0.9, 128, 40, (20, 30), "none"),
    "svhn-proof-of-concept": (0.031, "adam", 0.0, 64, 60, (30, 50), "none"),
    "cifar-10-proof-of-concept": (0.031, "adam", 0.0, 64, 60, (30, 50), "none"),
}


@pytest.fixture(scope="module")
def closer_look(registry: Registry) -> dict[str, Any]:
    return {experiment.name: experiment for experiment in read_suite("closer-look", registry).profile("paper")}


@pytest.mark.parametrize("name", PROTOCOL)
def test_closer_look_trains_as_the_protocol_says(closer_look: dict[str, Any], name: str) -> None:
    experiment = closer_look[name]
    for architecture in experiment.architectures:
        for defense in experiment.defenses:
            r = experiment.recipe_for(architecture, defense)
            schedule = (r.optimizer, r.momentum, r.batch_size, r.epochs, r.decay_epochs, r.augmentation.label)
            assert (experiment.threat.epsilon, *schedule) == PROTOCOL[name]
            assert (r.weight_decay, r.decay_factor) == (0.0, 0.1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist", dict.fromkeys(["natural", "gr", "llr", "at", "rst", "trades"], 1e-4)),
        ("svhn", {"natural": 1e-2, "gr": 1e-2, "trades": 1e-2, "llr": 1e-3, "at": 1e-3, "rst": 1e-3}),
        ("svhn-arxiv-v1", {"at": 1e-2}),
        ("cifar-10", {"natural": 1e-2, "gr": 1e-2, "trades": 1e-2, "llr": 1e-2, "at": 1e-2, "rst": 1e-3}),
        ("restricted-imagenet", dict.fromkeys(["natural", "gr", "llr", "at", "rst", "trades"], 1e-2)),
        ("svhn-proof-of-concept", {"rst": 1e-3}),
        ("cifar-10-proof-of-concept", {"rst": 1e-2}),
    ],
)
def test_closer_look_learning_rates(closer_look: dict[str, Any], name: str, expected: dict[str, float]) -> None:
    experiment = closer_look[name]
    rates = {d.name: experiment.recipe_for(experiment.architectures[0], d).learning_rate for d in experiment.defenses}
    assert rates == expected


def test_closer_look_has_the_ten_methods_of_the_paper(closer_look: dict[str, Any]) -> None:
    for name in ("mnist", "svhn", "cifar-10", "restricted-imagenet"):
        methods = [d for d in closer_look[name].defenses if d.options.get("variant") != "released"]
        strengths = [d.options.get("lam", d.options.get("beta")) for d in methods if d.name in ("rst", "trades")]
        assert len(methods) == 10
        assert strengths == [0.5, 1.0, 2.0, 1.0, 3.0, 6.0]


def test_closer_look_marks_models_that_see_the_test_set(closer_look: dict[str, Any]) -> None:
    seeing = {name for name, experiment in closer_look.items() if experiment.trained_on == "train+test"}
    assert seeing == {name for name in closer_look if name.endswith("proof-of-concept")}


def test_closer_look_dropout_and_llr_options(closer_look: dict[str, Any]) -> None:
    assert closer_look["svhn-dropout"].architectures[0].options["dropout"] == 0.5
    assert closer_look["cifar-10-dropout"].architectures[0].options["dropout"] == 0.2
    for llr in (d for d in closer_look["restricted-imagenet"].defenses if d.name == "llr"):
        assert (llr.options["lam"], llr.options["mu"]) == (3.0, 6.0)


def test_closer_look_quick_runs_what_two_cores_can(registry: Registry) -> None:
    quick = read_suite("closer-look", registry).profile("quick")
    datasets = {experiment.dataset.name for experiment in quick if not experiment.skip}
    assert datasets == {"mnist", "digits", "staircase", "spiral"}


def test_closer_look_short_is_the_papers_whole_mnist_grid_with_fewer_epochs_and_examples(registry: Registry) -> None:
    suite = read_suite("closer-look", registry)
    short = {experiment.name: experiment for experiment in suite.profile("short") if not experiment.skip}
    (paper,) = (experiment for experiment in suite.profile("paper") if experiment.name == "mnist")
    assert short.keys() == {"mnist", "mnist-multi-targeted"}
    assert (*short["mnist"].attacks, *short["mnist-multi-targeted"].attacks) == paper.attacks
    for experiment in short.values():
        assert (experiment.architectures, experiment.defenses) == (paper.architectures, paper.defenses)
        assert experiment.metrics == paper.metrics


def test_closer_look_ten_epochs_is_the_papers_mnist_protocol_ended_early(registry: Registry) -> None:
    suite = read_suite("closer-look", registry)
    (ours,) = (experiment for experiment in suite.profile("ten-epochs") if not experiment.skip)
    (paper,) = (experiment for experiment in suite.profile("paper") if experiment.name == "mnist")
    assert [attack.name for attack in ours.attacks] == ["pgd-10"]
    assert replace(ours, recipe_layers=(), attacks=()) == replace(paper, recipe_layers=(), attacks=())
    for architecture, defense in itertools.product(paper.architectures, paper.defenses):
        recipe = paper.recipe_for(architecture, defense)
        assert ours.recipe_for(architecture, defense) == replace(recipe, epochs=10, decay_epochs=())


def test_closer_look_fits_staircase_and_theory_without_training_in_steps(closer_look: dict[str, Any]) -> None:
    for name in ("staircase-small", "staircase-large", "theory-spiral"):
        experiment = closer_look[name]
        recipes = {experiment.recipe_for(experiment.architectures[0], d) for d in experiment.defenses}
        assert recipes == {NO_TRAINING}


# Mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "location", "message"),
    [
        ('protocol = "small-1"', 'protocl = "small-1"', "protocl", "did you mean 'protocol'"),
        ('name = "small"', 'name = "Not Kebab"', "name", "expected kebab-case"),
        ('name = "small"', "name = 3", "name", "expected a text, got the integer 3"),
        ('attacks = ["pgd-10"]', 'attacks = ["pgd-100"]', "defaults.attacks[0]", "did you mean 'pgd-10'"),
        ('attacks = ["pgd-10"]', "attacks = []", "defaults.attacks", "at least one name"),
        ('attacks = ["pgd-10"]', 'attacks = ["only-l2"]', "experiments[0].attacks", "does not work for the norm linf"),
        ('metrics = ["accuracy"]', 'metrics = ["only-l1"]', "experiments[0].metrics", "does not work for the norm"),
        ('    "at",\n', '    "regressing",\n', "experiments[0].defenses", "is for regression"),
        ("epsilon = 0.1", "epsilon = -0.1", "defaults.threat.epsilon", "at least 0"),
        ("epsilon = 0.1", "epsilon = 0", "defaults.threat.epsilon", "must be above 0"),
        ("epsilon = 0.1", "epsilon = nan", "defaults.threat.epsilon", "finite"),
        ("epsilon = 0.1", "epsilon = 8", "experiments[0].threat.epsilon", "did you mean 8/255?"),
        (
            "epsilon = 0.1",
            'epsilon = "8/o"',
            "defaults.threat.epsilon",
            "expected a number or a fraction such as 8/255",
        ),
        ("epsilon = 0.1", 'epsilon = "0.1"', "defaults.threat.epsilon", "expected a number, got"),
        ("n_train = 100", 'threat = { norm = "l2" }', "experiments[0].threat", "the radius was given for linf"),
        ("epsilon = 0.1", 'epsilon = 0.1, norm = "l7"', "defaults.threat.norm", "expected one of 'linf'"),
        ("epsilon = 0.1", "epsilon = 0.1, upper = 2", "defaults.threat.upper", "unknown option"),
        ("threat = { epsilon = 0.1 }", "", "experiments[0].threat.epsilon", "missing"),
        ("threat = { epsilon = 0.1 }", "threat = 0.1", "defaults.threat", "expected a table"),
        ("n_train = 100", "n_train = 0", "profiles.quick.n_train", "at least 1"),
        ("n_train = 100", "n_train = true", "profiles.quick.n_train", "expected an integer"),
        ("n_train = 100", "overrides = []", "profiles.quick.overrides", "unknown key"),
        (", epochs = 9", "", "experiments[0].recipe.epochs", "missing"),
        ("epochs = 9", "epochs = 0", "experiments[0].recipe.epochs", "at least 1"),
        ("epochs = 9", "epoch = 9, epochs = 1", "experiments[0].recipe.epoch", "did you mean 'epochs'"),
        ("1e-2", "0.0", "experiments[0].recipe.learning_rate", "above 0"),
        ("epochs = 9", "epochs = 9, validation = 1.5", "experiments[0].recipe.validation", "a share in (0, 1)"),
        ("epochs = 9", 'epochs = 9, schedule = "cosin"', "experiments[0].recipe.schedule", "did you mean 'cosine'"),
        *(
            ("epochs = 9", f"epochs = 9, {text}", f"experiments[0].recipe.{field}", message)
            for text, field, message in (
                ('checkpoint_selection = "best-clean"', "checkpoint_selection", "needs a validation split"),
                (
                    'checkpoint_selection = "best-robust", validation = 9',
                    "checkpoint_selection",
                    "'natural' trains without",
                ),
                ("warm_up_epochs = 9", "warm_up_epochs", "must be below epochs"),
                ('schedule = "cyclic", decay_epochs = [3]', "decay_epochs", "have no effect on a cyclic schedule"),
                ("swa_start = 3", "swa_start", "has an effect on SWA only"),
            )
        ),
        (
            "epochs = 9 }",
            'epochs = 9, validation = 9 }\ntrained_on = "train+test"',
            "experiments[0].recipe.validation",
            "test",
        ),
        ("epochs = 9", "epochs = 9, augmentation = {flip = 1}", "experiments[0].recipe.augmentation.flip", "true or"),
        (
            "epochs = 9",
            "epochs = 9, augmentation = {crop = -1}",
            "experiments[0].recipe.augmentation.crop",
            "at least 0",
        ),
        ("scale = 2", "scale = 2.5", "experiments[0].dataset.scale", "expected an integer"),
        ('name = "digits", scale', "scale", "experiments[0].dataset", "without a name"),
        ('name = "digits"', 'name = "digist"', "experiments[0].dataset", "did you mean 'digits'"),
        ("beta = 3", "beta = -3", "experiments[0].defenses[2]", "beta"),
        ("beta = 3", "betta = 3", "experiments[0].defenses[2].betta", "did you mean 'beta'"),
        ('    "at",\n', '    "at", "at",\n', "experiments[0].defenses[2]", "listed twice"),
        ('    "at",\n', '    "at", 7,\n', "experiments[0].defenses[2]", "expected a name"),
        ('defenses = ["at", "trades"]', 'defenses = ["att"]', "experiments[0].overrides", "has no defense 'att'"),
        ('defenses = ["at", "trades"]\n', "", "experiments[0].overrides[0]", "must name the defenses"),
        ("[experiments.profiles.quick]", "[experiments.profiles.qick]", "experiments[0].profiles.qick", "'quick'"),
        ('name = "small"', 'name = "small"\nseeds = [0, 0]', "seeds", "different seeds"),
        ('name = "small"', 'name = "small"\nseeds = [-1]', "seeds", "at least 0"),
        ('name = "one"\n', "", "experiments[0].name", "missing"),
        ('dataset = { name = "digits", scale = 2 }\n', "", "experiments[0].dataset", "missing"),
        ('architectures = ["mlp"]\n', "", "experiments[0].architectures", "missing"),
        ('["mlp"]', '["mlp:x"]', "experiments[0].architectures[0]", "unknown architecture"),
        ("[profiles.paper]", '[profiles."Not Kebab"]', "profiles.Not Kebab", "kebab-case"),
    ],
)
def test_mistake_is_reported_with_place_and_nearest_name(
    read: Any, old: str, new: str, location: str, message: str
) -> None:
    assert old in SMALL
    problems = problems_of(read, SMALL.replace(old, new, 1))
    found = [problem for problem in problems if problem.location == location]
    assert found, [str(problem) for problem in problems]
    assert message in f"{found[0].message} {found[0].hint}"


def test_all_mistakes_are_reported_together_with_their_lines(read: Any) -> None:
    text = SMALL.replace('"natural",\n', '"natral",\n').replace("1e-3", '"fast"').replace("n_train", "n_trian")
    assert places_of(read, text) == [
        ("profiles.quick.n_trian", line_of(text, "n_trian")),
        ("experiments[0].defenses[0]", line_of(text, '"natral"')),
        ("experiments[0].overrides[0].learning_rate", line_of(text, '"fast"')),
    ]


def test_mistaken_entry_is_not_missing_as_well(read: Any) -> None:
    text = SMALL.replace("epsilon = 0.1", "epsilon = -1").replace("epochs = 9", "epochs = 0")
    assert [location for location, _ in places_of(read, text)] == [
        "defaults.threat.epsilon",
        "experiments[0].recipe.epochs",
    ]


def test_two_experiments_of_one_name_are_refused(read: Any) -> None:
    second = SMALL[SMALL.index("[[experiments]]") :]
    assert ("experiments[1].name", SMALL.count("\n") + 2) in places_of(read, SMALL + second)


def test_suite_without_experiments_is_refused(read: Any) -> None:
    assert ("experiments", None) in places_of(read, SMALL[: SMALL.index("[[experiments]]")])


def test_grid_of_absurd_size_is_refused(read: Any) -> None:
    trades = ", ".join(f'{{ name = "trades", beta = {n} }}' for n in range(1, 350))
    pgds = ", ".join(f'{{ name = "pgd", steps = {n} }}' for n in range(1, 350))
    text = SMALL.replace('attacks = ["pgd-10"]', f"attacks = [{pgds}]".replace("}, ", "},\n"))
    text = text.replace('    "natural",\n', f"{trades},\n".replace("}, ", "},\n"))
    assert any("cells in profile" in problem.message for problem in problems_of(read, text))


def test_grid_of_absurdly_many_seeds_is_refused(read: Any) -> None:
    text = SMALL.replace("[defaults]", f"seeds = {list(range(1000))}\n[defaults]".replace(", ", ",\n"), 1)
    trades = ",\n".join(f'{{ name = "trades", beta = {n} }}' for n in range(1, 101))
    text = text.replace('    "natural",\n', f"{trades},\n")
    assert any("cells in profile" in problem.message for problem in problems_of(read, text))


# Files -------------------------------------------------------------------------------------------------------------


def file_problem(registry: Registry, path: Path | str) -> Problem:
    with pytest.raises(SuiteError) as caught:
        read_suite(path, registry)
    (problem,) = caught.value.problems
    return problem


def test_missing_file_folder_and_impossible_path_are_reported(registry: Registry, tmp_path: Path) -> None:
    assert "no such file" in file_problem(registry, tmp_path / "absent.toml").message
    assert "not a file" in file_problem(registry, tmp_path).message
    assert file_problem(registry, "null\0.toml")
    assert file_problem(registry, "x" * 5000 + ".toml")


def test_device_and_pipe_are_not_read(registry: Registry, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    assert "not a file" in file_problem(registry, tmp_path / "pipe.toml").message
    assert "not a file" in file_problem(registry, "/dev/zero").message


@pytest.mark.parametrize(
    ("content", "message", "line"),
    [
        (b"a = 1\nb = \n", "not TOML", 2),
        (b"a = 1\nb = '\xff'\n", "not UTF-8", 2),
        (b"# " + b"x" * (1 << 20), "larger than", None),
        (b"\n" + b"a." * 6000 + b"a = 1\n", "characters", 2),
        (b"a = " + b"[" * 5000, "nested too deeply", None),
        (b"a = " + b"9" * 5000, "not TOML", None),
        (b"\x80\x04\x95cposix\nsystem\n.", "not UTF-8", 1),
    ],
)
def test_file_that_is_no_suite_is_reported(
    registry: Registry, tmp_path: Path, content: bytes, message: str, line: int | None
) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    problem = file_problem(registry, path)
    assert message in problem.message
    assert problem.line == line


def test_byte_order_mark_is_no_mistake(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert read_suite(path, registry).name == "small"


# Hostile input -----------------------------------------------------------------------------------------------------

WORDS = [
    "at",
    "trades",
    "experiments",
    "recipe",
    "threat",
    "l2",
    "quick",
    "pgd-10",
    "name",
    "[",
    "]]",
    '"',
    "=",
    "\n",
    "{",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_text_gives_a_suite_or_a_clean_error(registry: Registry, data: st.DataObject) -> None:
    text = SMALL
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from([*WORDS, "-1", "1e999", "true", "\x00"])) + text[stop:]
    with contextlib.suppress(BenchbenchError):  # anything else would be a bug
        assert suite_from_table(parse(text, Path("fuzz.toml")), registry).profiles


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_tables_give_a_suite_or_a_clean_error(registry: Registry, data: st.DataObject) -> None:
    table = copy.deepcopy(parse(read_text(SUITES / "smoke.toml"), Path("smoke.toml")))
    table["experiments"].append(copy.deepcopy(parse(SMALL, Path("small.toml"))["experiments"][0]))
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = table
        while True:
            keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys)) if keys else "new"
            if keys and isinstance(place[key], (dict, list)) and data.draw(st.booleans()):
                place = place[key]
                continue
            break
        if isinstance(place, list) and not keys:
            continue
        place[key] = data.draw(VALUES)
    with contextlib.suppress(BenchbenchError):  # anything else would be a bug
        assert suite_from_table(table, registry).profiles


def test_label_smoothing_is_refused_for_defenses_that_do_not_offer_it(read: Any) -> None:
    text = SMALL.replace("epochs = 9", "epochs = 9, label_smoothing = 0.1")
    read(text)
    problems = problems_of(read, text.replace('    "natural",\n', '    "natural", "gr", "llr",\n'))
    assert {problem.location for problem in problems} == {"experiments[0].recipe.label_smoothing"}
    assert {word for problem in problems for word in ("'gr'", "'llr'", "'at'") if word in problem.message} == {
        "'gr'",
        "'llr'",
    }


def test_method_that_fits_refuses_what_only_the_training_loop_does(read: Any) -> None:
    text = SMALL.replace('    "natural",\n', '    "distance",\n').replace(
        'defenses = ["natural", "at"]', 'defenses = ["at"]'
    )
    for field in ("validation = 9", 'weight_averaging = "ema"'):
        problems = problems_of(read, text.replace("epochs = 9", f"epochs = 9, {field}"))
        assert {problem.location for problem in problems} == {f"experiments[0].recipe.{field.split()[0]}"}
        assert "'distance', which fits without the training loop" in problems[0].message
