"""Templates as commands use them: read once, shown for each value. Pure; the language is in `gotext/`."""

from __future__ import annotations

from sampan.cli import failures
from sampan.cli.gotext import functions, parse
from sampan.cli.gotext import run as running
from sampan.cli.gotext.row import Row as Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Template:
    """A parsed template. Raises: BadUsage. `what` and `name` go in front of what is wrong with it."""

    def __init__(
        self,
        text: str,
        *,
        name: str = "",
        strict: bool = False,
        parse_code: int = failures.GENERAL,
        what: str = "template parsing error: ",
        fails: str = "",
    ) -> None:
        self._text, self._name, self._strict, self._fails = text, name, strict, fails or what
        try:
            self._root = parse.parse(text, functions.TABLE, name)
        except parse.TemplateError as error:
            raise failures.BadUsage(f"{what}{error}", parse_code) from error

    def render(self, value: Any) -> str:
        """The text for one value. Raises: BadUsage."""
        try:
            return running.run(self._root, self._text, value, name=self._name, strict=self._strict)
        except parse.TemplateError as error:
            raise failures.BadUsage(f"{self._fails.strip(' ') and self._fails}{error}") from error

    def mentions(self, field: str) -> bool:
        """Whether a field of the whole, or the whole itself, is used."""
        return any(name in (field, "") for name in _firsts(self._root))


def _firsts(node: parse.Node) -> set[str]:
    """The first names of all chains; "" for the dot alone."""
    if node.kind == "chain":
        return _firsts(node.value) if node.value.kind != "dot" else {node.variables[0]}
    if node.kind == "dot":
        return {""}
    found: set[str] = set()
    for part in (*node.parts, *(node.otherwise or ()), *([node.value] if isinstance(node.value, parse.Node) else ())):
        found |= _firsts(part)
    return found


def unescaped(form: str) -> str:
    r"""`\t` and `\n` as people type them in a shell."""
    return form.replace("\\t", "\t").replace("\\n", "\n")


def formatted(form: str, value: Any, *, name: str = "", fails: str = "") -> str:
    """One value as `--format` asks: `json`, or a template."""
    if form == "json":
        return to_json(value)
    return Template(unescaped(form), name=name, fails=fails).render(value)


def to_json(value: Any) -> str:
    """Compact, as Go writes it."""
    return functions.escaped(functions.to_json(value))
