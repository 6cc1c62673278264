"""Variables in a Dockerfile's words: `$x`, `${x:-y}` and its kin, quotes and escapes. Pure.

Source: the Dockerfile reference, "Environment replacement"; where it is silent, what BuildKit's lexer does: an unset
variable is empty, `$` before anything that names no variable stands for itself, and inside double quotes the escape
character escapes only itself, `"` and `$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sampan import errors

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#]")
_DEEPEST = 32  # braces within braces
_LONGEST = 1 << 20  # bytes a word may grow to: `$a$a` twenty times over is a bomb


class WordInvalid(errors.Invalid):
    """A word whose quotes or braces do not close, or that asks for something unknown."""


def expand(word: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """One word, quotes taken away. Raises `WordInvalid`."""
    return _Lexer(word, variables, escape).whole()[0]


def expand_to_words(word: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """What one word becomes when unquoted values are split at blanks (EXPOSE)."""
    return _Lexer(word, variables, escape).whole()[1]


def expand_all(words: Sequence[str], variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Each word by itself."""
    return [expand(word, variables, escape) for word in words]


def expand_content(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """A here-document: variables and escapes of `$` count, quotes are text."""
    return _Lexer(text, variables, escape, quotes=False).whole()[0]


class _Lexer:
    """One pass over a word. Collects the value, and its split form beside it."""

    def __init__(
        self, text: str, variables: Mapping[str, str], escape: str, *, quotes: bool = True, depth: int = 0
    ) -> None:
        self._text = text
        self._variables = variables
        self._escape = escape
        self._quotes = quotes
        self._depth = depth
        self._at = 0
        self._value: list[str] = []
        self._length = 0
        self._words: list[str] = []
        self._open = False  # the last of `_words` goes on

    def whole(self) -> tuple[str, list[str]]:
        while self._at < len(self._text):
            self._one()
        return "".join(self._value), self._words

    def _fail(self, why: str) -> WordInvalid:
        return WordInvalid(f'failed to process "{self._text[:200]}"', why=why)

    def _one(self) -> None:
        character = self._text[self._at]
        if self._quotes and character == "'":
            self._single()
        elif self._quotes and character == '"':
            self._double()
        elif character == "$":
            self._split_in(self._dollar())
        elif character == self._escape:
            self._escaped()
        else:
            self._at += 1
            self._plain(character)

    def _escaped(self) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        if not self._quotes and following not in ("$", self._escape):
            following = self._escape + following  # in a document only `\$` and `\\` are escapes
        self._literal(following)

    def _plain(self, character: str) -> None:
        if character.isspace():
            self._value.append(character)
            self._open = False
        else:
            self._literal(character)

    def _literal(self, text: str) -> None:
        """Text that blanks do not split."""
        self._grow(text)
        if self._open:
            self._words[-1] += text
        else:
            self._words.append(text)
            self._open = True

    def _split_in(self, text: str) -> None:
        """An unquoted value: its blanks split words."""
        self._grow(text)
        if not text:
            return
        parts = text.split()
        if text[0].isspace():
            self._open = False
        for position, part in enumerate(parts):
            if self._open and position == 0:
                self._words[-1] += part
            else:
                self._words.append(part)
            self._open = True
        if text[-1].isspace():
            self._open = False

    def _grow(self, text: str) -> None:
        self._value.append(text)
        self._length += len(text)
        if self._length > _LONGEST:
            raise self._fail("the value is too long")

    def _single(self) -> None:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._fail("unexpected end of statement while looking for matching single-quote")
        self._literal(self._text[self._at + 1 : end])
        self._at = end + 1

    def _double(self) -> None:
        self._at += 1
        collected = ""
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == '"':
                self._at += 1
                self._literal(collected)
                return
            if character == "$":
                collected += self._dollar()
            elif character == self._escape and self._at + 1 < len(self._text):
                following = self._text[self._at + 1]
                collected += following if following in ('"', "$", self._escape) else character + following
                self._at += 2
            else:
                collected += character
                self._at += 1
        raise self._fail("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        """At a `$`: what it stands for."""
        self._at += 1
        if self._text[self._at : self._at + 1] == "{":
            return self._braces()
        match = _NAME.match(self._text, self._at)
        if match is None:
            return "$"
        self._at = match.end()
        return self._variables.get(match[0], "")

    def _braces(self) -> str:
        match = _NAME.match(self._text, self._at + 1)
        if match is None:
            raise self._fail("bad substitution" if self._at + 1 < len(self._text) else "syntax error: missing '}'")
        end = self._closing(match.end())
        inner, self._at = self._text[match.end() : end], end + 1
        name, value = match[0], self._variables.get(match[0])
        if not inner:
            return value or ""
        if inner[0] == ":" and inner[1:2] in ("-", "+", "?"):
            return self._default(name, value or None, inner[1], inner[2:])
        if inner[0] in "-+?":
            return self._default(name, value, inner[0], inner[1:])
        if inner[0] in "#%":
            return self._trimmed(value or "", inner)
        if inner[0] == "/":
            return self._replaced(value or "", inner)
        raise self._fail(f"unsupported modifier ({inner[:2]}) in substitution")

    def _closing(self, start: int) -> int:
        """The brace that closes the one before `start`; quotes, escapes and inner braces are stepped over."""
        depth = 0
        position = start
        while position < len(self._text):
            character = self._text[position]
            if character == self._escape:
                position += 1
            elif character in "'\"":
                end = self._text.find(character, position + 1)
                position = end if end > 0 else position
            elif self._text.startswith("${", position):
                depth += 1
                position += 1
            elif character == "}":
                if depth == 0:
                    return position
                depth -= 1
            position += 1
        raise self._fail("syntax error: missing '}'")

    def _inner(self, text: str) -> str:
        if self._depth >= _DEEPEST:
            raise self._fail(f"more than {_DEEPEST} braces within each other")
        return _Lexer(text, self._variables, self._escape, depth=self._depth + 1).whole()[0]

    def _default(self, name: str, value: str | None, operator: str, text: str) -> str:
        if operator == "-":
            return self._inner(text) if value is None else value
        if operator == "+":
            return "" if value is None else self._inner(text)
        if value is None:
            raise self._fail(f"{name}: {self._inner(text) or 'not allowed to be unset'}")
        return value

    def _trimmed(self, value: str, inner: str) -> str:
        operator = inner[0]
        greedy = inner[1:2] == operator
        pattern = self._inner_pattern(inner[2:] if greedy else inner[1:], greedy=greedy)
        if operator == "#":
            found = re.match(pattern, value, re.DOTALL)
            return value[found.end() :] if found else value
        ends = range(len(value) + 1) if greedy else range(len(value), -1, -1)
        for start in ends:
            if re.fullmatch(pattern, value[start:], re.DOTALL):
                return value[:start]
        return value

    def _replaced(self, value: str, inner: str) -> str:
        everywhere = inner[1:2] == "/"
        pattern, _, replacement = _cut(inner[2:] if everywhere else inner[1:], self._escape)
        if not pattern:
            raise self._fail("missing pattern in substitution")
        expression = self._inner_pattern(pattern, greedy=True)
        new: Callable[[re.Match[str]], str] = lambda _: self._inner(replacement)  # noqa: E731
        return re.sub(expression, new, value, count=0 if everywhere else 1, flags=re.DOTALL)

    def _inner_pattern(self, text: str, *, greedy: bool) -> str:
        """A shell pattern, its variables expanded, as a regular expression."""
        lexer = _Lexer(text, self._variables, "\0", quotes=False, depth=self._depth + 1)
        return _pattern(lexer.whole()[0], self._escape, greedy=greedy)


def _cut(text: str, escape: str) -> tuple[str, str, str]:
    """At the first `/` that is not escaped."""
    position = 0
    while position < len(text):
        if text[position] == escape:
            position += 1
        elif text[position] == "/":
            return text[:position], "/", text[position + 1 :]
        position += 1
    return text, "", ""


def _pattern(text: str, escape: str, *, greedy: bool) -> str:
    more = "" if greedy else "?"
    result = ""
    characters = iter(text)
    for character in characters:
        if character == "*":
            result += ".*" + more
        elif character == "?":
            result += "."
        elif character == escape:
            result += re.escape(next(characters, escape))
        else:
            result += re.escape(character)
    return result
