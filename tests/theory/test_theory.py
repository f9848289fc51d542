"""The theory command: its predictions against enumeration by hand, its verdicts, and what happens when an estimator lies."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, job

from perla_net.ground.errors import InputError
from perla_net.learning import embedding
from perla_net.learning.distributions import Categorical
from perla_net.learning.embedding import lattice_points
from perla_net.learning.models import MLP
from perla_net.methods import lesson, order, returns
from perla_net.theory import checks, convergence, folds, games, measure, nonstationarity, trajectories, variance
from perla_net.theory.__main__ import main

STAG = ROOT / "docs" / "examples" / "stag_hunt.yaml"
QUICK = ("--game", "random:actions=2", "--samples-list", "1,8", "--repetitions", "4000", "--steps", "0")


def game_of(spec, seed=0):
    return games.make(spec, np.random.default_rng(seed))


# What measures


def test_a_table_is_a_network():
    """Every (state, joint action) has its own hidden unit: the network is the table, and so is its embedding."""
    sizes, states = (2, 3), 2
    table = np.random.default_rng(0).normal(size=(4, states * 6))
    critic = MLP((states + sum(size + 1 for size in sizes), states * 6, 4), "relu")
    measure.write_table(critic, states, sizes, table)
    for index, (state, first, second) in enumerate(itertools.product(range(2), range(2), range(3))):
        x = torch.zeros(1, 9)
        x[0, state] = x[0, 2 + first] = x[0, 5 + second] = 1
        assert np.allclose(critic(x)[0].detach().numpy(), table[:, index], atol=1e-6)


def test_what_is_measured_is_what_the_learner_learns_from():
    """The advantages and targets are those of :func:`perla_net.methods.order.learn`, to the bit."""
    game = game_of("random")
    played = measure.play(game, 1, 50, np.random.default_rng(1))
    critic = np.random.default_rng(2).normal(size=(3, 9))
    measured = measure.measure(game, 1, critic, "monte_carlo", 4, 0.9, played, np.random.default_rng(3))
    stream = np.random.default_rng(3).spawn(2)[1]
    learner = measure.learner_with(game, 1, "control", critic, "monte_carlo", 4, 0.9, stream)
    played, neighbours = measure.with_another_state(game, 1, played)
    outputs = measure.logits(game.policies[1]).expand(102, -1)
    rollout = measure.rollout_of(played)
    heard = lesson.Experience(
        rollout, torch.from_numpy(rollout.reward), None, torch.ones(102, 1), outputs, None, neighbours
    )
    found = measure.advantages_of(learner, heard)
    assert found.shape == (51,) and np.array_equal(found[1:], measured.advantage["control"])


# What predicts


def test_variance_of_the_lattice_is_that_of_all_its_shifts():
    """Probabilities in eighths and K = 4: every cell of 1/8 of a shift gives the same actions, so 8 x 8 shifts are all."""
    policies = [np.array([1, 4, 3]) / 8, np.array([5, 3]) / 8]
    functions = np.random.default_rng(0).normal(size=(2, 6))
    points = lattice_points(4, 2) / 4
    shifts = (np.arange(8) + 0.5) / 8
    averages = []
    for shift in itertools.product(shifts, shifts):
        places = (points + np.array(shift)) % 1
        actions = [(places[:, [d]] >= policies[d].cumsum()[:-1]).sum(1) for d in range(2)]
        averages.append(functions[:, actions[0] * 2 + actions[1]].mean(1))
    found = variance.lattice_variance(functions, policies, 4)
    assert np.allclose(found, np.var(averages, axis=0), atol=1e-12)
    assert np.allclose(variance.lattice_variance(functions, policies, 1), _plain(functions, policies))


def test_the_lattice_over_many_games():
    """What docs/theory.md says of ``stratified`` against ``monte_carlo``: nearly always less variance from K = 16 on."""
    ratios = {4: [], 16: [], 64: []}
    for seed in range(40):
        game = game_of("random", seed)
        own, joint = measure.shares(game, 0)
        values = (own @ game.own_first(0, game.payoffs[0])[0])[None]
        plain = ((values - values @ joint) ** 2 @ joint)[0]
        for samples, found in ratios.items():
            found.append(variance.lattice_variance(values, game.policies[1:], samples)[0] * samples / plain)
    medians = [np.median(found) for found in ratios.values()]
    assert medians[0] < 0.9 and medians[1] < 0.35 and medians[2] < 0.12, medians
    assert max(ratios[4]) > 1 and np.mean(np.array(ratios[16]) > 1) < 0.05 and max(ratios[64]) < 1


def _plain(functions, policies):
    joint = np.outer(*policies).ravel()
    return ((functions - (functions @ joint)[:, None]) ** 2) @ joint


def test_predictions_are_the_enumeration_of_everything():
    """K = 1: own action, joint action, sampled joint actions at s and s' all enumerated, for every form and a wrong critic."""
    rng = np.random.default_rng(0)
    own, policies = np.array([0.3, 0.7]), [np.array([0.2, 0.8]), np.array([0.5, 0.5])]
    joint = np.outer(*policies).ravel()
    reward, critic, gamma = rng.normal(size=(2, 4)), rng.normal(size=(2, 4)), 0.8
    m = own @ critic
    (_, _), estimate, advantage = variance.predict(reward, critic, own, policies, gamma, "monte_carlo", 1)
    for form in measure.FORMS:
        total = {"estimate": np.zeros(2), "gradient": np.zeros(3)}
        for a, j, k, later in itertools.product(range(2), range(4), range(4), range(4)):
            share = own[a] * joint[j] * joint[k] * joint[later]
            target = reward[a, j] + gamma * m[later]
            x = {"state": target, "action": critic[a, k], "control": target - critic[a, j] + critic[a, k]}[form]
            g = (np.eye(2)[a] - own) * (x - m[k])
            total["estimate"] += share * np.array([x, x * x])
            total["gradient"] += share * np.array([*g, g @ g])
        mean, square = total["estimate"]
        assert np.allclose(estimate[form].moments(own, joint)[:2], (mean, square - mean * mean))
        expected, trace = advantage[form].gradient(own, joint)
        assert np.allclose(expected, total["gradient"][:2])
        assert np.isclose(trace, total["gradient"][2] - expected @ expected)


