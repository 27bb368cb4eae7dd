"""Suites that extend others, layer by layer, and several radii and seeds."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from extended_suites import BASE, HEAD, Read

from benchbench.errors import SuiteError
from benchbench.registry import Registry
from benchbench.suite import Experiment, Suite, suite_from_table
from benchbench.suite.reading import MAXIMUM_EXTENDS


def named(suite: Suite, profile: str, name: str) -> Experiment:
    (found,) = [experiment for experiment in suite.profile(profile) if experiment.name == name]
    return found


def problems(read: Read, text: str, **files: str) -> list[str]:
    with pytest.raises(SuiteError) as caught:
        read(text, **files)
    return [str(problem) for problem in caught.value.problems]


def test_suite_without_changes_has_the_experiments_of_the_other_under_its_own_name(
    read: Read, registry: Registry
) -> None:
    suite, base = read(HEAD), suite_from_table(tomllib.loads(BASE), registry)
    assert suite.experiments == base.experiments
    assert (suite.name, suite.protocol, suite.paper, suite.seeds) == ("mine", "mine-1", "A paper", (4,))
    assert [Path(source).name for source in suite.extends] == ["base.toml"]


def test_changes_win_over_all_that_the_other_suite_says_its_profiles_too(read: Read) -> None:
    suite = read(
        HEAD
        + '[defaults]\nn_test = 5\n[[experiments]]\nname = "one"\ndefenses = ["natural"]\nrecipe = { learning_rate = 0.5 }\n'
        + "n_train = 7\n[experiments.profiles.quick]\nrecipe = { epochs = 3 }\n"
    )
    paper, quick = (named(suite, profile, "one") for profile in ("paper", "quick"))
    (network,), (natural,) = quick.architectures, quick.defenses
    assert natural.name == "natural"  # base's quick profile has "at"
    assert (quick.n_train, quick.n_test, quick.skip) == (7, 5, "")
    assert (quick.recipe_for(network, natural).learning_rate, quick.recipe_for(network, natural).epochs) == (0.5, 3)
    assert (paper.recipe_for(network, natural).learning_rate, paper.recipe_for(network, natural).epochs) == (0.5, 9)


def test_experiments_are_dropped_kept_and_taken_in_again_by_skip(read: Read) -> None:
    suite = read(HEAD + '[defaults]\nskip = "not mine"\n[[experiments]]\nname = "two"\nskip = ""\n')
    assert [experiment.skip for experiment in suite.profile("paper")] == ["not mine", ""]
    assert [experiment.skip for experiment in suite.profile("quick")] == ["not mine", ""]


def test_added_experiment_has_the_defaults_and_profiles_of_the_other_suite_but_not_their_skip(read: Read) -> None:
    suite = read(HEAD + '[[experiments]]\nname = "three"\ndataset = "digits"\ndefenses = ["natural"]\n')
    assert [one.name for one in suite.profile("paper")] == ["one", "two", "three"]
    added = named(suite, "quick", "three")
    assert (added.n_train, added.skip, added.threat.epsilon, added.seeds) == (100, "", 0.1, (4,))


def test_added_experiment_can_begin_as_another_one(read: Read) -> None:
    suite = read(
        HEAD
        + '[[experiments]]\nname = "one"\nn_test = 3\n'
        + '[[experiments]]\nname = "wide"\nextends = "one"\nthreat = { epsilon = 0.3 }\n'
    )
    like, own = named(suite, "quick", "one"), named(suite, "quick", "wide")
    assert own == dataclasses.replace(like, name="wide", threat=own.threat, evaluation=own.evaluation)
    assert (own.threat.epsilon, own.n_test, [one.name for one in own.defenses]) == (0.3, 3, ["at"])


def test_added_profile_lies_on_the_defaults_and_experiments_of_the_other_suite(read: Read) -> None:
    suite = read(
        HEAD + '[profiles.tiny]\nn_train = 9\n[[experiments]]\nname = "one"\n[experiments.profiles.tiny]\nn_test = 8\n'
    )
    assert suite.profiles == ("paper", "quick", "tiny")
    tiny = named(suite, "tiny", "one")
    assert (tiny.n_train, tiny.n_test, len(tiny.defenses)) == (9, 8, 2)


def test_seeds_of_an_extending_suite_replace_the_others_and_experiments_may_have_their_own(read: Read) -> None:
    suite = read(HEAD + 'seeds = [0, 1, 2]\n[[experiments]]\nname = "two"\nseeds = [7]\n')
    assert [one.seeds for one in suite.profile("paper")] == [(0, 1, 2), (7,)]


def test_suites_extend_one_another_in_a_row(read: Read) -> None:
    middle = 'name = "middle"\nprotocol = "middle-1"\nextends = "base.toml"\n[defaults]\nn_test = 5\nn_train = 6\n'
    suite = read(HEAD.replace("base.toml", "middle.toml") + "[defaults]\nn_train = 7\n", middle=middle)
    assert [Path(source).name for source in suite.extends] == ["middle.toml", "base.toml"]
    assert (named(suite, "paper", "one").n_test, named(suite, "quick", "one").n_train) == (5, 7)


# Mistakes ----------------------------------------------------------------------------------------------------------


def test_mistakes_of_changes_are_reported_together_with_their_lines(read: Read) -> None:
    text = HEAD + 'sedes = [1]\n[[experiments]]\nname = "one"\nn_test = 0\n[experiments.profiles.quik]\nn_test = 1\n'
    text += '[[experiments]]\nname = "oen"\n[[experiments]]\nname = "x"\nextends = "tow"\n'
    found = problems(read, text)
    assert [problem.partition(" ")[2].partition(":")[0] for problem in found] == ["4", "7", "8", "10", "14"]
    assert "did you mean 'seeds'?" in found[0]
    assert "did you mean 'quick'?" in found[2]
    assert "experiments[1].dataset: missing" in found[3]
    assert "did you mean 'two'?" in found[4]


@pytest.mark.parametrize(
    ("other", "files", "message"),
    [
        ('"closer-loook"', {}, "did you mean 'closer-look'?"),
        ('"there-is-none.toml"', {}, "there is no such file"),
        ("3", {}, "expected a text"),
        ('"mine.toml"', {}, "a circle"),
        ('"next.toml"', {"next": HEAD.replace("base", "mine")}, "a circle"),
        ('"next.toml"', {"next": "name = 3 3"}, "next.toml: line 1: file: not TOML"),
        ('"next.toml"', {"next": BASE.replace('"at"', '"att"')}, "experiments[0].defenses[1]: unknown defense 'att'"),
    ],
)
def test_suite_that_cannot_be_extended_is_reported_with_the_other_mistakes(
    read: Read, other: str, files: dict[str, str], message: str
) -> None:
    text = HEAD.replace('"base.toml"', other) + '[[experiments]]\nname = "one"\nn_test = -1\n'
    found = problems(read, text, **files)
    assert found[0].startswith("line 3: extends: ")
    assert any(message in problem for problem in found)
    assert found[-1].startswith("line 6: experiments[0].n_test: expected an integer of at least 1")


def test_too_many_suites_above_one_are_refused(read: Read) -> None:
    def one(number: int) -> str:
        return f'name = "n{number}"\nprotocol = "n-1"\nextends = "n{number - 1}.toml"\n'

    chain = {f"n{number}": one(number) for number in range(2, MAXIMUM_EXTENDS + 2)}
    first = {"n1": BASE}
    top = MAXIMUM_EXTENDS
    assert len(read(HEAD.replace("base", f"n{top}"), **first, **chain).extends) == MAXIMUM_EXTENDS
    assert "more than 8 suites" in problems(read, HEAD.replace("base", f"n{top + 1}"), **first, **chain)[0]


def test_change_that_no_longer_fits_the_other_suite_names_the_experiment(read: Read) -> None:
    (problem,) = problems(
        read,
        HEAD
        + '[defaults]\nthreat = { norm = "l2", epsilon = 1 }\nmetrics = ["lipschitz"]\nskip = "x"\n'
        + '[[experiments]]\nname = "two"\nmetrics = ["accuracy"]\n',
    )
    assert "line 3: extends.one.metrics: metric 'lipschitz' does not work for the norm l2" in problem


def test_extended_experiment_of_the_other_suite_cannot_begin_as_another_one(read: Read) -> None:
    (problem,) = problems(read, HEAD + '[[experiments]]\nname = "one"\nextends = "two"\n')
    assert problem.startswith("line 6: experiments[0].extends: the suite above has 'one'")


# Several radii -----------------------------------------------------------------------------------------------------


def test_evaluation_takes_what_it_leaves_out_from_the_threat_of_training(read: Read) -> None:
    change = '[[experiments]]\nname = "one"\nthreat = { norm = "l2", epsilon = 2 }\n'
    change += 'evaluation = [{}, { epsilon = 2 }, { epsilon = "1/4" }, { norm = "linf", epsilon = 0.5 }]\n'
    one = named(read(HEAD + change), "paper", "one")
    assert (one.threat.norm, one.threat.epsilon) == ("l2", 2.0)
    assert [(threat.norm, threat.epsilon) for threat in one.evaluation] == [("l2", 2.0), ("l2", 0.25), ("linf", 0.5)]
    assert named(read(HEAD), "paper", "one").evaluation == (named(read(HEAD), "paper", "one").threat,)


@pytest.mark.parametrize(
    ("evaluation", "place", "message"),
    [
        ("[]", "evaluation", "at least one threat"),
        ("0.1", "evaluation", "expected a list"),
        ("[{ epsilon = 0.2 }, { eps = 0.1 }]", "evaluation[1].eps", "did you mean 'epsilon'?"),
        ("[{ epsilon = 0 }]", "evaluation[0].epsilon", "must be above 0"),
        ('[{ norm = "l2" }]', "evaluation[0]", "give both norm and epsilon"),
    ],
)
def test_wrong_evaluation_is_reported_at_its_entry(read: Read, evaluation: str, place: str, message: str) -> None:
    found = problems(read, HEAD + f'[[experiments]]\nname = "one"\nevaluation = {evaluation}\n')
    assert found[0].startswith(f"line 6: experiments[0].{place}: ")
    assert message in found[0]


def test_radius_beyond_the_box_of_images_is_refused_in_evaluation_too(read: Read) -> None:
    (problem,) = problems(read, HEAD + '[[experiments]]\nname = "one"\nevaluation = [{ epsilon = 8 }]\n')
    assert problem.startswith("line 6: experiments[0].evaluation[0].epsilon: epsilon 8 is beyond the box")
