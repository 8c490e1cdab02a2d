"""The entry point of SGLang's group `sglang.srt.plugins`: SGLang calls it in each of its processes."""

from __future__ import annotations


def register() -> None:
    """Add the algorithm `Mdmkit` to those that `--dllm-algorithm` knows."""
    from sglang.srt.dllm import algorithm

    from mdmkit_sglang.algorithm import Mdmkit

    algorithm.algo_name_to_cls[Mdmkit.__name__] = Mdmkit