def test_the_optimal_baseline_has_the_least_variance_of_those_that_read_the_others():
    game = game_of("random")
    own, joint = measure.shares(game, 0)
    critic = game.own_first(0, game.payoffs[0])[0]

    def trace(table):
        return variance.Given(table, np.zeros(len(own))).gradient(own, joint)[1]

    tables = variance.baseline_advantages(critic, own, joint)
    best = trace(tables["optimal"])
    rng = np.random.default_rng(0)
    assert all(best < trace(tables["optimal"] + 0.3 * rng.normal(size=len(joint))) for _ in range(20))
    assert best <= trace(tables["coma"]) and trace(tables["optimal, averaged critic"]) < best


def test_exact_values_are_the_sum_of_what_comes():
    game = game_of("two_state")
    rng = np.random.default_rng(1)
    policies = [games.softmax(rng.normal(size=(2, 2))) for _ in range(2)]
    value, q = game.values(policies, 0.8)
    joint = games.joint_shares(policies)
    again = np.zeros(2)
    for _ in range(200):
        again = (joint * (game.payoffs[0] + 0.8 * game.following @ again)).sum((1, 2))
    assert np.allclose(value[0], again) and np.allclose((joint * q[0]).sum((1, 2)), again)
    assert game.averaged(0, q[0], policies).shape == (2, 2)


def test_kinds_of_games_and_gains():
    kinds = {
        "climbing": "team",
        "ipd": "potential",
        "matching_pennies": "other",
        "random": "other",
        "two_state": "team",
    }
    kinds |= {"random_potential:agents=4,actions=2": "potential", str(STAG): "potential"}
    kinds |= {"climbing:graph=ring,agents=4": "potential"}
    assert {spec: game_of(spec).kind() for spec in kinds} == kinds
    climbing = game_of("climbing")
    for profile, gain in (((0, 0), 0), ((1, 1), 0), ((2, 1), 1), ((0, 1), 41)):
        policies = [np.eye(3)[[action]] for action in profile]
        assert climbing.gain(policies, 0.5) == pytest.approx(gain / 41, abs=1e-9)
    pennies = game_of("matching_pennies")
    assert pennies.payoffs[:, 0].tolist() == [[[1, -1], [-1, 1]], [[-1, 1], [1, -1]]]
    assert game_of("penalty:k=-25").payoffs[0, 0].tolist() == [[-25, 0, 10], [0, 2, 0], [10, 0, -25]]


