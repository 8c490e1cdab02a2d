"""Print the oldest version of each dependency that the pyprojects admit, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Not installed beside the oldest ones: what needs a GPU, trains, or is tested with the newest ones.
ELSEWHERE = {"large", "train", "hub", "harness"}


def oldest() -> dict[str, str]:
    """Version by name: the highest of the lower bounds, where several distributions give one."""
    found: dict[str, str] = {}
    for file in [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/mdmkit-*/pyproject.toml"))]:
        project = tomllib.loads(file.read_text())["project"]
        extras = project.get("optional-dependencies", {})
        needs = [*project["dependencies"], *(need for name in extras.keys() - ELSEWHERE for need in extras[name])]
        for need in needs:
            bound = re.fullmatch(r"([\w-]+)>=([\d.]+).*", need)
            if bound and not bound[1].startswith("mdmkit"):
                found[bound[1]] = max(found.get(bound[1], "0"), bound[2], key=_numbers)
    return found


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in sorted(oldest().items())))
