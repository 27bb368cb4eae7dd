"""Load weights from a file into a model: find them in it, and match their names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from benchbench.arguments import checked
from benchbench.cell.model import Component
from benchbench.errors import DataError, UsageError, first, suggest
from benchbench.own_model.origin import differing_data
from benchbench.own_model.reading import read_tensors

# Keys of the weights in files of training scripts; those under another key are taken only if no such key has some.
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "last")
# What torch's wrappers, compilers and training frameworks, and benchbench's checkpoints put before a name; averages last.
_WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "backbone", "ema", "ema_model", "model_ema")
_COUNTER = "num_batches_tracked"  # which no forward pass in evaluation mode uses
_DEPTH = 2  # of mappings in mappings
_PREFIXES = 16  # tried at most
Tensors = Mapping[str, Tensor]


@checked
def load_weights(
    model: nn.Module,
    path: Path | str,
    *,
    key: str = "",
    optional: Collection[str] = (),
    dataset: Component | None = None,
) -> str:
    """Load a model's weights in place. Only tensors and plain containers are unpickled.

    Args:
        model: of the architecture of the weights; one on the meta device is only compared with them.
        path: safetensors, a torch file of a ``state_dict`` or of a training script's checkpoint, a training checkpoint of
            benchbench, or a folder as Hugging Face writes it.
        key: which weights, if the file holds several that fit, for instance raw ones and their moving average.
        optional: names that may be absent; the model keeps their values.
        dataset: which a hint compares with the record of a checkpoint of benchbench.

    Returns:
        A message for people, which weights were taken and which others the file holds; empty if it holds one set of weights.

    Raises:
        StorageError: there is no such file.
        DataError: it is damaged, holds no weights, or their names or shapes are not the model's.
        UsageError: it holds no weights under the key.
    """
    own, path = model.state_dict(), Path(path)
    needed = {name for name in own if name not in optional and name.rpartition(".")[2] != _COUNTER}
    sets = dict(pair for key_, held in _mappings(read_tensors(path), path) for pair in _named(key_, held, needed))
    fitting = [label for label, tensors in sets.items() if not _problems(tensors, own, needed)]
    if not fitting:
        closest = max(sets.values(), key=lambda tensors: len(tensors.keys() & own.keys()))
        raise DataError(
            f"{path} holds weights of another model: {'; '.join(_problems(closest, own, needed))}",
            hint=(differing_data(path, dataset) if dataset else "") or "check architecture and options",
        )
    chosen = [label for label in fitting if f"{label}.".startswith(f"{key}.")] if key else fitting
    if not chosen:
        raise UsageError(f"{path} holds no fitting weights {key!r}", hint=suggest(key, fitting))
    if not any(value.is_meta for value in own.values()):
        model.load_state_dict(dict(sets[chosen[0]]), strict=False)
    others = ", ".join(label for label in fitting if label != chosen[0])
    return f"weights {chosen[0]!r} of {path} are evaluated; it also holds {others}: --weights KEY" if others else ""


def _mappings(content: Mapping[str, object], path: Path) -> list[tuple[str, Tensors]]:
    """Key and tensors of each mapping with tensors, those under well-known keys first."""
    held = list(_below(content, "", _DEPTH, set()))
    if not held:
        strange = next(iter(content), None)
        raise DataError(
            f"{path} holds no state_dict: {'it is empty' if strange is None else f'{strange!r} is no tensor'}",
            hint=f"expected names and tensors, at the top or under {', '.join(_NESTED)}",
        )
    known = {name: rank for rank, name in enumerate([*_NESTED, ""])}
    return sorted(held, key=lambda pair: known.get(pair[0], len(known)))


def _below(content: Mapping[str, object], key: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Tensors]]:
    seen.add(id(content))  # a file may hold one mapping under many keys, or within itself
    if tensors := {name: one for name, one in content.items() if isinstance(name, str) and isinstance(one, Tensor)}:
        yield key, tensors
    for name, value in content.items():
        if depth and isinstance(value, Mapping) and id(value) not in seen:
            yield from _below(value, f"{key}.{name}" if key else str(name), depth - 1, seen)


def _named(key: str, tensors: Tensors, names: Collection[str]) -> Iterator[tuple[str, Tensors]]:
    """Yield label and tensors as named, then without each prefix that all share or wrappers add."""
    yield key, tensors
    last = min(names, default="")
    prefixes = [name.removesuffix(last) for name in tensors if name.endswith(f".{last}")][:_PREFIXES]
    ranked = [
        ([_WRAPPERS.index(part) for part in prefix.split(".") if part in _WRAPPERS], prefix) for prefix in prefixes
    ]
    for wrappers, prefix in sorted(ranked, key=lambda pair: max(pair[0], default=0)):
        bare = {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
        if len(bare) == len(tensors) or len(wrappers) == prefix.count("."):
            yield f"{key}.{prefix[:-1]}" if key else prefix[:-1], bare


def _problems(tensors: Tensors, own: Tensors, needed: Collection[str]) -> list[str]:
    other = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in own.items()
        if name in tensors and not is_lazy(value) and tensors[name].shape != value.shape
    ]
    kinds = [
        f"{name} {_kind(tensors[name])} instead of {value.dtype}"
        for name, value in own.items()
        if name in tensors and not _can_hold(value, tensors[name])
    ]
    lacking, besides = sorted(set(needed) - tensors.keys()), sorted(tensors.keys() - own.keys())
    listed = (("it lacks", lacking), ("it has besides", besides), ("of other shapes", other), ("of other kinds", kinds))
    return [f"{what} {', '.join(first(names))}" for what, names in listed if names]


def _can_hold(own: Tensor, stored: Tensor) -> bool:
    """Whether a model can take a stored value: of a quantised weight, the scale is missing."""
    if stored.layout != torch.strided or stored.is_meta or stored.is_quantized:
        return False
    if stored.is_complex():
        return own.is_complex()
    return stored.is_floating_point() or is_lazy(own) or not own.is_floating_point()


def _kind(stored: Tensor) -> str:
    return (
        "without values" if stored.is_meta else str(stored.dtype if stored.layout == torch.strided else stored.layout)
    )
