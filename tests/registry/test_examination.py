"""`plugins doctor` finds what is wrong with a plugin, and says what to do about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from benchbench.cli import invoke
from benchbench.contract import API_VERSION, Capabilities, Offer, OptionError, hookimpl
from benchbench.registry import REMEDIES, PluginProblem, examine, load_registry
from benchbench.registry.discovery import Cause


class Shift:
    def perturb(self, *arguments: Any, **named: Any) -> Any:
        return arguments


def offer(factory: Any = Shift, **more: Any) -> Offer:
    return Offer(name="sly", summary="A toy.", factory=factory, **more)


def problems(hook: str, *offers: Offer, **attributes: Any) -> list[PluginProblem]:
    module = types.ModuleType("toy")
    setattr(module, hook, hookimpl(lambda: offers))
    for name, value in attributes.items():
        setattr(module, name, value)
    found = examine(load_registry(extra_plugins=[module]))
    return [problem for problem in found if problem.distribution == "toy"]


def attack_problem(*offers: Offer, **attributes: Any) -> PluginProblem:
    (problem,) = problems("benchbench_attacks", *offers, **attributes)
    return problem


def untyped(*, level=3):  # type: ignore[no-untyped-def]
    return Shift()


def refusing(*, level: int = 3) -> Shift:
    raise OptionError("level must be above 5")


def raising() -> Shift:
    raise ZeroDivisionError("oh")


def importing() -> Shift:
    import nothing_like_this  # type: ignore[import-not-found]  # noqa: F401

    return Shift()


def something_else() -> Any:
    return {}


def requiring(*, level: int) -> Shift:
    raise AssertionError("not to be called without its option")


def test_healthy_plugin_has_no_problem() -> None:
    assert problems("benchbench_attacks", offer()) == []
    assert problems("benchbench_attacks", offer(factory=requiring)) == []


@pytest.mark.parametrize(
    ("factory", "cause", "message"),
    [
        ("no_such_module:Thing", "import", "No module named 'no_such_module'"),
        (f"{__name__}:Nothing", "import", "has no attribute 'Nothing'"),
        (importing, "import", r"nothing_like_this.*test_examination.py, line \d+"),
        (untyped, "options", "'level' has no type"),
        (refusing, "product", "level must be above 5"),
        (raising, "product", r"ZeroDivisionError: oh \(.*test_examination.py, line \d+"),
        (something_else, "product", "made a dict, expected: Attack, an object with a method perturb"),
    ],
)
def test_broken_factory_is_explained(factory: Any, cause: str, message: str) -> None:
    problem = attack_problem(offer(factory=factory))
    assert problem.cause == cause
    assert re.search(message, problem.error), problem.error


def test_capability_that_is_missing_is_explained() -> None:
    none = attack_problem(offer(capabilities=Capabilities(norms=())))
    assert (none.cause, "no norm" in none.error) == ("capability", True)
    absent = attack_problem(offer(capabilities=Capabilities(requires={"no_such_module": "pip install it"})))
    assert absent.error == "attack 'sly' needs the module no_such_module, which is not installed: pip install it"


def test_newer_interface_is_a_problem_that_names_both_versions_and_offers_nothing() -> None:
    problem = attack_problem(offer(), BENCHBENCH_API=API_VERSION + 1)
    assert problem.cause == "api"
    assert f"version {API_VERSION + 1} of the plugin interface" in problem.error
    assert f"this benchbench has version {API_VERSION}" in problem.error


@pytest.mark.parametrize(
    ("version", "expected"), [(0, "supports 1 to"), ("1", "must be an integer"), (True, "integer")]
)
def test_unsupported_interface_is_a_problem(version: Any, expected: str) -> None:
    problem = attack_problem(offer(), BENCHBENCH_API=version)
    assert (problem.cause, expected in problem.error) == ("api", True)


def test_current_interface_may_be_stated() -> None:
    assert problems("benchbench_attacks", offer(), BENCHBENCH_API=API_VERSION) == []


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: [object()], "offer"),
        (lambda: 3, "hook"),
        (lambda: 1 // 0, "hook"),
    ],
)
def test_broken_hook_is_explained(make: Callable[[], Any], cause: str) -> None:
    module = types.ModuleType("toy")
    module.benchbench_attacks = hookimpl(make)  # type: ignore[attr-defined]
    (problem,) = [p for p in examine(load_registry(extra_plugins=[module])) if p.distribution == "toy"]
    assert problem.cause == cause


def test_family_is_examined_through_its_first_member() -> None:
    def member_made(*, member: str) -> Any:
        return Shift() if member == "b" else {}

    assert attack_problem(offer(factory=member_made, members=lambda: ["b", "a"])).cause == "product"
    assert problems("benchbench_attacks", offer(factory=member_made, members=lambda: ["b"])) == []
    assert "without members" in attack_problem(offer(factory=member_made, members=lambda: [])).error


def test_architecture_is_made_for_an_input_that_it_claims() -> None:
    def picky(*, input_shape: tuple[int, ...], classes: int) -> Any:
        if input_shape[0] != 1:
            raise OptionError("grey images only")
        return {}

    grey = offer(factory=picky, capabilities=Capabilities(channels=(1,)))
    (problem,) = problems("benchbench_architectures", grey)
    assert "expected: nn.Module" in problem.error
    assert problems("benchbench_architectures", offer(factory=picky)) == []  # it refuses, as it may


def test_every_cause_has_a_remedy() -> None:
    assert set(REMEDIES) == set(get_args(Cause))


def test_command_prints_problem_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy_doctored.py").write_text("x = 1\nimport nothing_like_this\n")
    info = tmp_path / "toy_doctored-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-doctored\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[benchbench]\ntoy = toy_doctored\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert invoke(["plugins", "doctor"]) == 1
    printed = capsys.readouterr().out
    assert "toy (from toy-doctored): ModuleNotFoundError" in printed
    assert "toy_doctored.py, line 2" in printed
    assert REMEDIES["import"] in printed
    assert invoke(["plugins", "doctor", "--json"]) == 1
    (problem,) = [p for p in json.loads(capsys.readouterr().out) if p["distribution"] == "toy-doctored"]
    assert problem["cause"] == "import"


def test_help_imports_no_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_loud.py").write_text("raise SystemExit('imported')\n")
    info = tmp_path / "toy_loud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-loud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[benchbench]\ntoy = toy_loud\n")
    program = (
        "import sys\nfrom benchbench.cli import invoke\ninvoke(['--help'])\ninvoke(['plugins', 'new', '--help'])\n"
        "print(sorted({'toy_loud', 'torch', 'numpy', 'benchbench.builtin'} & sys.modules.keys()), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert "Usage" in finished.stdout
    assert finished.stderr.strip() == "[]"
