"""Randomness as an argument: keys derived from names and numbers, a permutation and a generator
that need no state.

Everything random in a run is a function of a key and a counter, so any sample of any step can be
drawn again on any worker.
"""

import hashlib

import numpy as np
import numpy.typing as npt

# Fewer rounds leave the order of a handful of elements visibly uneven.
_ROUNDS = 8


def derive_key(*parts: str | int) -> int:
    """Return a 64-bit key for a sequence of names and numbers; different sequences give unrelated
    keys.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit words one to one (the finaliser of SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


class KeyedPermutation:
    """A pseudo-random order of 0..size-1 that is computed per position, never stored (a Feistel
    network with cycle walking).
    """

    def __init__(self, size: int, key: int) -> None:
        if size < 1:
            raise ValueError(f"a permutation needs at least one element, got {size}")
        self.size = size
        self._half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        self._keys = [np.uint64(derive_key(key, round_number)) for round_number in range(_ROUNDS)]

    def __call__(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the element at each position; positions: int [n], each in 0..size-1."""
        values = np.atleast_1d(np.asarray(positions)).astype(np.uint64)
        values = self._encrypt(values)
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = self._encrypt(values[outside])
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)

    def _encrypt(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (mix(right ^ key) & self._mask)
        return (left << self._half) | right


class KeyedGenerator:
    """One NumPy generator that is put to the state of (key, counter) before each use; cheaper than
    a new generator a sample.
    """

    def __init__(self, key: int) -> None:
        self._bits = np.random.Philox(key=key)
        self._state = self._bits.state
        self._counter = self._state["state"]["counter"]
        self._generator = np.random.Generator(self._bits)

    def at(self, counter: int) -> np.random.Generator:
        """Return the generator at the start of the stream of this counter; it is good until the
        next call.
        """
        # The low word of Philox's counter runs within a sample, the second one names the sample.
        self._counter[1] = counter
        self._bits.state = self._state
        return self._generator
