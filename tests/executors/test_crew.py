"""Who carries out a run, and on what it is planned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from run_processes import write_suite

import benchbench
from benchbench.contract import Capabilities, Host, Offer, Work, hookimpl
from benchbench.errors import ContractError, UsageError
from benchbench.executors.crew import choose_crew, planning_device
from benchbench.executors.local import LocalExecutor
from benchbench.planning.preparing import Request
from benchbench.registry import Registry, load_registry


class Plugin:
    """Executors that lack something."""

    @hookimpl
    def benchbench_executors(self) -> list[Offer]:
        needs = Capabilities(requires={"no_such_module": "pip install no-such-module"})
        return [
            Offer(name="lacking", summary="Needs something", factory=Idle, capabilities=needs),
            Offer(name="no-executor", summary="Makes something else", factory=Nothing),
        ]


class Idle:
    def execute(self, work: Work, host: Host) -> None:
        """Do nothing."""


class Nothing:
    """No executor."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(extra_plugins=[Plugin()])


def test_one_process_is_enough_unless_more_is_asked_for(registry: Registry) -> None:
    assert choose_crew(None, None, registry) is None
    assert choose_crew(None, 1, registry) is None
    crew = choose_crew(None, 3, registry)
    assert crew is not None
    assert (crew.name, crew.workers, crew.elsewhere) == ("local", 3, False)
    assert isinstance(crew.executor, LocalExecutor)


def test_executor_is_made_with_its_options(registry: Registry) -> None:
    crew = choose_crew({"name": "slurm", "partition": "gpu"}, None, registry)
    assert crew is not None
    assert (crew.name, crew.workers, crew.elsewhere) == ("slurm", None, True)


def test_missing_module_is_told_with_the_command_that_installs_it(registry: Registry) -> None:
    with pytest.raises(UsageError, match="'lacking' needs no_such_module") as caught:
        choose_crew("lacking", None, registry)
    assert caught.value.hint == "pip install no-such-module"


def test_factory_that_makes_something_else_is_refused(registry: Registry) -> None:
    with pytest.raises(ContractError, match="made a Nothing, expected: Executor"):
        choose_crew("no-executor", None, registry)


def test_login_node_without_the_device_of_the_workers_plans_on_the_cpu(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    elsewhere, here = choose_crew("slurm", None, registry), choose_crew("local", None, registry)
    asked = Request(suite="s", device="cuda")
    assert planning_device(asked, elsewhere) == torch.device("cpu")
    assert planning_device(asked, here) is None
    assert planning_device(Request(suite="s"), elsewhere) is None


def test_one_gpu_by_number_is_no_device_for_workers(tmp_path: Path) -> None:
    write_suite(tmp_path)
    with pytest.raises(UsageError, match="--device cuda:1 is one GPU, and workers have one each") as caught:
        benchbench.run(str(tmp_path / "tiny.toml"), device="cuda:1", runs=tmp_path / "runs", jobs=2)
    assert "CUDA_VISIBLE_DEVICES" in caught.value.hint