# Several steps, and orders of learning


def test_trajectories_of_several_states():
    """All paths, with the right probabilities; each form's bias and variance as in docs/theory.md: the noise of others' and of later actions
    falls, a wrong critic biases at λ < 1 only, and what is left in a game of one state is the own action."""
    rng = np.random.default_rng(0)
    episode = trajectories.episode_of(game_of("two_state"), 1, 0.9, rng)
    paths = trajectories.paths_of(episode)
    assert paths.share.sum() == pytest.approx(1) and paths.state.shape == (3, 512)
    for t, expected in enumerate(episode.occupied()):
        assert paths.share @ paths.state[t] == pytest.approx(expected[1])
    rewards = episode.game.payoffs[1][(paths.state, *np.moveaxis(paths.action, -1, 0))]
    there = (paths.state[0] == 1) & (paths.action[0] == [0, 1]).all(1)  # what follows s = 1, a = 1, J = 0
    returned = (0.9 ** np.arange(3)) @ rewards[:, there] @ paths.share[there] / paths.share[there].sum()
    assert episode.exact()[0, 1, 1, 0] == pytest.approx(returned)
    for spec in ("two_state", "random:actions=2", "matching_pennies"):
        found = trajectories.check_game(game_of(spec), 1, 0.9, np.random.default_rng(1))
        checks.settle(found.checks)
        assert all(check.holds for check in found.checks), spec
        rows = {(row.form, row.critic, row.trace): row for row in found.rows}
        exact = [rows[form, "exact", 1.0].measured for form in ("state", "control", "trajectory", "action")]
        assert exact[0] > exact[1] > exact[2] >= exact[3] - 1e-12
        assert (exact[2] == pytest.approx(exact[3])) is (spec != "two_state")
        for (_, critic, trace), row in rows.items():
            assert (row.bias > 1e-3) is (spec == "two_state" and (critic, trace) == ("wrong", 0.6))


def test_folds_alone_and_a_picture_without_any_game(tmp_path, capsys):
    assert main(("--game", "folds", "--draw", str(tmp_path / "laws.pdf"))) == 0
    said = capsys.readouterr().out
    assert said.index("Folds, two by two") < said.index("Coefficient, two by two") and "Theorem" not in said
    assert "first          one       4              -0.1792  -0.1   -0.07924  no law" in said
    assert "folds          one       4                 -0.1  -0.1          0   holds" in said


def test_what_is_too_large_to_follow_is_left_out(capsys):
    assert trajectories.check_game(game_of("random:agents=4"), 0, 0.9, np.random.default_rng(0)) is None
    assert trajectories.episode_of(game_of("random"), 0, 0.9, np.random.default_rng(0)).steps == 2
    assert main(("--game", "two_state:agents=6", "--steps", "100")) in (0, 1)
    assert "left out: two_state:agents=6: trajectories of two steps" in capsys.readouterr().out


def test_orders_of_copies_do_not_matter():
    """What spares most outcomes of ``first`` and of the fitted coefficient: sorted ones with the probability of all their orders."""
    for blocks in ((3,), (1, 2)):
        sorted_ones = list(folds.outcomes(blocks))
        assert sum(share for _, share in sorted_ones) == pytest.approx(1)
        assert len(sorted_ones) == {(3,): 20, (1, 2): 40}[blocks]
    assert len(list(folds.outcomes((1, 1, 1)))) == 64
    learner = folds.learner_in("first", "one")
    total = np.zeros((3, 2))
    for kinds, share in folds.outcomes((1, 1, 1)):
        own, other = np.divmod(kinds, 2)
        total[np.arange(3), own] += share * folds.advantages(learner, own, other)
    apart = (total / folds.OWN) @ [-1, 1] - folds.TRUTH
    assert np.allclose(apart, folds.check_order(3, "first", "one").bias, atol=1e-12)


