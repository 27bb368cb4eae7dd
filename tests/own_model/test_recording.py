"""A model that was trained elsewhere as rows: identity, what is unknown, the card, and every command that reads them."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import benchbench
from benchbench.cell.model import UNKNOWN_OF_GIVEN, to_json
from benchbench.cell.reading import read_cell
from benchbench.checking.challenging import challenge
from benchbench.checking.rerunning import rerun
from benchbench.cli import invoke
from benchbench.comparison.contenders import OutcomeFiles, find_contenders
from benchbench.comparison.pairing import compare
from benchbench.contract import Offer, hookimpl
from benchbench.data import load_dataset
from benchbench.errors import ContractError, DataError, UsageError
from benchbench.events import CellFinished, CellStarted, Event
from benchbench.leaderboard import paper_tables, read_rows, render_all, write_leaderboard
from benchbench.leaderboard.merging import merge
from benchbench.own_model.architectures import find_architecture, find_callable
from benchbench.own_model.origin import recorded_architecture
from benchbench.records import Row, RunStore
from benchbench.registry import load_registry
from benchbench.report.boards import board_data
from benchbench.reproduction import Measured, write_pages
from benchbench.running.restoring import restore
from benchbench.settings import find_folders
from benchbench.training.checkpoint import weights_digest

EXHAUSTIVE = bool(os.environ.get("BENCHBENCH_EXHAUSTIVE"))
DIGITS = {"name": "digits", "scale": 1}
SHORT = {"name": "pgd", "steps": 2}
NETWORKS = """
from torch import nn
from blocks import width

def small(classes, more=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width + more), nn.ReLU(), nn.Linear(width + more, classes))
"""
CARD = {"title": "A <b>model</b>", "authors": ["A", "B"], "licence": "MIT", "claimed_adv_test_accuracy": 0.9}


class Small(nn.Sequential):
    """What NETWORKS makes, and the registered architecture ``mlp`` with one hidden layer of 8."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


class Viewing(Small):
    """The same, but it cannot take images that are channels-last."""

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = self[3](self[2](self[1](input.view(input.size(0), -1))))
        return out


def network(seed: int = 0, kind: type[nn.Module] = Small) -> nn.Module:
    """A network that classifies most digits correctly."""
    model = kind()
    model.load_state_dict(trained(seed))
    return model


@functools.cache
def trained(seed: int) -> dict[str, Tensor]:
    registry = load_registry()
    component = registry.resolve("dataset", "digits", {"scale": 1})
    train = load_dataset(registry, component, find_folders().source()).splits.train
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Small()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(train.inputs.float() / 255), train.labels).backward()
        optimizer.step()
    return model.state_dict()


def networks(folder: Path, *, text: str = NETWORKS, width: int = 8, name: str = "networks.py") -> str:
    """A file of the user's that makes the network."""
    (folder / "blocks.py").write_text(f"width = {width}\n")
    (folder / name).write_text(text)
    return f"{folder / name}:small"


def record(folder: Path, model: nn.Module | None = None, **options: Any) -> tuple[benchbench.ModelReport, ...]:
    """Record a model into the leaderboard ``mine`` of a folder under two radii."""
    stated: dict[str, Any] = {"dataset": DIGITS, "epsilon": [0.05, "25.5/255"], "attacks": SHORT, "n_test": 20}
    where = {"record": "mine", "runs": folder / "runs", "leaderboards": folder}
    reports = benchbench.evaluate(model or network(), **{**stated, **where, **options})
    assert isinstance(reports, tuple)
    return reports


