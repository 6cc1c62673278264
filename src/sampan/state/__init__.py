"""The one state database: every table on one page (`schema`), one writer (`database`), migrations.

Words: a *verb* is one transaction. Only `store.py` files and this room write SQL. SQLite in WAL mode with
`synchronous=FULL`: what a verb has acknowledged survives a power cut.
"""
