"""Findings in a suite: what is read, and that ill-formed ones are refused with line and nearest name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benchbench.errors import Problem, SuiteError
from benchbench.registry import load_registry
from benchbench.suite import Suite, read_suite
from benchbench.suite.statements import MAXIMUM_FINDINGS

REGISTRY = load_registry()
SUITE = """\
name = "small"
protocol = "small-1"

[[experiments]]
name = "one"
dataset = { name = "digits", scale = 2 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = ["natural", "at", { name = "trades", beta = 3 }]
attacks = ["pgd-10", "mt-20"]
metrics = ["accuracy"]
threat = { epsilon = 0.1 }
recipe = { learning_rate = 1e-2, epochs = 1 }

"""
FINDING = """\
[[findings]]
name = "robust-is-smoother"
statement = "TRADES is smoother than natural training."
place = "section 5"
measures = ["test_lipschitz"]
extras = ["test_lipschitz_released"]
ratio = true
above = 0
where = { attack = { name = "pgd-10" }, dataset = "digits", n_train = 100 }
groups = [
    { defense = { name = "trades", beta = 3 } },
    { defense = "natural" },
]
"""


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read_text(findings: str) -> Suite:
        path = tmp_path / "suite.toml"
        path.write_text(SUITE + findings, encoding="utf-8")
        return read_suite(path, REGISTRY)

    return read_text


def problems(read: Any, findings: str) -> list[Problem]:
    with pytest.raises(SuiteError) as caught:
        read(findings)
    return list(caught.value.problems)


def line_of(findings: str, fragment: str) -> int:
    text = SUITE + findings
    return text[: text.index(fragment)].count("\n") + 1


def test_finding_is_read_with_its_components_resolved(read: Any) -> None:
    (finding,) = read(FINDING).findings
    assert (finding.name, finding.place, finding.ratio) == ("robust-is-smoother", "section 5", True)
    assert finding.where == {"attack": ({"name": "pgd-10"},), "dataset": ({"name": "digits"},), "n_train": (100,)}
    assert finding.groups == ({"defense": ({"name": "trades", "beta": 3.0},)}, {"defense": ({"name": "natural"},)})
    assert finding.bounds == (0.0, math.inf)


def test_suite_without_findings_has_none(read: Any) -> None:
    assert read("").findings == ()


def test_findings_about_data_need_no_rows(read: Any) -> None:
    text = '[[findings]]\nname = "a"\nstatement = "b"\n'
    apart = read(text + 'exceeds = "two-epsilon"\n').findings[0]
    assert (apart.exceeds, apart.bounds) == ("two-epsilon", (0.0, math.inf))
    theorem = read(text + 'dataset = { name = "spiral", start = 1 }\n').findings[0]
    assert (theorem.dataset.name, theorem.dataset.options["start"]) == ("spiral", 1.0)


@pytest.mark.parametrize(
    ("change", "to", "where", "message", "hint"),
    [
        ('name = "robust-is-smoother"\n', "", "name", "required option is missing", "a text"),
        ('statement = "TRADES', 'statment = "TRADES', "statment", "unknown option", "'statement'"),
        ("groups = [", "group = [", "group", "unknown option", "'groups'"),
        ("where = {", "wher = {", "wher", "unknown option", "'where'"),
        ("above = 0", 'above = "zero"', "above", "expected a number, got 'zero'", ""),
        ("above = 0\n", "", "above", "missing", "above = 0"),
        ("ratio = true", "ratio = 1", "ratio", "expected true or false", ""),
        (
            '["test_lipschitz"]',
            '["test_lipshitz"]',
            "measures",
            "no measure is named 'test_lipshitz'",
            "'test_lipschitz'",
        ),
        ('["test_lipschitz"]', '"test_lipschitz"', "measures", "expected a list", ""),
        ('attack = { name = "pgd-10" }, ', "", "where", "missing: attack", "name one"),
        ('"pgd-10" }', '"pgd-1" }', "where.attack", "unknown attack 'pgd-1'", "'pgd-10'"),
        ('{ name = "pgd-10" }', '"pgd"', "where.attack", "no experiment has the attack 'pgd'", "'pgd-10'"),
        ('dataset = "digits"', 'dateset = "digits"', "where.dateset", "unknown column", "'dataset'"),
        ('dataset = "digits"', "dataset = 3", "where.dataset", "expected a name", ""),
        ('dataset = "digits"', 'dataset = { name = "digits", scale = 2 }', "where.dataset.scale", "do not show", ""),
        ("n_train = 100", 'n_train = "all"', "where.n_train", "expected an integer", ""),
        ("beta = 3 } },\n    {", "betta = 3 } },\n    {", "groups[0].defense.betta", "unknown option", "'beta'"),
        ('"natural" },\n]', '"naturel" },\n]', "groups[1].defense", "unknown defense 'naturel'", "'natural'"),
        ("groups = [", 'option = "beta"\ngroups = [', "option", "groups and option exclude each other", ""),
        ("where = {", "where = 3 #", "where", "expected a table", ""),
    ],
)
def test_wrong_entry_is_refused_with_line_and_nearest_name(
    read: Any, change: str, to: str, where: str, message: str, hint: str
) -> None:
    assert change in FINDING
    text = FINDING.replace(change, to, 1)
    found = [one for one in problems(read, text) if one.location == f"findings[0].{where}"]
    assert len(found) == 1
    assert message in found[0].message
    assert hint in found[0].hint
    last = where.rpartition(".")[2].partition("[")[0]
    assert found[0].line in {
        line_of(text, fragment)
        for fragment in ("[[findings]]", to or "[[findings]]", f"{last} ", "groups", "where = ")
        if fragment in text
    }


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ('option = "bta"\n', "option", "'beta'"),
        ('against = "adv_test_acuracy"\n', "measures", "'adv_test_accuracy'"),
        ('minus = "gapp"\n', "measures", "'gap'"),
    ],
)
def test_wrong_comparison_is_refused_with_the_nearest_name(read: Any, text: str, where: str, hint: str) -> None:
    start = FINDING.partition("groups")[0]
    (found,) = problems(read, start + text)
    assert found.location == f"findings[0].{where}"
    assert hint in found.hint


def test_keys_that_a_finding_about_data_does_not_use_are_refused(read: Any) -> None:
    (found,) = problems(read, '[[findings]]\nname = "a"\nstatement = "b"\nexceeds = "two-epsilon"\nratio = true\n')
    assert (found.location, found.line) == ("findings[0].ratio", line_of("", "") + SUITE.count("\n") + 4)


def test_measure_is_needed(read: Any) -> None:
    text = FINDING.replace('measures = ["test_lipschitz"]\nextras = ["test_lipschitz_released"]\n', "")
    (found,) = problems(read, text)
    assert (found.location, found.message) == ("findings[0].measures", "missing")


def test_equal_names_and_endless_lists_are_refused(read: Any) -> None:
    (found,) = problems(read, FINDING + FINDING)
    assert found.location == "findings[1].name"
    assert "another finding is named" in found.message
    (many,) = problems(read, "[[findings]]\n" * (MAXIMUM_FINDINGS + 1))
    assert many.message == f"more than {MAXIMUM_FINDINGS} findings"


@pytest.mark.parametrize("text", ["findings = 3\n", 'findings = ["a"]\n', "[findings]\nname = 1\n"])
def test_findings_that_are_no_tables_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "suite.toml"
    head, _, rest = SUITE.partition("\n\n")
    path.write_text(f"{head}\n{rest}\n{text}" if text.startswith("[") else f"{head}\n{text}\n{rest}", encoding="utf-8")
    with pytest.raises(SuiteError, match="findings"):
        read_suite(path, REGISTRY)
