"""The ranks of a run: who is there, collectives that never wait for ever, and how a failure takes all down.

Every collective (but the making of communicators at the start) is posted non-blocking and polled, so that signals are seen while waiting, an oversubscribed core is
given to whoever has work, and a wait longer than ``stall_timeout`` ends in a sentence and an abort instead of a hang.
One process alone needs no MPI library: :class:`Processes` itself is that case, :class:`Ranks` is the one under mpirun.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from contextlib import contextmanager
from typing import Any, Callable, Iterator, NoReturn, Sequence

import numpy as np

from .errors import Diverged, InputError, Stopped, WriteError

Block = tuple[int, int]
"""(offset, length) of a contiguous piece of a buffer, in bytes."""

UNIT = 64
"""Bytes per MPI element of agent traffic: counts stay 32-bit integers up to 128 GiB."""

SPINS, CROWDED_SPINS, SHORT_NAPS = 20_000, 20, 200
"""Polls that only yield the core (few where ranks share cores), then polls after short naps; after these a waiting rank
sleeps longer between polls, so that ranks which compute are not disturbed."""
NAP, LONG_NAP = 20e-6, 500e-6
SLEPT = 0.5
"""Share of the usual wait that an exchange of every step sleeps before it polls, where ranks share cores."""
FORWARDING = 0.5
"""Seconds that the launcher has to forward what a rank said before it is told to end all of them."""
GRACE = 2.0
"""Seconds that a stalled rank waits for the others to say that they wait as well."""

OPEN_MPI = "Open MPI's mpirun"
LAUNCHERS = (
    # variable with the number of processes, with the rank, name of the launcher
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", OPEN_MPI),
    ("PMI_SIZE", "PMI_RANK", "MPICH's mpirun"),
    ("MPI_LOCALNRANKS", "MPI_LOCALRANKID", "MPICH's mpirun"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"),
)


class Processes:
    """One process that is the whole run; also the interface of :class:`Ranks`."""

    rank = 0
    size = 1
    library = "none (one process)"

    def __init__(self) -> None:
        self.where = "start"
        """What is being done, for tracebacks and stall reports (for example ``round 12``)."""
        self.interrupted = 0
        self.stall_timeout = 300.0
        self.waited = 0.0
        """Seconds spent in collectives so far."""
        self.crowded = True
        """Whether the ranks of this machine are more than its cores; until :func:`cores_by_host` has counted, they are."""

    def all_to_all(
        self,
        send: Sequence[Sequence[Block]],
        receive: Sequence[Sequence[Block]],
        name: str,
        like: Transfer | None = None,
    ) -> Transfer:
        """A reusable exchange: ``send[p]`` are the blocks for rank p, ``receive[p]`` where those of p go.

        ``like``: an exchange in which the same ranks have something for each other; making this one is then cheap.
        """
        return Transfer(send[0], receive[0])

    def neighbourhood(self, sources: Sequence[int], destinations: Sequence[int]) -> Neighbourhood:
        """A communicator on which this rank hears ``sources`` and is heard by ``destinations``."""
        return Neighbourhood()

    def broadcast(self, data: bytes | None, name: str) -> bytes:
        """Rank 0's bytes, on every rank."""
        assert data is not None
        return data

    def gather(self, rows: np.ndarray, name: str) -> list[np.ndarray] | None:
        """Every rank's float64 array of any length: a list by rank on rank 0, None elsewhere."""
        return [rows]

    def all_gather(self, values: np.ndarray, lengths: Sequence[int], name: str) -> np.ndarray:
        """The flat arrays of all ranks one after the other, on every rank; ``lengths[p]`` elements from rank p."""
        return values

    def agree(self, value: int, name: str) -> int:
        """The largest of every rank's value."""
        return value

    def abort(self, status: int) -> NoReturn:
        """End every rank now."""
        _flush()
        os._exit(status)

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Within, Ctrl-C and SIGTERM only leave a mark in :attr:`interrupted`; a second one has its usual effect."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def mark(number: int, frame: Any) -> None:
            self.interrupted = number
            signal.signal(number, before[number])

        numbers = (signal.SIGINT, signal.SIGTERM)
        self.interrupted = 0
        before = {number: signal.signal(number, mark) for number in numbers}
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, before[number])


class Transfer:
    """Blocks that a process sends to itself; :class:`RankTransfer` is the one between ranks."""

    def __init__(self, send: Sequence[Block], receive: Sequence[Block]) -> None:
        self.pairs = list(zip(send, receive, strict=True))

    def run(self, send: np.ndarray, receive: np.ndarray) -> None:
        """Move the blocks from ``send`` into ``receive``, both flat uint8."""
        for (start, length), (target, _) in self.pairs:
            receive[target : target + length] = send[start : start + length]

    def free(self) -> None:
        """Give back what the MPI library keeps for this exchange."""


