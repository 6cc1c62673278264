"""Modules that several tests use, such as `harbour`, are found by their name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
