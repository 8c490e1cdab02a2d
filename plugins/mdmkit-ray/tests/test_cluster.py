"""Decodes in a real cluster, begun on this machine. Run with `make test-ray`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from click.testing import CliRunner
from processes import heed_ctrl_c

import mdmkit
from mdmkit import MdmkitError
from mdmkit.cli import main
from mdmkit.cli.commands import decode_batches
from mdmkit.installed import registry
from mdmkit.testing import EngineContract
from mdmkit.testing.engine import PROMPTS, SHORT, add_parts
from mdmkit_ray import hired
from mdmkit_ray.cluster import joined
from mdmkit_ray.engine import Ray

pytestmark = pytest.mark.ray
MODEL = ("--model", "zoo:puzzles", "--sampler", "info_gain")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster that this process is in."""
    with joined("local", 2):
        yield ray.get_runtime_context().gcs_address


@pytest.fixture
def own_parts(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parts of the laws in a plugin file, and their registry."""
    monkeypatch.setattr(registry, "_default", registry.Registry())
    add_parts(tmp_path)
    return tmp_path / "law_parts.py"


class TestRay(EngineContract):
    component = Ray

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: str) -> None:
        pass


# -- runs of the command line ----------------------------------------------------------------------------------------


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "mdmkit", *map(str, words)]


def of_process(pid: int) -> dict[int, str]:
    """The processes under this one, and their command lines."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    under = {pid}
    while more := {child for child, parent in parents.items() if parent in under} - under:
        under |= more
    return {child: names[child] for child in under - {pid}}


def until(holds: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    return found


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Four hundred puzzles of two lengths."""
    lines = [{"prompt": f"{2 + i % 8}*{3 + i % 7}=" + "_" * (4 + 3 * (i % 2)), "id": f"p{i}"} for i in range(400)]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_a_run_whose_worker_and_driver_are_killed_writes_the_bytes_of_one_process(
    prompts: Path, tmp_path: Path, cluster: str
) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    words = ["decode", *MODEL, "--batch", 2, "--no-live", "--prompts", prompts, "--output"]
    alone = subprocess.run(command(*words, here), capture_output=True, text=True, check=True)
    ray_words = command(*words, there, "--engine", "ray", "--workers", 2)

    def rows() -> int:
        return there.read_bytes().count(b"\n") if there.exists() else 0

    # A worker is killed: its unit is decoded by another one. Then Ctrl-C: no process is left.
    run = subprocess.Popen(ray_words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    until(lambda: rows() > 0)
    workers = [pid for pid, name in of_process(run.pid).items() if name.startswith("ray::Worker")]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    killed_at = rows()
    until(lambda: rows() > killed_at + 40)  # the rows of its unit, or those behind them
    family = of_process(run.pid)
    run.send_signal(signal.SIGINT)
    output, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert output == "" and " of 400 rows are finished" in said and len(said.splitlines()) == 1, "Ray is not heard"
    until(lambda: not any(map(alive, family)), 20)
    assert {*there.read_bytes().splitlines()} < {*here.read_bytes().splitlines()}

    # The driver is killed.
    begun = rows()
    run = subprocess.Popen([*ray_words, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: rows() > begun)
    workers = [pid for pid, name in of_process(run.pid).items() if name.startswith("ray::Worker")]
    run.kill()
    run.wait()
    until(lambda: not any(map(alive, workers)), 20)
    assert rows() < 400

    # It is resumed, in a cluster that was there before.
    done = subprocess.run(
        [*ray_words, "--resume", "--address", cluster],
        env=os.environ | {"RAY_AUTH_MODE": "token"},  # as Ray wants it of clusters that it begins
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "rows were there before" in done.stdout and done.stderr == ""
    assert there.read_bytes() == here.read_bytes()
    assert Path(f"{there}.run.json").read_bytes() == Path(f"{here}.run.json").read_bytes()
    assert "400 rows" in alone.stdout and ray.is_initialized() and ray.nodes()[0]["Alive"]


def test_eval_decodes_in_workers_and_keeps_them_from_one_sampler_to_the_next(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.chdir(tmp_path)
    begun: list[Any] = []
    start = hired.Hired._start
    monkeypatch.setattr(hired.Hired, "_start", lambda self: begun.append(self) or start(self))
    words = ["compare", "--tasks", "sudoku4", "--samplers", "confidence,margin", "--limit", "12", "--seeds", "2"]
    words += ["--batch", "2", "--output"]
    for folder, more in (("here", []), ("there", ["--engine", "ray", "--workers", "2"])):
        result = CliRunner().invoke(main, [*words, folder, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert len(begun) == 2
    for sampler in ("confidence", "margin"):
        here, there = (
            [json.loads(line) for line in Path(f, "rows", "sudoku4", f"{sampler}.jsonl").read_text().splitlines()]
            for f in ("here", "there")
        )
        for row in (*here, *there):
            del row["seconds"], row["memory"]
        assert sorted(there, key=lambda row: (row["seed"], row["index"])) == sorted(
            here, key=lambda row: (row["seed"], row["index"])
        )


# -- what goes wrong in a worker -------------------------------------------------------------------------------------


def collected(sampler: Any, rows: list[Any]) -> None:
    backbone = mdmkit.load("law_toy:toy:0")
    prompts = mdmkit.read_prompts(PROMPTS, 0)
    for found, _ in decode_batches(sampler, backbone, prompts, batch=2, engine=Ray()):
        rows += found


def test_a_prompt_that_kills_every_worker_is_named_and_the_other_units_are_finished(own_parts: Path) -> None:
    log, rows = own_parts.with_name("deaths"), list[Any]()
    score = {"name": "law_kills", "log": str(log), "spared": os.getpid(), "deaths": 99}
    sampler = mdmkit.compose(score=score, select="law_quota", plan={"block": 4})
    with pytest.raises(MdmkitError, match=rf"engine 'ray' of mdmkit-ray .* decodes prompt {SHORT} dies\.") as caught:
        collected(sampler, rows)
    assert len(log.read_text()) == 3 + 2, "three times with its unit of four, once with another prompt, once alone"
    assert "The rows of prompts 16-19 are missing" in str(caught.value)
    here = mdmkit.decode(sampler, mdmkit.load("law_toy:toy:0"), PROMPTS, batch=2).rows
    assert sorted(rows, key=lambda row: row.index) == here[:16]


def test_a_part_that_fails_in_a_worker_is_named_as_it_is_here(own_parts: Path) -> None:
    score = {"name": "law_kills", "log": str(own_parts.with_name("no folder") / "log"), "spared": os.getpid()}
    sampler, rows = mdmkit.compose(score=score, select="law_quota"), list[Any]()
    with pytest.raises(MdmkitError, match=r"^score Kills \(of file:law_parts\.py .*\) failed .*: FileNotFoundError"):
        collected(sampler, rows)
    assert sorted(row.index for row in rows) == [*range(SHORT)], "rows that had ended are there, as in this process"
    assert len(mdmkit.decode(sampler, mdmkit.load("law_toy:toy:0"), PROMPTS, batch=2).rows) == 20, "it works here"


def test_a_plugin_file_that_is_another_one_for_the_worker_is_refused_by_name(own_parts: Path) -> None:
    sampler = mdmkit.compose(score="law_plain", select="law_quota")
    own_parts.write_text(own_parts.read_text() + "\n# one more line\n")
    with pytest.raises(MdmkitError, match=r"a worker on .*: this process would decode with another sampler: parts is"):
        collected(sampler, [])


def test_a_worker_with_other_versions_is_refused_by_name(own_parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hired, "versions", lambda: {"mdmkit": "0.0.9", "torch": "1.0"})
    said = rf"a worker on .*: mdmkit is {mdmkit.__version__} there, and 0\.0\.9 here, torch is .* there, and 1\.0 here"
    with pytest.raises(MdmkitError, match=said):
        collected(mdmkit.compose(score="law_plain", select="law_quota"), [])


def test_more_workers_than_the_cluster_has_room_for_are_refused(own_parts: Path) -> None:
    sampler, backbone = mdmkit.compose(score="law_plain", select="law_quota"), mdmkit.load("law_toy:toy:0")
    with pytest.raises(MdmkitError, match="3 workers need 3 CPUs, and the cluster has 2"):
        mdmkit.decode(sampler, backbone, ["ab"], engine=Ray(workers=3))
    with pytest.raises(MdmkitError, match="this process is in a cluster of Ray already"):
        mdmkit.decode(sampler, backbone, ["ab"], engine=Ray(address="auto"))
