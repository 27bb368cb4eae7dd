"""What checks each column of a row, and what stays a claim."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from benchbench.records import Row


class Proof(NamedTuple):
    """What columns are checked against, in Markdown; what stays a claim, with an exception."""

    columns: str  # their names, separated by spaces
    by: str
    claimed: str = ""
    unless: str = ""  # "registered": the row's suite is; "fitted": the model was, again; "attacked": it was, again


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
        "`configuration`; this attack, made again, breaks no more",
        "that this attack made the adversarial images",
        "attacked",
    ),
    Proof("test_accuracy test_accuracy_low test_accuracy_high", "outcomes; one pass over the test examples"),
    Proof(
        "adv_test_accuracy adv_test_accuracy_low adv_test_accuracy_high",
        "outcomes; one pass over the adversarial images, which proves it as an upper bound",
    ),
    Proof(
        "train_accuracy train_accuracy_low train_accuracy_high train_mse",
        "one pass over the training examples evaluated",
    ),
    Proof("gap", "the difference of the two accuracies, or squared errors"),
    Proof(
        "adv_train_accuracy adv_train_accuracy_low adv_train_accuracy_high adv_gap",
        "`adv_gap` is the difference of the two accuracies, or squared errors",
        "what the attack did to training examples: those adversarial images are not kept",
    ),
    Proof(
        "test_lipschitz test_lipschitz_low test_lipschitz_high test_lipschitz_best",
        "mean of the outcomes, and its bootstrap interval",
        "each example's value, which a search found",
    ),
    Proof("test_mse adv_test_mse", "outcomes; one pass over inputs and adversarial inputs"),
    Proof("flags diagnostics", "nothing", "that the diagnostics found these flags, and no others"),
    Proof(
        "extra",
        "means of outcomes (released Lipschitzness), their bootstrap intervals (also of squared errors)",
        "the other values, and each example's released Lipschitzness",
    ),
    Proof(
        "device versions git_commit train_seconds evaluate_seconds peak_memory_bytes queries gradient_queries",
        "nothing",
        "where, by what code and at what cost it was computed",
    ),
    Proof(
        "source status error published_source published_table",
        "`measured`, `ok`, else empty; other rows are not judged",
    ),
    Proof("outcomes_digest witnesses_digest", "the SHA-256 of the files' content"),
)
"""Every column of `Row`, once."""


def claims_of(row: Row, checked: Collection[str]) -> dict[str, str]:
    """What stays a claim about each column that states something, if all evidence is here."""
    proofs = [proof for proof in PROOFS if proof.claimed and proof.unless not in checked]
    stated = ((column, proof.claimed) for proof in proofs for column in proof.columns.split())
    return {column: claimed for column, claimed in stated if getattr(row, column) is not None}
