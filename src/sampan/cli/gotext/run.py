"""A template's tree against a value. Pure.

Values are what JSON gives, and `Row`: a line of a list, whose fields are known and which may have functions. A member
that an object lacks is an error where `strict`, else `<no value>`.
"""

from __future__ import annotations

from sampan.cli.gotext import functions
from sampan.cli.gotext.parse import Node, TemplateError
from sampan.cli.gotext.row import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Members whose value is a map of a person's own words: there a missing one is no mistake.
_FREE = frozenset(("Labels", "Annotations", "Options", "Attributes"))


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


def run(root: Node, text: str, value: Any, *, name: str = "", strict: bool = False) -> str:
    """The text for one value. Raises: TemplateError."""
    return "".join(_Run(text, name, strict=strict).parts(root.parts, value, {"$": value}))


class _Run:
    def __init__(self, text: str, name: str, *, strict: bool) -> None:
        self._text, self._name, self._strict = text, name, strict

    def parts(self, nodes: list[Node], dot: Any, names: dict[str, Any]) -> Iterator[str]:
        for node in nodes:
            match node.kind:
                case "text":
                    yield node.value
                case "pipe":
                    value = self._pipe(node, dot, names)
                    if not node.variables:
                        yield functions.show(value)
                case "break":
                    raise _Break
                case "continue":
                    raise _Continue
                case "range":
                    yield from self._range(node, dot, names)
                case _:
                    yield from self._choice(node, dot, names)

    def _choice(self, node: Node, dot: Any, names: dict[str, Any]) -> Iterator[str]:
        """`if` and `with`."""
        inner = dict(names)
        value = self._pipe(node.value, dot, inner)
        if functions.is_true(value):
            is_with = node.kind == "with" or node.text == "with"
            yield from self.parts(node.parts, value if is_with else dot, inner)
        elif node.otherwise is not None:
            yield from self.parts(node.otherwise, dot, inner)

    def _range(self, node: Node, dot: Any, names: dict[str, Any]) -> Iterator[str]:
        pipe = node.value
        value = self._commands(pipe, dot, names)
        if isinstance(value, str | bool | float) or not isinstance(value, dict | list | tuple | int | type(None)):
            raise self._failed(pipe.parts[0], f"range can't iterate over {functions.show(value)}")
        pairs = sorted(value.items()) if isinstance(value, dict) else enumerate(_items(value))
        empty = True
        for key, item in pairs:
            empty = False
            inner = dict(names)
            if pipe.variables:
                inner |= dict(zip(pipe.variables, (key, item) if len(pipe.variables) > 1 else (item,), strict=False))
            try:
                yield from self.parts(node.parts, item, inner)
            except _Continue:
                continue
            except _Break:
                break
        if empty and node.otherwise is not None:
            yield from self.parts(node.otherwise, dot, names)

    def _pipe(self, pipe: Node, dot: Any, names: dict[str, Any]) -> Any:
        value = self._commands(pipe, dot, names)
        for name in pipe.variables:
            names[name] = value
        return value

    def _commands(self, pipe: Node, dot: Any, names: dict[str, Any]) -> Any:
        value: Any = None
        for number, command in enumerate(pipe.parts):
            value = self._command(command, dot, names, [value] if number else [])
        return value

    def _command(self, command: Node, dot: Any, names: dict[str, Any], piped: list[Any]) -> Any:
        first, *rest = command.parts
        if first.kind == "function":
            arguments = [self._value(node, dot, names) for node in rest] + piped
            return self._call(first.value, arguments, command)
        if first.kind == "nil":
            raise self._failed(first, "nil is not a command")
        if first.kind == "chain" and (rest or piped):
            owner = self._value(first.value, dot, names)
            called = owner.calls.get(first.variables[0]) if isinstance(owner, Row) else None
            if called is not None:
                return called(*[self._value(node, dot, names) for node in rest], *piped)
        if rest or piped:
            raise self._failed(first, f"can't give argument to non-function {first.text}")
        return self._value(first, dot, names)

    def _call(self, name: str, arguments: list[Any], command: Node) -> Any:
        try:
            return functions.TABLE[name](*arguments)
        except TemplateError as error:
            raise self._failed(command, f"error calling {name}: {error}") from error
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise self._failed(command, f"error calling {name}: {error}") from error

    def _value(self, node: Node, dot: Any, names: dict[str, Any]) -> Any:
        match node.kind:
            case "dot":
                return dot
            case "constant":
                return node.value
            case "variable":
                if node.value not in names:
                    raise self._failed(node, f'undefined variable "{node.value}"')
                return names[node.value]
            case "pipe":
                return self._commands(node, dot, names)
            case "function":
                return self._call(node.value, [], node)
            case "chain":
                value = self._value(node.value, dot, names)
                above = ""
                for name in node.variables:
                    value = self._member(value, name, above, node)
                    above = name
                return value
        return None

    def _member(self, value: Any, name: str, above: str, node: Node) -> Any:
        if isinstance(value, Row):
            if name in value:
                return functions.NIL if value[name] is None else value[name]
            if name in value.calls:
                raise self._failed(node, f"wrong number of args for {name}: want 1 got 0")
            raise self._failed(node, f"can't evaluate field {name} in type {value.type_name}")
        if isinstance(value, dict):
            if name in value:
                if value[name] is not None:
                    return value[name]
                return functions.empty_of(name) if self._strict else None
            if functions.is_pointer(name):
                return functions.NIL
            if self._strict and above not in _FREE:
                raise self._failed(node, f'map has no entry for key "{name}"')
            return None
        if value is None or value is functions.NIL:
            return None
        kind = "string" if isinstance(value, str) and not self._strict else "interface {}"
        raise self._failed(node, f"can't evaluate field {name} in type {kind}")

    def _failed(self, node: Node, why: str) -> TemplateError:
        before = self._text[: node.position]
        line, column = before.count("\n") + 1, node.position - (before.rfind("\n") + 1)
        place = f"template: {self._name}:{line}:{column}"
        return TemplateError(f'{place}: executing "{self._name}" at <{node.text}>: {why}')


def _items(value: Any) -> Any:
    return range(value) if isinstance(value, int) else value or ()
