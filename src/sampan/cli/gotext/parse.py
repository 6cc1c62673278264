"""From the text of a template to its tree. Pure."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<comment>/\*.*?\*/)|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)|(?P<char>'(?:[^'\\]|\\.)')"""
    r"""|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?))|(?P<declare>:=)"""
    r"""|(?P<mark>[|(),=])|(?P<variable>\$\w*)|(?P<field>\.\w+)|(?P<dot>\.)|(?P<word>\w+)""",
    re.DOTALL,
)
_KEYWORDS = frozenset(("if", "else", "end", "range", "with", "break", "continue"))


class TemplateError(Exception):
    """A template that cannot be read, or that does not fit its value. The text is Go's."""


class Token:
    """One word of an action, and where it stands."""

    __slots__ = ("kind", "position", "text")

    def __init__(self, kind: str, text: str, position: int) -> None:
        self.kind, self.text, self.position = kind, text, position


class Node:
    """A part of the tree: `kind` says which, `value` and `parts` what it holds, `text` how it was written."""

    __slots__ = ("kind", "otherwise", "parts", "position", "text", "value", "variables")

    def __init__(self, kind: str, value: Any = None, *, position: int = 0, text: str = "") -> None:
        self.kind, self.value, self.position, self.text = kind, value, position, text
        self.parts: list[Node] = []
        self.otherwise: list[Node] | None = None
        self.variables: list[str] = []


def parse(text: str, functions: Collection[str], name: str = "") -> Node:
    """The whole tree. Raises: TemplateError."""
    return _Parser(text, functions, name).whole()


