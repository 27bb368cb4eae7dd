"""Merge the layers of an experiment, and check the result."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import reduce

from benchbench.cell.model import Component
from benchbench.contract import FittingDefense
from benchbench.contract.recipe import Recipe
from benchbench.contract.threat import Threat, check_radius
from benchbench.errors import BenchbenchError, OptionError, suggest
from benchbench.registry import Registry
from benchbench.registry.suitability import unsuited_norm, unsuited_task
from benchbench.suite.layers import Draft
from benchbench.suite.lines import Place
from benchbench.suite.mistakes import Mistakes
from benchbench.suite.model import Experiment, Settings
from benchbench.suite.settings import COMPONENT_LISTS


def build_experiment(draft: Draft, dataset: Component, profile: str, mistakes: Mistakes) -> Experiment | None:
    """Merge the layers of an experiment; None if a setting is missing, which is noted."""
    layers, place = draft.settings(profile), draft.place
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
        name=draft.name,
        dataset=dataset,
        **lists,
        threat=Threat(**merged.threat),
        evaluation=_evaluation(merged, place, mistakes),
        recipe_layers=merged.recipe_layers,
        n_train=merged.n_train,
        n_test=merged.n_test,
        n_train_evaluated=merged.n_train_evaluated,
        trained_on=merged.trained_on or "train",
        seeds=merged.seeds or (0,),
        skip=merged.skip or "",
    )


def _evaluation(merged: Settings, place: Place, mistakes: Mistakes) -> tuple[Threat, ...]:
    """The threats of evaluation; a field that one leaves out is that of training."""
    found: dict[Threat, None] = {}
    for position, changes in enumerate(merged.evaluation or ({},)):
        at, norm = (*place, "evaluation", position), merged.threat.get("norm", "linf")
        threat = Threat(**{**merged.threat, **changes})
        if threat.norm != norm and "epsilon" not in changes:
            mistakes.add(at, f"a radius for {norm} says nothing in {threat.norm}", "give both norm and epsilon")
        found[threat] = None
    return tuple(found)


def _check_norm(layers: Sequence[Settings], place: Place, mistakes: Mistakes) -> None:
    """Note a layer that changes the norm without a radius: that of another norm does not fit."""
    norm, norm_of_radius = "linf", None
    for layer in layers:
        norm = layer.threat.get("norm", norm)
        norm_of_radius = norm if "epsilon" in layer.threat else norm_of_radius
    if norm_of_radius not in (None, norm):
        message = f"the norm is {norm}, but the radius was given for {norm_of_radius}"
        mistakes.add((*place, "threat"), message, f'give both: threat = {{ norm = "{norm}", epsilon = ... }}')


def check_experiment(draft: Draft, variants: Sequence[Experiment], *, registry: Registry, mistakes: Mistakes) -> None:
    """Note the mistakes of an experiment, given in the variant of each profile."""
    place = draft.place
    _check_overrides(draft, variants, mistakes)
    for experiment in variants:
        _check_recipes(experiment, registry, place, mistakes)
        _check_capabilities(experiment, registry, place, mistakes)
        _check_radius(experiment, registry, place, mistakes)


def _check_radius(experiment: Experiment, registry: Registry, place: Place, mistakes: Mistakes) -> None:
    """Check L-inf radii of images, which are in [0, 1]; the plan checks others with the data."""
    radii: dict[Place, Threat] = {("evaluation", n): one for n, one in enumerate(experiment.evaluation)}
    radii[("threat",)] = experiment.threat
    for key, threat in radii.items() if registry.capabilities(experiment.dataset).channels else ():
        if threat.norm == "linf" and (threat != experiment.threat or key == ("threat",)):
            try:
                check_radius(threat, ())
            except OptionError as error:
                mistakes.add((*place, *key, "epsilon"), error.message, error.hint)


def _check_recipes(experiment: Experiment, registry: Registry, place: Place, mistakes: Mistakes) -> None:
    """Note missing fields, and those that do not fit each other; the values are checked already."""
    for architecture, defense in itertools.product(experiment.architectures, experiment.defenses):
        given = experiment.recipe_fields(architecture, defense)
        if given.get("optimizer") == "none":
            continue
        missing = [field for field in ("learning_rate", "epochs") if field not in given]
        for field in missing:
            mistakes.add((*place, "recipe", field), "missing", "set it in the experiment or under [defaults]")
        if not missing:
            made = registry.make("defense", defense)
            try:
                recipe = experiment.recipe_for(architecture, defense, made)
            except BenchbenchError as error:
                mistakes.add((*place, "defenses"), error.message, error.hint)
                continue
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


def _check_overrides(draft: Draft, variants: Sequence[Experiment], mistakes: Mistakes) -> None:
    """An override for what no profile has is a mistake, unless it is inherited."""
    known = {
        "defense": {component.name for experiment in variants for component in experiment.defenses},
        "architecture": {component.name for experiment in variants for component in experiment.architectures},
    }
    for layer in (layer for _, settings in draft.layers[draft.inherited :] for layer in settings.recipe_layers):
        for kind, names in (("defense", layer.defenses), ("architecture", layer.architectures)):
            for name in names:
                if name not in known[kind]:
                    message = f"the experiment has no {kind} {name!r}"
                    mistakes.add((*draft.place, "overrides"), message, suggest(name, known[kind]))


def _check_capabilities(experiment: Experiment, registry: Registry, place: Place, mistakes: Mistakes) -> None:
    dataset, attacked = registry.capabilities(experiment.dataset), dict.fromkeys(t.norm for t in experiment.evaluation)
    lists: Mapping[str, tuple[Component, ...]] = {key: getattr(experiment, key) for key in COMPONENT_LISTS}
    for key, components in {"dataset": experiment.dataset.with_nested[1:], **lists}.items():
        for component in (one for outer in components for one in outer.with_nested):
            capabilities = registry.capabilities(component)
            what = f"{component.kind} {component.name!r}"
            norms = attacked if key in ("attacks", "metrics") else (experiment.threat.norm,)
            in_norms = [] if key == "architectures" else [unsuited_norm(capabilities, norm) for norm in norms]
            for_task = unsuited_task(capabilities, dataset.task, data=f"but {experiment.dataset.name!r}")
            for unsuited in filter(None, (*in_norms, for_task)):
                mistakes.add((*place, key), f"{what} {unsuited.reason}", unsuited.hint)
