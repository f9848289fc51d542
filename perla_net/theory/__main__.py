"""``python -m perla_net.theory``: PERLA's theorems 1, 3 and 6, its claim about non-stationarity, and the forms and orders of learning beyond them."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.files import given as path_given
from ..ground.text import columns
from .checks import LEVEL, Check, settle

ESTIMATED = ("climbing", "penalty", "random")
"""Games of theorems 1 and 3 and of the changes, unless ``--game`` says otherwise."""
LEARNED = ("climbing", "penalty", "random_team", "random_potential", "two_state")
"""Games of theorem 6, likewise."""
FOLDS = "folds"
"""Name under which ``--game`` knows the enumerated orders of learning, which have a game of their own."""
LEGEND = """
  state, action, control: forms of the embedded critic. variance, excess: under monte_carlo, or exact. K·excess: relative to that at the
  least K (predicted 1). stratified: its excess, and what the shifted lattice gives, exactly. means: largest deviation of a mean from its
  prediction, as a share of its ± (offsets of payoffs are taken away first); 'holds' covers means, variances and excesses under all estimators."""
TRAVELLED = """
  bias: of the gradient of all steps, as a share of its length. Nothing is drawn: what is measured and what is predicted agree to 9 digits."""
ABOUT = (
    "Check what policy embedding promises, on games that can be enumerated; exit status 1 if a law is violated, or if the "
    "runs of theorem 6 have not come within its limits."
)


@dataclass
class Findings:
    """What the laws gave, in the order of the games."""

    ones: list[Any] = field(default_factory=list)
    threes: list[Any] = field(default_factory=list)
    convergences: list[Any] = field(default_factory=list)
    changes: list[Any] = field(default_factory=list)
    trajectories: list[Any] = field(default_factory=list)
    folds: list[Any] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def checks(self) -> list[Check]:
        """All of them."""
        parts = (*self.ones, *self.threes, *self.convergences, *self.changes, *self.trajectories, *self.folds)
        return [check for part in parts for check in part.checks]


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status: 0, or 1 if a law is violated. Raises InputError."""
    from ..settings.command_line import parser

    reader = parser("perla_net.theory", ABOUT)
    reader.add_argument(
        "--game",
        action="append",
        metavar="GAME",
        help="climbing, penalty[:k=-100], qtran, ipd, matching_pennies (also for more: climbing:graph=ring,agents=3); random, "
        "random_team, random_potential, two_state[:agents=,actions=]; folds: orders of learning, on a game of their own; or a YAML or JSON file (docs/theory.md); may be "
        f"repeated (default: {', '.join(dict.fromkeys((*ESTIMATED, *LEARNED, FOLDS)))}, each where it tells most)",
    )
    reader.add_argument("--agent", type=int, default=0, metavar="I", help="whose estimates are measured (default 0)")
    reader.add_argument("--gamma", type=float, default=0.9, help="discount (default 0.9)")
    reader.add_argument(
        "--samples-list", default="1,4,16,64", metavar="K,K,…", help="numbers of samples (default 1,4,16,64)"
    )
    reader.add_argument(
        "--repetitions", type=int, default=20_000, metavar="R", help="measurements of each (default 20000)"
    )
    reader.add_argument(
        "--steps", type=int, default=1000, metavar="T", help="steps of theorem 6 (default 1000; 0: leave it out)"
    )
    reader.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of random games, policies and samples (default 0)"
    )
    reader.add_argument("--draw", metavar="FILE", help="write a picture: png, svg, pdf (extra plot)")
    reader.add_argument("--out", metavar="FILE", help="write every check as JSON")
    given = reader.parse_args(list(arguments))
    counts = _checked(given)
    if given.draw:
        from ..ground.pictures import pyplot_for

        pyplot_for(path_given(given.draw, "--draw"))  # a missing extra is told before the work, not after
    games = (given.game, given.game) if given.game else ((*ESTIMATED, FOLDS), LEARNED)
    found = look(*games, given.agent, given.gamma, counts, given.repetitions, given.steps, given.seed)
    if not found.checks:
        raise InputError(f"--steps {given.steps}: leaves nothing to check; {'; '.join(found.skipped)}")
    z = settle(found.checks)
    print(report(found, z, given.gamma, given.agent, given.repetitions))
    if given.draw:
        from .picture import draw

        firsts = (group[0] if group else None for group in (found.ones, found.threes))
        draw(path_given(given.draw, "--draw"), *firsts, found.convergences, found.changes[0] if found.changes else None)
        print(f"drawn in {given.draw}")
    if given.out:
        _write(path_given(given.out, "--out"), found, vars(given))
    return 0 if all(check.holds for check in found.checks) else 1