class Neighbourhood:
    """No other rank to talk to; :class:`RankNeighbourhood` is the distributed-graph communicator."""

    def exchange(self, pieces: Sequence[Sequence[np.ndarray]], name: str) -> list[np.ndarray]:
        """Send every destination its uint8 pieces, one after the other, sizes multiples of :data:`UNIT`; what each source
        sent, valid until the next call with the same ``name``. Collective among neighbours."""
        return []


class Ranks(Processes):
    """The processes that one mpirun started."""

    def __init__(self, mpi: Any) -> None:
        super().__init__()
        self.mpi = mpi
        self.comm = mpi.COMM_WORLD.Dup()
        self._alarm = mpi.COMM_WORLD.Dup()
        self.rank, self.size = self.comm.rank, self.comm.size
        self.library = mpi.Get_library_version().split("\n")[0].split(",")[0].strip("\x00 ")
        self._reports: dict[int, str] = {}
        self._sent: list[Any] = []
        self._word = mpi.BYTE.Create_contiguous(UNIT).Commit()

    def wait(self, request: Any, name: str, sleep: float = 0.0) -> None:
        """Poll a non-blocking operation to its end; abort the job when that takes longer than ``stall_timeout``.

        ``sleep``: seconds that pass before polling begins if the operation is not over at once.
        """
        start, began = 0.0, time.perf_counter()
        polls, spins = 0, CROWDED_SPINS if self.crowded else SPINS
        if sleep and self.crowded and not request.Test():
            time.sleep(sleep)
        while not request.Test():
            polls += 1
            if polls <= spins:
                os.sched_yield()
                continue
            time.sleep(NAP if polls <= spins + SHORT_NAPS else LONG_NAP)
            if polls % 64 == 0:
                now = time.monotonic()
                start = start or now
                if now - start > self.stall_timeout or self._alarm.Iprobe():
                    self._stalled(request, name, now - start)
        self.waited += time.perf_counter() - began

    def _stalled(self, request: Any, name: str, waited: float) -> None:
        """Tell all that this rank waits, hear who else does, and let the lowest of the waiting say who is missing."""
        report = np.frombuffer(f"{name} in {self.where}".encode(), np.uint8)
        self._sent = [self._alarm.Isend(report, other) for other in range(self.size) if other != self.rank]
        self._reports[self.rank] = report.tobytes().decode()
        status = self.mpi.Status()
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            request.Test()  # drives the library, so that the reports travel
            while self._alarm.Iprobe(status=status):
                text = np.empty(status.Get_count(self.mpi.BYTE), np.uint8)
                source = status.Get_source()
                self._alarm.Recv(text, source)
                self._reports[source] = text.tobytes().decode()
            time.sleep(0.01)
        if self.rank == min(self._reports):
            missing = [rank for rank in range(self.size) if rank not in self._reports]
            waiting = sorted(set(self._reports.values()))
            who = (
                f"missing: rank {', '.join(map(str, missing))}"
                if missing
                else "all ranks wait, but for different things"
            )
            print(
                f"perla_net: stalled for {max(waited, 0):.0f} s in {' and '.join(waiting)}; {who} of {self.size}; aborting",
                file=sys.stderr,
                flush=True,
            )
            self.abort(1)
        time.sleep(GRACE)
        self.abort(1)

    def all_to_all(
        self,
        send: Sequence[Sequence[Block]],
        receive: Sequence[Sequence[Block]],
        name: str,
        like: Transfer | None = None,
    ) -> Transfer:
        return RankTransfer(self, send, receive, name, like if isinstance(like, RankTransfer) else None)

    def neighbourhood(self, sources: Sequence[int], destinations: Sequence[int]) -> Neighbourhood:
        return RankNeighbourhood(self, sources, destinations)

    def broadcast(self, data: bytes | None, name: str) -> bytes:
        size = np.array([len(data or b"")], np.int64)
        self.wait(self.comm.Ibcast(size), name)
        buffer = np.frombuffer(data, np.uint8).copy() if data is not None else np.empty(int(size[0]), np.uint8)
        self.wait(self.comm.Ibcast(buffer), name)
        return buffer.tobytes()

    def gather(self, rows: np.ndarray, name: str) -> list[np.ndarray] | None:
        shape = np.array([rows.size], np.int64)
        sizes = np.empty(self.size, np.int64)
        self.wait(self.comm.Igather(shape, sizes if self.rank == 0 else None), name)
        flat = np.ascontiguousarray(rows, np.float64).ravel()
        if self.rank != 0:
            self.wait(self.comm.Igatherv(flat, None), name)
            return None
        received = np.empty(int(sizes.sum()), np.float64)
        self.wait(self.comm.Igatherv(flat, [received, sizes.tolist()]), name)
        return np.split(received, np.cumsum(sizes)[:-1])

    def all_gather(self, values: np.ndarray, lengths: Sequence[int], name: str) -> np.ndarray:
        received = np.empty(int(sum(lengths)), values.dtype)
        self.wait(self.comm.Iallgatherv(np.ascontiguousarray(values), [received, list(lengths)]), name)
        return received

    def agree(self, value: int, name: str) -> int:
        result = np.empty(1, np.int64)
        self.wait(self.comm.Iallreduce(np.array([value], np.int64), result, self.mpi.MAX), name)
        return int(result[0])

    def abort(self, status: int) -> NoReturn:
        _flush()
        time.sleep(FORWARDING)
        self.mpi.COMM_WORLD.Abort(status)
        os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed before the program began
            stream.flush()


