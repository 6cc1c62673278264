"""A line of a list, as templates see it. Apart from them, so that a plain table loads no template language. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Row(dict[str, "Any"]):
    """A line of a list; `type_name` is what messages call it, `calls` are its functions of one argument,
    `hidden` members are left out of its JSON."""

    def __init__(
        self,
        fields: dict[str, Any],
        *,
        type_name: str = "",
        calls: dict[str, Any] | None = None,
        hidden: tuple[str, ...] = (),
    ) -> None:
        super().__init__(fields)
        self.type_name = type_name
        self.hidden = hidden
        self.calls = calls or {}
