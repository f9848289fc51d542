"""Theorems 1 and 3: variance of the value estimate and of the policy gradient against K, and that both are unbiased.

One state, played again and again: G = r + γ V̂(s'), with fresh samples at s'. Own action a ~ π, the others' joint action J;
a critic W(a, J), exact where W = Q = r + γ V; m(J) = Σ_b π(b) W(b, J); D(a, J) = W(a, J) − m(J); W̄(a), V_W: means over J, and
over both. S[f] is the variance of the estimator of E f(J): Var f / K for ``monte_carlo``, 0 for ``exact``, and for ``stratified``
what the lattice gives (:func:`lattice_variance`). Samples do not depend on what is played, nor those at s' on those at s; so

    value estimate         mean given a, J                     variance given a, J
    state    G             r(a,J) + γ V_W                      γ² S[m]
    action   Q̂(a)          W̄(a)                                S[W(a,·)]
    control  G − Q + Q̂     r(a,J) − W(a,J) + W̄(a) + γ V_W      γ² S[m] + S[W(a,·)]

    advantage              (the same less V_W)
    state    G − V̂                                             γ² S[m] + S[m]
    action   Q̂(a) − V̂                                          S[D(a,·)]
    control                                                    γ² S[m] + S[D(a,·)]

and Var = Var(mean) + E(variance): a limit, that of ``exact``, and an excess, under ``monte_carlo`` exactly in proportion to 1/K. The
gradient of a softmax policy is g = ψ(a) A, ψ(a) = e_a − π, |ψ(a)|² = 1 − 2 π(a) + |π|²:
E g = E ψ mean, trace Var g = E |ψ|² (mean² + variance) − |E g|². With the exact critic E g of every form is the policy
gradient E ψ(a) Q(a, J); with a wrong one that of ``state`` and ``control`` still is, here: with one state what G bootstraps from is the
same for all actions. (With several it is not, unless λ = 1.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterable, Sequence

import numpy as np

from ..ground.errors import InputError
from ..learning.embedding import lattice_points
from .checks import Check, mean_check
from .games import Game
from .measure import FORMS, Measured, measure, play, policy_gradients, shares

ROUNDING = 4e-6
"""Of a mean, in units of the greatest value: the learner computes in float32."""
NOISE_OF_WRONG_CRITIC = 0.3
"""Standard deviation of what a wrong critic is wrong by, in units of the spread of the agent's payoffs."""


@dataclass
class Row:
    """A line of a table: a quantity at one K, under each estimator the checks by name (variance, excess, mean…)."""

    quantity: str
    samples: int
    checks: dict[str, dict[str, Check]] = field(default_factory=dict)


@dataclass
class Law:
    """Theorem 1 or 3 on one game."""

    name: str
    game: str
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    note: str = ""

    def rows_of(self, quantity: str) -> list[Row]:
        """Those of one quantity, in the order in which they came."""
        return [row for row in self.rows if row.quantity == quantity]

    def add(self, quantity: str, estimator: str, samples: int, **measured: tuple[np.ndarray, float, float]) -> None:
        """Compare means: by name of the check (values [n], prediction, tolerance). K = 0: there are no samples."""
        where = f"{quantity}, {estimator}" + (f", K = {samples}" if samples else "")
        found = {
            name: mean_check(f"{self.name}: {name.replace('_', ' ')}", self.game, where, *entry)
            for name, entry in measured.items()
        }
        if "excess" not in found:  # nothing but the samples varies
            found["excess"] = found["variance"]
        self.checks += {id(check): check for check in found.values()}.values()
        row = next((row for row in self.rows_of(quantity) if row.samples == samples), None)
        if row is None:
            row = Row(quantity, samples)
            self.rows.append(row)
        row.checks[estimator] = found


