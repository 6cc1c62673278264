"""The daemon's settings: one table (`options`), read from the file, the environment and the command line (`load`).

The table prints its own help and its page in the manual. Nothing here acts on a setting.
"""
