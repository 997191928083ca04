"""What is handed out: the wheel holds all it needs, and the lock files pin all that pyproject.toml names."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from atp.specs import loading
from tests.tidy.source import ROOT


def test_the_wheel_carries_contracts_verifier_and_samples(tmp_path: Path) -> None:
    """An installed ATP has no repository around it: contracts, static files and the sample travel inside.

    So does the contracts' parsed form, of exactly these contracts and of no others.
    """
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("audit_trail_platform-*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    contracts = {f"atp/_contracts/{p.relative_to(ROOT / 'contracts')}" for p in _files(ROOT / "contracts")}
    program = {f"atp/{p.relative_to(ROOT / 'src/atp')}" for p in _files(ROOT / "src/atp")}
    assert "atp/_contracts/errors.yaml" in contracts
    assert {"atp/static/verify.py", "atp/samples/cloudtrail-s3-exfiltration.jsonl"} <= program
    missing = sorted((contracts | program) - carried)
    assert not missing, "\n".join(missing)
    cached = {name for name in carried if "/.cache/" in name}
    assert cached == {f"atp/_contracts/.cache/{loading.cache_file(ROOT / 'contracts').name}"}
    strangers = sorted(n for n in carried if not n.startswith(("atp/", "audit_trail_platform-")))
    assert not strangers, "\n".join(strangers)


def test_the_lock_files_pin_every_named_dependency_with_a_hash() -> None:
    """`make lock` was run after the last change of pyproject.toml, and both files choose the same versions."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, dev = _pins("requirements.lock"), _pins("requirements-dev.lock")
    groups = pyproject["dependency-groups"]
    wanted = pyproject["project"]["dependencies"] + groups["build"]
    forgotten = [name for entry in wanted if (name := _distribution(entry)) not in runtime]
    forgotten += [
        n for entry in groups["dev"] if isinstance(entry, str) and (n := _distribution(entry)) not in dev
    ]
    assert not forgotten, f"run `make lock`: {', '.join(forgotten)}"
    assert runtime.items() <= dev.items()


def _files(top: Path) -> list[Path]:
    return [
        path
        for path in top.rglob("*")
        if path.is_file() and path.name != ".gitignore" and not {"__pycache__", ".cache"} & set(path.parts)
    ]


def _distribution(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[>=;~< ]", requirement)[0]).lower()


def _pins(name: str) -> dict[str, str]:
    """Distribution to version; every line is a pin that carries hashes, or the hashes themselves."""
    pins = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text().strip()):
        pin = re.match(r"([a-z0-9-]+)(?:\[[^\]]*\])?==([^ ;]+)", entry)
        assert pin, f"{name}: not a pin: {entry[:80]}"
        assert "--hash=sha256:" in entry, f"{name}: no hash: {entry[:80]}"
        pins[pin[1]] = pin[2]
    return pins