def lattice_variance(functions: np.ndarray, policies: Sequence[np.ndarray], samples: int) -> np.ndarray:
    """Var (1/K) Σ_p f(J_p) over the random shifts of the program's lattice, exactly: [F] for functions [F, J].

    = (1/K²) Σ_pq E f(J_p) f(J_q) of f less its mean. In coordinate d, points p and q stay δ_d = p_d − q_d cells of 1/K apart however they
    are shifted (mod 1), so that their actions have the joint probabilities |{u : u in [C_a−1, C_a), u + δ/K mod 1 in
    [C_b−1, C_b)}|, C the cumulated policy; coordinates are shifted independently.
    """
    sizes = [len(policy) for policy in policies]
    points = lattice_points(samples, len(sizes))
    apart = (points[:, None, :] - points[None, :, :]) % samples
    kinds, counts = np.unique(apart.reshape(-1, len(sizes)), axis=0, return_counts=True)
    pairs = []
    for policy in policies:
        ends = np.concatenate([[0.0], np.cumsum(policy / policy.sum())])
        low, high = ends[:-1], ends[1:]
        delta = np.arange(samples)[:, None, None] / samples
        overlap = sum(
            np.maximum(
                np.minimum(high[:, None], high[None] - delta + turn)
                - np.maximum(low[:, None], low[None] - delta + turn),
                0,
            )
            for turn in (0, 1)
        )
        pairs.append(overlap)  # [δ, a, b]
    number = len(functions)
    functions = (
        functions - (functions @ _joint(policies))[:, None]
    )  # f̄ = 0, so that no f̄² is taken from a sum of its size
    total = np.zeros(number)
    # E[f(J_q) | J_p] Π shares, one coordinate after the other; pairs of points in blocks that fit in memory.
    block = max(1, 2**22 // functions.size)
    for start in range(0, len(kinds), block):
        some = kinds[start : start + block]
        carried = np.broadcast_to(functions, (len(some), *functions.shape)).reshape(len(some), number, *sizes)
        for axis, overlap in enumerate(pairs):
            moved = np.moveaxis(carried, 2 + axis, -1)
            step = np.einsum("k...b,kab->k...a", moved, overlap[some[:, axis]])
            carried = np.moveaxis(step, -1, 2 + axis)
        products = (carried.reshape(len(some), number, -1) * functions).sum(2)
        total += counts[start : start + block] @ products
    return np.maximum(total / samples**2, 0.0)


def _joint(policies: Sequence[np.ndarray]) -> np.ndarray:
    joint = np.ones(1)
    for policy in policies:
        joint = np.multiply.outer(joint, policy).ravel()
    return joint


@dataclass
class Given:
    """Of an estimate: its mean given what was played [A, J], and its variance then [A], from the samples alone."""

    mean: np.ndarray
    variance: np.ndarray

    def moments(self, own: np.ndarray, joint: np.ndarray) -> tuple[float, float, float]:
        """Mean, variance and the part of it that the samples make, when a ~ own and J ~ joint (law of total variance)."""
        weights = own[:, None] * joint
        mean, excess = float((weights * self.mean).sum()), float(own @ self.variance)
        return mean, float((weights * (self.mean - mean) ** 2).sum()) + excess, excess

    def gradient(self, own: np.ndarray, joint: np.ndarray) -> tuple[np.ndarray, float]:
        """E g [A] and the trace of Var g."""
        mean = self.mean @ joint
        expected = own * (mean - own @ mean)  # Σ_a π(a) (e_a − π) mean(a)
        square = self.mean**2 @ joint + self.variance
        return expected, max(float(own @ (lengths(own) * square) - expected @ expected), 0.0)


def lengths(own: np.ndarray) -> np.ndarray:
    """|e_a − π|² of every action."""
    return 1 - 2 * own + own @ own


def predict(
    reward: np.ndarray, critic: np.ndarray, own: np.ndarray, policies: Sequence[np.ndarray], gamma: float, estimator: str,
    samples: int,
) -> tuple[tuple[float, float], dict[str, Given], dict[str, Given]]:  # fmt: skip
    """(mean and variance of V̂), estimates and advantages by form: the table at the head of this module.

    reward, critic [A, J]; own [A]; policies: those of the others.
    """
    joint = _joint(policies)
    average = own @ critic
    apart = critic - average

    def spread(tables: np.ndarray) -> np.ndarray:
        return ((tables - (tables @ joint)[..., None]) ** 2) @ joint

    def sampled(tables: np.ndarray) -> np.ndarray:
        if estimator == "exact":
            return np.zeros(len(tables))
        if estimator == "monte_carlo":
            return spread(tables) / samples
        return lattice_variance(tables, policies, samples)

    s_m, s_w, s_d = float(sampled(average[None])[0]), sampled(critic), sampled(apart)
    value = float(average @ joint)
    boot = np.full(len(own), gamma**2 * s_m)
    paid = reward + gamma * value
    flat = np.repeat((critic @ joint)[:, None], len(joint), 1)
    mean = {"state": paid, "action": flat, "control": paid - critic + flat}
    estimate = {"state": boot, "action": s_w, "control": boot + s_w}
    advantage = {"state": boot + s_m, "action": s_d, "control": boot + s_d}
    return (
        (value, s_m),
        {form: Given(mean[form], estimate[form]) for form in FORMS},
        {form: Given(mean[form] - value, advantage[form]) for form in FORMS},
    )


def baseline_advantages(critic: np.ndarray, own: np.ndarray, joint: np.ndarray) -> dict[str, np.ndarray]:
    """A(a, J) [A, J] of estimators without embedding, around the exact Q (and its average, for the last).

    coma (Foerster et al. 2018): Q − Σ_b π(b) Q(b, J), central; optimal (Kuba et al. 2021, arXiv 2108.08612): Q − b*(J),
    b* = Σ_a w_a Q(a, J) / Σ_a w_a with w_a = π(a) |ψ(a)|², of all baselines that read J the one with the least variance.
    """
    weights = own * lengths(own)
    weights = weights / weights.sum() if weights.any() else own  # who is certain of an action has no gradient to vary
    mean = np.repeat((critic @ joint)[:, None], len(joint), 1)
    return {
        "none": critic,
        "value": critic - own @ critic @ joint,
        "coma": critic - own @ critic,
        "optimal": critic - weights @ critic,
        "optimal, averaged critic": mean - weights @ mean,
    }


def check_game(
    game: Game, agent: int, gamma: float, counts: Sequence[int], repetitions: int, seed: np.random.SeedSequence
) -> tuple[Law, Law]:
    """Theorems 1 and 3 for one agent of a game of one state, measured ``repetitions`` times at every K. Raises InputError."""
    game, before = game.centred(gamma), game
    policies = [policy for index, policy in enumerate(game.policies) if index != agent]
    own, joint = shares(game, agent)
    _, tables = game.values([policy[None] for policy in game.policies], gamma)
    reward, exact = game.own_first(agent, game.payoffs[agent])[0], game.own_first(agent, tables[agent])[0]
    noise, *streams = map(np.random.default_rng, seed.spawn(1 + len(counts)))
    wrong = exact + NOISE_OF_WRONG_CRITIC * game.spreads[agent] * noise.normal(size=exact.shape)
    offset = float((before.payoffs - game.payoffs)[agent].flat[0]) / (1 - gamma)
    tables = baseline_advantages(exact, own, joint) | {"none": exact + offset}  # the one that an offset matters to
    squares = [
        *_squares(reward, exact, own, joint, policies, gamma, counts[0], tables.values()),
        *_squares(reward, wrong, own, joint, policies, gamma, counts[0]),
    ]
    _refuse_rare(game, own, joint, squares, repetitions)
    small = ROUNDING * (max(float(np.abs(exact).max()), float(np.abs(wrong).max())) or 1.0)
    truth = own * ((exact - own @ exact) @ joint)  # the policy gradient Σ_a π(a) (e_a − π) Q̄(a)
    one, three = Law("theorem 1", game.name), Law("theorem 3", game.name)

    def of_square(variance: float, rounding: float = small) -> float:
        """What rounding ε does to the mean of squares of that mean: |(x + ε)² − x²| ≤ 2 |x| ε + ε²."""
        return 2 * rounding * float(np.sqrt(variance)) + rounding**2

    def gradients(
        quantity: str, estimator: str, samples: int, advantage: np.ndarray, given: Given, unbiased: bool
    ) -> None:
        found = policy_gradients(own, played.own, advantage)
        expected, trace = given.gradient(own, joint)
        aim = truth if unbiased else expected
        excess = float(own @ (lengths(own) * given.variance))
        rounding = max(small, ROUNDING * float(np.abs(given.mean).max()))
        apart = lengths(own)[played.own] * (advantage - given.mean[played.own, played.others]) ** 2
        three.add(
            quantity, estimator, samples,
            variance=(((found - aim) ** 2).sum(1), trace, 4 * of_square(trace, rounding)),
            excess=(apart, excess, 4 * of_square(excess, rounding)),
            **{f"mean_of_component_{action}": (found[:, action], float(aim[action]), rounding) for action in range(len(own))},
        )  # fmt: skip

    def compare(measured: Measured, critic: np.ndarray, name: str, estimator: str, samples: int) -> None:
        (mean, variance), estimate, advantage = predict(reward, critic, own, policies, gamma, estimator, samples)
        if not name:
            away = (measured.value - mean) ** 2
            one.add(
                "V̂(s)",
                estimator,
                samples,
                mean=(measured.value, mean, small),
                variance=(away, variance, of_square(variance)),
            )
            for form in FORMS:
                mean, variance, excess = estimate[form].moments(own, joint)
                values, centre = measured.estimate[form], estimate[form].mean[played.own, played.others]
                one.add(
                    form, estimator, samples,
                    mean=(values, mean, small),
                    variance=((values - mean) ** 2, variance, of_square(variance)),
                    excess=((values - centre) ** 2, excess, of_square(excess)),
                )  # fmt: skip
        for form in FORMS:  # the action form alone carries a wrong critic's error into the gradient
            gradients(
                form + name, estimator, samples, measured.advantage[form], advantage[form], not name or form != "action"
            )

    for samples, stream in zip(counts, streams):
        played = play(game, agent, repetitions, stream)
        for critic, name, estimator in (
            (exact, "", "monte_carlo"),
            (exact, "", "stratified"),
            (wrong, ", wrong critic", "monte_carlo"),
        ):
            compare(
                measure(game, agent, critic, estimator, samples, gamma, played, stream),
                critic,
                name,
                estimator,
                samples,
            )
    compare(measure(game, agent, exact, "exact", 1, gamma, played, streams[-1]), exact, "", "exact", 0)
    for name, table in tables.items():
        given = Given(table, np.zeros(len(own)))
        gradients(f"baseline: {name}", "exact", 0, table[played.own, played.others], given, True)
    noted = three.rows_of("action, wrong critic")[-1].checks["monte_carlo"]
    bias = [
        (noted[f"mean_of_component_{action}"].measured - truth[action],
         noted[f"mean_of_component_{action}"].predicted - truth[action])
        for action in range(len(own))
    ]  # fmt: skip
    measured_bias, predicted_bias = np.linalg.norm(bias, axis=0)
    three.note = (
        f"the wrong critic biases the action form, whatever K is: |E g − gradient| = {measured_bias:.4g}, predicted "
        f"{predicted_bias:.4g}, |gradient| = {np.linalg.norm(truth):.4g}; that of the other forms stays the gradient's"
    )
    order = {row.quantity: index for index, row in reversed(list(enumerate(one.rows + three.rows)))}
    for law in (one, three):
        law.rows.sort(key=lambda row: (order[row.quantity], row.samples or np.inf))
    return one, three


def _squares(reward: np.ndarray, critic: np.ndarray, own: np.ndarray, joint: np.ndarray, policies: Sequence[np.ndarray],
             gamma: float, fewest: int, tables: Iterable[np.ndarray] = ()) -> list[tuple[np.ndarray, int]]:  # fmt: skip
    """What is averaged where a variance is measured: squares [A, J], and how many joint actions at least each is a mean over.

    From the samples: of m − V̂, W − W̄ and |ψ| (D − D̄). From what is played: of every form's estimate and gradient, and of the
    gradients of ``tables`` [A, J] besides.
    """
    average = own @ critic
    apart = critic - average
    away = [table - (table @ joint)[..., None] for table in (average, critic, apart)]
    drawn = (np.broadcast_to(away[0] ** 2, critic.shape), away[1] ** 2, lengths(own)[:, None] * away[2] ** 2)
    _, estimates, advantages = predict(reward, critic, own, policies, gamma, "exact", 1)
    played = [(given.mean - given.moments(own, joint)[0]) ** 2 for given in estimates.values()]
    for table in (*(given.mean for given in advantages.values()), *tables):
        expected, _ = Given(table, np.zeros(len(own))).gradient(own, joint)
        steps = (np.eye(len(own)) - own)[:, None, :] * table[..., None]  # ψ(a) A(a, J)
        played.append(((steps - expected) ** 2).sum(-1))
    return [(square, fewest) for square in drawn] + [(square, 1) for square in played]


def _refuse_rare(
    game: Game, own: np.ndarray, joint: np.ndarray, squares: Sequence[tuple[np.ndarray, int]], repetitions: int
) -> None:
    """A variance that rests on actions which hardly ever occur cannot be measured; say so rather than guess.

    The mean of Z over n plays needs n ≥ 36 κ₃(Z)²/σ(Z)⁶ to be near normal at six standard errors; where an action of
    probability p dominates, that is 36 plays with it. squares: (Z [A, J], K), K how many joint actions each play draws of those.
    """
    weights, most = own[:, None] * joint, 0.0
    for square, samples in squares:
        mean = float((weights * square).sum())
        apart = square - mean
        variance = float((weights * apart**2).sum())
        if (
            variance > 1e-9 * mean**2 and mean > ROUNDING**2 * game.spreads.max() ** 2
        ):  # else it is one number, or rounding
            most = max(most, 36 * float((weights * apart**3).sum()) ** 2 / variance**3 / samples)
    if repetitions < most:
        raise InputError(
            f"--repetitions {repetitions}: in {game.name} rare actions make most of a variance; it takes at least "
            f"{int(np.ceil(most / 1000)) * 1000}, or policies with fewer improbable actions"
        )
