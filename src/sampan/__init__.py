"""Sampan: a private container cloud for your own network, in one package.

Start at `sampan.cli.main` (what a person types) or `sampan.daemon.main` (what listens); ARCHITECTURE.md has the map.
"""

__version__ = "0.1.0"