def test_bias_of_first_and_of_the_coefficient(monkeypatch):
    """``first`` is biased by as much as one action is better than the other with 8 copies, and by less with 16; n · bias of the coefficient
    comes closer to its limit with n."""
    biases = [folds.check_order(copies, "first", "one").bias for copies in (8, 16)]
    assert biases[0] < folds.TRUTH and biases[0] < 1.5 * biases[1] < -0.05
    monkeypatch.setattr(folds, "SIZES", (16, 32, 64))
    rows = folds.check_coefficient("wrong", folds.WRONG)
    away = [abs(row.samples * row.bias / row.limit - 1) for row in rows]
    assert rows[0].inside and away[0] > away[1] > away[2] and away[2] < 0.2
    assert abs((64 * rows[2].bias * 2 - 32 * rows[1].bias) / rows[2].limit - 1) < 0.04


# Verdicts


def test_intervals():
    one = checks.mean_check("law", "game", "what", np.array([0.0, 2.0] * 50), 1.5, 0.0)
    z = checks.settle([one], level=0.05)
    assert z == pytest.approx(1.95996, abs=1e-4) and one.high - one.predicted == pytest.approx(z / 10)
    assert not one.holds
    assert checks.settle([one] * 100) > checks.settle([one])
    limit = checks.Check("law", "game", "what", -7.0, 1.0, limit=True)
    nothing = checks.Check("law", "game", "what", float("nan"), 1.0, error=5.0)
    checks.settle([limit, nothing])
    assert limit.holds and not nothing.holds


def test_laws_hold_and_the_same_seed_gives_the_same_report(capsys):
    assert main([*QUICK, "--game", str(STAG)]) == 0
    first = capsys.readouterr().out
    assert main([*QUICK, "--game", str(STAG)]) == 0
    assert capsys.readouterr().out == first
    assert "Theorem 1, stag hunt" in first and "VIOLATED" not in first


sampled, exact, thresholds = embedding._sampled, embedding._exact, embedding._Draws._thresholds


def inflated(critic, base, factors, samples, lattice, rng):
    """Off by 5 % at K = 1."""
    return sampled(critic, base, factors, samples, lattice, rng) * (1 + 0.05 / samples)


def one_too_few(critic, base, factors, samples, lattice, rng):
    """Unbiased, but of K − 1 samples."""
    return sampled(critic, base, factors, max(samples - 1, 1), lattice, rng)


def always_lattice(critic, base, factors, samples, lattice, rng):
    """Unbiased, but not independent."""
    return sampled(critic, base, factors, samples, True, rng)


def locked(critic, base, factors, samples, lattice, rng):
    """The neighbours act alike: each marginal is right, their joint distribution is not."""

    class Same:
        def __init__(self):
            self.drawn = None

        def random(self, shape, dtype):
            if self.drawn is None or self.drawn.shape != shape:
                self.drawn = rng.random(shape, dtype=dtype)
            return self.drawn.copy()

    return sampled(critic, base, factors, samples, lattice, Same())


def rounded_down(self, dimension, probabilities):
    """An off-by-some in the sampler: the first action is drawn too rarely."""
    return thresholds(self, dimension, probabilities * (1 - 0.2 * (torch.arange(probabilities.shape[1]) == 0)))


def uniform_weights(critic, base, factors):
    for factor in factors:
        factor.probabilities = torch.full_like(factor.probabilities, 1 / factor.probabilities.shape[1])
    return exact(critic, base, factors)


def without_correction(form, returns, value, at_action, executed, *rest):
    """The control form without its control variate's mean: Q̂ is missing."""
    return own_form(form, returns, value, at_action, executed, *rest) - (at_action if form == "control" else 0)


own_form = returns.form_advantage


own_variate = returns.control_variate


def with_this_step(form, rollout, value, embedded, executed, gamma, trace):
    """The joint action of the step itself is corrected to the value: what the own action did is taken away, too."""
    return own_variate(form, rollout, value, embedded, executed, gamma, trace) + (
        embedded - value[: len(embedded)] if form == "trajectory" else 0
    )


def undiscounted(form, rollout, value, embedded, executed, gamma, trace):
    """Later corrections count as much as that of the step itself."""
    return own_variate(form, rollout, value, embedded, executed, 1.0, trace)


