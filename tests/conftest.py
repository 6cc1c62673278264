"""Modules that several tests use, such as `harbour`, are found by their name; a busy machine is no failure."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile("sampan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sampan")  # Hypothesis' own clocks would take a slow machine for a slow test