class _Parser:
    def __init__(self, text: str, functions: Collection[str], name: str) -> None:
        self._text, self._functions, self._name = text, functions, name
        self._line = 1

    def whole(self) -> Node:
        root = Node("list")
        stack: list[Node] = [root]
        into = [root.parts]
        position, trim = 0, False
        while (start := self._text.find("{{", position)) >= 0:
            piece = self._text[position:start]
            left = self._text[start + 2 : start + 4]
            opened = start + 2
            if left[:1] == "-" and left[1:].isspace():
                piece, opened = piece.rstrip(" \t\r\n"), start + 3
            piece = piece.lstrip(" \t\r\n") if trim else piece
            if piece:
                into[-1].append(Node("text", piece))
            self._line = self._text.count("\n", 0, start) + 1
            tokens, position, trim = self._action(opened)
            self._take(tokens, stack, into)
        rest = self._text[position:]
        into[-1].append(Node("text", rest.lstrip(" \t\r\n") if trim else rest))
        if len(stack) > 1:
            self._line = self._text.count("\n") + 1
            raise self._bad("unexpected EOF")
        return root

    def _action(self, position: int) -> tuple[list[Token], int, bool]:
        """The tokens up to the closing braces, what follows, and whether white space behind goes."""
        tokens: list[Token] = []
        while True:
            if self._text.startswith("}}", position):
                return tokens, position + 2, False
            if re.compile(r"\s-\}\}").match(self._text, position):
                return tokens, position + 4, True
            match = _TOKEN.match(self._text, position)
            if match is None:
                if position >= len(self._text):
                    raise self._bad("unclosed action")
                letter = self._text[position]
                if letter in "\"'`":
                    raise self._bad("unterminated quoted string" if letter != "`" else "unterminated raw quoted string")
                raise self._bad(f"unexpected {letter!r} in command".replace("'", '"'))
            kind = str(match.lastgroup)
            if kind != "space" or tokens:
                tokens.append(Token(kind, match[0], position))
            position = match.end()

    def _take(self, tokens: list[Token], stack: list[Node], into: list[list[Node]]) -> None:
        """One action: open or close a block, or add a pipeline."""
        is_comment = bool(tokens) and tokens[0].kind == "comment"
        tokens = [token for token in tokens if token.kind != "comment"]
        word = tokens[0].text if tokens and tokens[0].kind == "word" else ""
        if word not in _KEYWORDS:
            if tokens or not is_comment:
                into[-1].append(self._pipeline(tokens, "command"))
            return
        rest = _stripped(tokens[1:])
        match word:
            case "if" | "range" | "with":
                block = Node(word, self._pipeline(rest, word))
                into[-1].append(block)
                stack.append(block)
                into.append(block.parts)
            case "else":
                self._else(rest, stack, into)
            case "end":
                if len(stack) == 1:
                    raise self._bad("unexpected {{end}}")
                while True:
                    block = stack.pop()
                    into.pop()
                    if block.kind != "elseif":
                        break
            case _:
                into[-1].append(Node(word))

    def _else(self, rest: list[Token], stack: list[Node], into: list[list[Node]]) -> None:
        block = stack[-1]
        if len(stack) == 1 or block.otherwise is not None:
            raise self._bad("unexpected {{else}}")
        block.otherwise = []
        into[-1] = block.otherwise
        if rest:
            if rest[0].text not in ("if", "with"):
                raise self._bad(f"unexpected <{rest[0].text}> in else")
            inner = Node("elseif", self._pipeline(_stripped(rest[1:]), "if"), text=rest[0].text)
            block.otherwise.append(inner)
            stack.append(inner)
            into.append(inner.parts)

    # --- pipelines

    def _pipeline(self, tokens: list[Token], context: str) -> Node:
        pipe = Node("pipe")
        tokens = _stripped(tokens)
        at = next((n for n, token in enumerate(tokens) if token.kind == "declare" or token.text == "="), None)
        if at is not None and tokens[0].kind == "variable":
            pipe.variables = [token.text for token in tokens[:at] if token.kind == "variable"]
            pipe.text = tokens[at].text
            tokens = _stripped(tokens[at + 1 :])
        if not tokens:
            raise self._bad(f"missing value for {context}")
        pipe.position = tokens[0].position
        for part in _split(tokens):
            if not part:
                raise self._bad(f"missing value for {context}")
            pipe.parts.append(self._command(part))
        return pipe

    def _command(self, tokens: list[Token]) -> Node:
        start, end = tokens[0].position, tokens[-1].position + len(tokens[-1].text)
        command = Node("command", position=start, text=self._text[start:end])
        position = 0
        while position < len(tokens):
            if tokens[position].kind == "space":
                position += 1
                continue
            operand, position = self._operand(tokens, position)
            command.parts.append(operand)
        return command

    def _operand(self, tokens: list[Token], position: int) -> tuple[Node, int]:
        """A value and the fields behind it; where the next begins."""
        token = tokens[position]
        start = token.position
        if token.text == "(":
            depth, end = 1, position + 1
            while end < len(tokens) and depth:
                depth += (tokens[end].text == "(") - (tokens[end].text == ")")
                end += 1
            if depth:
                raise self._bad("unclosed left paren")
            value = self._pipeline(tokens[position + 1 : end - 1], "parenthesized pipeline")
            position = end
        else:
            value = self._plain(token)
            position += 1
        names = [token.text[1:]] if token.kind == "field" else []
        while position < len(tokens) and tokens[position].kind == "field":
            names.append(tokens[position].text[1:])
            position += 1
        if position < len(tokens) and tokens[position].kind == "dot":
            raise self._bad('unexpected "." in operand')
        if not names:
            return value, position
        last = tokens[position - 1]
        text = self._text[start : last.position + len(last.text)]
        # Go names the place of the last field of a chain that begins with a field, else that of its first.
        chain = Node("chain", value, position=last.position if len(names) > 1 else start, text=text)
        chain.variables = names
        return chain, position

    def _plain(self, token: Token) -> Node:
        match token.kind:
            case "field" | "dot":
                return Node("dot", position=token.position, text=".")
            case "variable":
                return Node("variable", token.text, position=token.position, text=token.text)
            case "string":
                return Node("constant", _unquoted(token.text), position=token.position, text=token.text)
            case "raw":
                return Node("constant", token.text[1:-1], position=token.position, text=token.text)
            case "char":
                return Node("constant", ord(_unquoted(token.text)), position=token.position, text=token.text)
            case "number":
                number = (
                    float(token.text) if re.search(r"[.]|[eE](?![0-9a-fA-F]*$)", token.text) else int(token.text, 0)
                )
                return Node("constant", number, position=token.position, text=token.text)
            case "word" if token.text in ("true", "false"):
                return Node("constant", token.text == "true", position=token.position, text=token.text)
            case "word" if token.text == "nil":
                return Node("nil", position=token.position, text=token.text)
            case "word":
                if token.text not in self._functions:
                    raise self._bad(f'function "{token.text}" not defined')
                return Node("function", token.text, position=token.position, text=token.text)
        raise self._bad(f'unexpected "{token.text}" in operand')

    def _bad(self, why: str) -> TemplateError:
        return TemplateError(f"template: {self._name}:{self._line}: {why}")


def _stripped(tokens: list[Token]) -> list[Token]:
    start, end = 0, len(tokens)
    while start < end and tokens[start].kind == "space":
        start += 1
    while end > start and tokens[end - 1].kind == "space":
        end -= 1
    return tokens[start:end]


def _split(tokens: list[Token]) -> list[list[Token]]:
    """At the bars outside parentheses."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "|" and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return [_stripped(part) for part in parts]


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


def _unquoted(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if code[0] in "xuU" else _ESCAPES.get(code, code)

    return re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", one, text[1:-1])