def beyond_the_end(form, rollout, *rest):
    """The corrections of the next episode count, too."""
    return own_variate(form, replace(rollout, terminated=np.zeros_like(rollout.terminated)), *rest)


def later_own_only(form, rollout, value, embedded, executed, gamma, trace):
    """Of later steps, too, only what the neighbours did is taken away: of mean zero, but noise of the own actions stays."""
    value = embedded if form == "trajectory" else value
    return own_variate(form, rollout, value, embedded, executed, gamma, trace)


def everybody(self, first):
    """No halves: each copy is judged by a critic that was fitted on all."""
    return torch.ones_like(self.alive)


def own_half(self, first, second):
    """Each half is judged by the critic that was fitted on it."""
    return own_join(self, second, first)


own_join = lesson.Lesson.join


def unclipped(gain, variate, own):
    """The coefficient of the regression, whatever it is."""
    away = (variate - variate.mean()).double()
    return float((gain * away).sum() / away.square().sum().clamp(min=1e-12))


def half_of_it(gain, variate, own):
    return own_coefficient(gain, variate, own) / 2


own_coefficient = returns.fitted_coefficient


def first_state(self, dimension, probabilities):
    """Every state reads the policies of the first."""
    return thresholds(self, dimension, probabilities[:1].expand_as(probabilities))


