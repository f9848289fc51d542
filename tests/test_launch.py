"""The scripts of ``launch/``: the command lines that they make, with programs that only say how they were called, and
what they refuse."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, job

from perla_net.launch import NAMES

LAUNCH = ROOT / "launch"
MPICH, OPEN_MPI = "HYDRA build details:", "mpirun (Open MPI) 5.0.11"
PROGRAMS = {
    "mpirun": """case $1 in
  --version) echo "$VERSION" ;;
  -help) echo "$HELP" ;;
  *) echo "mpirun $*"; env | grep -E '^(OMP_NUM_THREADS|UCX_NET_DEVICES|PRTE_MCA|SLURM_MPI_TYPE)' | sort ;;
esac""",
    # The last word that is no option is what other hosts have; for a host called alone nothing is there.
    "ssh": 'for host; do case $host in -*|*=*) ;; *) break ;; esac; done\n'
    'case $host in closed) echo "Permission denied" >&2; exit 255 ;; alone) exit 5 ;; *) echo "$host" >>"$ASKED" ;; esac',
    "srun": 'case "$*" in --mpi=list) echo "MPI plugin types are..."; echo "$PLUGINS" ;;\n'
    '*hostname) printf "node2\\nnode1\\nnode2\\n" ;; *) echo "srun $*" ;; esac',
}  # fmt: skip


@pytest.fixture
def place(tmp_path):
    """A folder for jobs, and in bin/ the programs above, and a python that is this one."""
    (tmp_path / "bin").mkdir()
    for name, body in PROGRAMS.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def call(place: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    given = {
        "PATH": f"{place / 'bin'}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "ASKED": str(place / "asked"),
        "VERSION": MPICH,
        "HELP": "-rankmap",
    }
    return subprocess.run(
        [str(LAUNCH / script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=place,
        env=given | variables,
        stdin=subprocess.DEVNULL,
    )


def started(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def refused(done: subprocess.CompletedProcess, script: str, sentence: str) -> None:
    assert done.returncode == 2 and sentence in done.stderr, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"launch/{script}: ") and done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "mpich", "open_mpi", "ranks"),
    [
        (("-H", "a:2,b:3"), "-hosts a:2,b:3", "--host a:2,b:3 --map-by slot", 5),
        (("-H", "a,b:3", "-n", "2"), "-hosts a:1,b:3", "--host a:1,b:3 --map-by slot", 2),
        (("-f", "{hostfile}"), "-hosts a.b-c:9,10.0.0.1:1,d:3", "--host a.b-c:9,10.0.0.1:1,d:3 --map-by slot", 13),
        (
            ("-r", "{order}"),
            "-hosts b:3,a:1 -rankmap 0,1,0,0",
            "--hostfile {order} --map-by seq:OVERSUBSCRIBE",
            4,
        ),
    ],
)
def test_hosts_in_both_spellings(place, arguments, mpich, open_mpi, ranks):
    places = {"hostfile": place / "hostfile", "order": place / "order"}
    places["hostfile"].write_text("# mine\na.b-c slots=4 # the large one\n\n10.0.0.1\nd:3\na.b-c:5")
    places["order"].write_text("b\na\nb\nb\n")
    words = [word.format(**places) for word in arguments] + ["--topology", "ring"]
    program = f"-n {ranks} {place / 'bin' / 'python'} -m perla_net.run --topology ring"
    lines = started(call(place, "hosts.sh", *words))
    assert lines == [f"mpirun {mpich.format(**places)} {program}", "OMP_NUM_THREADS=1"]
    lines = started(call(place, "hosts.sh", "-e", "MINE,NOT_SET", *words, VERSION=OPEN_MPI, MINE="3", UCX_TLS="tcp"))
    travel = "-x PATH -x PYTHONPATH -x OMP_NUM_THREADS -x MINE -x UCX_TLS"
    assert lines[0] == f"mpirun --prefix {place} {travel} {open_mpi.format(**places)} {program}"
    assert not [file for file in place.iterdir() if file.name.startswith(".hosts")], "nothing is left behind"
    hosts = {entry.partition(":")[0] for entry in mpich.split()[1].split(",")}
    assert set((place / "asked").read_text().split()) == hosts, "all were looked at"


def test_hosts_interface_and_an_mpich_without_rankmap(place):
    (place / "order").write_text("b\na\nb\n")
    lines = started(call(place, "hosts.sh", "-t", "-i", "lo", "-r", "order", HELP=""))
    assert lines[0].startswith("mpirun -iface lo -f order -n 3 ")
    assert lines[1:] == ["OMP_NUM_THREADS=1", "PRTE_MCA_prte_if_include=lo", "UCX_NET_DEVICES=lo"]
    assert not (place / "asked").exists(), "-t asks nobody"


def test_hosts_does_not_ask_this_machine(place):
    started(call(place, "hosts.sh", "-H", f"{socket.gethostname()}:1,localhost:1,other:1"))
    assert (place / "asked").read_text() == "other\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "on which hosts?"),
        (("-H",), "-H needs a value"),
        (("-H", "a:0"), "'0' ranks on host a"),
        (("-H", "a:x"), "'x' ranks on host a"),
        (("-H", "a:1,,b:1"), "'' is not the name of a host"),
        (("-H", "a;b:1"), "'a;b' is not the name of a host"),
        (("-H", "a:2", "-f", "x"), "the hosts are given by -H a:2 already"),
        (("-H", "a:2", "-n", "3"), "-n 3: the hosts of -H a:2 take 2 ranks"),
        (("-H", "a:2", "-n", "two"), "-n two: is not a number of ranks"),
        (("-H", "a:2", "-i", "nowhere0"), "-i nowhere0: there is no such network interface"),
        (("-H", "a:2", "-x"), "'-x' is none of its options"),
        (("-f", "nowhere"), "-f nowhere: cannot be read"),
        (("-f", "empty"), "-f empty: names no host"),
        (("-f", "odd"), "'a max_slots=3' is none of host, host:8 and host slots=8"),
        (("-r", "counted"), "must name one host a line"),
        (("-r", "order", "-n", "1"), "-n 1: -r order places 2 ranks"),
        (("-H", "closed:1"), "closed cannot be reached: 'ssh closed true' must work without a password (Permission denied)"),
        (("-H", "alone:1"), "alone does not see what is written in {place}"),
        (("-H", "alone:1", "--out", "bin/runs/x"), "alone does not see what is written in {place}/bin here"),
    ],
)  # fmt: skip
def test_hosts_refuses(place, arguments, sentence):
    for name, text in {"empty": "\n# a\n", "odd": "a max_slots=3\n", "counted": "a:2\nb\n", "order": "a\nb\n"}.items():
        (place / name).write_text(text)
    refused(call(place, "hosts.sh", *arguments), "hosts.sh", sentence.format(place=place))


def test_hosts_wants_an_mpirun_that_it_knows(place):
    refused(
        call(place, "hosts.sh", "-t", "-H", "a:2", VERSION="Intel(R) MPI Library"), "hosts.sh", "neither Open MPI's"
    )
    (place / "bin" / "mpirun").unlink()
    if not any(shutil.which("mpirun", path=folder) for folder in ("/usr/bin", "/bin")):
        refused(call(place, "hosts.sh", "-t", "-H", "a:2"), "hosts.sh", "there is no mpirun")


SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "3", "PLUGINS": "none\npmi2\npmix"}


@pytest.fixture
def library(place):
    """A function that lets mpi4py belong to some MPI library."""

    def make(text: str) -> dict[str, str]:
        (place / "fake" / "mpi4py").mkdir(parents=True, exist_ok=True)
        (place / "fake" / "mpi4py" / "__init__.py").write_text("class rc: initialize = True\n")
        (place / "fake" / "mpi4py" / "MPI.py").write_text(f"def Get_library_version(): return {text!r}\n")
        return SLURM | {"PYTHONPATH": f"{place / 'fake'}:{ROOT}"}

    return make


@pytest.mark.parametrize(("text", "mpi"), [("Open MPI v5.0.11, package\0", "pmix"), ("MPICH Version: 5.0.2\n", "pmi2")])
def test_slurm_takes_the_interface_of_mpi4pys_library(place, library, text, mpi):
    done = call(place, "slurm.sh", "--topology", "star", **library(text))
    program = f"{place / 'bin' / 'python'} -m perla_net.run --topology star"
    options = "--ntasks=3 --cpus-per-task=1 --kill-on-bad-exit=1"
    assert started(done) == [f"srun --mpi={mpi} {options} {program}"] and done.stderr == ""
    ordered = call(place, "slurm.sh", **library(text), SLURM_HOSTFILE="order", SLURM_CPUS_PER_TASK="2", MPI="pmi2")
    assert started(ordered)[0].startswith(
        "srun --mpi=pmi2 --ntasks=3 --cpus-per-task=2 --kill-on-bad-exit=1 --distribution=arb"
    )


def test_slurm_with_mpirun(place):
    lines = started(call(place, "slurm.sh", "--rounds", "3", **SLURM, MPI="mpirun"))
    assert lines[0].startswith("mpirun -hosts node1:1,node2:2 -n 3 ") and lines[0].endswith("perla_net.run --rounds 3")
    assert "SLURM_MPI_TYPE=none" in lines


def test_slurm_refuses(place, library):
    refused(call(place, "slurm.sh"), "slurm.sh", f"this is no Slurm job; submit it with: sbatch {LAUNCH}/slurm.sh")
    refused(call(place, "slurm.sh", SLURM_JOB_ID="7"), "slurm.sh", "give sbatch --ntasks")
    other = library("Open MPI v5") | {"PLUGINS": "none\npmi2"}
    refused(call(place, "slurm.sh", **other), "slurm.sh", "srun has no --mpi=pmix")
    refused(call(place, "slurm.sh", **library("Some MPI")), "slurm.sh", "which --mpi of srun does 'Some MPI' want?")
    (place / "fake" / "mpi4py" / "MPI.py").write_text("raise ImportError('no library')\n")
    refused(
        call(place, "slurm.sh", **SLURM, PYTHONPATH=f"{place / 'fake'}:{ROOT}"), "slurm.sh", "(ImportError: no library)"
    )


def test_pbs(place):
    (place / "nodes").write_text("node1\nnode1\nnode2\n")
    given = {"PBS_JOBID": "7", "PBS_NODEFILE": str(place / "nodes"), "PBS_O_WORKDIR": str(place)}
    path = {"PBS_O_PATH": f"{place / 'bin'}:/usr/bin:/bin", "PATH": "/usr/bin:/bin"}
    lines = started(call(place, "pbs.sh", **given, **path, OPTIONS="--topology star  --rounds 3"))
    assert lines[0].startswith("mpirun -hosts node1:2,node2:1 -n 3 ")
    assert lines[0].endswith("perla_net.run --topology star --rounds 3") and not (place / "asked").exists()
    assert started(call(place, "pbs.sh", **given, **path))[0].endswith("perla_net.run")
    refused(call(place, "pbs.sh"), "pbs.sh", f"this is no PBS job; submit it with: qsub {LAUNCH}/pbs.sh")
    refused(call(place, "pbs.sh", "--rounds", "3", **given), "pbs.sh", "options come in a variable")
    refused(
        call(place, "pbs.sh", **given, **path, PYTHONPATH=""),
        "pbs.sh",
        "does not have perla_net; activate the environment",
    )


def test_mpijob_fits_the_image_and_the_launcher():
    claim, job = yaml.safe_load_all((LAUNCH / "mpijob.yaml").read_text())
    image = (LAUNCH / "Dockerfile").read_text()
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    spec = job["spec"]
    assert f"HostKey {spec['sshAuthMountPath']}/id_rsa" in image
    pods = {name: replica["template"]["spec"] for name, replica in spec["mpiReplicaSpecs"].items()}
    for name, pod in pods.items():
        (container,) = pod["containers"]
        assert (
            f"WORKDIR {container['workingDir']}\n" in image and f"--uid {pod['securityContext']['runAsUser']}" in image
        )
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["runs"] == "/runs" and set(mounts) == {volume["name"] for volume in pod["volumes"]}
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert container["image"] in image, name
    launcher, worker = (pods[name]["containers"][0] for name in ("Launcher", "Worker"))
    assert os.access(ROOT / launcher["command"][0], os.X_OK) and launcher["args"][-1].startswith("/runs/")
    assert worker["command"][-1] in image and f"'Port {worker['readinessProbe']['tcpSocket']['port']}'" in image
    assert int(worker["resources"]["limits"]["cpu"]) == spec["slotsPerWorker"]


def test_what_there_is_is_listed_and_copied(tmp_path):
    assert {file for file, _ in NAMES.values()} == {file.name for file in LAUNCH.iterdir()}
    listed = job(0, "perla_net.launch").stdout
    assert all(f"{name} " in listed for name in NAMES)
    for name, (file, _) in NAMES.items():
        text = (LAUNCH / file).read_text()
        assert job(0, "perla_net.launch", name).stdout == text
        assert job(0, "perla_net.launch", name, "--path").stdout == f"{LAUNCH / file}\n"
        job(0, "perla_net.launch", name, "-o", str(tmp_path / file))
        assert (tmp_path / file).read_text() == text
        assert os.access(tmp_path / file, os.X_OK) == file.endswith(".sh")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("slurm", "-o", "{there}"), "--out {there}: is there already; choose another, or remove it first"),
        (("slurm", "-o", "{there}/below"), "--out {there}/below: cannot be written (Not a directory)"),
        (("slurmy",), "'slurmy': there is no such script; there are local, hosts, slurm,"),
        (("-o", "{there}"), "which script? name one of local,"),
        (("slurm", "-o", "x", "--path"), "argument --path: not allowed with argument -o/--out"),
        (("slurm", "--rounds", "3"), "unrecognized arguments: --rounds 3"),
    ],
)
def test_what_the_listing_refuses(tmp_path, arguments, sentence):
    there = tmp_path / "there.sh"
    there.write_text("mine")
    words = [word.format(there=there) for word in arguments]
    done = job(0, "perla_net.launch", *words, check=False)
    assert done.returncode == 2 and sentence.format(there=there) in done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""
    assert there.read_text() == "mine" and list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize("script", sorted(file.name for file in LAUNCH.glob("*.sh")))
def test_scripts_are_bash(script):
    assert os.access(LAUNCH / script, os.X_OK)
    subprocess.run(["bash", "-n", str(LAUNCH / script)], check=True, timeout=10)
