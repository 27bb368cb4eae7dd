"""Read the findings of a suite, and note every mistake in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from benchbench.cell.model import canonical
from benchbench.contract.columns import FILLABLE
from benchbench.contract.offers import Kind
from benchbench.errors import suggest
from benchbench.registry.options import Values, convert_options, option_specs
from benchbench.registry.wording import shown
from benchbench.suite.lines import Place
from benchbench.suite.model import Experiment, Filter, Finding
from benchbench.suite.settings import SettingsReader

MAXIMUM_FINDINGS = 200
_COMPONENTS: tuple[Kind, ...] = ("dataset", "architecture", "defense", "attack")
_COLUMNS: Mapping[str, type] = {"augmentation": str, "trained_on": str, "n_train": int, "epsilon": float}
_READ_HERE = ("where", "groups", "dataset")
_SPECS = option_specs(Finding, supplied=_READ_HERE)
_COMPARISONS = ("groups", "option", "against", "minus", "exceeds", "dataset")
_OF_DATA = ("name", "statement", "place", "exceeds", "dataset")


def read_findings(
    table: Mapping[str, object], reader: SettingsReader, experiments: Sequence[Experiment]
) -> tuple[Finding, ...]:
    """The findings of a suite with these experiments, of all profiles; mistakes are noted."""
    tables = reader.mistakes.tables(table, "findings", ())
    if len(tables) > MAXIMUM_FINDINGS:
        reader.mistakes.add(("findings",), f"more than {MAXIMUM_FINDINGS} findings")
        return ()
    names = [one.get("name") for one, _ in tables]
    for position, (_, place) in enumerate(tables):
        if names[position] in names[:position]:
            reader.mistakes.add((*place, "name"), f"another finding is named {shown(names[position])} too")
    read = _StatementReader(reader, experiments)
    return tuple(filter(None, (read.finding(*entry) for entry in tables)))


class _StatementReader:
    def __init__(self, reader: SettingsReader, experiments: Sequence[Experiment]) -> None:
        self._reader, self._mistakes = reader, reader.mistakes
        lists = [(one.dataset, *one.architectures, *one.defenses, *one.attacks) for one in experiments]
        used = [component for components in lists for component in components]
        self._used: dict[Kind, Collection[str]] = {
            kind: {one.name for one in used if one.kind == kind} for kind in _COMPONENTS
        }
        self._options = {name for one in used if one.kind == "defense" for name in one.options}

    def finding(self, table: Mapping[str, object], place: Place) -> Finding | None:
        """One finding; None if it lacks a name or statement, which is noted."""
        fields, problems = convert_options(_SPECS, table, elsewhere=_READ_HERE)
        for problem in problems:
            self._mistakes.add((*place, *problem.place), problem.message, problem.hint)
        groups = self._mistakes.tables(table, "groups", place)
        fields["groups"] = tuple(self._filter(group, at) for group, at in groups)
        fields["where"] = self._filter(self._mistakes.table(table, "where", place), (*place, "where"))
        if "dataset" in table:
            fields["dataset"] = self._reader.component("dataset", table["dataset"], (*place, "dataset"))
        given = [key for key in _COMPARISONS if key in table]
        if len(given) > 1:
            self._mistakes.add((*place, given[1]), f"{given[0]} and {given[1]} exclude each other")
        elif given and given[0] in _OF_DATA:
            self._mistakes.check_keys(table, place, _OF_DATA)
        else:
            self._check(table, fields, place)
        return Finding(**fields) if {"name", "statement"} <= fields.keys() else None

    def _check(self, table: Mapping[str, object], fields: Values, place: Place) -> None:
        """Check a finding about rows."""
        add, groups, option = self._mistakes.add, fields["groups"], fields.get("option")
        columns = [*fields.get("measures", ()), *(fields[key] for key in ("against", "minus") if fields.get(key))]
        for name in columns:
            if name not in FILLABLE:
                add((*place, "measures"), f"no measure is named {shown(name)}", suggest(name, FILLABLE))
        if not (table.get("measures") or table.get("extras")):
            add((*place, "measures"), "missing", f"a column ({', '.join(FILLABLE)}), or a metric's value in extras")
        if option and option not in self._options:
            add(
                (*place, "option"), f"no training method has the option {shown(option)}", suggest(option, self._options)
            )
        if not {"above", "below"} & table.keys():
            add((*place, "above"), "missing", "say what the effect is above or below, for instance above = 0")
        named = "attack" in fields["where"] or (groups and all("attack" in group for group in groups))
        if not named and isinstance(table.get("where", {}), dict):
            add((*place, "where"), "missing: attack", "each model has a row for every attack, so name one")

    def _filter(self, table: Mapping[str, object], place: Place) -> Filter:
        found: dict[str, tuple[object, ...]] = {}
        for key, value in table.items():
            entries, at = value if isinstance(value, list) else [value], (*place, key)
            if key in _COMPONENTS:
                found[key] = tuple(self._component(key, entry, at) for entry in entries)
            elif key in _COLUMNS:
                found[key] = tuple(self._mistakes.read({key: one}, key, place, _COLUMNS[key]) for one in entries)
            else:
                self._mistakes.add(at, "unknown column", suggest(key, (*_COMPONENTS, *_COLUMNS)))
        return found

    def _component(self, kind: Kind, entry: object, place: Place) -> object:
        """The name and the stated options of a component that the suite uses."""
        component = self._reader.component(kind, entry, place)
        if component is None:
            return entry
        if component.name not in self._used[kind]:
            hint = suggest(component.name, self._used[kind])
            self._mistakes.add(place, f"no experiment has the {kind} {component.name!r}", hint)
        stated = sorted(set(entry) - {"name"}) if isinstance(entry, dict) else []
        if kind == "dataset" and stated:
            self._mistakes.add((*place, stated[0]), "rows of a leaderboard do not show the options of a dataset")
        return {"name": component.name, **{key: canonical(component.options[key]) for key in stated}}
