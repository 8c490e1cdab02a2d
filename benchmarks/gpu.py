"""What decoding costs at full size: load time, memory, tokens/s and time per step, on random weights of real shapes.

python benchmarks/gpu.py                                                    # writes docs/results/gpu.md
python benchmarks/gpu.py --device cpu --layers 2 --length 32 --batches 1 --caches none --output /tmp/cpu.md

Each checkpoint is written (16 GB at full depth), decoded with once by the command line in a process of its own, loaded
again, measured and deleted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers
from random_checkpoint import MODELS, Shape, shape_of, write

import mdmkit
from mdmkit.watch.cost import measure

ROOT = Path(__file__).resolve().parents[1]
# Where neither --models nor --caches says: what each kind of attention offers.
CACHES = {"llada-8b": "none,prefix,dual", "dream-7b": "none,prefix,dual", "sdar-8b": "none,block"}
# label -> (preset, parts)
SAMPLERS = {
    "confidence": ("confidence", {}),
    "info_gain, γ off": ("info_gain", {"select": {"candidates": 8, "bypass": None}}),
    "info_gain, γ 0.8": ("info_gain", {"select": {"candidates": 8, "bypass": 0.8}}),
}
GIB = 1 << 30


@dataclass
class Loading:
    """What the command line needed for its load and a short decode, and a load of its own took."""

    cli_seconds: float
    cli_host: float
    seconds: float
    device: float | None


def main() -> None:
    options = arguments()
    work = Path(tempfile.mkdtemp(prefix="mdmkit-gpu-", dir=options.work))
    sections = []
    try:
        for name in options.models.split(","):
            shape = shape_of(name, options.layers, options.small)
            began = time.perf_counter()
            count = write(name, work / name, shape)
            say(f"{name}: {count:,} weights written in {time.perf_counter() - began:.0f} s")
            sections.append(measure_model(name, work / name, shape, count, options))
            shutil.rmtree(work / name)
            # After each model: what was measured stays, whatever happens to the next.
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text("\n".join([*heading(options), *sections]), encoding="utf-8")
            say(f"wrote {options.output}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="llada-8b,sdar-8b", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--caches", help="one list for all models; without it, what each of them offers")
    parser.add_argument("--samplers", default=";".join(SAMPLERS), help="labels of the table, between semicolons")
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of each prompt")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--block", type=int, default=32)
    parser.add_argument("--tokens-per-step", type=int, default=1)
    parser.add_argument("--layers", type=int, help="fewer layers than the model has")
    parser.add_argument("--small", action="store_true", help="miniature models, to test this script")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--work", help="where the checkpoints go; the system's temporary folder if not given")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "gpu.md")
    options = parser.parse_args()
    if strange := {*options.models.split(",")} - {*MODELS}:
        parser.error(f"unknown model {min(strange)}: known are {', '.join(MODELS)}")
    if strange := {*options.samplers.split(";")} - {*SAMPLERS}:
        parser.error(f"unknown sampler {min(strange)!r}: known are {'; '.join(SAMPLERS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here: --device cpu --layers 2 --length 32 tries the same at reduced depth")
    return options


def measure_model(name: str, folder: Path, shape: Shape, count: int, options: argparse.Namespace) -> str:
    # The attention's own block has to be the one that is decoded: such models are published with several.
    own = {"block_length": options.block} if "block" in CACHES[name] else {}
    cli_seconds, cli_host = by_command_line(folder, own, options)
    if on_gpu(options):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    backbone = mdmkit.load(str(folder), device=options.device, dtype=options.dtype, **own)
    wait(options)
    loading = Loading(cli_seconds, cli_host, time.perf_counter() - began, peak(options))
    say(f"{name}: {loading}")
    lines = [
        f"## {name}",
        "",
        f"{count:,} weights, {shape.layers} layers. Loaded in {loading.seconds:.1f} s"
        f"{'' if loading.device is None else f', {loading.device:.1f} GiB on the device'}. The command line, from its "
        f"start to the end of a decode of {options.block} tokens: {loading.cli_seconds:.1f} s, at most "
        f"{loading.cli_host:.1f} GiB resident on the host (files that are mapped included).",
        "",
        "| sampler | cache | batch | tokens/s | ms per step | NFE rows per token | "
        f"{'GiB on the device, peak' if on_gpu(options) else 'GiB resident, peak so far'} |",
        "|---|---|---|---|---|---|---|",
    ]
    for cache in (options.caches or CACHES[name]).split(","):
        for label in options.samplers.split(";"):
            for batch in map(int, options.batches.split(",")):
                row = f"| {label} | {cache} | {batch} | {measured(backbone, shape, label, cache, batch, options)} |"
                say(row)
                lines.append(row)
    return "\n".join([*lines, ""])


def measured(
    backbone: mdmkit.Backbone, shape: Shape, label: str, cache: str, batch: int, options: argparse.Namespace
) -> str:
    """The cells of one decode, or why there are none."""
    preset, parts = SAMPLERS[label]
    plan = {"length": options.length, "block": options.block, "tokens_per_step": options.tokens_per_step}
    prompts = [prompt_ids(shape, options.prompt, row) for row in range(batch)]
    try:
        short = mdmkit.compose(preset, **parts, cache=cache, plan=plan | {"length": min(4, options.length)})
        measure(short, backbone, mdmkit.read_prompts(prompts, 0))  # first calls choose kernels and reserve memory
        if on_gpu(options):
            torch.cuda.reset_peak_memory_stats()
        sampler = mdmkit.compose(preset, **parts, cache=cache, plan=plan)
        cost = measure(sampler, backbone, mdmkit.read_prompts(prompts, 0))
    except mdmkit.MdmkitError as error:
        return f"{str(error).replace('|', '/')} | | | "
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "out of memory | | | "
    cells = (cost.tokens_per_second, cost.ms_per_step(cost.seconds), cost.nfe_per_token)
    held = peak(options)
    return f"{cells[0]:.1f} | {cells[1]:.1f} | {cells[2]:.2f} | {host_peak() if held is None else held:.1f}"


def by_command_line(folder: Path, own: dict[str, int], options: argparse.Namespace) -> tuple[float, float]:
    """Decode a block with `mdmkit decode`; seconds from start to end, and the most that it held on the host, GiB."""
    command = [sys.executable, "-m", "mdmkit", "decode", "--model", str(folder), "--sampler", "confidence", "--json"]
    command += ["--prompt-ids", "5 7 9", "--set", f"plan.length={options.block}", "--set", "plan.steps=4"]
    command += ["--device", options.device, "--dtype", options.dtype]
    command += [word for key, value in own.items() for word in ("--model-option", f"{key}={value}")]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or len(json.loads(output)["rows"][0]["tokens"]) != options.block:
        raise SystemExit(f"{shlex.join(command)} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024 / GIB


def prompt_ids(shape: Shape, length: int, row: int) -> list[int]:
    """Ordinary ids, others for every row."""
    generator = torch.Generator().manual_seed(row)
    return torch.randint(0, min(shape.mask, shape.end), (length,), generator=generator).tolist()


def heading(options: argparse.Namespace) -> list[str]:
    device = torch.cuda.get_device_name() if on_gpu(options) else f"CPU, {torch.get_num_threads()} threads"
    command = shlex.join(["python", "benchmarks/gpu.py", *sys.argv[1:]])
    return [
        "# Large models",
        "",
        f"{device}; {options.dtype}; torch {torch.__version__}, transformers {transformers.__version__}, Python "
        f"{platform.python_version()}; {datetime.now(UTC):%Y-%m-%d}. Made by",
        "",
        f"```text\n{command}\n```",
        "",
        f"Prompts of {options.prompt} tokens, {options.length} to fill in blocks of {options.block}, "
        f"{options.tokens_per_step} a step; info_gain with N = 8. Weights are random, in the models' shapes and "
        "formats: time and memory are real, text is not, and how often the bypass γ finds a token certain is these "
        "weights' own. A step's time is the whole decode's, divided by its steps.",
        "",
    ]


def on_gpu(options: argparse.Namespace) -> bool:
    return options.device.startswith("cuda")


def wait(options: argparse.Namespace) -> None:
    if on_gpu(options):
        torch.cuda.synchronize()


def peak(options: argparse.Namespace) -> float | None:
    return torch.cuda.max_memory_allocated() / GIB if on_gpu(options) else None


def host_peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
