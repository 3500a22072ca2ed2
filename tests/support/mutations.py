"""Files as somebody else, or chance, may have changed them: JSON, arrays and safetensors whose
headers lie.
"""

import ast
import io
import json
import struct
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import numpy as np

_VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 7, 10**7, 10**9, 10**19, 1.5, 1e308, "", "x", "../x", "\x1b[31m"),
    *([], {}, [1], ["x"], {"x": 1}, [[]], [None]),
]
_DTYPES = ["<f8", "<u2", "<u4", "<i8", ">i8", "<i1", "|u1", "|b1", "<c16", "<U5", "|S3", "<M8[s]"]
_SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (3, 2), (10**12,), (-1,), (2**62, 4), (5,)]


def changed_json(value: Any, random: Random) -> Any:
    """Return JSON in which one place was changed."""
    changed = deepcopy(value)
    places = list(_places(changed))
    if not places:
        return random.choice(_VALUES)
    holder, key = random.choice(places)
    how = random.randrange(6)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[random.choice(["evil", key + "x", ""])] = random.choice(_VALUES)
    elif how == 1:
        holder.insert(key, deepcopy(holder[key]))
    elif how == 2 and isinstance(holder[key], int) and not isinstance(holder[key], bool):
        holder[key] += random.choice([-1, 1, 100, -100])
    else:
        holder[key] = deepcopy(random.choice(_VALUES))
    return changed


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def changed_array(data: bytes, random: Random) -> bytes:
    """Return a `.npy` file whose header or content was changed."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    assert version == (1, 0)
    body = data[stream.tell() :]
    how = random.randrange(5)
    header = {"descr": dtype.str, "fortran_order": fortran, "shape": shape}
    if how == 0:
        header["descr"] = random.choice(_DTYPES)
    elif how == 1:
        header["shape"] = random.choice(_SHAPES)
    elif how == 2:
        return data[: random.randrange(len(data))]
    elif how == 3 and len(body):
        place = random.randrange(len(body))
        body = body[:place] + random.randbytes(min(8, len(body) - place)) + body[place + 8 :]
    else:
        wide = np.frombuffer(body, dtype=dtype).astype(random.choice(_DTYPES[:8]))
        header["descr"], body = wide.dtype.str, wide.tobytes()
    text = repr(header)
    assert ast.literal_eval(text) == header
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text) + 1) + text.encode() + b"\n" + body


def changed_safetensors(data: bytes, random: Random) -> bytes:
    """Return a safetensors file whose header or length was changed."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    how = random.randrange(8)
    if how == 0:
        return data[: random.randrange(len(data))]
    if how == 1:
        return struct.pack("<Q", random.choice([0, 1, length + 3, 1 << 40, 1 << 63])) + data[8:]
    names = [name for name in header if name != "__metadata__"]
    name = random.choice(names)
    tensor = header[name]
    if how == 2:
        header[random.choice(["evil", f"{name}x"])] = header.pop(name)
    elif how == 3:
        tensor["dtype"] = random.choice(["F32", "F16", "I64", "U8", "BOOL", "F64", "X"])
    elif how == 4:
        tensor["shape"] = [*reversed(tensor["shape"]), *random.choice([[], [1]])]
    elif how == 5:
        other = header[random.choice(names)]
        header[name], header[names[0]] = other, tensor
    else:
        header = changed_json(header, random)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def changed_text(data: bytes, random: Random) -> bytes:
    """Return bytes of which a few were changed, added or lost."""
    place, length = random.randrange(len(data) + 1), random.randrange(1, 9)
    new = random.choice([b"", random.randbytes(length), b"\x00" * length, b"[" * 5000])
    return data[:place] + new + data[place + length :]


def changed(name: str, data: bytes, random: Random) -> bytes:
    """Return a file changed as befits its kind, which its name tells."""
    if random.random() < 0.1:
        return changed_text(data, random)
    by_kind: dict[str, Callable[[bytes, Random], bytes]] = {
        "npy": changed_array,
        "safetensors": changed_safetensors,
        "json": lambda found, random: json.dumps(changed_json(json.loads(found), random)).encode(),
    }
    return by_kind.get(name.rpartition(".")[2], changed_text)(data, random)
