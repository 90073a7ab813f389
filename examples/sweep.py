"""A parameter sweep: the same small simulation for every point of a grid, spread over the workers, and the best point found on them.

    python examples/sweep.py
    hpcflow run examples/sweep.py -n 3

A pendulum with friction is let go at some angle; the question is which friction brings it to rest soonest. `repartition` deals the points out evenly,
`map_batches` calls a NumPy function on each worker's points at once, and `group_by` picks the winner of every starting angle: with friction too low
it swings on, too high and it creeps.
"""

from __future__ import annotations

import argparse

import numpy as np
import polars as pl

import hpcflow as hf

STEP_S = 0.002
LIMIT_S = 60.0


def settle(points: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Seconds until each pendulum has last swung more than 0.01 rad, with columns friction (1/s) and angle (rad); semi-implicit Euler."""
    angle, speed = points["angle"].copy(), np.zeros(len(points["angle"]))
    settled_s = np.zeros(len(angle))
    for step in range(int(LIMIT_S / STEP_S)):
        speed -= STEP_S * (9.81 * np.sin(angle) + points["friction"] * speed)
        angle += STEP_S * speed
        settled_s[np.abs(angle) > 0.01] = step * STEP_S
    return {**points, "settled_s": settled_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frictions", type=int, default=60, help="points on the axis of frictions, 0.2 to 12 per second")
    parser.add_argument("--angles", type=int, default=5, help="points on the axis of starting angles, 0.2 to 3 rad")
    options = parser.parse_args()

    with hf.Session() as s:
        frictions = s.from_dict({"friction": np.linspace(0.2, 12.0, options.frictions)})
        angles = s.from_dict({"angle": np.linspace(0.2, 3.0, options.angles)})
        runs = (
            frictions.join(angles, how="cross")
            .repartition(4 * s.workers)
            .map_batches(settle, schema={"friction": pl.Float64, "angle": pl.Float64, "settled_s": pl.Float64}, format="numpy", deterministic=True)
        )
        best = runs.group_by("angle").agg(pl.all().sort_by("settled_s").first()).sort("angle")
        print(best.collect())


if __name__ == "__main__":
    main()
