"""Requests that schemathesis makes of /openapi.json: none has an answer that is not described there."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.openapi
def test_no_request_that_can_be_described_has_an_answer_that_is_not(live: Any, tmp_path: Any) -> None:
    command = [
        os.path.abspath(os.environ["SCHEMATHESIS"]),
        "run",
        f"{live.url}/openapi.json",
        "--checks",
        CHECKS,
        "--seed",
        "0",
    ]
    command += ["--phases", "coverage,fuzzing", "-n", "200", "--continue-on-failure", "--generation-database", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"COLUMNS": "120"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) >= 500
    statuses = {re.search(r" ([1-5]\d\d) ", line)[1] for line in live.log}
    assert {"200", "400"} <= statuses and not any(status.startswith("5") for status in statuses)
    for path in ("/v1/completions", "/v1/chat/completions"):
        assert any(f"POST {path} 200" in line for line in live.log)
