"""The command line's grammar: flags as Docker's own command line reads them, and what follows from the tables.

`declare.py` is what a command says about itself, `parse.py` reads words by it, `usage.py` prints it; completion and the
manual pages are made from the same tables. Words used: a *flag* is `--name` or `-n`, an *argument* a word without dash,
a *path* the words that name a command (`container ls`).

It is Sampan's own because a library for this costs more than the whole start-up of the program (40 ms against 13 ms of
bare Python), and because flags read otherwise than Docker's (`--rm=false`, `-p8080:80`, `-itd`) are flags to learn.
"""