def _checked(given: Any) -> tuple[int, ...]:
    """The list of K; raises InputError for any option out of range."""
    try:
        counts = tuple(sorted({int(part) for part in given.samples_list.split(",")}))
    except ValueError:
        counts = ()
    if not counts or counts[0] < 1 or counts[-1] > 1000:
        raise InputError(f"--samples-list {given.samples_list}: needs whole numbers from 1 to 1000 with commas")
    if not 1000 <= given.repetitions <= 10**6:
        raise InputError(f"--repetitions {given.repetitions}: must be from 1000 to 1000000")
    if not (given.steps == 0 or 100 <= given.steps <= 10**6):
        raise InputError(f"--steps {given.steps}: must be 0, or from 100 to 1000000")
    if not 0 <= given.gamma < 1:
        raise InputError(f"--gamma {given.gamma:g}: must be at least 0 and below 1")
    for name, value in (("--seed", given.seed), ("--agent", given.agent)):
        if value < 0:
            raise InputError(f"{name} {value}: must be at least 0")
    for name, value in (("--draw", given.draw), ("--out", given.out)):
        if value and not path_given(value, name).absolute().parent.is_dir():
            raise InputError(f"{name} {value}: there is no folder {path_given(value, name).parent}")
    return counts


def look(
    estimated: Sequence[str],
    learned: Sequence[str],
    agent: int,
    gamma: float,
    counts: Sequence[int],
    repetitions: int,
    steps: int,
    seed: int,
) -> Findings:
    """Theorems 1 and 3 and the changes on the games ``estimated``, theorem 6 on those ``learned``, trajectories on the former and where there
    are several states; orders of learning where ``folds`` is among them. Raises InputError."""
    import torch

    from . import convergence, folds, nonstationarity, trajectories, variance
    from .games import make

    torch.set_num_threads(1)
    names = [name for name in dict.fromkeys((*estimated, *learned)) if name != FOLDS]
    streams = [np.random.SeedSequence(seed, spawn_key=(index,)) for index in range(len(names))]
    parts = [stream.spawn(5) for stream in streams]
    games = [make(name, np.random.default_rng(part[0])) for name, part in zip(names, parts)]
    found = Findings()
    for game in games:
        if agent >= game.agents:
            raise InputError(f"--agent {agent}: {game.name} has agents 0 to {game.agents - 1}")
    if FOLDS in estimated:
        found.folds.append(folds.check())
    for name, game, (_, samples, learning, changing, travelling) in zip(names, games, parts):
        if name in estimated or game.states > 1:
            several = trajectories.check_game(game, agent, gamma, np.random.default_rng(travelling))
            if several is None:
                most = f"{trajectories.MOST_PATHS:,}"
                found.skipped.append(
                    f"{game.name}: trajectories of two steps, more than {most} that would be enumerated"
                )
            else:
                found.trajectories.append(several)
        if name not in estimated:
            pass
        elif game.states == 1:
            one, three = variance.check_game(game, agent, gamma, counts, repetitions, samples)
            found.ones.append(one)
            found.threes.append(three)
            found.changes.append(nonstationarity.check_game(game, agent, gamma, np.random.default_rng(changing)))
        else:
            found.skipped.append(f"{game.name}: has {game.states} states; theorems 1 and 3 and the changes are for one")
        if not steps or name not in learned:
            continue
        if game.kind() == "other":
            found.skipped.append(
                f"{game.name}: neither a team nor an exact potential game; theorem 6 says nothing of it"
            )
        else:
            found.convergences.append(convergence.check_game(game, gamma, steps, np.random.default_rng(learning)))
    return found


