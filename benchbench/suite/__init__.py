"""Suites: read TOML into a frozen `Suite`, and report all mistakes at once.

A suite file has this schema (``?`` marks optional entries)::

    name = "closer-look"              # kebab-case; the leaderboard is named after it
    protocol = "closer-look-1"        # name and version; raise it when results are no longer comparable
    title = "..."                     # ?
    summary = "..."                   # ?
    paper = "..."                     # ? citation
    seeds = [0]                       # ?

    [defaults]                        # ? settings of every experiment
    [profiles.NAME]                   # ? settings of every experiment in this profile; without any: one, "paper"

    [[experiments]]
    name = "mnist"
    dataset = "mnist"                 # or { name = "digits", scale = 2 }: options stand beside the name
    # ... settings ...
    [[experiments.overrides]]         # ? recipe fields for some models; later ones win
    defenses = ["llr", "at"]          # names, with any options; architectures = [...] likewise
    learning_rate = 1e-3
    [experiments.profiles.NAME]       # ? settings of this experiment in this profile (overrides too)

    [[findings]]                      # ? statements that `benchbench findings` judges from the rows
    name = "trades-is-smoother"       # unique
    statement = "..."                 # one sentence
    place = "section 5.2"             # ? where a text says it
    measures = ["test_lipschitz"]     # columns, and extras = [...] values of metrics; each is judged by itself
    where = { attack = "pgd-10" }     # which rows: columns with a value or a list; a component may state options, too
    groups = [{ defense = "trades" }, { defense = ["at", "rst"] }]
    ratio = true                      # ? values are compared by their ratio, else by their difference
    above = 0                         # the effect is above this, or ``below`` that, or between both

The effect of a finding is one of these, in each setting (rows that share all but the training method) and seed::

    groups                            the mean of each group minus that of the group before it
    groups, every = true              each method of a group minus each of the group before it
    groups, paired = true             the rows of one group minus those that differ in nothing but what the groups name
    option = "beta"                   from each value of a training method's option to the next one
    against = "adv_test_accuracy"     Spearman's rank correlation with another column
    minus = "gap"                     the measure minus another column of the same row
    (none of them)                    the measure
    exceeds = "two-epsilon"           by how much least distances between classes exceed 2 epsilon; or "random-labels"
    dataset = "spiral"                Theorem 4.2, tried numerically on a dataset

Settings; each is optional if another layer has it::

    architectures, defenses, attacks, metrics   lists of components: a name, or { name = ..., OPTION = ... }
    threat = { norm = "linf", epsilon = 0.1 }   the box comes from the dataset; any number may be written "8/255"
    recipe = { learning_rate, epochs, optimizer, momentum, weight_decay, batch_size, decay_epochs, decay_factor,
               augmentation = { padding, crop, flip }, precision = "float32", "bf16" or "tf32" }
    n_train, n_test, n_train_evaluated          by default all examples
    trained_on = "train"                        or "train+test", for a proof of concept
    skip = "reason"                             leaves the experiment out; "" includes it again

Layers apply in this order, and later ones win: defaults, experiment, profile, the experiment's changes for the profile.
Recipes and threats merge by field (a layer that changes the norm also gives a radius); other settings replace earlier ones.
An experiment's overrides apply after its recipe and before the profile's.
"""

from __future__ import annotations

from benchbench.suite.model import Experiment, Filter, Finding, RecipeLayer, Suite
from benchbench.suite.reading import read_suite, suite_from_table

__all__ = ["Experiment", "Filter", "Finding", "RecipeLayer", "Suite", "read_suite", "suite_from_table"]
