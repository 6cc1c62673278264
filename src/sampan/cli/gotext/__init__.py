"""Go's text templates, as `--format` takes them: a parser, a walk over the tree, and the functions.

Left out: `define`, `template` and `block`, which no `--format` needs. Words used: a *chain* is fields behind a value
(`.State.Pid`), a *command* a value or a function with its arguments, a *pipeline* commands joined by `|`.
Source: the documentation of Go's text/template; messages as `docker` 28.2 prints them.
"""
