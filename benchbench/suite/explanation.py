"""A suite as TOML with nothing left to merge: `extends`, defaults, profiles are applied."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from benchbench.cell.model import Component
from benchbench.contract.recipe import Augmentation
from benchbench.registry import Registry
from benchbench.suite.files import read_text
from benchbench.suite.model import Experiment, Finding, Suite
from benchbench.suite.settings import COMPONENT_LISTS, COUNTS

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_TEXTS = ("name", "protocol", "title", "summary", "paper")


def explain(suite: Suite, registry: Registry, profile: str | None = None) -> str:
    """TOML that reads as the same suite, or as one of its profiles (else `UnknownNameError`).

    Every option of a component is stated, except those that its name fixes.
    """
    profiles = suite.profiles if profile is None else (profile,)
    grids = [suite.profile(name) for name in profiles]
    write = _Writer(registry)
    heads = [f"{key} = {write.value(getattr(suite, key))}" for key in _TEXTS if getattr(suite, key)]
    parts = ["\n".join([*heads, f"seeds = {write.value(suite.seeds)}"]), *(f"[profiles.{name}]" for name in profiles)]
    for variants in zip(*grids):
        first = variants[0]
        named = [f"name = {write.value(first.name)}", f"dataset = {write.value(first.dataset)}"]
        parts.append("\n".join(["[[experiments]]", *named]))
        if len(profiles) == 1:
            parts[-1] += "\n" + "\n".join(write.settings(first, "experiments"))
            continue
        for name, variant in zip(profiles, variants):
            place = f"experiments.profiles.{name}"
            parts.append("\n".join([f"[{place}]", *write.settings(variant, place)]))
    parts += [write.finding(one) for one in suite.findings]
    return "\n\n".join(parts) + "\n"


def carried_text(suite: Suite, registry: Registry) -> str:
    """The text of a suite for another folder or machine, where what it extends may be missing."""
    return explain(suite, registry) if suite.extends else read_text(Path(suite.source))


class _Writer:
    """Writes values as TOML."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def settings(self, experiment: Experiment, place: str) -> Iterator[str]:
        """All settings of an experiment, and its overrides, which lie in the table at a place."""
        for key in COMPONENT_LISTS:
            yield f"{key} = [\n{''.join(f'    {self.value(one)},{chr(10)}' for one in getattr(experiment, key))}]"
        radii = [{"norm": threat.norm, "epsilon": threat.epsilon} for threat in experiment.evaluation]
        yield f"threat = {self.value({'norm': experiment.threat.norm, 'epsilon': experiment.threat.epsilon})}"
        yield f"evaluation = {self.value(radii)}"
        shared, overrides = _recipes(experiment)
        yield f"recipe = {self.value(shared)}"
        stated = {key: getattr(experiment, key) for key in (*COUNTS, "trained_on", "seeds", "skip")}
        yield from (f"{key} = {self.value(value)}" for key, value in stated.items() if value not in (None, ""))
        for override in overrides:
            yield "\n".join([f"\n[[{place}.overrides]]", *(f"{key} = {self.value(override[key])}" for key in override)])

    def finding(self, finding: Finding) -> str:
        """A finding, with what differs from the defaults."""
        plain = {f.name: (getattr(finding, f.name), f.default) for f in fields(finding)}
        stated = {name: value for name, (value, default) in plain.items() if value != default and value not in ((), {})}
        return "\n".join(["[[findings]]", *(f"{key} = {self.value(value)}" for key, value in stated.items())])

    def value(self, value: object) -> str:
        """A value as TOML on one line."""
        if isinstance(value, Component):
            options = {name: option for name, option in value.options.items() if name in self._settable(value)}
            return self.value({"name": value.name, **options} if options else value.name)
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        if isinstance(value, (tuple, list)):
            return f"[{', '.join(map(self.value, value))}]"
        if isinstance(value, Augmentation):
            return self.value(vars(value))
        if isinstance(value, Mapping):
            known = {key if _BARE_KEY.match(key) else json.dumps(key): one for key, one in value.items()}
            return f"{{ {', '.join(f'{key} = {self.value(one)}' for key, one in known.items() if one is not None)} }}"
        return json.dumps(value)

    def _settable(self, component: Component) -> set[str]:
        return {spec.name for spec in self._registry.options(component.kind, component.name) if not spec.fixed}


def _recipes(experiment: Experiment) -> tuple[Mapping[str, object], Sequence[Mapping[str, object]]]:
    """The fields that the recipes of all models share, and the others as overrides."""
    pairs = {(a.name, d.name): (a, d) for a in experiment.architectures for d in experiment.defenses}
    recipes = {names: experiment.recipe_fields(*pair) for names, pair in pairs.items()}
    first, *others = recipes.values()
    shared = {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}
    overrides = []
    for network in dict.fromkeys(network for network, _ in recipes):
        left = {defense: fields for (of, defense), fields in recipes.items() if of == network}
        while left:
            fields = next(iter(left.values()))
            alike = [defense for defense, found in left.items() if found == fields]
            own = {key: value for key, value in fields.items() if key not in shared}
            overrides += [{"architectures": [network], "defenses": alike, **own}] if own else []
            left = {defense: found for defense, found in left.items() if defense not in alike}
    return shared, overrides
