"""What plugins rely on stays while `API_VERSION` does: a change that would break a correct plugin has to raise it.

``interface-N.json`` holds the names of version N. After an addition, record it: ``python tests/registry/test_offers.py``.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import benchbench.contract
import benchbench.testing
from benchbench.contract import API_VERSION, MOVED, Offer
from benchbench.registry.offers import OLDEST_SUPPORTED, offer_mistakes

Described = dict[str, dict[str, Any]]
RECORDED = Path(__file__).with_name(f"interface-{API_VERSION}.json")
GIVEN = {"Evidence", "RegressionEvidence", "Host"}  # Protocols that the host implements: more methods break nobody


def described(value: Any) -> dict[str, Any]:
    """What a plugin can rely on about a name: methods, fields or parameters, each with whether it has to be given."""
    if getattr(value, "_is_protocol", False):
        members = {one for base in value.__mro__ for one in vars(base) if not one.startswith("_")}
        return {"protocol": sorted(members)}
    if dataclasses.is_dataclass(value):
        missing = dataclasses.MISSING
        required = {f.name: f.default is missing and f.default_factory is missing for f in dataclasses.fields(value)}
        return {"fields": required}
    if inspect.isfunction(value):
        parameters = inspect.signature(value).parameters.values()
        return {"parameters": {p.name: p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD}}
    if inspect.isclass(value):
        return {"methods": sorted(name for name, one in vars(value).items() if callable(one) and name[0] != "_")}
    return {}


def interface() -> dict[str, Described]:
    names = {
        benchbench.contract: [*benchbench.contract.__all__, *MOVED],
        benchbench.testing: benchbench.testing.__all__,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the moved names, which still have to work
        return {
            module.__name__: {name: described(getattr(module, name)) for name in sorted(names[module])}
            for module in names
        }


def breaks(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What about a name would break a plugin that was correct before."""
    found = []
    for sort, old in before.items():
        new = after.get(sort)
        if new is None:
            found.append(f"{name} is something else now")
            continue
        gone = [one for one in old if one not in new]
        added = [one for one in new if one not in old]
        if sort == "protocol":
            demanded = [] if name in GIVEN else added
        else:
            demanded = [one for one in added if isinstance(new, dict) and new[one]]
            demanded += [one for one in old if isinstance(new, dict) and new.get(one) and not old[one]]
        found += [f"{name}.{one} is gone" for one in gone] + [f"{name}.{one} is demanded now" for one in demanded]
    return found


def all_breaks(before: dict[str, Described], after: dict[str, Described]) -> list[str]:
    found = []
    for module, names in before.items():
        for name, old in names.items():
            there = name in after[module]
            found += breaks(name, old, after[module][name]) if there else [f"{module}.{name} is gone"]
    return found


def test_nothing_that_plugins_rely_on_has_changed_within_this_version() -> None:
    before = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert all_breaks(before, interface()) == [], "raise API_VERSION: see docs/plugins.md, Versions of the interface"


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [
        ({"protocol": ["load"]}, {"protocol": ["load", "extent"]}, ["Thing.extent is demanded now"]),
        ({"protocol": ["load"]}, {"protocol": ["read"]}, ["Thing.load is gone", "Thing.read is demanded now"]),
        ({"fields": {"a": True}}, {"fields": {"a": True, "b": False}}, []),
        ({"fields": {"a": True}}, {"fields": {"a": True, "b": True}}, ["Thing.b is demanded now"]),
        ({"parameters": {"a": False}}, {"parameters": {"a": True}}, ["Thing.a is demanded now"]),
        ({"parameters": {"a": False}}, {"parameters": {}}, ["Thing.a is gone"]),
        ({"methods": ["a"]}, {"methods": ["a", "b"]}, []),
        ({"methods": ["a"]}, {"fields": {}}, ["Thing is something else now"]),
    ],
)
def test_change_that_would_break_a_plugin_is_reported(
    before: dict[str, Any], after: dict[str, Any], breaking: list[str]
) -> None:
    assert breaks("Thing", before, after) == breaking
    assert all_breaks({"m": {"Thing": before}}, {"m": {"Thing": after}}) == breaking


def test_name_that_goes_is_reported_and_what_the_host_gives_may_grow() -> None:
    assert all_breaks({"m": {"Thing": {}}}, {"m": {}}) == ["m.Thing is gone"]
    assert breaks("Host", {"protocol": ["wait"]}, {"protocol": ["wait", "say"]}) == []


@pytest.mark.parametrize("name", sorted(MOVED))
def test_name_that_left_the_contract_still_works_and_says_what_to_do(name: str) -> None:
    assert name not in benchbench.contract.__all__
    with pytest.warns(DeprecationWarning, match=rf"contract\.{name} is .*API version 2 removes it: \w+"):
        assert getattr(benchbench.contract, name) is getattr(importlib.import_module(MOVED[name]), name)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        benchbench.contract.Nothing  # noqa: B018


def test_every_name_of_the_contract_is_explained_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert [name for name in benchbench.contract.__all__ if not re.search(rf"\b{name}\b", page)] == []


def test_versions_fit_together_and_the_page_states_the_present_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert 1 <= OLDEST_SUPPORTED <= API_VERSION
    assert f"    BENCHBENCH_API = {API_VERSION}\n" in page


@pytest.mark.parametrize("revision", [0, -1, 1.0, True, "2", None])
def test_revision_is_an_integer_of_at_least_one(revision: object) -> None:
    offer = Offer(name="a", summary="A toy.", factory="a:b", revision=revision)  # type: ignore[arg-type]
    assert offer_mistakes(offer) == ["a: revision must be an integer of at least 1"]
    assert offer_mistakes(dataclasses.replace(offer, revision=2)) == []


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(interface(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