def report(found: Findings, z: float, gamma: float, agent: int, repetitions: int) -> str:
    """All tables, what was violated, and the verdict."""
    from .nonstationarity import DRAWS

    checks = found.checks
    lines = [
        f"{len(checks)} comparisons; together they are wrong about a correct program with probability {LEVEL:g} at most: "
        f"±{z:.2f} standard errors each (theorem 6 has limits instead).",
        f"Agent {agent}, γ = {gamma:g}, {repetitions:,} measurements of each number (of errors after a change {DRAWS:,}). ± is half of the "
        "interval around the prediction.",
    ]
    for law in found.ones:
        lines += [
            "",
            f"Theorem 1, {law.game}: variance of the value estimate = that of exact + excess, the excess as 1/K",
        ]
        lines.append(_law_table(law))
    for law in found.threes:
        lines += ["", f"Theorem 3, {law.game}: the policy gradient is unbiased; trace of its variance"]
        lines += [_law_table(law), f"  {law.note}"]
    if found.threes:
        lines.append(LEGEND)
    if found.convergences:
        lines += [
            "",
            "Theorem 6: tabular two-time-scale actor-critic with embedding, all runs; in units of each agent's spread/(1 − γ)",
        ]
        lines.append(_convergence_table(found.convergences))
    for changes in found.changes:
        lines += [
            "",
            f"Non-stationarity, {changes.game}: errors right after the neighbours changed, without | with embedding",
        ]
        lines.append(_change_table(changes))
    for several in found.trajectories:
        lines += [
            "",
            f"Trajectories, {several.game}: {several.steps} steps, all {several.paths:,} paths; the gradient of every step, and the trace of its "
            "variance at the first",
            _trajectory_table(several),
        ]
    if found.trajectories:
        lines.append(TRAVELLED)
    for one in found.folds:
        lines += _fold_tables(one)
    lines += ["", *(f"left out: {sentence}" for sentence in found.skipped)]
    wrong = [check for check in checks if not check.holds]
    late = [check for check in wrong if check.limit and check.law == "theorem 6"]
    lines += [
        f"{'NOT REACHED' if check in late else 'VIOLATED'}: {check.law}, {check.game}, {check.what}: measured {check.measured:.5g}, but predicted "
        + (
            f"at most {check.high:.5g}"
            if check.limit
            else f"{check.predicted:.5g}, within [{check.low:.5g}, {check.high:.5g}]"
        )
        for check in wrong
    ]
    lines.append(
        f"{len(checks) - len(wrong)} of {len(checks)} comparisons hold"
        + ("." if not wrong else f", {len(wrong)} do not.")
        + (
            " Limits that were not reached are no law's: see whether more --steps help (γ near 1 takes more)."
            if late
            else ""
        )
    )
    return "\n".join(lines)


def _number(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.4g}"


def _verdict(checks: Sequence[Check]) -> str:
    wrong = [check for check in checks if not check.holds]
    return "holds" if not wrong else "NOT REACHED" if all(check.law == "theorem 6" for check in wrong) else "VIOLATED"


def _law_table(law: Any) -> str:
    """A row per quantity and K: variance under monte_carlo (or exact), excess, K·excess, and the excess under stratified."""
    rows = [["quantity", "K", "variance", "predicted", "±", "excess", "predicted", "±", "K·excess", "stratified", "predicted", "means", ""]]  # fmt: skip
    first = {
        row.quantity: row.checks["monte_carlo"]["excess"].measured * row.samples
        for row in reversed(law.rows)
        if "monte_carlo" in row.checks
    }
    for row in law.rows:
        plain = row.checks.get("monte_carlo") or row.checks["exact"]
        total, excess = plain["variance"], plain["excess"]
        cells = [row.quantity, str(row.samples) if row.samples else "exact" if ":" not in row.quantity else "-"]
        cells += [_number(total.measured), _number(total.predicted), _number(total.high - total.predicted)]
        if row.samples:
            one = first[row.quantity]
            cells += [_number(excess.measured), _number(excess.predicted), _number(excess.high - excess.predicted)]
            cells.append(f"{row.samples * excess.measured / one:.3f}" if one > 0 else "-")
        else:
            cells += [""] * 4
        other = row.checks.get("stratified")
        cells += [_number(other["excess"].measured), _number(other["excess"].predicted)] if other else ["", ""]
        every = [check for found in row.checks.values() for check in found.values()]
        means = [check for found in row.checks.values() for name, check in found.items() if name.startswith("mean")]
        cells += [_deviation(means), _verdict(every)]
        rows.append(cells)
    return columns(rows)


