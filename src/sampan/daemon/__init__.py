"""The assembly: the rooms put together, the listeners opened, start and end.

The only room that knows all others. Time, ids and randomness come from here.
"""
