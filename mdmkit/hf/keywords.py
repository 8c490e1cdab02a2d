"""Keywords of transformers' `generate` and of the models' own samplers, and their names in mdmkit."""

from __future__ import annotations

from typing import Any

from mdmkit.errors import MdmkitError

# Keywords of other generate functions that have another name here, or no meaning at all.
ELSEWHERE = {
    "alg": "the order of filling is the sampler: sampler='…'",
    "alg_temp": "how positions are drawn is the select's: select={…}",
    "bad_words_ids": "single ids can be forbidden: draw={'suppress': (…)}",
    "block_length": "write plan={'block': N}",
    "cfg_scale": "write guidance={'scale': s + 1}, in which 1 is off",
    "gen_length": "write max_new_tokens=N",
    "generation_config": "give its settings by keyword; most settings of a left-to-right model have no meaning here",
    "guidance_scale": "write guidance={'scale': s}, in which 1 is off",
    "logits_processor": "draw={'suppress': …, 'penalty': …} changes logits, guidance={…} mixes them",
    "max_length": "it counts the prompt too: write max_new_tokens=N, which does not",
    "max_time": "write plan={'steps': N}",
    "min_length": "write draw={'penalty': {end id: amount}} to put the end off",
    "min_new_tokens": "write draw={'penalty': {end id: amount}} to put the end off",
    "num_beams": "use a sampler that compares alternatives: sampler='…'",
    "num_return_sequences": "repeat the rows of input_ids; each row has its own random numbers",
    "past_key_values": "what is kept between forwards is the cache: cache='…'",
    "position_ids": "they follow from attention_mask",
    "remasking": "the order of filling is the sampler: sampler='…'",
    "steps": "write plan={'steps': N}",
    "stopping_criteria": "write eos_token_id=…",
    "streamer": "write observers=[…]",
    "suppress_tokens": "write draw={'suppress': (…)}",
    "token_type_ids": "leave it out: a prompt is input_ids and attention_mask",
    "use_cache": "what is kept between forwards is the cache: cache='…'",
}


def refuse_foreign(keywords: dict[str, Any]) -> None:
    """Raise an MdmkitError that translates the first keyword of another generate function."""
    for name in keywords:
        if name in ELSEWHERE:
            raise MdmkitError(f"generate has no {name}: {ELSEWHERE[name]}.")


def drawing(
    do_sample: bool | None, temperature: float | None, top_p: float | None, top_k: int | None
) -> dict[str, Any]:
    """Translate transformers' four keywords into keys of `draw`; keywords that change nothing are left out.

    Raises:
        MdmkitError: do_sample contradicts the temperature.
    """
    if (do_sample is False and temperature) or (do_sample is True and temperature == 0):
        raise MdmkitError(
            f"do_sample={do_sample} and temperature={temperature} contradict each other: at temperature 0 the most "
            "probable token is taken, above 0 tokens are drawn. Give one of the two."
        )
    draw: dict[str, Any] = {}
    if do_sample is not None:
        draw["temperature"] = 1.0 if do_sample else 0.0
    if temperature is not None:
        draw["temperature"] = temperature
    if draw.get("temperature") == 0:
        draw["temperature_end"] = None
    if top_p is not None:
        draw["top_p"] = None if top_p == 1 else top_p
    if top_k is not None:
        draw["top_k"] = top_k or None
    return draw
