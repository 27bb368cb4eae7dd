"""With --json, standard output is one document, whatever plugins and their processes print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite
from sample_rows import make_row

from benchbench.leaderboard import write_leaderboard

LOUD = """
import os, subprocess, sys
print("python says hello")
os.write(1, b"the system says hello\\n")
subprocess.run([sys.executable, "-c", "print('a child says hello')"])

from torch import nn
from benchbench.contract import BatchLoss, Offer, hookimpl

class Loud:
    def loss(self, model, images, labels, *, threat, generator):
        print("training says hello")
        logits = model(images)
        return BatchLoss(loss=nn.functional.cross_entropy(logits, labels, reduction="sum"), logits=logits)

@hookimpl
def benchbench_defenses():
    print("a hook says hello")
    return [Offer(name="loud", summary="prints", factory=Loud)]
"""
HELLOS = ("python says", "the system says", "a child says", "a hook says")


@pytest.fixture
def loud(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds a plugin that prints when it is imported, called and used."""
    (tmp_path / "site" / "loud-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "loud.py").write_text(LOUD, encoding="utf-8")
    (tmp_path / "site" / "loud-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1\n")
    (tmp_path / "site" / "loud-1.dist-info" / "entry_points.txt").write_text("[benchbench]\nloud = loud\n")
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")]), *sys.path])
    return {**os.environ, "PYTHONPATH": path}


def run(loud: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchbench", *arguments]
    return subprocess.run(command, env=loud, capture_output=True, text=True, timeout=280, check=False)


def test_plugin_that_prints_on_import_leaves_the_document_whole(loud: dict[str, str]) -> None:
    finished = run(loud, "list", "defense", "--json")
    assert "loud" in {entry["name"] for entry in json.loads(finished.stdout)}
    assert all(hello in finished.stderr for hello in HELLOS)


@pytest.mark.exhaustive  # a whole run
def test_plugin_that_prints_while_it_trains_leaves_the_document_whole(
    loud: dict[str, str], write_suite: WriteSuite
) -> None:
    suite = str(write_suite(defenses=["loud"]))
    finished = run(loud, "run", "--suite", suite, "--json", "--quiet", "--jobs", "1")
    assert json.loads(finished.stdout)["finished"] == 1
    assert "training says hello" in finished.stderr


@pytest.mark.exhaustive  # a whole process
def test_without_json_a_plugin_prints_where_it_wants(loud: dict[str, str]) -> None:
    assert "python says hello" in run(loud, "list", "defense").stdout


def test_table_as_json_is_one_document(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = tmp_path / "board.parquet"
    write_leaderboard(board, [make_row(test_accuracy=0.5)])

    def loud_tables(*_: object, **__: object) -> list[object]:
        print("hello")
        return []

    monkeypatch.setattr("benchbench.reproduction.lookup.paper_tables", loud_tables)
    answer = command("table", board, "--format", "json")
    assert answer.document == []
    assert answer.err == "hello\nhello\n"


def test_standard_output_is_as_before_after_a_mistake(command: Command) -> None:
    before = sys.stdout
    assert command("show", "attack", "absent", "--json").status == 2
    assert command("list", "nothing", "--json", "--more").status == 2
    assert sys.stdout is before
    assert "pgd" in command("list", "attack").out
