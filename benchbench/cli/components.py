"""Components on the command line: a name, or a TOML inline table, as in a suite."""

from __future__ import annotations

import importlib
import inspect
import sys
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchbench.cli.options import FILE, RADIUS, Function, with_options
from benchbench.cli.printing import note
from benchbench.contract.threat import NORMS
from benchbench.errors import DataError, PluginError, UsageError
from benchbench.registry import Registry
from benchbench.registry.lookup import ComponentEntry, find_component

if TYPE_CHECKING:
    from torch import nn

    from benchbench.cell.model import Component
    from benchbench.contract import DatasetSplits


class ComponentType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """Converts ``pgd-10`` or ``{name = "pgd", steps = 50}``."""

    name = "NAME|{name=..., OPTION=...}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ComponentEntry:
        """The name, or the table."""
        if not isinstance(value, str) or not value.lstrip().startswith("{"):
            return value  # type: ignore[no-any-return]
        try:
            table = tomllib.loads(f"entry = {value}")["entry"]
        except (ValueError, RecursionError) as error:
            self.fail(f"{value!r} is not a TOML inline table: {error}", param, ctx)
        if not isinstance(table.get("name"), str):
            self.fail(f'{value!r} has no name; expected {{name = "...", OPTION = ...}}', param, ctx)
        return dict(table)


COMPONENT = ComponentType()
_MODEL_OPTIONS = (
    click.option("--dataset", required=True, type=COMPONENT, help="The dataset."),
    click.option(
        "--architecture",
        type=COMPONENT,
        help="A registered architecture, or module:callable that makes the network (input_shape and classes are passed if it "
        "takes them); by default the one that the checkpoint or its run folder records.",
    ),
    click.option(
        "--checkpoint", required=True, type=FILE, help="Weights: safetensors, a torch file, or a Hugging Face folder."
    ),
    click.option("--weights", "key", default="", metavar="KEY", help="Which weights, if the file holds several."),
    click.option(
        "--epsilon",
        type=RADIUS,
        help="Radius of the threat in pixels / 255, for instance 8/255; by default the paper's for the dataset and norm.",
    ),
)


_ATTACK_OPTIONS = (
    click.option(
        "--attack", "attacks", multiple=True, default=("pgd-10",), type=COMPONENT, help="Repeatable; by default pgd-10."
    ),
    click.option(
        "--norm", type=click.Choice(NORMS), help="Norm of the threat; by default linf with --epsilon, else the paper's."
    ),
    click.option("--n-test", type=click.IntRange(min=1), help="Test examples, a fixed subset; by default all."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random draws."),
)


def attack_options(function: Function) -> Function:
    """How models are attacked: ``--attack``, ``--norm``, ``--n-test``, ``--seed``."""
    return with_options(function, *_ATTACK_OPTIONS)


def model_options(function: Function) -> Function:
    """Model, data and threat: ``--dataset`` to ``--epsilon``, as `_MODEL_OPTIONS` lists them."""
    return with_options(function, *_MODEL_OPTIONS)


def component_name(entry: ComponentEntry) -> str:
    """The name of a component on the command line."""
    return entry if isinstance(entry, str) else str(entry["name"])


def find_architecture(registry: Registry, entry: ComponentEntry | None, checkpoint: Path) -> ComponentEntry:
    """The user's architecture, else the one that the checkpoint records."""
    if entry is not None:
        return entry
    from benchbench.own_model.origin import recorded_architecture

    return recorded_architecture(checkpoint, registry)


def read_model(
    registry: Registry,
    entry: ComponentEntry | None,
    checkpoint: Path,
    splits: DatasetSplits,
    *,
    key: str,
    dataset: Component,
) -> nn.Module:
    """The model of a checkpoint; a note says which of several weights are taken."""
    from benchbench.own_model.files import load_weights

    load = partial(load_weights, path=checkpoint, key=key, dataset=dataset)
    network = find_architecture(registry, entry, checkpoint)
    model = make_architecture(registry, network, load, input_shape=splits.input_shape, classes=len(splits.classes))
    if said := load(model):
        note(said)
    return model


def make_architecture(
    registry: Registry,
    entry: ComponentEntry,
    load: Callable[[nn.Module], object],
    *,
    input_shape: tuple[int, ...],
    classes: int,
) -> nn.Module:
    """Make a registered architecture that the weights fit, or call a ``module:callable``."""
    from benchbench.kernels.sketches import sketch

    name = component_name(entry)
    registered = {offered.offer.name for offered in registry.offers("architecture")}
    if ":" not in name or name.partition(":")[0] in registered:
        component = find_component(registry, "architecture", entry)

        def make() -> nn.Module:
            return registry.make("architecture", component, input_shape=input_shape, classes=classes)

        if shapes := sketch(make):
            load(shapes)  # a network of another size is not built
        return make()
    options = {} if isinstance(entry, str) else {key: value for key, value in entry.items() if key != "name"}
    return _call(name, options, {"input_shape": input_shape, "classes": classes})


def _call(name: str, options: Mapping[str, object], supplied: Mapping[str, object]) -> nn.Module:
    """Call the user's function with the options, and with those of `supplied` that it takes."""
    from torch import nn

    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # the installed command, unlike ``python -m``, does not look in the current folder
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module), attribute)
        taken = inspect.signature(function).parameters
        model = function(**{key: value for key, value in supplied.items() if key in taken}, **options)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot import {name!r}: {error}", hint="expected module:callable") from error
    except Exception as error:  # the user's function may raise any error
        raise PluginError(f"{name!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise DataError(f"{name!r} made a {type(model).__name__}, expected: nn.Module")
    return model
