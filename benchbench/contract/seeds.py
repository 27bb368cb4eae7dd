"""Draws keyed by (seed, purpose, example): batching, sharding, interruptions change nothing.

`derive_seed` hashes keys into a seed. `KeyedGenerator` is a counter-based generator: each number is a hash of (key, draw,
row, element), so that an example gets the same draws in any batch, on a CPU and on a GPU. The mixing function is
SplitMix64's finaliser (`benchbench.kernels.hashing`).
"""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TYPE_CHECKING, Protocol

from benchbench.kernels.hashing import GOLDEN, mix

if TYPE_CHECKING:  # importing benchbench must not import torch
    import torch
    from torch import Tensor

_TWO_PI = 2.0 * math.pi


def derive_seed(*keys: int | str) -> int:
    """Hash keys into a seed in [0, 2**63), such as ``derive_seed(0, "order", epoch)``.

    The first key is the seed of the run, the others say the purpose of the draws. Equal keys give the same number on every
    machine; different keys give independent seeds.
    """
    text = "\x1f".join(f"{type(key).__name__}:{key}" for key in keys)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Keys(Protocol):
    """The keys of a generator's draws."""

    def key(self, draw: int) -> int | Tensor:
        """The key of a draw, counted from 0: a number, or int64 of shape () or (N,)."""
        ...

    def child(self, *purpose: int | str) -> Keys:
        """The keys of an independent generator."""
        ...

    def take(self, selection: Tensor) -> Keys:
        """The keys for some of the rows."""
        ...


