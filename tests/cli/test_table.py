"""``benchbench table``: formats, profiles, published numbers."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.conftest import Command, WriteSuite
from sample_rows import make_row
from torch import Tensor, nn

from benchbench.contract import BatchLoss, KeyedGenerator, Offer, Threat, hookimpl
from benchbench.errors import UsageError
from benchbench.leaderboard import write_leaderboard
from benchbench.reproduction.lookup import table


@pytest.fixture
def measured(command: Command, write_suite: WriteSuite) -> None:
    """A leaderboard of two methods."""
    assert command("run", "--suite", write_suite(defenses=["natural", {"name": "trades", "beta": 3.0}])).status == 0


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("output", "sign"),
    [
        ("rich", "tiny: quick profile\n"),
        ("markdown", "| Natural "),
        ("latex", "\\begin{tabular}"),
        ("csv", "profile,dataset,"),
        ("html", "<table"),
    ],
)
def test_every_format_names_both_methods(command: Command, output: str, sign: str) -> None:
    answer = command("table", "tiny", "--format", output)
    assert answer.status == 0
    assert sign in answer.out
    assert "Natural" in answer.out
    assert "TRADES" in answer.out
    assert answer.err == ""


@pytest.mark.usefixtures("measured")
def test_json_is_one_document(command: Command) -> None:
    answer = command("table", "tiny", "--format", "json")
    assert isinstance(answer.document, list)
    assert "TRADES (beta=3)" in json.dumps(answer.document)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("file", ["leaderboards/tiny.parquet", "tiny.toml"])
def test_files_of_leaderboard_and_suite_can_be_named(command: Command, tmp_path: Path, file: str) -> None:
    (tmp_path / "tiny.toml").rename(tmp_path / "renamed.toml")  # the file's name is not the suite's
    assert "Natural" in command("table", file.replace("tiny.toml", "renamed.toml")).out


def test_suite_file_without_rows_is_told_how_to_get_them(command: Command, write_suite: WriteSuite) -> None:
    answer = command("table", write_suite())
    assert (answer.status, answer.out) == (2, "")
    assert "there is no leaderboard leaderboards/tiny.parquet" in answer.err
    assert "tiny.toml writes one" in answer.err
    assert "there is no such file" in command("table", "missing.toml").err


def test_file_without_rows_says_so_and_does_not_call_itself_missing(command: Command, tmp_path: Path) -> None:
    write_leaderboard(tmp_path / "none.parquet", [])
    answer = command("table", str(tmp_path / "none.parquet"))
    assert answer.status == 2
    assert "no row that can be shown" in answer.err
    assert "there is no leaderboard" not in answer.err


@pytest.mark.usefixtures("measured")
def test_unknown_profile_is_reported_with_the_known_ones(command: Command) -> None:
    answer = command("table", "tiny", "--profile", "quik")
    assert answer.status == 2
    assert "no row has the profile 'quik'\n  did you mean 'quick'?" in answer.err


@pytest.mark.usefixtures("measured")
def test_suite_without_published_numbers_says_so_for_a_table_of_the_paper(command: Command) -> None:
    answer = command("table", "tiny", "--table", "2")
    assert answer.status == 2
    assert "no published numbers" in answer.err


def test_published_numbers_are_there_without_any_run(command: Command) -> None:
    answer = command("table", "closer-look", "--published")
    assert answer.status == 0
    assert "NeurIPS 2020, table 2" in answer.out


def test_one_table_of_the_paper(command: Command) -> None:
    answer = command("table", "closer-look", "--table", "2")
    assert answer.status == 0
    assert "TRADES (beta=6)" in answer.out
    assert "svhn" not in answer.out


def test_lines_are_not_wrapped_where_there_is_no_terminal(command: Command) -> None:
    lines = command("table", "closer-look", "--published").out.splitlines()
    headings = [line for line in lines if line.startswith("training method ")]
    assert headings
    assert all(heading.endswith("adv. gap (%)") for heading in headings)
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("number", ["2", "5", "8"])
def test_narrow_terminal_breaks_no_number_and_shows_every_column(
    command: Command, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    piped = command("table", "closer-look", "--table", number).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", command("table", "closer-look", "--table", number).out)
    assert max(len(line) for line in narrow.splitlines()) <= 60
    assert set(re.findall(r"\d+\.\d+", piped)) == set(re.findall(r"\d+\.\d+", narrow))
    assert "classes" in narrow or "gap (%)" in narrow or "mean" in narrow


def test_extra_value_of_a_metric_stands_beside_the_attacks(command: Command, tmp_path: Path) -> None:
    certified = {"smoothed_test_accuracy_l2_0_5": 0.515625, "certified_test_radius_l2": 0.375}
    rows = [
        make_row(cell_id="a" * 16, adv_test_accuracy=0.625, extra=certified),
        make_row(cell_id="b" * 16, seed=1, adv_test_accuracy=0.5, extra={}),
    ]
    write_leaderboard(tmp_path / "board.parquet", rows)
    options = ["--each-seed", *(text for name in certified for text in ("--extra", name))]
    answer = command("table", str(tmp_path / "board.parquet"), "--format", "json", *options)
    (table,) = answer.document
    *_, accuracy, radius = table["columns"]
    assert (accuracy["key"], accuracy["unit"]) == ("smoothed_test_accuracy_l2_0_5", "%")
    assert (radius["label"], radius["unit"]) == ("certified test radius l2", "")
    shown = command("table", str(tmp_path / "board.parquet"), "--format", "csv", *options).out
    first, second = csv.DictReader(io.StringIO(shown.strip()))
    assert [first[name] for name in ("adv_test_accuracy", *certified)] == ["0.625", "0.515625", "0.375"]
    assert [second[name] for name in ("adv_test_accuracy", *certified)] == ["0.5", "", ""]
    for output in ("rich", "markdown", "html"):
        out = command("table", str(tmp_path / "board.parquet"), "--format", output, *options).out
        assert "51.56" in out
        assert "62.50" in out


def test_extra_value_that_no_row_has_is_refused(command: Command, tmp_path: Path) -> None:
    write_leaderboard(tmp_path / "board.parquet", [make_row(extra={"smoothed_test_accuracy": 0.5, "seed": 1.0})])
    answer = command("table", str(tmp_path / "board.parquet"), "--extra", "smoothed_test_acuracy")
    assert answer.status == 2
    assert "did you mean 'smoothed_test_accuracy'?" in answer.err
    assert command("table", str(tmp_path / "board.parquet"), "--extra", "seed").status == 2  # a column of its own


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    """A leaderboard of two methods under two seeds."""
    rows = [
        make_row(cell_id=f"{d}{s}", model_id=f"{d}{s}", defense=d, seed=s, adv_test_accuracy=v + s / 10)
        for d, v in (("natural", 0.1), ("at", 0.5))
        for s in (0, 1)
    ]
    write_leaderboard(tmp_path / "two.parquet", rows)
    return str(tmp_path / "two.parquet")


def test_seeds_are_averaged_or_shown_each(command: Command, seeds: str) -> None:
    assert "15.00 ± 7.07" in command("table", seeds).out
    assert "Natural, seed 1" in command("table", seeds, "--each-seed").out


def test_lines_are_sorted_and_chosen(command: Command, seeds: str) -> None:
    (group,) = command("table", seeds, "--sort", "adv_test_accuracy", "--format", "json").document[0]["groups"]
    assert [row["defense"] for row in group["rows"]] == ["AT", "Natural"]
    (group,) = command("table", seeds, "--only", "defense=at", "--only", "seed=1", "--format", "json").document[0][
        "groups"
    ]
    assert [(row["defense"], row["adv_test_accuracy"]) for row in group["rows"]] == [("AT", 0.6)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "defense"], "expected KEY=VALUE"),
        (["--only", "defense=att"], "did you mean 'at'?"),
        (["--sort", "adv_accuracy"], "adv_test_accuracy"),
        (["--table", "2", "--sort", "gap"], "--sort does not go with --table"),
        (["--table", "2", "--extra", "card"], "--extra does not go with --table"),
    ],
)
def test_wrong_choices_are_answered_with_the_nearest(
    command: Command, seeds: str, arguments: list[str], message: str
) -> None:
    answer = command("table", seeds, *arguments)
    assert answer.status == 2
    assert message in answer.err


def test_from_python_too_a_table_of_the_paper_takes_no_order(seeds: str) -> None:
    with pytest.raises(UsageError, match="--sort does not go with --table"):
        table(seeds, number=2, sort="gap")


class Averaged:
    """A defense with many options."""

    def __init__(self, *, decay: float = 0.99, steps: int = 10, warm_up: int = 5) -> None:
        self.decay = decay

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """The summed cross-entropy."""
        return BatchLoss(loss=nn.functional.cross_entropy(model(images), labels, reduction="sum"))


class Labels:
    """Offers it under several labels."""

    @hookimpl
    def benchbench_defenses(self) -> list[Offer]:
        """One defense under four names."""
        made = {"summary": "Toy.", "factory": Averaged}
        return [
            Offer(name="ema", label="TRADES-EMA", shown=("decay",), **made),
            Offer(name="ema-short", label="EMA", shown=(), **made),
            Offer(name="ema-plain", **made),
            Offer(name="ema-every", label="Every", **made),
        ]


def test_tables_call_a_method_as_its_offer_does(
    command: Command, write_suite: WriteSuite, plant: Callable[[object], None]
) -> None:
    plant(Labels())
    suite = write_suite(defenses=["ema", "ema-short", "ema-plain", "ema-every"])
    assert command("run", "--suite", suite, "--jobs", "1").status == 0
    (group,) = command("table", "tiny", "--format", "json").document[0]["groups"]
    assert {row["defense"] for row in group["rows"]} == {
        "TRADES-EMA (decay=0.99)",
        "EMA",
        "ema-plain (decay=0.99, steps=10, warm_up=5)",
        "Every (decay=0.99, steps=10, warm_up=5)",
    }
