"""``benchbench show``: options, revision, members, and a suite's grid."""

from __future__ import annotations

import re

from cli.conftest import Command


def test_show_tells_options_with_type_and_default(command: Command) -> None:
    answer = command("show", "defense", "trades")
    assert answer.status == 0
    assert "beta        float  6.0" in answer.out
    options = command("show", "attack", "pgd-10", "--json").document["options"]
    assert "\ncapabilities: needs_gradients=True\n" in command("show", "attack", "pgd-10").out
    steps = next(option for option in options if option["name"] == "steps")
    assert steps == {"name": "steps", "type": "int", "default": 10, "required": False, "fixed": True}


def test_show_tells_a_revision_above_the_first(command: Command) -> None:
    assert ", revision 2\n" in command("show", "defense", "llr").out
    assert "revision" not in command("show", "defense", "gr").out
    assert command("show", "defense", "gr", "--json").document["revision"] == 1


def test_show_of_a_family_counts_its_members(command: Command) -> None:
    assert "resnet50" in command("show", "architecture", "timm", "--json").document["members"]


def test_show_finds_an_attack_of_a_family_by_its_own_name(command: Command) -> None:
    assert command("show", "attack", "fgsm").out.startswith("attack foolbox:FGSM: ")


def test_show_of_a_suite_tells_its_file_and_grid(command: Command) -> None:
    said = command("show", "suite", "closer-look").out
    assert "suites/closer-look.toml\n" in said
    assert re.search(r"\nmnist +mnist +linf 0.1 +cnn1, cnn2 +natural, gr, llr, at, rst, trades +pgd-10", said)
    assert re.search(r"\nsvhn +svhn +linf 0.031 +skipped: a network of this size takes days without a GPU\n", said)