class _SeedKeys:
    """Keys by hashing a seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def key(self, draw: int) -> int:
        return derive_seed(self.seed, draw)

    def child(self, *purpose: int | str) -> _SeedKeys:
        return _SeedKeys(derive_seed(self.seed, *purpose))

    def take(self, _selection: Tensor) -> _SeedKeys:
        return self


class UnknownDrawError(LookupError):
    """A recorded step makes a draw that no earlier step made."""


class KeyTable:
    """Keys in tensors of a device: a recorded step draws anew when replayed with a new seed.

    While `sealed`, as must be while a step is recorded, a draw that no earlier step made is refused.
    """

    def __init__(self, device: torch.device) -> None:
        self.sealed = False
        self._device = device
        self._seed = 0
        self._keys: dict[tuple[tuple[int | str, ...], ...], Tensor] = {}

    def begin(self, seed: int) -> Keys:
        """The keys of ``KeyedGenerator(seed, ...)``; rewrites those used before for this seed."""
        if seed != self._seed:
            self._seed = seed
            for path, key in self._keys.items():
                key.fill_(self._derived(path))
        return _TabulatedKeys(self, ())

    def at(self, path: tuple[tuple[int | str, ...], ...]) -> Tensor:
        """The key at the end of a path, int64 (); UnknownDrawError if it is new and sealed."""
        import torch

        if path not in self._keys:
            if self.sealed:
                raise UnknownDrawError(f"no earlier step has drawn {path}")
            self._keys[path] = torch.full((), self._derived(path), dtype=torch.int64, device=self._device)
        return self._keys[path]

    def _derived(self, path: tuple[tuple[int | str, ...], ...]) -> int:
        return functools.reduce(lambda seed, purpose: derive_seed(seed, *purpose), path, self._seed)


class _TabulatedKeys:
    """The keys of a table under a path of purposes."""

    def __init__(self, table: KeyTable, path: tuple[tuple[int | str, ...], ...]) -> None:
        self._table = table
        self._path = path

    def key(self, draw: int) -> Tensor:
        return self._table.at((*self._path, (draw,)))

    def child(self, *purpose: int | str) -> _TabulatedKeys:
        return _TabulatedKeys(self._table, (*self._path, purpose))

    def take(self, _selection: Tensor) -> _TabulatedKeys:
        return self


class _KeysByRow:
    """For each row the keys of one child, chosen by a number on the device."""

    def __init__(self, children: list[Keys], chosen: Tensor) -> None:
        self._children = children
        self._chosen = chosen

    def key(self, draw: int) -> Tensor:
        import torch

        keys = [torch.as_tensor(child.key(draw)) for child in self._children]
        return torch.stack(keys).to(self._chosen.device)[self._chosen]

    def child(self, *purpose: int | str) -> _KeysByRow:
        return _KeysByRow([child.child(*purpose) for child in self._children], self._chosen)

    def take(self, selection: Tensor) -> _KeysByRow:
        return _KeysByRow(self._children, self._chosen[selection])


class KeyedGenerator:
    """Random numbers for a batch, one independent stream per row (example).

    Successive draws from one generator differ; generators with equal arguments draw alike. Rows, int64 (N,) on the device of
    the draws, are the identities of the examples (their index in the dataset), never their place in the batch. The seed is
    usually from `derive_seed`, or it is the source of the keys.
    """

    def __init__(self, seed: int | Keys, rows: Tensor) -> None:
        self._keys: Keys = _SeedKeys(seed) if isinstance(seed, int) else seed
        self._rows = rows
        self._draws = 0

    def __len__(self) -> int:
        return int(self._rows.shape[0])

    def child(self, *purpose: int | str) -> KeyedGenerator:
        """An independent generator for the same rows, such as ``generator.child("restart", 3)``."""
        return KeyedGenerator(self._keys.child(*purpose), self._rows)

    def children(self, purpose: str, numbers: Tensor, count: int) -> KeyedGenerator:
        """A generator that draws for each row what ``generator.child(purpose, number)`` draws.

        The numbers are int64 (N,) in [0, count), on the device of the draws.
        """
        children = [self._keys.child(purpose, number) for number in range(count)]
        return KeyedGenerator(_KeysByRow(children, numbers), self._rows)

    def tabulated(self, table: KeyTable, rows: Tensor) -> KeyedGenerator:
        """A generator with the same draws whose keys are in a table.

        If this generator has been drawn from, or its keys are in a table already, this is a TypeError.
        """
        if self._draws or not isinstance(self._keys, _SeedKeys):
            raise TypeError("only a generator that stands at its beginning can be tabulated")
        return KeyedGenerator(table.begin(self._keys.seed), rows)

    def again(self) -> KeyedGenerator:
        """A generator that repeats this one's draws from the first one."""
        return KeyedGenerator(self._keys, self._rows)

    def joined(self, rows: Tensor) -> KeyedGenerator:
        """The generator for these rows and more, int64 (M,), which must not be among them."""
        import torch

        joined = KeyedGenerator(self._keys, torch.cat([self._rows, rows.to(self._rows)]))
        joined._draws = self._draws
        return joined

    @property
    def rows(self) -> Tensor:
        """int64 (N,), the identity of each example."""
        return self._rows

    def take(self, selection: Tensor) -> KeyedGenerator:
        """The generator for some rows: a boolean mask, or int64 positions in the batch."""
        taken = KeyedGenerator(self._keys.take(selection), self._rows[selection])
        taken._draws = self._draws
        return taken

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw from U[low, high), float32, of shape (N, *shape)."""
        unit = self._bits(*shape).bitwise_and_(0xFFFFFF).float()
        return unit.mul_((high - low) * 2.0**-24).add_(low)  # a power of two rounds nothing

    def uniform_like(self, images: Tensor, *, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw from U[low, high) in the shape and dtype of `images` (N, ...)."""
        return self.uniform(*images.shape[1:], low=low, high=high).to(images)

    def normal(self, *shape: int) -> Tensor:
        """Draw from N(0, 1), float32, of shape (N, *shape), by Box and Muller's transform."""
        bits = self._bits(*shape)
        radius = bits.bitwise_and(0xFFFFFF).add_(1).double().mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
        angle = (bits >> 32).bitwise_and_(0xFFFFFF).double().mul_(_TWO_PI * 2.0**-24)
        return radius.mul_(angle.cos_()).float()

    def normal_like(self, images: Tensor) -> Tensor:
        """Draw from N(0, 1) in the shape and dtype of `images` (N, ...)."""
        return self.normal(*images.shape[1:]).to(images)

    def integers(self, high: int) -> Tensor:
        """Draw one integer per row from {0, ..., high - 1}, int64 of shape (N,)."""
        return self._bits().bitwise_and((1 << 48) - 1).remainder(high)

    def torch_generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A torch generator for code that needs one; it depends on all rows, thus on the batch."""
        import torch

        if not isinstance(self._keys, _SeedKeys):
            raise TypeError("a recorded step must draw by the methods of its generator")
        key = derive_seed(self._keys.seed, self._draws, *self._rows.tolist())
        self._draws += 1
        return torch.Generator(device=device).manual_seed(key)

    def _bits(self, *shape: int) -> Tensor:
        """64 mixed bits per element, int64 of shape (N, *shape)."""
        import torch

        key = self._keys.key(self._draws)
        self._draws += 1
        elements = torch.arange(math.prod(shape), device=self._rows.device, dtype=torch.int64)
        if self._rows.is_cuda:
            from benchbench.kernels.fused import keyed_bits

            keys = key if isinstance(key, torch.Tensor) else torch.full((), key, device=elements.device)
            mixed = keyed_bits(self._rows[:, None], keys.view(-1, 1), elements)
        else:
            mixed = mix(mix(self._rows * GOLDEN + key)[:, None] + elements * GOLDEN)
        return mixed.reshape(len(self), *shape)