class RankTransfer(Transfer):
    """A neighbourhood ``alltoallw`` between those that have something for each other, whose datatypes place every block
    where it belongs: nothing is packed or copied in Python. (Over all ranks at once, ``alltoallw`` goes through its peers
    in several rounds, and each waits for a rank to be given a core.)"""

    def __init__(
        self,
        ranks: Ranks,
        send: Sequence[Sequence[Block]],
        receive: Sequence[Sequence[Block]],
        name: str,
        like: RankTransfer | None = None,
    ) -> None:
        """``like``: an exchange between the same ranks, whose communicator serves this one too."""
        self.ranks, self.name, self.like = ranks, name, like
        self.own = Transfer(send[ranks.rank], receive[ranks.rank])
        if like:
            self.sources, self.destinations, self.graph = like.sources, like.destinations, like.graph
        else:
            self.sources = [rank for rank, blocks in enumerate(receive) if blocks and rank != ranks.rank]
            self.destinations = [rank for rank, blocks in enumerate(send) if blocks and rank != ranks.rank]
            self.graph = ranks.comm.Create_dist_graph_adjacent(self.sources, self.destinations)
        self.types: list[Any] = []
        self.send = self._layout([send[rank] for rank in self.destinations])
        self.receive = self._layout([receive[rank] for rank in self.sources])
        self.pace = 0.0

    def _layout(self, peers: Sequence[Sequence[Block]]) -> tuple[list[int], list[int], list[Any]]:
        """Counts, displacements and datatypes for the peers' blocks; a peer may have none."""
        kinds = []
        for blocks in peers:
            kind = self.ranks.mpi.BYTE
            if blocks:
                offsets, lengths = zip(*blocks)
                kind = kind.Create_hindexed(lengths, offsets).Commit()
                self.types.append(kind)
            kinds.append(kind)
        return [int(bool(blocks)) for blocks in peers], [0] * len(peers), kinds

    def run(self, send: np.ndarray, receive: np.ndarray) -> None:
        # Polling costs the ranks that still compute; an exchange of every step takes about as long as the last ones.
        began = time.perf_counter()
        request = self.graph.Ineighbor_alltoallw([send, *self.send], [receive, *self.receive])
        self.own.run(send, receive)
        self.ranks.wait(request, self.name, SLEPT * self.pace)
        self.pace += 0.1 * (time.perf_counter() - began - self.pace)

    def free(self) -> None:
        for kind in self.types:
            kind.Free()
        if not self.like:
            self.graph.Free()


