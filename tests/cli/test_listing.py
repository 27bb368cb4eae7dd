"""``benchbench list``, and what installed plugins cost it, in CPU time, which a busy machine does not change much."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import Command

PLUGINS = 50
SECONDS = 0.2


def install(folder: Path, number: int) -> None:
    """Lay out one distribution with a plugin that offers one attack, as pip would."""
    (folder / f"toy_{number}.py").write_text(
        "from benchbench.contract import Offer, hookimpl\n"
        "@hookimpl\n"
        "def benchbench_attacks():\n"
        f"    return [Offer(name='toy-{number}', summary='A toy.', factory='toy_{number}:Toy')]\n"
    )
    info = folder / f"toy_{number}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toy-{number}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[benchbench]\ntoy_{number} = toy_{number}\n")


def list_attacks(packages: Path) -> tuple[float, int]:
    """CPU seconds of ``benchbench list attack`` with a folder of packages on the path, and how many toys it lists."""
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "benchbench", "list", "attack"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, sum(line.startswith("toy-") for line in listed.splitlines())


def test_fifty_installed_plugins_add_less_than_a_fifth_of_a_second_to_list(tmp_path: Path) -> None:
    bare, full = tmp_path / "bare", tmp_path / "full"
    for folder in (bare, full):
        folder.mkdir()
    for number in range(PLUGINS):
        install(full, number)
    assert list_attacks(full)[1] == PLUGINS  # writes the bytecode, too, as pip does
    assert list_attacks(bare)[1] == 0
    pairs = [(list_attacks(full)[0], list_attacks(bare)[0]) for _ in range(3)]  # a change of speed meets both of a pair
    added = statistics.median(loaded - alone for loaded, alone in pairs)
    alone = statistics.median(alone for _, alone in pairs)
    assert added < max(SECONDS, alone)  # a machine where the command alone takes longer than that is as much slower


KINDS = ("dataset", "architecture", "defense", "attack", "metric", "suite")


@pytest.mark.parametrize("kind", KINDS)
def test_list_names_what_is_registered(command: Command, kind: str) -> None:
    answer = command("list", f"{kind}s", "--json")
    assert answer.status == 0
    assert {entry["kind"] for entry in answer.document} == {kind}
    text = command("list", kind)
    assert text.status == 0
    assert all(entry["name"] in text.out for entry in answer.document)


def test_list_does_not_wrap_where_there_is_no_terminal(command: Command) -> None:
    answer = command("list", "defense")
    assert len(answer.out.splitlines()) == 1 + len(command("list", "defense", "--json").document)
