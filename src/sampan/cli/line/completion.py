"""Completion: what may stand where the cursor is, and the few lines each shell needs to ask for it.

The shells ask `sampan __complete WORD…` with the words up to the cursor; the last one is being typed. The answer is a
candidate a line, its description behind a tab. Commands and flags come from the tables, names of containers, images and
the rest from the daemon, which gets a moment to answer and no complaint if it does not.
"""

from __future__ import annotations

from sampan.cli import failures, session, table
from sampan.cli.line.declare import Argument, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Offers = Callable[[str], Iterable[str]]
    Load = Callable[[str], Command]

# What flags are followed by, besides those that name their values.
_FLAG_OFFERS = {"network": "network", "volumes-from": "container", "env-file": "file", "label-file": "file"}
_FILES = ("cidfile", "config", "file", "iidfile", "input", "output", "tlscacert", "tlscert", "tlskey")
FILES = "_files"  # the answer that lets the shell complete file names

SCRIPTS: Mapping[str, str] = {
    "bash": """# bash completion for sampan; load it by: source <(sampan completion bash)
_sampan() {
    local line IFS=$'\\n'
    COMPREPLY=()
    for line in $(sampan __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
        if [ "$line" = _files ]; then
            COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
        else
            COMPREPLY+=("${line%%$'\\t'*}")
        fi
    done
}
complete -o nosort -F _sampan sampan 2>/dev/null || complete -F _sampan sampan
""",
    "zsh": """#compdef sampan
# zsh completion for sampan; load it by: source <(sampan completion zsh)
_sampan() {
    local line files=0
    local -a found
    for line in "${(@f)$(sampan __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ "$line" = _files ]]; then files=1
        elif [[ -n "$line" ]]; then found+=("${${line//:/\\\\:}/$'\\t'/:}")
        fi
    done
    (( $#found )) && _describe -V command found
    (( files )) && _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _sampan sampan
""",
    "fish": """# fish completion for sampan; load it by: sampan completion fish | source
function __sampan_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (sampan __complete $words[2..-1] 2>/dev/null)
        if test "$line" = _files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c sampan -f -a "(__sampan_complete)"
""",
}


def candidates(words: Sequence[str], load: Load, offers: Offers) -> list[str]:
    """Lines for the last of `words`, which is being typed."""
    *before, typed = words or [""]
    rest, wanted = _behind_flags(session.GLOBALS, before, interspersed=False)
    if wanted is not None:
        return _values(wanted, typed, offers)
    if not rest:
        if typed.startswith("-"):
            return _flags(session.GLOBALS, typed)
        commands = {name: line for part in table.sections().values() for name, line in part.items()}
        return _lines(commands, typed)
    if rest[0] in table.GROUPS and len(rest) == 1:
        return _lines(table.members(rest[0]), typed)
    path = " ".join(rest[:2]) if rest[0] in table.GROUPS else rest[0]
    path = table.ALIASES.get(path, path)
    if path not in table.COMMANDS:
        return []
    return _of_command(load(path), rest[path.count(" ") + 1 :], typed, offers)


def _of_command(command: Command, before: list[str], typed: str, offers: Offers) -> list[str]:
    given, wanted = _behind_flags(command.flags, before, interspersed=command.interspersed)
    if wanted is not None:
        return _values(wanted, typed, offers)
    if typed.startswith("-") and (command.interspersed or not given):
        name, equals, value = typed.partition("=")
        flag = next((flag for flag in command.flags if equals and name == f"--{flag.name}"), None)
        return [f"{name}={line}" for line in _values(flag, value, offers)] if flag else _flags(command.flags, typed)
    argument = _argument(command.arguments, len(given))
    return _offered(argument.offers, typed, offers) if argument and argument.offers else []


def _behind_flags(flags: Iterable[Flag], words: Sequence[str], *, interspersed: bool) -> tuple[list[str], Flag | None]:
    """The words that are no flags, and the flag whose value comes next."""
    long = {f"--{name}": flag for flag in flags for name in (flag.name, *flag.aliases)}
    short = {flag.letter: flag for flag in long.values() if flag.letter}
    rest: list[str] = []
    wanted: Flag | None = None
    for position, word in enumerate(words):
        if wanted is not None:
            wanted = None
        elif word == "--" or (rest and not interspersed):
            return [*rest, *words[position + (word == "--") :]], None
        elif word.startswith("--"):
            flag = long.get(word)
            wanted = flag if flag and not flag.is_bool else None
        elif word.startswith("-") and len(word) > 1:
            flag = short.get(word[-1]) if all(short.get(letter, _SWITCH).is_bool for letter in word[1:-1]) else None
            wanted = flag if flag and not flag.is_bool else None
        else:
            rest.append(word)
    return rest, wanted


_SWITCH = Flag(name="", letter="", target="", kind="bool", default=False)


def _argument(arguments: Sequence[Argument], position: int) -> Argument | None:
    if position < len(arguments):
        return arguments[position]
    return arguments[-1] if arguments and arguments[-1].many else None


def _flags(flags: Iterable[Flag], typed: str) -> list[str]:
    shown = {f"--{flag.name}": flag.help for flag in sorted(flags, key=lambda flag: flag.name) if not flag.hidden}
    return _lines(shown | {"--help": "Print usage"}, typed)


def _values(flag: Flag, typed: str, offers: Offers) -> list[str]:
    if flag.values:
        return [value for value in flag.values if value.startswith(typed)]
    kind = _FLAG_OFFERS.get(flag.name, "file" if flag.name in _FILES else "context" if flag.name == "context" else "")
    return _offered(kind, typed, offers) if kind else []


def _offered(kind: str, typed: str, offers: Offers) -> list[str]:
    if kind == "file":
        return [FILES]
    try:
        return sorted({name for name in offers(kind) if name.startswith(typed)})
    except failures.CliError:
        return []  # nobody to ask: nothing to offer


def _lines(names: Mapping[str, str], typed: str) -> list[str]:
    return [f"{name}\t{line}" for name, line in names.items() if name.startswith(typed)]
