"""``benchbench check``: a right suite is explained, a mistaken one refused with all its lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Command, WriteSuite


def test_check_accepts_a_right_suite(command: Command, write_suite: WriteSuite) -> None:
    suite = write_suite()
    assert "valid; suite tiny, profiles paper, quick" in command("check", suite).out
    assert command("check", suite, "--json").document == {"file": str(suite), "valid": True, "problems": []}


def test_check_explains_a_suite_as_one_that_can_be_read_again(
    command: Command, write_suite: WriteSuite, tmp_path: Path
) -> None:
    write_suite()
    (tmp_path / "more.toml").write_text('name = "more"\nprotocol = "more-1"\nextends = "tiny.toml"\nseeds = [0, 1]\n')
    answer = command("check", "more.toml", "--explain", "--profile", "quick")
    assert answer.status == 0
    (tmp_path / "resolved.toml").write_text(answer.out)
    again = command("check", "resolved.toml", "--explain")
    assert again.out == answer.out
    assert "seeds = [0, 1]" in again.out
    assert command("check", "more.toml", "--explain", "--json").document["explained"].count("[profiles.") == 2
    assert "did you mean 'quick'?" in command("check", "more.toml", "--explain", "--profile", "quik").err
    assert command("check", "more.toml", "--profile", "quick").status == 2


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"epsilon": -0.1},
            "line 15: experiments[0].threat.epsilon: epsilon must be a finite number of at least 0, got -0.1",
        ),
        ({"epsilon": "large"}, "experiments[0].threat.epsilon: expected a number, got 'large'"),
        ({"epochs": 1.5}, "experiments[0].recipe.epochs: expected an integer, got the number 1.5"),
        (
            {"defenses": ["tradse"]},
            "line 12: experiments[0].defenses[0]: unknown defense 'tradse' (did you mean 'trades'?)",
        ),
        ({"defenses": [{"name": "trades", "bta": 1.0}]}, "experiments[0].defenses[0].bta: unknown option"),
        ({"defenses": [{"name": "trades", "beta": -1.0}]}, "beta"),
        ({"attacks": ["pgd-11"]}, "did you mean 'pgd-10'"),
    ],
)
def test_mistaken_suite_is_refused_with_line_by_every_command(
    command: Command, write_suite: WriteSuite, entries: dict[str, Any], message: str
) -> None:
    suite = write_suite(**entries)
    answers = [command("check", suite), command("run", "--suite", suite), command("plan", "--suite", suite)]
    assert [answer.status for answer in answers] == [2, 2, 2]
    assert all(message in answer.err for answer in answers), answers[0].err
    assert not Path("leaderboards").exists()


def test_check_tells_all_problems_as_json(command: Command, write_suite: WriteSuite) -> None:
    answer = command("check", write_suite(epsilon=-1.0, defenses=["tradse"]), "--json")
    assert answer.status == 2
    assert answer.document["valid"] is False
    assert [problem["line"] for problem in answer.document["problems"]] == [12, 15]
    assert answer.document["problems"][0]["hint"] == "did you mean 'trades'?"


@pytest.mark.parametrize(
    "content", [b"\x80\x02binary\x00", b"x" * 3_000_000, b"name = ", b""], ids=["binary", "huge", "cut", "empty"]
)
def test_file_that_is_no_suite_is_reported(command: Command, tmp_path: Path, content: bytes) -> None:
    suite = tmp_path / "odd.toml"
    suite.write_bytes(content)
    answer = command("run", "--suite", suite)
    assert answer.status == 2
    assert "odd.toml: " in answer.err
    assert "Traceback" not in answer.err
