"""The text that says what a suite means reads as the same suite."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from extended_suites import BASE, HEAD, Read

from benchbench.errors import UnknownNameError
from benchbench.registry import Registry
from benchbench.suite import Suite, read_suite, suite_from_table
from benchbench.suite.explanation import carried_text, explain


def assert_equal_suites(first: Suite, second: Suite, profiles: tuple[str, ...]) -> None:
    """Equal but for how recipes are written."""
    assert second.profiles == profiles
    for profile in profiles:
        for one, other in zip(first.profile(profile), second.profile(profile), strict=True):
            assert dataclasses.replace(one, recipe_layers=()) == dataclasses.replace(other, recipe_layers=())
            for network in one.architectures:
                for defense in one.defenses:
                    assert one.recipe_for(network, defense) == other.recipe_for(network, defense)


@pytest.mark.parametrize("name", ["closer-look", "smoke"])
def test_explanation_of_a_builtin_suite_reads_as_the_same_suite(registry: Registry, name: str) -> None:
    suite = read_suite(name, registry)
    assert_equal_suites(suite, suite_from_table(tomllib.loads(explain(suite, registry)), registry), suite.profiles)


def test_explanation_of_one_profile_has_it_alone(read: Read, registry: Registry) -> None:
    change = (
        'summary = "\\u007f \\"quoted\\" \\\\"\n[[experiments]]\nname = "one"\nevaluation = [{}, { epsilon = 0.2 }]\n'
    )
    suite = read(HEAD + change)
    text = explain(suite, registry, "quick")
    again = suite_from_table(tomllib.loads(text), registry)
    assert_equal_suites(suite, again, ("quick",))
    assert (again.name, again.summary, again.seeds) == (suite.name, suite.summary, suite.seeds)
    assert "too large" in text
    with pytest.raises(UnknownNameError, match="profile"):
        explain(suite, registry, "quik")


def test_text_for_another_folder_needs_no_other_file(read: Read, registry: Registry, tmp_path: Path) -> None:
    suite = read(HEAD)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "copy.toml"
    copy.write_text(carried_text(suite, registry))
    assert_equal_suites(suite, read_suite(copy, registry), suite.profiles)
    plain = read_suite(tmp_path / "base.toml", registry)
    assert carried_text(plain, registry) == BASE
