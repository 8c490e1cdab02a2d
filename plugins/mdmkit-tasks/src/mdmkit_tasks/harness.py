"""mdmkit as a model of lm-evaluation-harness: `mdmkit lm-eval --model mdmkit --model_args pretrained=…,sampler=…`."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

import mdmkit
from mdmkit import Likelihood, MdmkitError, row_seed
from mdmkit.cli.commands import limit_threads
from mdmkit_tasks import templates

# Keys of a task about generation, and the keys of mdmkit that they become.
DRAW = {"temperature": "draw.temperature", "top_p": "draw.top_p", "top_k": "draw.top_k"}
# Values of other keys that change nothing, so a task may set them.
NEUTRAL = {
    "num_beams": 1, "num_return_sequences": 1, "repetition_penalty": 1, "length_penalty": 1, "no_repeat_ngram_size": 0,
    "min_p": 0, "typical_p": 1,
}  # fmt: skip
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens")


@register_model("mdmkit")
class MdmkitLM(LM):
    """A masked diffusion model with a sampler.

    Args:
        pretrained: the model, as `mdmkit.load` takes it.
        sampler: a preset; or `config`, a YAML file.
        batch_size: rows decoded together; `auto` is 16.
        device, dtype: as `mdmkit.load` takes them.
        seed: document i of a task is seeded as row i of a decode.
        length: masks of an answer; None: the number of the task, else that of the model.
        infill: prompts hold their masks themselves, and nothing is appended.
        likelihood: `bound` (Monte Carlo) or `left_to_right`, see `mdmkit.score`.
        samples: maskings per block for the bound.
        check_greedy: True: decode every continuation, to find out if the sampler would write it; False: the answer is
            always no.
        settings: keys of the sampler's configuration, such as `plan.block=32`.
    """

    def __init__(
        self,
        pretrained: str,
        sampler: str | None = None,
        config: str | None = None,
        batch_size: int | str | None = 16,
        max_batch_size: int | None = None,
        device: str | None = None,
        dtype: str = "auto",
        seed: int = 0,
        length: int | None = None,
        infill: bool = False,
        likelihood: str = "bound",
        samples: int = 128,
        check_greedy: bool = True,
        **settings: Any,
    ):
        super().__init__()
        size = 16 if batch_size is None or str(batch_size).startswith("auto") else int(batch_size)
        self.batch = min(size, max_batch_size or size)
        self.pretrained, self.seed, self.length, self.infill = pretrained, seed, length, infill
        self.likelihood, self.samples, self.check_greedy = likelihood, samples, check_greedy
        self.preset = sampler if sampler or config else "info_gain"
        self.config, self.given = config, {key: _yaml(value) for key, value in settings.items()}
        self.sampler = self._compose({})
        self.backbone = mdmkit.load(pretrained, device=device or "auto", dtype=dtype)
        self._template = ""
        limit_threads(self.backbone)
        self._device = self.backbone.device

    @property
    def tokenizer_name(self) -> str:
        return self.pretrained.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Choose the tokenizer's template, or one of several by its name."""
        if chat_template is False:
            return ""
        self._template = templates.find(self._tokenizer(), self.pretrained, chat_template)
        return self._template

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Write a conversation. Without `add_generation_prompt` the answer continues its last message."""
        template = self._template or self.chat_template(True)
        return templates.write(self._tokenizer(), self.pretrained, template, chat_history, add_generation_prompt)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Decode every context; cut the text at the first of the task's stops."""
        groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
        asked: list[dict[str, Any]] = []
        for index, (request, seed) in enumerate(zip(requests, self._seeds(requests), strict=True)):
            context, options = request.args
            length, overrides = self._generation(options)
            prompt = {"prompt": context, "chat": False, "infill": self.infill, "seed": seed}
            asked.append(prompt if length is None or self.infill else prompt | {"length": length})
            groups.setdefault(tuple(sorted(overrides.items())), []).append(index)
        out = [""] * len(requests)
        for overrides_, indices in groups.items():
            sampler = self._compose(dict(overrides_))
            decoded = mdmkit.decode(sampler, self.backbone, [asked[i] for i in indices], batch=self.batch)
            for index, text in zip(indices, decoded.texts, strict=True):
                options = requests[index].args[1]
                out[index] = _cut(text, options.get("until") or ())
                self.cache_hook.add_partial("generate_until", requests[index].args, out[index])
        return out

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score every continuation given its context, in nats, and tell if the sampler would write it."""
        out: list[tuple[float, bool]] = []
        asked = [
            (request.args[0], seed, request) for request, seed in zip(requests, self._seeds(requests), strict=True)
        ]
        # The options of one question come one after the other.
        for (context, seed), group in itertools.groupby(asked, lambda one: one[:2]):
            some = [request for *_, request in group]
            for request, found in zip(some, self._score(context, [each.args[1] for each in some], seed), strict=True):
                out.append((found.value, self.check_greedy and self._written(found)))
                self.cache_hook.add_partial("loglikelihood", request.args, out[-1])
        return out

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts. A text that is too long for the model is an error; it is not cut."""
        seeds = self._seeds(requests)
        return [self._score("", [r.args[0]], seed)[0].value for r, seed in zip(requests, seeds, strict=True)]

    def get_model_info(self) -> dict[str, Any]:
        return {"model": self.pretrained, "sampler": self.sampler.config, "mdmkit": mdmkit.__version__}

    def _seeds(self, requests: Sequence[Any]) -> list[int]:
        """A seed for each request, by its document: the requests that come with it, or are in a cache, change nothing.

        A request that is repeated gets another seed every time.
        """
        out, before = [], Counter[tuple[Any, ...]]()
        for place, request in enumerate(requests):
            document = place if request.doc_id is None else request.doc_id
            key = (request.task_name, document, request.idx)
            seed = row_seed(self.seed, document)
            out.append(row_seed(seed, before[key]) if before[key] else seed)
            before[key] += 1
        return out

    def _score(self, context: str, continuations: list[str], seed: int) -> list[Likelihood]:
        prompt = {"prompt": context, "chat": False}
        how: dict[str, Any] = {"estimator": self.likelihood, "samples": self.samples, "batch": self.batch}
        return mdmkit.score(self.backbone, prompt, continuations, seed=seed, **how)

    def _written(self, found: Likelihood) -> bool:
        prompt = {"prompt_ids": found.prompt_ids, "length": len(found.ids), "infill": False}
        row = mdmkit.decode(self.sampler, self.backbone, [prompt], seed=self.seed).rows[0]
        return row.tokens == found.ids

    def _generation(self, options: dict[str, Any]) -> tuple[int | None, dict[str, str]]:
        """The length for a request, and the keys of the sampler that it changes; our settings override the task's."""
        length, overrides = self.length, {}
        for key, value in options.items():
            if key in LENGTHS:
                length = length if length is not None else int(value)
            elif key in DRAW and value is not None and (options.get("do_sample") or key != "temperature"):
                if DRAW[key] not in self.given:
                    overrides[DRAW[key]] = _yaml(None if key == "top_k" and value in (0, -1) else value)  # all tokens
            elif key in NEUTRAL and value in (NEUTRAL[key], None):
                continue
            elif key not in ("until", "do_sample", *DRAW):
                raise MdmkitError(
                    f"the task asks for {key}={value!r} in generation, and samplers of mdmkit know: until, do_sample, "
                    f"{', '.join((*DRAW, *LENGTHS))}. Leave it out with --gen_kwargs."
                )
        return length, overrides

    def _compose(self, more: dict[str, str]) -> Any:
        keys = [f"{key}={value}" for key, value in ({**more, **self.given}).items()]
        return mdmkit.compose(self.preset, config=self.config, overrides=keys)

    def _tokenizer(self) -> Any:
        tokens = getattr(self.backbone, "tokens", None)
        tokenizer = getattr(tokens, "tokenizer", None)
        if tokenizer is None:
            raise MdmkitError(f"model {self.pretrained} has no tokenizer of transformers, and so no chat template.")
        return tokenizer


def _cut(text: str, stops: str | Iterable[str]) -> str:
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            text = text.split(stop, 1)[0]
    return text


def _yaml(value: Any) -> str:
    """A value that the harness has parsed already, in the form of `--set`."""
    return value if isinstance(value, str) else json.dumps(value)
