"""Read one layer of settings: the defaults, an experiment's, or the changes of a profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from benchbench.cell.model import Component, to_json
from benchbench.contract.offers import Kind
from benchbench.contract.recipe import Augmentation, Recipe
from benchbench.contract.threat import NO_BALL, Threat
from benchbench.errors import BenchbenchError, OptionError
from benchbench.registry import OptionSpec, Registry
from benchbench.registry.options import Values, convert_options, option_specs
from benchbench.registry.wording import shown
from benchbench.suite.lines import Place
from benchbench.suite.mistakes import Mistakes
from benchbench.suite.model import RecipeLayer, Settings, TrainedOn

COMPONENT_LISTS: Mapping[str, Kind] = {
    "architectures": "architecture",
    "defenses": "defense",
    "attacks": "attack",
    "metrics": "metric",
}
COUNTS = ("n_train", "n_test", "n_train_evaluated")
SETTINGS_KEYS = (*COMPONENT_LISTS, "threat", "recipe", *COUNTS, "trained_on", "skip")  # overrides: experiments only

_RECIPE_SPECS = option_specs(Recipe, supplied=("augmentation",))
_AUGMENTATION_SPECS = option_specs(Augmentation)
_THREAT_SPECS = tuple(
    dataclasses.replace(spec, annotation=float) if spec.name == "epsilon" else spec
    for spec in option_specs(Threat, supplied=("lower", "upper"))  # the box comes from the dataset
)
_VALID_RECIPE: Mapping[str, object] = {"learning_rate": 1.0, "epochs": 1}
_VALID_THREAT: Mapping[str, object] = {"epsilon": 0.1}
_MATCHES = ("defenses", "architectures")


class SettingsReader:
    """Reads settings tables of one suite; its mistakes are noted, never raised."""

    def __init__(self, registry: Registry, mistakes: Mistakes) -> None:
        self.registry = registry
        self.mistakes = mistakes
        self._resolved: dict[str, Component | BenchbenchError] = {}

    def settings(self, table: Mapping[str, object], place: Place, *, others: Sequence[str] = ()) -> Settings:
        """Read the settings of a table, which may also have some other keys."""
        self.mistakes.check_keys(table, place, (*others, *SETTINGS_KEYS))
        entries: Values = {key: self._components(table, key, place) for key in COMPONENT_LISTS}
        entries.update({key: self._count(table, key, place) for key in COUNTS})
        return Settings(
            **entries,
            threat=self._threat(table, place),
            recipe_layers=(*self._recipe(table, place), *self._overrides(table, place)),
            trained_on=self.mistakes.read(table, "trained_on", place, TrainedOn),
            skip=self.mistakes.read(table, "skip", place, str),
        )

    def component(self, kind: Kind, entry: object, place: Place) -> Component | None:
        """Resolve a component written as a name, or as a table of name and options."""
        options = dict(entry) if isinstance(entry, dict) else {"name": entry}
        name = options.pop("name", None)
        if not isinstance(name, str):
            got = "a table without a name" if isinstance(entry, dict) and name is None else shown(name)
            self.mistakes.add(place, f"expected a name, or a table with a name and options, got {got}")
            return None
        resolved = self._resolve(kind, name, options)
        if isinstance(resolved, Component):
            return resolved
        self.mistakes.add_error(place, resolved)
        return None

    def _resolve(self, kind: Kind, name: str, options: Mapping[str, object]) -> Component | BenchbenchError:
        key = f"{kind} {name} {sorted(options.items(), key=lambda item: item[0])!r}"
        if key not in self._resolved:
            try:
                self._resolved[key] = self.registry.resolve(kind, name, options)
            except BenchbenchError as error:
                self._resolved[key] = error
        return self._resolved[key]

    def _components(self, table: Mapping[str, object], key: str, place: Place) -> tuple[Component, ...] | None:
        if key not in table:
            return None
        entries = table[key]
        if not isinstance(entries, list) or not entries:
            self.mistakes.add((*place, key), f"expected a list of at least one name, got {shown(entries)}")
            return ()
        found: dict[str, Component] = {}
        for position, entry in enumerate(entries):
            component = self.component(COMPONENT_LISTS[key], entry, (*place, key, position))
            if component is not None and to_json(component) in found:
                self.mistakes.add((*place, key, position), f"{component.name!r} is listed twice with the same options")
            elif component is not None:
                found[to_json(component)] = component
        return tuple(found.values())

    def _count(self, table: Mapping[str, object], key: str, place: Place) -> int | None:
        count: int | None = self.mistakes.read(table, key, place, int)
        if count is not None and count < 1:
            self.mistakes.add((*place, key), f"expected an integer of at least 1, got {count}")
            return None
        return count

    def _threat(self, table: Mapping[str, object], place: Place) -> Values:
        given = self.mistakes.table(table, "threat", place)
        fields = self._fields(_THREAT_SPECS, given, (*place, "threat"), Threat, _VALID_THREAT)
        if fields.get("epsilon") == 0:
            self.mistakes.add((*place, "threat", "epsilon"), f"must be above 0: {NO_BALL}")
        return fields

    def _recipe(self, table: Mapping[str, object], place: Place) -> tuple[RecipeLayer, ...]:
        fields = self._recipe_fields(self.mistakes.table(table, "recipe", place), (*place, "recipe"))
        return (RecipeLayer(fields=fields),) if fields else ()

    def _recipe_fields(self, table: Mapping[str, object], place: Place) -> Values:
        given = {key: value for key, value in table.items() if key != "augmentation"}
        fields = self._fields(_RECIPE_SPECS, given, place, Recipe, _VALID_RECIPE)
        if "augmentation" in table:
            augmentation = self.mistakes.table(table, "augmentation", place)
            values = self._fields(_AUGMENTATION_SPECS, augmentation, (*place, "augmentation"), Augmentation, {})
            fields["augmentation"] = Augmentation(**values)
        return fields

    def _overrides(self, table: Mapping[str, object], place: Place) -> list[RecipeLayer]:
        layers = []
        for override, at in self.mistakes.tables(table, "overrides", place):
            fields = {key: value for key, value in override.items() if key not in _MATCHES}
            matches = {key: self.mistakes.read(override, key, at, tuple[str, ...], ()) for key in _MATCHES}
            if not any(key in override for key in _MATCHES):
                self.mistakes.add(at, "an override must name the defenses or architectures that it is for")
            layers.append(RecipeLayer(fields=self._recipe_fields(fields, at), **matches))
        return layers

    def _fields(
        self,
        specs: Sequence[OptionSpec],
        given: Mapping[str, object],
        place: Place,
        make: Callable[..., object],
        valid: Mapping[str, object],
    ) -> Values:
        """A dataclass's fields in a table, with `valid` values for wrong ones; `make` checks ranges."""
        values, problems = convert_options(specs, given, partial=True)
        for problem in problems:
            self.mistakes.add((*place, *problem.place), problem.message, problem.hint)
        right = {name: value for name, value in valid.items() if name in given}
        for name, value in values.items():
            try:
                make(**{**valid, name: value})
                right[name] = value
            except OptionError as error:
                self.mistakes.add((*place, name), error.message, error.hint)
        return right
