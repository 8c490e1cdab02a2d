"""Plain data between the tests and the answer: one JSON value a line, and nothing that runs code when it is read.

Numbers, texts, bytes and the containers of Python cross by value, so the tests compare values of their own types: an
answer's `__eq__` is never asked. Any other object stays where it is, and only a reference to it crosses.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any, BinaryIO

LONGEST = 64 << 20  # bytes of one message
SIMPLE = (type(None), bool, str, float)
SEQUENCES = (list, tuple, set, frozenset)
VIEWS = {
    "dict_keys": lambda items: dict.fromkeys(items).keys(),
    "dict_values": lambda items: dict(enumerate(items)).values(),
    "dict_items": lambda items: dict(items).items(),
}
# What `_plain` makes of a value that is none in JSON, back again.
PLAIN: dict[str, Callable[[Any], Any]] = {
    "int": lambda digits: int(digits, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*parts),
}
# Types of the standard library that are rebuilt from plain arguments.
REBUILT: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "collections.Counter": lambda v: (dict(v),),
    "collections.OrderedDict": lambda v: (list(v.items()),),
    "collections.deque": lambda v: (list(v), v.maxlen),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.datetime": lambda v: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "decimal.Decimal": lambda v: (str(v),),
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
}


class Ended(Exception):
    """The other side has closed the channel."""


class Channel:
    """Messages to and from the other side, over two pipes."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO):
        self.reader, self.writer = reader, writer

    def send(self, message: Any) -> None:
        self.writer.write(json.dumps(message).encode() + b"\n")
        self.writer.flush()

    def read(self) -> Any:
        """Read one message.

        Raises:
            Ended: the other side has closed the channel.
            ValueError: the message is too long, or is not JSON.
        """
        line = self.reader.readline(LONGEST)
        if not line:
            raise Ended("the program ended early")
        if not line.endswith(b"\n"):
            raise ValueError("a value of the answer is too long")
        return json.loads(line)


def pack(value: Any, refer: Callable[[Any], Any]) -> Any:
    """A value as JSON; `refer` gives the form of an object that stays here."""
    kind = type(value)
    if kind in SIMPLE:
        return value
    if isinstance(value, (int, float, str, complex, bytes, bytearray)):
        return _plain(value)
    if kind is range:
        return ["range", [pack(n, refer) for n in (value.start, value.stop, value.step)]]
    if kind.__name__ in VIEWS and kind.__module__ == "builtins":
        return [kind.__name__, [pack(item, refer) for item in value]]
    if (name := f"{kind.__module__}.{kind.__name__}") in REBUILT and getattr(value, "tzinfo", None) is None:
        return [name, [pack(part, refer) for part in REBUILT[name](value)]]
    for base in SEQUENCES:
        if isinstance(value, base):
            return [base.__name__, [pack(item, refer) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[pack(key, refer), pack(item, refer)] for key, item in value.items()]]
    return refer(value)


def _plain(value: Any) -> Any:
    """A number, a text or bytes, of a class of its own too, as JSON."""
    for number in (int, float):
        if isinstance(value, number):
            plain = number(value)
            return plain if isinstance(plain, float) or abs(plain) < 1 << 63 else ["int", hex(plain)]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, complex):
        return ["complex", [value.real, value.imag]]
    return ["bytearray" if isinstance(value, bytearray) else "bytes", bytes(value).hex()]


def unpack(value: Any, resolve: Callable[[list[Any]], Any]) -> Any:
    """The value that `pack` made; `resolve` finds the object of a reference.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, list):
        if isinstance(value, dict):
            raise ValueError("not a packed value")
        return value
    tag, inside = value[0], value[1]
    if tag in PLAIN:
        return PLAIN[tag](inside)
    if tag == "dict":
        return {unpack(key, resolve): unpack(item, resolve) for key, item in inside}
    if tag not in REBUILT and tag not in VIEWS and tag not in ("range", *(base.__name__ for base in SEQUENCES)):
        return resolve(value)
    items = [unpack(item, resolve) for item in inside]
    if tag in VIEWS:
        return VIEWS[tag](items)
    if tag in REBUILT:
        module, _, name = tag.rpartition(".")
        return getattr(importlib.import_module(module), name)(*items)
    if tag == "range":
        return range(*items)
    return next(base for base in SEQUENCES if base.__name__ == tag)(items)
