"""A plugin's exception is reported with the plugin's line."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import benchbench.contract
from benchbench.contract import hookimpl
from benchbench.errors import UnknownNameError
from benchbench.registry import load_registry
from benchbench.registry.blame import place_of, plugin_traceback, summarise_error

HERE = Path(__file__).name


def raised(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def broken_json() -> object:
    return json.loads("{")


@pytest.fixture
def folder_for_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder beside the host's own package, as site-packages is."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("benchbench_toy")]:
        del sys.modules[name]


def test_line_is_the_plugins_not_the_librarys_that_it_called() -> None:
    line = broken_json.__code__.co_firstlineno + 1
    assert summarise_error(raised(broken_json)).endswith(f"{HERE}, line {line})")


def test_error_without_a_line_of_a_plugin_names_none() -> None:
    error = raised(lambda: importlib.import_module("no_such_module_at_all"))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # of this test, which called
    assert summarise_error(error) == "ModuleNotFoundError: No module named 'no_such_module_at_all'"
    assert plugin_traceback(error) == ""


def test_traceback_begins_with_the_plugin() -> None:
    class Plugin:
        @hookimpl
        def benchbench_attacks(self) -> object:
            return broken_json()

    registry = load_registry(extra_plugins=[Plugin()])
    (problem,) = [problem for problem in registry.problems if problem.distribution == "Plugin"]
    assert "in benchbench_attacks" in problem.traceback.splitlines()[1]
    assert "pluggy" not in problem.traceback
    assert "discovery.py" not in problem.traceback
    assert problem.traceback.rstrip().splitlines()[-1].startswith("json.decoder.JSONDecodeError")


def test_package_whose_name_begins_like_the_hosts_is_a_plugin(
    folder_for_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder_for_packages / "benchbench").mkdir()
    (folder_for_packages / "benchbench_toy.py").write_text("def fail():\n    return 1 // 0\n")
    monkeypatch.setattr("benchbench.registry.blame._OTHERS", (f"{folder_for_packages}/benchbench/",))
    fail = importlib.import_module("benchbench_toy").fail
    assert "benchbench_toy.py, line 2)" in summarise_error(raised(fail))


def test_syntax_error_shows_the_line(folder_for_packages: Path) -> None:
    (folder_for_packages / "benchbench_toy_syntax.py").write_text("x = 1\ndef broken(:\n")
    error = raised(lambda: importlib.import_module("benchbench_toy_syntax"))
    assert summarise_error(error).endswith("benchbench_toy_syntax.py, line 2)")
    assert "def broken(:" in plugin_traceback(error)


def test_place_of_a_factory() -> None:
    assert f"{HERE}, line {broken_json.__code__.co_firstlineno})" in place_of(broken_json)
    assert place_of(dict) == ""


def test_provider_that_is_installed_and_broken_is_not_to_be_installed_again() -> None:
    class Plugin:
        __name__ = "benchbench-mart"
        BENCHBENCH_API = benchbench.contract.API_VERSION + 1

    with pytest.raises(UnknownNameError) as caught:
        load_registry(extra_plugins=[Plugin()]).get("defense", "mart")
    assert "benchbench-mart provides it, and has a problem" in caught.value.hint
    assert "pip install" not in caught.value.hint
