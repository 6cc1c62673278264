"""The event bus: what happened, told once, heard by all: `docker events`, stack events, web hooks, the dashboard.

Events are values; publishing never waits for a listener. A listener that does not read loses the oldest, and is told
how many.
"""
