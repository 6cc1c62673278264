"""Volumes: named directories under the data root that outlive containers.

Words: an *anonymous* volume was named by Sampan because a container asked only for a place; it goes with `rm -v`.
"""
