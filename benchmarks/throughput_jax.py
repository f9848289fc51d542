"""Training speed of a compiled IPPO in JAX; run by ``throughput.py`` with the Python of an environment that has jaxmarl.

    python benchmarks/throughput_jax.py --agents 16 [--private] [--rounds 6]

JaxMARL's wheel holds environments but no training scripts, so this is ours, in their style: JaxMARL's MPE_simple_spread_v3, a policy and
a critic of two hidden layers of 64 (tanh; relu), 64 copies × 128 steps a round, GAE, 10 epochs of 8 minibatches of all agents
(16 × 1024 steps each with 16 agents), clipped gradients, Adam; the whole round is one compiled function. Parameters are shared by all
agents, which is less work; with ``--private`` each agent has its own. Prints the median of the rounds after the first two as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from importlib.metadata import version
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxmarl
import optax

COPIES, STEPS, EPOCHS, MINIBATCHES = 64, 128, 10, 8
GAMMA, TRACE, CLIP, ENTROPY = 0.97, 0.95, 0.2, 0.003


class Networks(nn.Module):
    """Policy and critic."""

    actions: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = x
        for _ in range(2):
            hidden = nn.tanh(nn.Dense(64)(hidden))
        logits = nn.Dense(self.actions)(hidden)
        hidden = x
        for _ in range(2):
            hidden = nn.relu(nn.Dense(64)(hidden))
        return logits, nn.Dense(1)(hidden)[..., 0]


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--agents", type=int, default=16)
    reader.add_argument("--rounds", type=int, default=6)
    reader.add_argument("--private", action="store_true")
    given = reader.parse_args()
    env = jaxmarl.make(
        "MPE_simple_spread_v3", num_agents=given.agents, num_landmarks=given.agents, action_type="Discrete"
    )
    networks = Networks(env.action_space(env.agents[0]).n)
    size = env.observation_space(env.agents[0]).shape[0]
    optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(2e-3, eps=1e-5))
    key = jax.random.PRNGKey(0)
    if given.private:
        begin = lambda k: networks.init(k, jnp.zeros(size))  # noqa: E731
        parameters = jax.vmap(begin)(jax.random.split(key, given.agents))
        state = jax.vmap(optimiser.init)(parameters)
        apply = jax.vmap(networks.apply, in_axes=(0, 1), out_axes=1)
        step = jax.vmap(optimiser.update)
    else:
        parameters = networks.init(key, jnp.zeros(size))
        state = optimiser.init(parameters)
        apply, step = networks.apply, optimiser.update

    def stacked(values: dict[str, jax.Array]) -> jax.Array:
        """[copies, agents, …]."""
        return jnp.stack([values[agent] for agent in env.agents], axis=1)

    def loss(parameters: Any, batch: tuple) -> jax.Array:
        x, action, old, advantage, target = batch
        logits, value = apply(parameters, x)
        logs = jax.nn.log_softmax(logits)
        log = jnp.take_along_axis(logs, action[..., None], -1)[..., 0]
        ratio = jnp.exp(log - old)
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
        entropy = -(jnp.exp(logs) * logs).sum(-1)
        each = (-gain - ENTROPY * entropy + 0.5 * jnp.square(value - target)).mean(0)  # per agent
        return each.sum() if given.private else each.mean()

    @jax.jit
    def one_round(carry: tuple) -> tuple:
        parameters, state, world, seen, key = carry

        def act(carry: tuple, _: None) -> tuple:
            world, seen, key = carry
            key, choose, move = jax.random.split(key, 3)
            x = stacked(seen)
            logits, value = apply(parameters, x)
            action = jax.random.categorical(choose, logits)
            old = jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]
            chosen = {agent: action[:, index] for index, agent in enumerate(env.agents)}
            seen, world, reward, done, _ = jax.vmap(env.step)(jax.random.split(move, COPIES), world, chosen)
            over = jnp.broadcast_to(done["__all__"][:, None], value.shape)
            return (world, seen, key), (x, action, old, value, stacked(reward), over)

        (world, seen, key), rollout = jax.lax.scan(act, (world, seen, key), None, STEPS)
        x, action, old, value, reward, over = rollout
        last = apply(parameters, stacked(seen))[1]

        def backwards(carry: tuple, step: tuple) -> tuple:
            running, following = carry
            value, reward, over = step
            delta = reward + GAMMA * following * (1 - over) - value
            running = delta + GAMMA * TRACE * (1 - over) * running
            return (running, value), running

        _, advantage = jax.lax.scan(backwards, (jnp.zeros_like(last), last), (value, reward, over), reverse=True)
        target = advantage + value
        advantage = (advantage - advantage.mean((0, 1))) / (advantage.std((0, 1)) + 1e-8)
        flat = jax.tree.map(lambda rows: rows.reshape(-1, *rows.shape[2:]), (x, action, old, advantage, target))

        def epoch(carry: tuple, key: jax.Array) -> tuple:
            order = jax.random.permutation(key, COPIES * STEPS).reshape(MINIBATCHES, -1)

            def minibatch(carry: tuple, chosen: jax.Array) -> tuple:
                parameters, state = carry
                gradient = jax.grad(loss)(parameters, jax.tree.map(lambda rows: rows[chosen], flat))
                change, state = step(gradient, state, parameters)
                return (optax.apply_updates(parameters, change), state), None

            return jax.lax.scan(minibatch, carry, order)[0], None

        key, shuffle = jax.random.split(key)
        (parameters, state), _ = jax.lax.scan(epoch, (parameters, state), jax.random.split(shuffle, EPOCHS))
        return (parameters, state, world, seen, key), reward.mean()

    seen, world = jax.vmap(env.reset)(jax.random.split(key, COPIES))
    carry, times = (parameters, state, world, seen, key), []
    for _ in range(given.rounds):
        began = time.perf_counter()
        carry, reward = one_round(carry)
        jax.block_until_ready((carry, reward))
        times.append(time.perf_counter() - began)
    rate = given.agents * COPIES * STEPS / statistics.median(times[2:])
    versions = {name: version(name) for name in ("jax", "jaxmarl", "flax", "optax")}
    print(json.dumps({"agent_steps_per_second": rate, "versions": versions, "reward": float(reward)}))


if __name__ == "__main__":
    main()
