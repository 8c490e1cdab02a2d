"""What it costs to start: CPU seconds of a whole `mdmkit decode`, beside those of `import torch` alone.

python benchmarks/startup.py                                       # zoo:puzzles, 7 rounds
python benchmarks/startup.py --beside ../mdmkit-before             # and another checkout's
python benchmarks/startup.py --model DIR --prompt "a text" --length 8

Every round runs each command once, in a fresh process with one thread and without a hub, so that a machine that becomes
slower does so for all. The ratio is that of the medians. One more round, which is not counted, fills the disk's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH, HERE = "import torch", "mdmkit decode"


def seconds(command: list[str], checkout: Path) -> float:
    """Run a command with the sources of one checkout; return its CPU seconds, user and system."""
    sources = [checkout, *sorted(checkout.glob("plugins/*/src"))]
    paths = os.pathsep.join(str(path.resolve()) for path in sources)
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{output.read()}")
    return usage.ru_utime + usage.ru_stime


def measure(commands: dict[str, tuple[list[str], Path]], rounds: int) -> dict[str, float]:
    """The median CPU seconds of each command."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            cost = seconds(*command)
            if turn:
                found[name].append(cost)
    return {name: statistics.median(costs) for name, costs in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="zoo:puzzles")
    parser.add_argument("--prompt", default="3,8,7>12:___=__,___0_=__")
    parser.add_argument("--length", type=int, help="masks after the prompt; without it the prompt holds them")
    parser.add_argument("--beside", type=Path, help="another checkout of mdmkit")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    decode = [sys.executable, "-m", "mdmkit", "decode", "--model", options.model, "--prompt", options.prompt]
    decode += ["--device", "cpu"]
    if options.length is not None:
        decode += ["--set", f"plan.length={options.length}"]
    commands = {TORCH: ([sys.executable, "-c", "import torch"], ROOT), HERE: (decode, ROOT)}
    if options.beside is not None:
        if not (options.beside / "mdmkit").is_dir():
            parser.error(f"--beside {options.beside} is no checkout: it should be a folder that holds mdmkit/.")
        commands[f"{HERE}, {options.beside}"] = (decode, options.beside)
    medians = measure(commands, options.rounds)
    rows = [{"command": name, "cpu": cost, "ratio": cost / medians[TORCH]} for name, cost in medians.items()]
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{options.model}, median of {options.rounds} rounds\nCPU seconds   of import torch")
    for row in rows:
        print(f"{row['cpu']:11.2f} {row['ratio']:16.2f}   {row['command']}")


if __name__ == "__main__":
    main()
