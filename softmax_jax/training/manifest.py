"""checksum(x) = (sum_i h_i, sum_i (2 i + 1) h_i) mod 2^32, h_i = mix(word_i + i K).

`mix` is a bijection, so whatever happens to one word changes the first sum, and a
change of several goes unseen once in 2^64. The sums do not depend on an order:
they are the same on every mesh and for every number of processes, and are taken where
the array lies.
"""

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Manifest = dict[str, Any]
Sums = tuple[Any, Any]

CHUNK = 1 << 18  # words of a host array that are mixed at once, to stay in the cache


class Damaged(ValueError):
    """What a checkpoint holds is not what was saved; the text completes "step 3"."""


def describe(arrays: dict[str, Any], host: dict[str, Any]) -> Manifest:
    """Shape, dtype and checksum of every array, and a checksum of the JSON."""
    sums = checksums(arrays)
    leaves = {
        name: _form(array) | {"checksum": sums[name]} for name, array in arrays.items()
    }
    return {"leaves": leaves, "host": _json_checksum(host)}


def check_forms(manifest: Manifest, like: dict[str, Any], host: dict[str, Any]) -> None:
    """Raises Damaged unless the JSON is intact and arrays such as `like` were saved."""
    if manifest["host"] != _json_checksum(host):
        raise Damaged("has a wrong checksum in its host data")
    for name, leaf in like.items():
        saved = manifest["leaves"].get(name)
        if saved is None:
            raise Damaged(f"does not hold {name}")
        form = {key: saved[key] for key in ("shape", "dtype")}
        if form != _form(leaf):
            raise Damaged(f"holds {name} as {form}, not {_form(leaf)}")


def empty_arrays(manifest: Manifest) -> dict[str, np.ndarray]:
    """Arrays of the shapes and dtypes that were saved, with anything in them."""
    leaves = manifest["leaves"].items()
    return {n: np.empty(x["shape"], jnp.dtype(x["dtype"])) for n, x in leaves}


def check_arrays(manifest: Manifest, arrays: dict[str, Any]) -> None:
    """Raises Damaged naming the first array that is not what was saved."""
    for name, found in checksums(arrays).items():
        if found != manifest["leaves"][name]["checksum"]:
            raise Damaged(f"has a wrong checksum in {name}")


def checksums(arrays: dict[str, Any]) -> dict[str, str]:
    """The checksum of every array, of the device's ones on their devices."""
    on_device = {n: x for n, x in arrays.items() if isinstance(x, jax.Array)}
    # One at a time: on CPUs, programs that do not wait for each other may run in
    # another order in another process, and their reductions would wait for ever.
    sums = {n: jax.device_get(_device_sums(x)) for n, x in on_device.items()}
    sums |= {n: _host_sums(np.asarray(arrays[n])) for n in arrays.keys() - on_device}
    return {n: "{:08x}{:08x}".format(*map(int, sums[n])) for n in arrays}


@jax.jit  # leaf by leaf: a program for all of them takes long to compile
def _device_sums(array: jax.Array) -> Sums:
    """The two sums, elementwise until the last line: shards stay where they are."""
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    width = jnp.dtype(f"uint{8 * min(array.dtype.itemsize, 4)}")
    words = jax.lax.bitcast_convert_type(array, width).astype(jnp.uint32)
    index, stride = jnp.zeros(words.shape, jnp.uint32), 1
    for axis in reversed(range(words.ndim)):
        along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        index += along * np.uint32(stride % 2**32)
        stride *= words.shape[axis]
    mixed = _mix(words, index)
    weighted = mixed * _weight(index)
    return mixed.sum(dtype=jnp.uint32), weighted.sum(dtype=jnp.uint32)


def _host_sums(array: np.ndarray) -> Sums:
    flat = np.ascontiguousarray(array).reshape(-1)
    flat = flat.view(f"uint{8 * min(array.dtype.itemsize, 4)}")
    plain, weighted = 0, 0
    for start in range(0, flat.size, CHUNK):
        words = flat[start : start + CHUNK].astype(np.uint32)
        index = np.arange(start, start + words.size).astype(np.uint32)
        mixed = _mix(words, index)
        plain += int(mixed.sum(dtype=np.uint64))
        weighted += int((mixed * _weight(index)).sum(dtype=np.uint64))
    return plain % 2**32, weighted % 2**32


def _mix(words: Any, index: Any) -> Any:
    """A bijection of 32-bit words whose every output bit hangs on all input bits."""
    words = words + index * np.uint32(0x9E3779B9)
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x7FEB352D)
    words = (words ^ (words >> np.uint32(15))) * np.uint32(0x846CA68B)
    return words ^ (words >> np.uint32(16))


def _weight(index: Any) -> Any:
    return index * np.uint32(2) + np.uint32(1)


def _form(leaf: Any) -> dict[str, Any]:
    return {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def _json_checksum(host: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(host, sort_keys=True).encode()):08x}"