def rows_of(folder: Path) -> list[Row]:
    return list(read_rows(folder / "mine.parquet"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the leaderboard of a model of the user's own, its runs and its architecture."""
    folder = tmp_path_factory.mktemp("recorded")
    record(folder, architecture=networks(folder), card=CARD, metrics=["lipschitz"])
    return folder


def test_rows_hold_what_evaluate_finds_and_everything_that_is_known(recorded: Path) -> None:
    rows = sorted(rows_of(recorded), key=lambda row: row.epsilon)
    plain = benchbench.evaluate(network(), dataset=DIGITS, epsilon=(0.05, 0.1), attacks=SHORT, n_test=20)
    assert [row.epsilon for row in rows] == [0.05, 0.1]
    for row, report in zip(rows, plain):
        assert (row.test_accuracy, row.adv_test_accuracy) == (report.test_accuracy, report.attacks["pgd"].accuracy)
        assert (row.suite, row.profile, row.source, row.status) == ("mine", "own", "measured", "ok")
        assert (row.flags, row.queries) == (report.attacks["pgd"].flags, report.attacks["pgd"].queries)
        assert None not in (
            row.test_accuracy_low,
            row.adv_test_accuracy_high,
            row.test_lipschitz,
            row.test_lipschitz_low,
        )
        store = RunStore(recorded / "runs")
        outcomes, witnesses = store.read_outcomes(row.outcomes_digest), store.read_witnesses(row.witnesses_digest)
        assert outcomes is not None
        assert torch.equal(torch.from_numpy(outcomes["robust"]), report.attacks["pgd"].robust)
        assert torch.equal(torch.from_numpy(witnesses), report.attacks["pgd"].witnesses)
        assert outcomes["lipschitz"].shape == (20,)


def test_rows_of_a_model_share_it_and_have_their_own_cells(recorded: Path) -> None:
    first, second = rows_of(recorded)
    assert first.model_id == second.model_id
    assert first.cell_id != second.cell_id
    assert (recorded / "runs" / "models" / f"{first.model_id}.safetensors").is_file()
    for row in (first, second):
        cell = read_cell(row.configuration)
        assert (cell.cell_id, cell.training.model_id, to_json(cell)) == (row.cell_id, row.model_id, row.configuration)


def test_what_is_unknown_of_the_training_is_null_also_in_the_file_and_in_no_configuration(recorded: Path) -> None:
    table = benchbench.read_leaderboard(recorded / "mine.parquet")
    unknown = (*UNKNOWN_OF_GIVEN, "dropout", "train_seconds")
    assert {name: table.column(name).null_count for name in unknown} == dict.fromkeys(unknown, 2)
    configuration = json.loads(rows_of(recorded)[0].configuration)
    assert configuration["training"].keys() == {"dataset", "dataset_digest", "architecture", "weights"}
    assert configuration["evaluation"]["checkpoint_selection"] is None
    assert str(recorded) not in rows_of(recorded)[0].configuration


def test_identity_is_weights_source_and_data_and_no_name(recorded: Path, tmp_path: Path) -> None:
    spec = read_cell(rows_of(recorded)[0].configuration).training

    def model_id(place: str, **file: Any) -> str:
        (tmp_path / place).mkdir()
        architecture = find_architecture(load_registry(), networks(tmp_path / place, **file)).component
        return dataclasses.replace(spec, architecture=architecture).model_id

    same = spec.model_id
    assert (same, spec.weights) == (rows_of(recorded)[1].model_id, weights_digest(network().state_dict()))
    assert model_id("elsewhere", name="renamed.py") == same
    assert model_id("commented", text=NETWORKS.replace("def small", "# a comment\ndef small")) == same
    others = {
        model_id("other source", text=f"{NETWORKS}\nother = 1\n"),
        model_id("other source of an import", width=9),
        dataclasses.replace(spec, weights=weights_digest(network(1).state_dict())).model_id,
        dataclasses.replace(spec, dataset_digest="ab" * 32).model_id,
    }
    assert len({same, *others}) == 5


def test_what_is_recorded_is_not_computed_again_also_after_an_interruption(tmp_path: Path) -> None:
    events: list[Event] = []

    def interrupt(event: Event) -> None:
        events.append(event)
        if isinstance(event, CellFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, listener=interrupt)
    assert not (tmp_path / "mine.parquet").exists()
    later: list[Event] = []
    reports = record(tmp_path, listener=later.append)
    assert [type(event) for event in (*events, *later) if isinstance(event, (CellStarted, CellFinished))] == [
        CellStarted,
        CellFinished,
        CellStarted,
        CellFinished,
    ]
    again: list[Event] = []
    repeated = record(tmp_path, listener=again.append)
    assert not [event for event in again if isinstance(event, CellStarted)]
    for one, other in zip(reports, repeated):
        assert (one.title, one.lines) == (other.title, other.lines)
        assert torch.equal(one.attacks["pgd"].witnesses, other.attacks["pgd"].witnesses)
        assert one.attacks["pgd"].cell_id == other.attacks["pgd"].cell_id != ""


def test_a_restored_row_whose_adversarial_images_stayed_elsewhere_is_reported_again(
    recorded: Path, tmp_path: Path
) -> None:
    shutil.copytree(recorded / "mine", tmp_path / "mine")
    shutil.copy(recorded / "mine.parquet", tmp_path)
    restored = restore(tmp_path / "mine.parquet", RunStore(tmp_path / "runs"), on_problem=pytest.fail)
    assert len(restored.recorded) == 2
    reports = record(tmp_path, architecture=networks(tmp_path), metrics=["lipschitz"])
    assert [report.attacks["pgd"].witnesses.shape[0] for report in reports] == [20, 20]


def test_numbers_of_numpy_and_torch_are_recorded_like_any_other(tmp_path: Path) -> None:
    odd = {"seed": np.int64(0), "n_test": np.int64(20), "architecture": networks(tmp_path)}
    assert len(record(tmp_path, epsilon=np.array([0.05, 0.1]), **odd)) == 2
    plain = [row.cell_id for row in rows_of(tmp_path)]
    record(tmp_path, epsilon=torch.tensor([0.05, 0.1], dtype=torch.float64), **odd)
    record(tmp_path, epsilon=[0.05, 0.1], architecture=networks(tmp_path))
    assert [row.cell_id for row in rows_of(tmp_path)] == plain
    with pytest.raises(UsageError, match="no radius"):
        record(tmp_path, epsilon=[])


def test_a_new_card_changes_the_rows_and_computes_nothing(recorded: Path, tmp_path: Path) -> None:
    for name in ("mine.parquet", "runs", "mine"):
        (shutil.copytree if (recorded / name).is_dir() else shutil.copy)(recorded / name, tmp_path / name)
    before = rows_of(tmp_path)
    assert {row.card for row in before} == {to_json(CARD)}
    events: list[Event] = []
    architecture = f"{recorded / 'networks.py'}:small"
    record(tmp_path, architecture=architecture, metrics=["lipschitz"], card={"title": "Other"}, listener=events.append)
    assert not [event for event in events if isinstance(event, CellStarted)]
    assert rows_of(tmp_path) == [dataclasses.replace(row, card='{"title":"Other"}') for row in before]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"claimed_accuracy": 53.4}, "claimed_accuracy is 53.4, expected a fraction from 0 to 1"),
        ({"Title": "A"}, "'Title' is no name of a fact"),
        ({"title": "A" * 2000}, "title is longer than 1,000 characters"),
        ({"paper": {"year": 2020}}, "paper is .*, expected a text"),
        ({f"fact_{n}": n for n in range(40)}, "40 facts, more than 30"),
    ],
)
def test_card_that_no_row_can_hold_is_refused(tmp_path: Path, card: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        record(tmp_path, card=card)
    assert not (tmp_path / "runs" / "cells").exists()


def test_every_way_to_show_a_row_shows_the_card_beside_what_was_found(recorded: Path, tmp_path: Path) -> None:
    rows = read_rows(recorded / "mine.parquet")
    lines = "; licence: MIT; claimed adv test accuracy: 90.00%; found: "
    assert lines in paper_tables(rows)[0].notes[-1]
    assert "A &lt;b&gt;model&lt;/b&gt;" in render_all(paper_tables(rows), "html")
    assert "<b>" not in render_all(paper_tables(rows), "html")
    arguments = ["--leaderboards", str(recorded), "--runs", str(recorded / "runs")]
    assert invoke(["report", "--out", str(tmp_path), *arguments]) == 0
    for row in rows:
        page = (tmp_path / "mine" / "rows" / f"{row.cell_id}.html").read_text(encoding="utf-8")
        assert '<th scope="row">claimed adv test accuracy</th><td>90.00%</td>' in page
        assert "<b>model" not in page
        assert "<td>unknown</td>" in page


def test_damaged_or_endless_card_of_a_stranger_is_shown_as_far_as_it_is_one(recorded: Path) -> None:
    row = rows_of(recorded)[0]
    for card in ("{", "[1]", '{"title": {}}', json.dumps({"title": "A" * 10**6}), '{"title": "\u202eA"}'):
        shown = render_all(paper_tables([dataclasses.replace(row, card=card)]), "markdown")
        assert len(shown) < 5000
        assert "\u202e" not in shown


def verdicts(board: Path, runs: Path, **options: Any) -> list[Any]:
    return benchbench.verify(board, runs=runs, seed=1, device="cpu", **options)


def test_rows_are_verified_only_with_an_architecture_of_the_rows_source(recorded: Path, tmp_path: Path) -> None:
    board, runs = recorded / "mine.parquet", recorded / "runs"
    without = verdicts(board, runs)
    assert {one.status for one in without} == {"unchecked"}
    assert all("not checked: its architecture is not registered; --architecture" in str(one) for one in without)
    other = networks(tmp_path, text=NETWORKS.replace("nn.ReLU()", "nn.Tanh()"))
    assert {str(one).partition(" is ")[0] for one in verdicts(board, runs, architecture=other)} == {
        f"unchecked: not checked: the source of {other}"
    }
    same = verdicts(board, runs, architecture=networks(tmp_path, name="elsewhere.py"))
    assert {one.status for one in same} == {"confirmed"}
    assert all(one.queries and one.bound is not None for one in same)
    assert {"suite", "card"} & {name for one in same for name in one.claimed} == {"card"}


def test_row_of_an_own_model_is_challenged_with_its_architecture(recorded: Path, tmp_path: Path) -> None:
    row, images = rows_of(recorded)[0], tmp_path / "images.parquet"
    shutil.copy(next((recorded / "runs" / "witnesses").glob(f"{row.witnesses_digest}*")), images)
    how: dict[str, Any] = {"leaderboard": recorded / "mine.parquet", "by": "someone", "runs": recorded / "runs"}
    with pytest.raises(DataError, match="cannot be challenged here: not checked: its architecture is not registered"):
        challenge(row.cell_id, images, **how)
    with pytest.raises(DataError, match=r"no column|columns"):  # it has come as far as the images
        challenge(row.cell_id, images, architecture=networks(tmp_path), **how)


def test_rerun_evaluates_again_with_the_same_weights_and_never_trains(recorded: Path) -> None:
    board, runs, row = recorded / "mine.parquet", recorded / "runs", rows_of(recorded)[0]
    architecture = f"{recorded / 'networks.py'}:small"
    again = rerun(row.cell_id, leaderboard=board, runs=runs, device="cpu", architecture=architecture)
    assert (again.verdict, again.unequal_files) == ("bit-identical", ())
    with pytest.raises(UsageError, match="cannot be evaluated again: not checked: its architecture is not registered"):
        rerun(row.cell_id, leaderboard=board, runs=runs, device="cpu")
    with pytest.raises(UsageError, match="no checkpoint on this machine"):
        rerun(row.cell_id, leaderboard=board, runs=recorded / "no", device="cpu", architecture=architecture)


@pytest.mark.parametrize("kind", [Small, Viewing])
def test_registered_architecture_needs_no_file_to_be_verified(tmp_path: Path, kind: type[nn.Module]) -> None:
    record(tmp_path, network(kind=kind), architecture={"name": "mlp", "hidden": [8]}, epsilon=[0.1])
    (row,) = rows_of(tmp_path)
    assert (row.architecture, row.architecture_options) == ("mlp", '{"hidden":[8]}')
    assert [one.status for one in verdicts(tmp_path / "mine.parquet", tmp_path / "runs")] == ["confirmed"]
    assert rerun(row.cell_id, runs=tmp_path / "runs", device="cpu").verdict == "bit-identical"


def test_model_that_attacks_cannot_use_as_it_is_is_wrapped_alike_everywhere(tmp_path: Path) -> None:
    text = """
from torch import nn

class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(128, 10)

    def forward(self, images):
        return self.linear(self.convolution(images).view(images.size(0), -1))

small = Viewing
"""
    architecture = networks(tmp_path, text=text)
    record(tmp_path, find_callable(architecture).make({}, {}), architecture=architecture, epsilon=[0.1])
    (row,) = rows_of(tmp_path)
    runs = tmp_path / "runs"
    assert [one.status for one in verdicts(tmp_path / "mine.parquet", runs, architecture=architecture)] == ["confirmed"]
    again = rerun(row.cell_id, runs=runs, device="cpu", architecture=architecture)
    assert (again.verdict, again.unequal_files) == ("bit-identical", ())


def test_no_file_names_code_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.py").write_text("raise SystemExit('imported')")
    record(tmp_path, epsilon=[0.1], architecture=networks(tmp_path))
    (row,) = rows_of(tmp_path)
    assert row.architecture == "file:small"
    assert [one.status for one in verdicts(tmp_path / "mine.parquet", tmp_path / "runs")] == ["unchecked"]
    checkpoint = tmp_path / "runs" / "models" / f"{row.model_id}.safetensors"
    with pytest.raises(DataError, match="unknown architecture 'file:small'"):
        recorded_architecture(checkpoint, load_registry())
    assert invoke(["evaluate", "--dataset", "digits", "--checkpoint", str(checkpoint), "--epsilon", "0.1"]) == 2


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("training", "weights"), "ab" * 32, "the weights are not those of the row's digest"),
        (("profile",), "paper", "a model that was trained elsewhere has profile own, not paper"),
    ],
)
def test_forged_identity_is_refuted(
    recorded: Path, tmp_path: Path, path: tuple[str, ...], value: str, message: str
) -> None:
    row = rows_of(recorded)[0]
    document = json.loads(row.configuration)
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    cell = read_cell(json.dumps(document))
    forged = dataclasses.replace(row, **cell.identity(), configuration=to_json(cell))
    write_leaderboard(tmp_path / "mine.parquet", [forged])
    models = tmp_path / "models"
    models.mkdir()
    stored = (recorded / "runs" / "models" / f"{row.model_id}.safetensors").read_bytes()
    (models / f"{forged.model_id}.safetensors").write_bytes(
        stored.replace(row.model_id.encode(), forged.model_id.encode())
    )
    architecture = f"{recorded / 'networks.py'}:small"
    (verdict,) = verdicts(tmp_path / "mine.parquet", recorded / "runs", architecture=architecture, replay_only=True)
    assert verdict.status == "refuted"
    assert message in str(verdict)


