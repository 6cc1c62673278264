"""A part of Go's templates, for `--format`: fields, `json`, `range`, `if`, and a few functions. Pure.

Source: text/template; docker/cli templates/templates.go.
"""

from __future__ import annotations

import json
import re

from sampan.cli import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|\(|\)|\||:=|,|[^\s()|,"`]+')
MISSING = "<no value>"


class _Block:
    """`range`, `if` or the whole: its pipeline, its parts, and those behind `else`."""

    def __init__(self, kind: str = "", words: list[str] | None = None) -> None:
        self.kind, self.words = kind, words or []
        self.parts: list[str | list[str] | _Block] = []
        self.otherwise: list[str | list[str] | _Block] | None = None


class Template:
    """A parsed template. Raises: BadUsage."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._root = self._parse()

    def render(self, value: Any) -> str:
        """The text for one value."""
        return "".join(self._run(self._root.parts, value, {"$": value}))

    def fields(self) -> list[str]:
        """The names behind the first dots, in order: the columns of a `table` format."""
        return [word.lstrip(".").split(".")[0] for word in re.findall(r"\.\w[\w.]*", self._text)]

    def _parse(self) -> _Block:
        stack = [_Block()]
        position = 0
        for match in _ACTION.finditer(self._text):
            text = self._text[position : match.start()]
            text = text.rstrip() if match[1] else text
            _current(stack).append(text)
            position = match.end()
            if match[3]:
                position += len(self._text[position:]) - len(self._text[position:].lstrip())
            self._action(stack, _WORD.findall(match[2]))
        _current(stack).append(self._text[position:])
        if len(stack) != 1:
            raise self._bad("unexpected EOF: an {{end}} is missing")
        return stack[0]

    def _action(self, stack: list[_Block], words: list[str]) -> None:
        if not words:
            raise self._bad("missing value for command")
        match words[0]:
            case "range" | "if" | "with":
                block = _Block(words[0], words[1:])
                _current(stack).append(block)
                stack.append(block)
            case "else":
                if len(stack) == 1:
                    raise self._bad("unexpected {{else}}")
                stack[-1].otherwise = []
            case "end":
                if len(stack) == 1:
                    raise self._bad("unexpected {{end}}")
                stack.pop()
            case _:
                _current(stack).append(words)

    def _run(self, parts: list[str | list[str] | _Block], dot: Any, names: dict[str, Any]) -> Iterator[str]:
        for part in parts:
            if isinstance(part, str):
                yield part
            elif isinstance(part, list):
                yield show(self._pipeline(part, dot, names))
            else:
                yield from self._block(part, dot, names)

    def _block(self, block: _Block, dot: Any, names: dict[str, Any]) -> Iterator[str]:
        words, variables = block.words, []
        if ":=" in words:
            cut = words.index(":=")
            variables, words = [word for word in words[:cut] if word != ","], words[cut + 1 :]
        value = self._pipeline(words, dot, names)
        if not is_true(value):
            yield from self._run(block.otherwise or [], dot, names)
        elif block.kind == "range":
            pairs = sorted(value.items()) if isinstance(value, dict) else enumerate(value)
            for key, item in pairs:
                inner = dict(names)
                inner |= dict(zip(variables, (key, item) if len(variables) > 1 else (item,), strict=False))
                yield from self._run(block.parts, item, inner)
        else:
            inner = names | dict.fromkeys(variables, value)
            yield from self._run(block.parts, value if block.kind == "with" else dot, inner)

    def _pipeline(self, words: list[str], dot: Any, names: dict[str, Any]) -> Any:
        value: Any = None
        for number, command in enumerate(_split(words, "|")):
            arguments = [self._value(word, dot, names) for word in _group(command)]
            if number:
                arguments.append(value)
            value = self._command(arguments)
        return value

    def _value(self, word: str | list[str], dot: Any, names: dict[str, Any]) -> Any:
        if isinstance(word, list):
            return self._pipeline(word, dot, names)
        if word[0] in '"`':
            return json.loads(word) if word[0] == '"' else word[1:-1]
        if word.startswith("$"):
            name, _, path = word.partition(".")
            if name not in names:
                raise self._bad(f"undefined variable {name!r}")
            return walk(names[name], path)
        if word.startswith("."):
            return walk(dot, word[1:])
        if re.fullmatch(r"-?\d+", word):
            return int(word)
        if word in ("true", "false"):
            return word == "true"
        if word in FUNCTIONS:
            return FUNCTIONS[word]
        raise self._bad(f"function {word!r} not defined")

    def _command(self, arguments: list[Any]) -> Any:
        first, *rest = arguments
        if not callable(first):
            return first if not rest else rest[-1]
        try:
            return first(*rest)
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise self._bad(f"error calling function: {error}") from error

    def _bad(self, why: str) -> failures.BadUsage:
        return failures.BadUsage(f"template parsing error: {why}")


def formatted(form: str, value: Any) -> str:
    """One value as `--format` asks: `json`, or a template."""
    if form == "json":
        return _json(value)
    return Template(form.replace("\\t", "\t").replace("\\n", "\n")).render(value)


def _current(stack: list[_Block]) -> list[str | list[str] | _Block]:
    block = stack[-1]
    return block.parts if block.otherwise is None else block.otherwise


def _split(words: list[str], at: str) -> Iterator[list[str]]:
    part: list[str] = []
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if word == at and not depth:
            yield part
            part = []
        else:
            part.append(word)
    yield part


def _group(words: list[str]) -> list[str | list[str]]:
    """Parentheses as inner lists; `(…).Field` walks on."""
    found: list[str | list[str]] = []
    position = 0
    while position < len(words):
        if words[position] != "(":
            found.append(words[position])
            position += 1
            continue
        depth, end = 1, position + 1
        while end < len(words) and depth:
            depth += (words[end] == "(") - (words[end] == ")")
            end += 1
        inner = words[position + 1 : end - 1]
        if end < len(words) and words[end].startswith("."):
            inner = ["walk", "(", *inner, ")", json.dumps(words[end][1:])]
            end += 1
        found.append(inner)
        position = end
    return found


def walk(value: Any, path: str) -> Any:
    """`.A.B`: members of objects. A missing member of an object is None; of anything else, an error."""
    for name in filter(None, path.split(".")):
        if value is None:
            return None
        if not isinstance(value, dict):
            raise failures.BadUsage(f"template: can't evaluate field {name}")
        value = value.get(name)
    return value


def is_true(value: Any) -> bool:
    """Go's truth: not zero, not empty."""
    return bool(value)


def show(value: Any) -> str:
    """As Go prints a value."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{show(item)}' for key, item in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(show(item) for item in value)}]"
    return str(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else value[key]
    return value


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "index": _index,
    "walk": walk,
    "len": len,
    "join": lambda items, separator: separator.join(show(item) for item in items or []),
    "split": lambda text, separator: text.split(separator),
    "upper": lambda text: show(text).upper(),
    "lower": lambda text: show(text).lower(),
    "title": lambda text: show(text).title(),
    "println": lambda *items: " ".join(show(item) for item in items) + "\n",
    "print": lambda *items: "".join(show(item) for item in items),
    "printf": lambda pattern, *items: re.sub(r"%[vsdq]", "{}", pattern).format(*(show(item) for item in items)),
    "truncate": lambda text, length: show(text)[:length],
    "eq": lambda first, *others: first in others,
    "ne": lambda first, other: first != other,
    "not": lambda value: not is_true(value),
    "and": lambda *values: next((value for value in values if not is_true(value)), values[-1]),
    "or": lambda *values: next((value for value in values if is_true(value)), values[-1]),
}
