"""Components on the command line: a name, or a TOML inline table, as in a suite."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchbench.cli.options import FILE, Function, with_options
from benchbench.cli.printing import note
from benchbench.contract.threat import NORMS
from benchbench.registry import Registry
from benchbench.registry.lookup import ComponentEntry, find_component

if TYPE_CHECKING:
    from torch import nn

    from benchbench.cell.model import Component
    from benchbench.contract import DatasetSplits
    from benchbench.own_model.architectures import Architecture


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
        help="A registered architecture, or FILE.py:callable or module:callable that makes the network (input_shape, "
        "classes, num_classes are passed if it takes them); by default the one that the checkpoint or its run folder records.",
    ),
    click.option("--weights", "key", default="", metavar="KEY", help="Which weights, if the file holds several."),
)
RADIUS_HELP = (
    "Radius of the threat in pixels / 255, for instance 8/255; by default the paper's for the dataset and norm."
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
    """Data and model: ``--dataset`` to ``--weights``, as `_MODEL_OPTIONS` lists them."""
    weights = "Weights: safetensors, a torch file, or a Hugging Face folder."
    checkpoint = click.option("--checkpoint", required=True, type=FILE, help=weights)
    return with_options(function, *_MODEL_OPTIONS[:2], checkpoint, *_MODEL_OPTIONS[2:])


def checkpoint_argument(function: Function) -> Function:
    """The same with CHECKPOINT as an argument."""
    return with_options(function, click.argument("checkpoint", type=FILE), *_MODEL_OPTIONS)


def component_name(entry: ComponentEntry) -> str:
    """The name of a component on the command line."""
    return entry if isinstance(entry, str) else str(entry["name"])


def find_architecture(registry: Registry, entry: ComponentEntry | None, checkpoint: Path) -> Architecture:
    """The user's architecture, else the one that the checkpoint records."""
    from benchbench.own_model import architectures
    from benchbench.own_model.origin import recorded_architecture

    if entry is not None:
        return architectures.find_architecture(registry, entry)
    recorded = recorded_architecture(checkpoint, registry)  # registered: no file names code to import
    return architectures.Architecture(component=find_component(registry, "architecture", recorded))


def read_model(
    registry: Registry,
    network: Architecture,
    checkpoint: Path,
    splits: DatasetSplits,
    *,
    key: str,
    dataset: Component,
) -> nn.Module:
    """The model of a checkpoint; a note says which of several weights are taken."""
    from benchbench.own_model.files import load_weights

    load = partial(load_weights, path=checkpoint, key=key, dataset=dataset)
    model = make_architecture(registry, network, load, input_shape=splits.input_shape, classes=len(splits.classes))
    if said := load(model):
        note(said)
    return model


def make_architecture(
    registry: Registry,
    architecture: Architecture,
    load: Callable[[nn.Module], object],
    *,
    input_shape: tuple[int, ...],
    classes: int,
) -> nn.Module:
    """Make a registered architecture that the weights fit, or call the user's own."""
    from benchbench.kernels.sketches import sketch

    def make() -> nn.Module:
        return architecture.make(registry, input_shape=input_shape, classes=classes)

    if architecture.own is None and (shapes := sketch(make)):
        load(shapes)  # a network of another size is not built
    return make()
