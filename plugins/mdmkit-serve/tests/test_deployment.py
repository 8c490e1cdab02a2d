"""The container file and the systemd unit of the examples start the command as it is."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from mdmkit_serve.cli import serve

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "serve"
CONTAINER, UNIT = EXAMPLES / "Containerfile", EXAMPLES / "mdmkit-serve.service"


def service() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(UNIT)
    return dict(parser["Service"])


def words(instruction: str) -> list[str]:
    """The words of an instruction of the container file, which are a JSON list."""
    return json.loads(re.search(rf"^(?:HEALTHCHECK \S+ )?{instruction} (\[.*\])$", CONTAINER.read_text(), re.M)[1])


def parsed(command: list[str]) -> dict[str, object]:
    return serve.make_context("serve", command).params


def test_the_container_starts_a_server_that_others_reach_with_a_key_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program, name, *options = words("ENTRYPOINT")
    assert (program, name) == ("mdmkit", "serve")
    monkeypatch.setenv("MDMKIT_API_KEY", "secret")
    text = CONTAINER.read_text()
    last = json.loads(re.findall(r"^CMD (\[.*\])$", text, re.M)[-1])
    given = parsed([*options, *last])
    assert (given["host"], given["port"], given["api_key"]) == ("0.0.0.0", 8000, "secret")
    assert given["model"] and "secret" not in text and re.search(r"^USER 10001$", text, re.M)
    stop = int(re.search(r"--stop-timeout (\d+)", text)[1])
    assert stop > given["timeout"]
    probe = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.M)[1]
    compile(json.loads(probe)[2], "probe", "exec")
    assert f":{given['port']}/health" in probe


def test_the_wheels_that_the_container_installs_are_those_that_are_made() -> None:
    copied = re.search(r"^COPY (.*) /wheels/$", CONTAINER.read_text(), re.M)[1].split()
    made = {path.parent.name.replace("-", "_") for path in ROOT.glob("plugins/mdmkit-*/pyproject.toml")} | {"mdmkit"}
    assert {name.removesuffix("-*.whl") for name in copied} <= made
    torch = re.search(r"torch==\S+", CONTAINER.read_text())[0]
    assert torch in (ROOT / "Makefile").read_text()


def test_the_unit_starts_a_server_and_gives_it_time_to_finish() -> None:
    own = service()
    program, name, *options = shlex.split(own["ExecStart"])
    given = parsed(options)
    assert program.endswith("/mdmkit") and name == "serve" and given["host"] == "127.0.0.1"
    assert int(own["TimeoutStopSec"]) > given["timeout"]
    assert own["DynamicUser"] == "yes" and own["EnvironmentFile"] and own["StateDirectory"] == "mdmkit"
    assert f"127.0.0.1:{given['port']}" in (EXAMPLES / "Caddyfile").read_text()


def test_systemd_reads_the_unit_without_complaint(tmp_path: Path) -> None:
    assert UNIT.read_text().count("ExecStart=/opt/mdmkit/bin/mdmkit ") == 1
    program = shutil.which("systemd-analyze")
    if program is None:  # nothing is skipped: the tests above have read the unit
        return
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/mdmkit/bin/mdmkit", "/bin/true"))
    done = subprocess.run([program, "verify", "--man=no", copy], capture_output=True, text=True)
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr
