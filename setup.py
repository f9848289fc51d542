"""Metadata, dependencies and extras of perla_net; the files of ``topologies/`` and ``launch/`` travel inside the package."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "perla_net" / "__init__.py").read_text(encoding="utf-8"), re.M)

MPI = ["mpi4py>=4.0", "mpich>=4.2"]
PLOT = ["matplotlib>=3.8"]
FILM = [*PLOT, "pillow>=10", "imageio-ffmpeg>=0.5"]
REPORT = [*PLOT, "plotly>=7.0"]
TENSORBOARD = ["tensorboard>=2.20"]
WANDB = ["wandb>=0.31"]
MOMALAND = ["momaland>=0.2,<0.3"]  # not among the tests' packages: it brings pygame, which writes over pygame-ce
DOCS = ["zensical>=0.0.73", "mkdocstrings[python]>=1.0"]
PETTINGZOO = ["pettingzoo>=1.24", "gymnasium>=1.0", "pygame-ce>=2.4", "pymunk>=6.2", "box2d>=2.3.10"]
SUITES = {
    "lbf": ["lbforaging>=2.0", "gymnasium>=1.0"],
    "magent2": ["magent2>=0.3.4", "pettingzoo>=1.24", "gymnasium>=1.0"],
    "mamujoco": ["gymnasium-robotics>=1.4.2", "mujoco>=3.2", "pettingzoo>=1.24", "gymnasium>=1.0"],
    "mpe2": ["mpe2>=1.1"],
    "pettingzoo": PETTINGZOO,
    "rware": ["rware>=2.0", "gymnasium>=1.0"],
    "smax": ["jaxmarl>=0.2,<0.3", "jax>=0.5"],
    "sumo": ["libsumo>=1.28", "sumo-rl>=1.4.5", "pettingzoo>=1.25", "gymnasium>=1.0"],
    "vmas": ["vmas>=1.5.2"],
}
TEST = [
    *(
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "mypy>=1.14",
        "pandapower>=3.0",
        "websocket-client>=1.8",
        "nbclient>=0.10",
        "ipykernel>=6.29",
    ),
    *(*MPI, *FILM, *REPORT, *TENSORBOARD, *WANDB, *DOCS, *sum(SUITES.values(), [])),
]

setup(
    name="perla_net",
    version=VERSION[1],
    description="A simulator of networked learning agents: one MPI rank each, policies shared along a graph",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        # Those that the tests are run with. On 3.10 and 3.12 the dependencies resolve, and nothing more is known.
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=[
        "perla_net",
        "perla_net.gain",
        "perla_net.ground",
        "perla_net.learning",
        "perla_net.methods",
        "perla_net.network",
        "perla_net.records",
        "perla_net.report",
        "perla_net.settings",
        "perla_net.shipped.launch",
        "perla_net.shipped.topologies",
        "perla_net.simulation",
        "perla_net.studies",
        "perla_net.theory",
        "perla_net.world",
        "perla_net.world.networked",
        "perla_net.world.suites",
    ],
    package_dir={"perla_net.shipped.launch": "launch", "perla_net.shipped.topologies": "topologies"},
    package_data={
        "perla_net": ["py.typed"],
        "perla_net.report": ["*.css", "*.js"],
        "perla_net.shipped.launch": ["*"],
        "perla_net.shipped.topologies": ["*.graphml", "*.py", "*.md"],
    },
    install_requires=[
        "annotated-types>=0.6",
        "networkx>=3.4",
        "numpy>=1.26",
        "pydantic>=2.7",
        "PyYAML>=6",
        "safetensors>=0.4.5",
        "scipy>=1.11",
        "torch>=2.4",
        "xxhash>=3.5",
    ],
    extras_require={
        "docs": DOCS,
        "film": FILM,
        "momaland": MOMALAND,
        "mpi": MPI,
        "plot": PLOT,
        "report": REPORT,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        **SUITES,
        "test": TEST,
    },
)
