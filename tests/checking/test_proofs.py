"""Each tampering with an honest row is refuted, or the column is shown as claimed and not checked; never just "confirmed"."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

import benchbench
from benchbench.cell.model import Cell, to_json
from benchbench.cell.reading import read_cell
from benchbench.checking import rerunning, verifying
from benchbench.checking.evidence import Verdict
from benchbench.checking.proofs import PROOFS
from benchbench.checking.rerunning import compare, rerun
from benchbench.cli import invoke
from benchbench.contract import Offer, hookimpl
from benchbench.leaderboard import published_rows, read_rows, write_leaderboard
from benchbench.records import Row, accuracy_interval
from benchbench.records.arrays import Array, content_digest, read_unchecked_arrays, write_arrays
from benchbench.records.intervals import mean_interval
from benchbench.registry import Registry, load_registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trust.md"
HEAD = "| columns | are checked against | claimed, not checked |\n| --- | --- | --- |\n"
SUITE = """
name = "tiny"
protocol = "tiny-1"

[profiles.paper.recipe]
epochs = 4

[profiles.quick]

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = ["natural", "at"]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy", "gaps", "lipschitz"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { optimizer = "adam", learning_rate = 0.01, batch_size = 32, epochs = 2 }
n_train = 64
n_train_evaluated = 32
n_test = 32
"""
MODEL_TRAINING = {"defense", "seed", "epochs", "augmentation", "trained_on", "n_train", "train_epsilon"}


@dataclasses.dataclass(frozen=True)
class Board:
    """A leaderboard of two rows, natural and AT, with its runs folder."""

    file: Path
    runs: Path

    def row(self, defense: str = "at") -> Row:
        (row,) = [row for row in read_rows(self.file) if row.defense == defense]
        return row

    def put(self, **changes: Any) -> None:
        """Change columns of the row of AT, which is the only one from now on."""
        write_leaderboard(self.file, [dataclasses.replace(self.row(), **changes)])

    def weights(self, model_id: str) -> Path:
        return self.runs / "models" / f"{model_id}.safetensors"

    def outcomes(self) -> dict[str, Array]:
        arrays = read_unchecked_arrays(self.runs / "outcomes" / f"{self.row().outcomes_digest}.parquet")
        assert arrays is not None
        return {name: array.copy() for name, array in arrays.items()}

    def put_outcomes(self, arrays: dict[str, Array], **changes: Any) -> None:
        """Store outcomes under their digest, and change columns of the row with it."""
        digest = content_digest(arrays)
        write_arrays(self.runs / "outcomes" / f"{digest}.parquet", arrays)
        self.put(outcomes_digest=digest, **changes)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "tiny.toml").write_text(SUITE)
    result = benchbench.run(
        str(folder / "tiny.toml"), profile="quick", device="cpu", runs=folder / "runs", leaderboards=folder / "boards"
    )
    assert (result.finished, result.failed) == (2, 0)
    return folder


@pytest.fixture
def board(measured: Path, tmp_path: Path) -> Board:
    """A copy to tamper with."""
    shutil.copytree(measured, tmp_path / "copy")
    return Board(tmp_path / "copy" / "boards" / "tiny.parquet", tmp_path / "copy" / "runs")


@pytest.fixture(scope="module")
def registries(measured: Path) -> tuple[Registry, Registry]:
    """One without the suite, and one with the suite as a plugin offers it."""

    class Plugin:
        @hookimpl
        def benchbench_suites(self) -> Iterator[Offer]:
            yield Offer(name="tiny", summary="A test", factory=lambda: measured / "tiny.toml")

    return load_registry(), load_registry(extra_plugins=[Plugin()])


@pytest.fixture(autouse=True)
def one_registry(registries: tuple[Registry, Registry], monkeypatch: pytest.MonkeyPatch) -> None:
    """Load plugins once, not in each test."""
    for module in (verifying, rerunning):
        monkeypatch.setattr(module, "load_registry", lambda: registries[0])


@pytest.fixture
def registered(registries: tuple[Registry, Registry], one_registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (verifying, rerunning):
        monkeypatch.setattr(module, "load_registry", lambda: registries[1])


def judge(board: Board) -> Verdict:
    (verdict,) = [v for v in verifying.verify(board.file, runs=board.runs, device="cpu") if " Natural," not in v.label]
    return verdict


def with_accuracy(row: Row, name: str, value: float) -> dict[str, Any]:
    """A changed accuracy with the interval and the gap that belong to it."""
    interval = accuracy_interval(round(value * 32), 32)
    columns: dict[str, Any] = {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    changed = dataclasses.replace(row, **columns)
    assert None not in (changed.train_accuracy, changed.test_accuracy)
    gaps = {
        "gap": changed.train_accuracy - changed.test_accuracy,  # type: ignore[operator]
        "adv_gap": changed.adv_train_accuracy - changed.adv_test_accuracy,  # type: ignore[operator]
    }
    return {**columns, **gaps}


def reconfigure(board: Board, change: Callable[[Cell], Cell], *, epochs: int | None = None, **columns: Any) -> None:
    """Change the configuration, and with it ids, columns and what the checkpoint says of itself."""
    row = board.row()
    cell = change(read_cell(row.configuration))
    edit_weights(board.weights(row.model_id), board.weights(cell.training.model_id), cell.training.model_id, epochs)
    board.put(**{**cell.identity(), "configuration": to_json(cell), **columns})


def edit_weights(source: Path, target: Path, model_id: str, epochs: int | None = None) -> None:
    with safe_open(source, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    position = json.loads(metadata["position"])
    position["epoch"] = position["epoch"] if epochs is None else epochs
    save_file(tensors, target, {**metadata, "model_id": model_id, "position": json.dumps(position)})


def of_training(**changes: Any) -> Callable[[Cell], Cell]:
    def change(cell: Cell) -> Cell:
        return dataclasses.replace(cell, training=dataclasses.replace(cell.training, **changes))

    return change


def more_epochs(cell: Cell) -> Cell:
    return of_training(recipe=dataclasses.replace(cell.training.recipe, epochs=300))(cell)


def more_attack_steps(cell: Cell) -> Cell:
    attack = cell.evaluation.attack
    stronger = dataclasses.replace(attack, options={**attack.options, "steps": 100})
    return dataclasses.replace(cell, evaluation=dataclasses.replace(cell.evaluation, attack=stronger))


def larger_radius(cell: Cell) -> Cell:
    threat = dataclasses.replace(cell.evaluation.threat, epsilon=0.2)
    return dataclasses.replace(cell, evaluation=dataclasses.replace(cell.evaluation, threat=threat))


def in_profile_paper(cell: Cell) -> Cell:
    return dataclasses.replace(cell, profile="paper")


def better_training_accuracy(board: Board) -> None:
    value = board.row().train_accuracy
    assert value is not None
    board.put(**with_accuracy(board.row(), "train_accuracy", value + 1 / 32))


def without_outcome(column: str) -> Callable[[Board], None]:
    def tamper(board: Board) -> None:
        arrays = board.outcomes()
        del arrays[column]
        board.put_outcomes(arrays)

    return tamper


def without_column_and_outcome(board: Board) -> None:
    arrays = board.outcomes()
    del arrays["lipschitz"]
    board.put_outcomes(arrays, test_lipschitz=None, test_lipschitz_low=None, test_lipschitz_high=None)


def put(**changes: Any) -> Callable[[Board], None]:
    return lambda board: board.put(**changes)


REFUTED: dict[str, Callable[[Board], None]] = {
    "train accuracy": better_training_accuracy,
    "training accuracy under the attack, without its interval": put(adv_train_accuracy=1.0),
    "Lipschitz value": put(test_lipschitz=0.01),
    "Lipschitz interval": put(test_lipschitz_low=0.01),
    "another Lipschitz value": put(test_lipschitz_best=0.01),
    "accuracy's interval alone": put(adv_test_accuracy_low=None),
    "outcomes without Lipschitz values": without_outcome("lipschitz"),
    "outcomes without robust": without_outcome("robust"),
    "outcomes without correct": without_outcome("correct"),
    "outcomes without predictions under the attack": without_outcome("adversarial_prediction"),
    "row without Lipschitzness": without_column_and_outcome,
    "row without the accuracy under attack": put(
        adv_test_accuracy=None, adv_test_accuracy_low=None, adv_test_accuracy_high=None, adv_gap=None
    ),
    "row without a training accuracy": put(
        train_accuracy=None, train_accuracy_low=None, train_accuracy_high=None, gap=None
    ),
    "errors of another task": put(test_mse=0.0),
    "precision": put(precision="bf16"),
    "source": put(published_table="2"),
    "epsilon": put(epsilon=0.2),
    "attack options": put(attack_options='{"steps":100}'),
    "profile": put(profile="paper"),
    "another experiment": put(experiment="mnist"),
    "method": put(defense="trades"),
    "model id": put(model_id="0" * 16),
    "cell id": put(cell_id="0" * 16),
    "epochs in the configuration": lambda board: reconfigure(board, more_epochs),
    "epochs of the checkpoint": lambda board: edit_weights(
        board.weights(board.row().model_id), board.weights(board.row().model_id), board.row().model_id, 1
    ),
}


@pytest.mark.parametrize("tampering", REFUTED)
def test_tampering_that_evidence_contradicts_is_refuted(board: Board, tampering: str) -> None:
    REFUTED[tampering](board)
    assert judge(board).status == "refuted"


RECONFIGURED: dict[str, tuple[Callable[[Board], None], str]] = {
    "epochs": (lambda board: reconfigure(board, more_epochs, epochs=300), "epochs"),
    "attack steps": (lambda board: reconfigure(board, more_attack_steps), "attack_options"),
    "radius": (lambda board: reconfigure(board, larger_radius), "configuration"),
    "profile": (lambda board: reconfigure(board, in_profile_paper), "profile"),
    "profile of another name": (
        lambda board: reconfigure(board, lambda cell: dataclasses.replace(cell, profile="full")),
        "profile",
    ),
    "experiment": (
        lambda board: reconfigure(board, lambda cell: dataclasses.replace(cell, experiment="mnist")),
        "experiment",
    ),
}


@pytest.mark.parametrize("tampering", RECONFIGURED)
def test_configuration_that_the_registered_suite_does_not_have_is_refuted(
    board: Board, registered: None, tampering: str
) -> None:
    RECONFIGURED[tampering][0](board)
    verdict = judge(board)
    assert verdict.status == "refuted"
    assert "tiny" in " ".join(map(str, verdict.findings))


@pytest.mark.parametrize("tampering", RECONFIGURED)
def test_configuration_of_a_suite_that_is_not_registered_is_a_claim(board: Board, tampering: str) -> None:
    tamper, column = RECONFIGURED[tampering]
    tamper(board)
    verdict = judge(board)
    assert verdict.status == "refuted" or column in verdict.claimed


def test_row_of_an_earlier_protocol_is_left_unchecked(board: Board, registered: None) -> None:
    reconfigure(board, lambda cell: dataclasses.replace(cell, protocol="tiny-0"))
    verdict = judge(board)
    assert verdict.status == "unchecked"
    assert "not a cell of tiny/quick as registered here" in " ".join(verdict.missing)


def test_row_with_another_seed_and_precision_is_a_cell_of_its_suite(board: Board, registered: None) -> None:
    def other(cell: Cell) -> Cell:
        evaluation = dataclasses.replace(cell.evaluation, precision="bf16")
        return of_training(seed=7)(dataclasses.replace(cell, evaluation=evaluation))

    row = board.row()
    interval = mean_interval(board.outcomes()["lipschitz"], 7)
    assert interval is not None
    reconfigure(board, other, precision="bf16", test_lipschitz_low=interval.low, test_lipschitz_high=interval.high)
    verdict = judge(board)
    assert (verdict.status, verdict.findings) == ("confirmed", ())
    assert {"seed", "precision"} <= verdict.claimed.keys()
    assert row.seed == 0


def weights_of_natural(board: Board) -> None:
    """Put the weights of natural training under the name of AT, with its numbers."""
    natural, at = board.row("natural"), board.row()
    edit_weights(board.weights(natural.model_id), board.weights(at.model_id), at.model_id)
    identity = read_cell(at.configuration).identity()
    forged = dataclasses.replace(natural, **identity, configuration=at.configuration)
    write_leaderboard(board.file, [forged])


def smaller_lipschitz(board: Board) -> None:
    arrays = board.outcomes()
    arrays["lipschitz"] = arrays["lipschitz"] / 10
    interval = mean_interval(arrays["lipschitz"], 0)
    assert interval is not None
    mean = float(arrays["lipschitz"].mean())
    board.put_outcomes(arrays, test_lipschitz=mean, test_lipschitz_low=interval.low, test_lipschitz_high=interval.high)


def no_attack(board: Board) -> None:
    """Put the clean images in place of the adversarial ones, with outcomes to match."""
    from benchbench.contract import DataSource
    from benchbench.data import load_dataset, subset

    row, arrays = board.row(), board.outcomes()
    cell = read_cell(row.configuration)
    loaded = load_dataset(load_registry(), cell.training.dataset, DataSource(root=board.runs, cache=board.runs))
    clean = {"image": np.asarray(subset(loaded.splits.test, 32, "test").examples.inputs.float().div(255.0).numpy())}
    arrays |= {"robust": arrays["correct"], "adversarial_prediction": arrays["prediction"]}
    write_arrays(board.runs / "witnesses" / f"{content_digest(clean)}.parquet", clean)
    assert row.test_accuracy is not None
    robust = with_accuracy(row, "adv_test_accuracy", row.test_accuracy)
    board.put_outcomes(arrays, witnesses_digest=content_digest(clean), **robust)


CLAIMED: dict[str, tuple[Callable[[Board], None], set[str]]] = {
    "accuracy on training examples under the attack": (
        lambda board: board.put(**with_accuracy(board.row(), "adv_train_accuracy", board.row().train_accuracy or 0)),
        {"adv_train_accuracy", "adv_gap"},
    ),
    "every example's Lipschitz value": (smaller_lipschitz, {"test_lipschitz", "test_lipschitz_low"}),
    "flags": (put(flags=("zero-gradients",)), {"flags"}),
    "no flags": (put(flags=()), {"flags"}),
    "diagnostics": (put(diagnostics=7), {"diagnostics"}),
    "extra": (put(extra={"test_confidence": 1.0}), {"extra"}),
    "versions": (put(versions='{"torch":"99"}'), {"versions"}),
    "commit": (put(git_commit="0" * 40), {"git_commit"}),
    "device": (put(device="cuda (NVIDIA H200)"), {"device"}),
    "time and memory": (put(train_seconds=1e6, evaluate_seconds=0.0, peak_memory_bytes=1), {"train_seconds"}),
    "queries": (put(queries=10**9, gradient_queries=10**9), {"queries", "gradient_queries"}),
    "another method's weights": (weights_of_natural, MODEL_TRAINING),
    "no attack at all": (no_attack, {"attack", "attack_options"}),
}


@pytest.mark.parametrize("tampering", CLAIMED)
def test_tampering_that_nothing_contradicts_is_shown_as_a_claim(board: Board, registered: None, tampering: str) -> None:
    tamper, columns = CLAIMED[tampering]
    tamper(board)
    verdict = judge(board)
    assert verdict.status == "refuted" or columns <= verdict.claimed.keys()


def test_honest_row_is_confirmed_and_its_checked_columns_are_no_claims(board: Board, registered: None) -> None:
    verdict = judge(board)
    assert (verdict.status, verdict.findings, verdict.missing) == ("confirmed", (), ())
    assert "profile" not in verdict.claimed
    assert not {"train_accuracy", "adv_test_accuracy", "epsilon", "cell_id", "gap"} & verdict.claimed.keys()


def test_row_of_a_suite_that_measures_less_is_confirmed(tmp_path: Path) -> None:
    text = SUITE.replace('["accuracy", "adversarial-accuracy", "gaps", "lipschitz"]', '["lipschitz"]')
    (tmp_path / "tiny.toml").write_text(text.replace('["natural", "at"]', '["at"]'))
    folders: dict[str, Any] = {"runs": tmp_path / "runs", "leaderboards": tmp_path / "boards"}
    result = benchbench.run(str(tmp_path / "tiny.toml"), device="cpu", **folders)
    assert judge(Board(result.leaderboard, tmp_path / "runs")).status == "confirmed"


def test_every_column_of_a_row_has_one_proof() -> None:
    columns = [column for proof in PROOFS for column in proof.columns.split()]
    assert sorted(columns) == sorted(field.name for field in dataclasses.fields(Row))


def proofs_table() -> str:
    """The table of the page, in Markdown."""
    rows = [(", ".join(f"`{name}`" for name in p.columns.split()), p.by, p.claimed) for p in PROOFS]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n"


def with_table(text: str) -> str:
    """The page with the present table."""
    before, head, after = text.partition(HEAD)
    assert head
    return before + proofs_table() + after.partition("\n\n")[2]


def test_page_has_the_table_of_proofs() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_table(text), "python tests/checking/test_proofs.py writes it again"


def test_commands_print_what_is_claimed(board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--runs", str(board.runs), "--quiet"]
    assert invoke(["verify", str(board.file), *where]) == 0
    assert "claimed, not checked: flags, diagnostics: " in capsys.readouterr().out
    assert invoke(["verify", str(board.file), *where, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert all("flags" in row["claimed"] and "train_accuracy" not in row["claimed"] for row in rows)
    submission = str(tmp_path / "submission.zip")
    packing = ["leaderboard", "pack", str(board.file), "--runs", str(board.runs), "--out", submission, "--weights"]
    assert invoke(packing) == 0
    assert invoke(["leaderboard", "check", submission]) == 0
    assert "claimed, not checked: flags, diagnostics: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("flags", ("zero-gradients",)),
        ("extra", {"test_confidence": 1.0}),
        ("profile", "paper"),
        ("test_lipschitz_low", 0.001),
        ("adv_train_accuracy_high", 0.999),
        ("queries", 1),
        ("precision", "bf16"),
        ("epsilon", 0.1001),
        ("diagnostics", 1),
    ],
)
def test_rerun_compares_each_column(measured: Path, column: str, value: Any) -> None:
    now = Board(measured / "boards" / "tiny.parquet", measured / "runs").row()
    result = compare(dataclasses.replace(now, **{column: value}), now, data_digest=now.dataset_digest)
    assert result.verdict == ("within tolerance" if column == "diagnostics" else "drifted")
    (difference,) = result.differences
    assert difference.column.partition(".")[0] == column


def test_rerun_finds_a_cell_that_its_registered_suite_does_not_have(board: Board, registered: None) -> None:
    honest = rerun(board.row().cell_id, runs=board.runs, leaderboard=board.file, device="cpu")
    assert honest.verdict == "bit-identical"
    reconfigure(board, in_profile_paper)
    result = rerun(board.row().cell_id, runs=board.runs, leaderboard=board.file, device="cpu")
    assert result.verdict == "drifted"
    assert [difference.column for difference in result.differences] == ["configuration"]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def test_published_rows_that_benchbench_does_not_ship_are_unchecked(tmp_path: Path) -> None:
    printed = [row for row in published_rows() if row.defense == "trades"][:3]
    forged = [
        dataclasses.replace(printed[0], adv_test_accuracy=0.12),
        dataclasses.replace(printed[1], cell_id="feedfacefeedface"),
    ]
    write_leaderboard(tmp_path / "b.parquet", [*forged, printed[2]])
    verdicts = verifying.verify(tmp_path / "b.parquet", runs=tmp_path / "runs", device="cpu")
    assert {verdict.cell_id for verdict in verdicts} == {row.cell_id for row in forged}
    for verdict in verdicts:
        assert str(verdict) == f"unchecked: this benchbench has no such row of {printed[0].published_source}"
