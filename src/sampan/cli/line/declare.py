"""What a command says about itself: decorators over plain functions, and the values they make. Pure.

    @declare.command("List containers")
    @declare.option("--all", "-a", "everything", is_flag=True, help="Show stopped ones too")
    def ps(*, everything: bool) -> int: ...

The classes are written by hand: `dataclasses` and `typing` would add half again to the start of the program.
Source of kinds and their names: the `--help` of Docker's command line.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Function = Callable[..., Any]

# Kinds whose value is kept for every time the flag is given.
LISTS = frozenset(
    ("list", "strings", "filter", "map", "mount", "network", "ulimit", "gpu-request", "stringArray", "stringToString")
)


class Flag:
    """`--name`, perhaps `-n`. `kind` is the word that help shows for its value; bool has none.

    `check` raises a CliError for a value that cannot be read; `values` are those that completion offers.
    """

    __slots__ = ("aliases", "check", "default", "help", "hidden", "kind", "letter", "name", "target", "values")

    def __init__(
        self,
        *,
        name: str,
        letter: str,
        target: str,
        kind: str,
        default: Any,
        help: str = "",
        hidden: bool = False,
        aliases: tuple[str, ...] = (),
        values: tuple[str, ...] = (),
        check: Callable[[str], object] | None = None,
    ) -> None:
        self.name, self.letter, self.target, self.kind = name, letter, target, kind
        self.default, self.help, self.hidden = default, help, hidden
        self.aliases, self.values, self.check = aliases, values, check

    @property
    def is_list(self) -> bool:
        """Whether it may be given many times."""
        return self.kind in LISTS

    @property
    def is_bool(self) -> bool:
        """Whether it stands without a value."""
        return self.kind == "bool"

    @property
    def written(self) -> str:
        """`-n, --name`, as messages name it."""
        return f"-{self.letter}, --{self.name}" if self.letter else f"--{self.name}"


class Argument:
    """A word, or all that are left (`many`). `shown` stands in the usage line."""

    __slots__ = ("many", "name", "needed", "offers", "shown")

    def __init__(self, name: str, *, many: bool, needed: bool, shown: str, offers: str) -> None:
        self.name, self.many, self.needed, self.shown, self.offers = name, many, needed, shown, offers


class Command:
    """A function with its flags and arguments. Called, it is the function."""

    def __init__(
        self,
        function: Function,
        *,
        help: str,
        flags: Sequence[Flag],
        arguments: Sequence[Argument],
        interspersed: bool = True,
    ) -> None:
        self.function, self.help, self.flags, self.arguments = function, help, tuple(flags), tuple(arguments)
        self.interspersed = interspersed
        self.__doc__ = function.__doc__

    def __call__(self, *words: Any, **options: Any) -> Any:
        return self.function(*words, **options)

    def usage(self) -> str:
        """What stands behind the command's name: `[OPTIONS] CONTAINER [CONTAINER...]`."""
        shown = ["[OPTIONS]"] if any(not flag.hidden for flag in self.flags) else []
        return " ".join([*shown, *(argument.shown for argument in self.arguments)])


# --- decorators ------------------------------------------------------------------------------------------------------


def option(*names: str, **keywords: Any) -> Callable[[Function], Function]:
    """`--name`, `-n`, perhaps a word: the parameter's name. Keywords: those of `flag`."""

    def remember(function: Function) -> Function:
        _remembered(function, "flags").insert(0, flag(*names, **keywords))
        return function

    return remember


def with_flags(flags: Sequence[Flag]) -> Callable[[Function], Function]:
    """Flags that are made already."""

    def remember(function: Function) -> Function:
        _remembered(function, "flags")[:0] = flags
        return function

    return remember


def flag(
    *names: str,
    kind: str = "",
    is_flag: bool = False,
    multiple: bool = False,
    type: Any = None,
    default: Any = ...,
    help: str = "",
    hidden: bool = False,
    values: Iterable[str] = (),
    check: Callable[[str], object] | None = None,
) -> Flag:
    """The first long name is the flag's, further ones are older spellings that are read but not shown.

    Without a default, lists are empty, switches off, and everything else None.
    """
    long = [name[2:] for name in names if name.startswith("--")]
    short = [name[1:] for name in names if name.startswith("-") and not name.startswith("--")]
    target = next((name for name in names if not name.startswith("-")), long[0].replace("-", "_"))
    if not kind:
        kind = "bool" if is_flag or type is bool else "list" if multiple else "int" if type is int else "string"
    if default is ...:
        default = () if kind in LISTS else False if kind == "bool" else None
    return Flag(
        name=long[0],
        letter=short[0] if short else "",
        target=target,
        kind=kind,
        default=default,
        help=help,
        hidden=hidden,
        aliases=tuple(long[1:]),
        values=tuple(values),
        check=check,
    )


def argument(
    name: str,
    *,
    nargs: int = 1,
    required: bool = False,
    default: str | None = None,
    metavar: str = "",
    offers: str = "",
) -> Callable[[Function], Function]:
    """A word, or with `nargs=-1` all of them. `offers` names what completion puts there: container, image, file …"""
    many = nargs == -1
    needed = required if many else default is None
    if not metavar:
        one = (name.removesuffix("s") if many else name).upper()
        metavar = f"{one} [{one}...]" if many and needed else f"[{one}...]" if many else one if needed else f"[{one}]"
    made = Argument(name, many=many, needed=needed, shown=metavar, offers=offers)

    def remember(function: Function) -> Function:
        _remembered(function, "arguments").insert(0, made)
        return function

    return remember


def command(help: str = "", *, interspersed: bool = True) -> Callable[[Function], Command]:
    """The outermost decorator. `help` is a line; without it the docstring's first paragraph."""

    def make(function: Function) -> Command:
        return Command(
            function,
            help=help or " ".join((function.__doc__ or "").partition("\n\n")[0].split()).removesuffix("."),
            flags=_remembered(function, "flags"),
            arguments=_remembered(function, "arguments"),
            interspersed=interspersed,
        )

    return make


def _remembered(function: Function, what: str) -> list[Any]:
    found: dict[str, list[Any]] = function.__dict__.setdefault("declared", {"flags": [], "arguments": []})
    return found[what]
