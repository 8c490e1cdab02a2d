"""Processes that need not import torch first: each is forked from one that has, which pytest starts once.

They are processes of their own all the same, which can be killed and share nothing with the tests. Those whose start
is the question, such as what is imported, are started in the usual way.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["mdmkit.decoding.engine", "mdmkit.cli.decode", "mdmkit_text.backbone"])


def mdmkit(
    *words: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes = b"",
    limit: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line program to its end.

    `input` comes through a pipe, and is short enough to wait there; no file may grow beyond `limit` bytes.
    """
    there, environment = str(cwd or Path.cwd()), dict(os.environ if env is None else env)
    given, giving = FORKED.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        out, said = Path(folder, "out"), Path(folder, "err")
        process = FORKED.Process(target=_main, args=(words, given, out, said, there, environment, limit))
        process.start()
        with given, giving:
            os.write(giving.fileno(), input)
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(list(words), process.exitcode, out.read_text(), said.read_text())


def _main(words: Any, given: Any, out: Path, said: Path, cwd: str, env: dict[str, str], limit: int | None) -> None:
    os.dup2(given.fileno(), 0)
    for number, file in ((1, out), (2, said)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = os.fdopen(0, closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.path.insert(0, cwd)  # as `python -m` does
    from mdmkit.cli import main

    main(words, prog_name="mdmkit")
