"""Content digests: `algorithm:hex`.

Source: OCI image-spec, descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import re

from sampan import errors

ALGORITHMS = {"sha256": 64, "sha512": 128}  # name -> hex characters
_HEX = re.compile(r"[0-9a-f]+\Z")


class InvalidDigest(errors.Invalid):
    """Not a digest of a registered algorithm."""


class Digest(str):
    """A checked digest. It is a `str`: compare and store it as text. Make one by `Digest.parse` or `Digest.of`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Raises `InvalidDigest` for anything but a lower-case sha256 or sha512 digest."""
        algorithm, colon, hexadecimal = text.partition(":")
        length = ALGORITHMS.get(algorithm)
        if not colon or length is None:
            raise InvalidDigest(
                f"invalid digest {text[:150]!r}",
                why=f"the algorithm must be one of {', '.join(ALGORITHMS)}",
            )
        if len(hexadecimal) != length or not _HEX.match(hexadecimal):
            raise InvalidDigest(
                f"invalid digest {text[:150]!r}", why=f"{algorithm} needs {length} lower-case hex digits"
            )
        return cls(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of `content`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digits after the colon."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first twelve digits, as people read them."""
        return self.hex[:12]
