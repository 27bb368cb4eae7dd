"""Experiments whose models are fitted instead of trained, for suites of tests: a regression and a distance classifier."""

from __future__ import annotations


def fitted_experiments(*, epsilon: float, n_test: int) -> str:
    """TOML of both; radius and number of test examples are of the distance classifier."""
    return f"""
[[experiments]]
name = "regression"
dataset = {{ name = "staircase", n_train = 40, n_test = 50 }}
architectures = ["cubic-spline"]
defenses = ["natural"]
attacks = ["exact"]
metrics = ["squared-error"]
threat = {{ norm = "linf", epsilon = 0.3333333333333333 }}
recipe = {{ optimizer = "none" }}

[[experiments]]
name = "distance"
dataset = {{ name = "spiral", start = 1.0 }}
architectures = ["mlp"]
defenses = ["distance"]
attacks = ["pgd-10"]
metrics = ["accuracy", "adversarial-accuracy"]
threat = {{ norm = "linf", epsilon = {epsilon} }}
recipe = {{ optimizer = "none" }}
n_test = {n_test}
"""