def test_submission_is_packed_checked_and_merged_in_another_folder(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submission, board = tmp_path / "s.zip", str(recorded / "mine.parquet")
    packed = ["leaderboard", "pack", board, "--weights", "--runs", str(recorded / "runs"), "--out", str(submission)]
    assert invoke(packed) == 0
    check = ["leaderboard", "check", str(submission), "--runs", str(tmp_path / "no"), "--seed", "1", "--json"]
    capsys.readouterr()
    assert invoke(check) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"unchecked": 2}
    assert invoke([*check, "--architecture", f"{recorded / 'networks.py'}:small"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"confirmed": 2}
    (tmp_path / "other").mkdir()
    record(tmp_path / "other", network(1), epsilon=[0.1], n_test=10)
    merged = merge({"a": rows_of(recorded), "b": rows_of(tmp_path / "other")})
    assert (len(merged.rows), merged.conflicts) == (3, ())
    write_leaderboard(tmp_path / "mine.parquet", merged.rows)
    assert sorted(row.cell_id for row in rows_of(tmp_path)) == sorted(
        row.cell_id for row in (*rows_of(recorded), *rows_of(tmp_path / "other"))
    )


class Tampering:
    """An attack that changes the model's weights."""

    def perturb(self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Any, generator: Any) -> Tensor:
        next(iter(model.parameters())).data.zero_()
        return images


class Plugin:
    """Offers it."""

    @hookimpl
    def benchbench_attacks(self) -> list[Offer]:
        return [Offer(name="tampering", summary="Zero the weights", factory=Tampering)]


def test_cell_after_one_that_changed_the_model_gets_the_recorded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = load_registry(extra_plugins=[Plugin()])
    monkeypatch.setattr("benchbench.own_model.evaluating.load_registry", lambda: registry)
    with pytest.raises(ContractError, match="tampering"):
        record(tmp_path, attacks=["tampering", SHORT], epsilon=[0.1])
    (row,) = rows_of(tmp_path)
    record(tmp_path / "alone", epsilon=[0.1])
    (alone,) = rows_of(tmp_path / "alone")
    assert (row.cell_id, row.witnesses_digest) == (alone.cell_id, alone.witnesses_digest)


def test_own_model_is_compared_with_a_row_of_a_suite_but_not_with_one_that_saw_the_test_set(recorded: Path) -> None:
    rows = [row for row in rows_of(recorded) if row.epsilon == 0.1]
    built_in = dataclasses.replace(
        rows[0],
        suite="smoke",
        profile="quick",
        protocol="smoke-1",
        defense="at",
        defense_options="{}",
        seed=0,
        model_id="at",
    )
    trained = dataclasses.replace(built_in, trained_on="train", checkpoint_selection="last", n_train=9, epochs=1)
    outcomes = OutcomeFiles([recorded / "runs"])
    own, other, seen = (
        find_contenders([row], outcomes)
        for row in (rows[0], trained, dataclasses.replace(trained, trained_on="train+test"))
    )
    assert {one.difference for one in compare({"a": own, "b": other})} == {0.0}
    with pytest.raises(UsageError, match="they differ in trained_on"):
        compare({"a": own, "b": seen})


def test_what_cannot_be_recorded_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no weights that identify it"):
        record(tmp_path, lambda images: torch.zeros(len(images), 10))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not those of architecture 'mlp'"):
        record(tmp_path, architecture={"name": "mlp", "hidden": [9]})
    with pytest.raises(UsageError, match="no name of a leaderboard"):
        record(tmp_path, record="a/b c")
    write_leaderboard(tmp_path / "copy.parquet", [])
    with pytest.raises(UsageError, match="a model card is kept in rows"):
        benchbench.evaluate(network(), dataset=DIGITS, epsilon=0.1, card=CARD)
    assert not (tmp_path / "runs" / "cells").exists()


def test_command_writes_the_same_rows(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(network().state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    model = ["--architecture", networks(tmp_path), "--checkpoint", str(tmp_path / "w.safetensors")]
    asked = ["--epsilon", "0.05", "--epsilon", "25.5/255", "--attack", '{name = "pgd", steps = 2}', "--n-test", "20"]
    to = [
        "--record",
        str(tmp_path / "mine.parquet"),
        "--runs",
        str(tmp_path / "runs"),
        "--card",
        str(tmp_path / "card.json"),
    ]
    arguments = ["--dataset", '{name = "digits", scale = 1}', *model, *asked, "--metric", "lipschitz", *to]
    assert invoke(["evaluate", *arguments, "--device", "cpu", "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)["radii"]
    assert [one["attacks"]["pgd"]["cell_id"] for one in reports] == [row.cell_id for row in rows_of(tmp_path)]
    changing = {"device", "versions", "git_commit", "evaluate_seconds", "peak_memory_bytes"}
    for one, other in zip(rows_of(tmp_path), rows_of(recorded)):
        assert {name for name in vars(one) if getattr(one, name) != getattr(other, name)} <= changing


@pytest.mark.parametrize(
    "name", [*UNKNOWN_OF_GIVEN, "dropout"] if EXHAUSTIVE else ["defense_options", "n_train", "seed"]
)
def test_row_that_does_not_state_one_of_the_columns_is_shown_everywhere(tmp_path: Path, name: str) -> None:
    older = read_rows(Path(__file__).parents[1] / "leaderboard" / "older" / "schema-3.parquet")
    rows = [dataclasses.replace(row, **{name: None}) if place % 2 else row for place, row in enumerate(older)]
    written = write_leaderboard(tmp_path / "closer-look.parquet", rows)
    assert list(read_rows(tmp_path / "closer-look.parquet")) == list(written)
    for form in ("markdown", "csv", "json"):
        assert render_all(paper_tables(written, published=True), form)
    assert len(board_data(written)["rows"]) == len(rows)
    assert write_pages(tmp_path / "pages", Measured(suite="closer-look", rows=written, separations=()))
