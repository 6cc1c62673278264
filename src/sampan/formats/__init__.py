"""Grammars of a page or two: image references, digests, log frames, units.

A format turns bytes or text into values and back. Every module here is pure: it takes buffers and gives values, and
reaches no file, socket, clock, environment or event loop. Modules the keeper imports (`stdcopy`, `containerlog`) also
keep to the cheap part of the standard library, because the keeper's memory is counted in single megabytes.
"""
