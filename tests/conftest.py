"""For every test: a busy machine is no failure. Hypothesis' own clocks would make it one."""

from hypothesis import HealthCheck, settings

settings.register_profile("sampan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sampan")
