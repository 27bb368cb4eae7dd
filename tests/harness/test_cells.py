"""The harness: interruptions change nothing, failures stay with their cell, models are shared between cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sample_rows import make_cell
from torch import Tensor, nn

import benchbench
import benchbench.api
from benchbench.builtin.defenses.natural import Natural
from benchbench.cell.model import Cell, Component
from benchbench.contract import BatchLoss, DatasetSplits, Examples, KeyedGenerator, Offer, Threat, hookimpl
from benchbench.data import subset
from benchbench.errors import ContractError, StorageError, TrainingError
from benchbench.evaluation.memory import ATTACKED
from benchbench.events import (
    CellFinished,
    CellStarted,
    EvaluationProgress,
    Event,
    Note,
    RunFinished,
    RunStarted,
    TrainingProgress,
    TrainingStarted,
)
from benchbench.harness.cells import (
    build_model,
    describe_failure,
    record_failure,
    training_examples,
    training_job,
)
from benchbench.harness.evaluating import measurements_of
from benchbench.harness.scheduling import run_cells
from benchbench.harness.workbench import Workbench
from benchbench.leaderboard.names import describe_cell
from benchbench.records import Row, RunStore
from benchbench.registry import Registry, load_registry

SUITE = """
name = "tiny"
protocol = "tiny-1"

[[experiments]]
name = "digits"
dataset = { name = "digits", scale = 1 }
architectures = [{ name = "mlp", hidden = [8] }]
defenses = ["natural", "at"]
attacks = ["pgd-10", { name = "pgd", steps = 2 }]
metrics = ["accuracy", "adversarial-accuracy", "gaps", "lipschitz"]
threat = { norm = "linf", epsilon = 0.1 }
recipe = { optimizer = "adam", learning_rate = 0.001, batch_size = 32, epochs = 3 }
n_train = 64
n_train_evaluated = 32
n_test = 32
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(SUITE)


def measures(rows: tuple[Row, ...]) -> list[Row]:
    """Rows without what differs between equal runs."""
    return [dataclasses.replace(row, train_seconds=None, evaluate_seconds=None, peak_memory_bytes=None) for row in rows]


def run(folder: Path, **arguments: object) -> benchbench.RunResult:
    """Run the tiny suite in a folder."""
    return benchbench.run(
        "tiny.toml",
        device="cpu",
        runs=folder / "runs",
        leaderboards=folder / "leaderboards",
        **arguments,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The rows of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "tiny.toml").write_text(SUITE)
    result = benchbench.run(
        str(folder / "tiny.toml"), device="cpu", runs=folder / "runs", leaderboards=folder / "leaderboards"
    )
    assert (result.finished, result.failed) == (4, 0)
    return measures(result.rows)


