"""Training speed of BenchMARL's algorithms; run by ``throughput.py`` with the Python of an environment that has BenchMARL.

    python benchmarks/throughput_benchmarl.py --agents 16 [--algorithm ippo|qmix|maddpg] [--iterations 6] [--threads 2] [--processor]

VMAS simple_spread, private policies and critics (``share_policy_params`` and ``share_param_critic`` false), 64 copies × 128 steps an
iteration, two hidden layers of 64, 2 torch threads unless said otherwise, no evaluation and no logging. IPPO: 10 epochs of minibatches of 1024 steps, tanh,
discrete actions. QMIX and MADDPG: 64 updates of 1024 steps from a memory of 100,000, tanh, MADDPG's critics relu, as ours; QMIX with discrete
actions, MADDPG with continuous ones, since it has no others. Prints the median of the iterations after the first as JSON; ``--processor``: by seconds
of processor, with one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from importlib.metadata import version
from typing import Callable

import torch
from benchmarl.algorithms import IppoConfig, MaddpgConfig, QmixConfig
from benchmarl.environments import VmasTask
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

COPIES, STEPS, EPOCHS, MINIBATCH = 64, 128, 10, 1024
UPDATES, MEMORY = 64, 100_000
ALGORITHMS = {"ippo": IppoConfig, "qmix": QmixConfig, "maddpg": MaddpgConfig}


class Clock(Callback):
    """Notes when each iteration's learning has ended."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.now = now
        self.ends: list[float] = []

    def on_train_end(self, training_td: object, group: str) -> None:
        """One group, so once an iteration."""
        self.ends.append(self.now())


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--agents", type=int, default=16)
    reader.add_argument("--algorithm", choices=ALGORITHMS, default="ippo")
    reader.add_argument("--iterations", type=int, default=6)
    reader.add_argument("--threads", type=int, default=2)
    reader.add_argument("--processor", action="store_true")
    given = reader.parse_args()
    torch.set_num_threads(1 if given.processor else given.threads)
    config = ExperimentConfig.get_from_yaml()
    config.share_policy_params = False
    config.prefer_continuous_actions = given.algorithm == "maddpg"
    config.max_n_iters, config.max_n_frames = given.iterations, None
    config.on_policy_collected_frames_per_batch = config.off_policy_collected_frames_per_batch = COPIES * STEPS
    config.on_policy_n_envs_per_worker = config.off_policy_n_envs_per_worker = COPIES
    config.on_policy_n_minibatch_iters = EPOCHS
    config.on_policy_minibatch_size = config.off_policy_train_batch_size = MINIBATCH
    config.off_policy_n_optimizer_steps, config.off_policy_memory_size = UPDATES, MEMORY
    config.evaluation, config.render, config.loggers, config.create_json = False, False, [], False
    config.save_folder = tempfile.mkdtemp()
    task = VmasTask.SIMPLE_SPREAD.get_from_yaml()
    task.config["n_agents"] = given.agents
    algorithm = ALGORITHMS[given.algorithm].get_from_yaml()
    if hasattr(algorithm, "share_param_critic"):
        algorithm.share_param_critic = False

    def model(activation: type[torch.nn.Module] = torch.nn.Tanh) -> MlpConfig:
        return MlpConfig(num_cells=[64, 64], layer_class=torch.nn.Linear, activation_class=activation)

    clock = Clock(time.process_time if given.processor else time.perf_counter)
    Experiment(
        task=task,
        algorithm_config=algorithm,
        model_config=model(),
        critic_model_config=model(torch.nn.ReLU if given.algorithm == "maddpg" else torch.nn.Tanh),
        seed=0,
        config=config,
        callbacks=[clock],
    ).run()
    seconds = statistics.median(after - before for before, after in zip(clock.ends, clock.ends[1:]))
    rate = given.agents * COPIES * STEPS / seconds
    versions = {name: version(name) for name in ("benchmarl", "torchrl", "torch", "vmas")}
    print(json.dumps({"agent_steps_per_second": rate, "versions": versions}))


if __name__ == "__main__":
    main()
