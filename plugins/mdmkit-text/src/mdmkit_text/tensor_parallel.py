"""One model over several processes: the option `tp`, the processes that torchrun has started, and what can be divided.

transformers divides the weights (`tp_plan`): each process has a part of every layer's heads, neurons or experts, and
they exchange sums. The first process decodes; the others compute with it, see `mdmkit_text.peers`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from mdmkit import MdmkitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mdmkit_text.families.family import Family

# Between two calls of the first process any time may pass: a server waits for requests.
_EVER = timedelta(days=3650)
# What a layer divides among the processes, by its name in transformers' config objects.
_DIVIDED = ("num_attention_heads", "num_key_value_heads", "intermediate_size", "moe_intermediate_size", "vocab_size")


def processes(given: Any, device: torch.device, others: Mapping[str, Any]) -> int:
    """Return over how many processes the model is divided; 1: it is whole.

    Args:
        given: the option `tp`, None if it was not given.
        device: as the user named it.
        others: options that do not go with it, None if they were not given.

    Raises:
        MdmkitError: it is not a number, goes with another option, or torchrun has not started so many processes.
    """
    if given is None:
        return 1
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise MdmkitError(f"tp={given!r}: it must be a whole number of at least 1, how many processes share the model.")
    if given == 1:
        return 1
    found = int(os.environ.get("WORLD_SIZE", "1"))
    if found != given or "RANK" not in os.environ:
        here = "this is one" if found == 1 else f"here are {found}"
        raise MdmkitError(
            f"tp={given} divides the model over {given} processes, and {here}. "
            f"Start them with torchrun: torchrun --nproc-per-node {given} -m mdmkit decode … --model-option tp={given}"
        )
    if distributed.is_initialized():
        raise MdmkitError(f"tp={given}: this process holds a part of another model already, and can hold only one.")
    wrong = [name for name, value in others.items() if value not in (None, False)]
    if wrong:
        raise MdmkitError(
            f"tp={given} does not go with {wrong[0]}, which is for models of one process: leave one of them out."
        )
    if device.type not in ("cpu", "cuda") or device.index is not None:
        raise MdmkitError(f"tp={given} on {device}: each process has its own GPU, so write --device cuda, or cpu.")
    return given


def check_divisible(count: int, family: Family, settings: Any) -> None:
    """Refuse a model that cannot be divided among so many processes.

    Raises:
        MdmkitError: the family was not compared with its undivided form, or a size of the model is not a multiple.
    """
    if not family.divisible:
        from mdmkit_text.families import FAMILIES

        able = ", ".join(sorted(each.name for each in FAMILIES if each.divisible))
        raise MdmkitError(
            f"tp={count}: models of family {family.name} are not divided over processes; those of {able} are. Spread "
            "it over the GPUs of one process: --model-option device_map=balanced."
        )
    for name in _DIVIDED:
        if "heads" in name and "self_attn" in family.undivided:
            continue
        size = getattr(settings, name, None)
        if isinstance(size, int) and size % count:
            raise MdmkitError(
                f"tp={count}: the model's {name} is {size}, which {count} processes cannot share evenly. Use a number "
                "of processes that divides it."
            )


def keywords(count: int, settings: Any, family: Family) -> dict[str, Any]:
    """Join the processes of torchrun, and return the keywords of `from_pretrained` that divide the weights.

    Raises:
        MdmkitError: transformers is too old, or accelerate is not installed.
    """
    from mdmkit_text.placement import require

    require("tp", ("accelerate",))
    try:
        from transformers.distributed import DistributedConfig

        divided = DistributedConfig(tp_size=count, tp_plan="auto")
    except (ImportError, TypeError) as error:
        raise MdmkitError("tp needs a newer transformers: pip install --upgrade transformers") from error
    plan = getattr(settings, "base_model_tp_plan", None) or {}
    settings.base_model_tp_plan = {
        name: style for name, style in plan.items() if not any(part in name for part in family.undivided)
    }
    return {"distributed_config": divided}


def join(device: torch.device) -> torch.device:
    """Join the process group that torchrun has prepared, and return this process's device."""
    own = device
    if device.type == "cuda":
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(own)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_EVER)
    return own
