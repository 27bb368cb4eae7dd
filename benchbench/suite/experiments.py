"""Merge the layers of an experiment, and check the result."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import reduce

from benchbench.cell.model import Component
from benchbench.contract import FittingDefense
from benchbench.contract.recipe import Recipe
from benchbench.contract.threat import Threat, check_radius
from benchbench.errors import OptionError, suggest
from benchbench.registry import Registry
from benchbench.registry.options import Values
from benchbench.registry.suitability import unsuited_norm, unsuited_task
from benchbench.suite.lines import Place
from benchbench.suite.mistakes import Mistakes
from benchbench.suite.model import Experiment, Settings
from benchbench.suite.settings import COMPONENT_LISTS


def build_experiment(
    name: str, dataset: Component, layers: Sequence[Settings], *, place: Place, mistakes: Mistakes
) -> Experiment | None:
    """Merge the layers of an experiment; None if a setting is missing, which is noted."""
    merged = reduce(lambda base, top: top.over(base), layers)
    lists = {key: getattr(merged, key) for key in COMPONENT_LISTS}
    missing = [key for key, components in lists.items() if components is None]
    missing += [] if "epsilon" in merged.threat else ["threat.epsilon"]
    for key in missing:
        mistakes.add((*place, *key.split(".")), "missing", "set it in the experiment or under [defaults]")
    _check_norm(layers, place, mistakes)
    if missing:
        return None
    return Experiment(
        name=name,
        dataset=dataset,
        **lists,
        threat=Threat(**merged.threat),
        recipe_layers=merged.recipe_layers,
        n_train=merged.n_train,
        n_test=merged.n_test,
        n_train_evaluated=merged.n_train_evaluated,
        trained_on=merged.trained_on or "train",
        skip=merged.skip or "",
    )


def _check_norm(layers: Sequence[Settings], place: Place, mistakes: Mistakes) -> None:
    """Note a layer that changes the norm without a radius: that of another norm does not fit."""
    norm, norm_of_radius = "linf", None
    for layer in layers:
        norm = layer.threat.get("norm", norm)
        norm_of_radius = norm if "epsilon" in layer.threat else norm_of_radius
    if norm_of_radius not in (None, norm):
        message = f"the norm is {norm}, but the radius was given for {norm_of_radius}"
        mistakes.add((*place, "threat"), message, f'give both: threat = {{ norm = "{norm}", epsilon = ... }}')


def check_experiment(variants: Sequence[Experiment], *, registry: Registry, place: Place, mistakes: Mistakes) -> None:
    """Note the mistakes of an experiment, given in the variant of each profile."""
    _check_overrides(variants, place, mistakes)
    for experiment in variants:
        _check_recipes(experiment, registry, place, mistakes)
        _check_capabilities(experiment, registry, place, mistakes)
        _check_radius(experiment, registry, place, mistakes)


def _check_radius(experiment: Experiment, registry: Registry, place: Place, mistakes: Mistakes) -> None:
    """Check L-inf radii of images, which are in [0, 1]; the plan checks others with the data."""
    if experiment.threat.norm == "linf" and registry.capabilities(experiment.dataset).channels:
        try:
            check_radius(experiment.threat, ())
        except OptionError as error:
            mistakes.add((*place, "threat", "epsilon"), error.message, error.hint)


def _check_recipes(experiment: Experiment, registry: Registry, place: Place, mistakes: Mistakes) -> None:
    """Note missing fields, and those that do not fit each other; the values are checked already."""
    for architecture, defense in itertools.product(experiment.architectures, experiment.defenses):
        given: Values = {}
        for layer in experiment.recipe_layers:
            given.update(layer.fields if layer.applies_to(architecture, defense) else {})
        if given.get("optimizer") == "none":
            continue
        missing = [field for field in ("learning_rate", "epochs") if field not in given]
        for field in missing:
            mistakes.add((*place, "recipe", field), "missing", "set it in the experiment or under [defaults]")
        if not missing:
            made = registry.make("defense", defense)
            recipe = experiment.recipe_for(architecture, defense, made)
            unfit = recipe.contradictions | _unfit(recipe, experiment, defense, made, registry)
            for field, reason in unfit.items():
                mistakes.add((*place, "recipe", field), f"{field} {reason}", "an override may set it for some defenses")


def _unfit(
    recipe: Recipe, experiment: Experiment, defense: Component, made: object, registry: Registry
) -> dict[str, str]:
    """Fields of a recipe that a defense (as `made`) or an experiment cannot use, with reasons."""
    what = f"defense {defense.name!r}"
    capabilities, task = registry.capabilities(defense), registry.capabilities(experiment.dataset).task
    fits = task == "regression" or isinstance(made, FittingDefense)
    loop_only = f"has no meaning for {what}, which fits without the training loop"
    selects_robust = recipe.checkpoint_selection == "best-robust"
    checks = {
        ("label_smoothing", f"has no meaning for {what}, which does not offer it"): not recipe.label_smoothing
        or getattr(made, "smooths_labels", False),
        ("checkpoint_selection", f"'best-robust' needs a threat, and {what} trains without one"): not selects_robust
        or capabilities.uses_threat,
        ("validation", "would hold out test examples: the experiment trains on train+test"): not recipe.validation
        or experiment.trained_on == "train",
        ("validation", loop_only): not (fits and recipe.validation),
        ("weight_averaging", loop_only): not fits or recipe.weight_averaging == "none",
    }
    return {name: reason for (name, reason), fit in checks.items() if not fit}


def _check_overrides(variants: Sequence[Experiment], place: Place, mistakes: Mistakes) -> None:
    """An override for a defense or architecture that no profile has is a mistake."""
    known = {
        "defense": {component.name for experiment in variants for component in experiment.defenses},
        "architecture": {component.name for experiment in variants for component in experiment.architectures},
    }
    for layer in {id(layer): layer for experiment in variants for layer in experiment.recipe_layers}.values():
        for kind, names in (("defense", layer.defenses), ("architecture", layer.architectures)):
            for name in names:
                if name not in known[kind]:
                    message = f"the experiment has no {kind} {name!r}"
                    mistakes.add((*place, "overrides"), message, suggest(name, known[kind]))


def _check_capabilities(experiment: Experiment, registry: Registry, place: Place, mistakes: Mistakes) -> None:
    norm, dataset = experiment.threat.norm, registry.capabilities(experiment.dataset)
    lists: Mapping[str, tuple[Component, ...]] = {key: getattr(experiment, key) for key in COMPONENT_LISTS}
    for key, components in {"dataset": experiment.dataset.with_nested[1:], **lists}.items():
        for component in (one for outer in components for one in outer.with_nested):
            capabilities = registry.capabilities(component)
            what = f"{component.kind} {component.name!r}"
            in_norm = None if key == "architectures" else unsuited_norm(capabilities, norm)
            for_task = unsuited_task(capabilities, dataset.task, data=f"but {experiment.dataset.name!r}")
            for unsuited in filter(None, (in_norm, for_task)):
                mistakes.add((*place, key), f"{what} {unsuited.reason}", unsuited.hint)
