"""Checkpoints: numbers in safetensors, the rest in JSON, a manifest written last. Nothing in them is code.

``checkpoints/ROUND/`` holds ``AGENT.safetensors`` and ``AGENT.json`` for every agent, ``world-FIRST-LAST.safetensors``
for every host's copies, and ``manifest.json`` with size and CRC-32 of each; a folder without a manifest does not count.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .errors import InputError

FORMAT = 2


def stem(agent: str) -> str:
    """An agent's name as a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", agent)


def write(folder: Path, name: str, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any] | None) -> None:
    """``name.safetensors`` and, with ``data``, ``name.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    (folder / f"{name}.safetensors").write_bytes(save(contiguous))
    if data is not None:
        (folder / f"{name}.json").write_text(json.dumps(data, default=_plain))


def _plain(value: Any) -> Any:
    """Numbers of numpy inside the state of a random stream."""
    return value.tolist()


def seal(folder: Path, data: Mapping[str, Any]) -> None:
    """Write the manifest, which makes the checkpoint count; everything else must be on disk."""
    files = {file.name: [file.stat().st_size, zlib.crc32(file.read_bytes())] for file in sorted(folder.iterdir())}
    draft = folder / "manifest.tmp"
    draft.write_text(json.dumps({"format": FORMAT, **data, "files": files}, indent=1))
    os.replace(draft, folder / "manifest.json")


def prune(run: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` sealed checkpoints, and unsealed ones."""
    rounds = sealed(run)
    for folder in (run / "checkpoints").iterdir():
        if folder.is_dir() and folder not in rounds[-keep:]:
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
    manifest = read_data(folder / "manifest.json", option)
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"{option} {run}: checkpoint {folder.name} has format {manifest.get('format')!r}, not {FORMAT}"
        )
    for name, (size, checksum) in manifest["files"].items():
        content = _bytes(folder / name, option)
        if len(content) != size or zlib.crc32(content) != checksum:
            raise InputError(
                f"{option} {run}: {folder / name} is damaged ({len(content)} of {size} bytes); remove the folder "
                f"{folder} to continue from the checkpoint before it"
            )
    return folder, manifest


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
