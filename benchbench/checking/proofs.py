"""What checks each column of a row: the table behind `verify`'s list of claims and the documentation."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from benchbench.records import Row

Circumstance = Literal["registered", "fitted"]
"""The row's suite is ``registered`` here; its model was ``fitted`` again, not read from a checkpoint."""


class Proof(NamedTuple):
    """What some columns are checked against, in Markdown, and what stays a claim, `unless` that is checked, too."""

    columns: str  # their names, separated by spaces
    by: str
    claimed: str = ""
    unless: Circumstance | None = None


_WILSON = "Wilson's interval"
PROOFS: tuple[Proof, ...] = (
    Proof("cell_id model_id", "the digests of `configuration`"),
    Proof(
        "suite profile protocol experiment configuration",
        "the suite of that name, if it is registered here: it has this cell in this profile, with any seed and precision",
        "that a suite has this cell: no suite of that name is registered here",
        "registered",
    ),
    Proof("dataset dataset_digest n_test n_train_evaluated", "`configuration`; the digest of the data here"),
    Proof("norm epsilon", "`configuration`; every adversarial image lies in this ball"),
    Proof("architecture architecture_options", "`configuration`; the weights fit it"),
    Proof(
        "defense defense_options train_norm train_epsilon seed trained_on n_train epochs augmentation dropout "
        "train_precision checkpoint_selection",
        "`configuration`; `epochs` also the checkpoint's",
        "that the weights come from this training; `rerun` trains again",
        "fitted",
    ),
    Proof(
        "attack attack_options precision",
        "`configuration`",
        "that this attack, in this precision, made the adversarial images",
    ),
    Proof(
        "test_accuracy test_accuracy_low test_accuracy_high",
        f"outcomes; one pass over the test examples; {_WILSON}",
    ),
    Proof(
        "adv_test_accuracy adv_test_accuracy_low adv_test_accuracy_high",
        f"outcomes; one pass over the adversarial images, which proves it as an upper bound; {_WILSON}",
    ),
    Proof(
        "train_accuracy train_accuracy_low train_accuracy_high train_mse",
        f"one pass over the training examples evaluated; {_WILSON}",
    ),
    Proof("gap", "the difference of the two accuracies, or squared errors"),
    Proof(
        "adv_train_accuracy adv_train_accuracy_low adv_train_accuracy_high adv_gap",
        f"at most `train_accuracy`; {_WILSON}; the difference of the two accuracies, or squared errors",
        "what the attack did to training examples: those adversarial images are not kept",
    ),
    Proof(
        "test_lipschitz test_lipschitz_low test_lipschitz_high test_lipschitz_best",
        "mean and bootstrap interval of the outcomes",
        "each example's value, which a search found",
    ),
    Proof("test_mse adv_test_mse", "outcomes; one pass over inputs and adversarial inputs"),
    Proof("flags diagnostics", "nothing", "that the diagnostics found these flags, and no others"),
    Proof(
        "extra",
        "mean or bootstrap interval of the outcomes: values of released Lipschitzness and of squared errors",
        "the other values, and each example's released Lipschitzness",
    ),
    Proof(
        "device versions git_commit train_seconds evaluate_seconds peak_memory_bytes queries gradient_queries",
        "nothing",
        "where, by what code and at what cost it was computed",
    ),
    Proof(
        "source status error published_source published_table",
        "`measured`, `ok` and three empty texts; other rows are not judged",
    ),
    Proof("outcomes_digest witnesses_digest", "the SHA-256 of the files' content"),
)
"""Every column of `Row`, once."""


def claims_of(row: Row, circumstances: Collection[Circumstance]) -> dict[str, str]:
    """What stays a claim about each column of a row that states something, even if all its evidence is here."""
    proofs = [proof for proof in PROOFS if proof.claimed and proof.unless not in circumstances]
    stated = ((column, proof.claimed) for proof in proofs for column in proof.columns.split())
    return {column: claimed for column, claimed in stated if getattr(row, column) is not None}


def proofs_table() -> str:
    """The table in ``docs/leaderboards.md``, in Markdown."""
    rows = [(", ".join(f"`{name}`" for name in p.columns.split()), p.by, p.claimed) for p in PROOFS]
    head = "| columns | are checked against | claimed, not checked |\n| --- | --- | --- |\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)