class RankNeighbourhood(Neighbourhood):
    """A distributed-graph communicator (MPI-4.1, 8.5.4) and its neighbourhood collectives: sizes first, then bytes."""

    def __init__(self, ranks: Ranks, sources: Sequence[int], destinations: Sequence[int]) -> None:
        self.ranks = ranks
        self.graph = ranks.comm.Create_dist_graph_adjacent(list(sources), list(destinations))
        self.incoming, self.outgoing = len(sources), len(destinations)
        self._buffers: dict[tuple[str, str], np.ndarray] = {}

    def exchange(self, pieces: Sequence[Sequence[np.ndarray]], name: str) -> list[np.ndarray]:
        sizes = np.array([sum(piece.size for piece in those) // UNIT for those in pieces], np.int64)
        counts = np.empty(self.incoming, np.int64)
        request = self.graph.Ineighbor_alltoall([sizes, 1, self.ranks.mpi.INT64_T], [counts, 1, self.ranks.mpi.INT64_T])
        flat = [piece for those in pieces for piece in those]
        send = self._buffer(name, "send", UNIT * int(sizes.sum()))
        if flat:
            np.concatenate(flat, out=send)
        self.ranks.wait(request, f"sizes between neighbours, {name}")
        received = self._buffer(name, "receive", UNIT * int(counts.sum()))
        word = self.ranks._word
        request = self.graph.Ineighbor_alltoallv(
            [send, sizes.tolist(), _starts(sizes), word], [received, counts.tolist(), _starts(counts), word]
        )
        self.ranks.wait(request, f"exchange between neighbours, {name}")
        return np.split(received, UNIT * np.cumsum(counts)[:-1]) if self.incoming else []

    def _buffer(self, name: str, use: str, size: int) -> np.ndarray:
        if self._buffers.get((name, use), np.zeros(0)).size < size:
            self._buffers[name, use] = np.zeros(size, np.uint8)
        return self._buffers.get((name, use), np.zeros(0, np.uint8))[:size]


def _starts(sizes: np.ndarray) -> list[int]:
    return [0, *np.cumsum(sizes)[:-1].tolist()] if len(sizes) else []


def launched() -> tuple[int, int, str]:
    """(rank, size, launcher) as the environment says, before any MPI library is loaded."""
    for size, rank, launcher in LAUNCHERS:
        if size in os.environ and rank in os.environ:
            return int(os.environ[rank]), int(os.environ[size]), launcher
    return 0, 1, ""


def connect() -> Processes:
    """The processes of this run. Raises InputError when the launcher and mpi4py do not belong together."""
    rank, size, launcher = launched()
    if size == 1:
        return Processes()
    try:
        import mpi4py

        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"{launcher} started {size} processes, but mpi4py cannot be used ({' '.join(str(error).split())}); "
            'install it with: pip install -c constraints.txt ".[mpi]" (or mpi4py, beside a system MPI)'
        ) from None
    library = MPI.Get_library_version().split("\n")[0].split(",")[0].strip("\x00 ")
    # A library of the MPICH family ends the process in MPI_Init when Open MPI started it, so that is found out before.
    foreign = launcher == OPEN_MPI and any(name in library for name in ("MPICH", "Intel", "MVAPICH"))
    if not foreign and not MPI.Is_initialized():  # a script may train several times, or use MPI itself
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "suspicious MPI execution environment")  # what follows says it better
            MPI.Init_thread(MPI.THREAD_FUNNELED)
    if foreign or MPI.COMM_WORLD.size != size:
        raise InputError(
            f"{launcher} started {size} processes, but mpi4py runs on {' '.join(library.split())} and each process believes "
            "that it is alone; use the mpirun that belongs to that library, or install mpi4py for this launcher's MPI"
        )
    return Ranks(MPI)


def cores_by_host(processes: Processes) -> list[int]:
    """Ranks that may host environment copies: on each machine as many as the cores its ranks may use, lowest first.

    Also notes whether the ranks of this machine are more than its cores.
    """
    if processes.size == 1:
        return [0]
    mine = np.zeros(512 + 64, np.uint8)
    for core in os.sched_getaffinity(0):
        mine[core % 512] = 1
    name = socket.gethostname().encode()[:64]
    mine[512 : 512 + len(name)] = np.frombuffer(name, np.uint8)
    table = processes.all_gather(mine, [mine.size] * processes.size, "count of cores").reshape(processes.size, -1)
    chosen: list[int] = []
    machines: dict[bytes, list[int]] = {}
    for rank, row in enumerate(table):
        machines.setdefault(row[512:].tobytes(), []).append(rank)
    for ranks in machines.values():
        cores = int(table[ranks, :512].any(0).sum())
        chosen += ranks[:cores]
        if processes.rank in ranks:
            processes.crowded = len(ranks) > cores
    return sorted(chosen)


def guarded(processes: Processes, work: Callable[[], int]) -> int:
    """Run ``work`` so that whatever this rank raises ends every rank within seconds and says who and where.

    An InputError that gets here was met by one rank alone, after rank 0 had accepted the options (a file that vanished,
    say): the others cannot know, so it ends them as well. A process that is alone just raises.
    """
    try:
        return work()
    except BaseException as error:
        if isinstance(error, SystemExit):  # somebody else's code: we leave by returning
            error = Stopped(f"rank {processes.rank}: sys.exit({error.code or ''}) was called in {processes.where}")
            if processes.size > 1:
                print(f"perla_net: {error}", file=sys.stderr, flush=True)
                processes.abort(1)
        if processes.size == 1:
            raise error
        if isinstance(error, KeyboardInterrupt):
            print(f"perla_net: interrupted in {processes.where}", file=sys.stderr, flush=True)
            processes.abort(130)
        if isinstance(error, (Stopped, Diverged)):
            if str(error):  # all ranks have it, and only one a text
                print(f"perla_net: {error}", file=sys.stderr, flush=True)
            return getattr(error, "status", 1)
        if isinstance(error, (InputError, WriteError)):
            print(f"perla_net: rank {processes.rank}: {error}", file=sys.stderr, flush=True)
            processes.abort(2 if isinstance(error, InputError) else 1)
        text = "".join(traceback.format_exception(error))
        print(
            f"perla_net: rank {processes.rank} failed in {processes.where}\n{text}", file=sys.stderr, end="", flush=True
        )
        processes.abort(1)