def _deviation(checks: Sequence[Check]) -> str:
    """The largest deviation of these from what is predicted, as a share of half of the interval."""
    shares = [
        abs(check.measured - check.predicted) / (check.high - check.predicted)
        for check in checks
        if check.high > check.predicted
    ]
    return f"{max(shares, default=0.0):.0%}"


def _convergence_table(found: Sequence[Any]) -> str:
    rows = [["game", "kind", "steps", "critic to exact Q̃: first look", "last", "best change of a policy: first", "last", "from greedy", "ends", "mean payoff", ""]]  # fmt: skip
    for one in found:
        greedy = one.checks[-1]
        rows.append(
            [
                one.game,
                one.kind,
                str(one.steps[-1]),
                *(
                    f"{float(values.max()):.4f}"
                    for values in (one.critic[0], one.critic[-1], one.gain[0], one.gain[-1])
                ),
                f"{greedy.measured:.4f}",
                f"{len(set(one.profiles))} in {len(one.profiles)} runs",
                f"{min(one.returns):.3g} to {max(one.returns):.3g}",
                _verdict(one.checks),
            ]
        )
    critic, gain = found[0].checks[0].high, found[0].checks[1].high
    return (
        columns(rows)
        + "\n  worst of the runs; 'last' and 'from greedy' (everybody at its most probable action) must be at most "
        f"{critic:g} for the critic and {gain:g} for changes of a policy"
    )


def _change_table(found: Any) -> str:
    rows = [["change", "γ", "Σ TV", "value", "", "advantage", "", "learned advantage", "", ""]]
    small = 1e-6 * max((max(row.value) for row in found.rows), default=0.0)
    for row in found.rows:
        about = [check for check in found.checks if check.what.startswith(f"{row.kind}, γ = {row.gamma:g},")]
        pairs = [
            _number(value) if value > small else "0"
            for pair in (row.value, row.advantage, row.learned)
            for value in pair
        ]
        rows.append([row.kind, f"{row.gamma:g}", f"{row.distance:.3f}", *pairs, _verdict(about)])
    return columns(rows)


def _trajectory_table(found: Any) -> str:
    rows = [["form", "critic", "λ", "variance", "predicted", "of state's", "bias", "predicted", ""]]
    for row in found.rows:
        numbers = map(_number, (row.measured, row.predicted))
        biases = map(_number, (row.bias, row.predicted_bias))
        rows.append(
            [row.form, row.critic, f"{row.trace:g}", *numbers, f"{row.share:.3f}", *biases, _verdict(row.checks)]
        )
    return columns(rows)


def _fold_tables(found: Any) -> list[str]:
    """Orders of learning, and the coefficient, each under its sentence."""
    from .folds import GAME, TRUTH

    orders = [["order", "coefficient", "copies", "E[A | 1] − E[A | 0]", "true", "bias", ""]]
    for row in found.orders:
        numbers = map(_number, (TRUTH + row.bias, TRUTH, row.bias))
        orders.append(
            [row.order, row.coefficient, str(row.copies), *numbers, _verdict(row.checks) if row.checks else "no law"]
        )
    fitted = [
        ["critic", "n", "mean c", "sd c", "bias", "≤ ½ sd(X)/√n", "≤ sd(X) rms(c − c₋ₖ)", "n · bias", "its limit", ""]
    ]
    for row in found.coefficients:
        numbers = map(_number, (row.mean, row.deviation, row.bias, row.root_bound, row.bound, row.samples * row.bias))
        limit = _number(row.limit) if row.inside else "-"
        fitted.append([row.critic, str(row.samples), *numbers, limit, _verdict(row.checks)])
    return [
        "",
        f"Folds, {GAME}: what one action seems better than the other by, when the critic is fitted on what it judges; all outcomes",
        columns(orders),
        "",
        f"Coefficient, {GAME}: bias of a component of the gradient, when c is fitted on the samples that it is used on; all outcomes",
        columns(fitted),
    ]


def _write(file: Path, found: Findings, options: dict[str, Any]) -> None:
    """Every check, with its interval; numbers that are not finite as null."""
    data = {
        "options": options,
        "level": LEVEL,
        "left_out": found.skipped,
        "checks": [
            {
                name: value if not isinstance(value, float) or math.isfinite(value) else None
                for name, value in asdict(check).items()
            }
            | {"holds": check.holds}
            for check in found.checks
        ],
    }
    try:
        file.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {file}: cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    from ..ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
