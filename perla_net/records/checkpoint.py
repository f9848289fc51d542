"""Checkpoints: numbers in safetensors, the rest in JSON, a manifest written last. Nothing in them is code.

``checkpoints/ROUND/`` holds ``AGENT.safetensors`` and ``AGENT.json`` for every agent, ``world-FIRST-LAST.safetensors``
for every host's copies, and ``manifest.json`` with the agents in order and with size and CRC-32 of each file; a folder without a
manifest does not count. Both files of an agent say whose they are and what they are called.
"""

from __future__ import annotations

import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from ..ground.errors import InputError
from ..ground.files import write_whole, writing

FORMAT = 4
OTHERS = re.compile(r"manifest|world-.*|con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)
"""Names that other files of a checkpoint have, or that some file systems keep for themselves."""
LONGEST = 80
"""Characters of an agent's name that its files' name keeps."""


def stems(names: Sequence[str]) -> list[str]:
    """What the files of a team's agents are called, one name each, also where upper and lower case are one.

    An agent's own name where that can be a file's and nobody else's looks like it; else what can be kept of it, ``+`` and its
    index in the team (no name that is kept has a ``+``).
    """
    plain = [re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:LONGEST] for name in names]
    plain = ["agent" if OTHERS.fullmatch(part.partition(".")[0]) else part for part in plain]
    alike = [part.lower() for part in plain]
    found = []
    for index, (name, part) in enumerate(zip(names, plain)):
        kept = name != "" and part == name and name[0] not in ".-" and name[-1] != "."
        kept = kept and Path(name).suffix.lower() not in (".json", ".safetensors", ".tmp")
        found.append(name if kept and alike.count(part.lower()) == 1 else f"{part}+{index}")
    return found


def write(
    folder: Path, name: str, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any] | None, owner: str = ""
) -> None:
    """``name.safetensors`` and, with ``data``, ``name.json``. owner: the agent whose they are. Raises WriteError."""
    with writing(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        metadata = {"agent": owner, "file": name} if data is not None else None
        (folder / f"{name}.safetensors").write_bytes(save(contiguous, metadata))
        if data is not None:
            whole = {"format": FORMAT, "agent": owner, "file": name, **data}
            (folder / f"{name}.json").write_text(json.dumps(whole, default=_plain), encoding="utf-8")


def without_ending(path: Path) -> Path:
    """What both files of an agent are called, from either of them."""
    return path.with_suffix("") if path.suffix in (".json", ".safetensors") else path


def read_agent(place: Path, option: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(data, arrays) of an agent's files ``place.json`` and ``place.safetensors``. Raises InputError naming ``option`` where they
    are damaged, or are not what they say."""
    data_file, array_file = (place.with_name(place.name + ending) for ending in (".json", ".safetensors"))
    data = read_data(data_file, option)
    if not isinstance(data, dict) or "format" not in data:
        raise InputError(f"{option} {data_file}: is not an agent's checkpoint")
    if data["format"] != FORMAT:
        raise InputError(
            f"{option} {data_file}: has format {data['format']!r}, not {FORMAT}: another version of this program wrote it"
        )
    arrays = read_arrays(array_file, option)
    with safe_open(array_file, "np") as opened:
        metadata = opened.metadata() or {}
    for file, said in ((data_file, data), (array_file, metadata)):
        if said.get("file") != place.name or said.get("agent") != data.get("agent"):
            raise InputError(
                f"{option} {file}: holds agent {said.get('agent')!r}, whose files are called {said.get('file')!r}; it was renamed, or put "
                "in another's place"
            )
    return data, arrays


def _plain(value: Any) -> Any:
    """Numbers of numpy inside the state of a random stream."""
    return value.tolist()


def seal(folder: Path, data: Mapping[str, Any]) -> None:
    """Write the manifest, which makes the checkpoint count; everything else must be on disk."""
    with writing(folder / "manifest.json"):
        files = {file.name: [file.stat().st_size, zlib.crc32(file.read_bytes())] for file in sorted(folder.iterdir())}
    write_whole(folder / "manifest.json", json.dumps({"format": FORMAT, **data, "files": files}, indent=1))


def discard(folder: Path) -> None:
    """Remove a checkpoint that could not be finished, which gives a full disk its room back; one that counts is left alone."""
    if folder.is_dir() and not (folder / "manifest.json").exists():
        shutil.rmtree(folder, ignore_errors=True)


def prune(run: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` sealed checkpoints, and unsealed ones."""
    rounds = sealed(run)
    for folder in (run / "checkpoints").iterdir():
        if folder.is_dir() and folder.name.isdigit() and folder not in rounds[-keep:]:
            shutil.rmtree(folder)


def sealed(run: Path) -> list[Path]:
    """Folders of the complete checkpoints, oldest first."""
    folders = [file.parent for file in (run / "checkpoints").glob("*/manifest.json") if file.parent.name.isdigit()]
    return sorted(folders, key=lambda folder: int(folder.name))


def newest(run: Path, option: str) -> tuple[Path, dict[str, Any]]:
    """The last checkpoint of a run and its manifest, every file checked. Raises InputError naming ``option``."""
    folders = sealed(run)
    if not folders:
        raise InputError(f"{option} {run}: has no complete checkpoint in {run / 'checkpoints'}")
    folder = folders[-1]
    try:
        return folder, _checked(run, folder, option)
    except InputError:
        if sealed(run)[-1:] == [folder]:
            raise
    return newest(run, option)  # the run goes on, and has replaced it by a newer one meanwhile


def _checked(run: Path, folder: Path, option: str) -> dict[str, Any]:
    """A checkpoint's manifest, every file checked."""
    manifest = read_data(folder / "manifest.json", option)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise InputError(f"{option} {folder / 'manifest.json'}: is not the manifest of a checkpoint")
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{option} {run}: checkpoint {folder.name} has format {manifest.get('format')!r}, not {FORMAT}: another version of this "
            "program wrote it"
        )
    if manifest.get("round") != int(folder.name):
        raise InputError(
            f"{option} {run}: {folder} holds the checkpoint of round {manifest.get('round')}; a checkpoint's folder must keep its name"
        )
    for name, (size, checksum) in manifest["files"].items():
        content = _bytes(folder / name, option)
        if len(content) != size or zlib.crc32(content) != checksum:
            raise InputError(
                f"{option} {run}: {folder / name} is damaged ({len(content)} of {size} bytes); remove the folder "
                f"{folder} to continue from the checkpoint before it"
            )
    return manifest


def read_data(file: Path, option: str) -> dict[str, Any]:
    """A JSON file. Raises InputError."""
    try:
        data = json.loads(_bytes(file, option))
    except ValueError as error:
        raise InputError(f"{option} {file}: is damaged ({error})") from None
    return data


def read_arrays(file: Path, option: str) -> dict[str, np.ndarray]:
    """A safetensors file. Raises InputError."""
    try:
        return load(_bytes(file, option))
    except SafetensorError as error:
        raise InputError(f"{option} {file}: is damaged ({error})") from None


def _bytes(file: Path, option: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{option} {file}: cannot be read ({error.strerror})") from None
