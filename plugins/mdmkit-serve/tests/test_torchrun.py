"""A server whose model several processes share. `make test-tp` runs this."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from processes import lines_until

GOLDEN = Path(__file__).parents[3] / "tests" / "golden" / "sdar"


def send(port: int, length: int) -> http.client.HTTPConnection:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"model": "m", "prompt": [5, 6, 7], "max_tokens": length, "seed": 1, "mdmkit": {"tokens": True}}
    line.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    return line


def answer(line: http.client.HTTPConnection) -> tuple[int, Any]:
    got = line.getresponse()
    return got.status, json.loads(got.read())


@pytest.mark.tp
def test_a_client_leaves_and_after_sigterm_a_request_that_was_taken_on_is_finished() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "mdmkit", "serve", "--model", str(GOLDEN), "--name", "m", "--device", "cpu", "--port", "0"]
    command += ["--sampler", "confidence", "--model-option", "tp=2"]
    given = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=given) as launcher:
        try:
            lines, found = lines_until(launcher, r"Serving at http://127.0.0.1:(\d+)/v1")
            port, gone = int(found), send(int(found), 200)
            time.sleep(0.5)
            gone.close()
            assert answer(send(port, 8))[0] == 200
            slow = send(port, 150)
            time.sleep(0.5)
            workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
            for worker in map(int, workers):
                os.kill(worker, signal.SIGTERM)
            status, said = answer(slow)
            assert status == 200 and len(said["choices"][0]["mdmkit"]["tokens"]) == 150
            assert launcher.wait(60) == 0
            assert any("SIGTERM: 1 rows are finished first" in line for line in lines)
            assert any("POST /v1/completions 499" in line for line in lines)
            assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
        finally:
            launcher.kill()
