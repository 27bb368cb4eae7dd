"""What plugins are lent during an evaluation, and whether it comes back unchanged.

Attacks and metrics get the model and the examples themselves, which other plugins and the next cells use too. After each call
of a plugin, version counters, modes and switches are compared, which costs nothing and waits for no device. Once per plugin,
digests show writes that the counters missed; on a device they are compared at the end of the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from benchbench.errors import PLUGIN_FAULTS, ContractError
from benchbench.kernels.fingerprints import fingerprint, version_of

_WEIGHTS = "it changed the model's parameters or buffers"
Digest = int | Tensor


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The state of the loan that is known without reading a tensor."""

    tensors: Mapping[str, object]
    weights: Mapping[str, object]
    trainable: frozenset[str]
    training: frozenset[str]
    hooks: Mapping[str, int]
    switches: tuple[object, ...]


class Loan:
    """A model, in the mode to be kept, and tensors by name, which plugins are lent."""

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        self._model = model
        self._tensors: dict[str, Tensor] = {}
        self._digests: dict[str, Digest] = {"": self._digest_of_model()}
        self._later: list[tuple[str, str, Tensor]] = []
        for name, tensor in tensors.items():
            self.add(name, tensor)

    def add(self, name: str, tensor: Tensor, *, digested: bool = True) -> None:
        """Lend a tensor, unless its name is lent; `digested` ones are read after each plugin."""
        if name not in self._tensors:
            self._tensors[name] = tensor
            if digested:
                self._digests[name] = fingerprint([tensor])

    @contextmanager
    def to(self, what: str) -> Iterator[None]:
        """Lend everything to the plugin `what` within a block.

        If it writes to a lent tensor, or changes the model's mode or a global switch of torch, this is a ContractError.
        """
        before = self._look()
        try:
            yield
        except ContractError:
            raise
        except PLUGIN_FAULTS as error:
            changed = (name for name, now in self._digests_now() if bool(now != self._digests[name]))
            problem = self._difference(before) or next(map(_written, changed), "")
            if problem:
                raise ContractError(f"{what}: {problem}") from error
            raise
        problem = self._difference(before)
        if problem:
            raise ContractError(f"{what}: {problem}")

    def inspect(self, what: str) -> None:
        """Compare digests after a plugin, on a device by `settle`; a change: ContractError."""
        for name, digest in self._digests_now():
            self._compare(what, name, digest)

    def inspect_model(self, what: str) -> None:
        """`inspect` for the model alone."""
        self._compare(what, "", self._digest_of_model())

    def settle(self) -> None:
        """Compare the digests that a device has computed; one synchronisation.

        If a tensor was changed, a ContractError names the first plugin after which it differed.
        """
        pairs = [torch.stack([now, torch.as_tensor(self._digests[name])]) for _, name, now in self._later]
        for (what, name, _), (now, before) in zip(self._later, torch.stack(pairs).tolist() if pairs else []):
            if now != before:
                raise ContractError(f"{what}: {_written(name)}")
        self._later.clear()

    def _compare(self, what: str, name: str, digest: Digest) -> None:
        if isinstance(digest, Tensor):
            self._later.append((what, name, digest))
        elif digest != self._digests[name]:
            raise ContractError(f"{what}: {_written(name)}")

    def _look(self) -> _Look:
        named = [*self._model.named_parameters(), *self._model.named_buffers()]
        modules = dict(self._model.named_modules())
        return _Look(
            tensors={name: version_of(tensor) for name, tensor in self._tensors.items()},
            weights={name: (id(tensor), *version_of(tensor)) for name, tensor in named},
            trainable=frozenset(name for name, tensor in named if tensor.requires_grad),
            training=frozenset(name for name, module in modules.items() if module.training),
            hooks={name: _count_hooks(module) for name, module in modules.items()},
            switches=tuple(read() for read, _ in _SWITCHES),
        )

    def _difference(self, before: _Look) -> str:
        """Describe what differs from before; put global switches back."""
        now = self._look()
        for (_, put_back), old, new in zip(_SWITCHES, before.switches, now.switches):
            if old != new:
                put_back(old)
        written = [name for name, version in before.tensors.items() if now.tensors[name] != version]
        problems = {
            _written(written[0]) if written else "": bool(written),
            _WEIGHTS: now.weights != before.weights,
            "it left the model in training mode": now.training != before.training,
            "it left the model's parameters unfrozen": now.trainable != before.trainable,
            "it left hooks on the model": now.hooks != before.hooks,
            "it left torch's default dtype, gradient mode or number of threads changed": now.switches
            != before.switches,
        }
        return next((problem for problem, found in problems.items() if found), "")

    def _digests_now(self) -> Iterator[tuple[str, Digest]]:
        for name in self._digests:
            yield name, fingerprint([self._tensors[name]]) if name else self._digest_of_model()

    def _digest_of_model(self) -> Digest:
        return fingerprint(chain(self._model.parameters(), self._model.buffers()))


def _written(name: str) -> str:
    return f"it changed the {name} in place" if name else _WEIGHTS


def _count_hooks(module: nn.Module) -> int:
    forward, backward = len(module._forward_hooks), len(module._backward_hooks)
    return forward + len(module._forward_pre_hooks) + backward + len(module._backward_pre_hooks)


_SWITCHES: tuple[tuple[Callable[[], object], Callable[..., object]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
)
