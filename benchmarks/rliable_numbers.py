"""What rliable 1.2.0 computes on a fixed data set, for tests/studies/test_statistics.py to compare perla_net.studies.statistics with.

    pip install rliable==1.2.0 && python benchmarks/rliable_numbers.py >tests/data/rliable.json

rliable is archived and brings arch, statsmodels, pandas and seaborn, so the tests do not install it: they read its numbers. It
draws its resamples with numpy's global legacy generator, whose stream numpy keeps (NEP 19), so the tests draw the same ones.
"""

from __future__ import annotations

import json
from importlib.metadata import version

import numpy as np
from rliable import library, metrics

REPETITIONS, SEED = 2000, 7
TAUS = [-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5]


def data() -> dict[str, np.ndarray]:
    """Scores [runs, tasks], rounded so that there are ties within and between the methods."""
    rng = np.random.default_rng(2108)
    x = np.round(rng.normal([0.3, 0.6, 0.9], [0.1, 0.4, 0.2], (5, 3)), 1)
    y = np.round(rng.normal([0.2, 0.7, 0.7], [0.2, 0.1, 0.5], (7, 3)), 1)
    y[:5, 1] = x[:, 1]  # a task on which they are nearly the same
    return {"x": x, "y": y}


def main() -> None:
    scores = data()
    aggregates = {
        "mean": metrics.aggregate_mean,
        "median": metrics.aggregate_median,
        "interquartile_mean": metrics.aggregate_iqm,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }
    found: dict[str, object] = {}
    for name, aggregate in aggregates.items():
        found[name] = {}
        for method, array in scores.items():
            np.random.seed(SEED)
            value, interval = library.get_interval_estimates(
                {method: array}, lambda those, f=aggregate: np.array([f(those)]), reps=REPETITIONS
            )
            found[name][method] = [float(value[method][0]), *interval[method][:, 0].tolist()]
    np.random.seed(SEED)
    value, interval = library.get_interval_estimates(
        {"pair": [scores["x"], scores["y"]]},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=REPETITIONS,
    )
    found["probability_of_improvement"] = [float(value["pair"][0]), *interval["pair"][:, 0].tolist()]
    np.random.seed(SEED)
    profile, interval = library.create_performance_profile({"x": scores["x"]}, np.array(TAUS), reps=REPETITIONS)
    found["performance_profile"] = [profile["x"].tolist(), *interval["x"].tolist()]
    # Curves [runs, tasks, points]: rliable draws other runs at every point, so only its values, not its intervals, are ours.
    curves = np.round(np.random.default_rng(2109).normal(0.5, 0.3, (5, 3, 4)).cumsum(-1), 2)
    points = range(curves.shape[-1])
    iqm = [float(metrics.aggregate_iqm(curves[..., point])) for point in points]
    print(
        json.dumps(
            {
                "versions": {name: version(name) for name in ("rliable", "arch", "scipy", "numpy")},
                "repetitions": REPETITIONS,
                "seed": SEED,
                "scores": {name: array.tolist() for name, array in scores.items()},
                "curves": curves.tolist(),
                "taus": TAUS,
                "found": found | {"sample_efficiency": iqm},
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