MUTATIONS = {
    "states mixed up": (embedding._Draws, "_thresholds", first_state, "theorem 1: mean"),
    "inflated": (embedding, "_sampled", inflated, "theorem 1"),
    "one sample too few": (embedding, "_sampled", one_too_few, "theorem 1: excess"),
    "a lattice under another name": (embedding, "_sampled", always_lattice, "monte_carlo"),
    "neighbours locked together": (embedding, "_sampled", locked, "theorem 1: mean"),
    "wrong thresholds": (embedding._Draws, "_thresholds", rounded_down, "theorem 1: mean"),
    "wrong weights": (embedding, "_exact", uniform_weights, "exact"),
    "wrong form": (measure, "form_advantage", without_correction, "theorem 3: mean of component"),
    "wrong form in the learner": (lesson, "form_advantage", without_correction, "trajectories: mean"),
    "the step itself taken away": (
        lesson,
        "control_variate",
        with_this_step,
        "trajectories: mean, random:actions=2, traj",
    ),
    "later steps undiscounted": (lesson, "control_variate", undiscounted, "trajectories: variance"),
    "corrected beyond the end": (lesson, "control_variate", beyond_the_end, "trajectories: mean"),
    "later own actions left in": (lesson, "control_variate", later_own_only, "trajectories: variance"),
    "folds left out": (lesson.Lesson, "of_copies", everybody, "folds: mean"),
    "first under the name of folds": (order, "_in_folds", order._first, "folds: mean"),
    "halves confused": (lesson.Lesson, "join", own_half, "folds: mean"),
    "coefficient out of bounds": (returns, "fitted_coefficient", unclipped, "coefficient: |c − ½|"),
    "half of the coefficient": (returns, "fitted_coefficient", half_of_it, "coefficient: limit of n · bias"),
}
FOLDED = ("folds", "coefficient")
"""Laws of the orders of learning, which are looked at by ``--game folds``."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_biased_estimator_is_caught(name, monkeypatch, capsys):
    owner, attribute, lie, sentence = MUTATIONS[name]
    monkeypatch.setattr(owner, attribute, lie)
    assert main(("--game", "folds") if sentence.startswith(FOLDED) else QUICK) == 1
    violations = [line for line in capsys.readouterr().out.splitlines() if line.startswith("VIOLATED")]
    assert any(sentence in line for line in violations), violations


def test_actor_critic_converges_and_one_that_descends_does_not(monkeypatch, capsys):
    only = ("--game", "penalty", "--repetitions", "1000", "--samples-list", "1", "--steps", "300")
    assert main(only) == 0
    assert "penalty  team    300" in capsys.readouterr().out
    monkeypatch.setattr(convergence, "ACTOR_STEPS", (-10.0, 60.0, 0.85))
    assert main(only) == 1
    assert "NOT REACHED: theorem 6, penalty" in capsys.readouterr().out


def test_offsets_and_scales_of_payoffs_are_no_matter(tmp_path, monkeypatch):
    """Agents' payoffs in units of their own, γ near 1: errors stay as visible, and an actor that descends is seen."""
    file = tmp_path / "offset.yaml"
    file.write_text("payoffs: [[[3, 0], [2, 2]], [[100003, 100002], [100000, 100002]]]\n")
    base = ("--game", str(file), "--samples-list", "1,16", "--repetitions", "20000", "--seed", "3")
    for agent in ("0", "1"):
        assert main([*base, "--agent", agent, "--steps", "200" if agent == "0" else "0"]) == 0
        assert main([*base, "--agent", agent, "--steps", "0", "--gamma", "0.9999999"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "_sampled", one_too_few)
        for agent in ("0", "1"):
            assert main([*base, "--agent", agent, "--steps", "0"]) == 1
    monkeypatch.setattr(convergence, "ACTOR_STEPS", (-10.0, 60.0, 0.85))
    assert main([*base, "--steps", "200"]) == 1


def test_the_lattice_of_values_with_an_offset():
    policies = [np.array([0.3, 0.3, 0.4]), np.array([0.6, 0.4])]
    functions = np.random.default_rng(0).normal(size=(1, 6))
    plain = variance.lattice_variance(functions, policies, 16)
    assert np.allclose(variance.lattice_variance(functions + 1e7, policies, 16), plain, rtol=1e-6)


def test_two_states_converge():
    found = convergence.check_game(game_of("two_state"), 0.8, 250, np.random.default_rng(0))
    checks.settle(found.checks)
    assert all(check.holds for check in found.checks) and found.critic[-1].max() < found.critic[0].max() / 5


def test_a_critic_that_embeds_old_policies_is_caught(monkeypatch):
    game = game_of("climbing")

    def verdict():
        found = nonstationarity.check_game(game, 0, 0.9, np.random.default_rng(0))
        checks.settle(found.checks)
        return found, all(check.holds for check in found.checks)

    found, holds = verdict()
    assert holds
    for row in found.rows:
        assert row.advantage[1] < 1e-5 < row.advantage[0] and (row.gamma or row.value[1] < 1e-5)
        assert row.value[1] < row.value[0]
    embed = nonstationarity.embed

    def stale(critic, x, peers, *rest):
        old = measure.logits(game.policies[1]).expand_as(peers[0].outputs)
        return embed(critic, x, [SimpleNamespace(**vars(peers[0]) | {"outputs": old})], *rest)

    monkeypatch.setattr(nonstationarity, "embed", stale)
    assert not verdict()[1]


def test_steps_of_a_given_size():
    policy, direction = np.array([0.2, 0.5, 0.3]), np.array([1.0, -0.5, 0.2])
    outputs = [measure.logits(nonstationarity.moved(policy, direction, 0.1))[None], measure.logits(policy)[None]]
    space = SimpleNamespace(sizes=(3,))
    assert float(Categorical(space).divergence(*outputs)[0]) == pytest.approx(0.1, rel=1e-4)


# The command line


def test_command_with_file_picture_and_json(tmp_path):
    picture, table = tmp_path / "laws.png", tmp_path / "laws.json"
    done = job(
        0, "perla_net.theory", "--game", "docs/examples/stag_hunt.yaml", "--repetitions", "2000", "--samples-list", "1,10,100", "--steps", "120",
        "--draw", str(picture), "--out", str(table), timeout=120, process=True,
    )  # fmt: skip
    assert "comparisons hold." in done.stdout and "stag hunt  potential    120" in done.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size > 30_000
    data = json.loads(table.read_text())
    assert len(data["checks"]) > 100 and all(check["holds"] for check in data["checks"])
    assert data["options"]["game"] == ["docs/examples/stag_hunt.yaml"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--game", "chess"), "--game chess: there is no such game or file"),
        (("--game", "tandem"), "--game tandem: has no table"),
        (("--game", "two_step"), "--game two_step: has no table"),
        (("--game", "penalty:k=5"), "k 5 is not a number"),
        (("--game", "random:players=3"), "unknown argument 'players'"),
        (("--game", "random:agents=1"), "agents 1 is not a whole number of at least 2"),
        (("--game", "random:agents=9,actions=3"), "are more than 512"),
        (("--game", "absent.yaml"), "--game absent.yaml: cannot be read"),
        (("--agent", "7"), "--agent 7: climbing has agents 0 to 1"),
        (("--samples-list", "1,x"), "--samples-list 1,x"),
        (("--repetitions", "10"), "--repetitions 10"),
        (("--gamma", "1"), "--gamma 1"),
        (("--steps", "5"), "--steps 5"),
        (("--seed", "-1"), "--seed -1"),
        (("--draw", "/nowhere/laws.png"), "there is no folder /nowhere"),
        (("--draw", "laws.doc"), "must end in one of"),
        (("--game", "two_state:agents=6", "--steps", "0"), "--steps 0: leaves nothing to check; two_state"),
        (("--colour", "red"), "unrecognized arguments: --colour red"),
    ],
)
def test_what_is_wrong_is_said(arguments, sentence):
    with pytest.raises(InputError) as error:
        main(arguments)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("payoff: [[1, 2], [3]]", "payoff: is not nested lists of equal lengths"),
        ("payoff: [[1, .nan], [3, 4]]", "payoff: is not nested lists"),
        ("payoffs: [[[1, 2], [3, 4]]]", "payoffs of shape 1×2×2"),
        ("payoff: [1, 2]", "payoffs of shape 1×2"),
        ("payoff: [[1], [2]]", "everybody needs at least 2"),
        ("name: empty", "it has neither"),
        ("payoff: [[1, 2], [3, 4]]\npayofs: 3", "unknown key 'payofs'"),
        ("payoff: [[1, 2], [3, 4]]\npolicies: [[1, 0]]", "needs a list of 2 lists"),
        ("payoff: [[1, 2], [3, 4]]\npolicies: [[1, 0], [0.4, 0.4]]", "needs 2 probabilities that sum to 1"),
        ("payoff: [[1, 2], [3, 4]]\nname: 7", "name 7 is not text"),
        ("payoff: [[0, 0], [0, 1e5]]\npolicies: [[0.5, 0.5], [0.9999, 0.0001]]", "rare actions make most"),
        ("payoff: [[1, -1], [1, -1]]\npolicies: [[0.9999, 0.0001], [0.5, 0.5]]", "rare actions make most"),
        ("payoff: [[0, 1], [100, 101]]\npolicies: [[0.5, 0.5], [0.9999, 0.0001]]", "rare actions make most"),
        ("payoff: [[0, 1.0e-200], [0, 0]]", "write them in smaller units"),
        (f"payoff: [[0, {'9' * 400}], [0, 0]]", "numbers within ±1e6"),
        (f"payoff: [[0, {'9' * 5000}], [0, 0]]", "is not YAML"),
        (f"payoff: {'[' * 3000}", "is not YAML"),
        (f"payoff: {'[' * 30}1{']' * 30}", "more than 10 deep"),
        ("payoff: &a [*a, *a]", "more than 10 deep"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(text, sentence, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        main(["--game", str(file)])
    assert sentence in str(error.value)


def test_a_game_of_unequal_agents_and_one_without_a_choice_that_matters(tmp_path):
    rng = np.random.default_rng(0)
    drawn: tuple[str, ...] = ()
    for name, payoffs in (("unequal", rng.normal(size=(3, 2, 3, 4))), ("constant", np.ones((2, 2, 2)))):
        file = tmp_path / f"{name}.yaml"
        file.write_text(json.dumps({"payoffs": payoffs.tolist()}))
        assert main(["--game", str(file), "--agent", "1", *QUICK[2:], *drawn]) == 0
        drawn = ("--draw", str(tmp_path / "laws.pdf"))  # of the second
    assert (tmp_path / "laws.pdf").read_bytes()[:4] == b"%PDF"


def test_json_files_and_certain_actions(tmp_path):
    """A policy may be certain of an action: zero probabilities are logits that the masks would give."""
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"payoff": [[3, 0], [0, 1]], "policies": [[0.5, 0.5], [1.0, 0.0]]}, indent="\t"))
    for agent in ("0", "1"):
        assert main(["--game", str(file), *QUICK[2:], "--agent", agent]) == 0