MOMENTS: dict[str, Callable[[Event], bool]] = {
    "before anything": lambda event: isinstance(event, RunStarted),
    "as training starts": lambda event: isinstance(event, TrainingStarted),
    "after the second epoch": lambda event: isinstance(event, TrainingProgress) and event.epoch == 1,
    "in clean accuracy": lambda event: isinstance(event, EvaluationProgress) and "accuracy" in event.purpose,
    "in the attack": lambda event: isinstance(event, EvaluationProgress) and "pgd-10" in event.purpose,
    "in the metrics": lambda event: isinstance(event, EvaluationProgress) and "lipschitz" in event.purpose,
    "after the first cell": lambda event: isinstance(event, CellFinished),
    "as the second model's first cell starts": lambda event: isinstance(event, CellStarted) and event.number == 3,
    "as the last cell starts": lambda event: isinstance(event, CellStarted) and event.number == 4,
    "at the end": lambda event: isinstance(event, RunFinished),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.sampled(3)
def test_run_interrupted_at_any_moment_ends_up_the_same(tmp_path: Path, uninterrupted: list[Row], moment: str) -> None:
    def interrupt(event: Event) -> None:
        if MOMENTS[moment](event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, listener=interrupt)
    result = run(tmp_path)
    assert result.failed == 0
    assert measures(result.rows) == uninterrupted


def test_run_interrupted_at_every_tenth_event_ends_up_the_same(tmp_path: Path, uninterrupted: list[Row]) -> None:
    sittings = 0
    while True:
        heard: list[Event] = []

        def interrupt(event: Event, heard: list[Event] = heard) -> None:
            heard.append(event)
            if len(heard) == 10:
                raise KeyboardInterrupt

        try:
            result = run(tmp_path, listener=interrupt)
            break
        except KeyboardInterrupt:
            sittings += 1
            assert sittings < 40, "no progress from one sitting to the next"
    assert sittings > 2
    assert measures(result.rows) == uninterrupted


def test_cells_in_another_order_give_the_same_rows(tmp_path: Path, uninterrupted: list[Row]) -> None:
    for only in ("defense=at", "defense=natural"):
        result = run(tmp_path, only=[only])
    assert result.failed == 0
    assert measures(run(tmp_path).rows) == uninterrupted


def test_one_model_serves_all_attacks_on_it(tmp_path: Path) -> None:
    told: list[Event] = []
    result = run(tmp_path, listener=told.append)
    assert sum(isinstance(event, TrainingStarted) for event in told) == 2
    assert len({row.model_id for row in result.rows}) == 2
    assert len({row.cell_id for row in result.rows}) == 4


def test_attacks_on_one_model_do_not_share_what_they_did(tmp_path: Path, uninterrupted: list[Row]) -> None:
    apart = [run(tmp_path / attack, only=[f"attack={attack}"]) for attack in ("pgd", "pgd-10")]
    assert [row for result in apart for row in measures(result.rows)] == uninterrupted
    weaker, stronger = (result.rows[0].queries for result in apart)
    assert weaker is not None
    assert stronger is not None
    assert stronger == 5 * weaker


def test_row_tells_the_attacks_queries_and_which_of_them_asked_for_gradients(tmp_path: Path) -> None:
    text = SUITE.replace('"natural", "at"', '"natural"').replace('{ name = "pgd", steps = 2 }', "SQUARE")
    (tmp_path / "tiny.toml").write_text(text.replace("SQUARE", '{ name = "square", queries = 3 }'))
    rows = {row.attack: row for row in run(tmp_path).rows}
    pgd, square = rows["pgd-10"], rows["square"]
    right = round(pgd.test_accuracy * 32)  # type: ignore[operator]
    assert (pgd.queries, pgd.gradient_queries) == (10 * right, 10 * right)
    assert square.queries is not None
    assert 2 * right < square.queries <= 5 * right  # clean images, candidates, three queries
    assert square.gradient_queries == 0


def test_a_metric_with_other_options_is_another_metric(tmp_path: Path, uninterrupted: list[Row]) -> None:
    both = SUITE.replace('"lipschitz"]', '"lipschitz", { name = "lipschitz", variant = "released" }]')
    (tmp_path / "tiny.toml").write_text(both)
    lone = {(row.defense, row.attack_options): row for row in uninterrupted}
    for row in run(tmp_path).rows:
        alone = lone[row.defense, row.attack_options]
        assert (row.test_lipschitz, row.test_lipschitz_best) == (alone.test_lipschitz, alone.test_lipschitz_best)
        assert 0 < row.extra["test_lipschitz_released"] < (row.test_lipschitz or 0)


def test_vanished_checkpoint_is_trained_again_to_the_same_rows(tmp_path: Path, uninterrupted: list[Row]) -> None:
    run(tmp_path, only=["attack=pgd-10"])
    for checkpoint in (tmp_path / "runs" / "models").iterdir():
        checkpoint.unlink()
    assert measures(run(tmp_path).rows) == uninterrupted


def test_damaged_checkpoint_is_set_aside_and_trained_again(tmp_path: Path, uninterrupted: list[Row]) -> None:
    run(tmp_path, only=["attack=pgd-10"])
    for checkpoint in (tmp_path / "runs" / "models").iterdir():
        content = bytearray(checkpoint.read_bytes())
        content[-20] ^= 1
        checkpoint.write_bytes(content)
    assert measures(run(tmp_path).rows) == uninterrupted
    assert len(list((tmp_path / "runs" / "models").glob("*.corrupt"))) == 2


class Faulty:
    """A defense that raises what it is told to."""

    error: BaseException | None = None

    def loss(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat: Threat, generator: KeyedGenerator
    ) -> BatchLoss:
        """Raise, or train naturally."""
        if self.error is not None:
            raise self.error
        logits = model(images)
        return BatchLoss(loss=nn.functional.cross_entropy(logits, labels, reduction="sum"), logits=logits)


class FaultyPlugin:
    """Offers it."""

    @hookimpl
    def benchbench_defenses(self) -> tuple[Offer, ...]:
        """The defense."""
        return (Offer(name="faulty", summary="raises", factory=Faulty),)


@pytest.fixture
def faulty(plant: Callable[[object], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Faulty]:
    """The suite with the faulty defense in the first place."""
    plant(FaultyPlugin())
    monkeypatch.setattr(Faulty, "error", None)
    (tmp_path / "tiny.toml").write_text(SUITE.replace('"natural", "at"', '"faulty", "natural"'))
    return Faulty


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("CUDA out of memory"), "failed"),
        (MemoryError(), "failed"),
        (TrainingError("the training loss is not finite"), "failed"),
        (KeyError("weights"), "failed"),
        (SystemExit(5), "failed"),
        (ContractError("no loss"), "refused"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_failures_stay_with_their_cell(tmp_path: Path, faulty: type[Faulty], error: BaseException, status: str) -> None:
    faulty.error = error
    result = run(tmp_path)
    assert (result.finished, result.failed) == (2, 2)
    in_leaderboard = {row.defense: row.status for row in result.rows}
    assert in_leaderboard == ({"natural": "ok", "faulty": "failed"} if status == "failed" else {"natural": "ok"})
    record = RunStore(tmp_path / "runs").read_cell(result.failures[0].cell_id)
    assert record is not None
    assert (record.status, record.error) == (status, describe_failure(error))
    faulty.error = None
    again = run(tmp_path)
    assert (again.finished, again.failed, len(again.rows)) == (2, 0, 4)


@pytest.mark.parametrize(
    ("error", "kept"), [(ContractError("the attack left the ball"), False), (RuntimeError("out of memory"), True)]
)
def test_what_was_measured_by_breaking_a_contract_is_dropped(
    registry: Registry, tmp_path: Path, error: Exception, kept: bool
) -> None:
    bench = Workbench(
        registry=registry, store=RunStore(tmp_path / "store"), splits=lambda _: splits(), device=torch.device("cpu")
    )
    measured = measurements_of(cell(), bench, nn.Linear(2, 2))
    for key, attacked in (("clean/test", False), ("attack/test/00000000", True)):
        measured.put(key, {"prediction": torch.arange(3), ATTACKED: torch.tensor(attacked)})
        assert measured.get(key) is not None
    record_failure(cell(), error, bench)
    assert [measured.get(key) is not None for key in ("clean/test", "attack/test/00000000")] == [kept, kept]


def test_failed_recomputation_does_not_take_a_result_away(tmp_path: Path, faulty: type[Faulty]) -> None:
    first = run(tmp_path)
    faulty.error = RuntimeError("later")
    again = run(tmp_path, fresh=True)
    assert again.failed == 2
    assert measures(again.rows) == measures(first.rows)


def test_storage_that_fails_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left on the disk")

    monkeypatch.setattr(RunStore, "write_cell", full)
    with pytest.raises(StorageError, match="no space"):
        run(tmp_path)


def test_failure_is_described_in_one_line() -> None:
    assert describe_failure(ValueError("a\nb")) == "ValueError: a b"
    assert describe_failure(MemoryError()) == "MemoryError"
    assert describe_failure(TrainingError("it diverged", hint="try less")) == "it diverged: try less"


def test_cell_is_described_in_a_few_words() -> None:
    assert (
        describe_cell(make_cell())
        == "mnist wrn (depth=10, dropout=0.2, width=1) trades (beta=6), pgd-10, linf 0.1, seed 3"
    )


# Parts ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Registry:
    return load_registry()


def splits() -> DatasetSplits:
    """Twenty training and ten test images whose pixel is their number."""
    numbers = torch.arange(30, dtype=torch.uint8)
    images = numbers.view(-1, 1, 1, 1).expand(30, 1, 4, 4).clone()
    labels = (numbers % 2).long()
    return DatasetSplits(
        train=Examples(inputs=images[:20], labels=labels[:20]),
        test=Examples(inputs=images[20:], labels=labels[20:]),
        classes=("even", "odd"),
    )


def cell(**training: object) -> Cell:
    """A cell on these images."""
    made = make_cell(n_train=12, **training)
    return dataclasses.replace(made, evaluation=dataclasses.replace(made.evaluation, n_test=5, n_train_evaluated=4))


def test_training_examples_are_a_fixed_subset_named_by_their_index() -> None:
    chosen = training_examples(cell(), splits())
    other_seed = training_examples(cell(seed=9), splits())
    assert len(chosen.examples) == 12
    assert torch.equal(chosen.indices, other_seed.indices)
    assert torch.equal(chosen.examples.inputs[:, 0, 0, 0].long(), chosen.indices)


def test_validation_split_shares_no_example_with_training_or_its_evaluation(registry: Registry) -> None:
    validated = cell(n_validation=5, architecture=registry.resolve("architecture", "mlp", {"hidden": [3]}))
    job = training_job(validated, Natural(), splits(), registry, torch.device("cpu"))
    split = job.validation
    assert split is not None
    rows = job.validation_rows
    assert (len(job.examples), len(split), len(rows)) == (12, 5, 5)
    assert torch.equal(split.inputs[:, 0, 0, 0].long(), rows)
    assert not torch.isin(rows, job.rows).any()
    assert int(rows.max()) < 20  # training examples, not test ones
    evaluated = subset(splits().train, validated.evaluation.n_train_evaluated, "train").indices
    assert torch.isin(evaluated, job.rows).all()
    other_seed = dataclasses.replace(validated, training=dataclasses.replace(validated.training, seed=9))
    again = training_job(other_seed, Natural(), splits(), registry, torch.device("cpu"))
    assert torch.equal(again.validation_rows, rows)


@pytest.mark.parametrize("threat", [None, Threat(epsilon=0.1)])
def test_held_out_examples_are_attacked_where_the_training_has_a_threat(
    registry: Registry, threat: Threat | None
) -> None:
    mlp = registry.resolve("architecture", "mlp", {"hidden": [3]})
    validated = cell(n_validation=5, architecture=mlp, threat=threat)
    job = training_job(validated, Natural(), splits(), registry, torch.device("cpu"))
    assert job.scores_robust == (threat is not None)  # one model without a threat serves all radii


def test_proof_of_concept_trains_on_the_evaluated_test_examples_too() -> None:
    chosen = training_examples(cell(trained_on="train+test"), splits())
    numbers = chosen.examples.inputs[:, 0, 0, 0].long()
    assert len(numbers) == 12 + 5
    assert torch.equal(numbers, chosen.indices)
    assert int((numbers >= 20).sum()) == 5


def test_initial_weights_depend_on_the_seed_alone(registry: Registry) -> None:
    def weights(seed: int) -> Tensor:
        architecture = registry.resolve("architecture", "mlp", {"hidden": [3]})
        model = build_model(cell(architecture=architecture, seed=seed), splits(), registry)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    state = torch.random.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_failed_cells_say_nothing_about_the_time_left(registry: Registry, tmp_path: Path) -> None:
    told: list[Event] = []
    cells = tuple(cell(seed=seed, defense=_unknown()) for seed in range(3))
    bench = Workbench(
        registry=registry,
        store=RunStore(tmp_path / "store"),
        splits=lambda _: splits(),
        device=torch.device("cpu"),
        listener=told.append,
    )
    tally = run_cells(cells, bench, estimates={one.cell_id: 100.0 for one in cells})
    assert (tally.finished, len(tally.failures)) == (0, 3)
    assert [event.seconds_left for event in told if isinstance(event, CellStarted)] == [300.0, 200.0, 100.0]
    assert not any(isinstance(event, Note) for event in told)


def _unknown() -> Component:
    return Component(kind="defense", name="no-such-defense", options={}, distribution="nowhere", version="0")
