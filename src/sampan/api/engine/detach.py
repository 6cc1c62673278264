"""The keys that leave a terminal attached to a container without stopping it. Pure.

Source: moby/term, ascii.go and proxy.go; Docker's default is ctrl-p,ctrl-q.
"""

from __future__ import annotations

from sampan import errors

DEFAULT = "ctrl-p,ctrl-q"
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


class InvalidKeys(errors.Invalid):
    """Not a sequence of keys."""


def parse(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as bytes; the default for an empty text. Raises: InvalidKeys."""
    try:
        return bytes(_key(name) for name in (text or DEFAULT).split(","))
    except InvalidKeys as error:
        raise InvalidKeys(f"Invalid detach keys ({text[:100]}) provided", why=error.what) from error


def _key(name: str) -> int:
    if len(name) == 1 and name.isascii():
        return ord(name)
    prefix, _, letter = name.partition("-")
    if prefix == "ctrl" and len(letter) == 1:
        if "a" <= letter <= "z":
            return ord(letter) - ord("a") + 1
        if letter in _CONTROL:
            return _CONTROL[letter]
    raise InvalidKeys(f"unknown character: {name[:50]!r}")


class Detector:
    """Finds the keys in what is typed. A part of the sequence is held back until it is whole or broken."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """What goes on to the container; afterwards `found` tells whether the sequence was typed."""
        out = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self.found = True
                    return bytes(out)
                continue
            out += self._keys[: self._matched]
            self._matched = 1 if byte == self._keys[0] else 0
            if not self._matched:
                out.append(byte)
        return bytes(out)
