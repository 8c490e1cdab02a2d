"""Law 1 over presets, caches and every family: a row is the same alone, in a ragged batch, joining late, in a slot that
another row left, and beside a longer row that joins after it."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest
import torch
from families import BLOCK, FAMILIES, load

import mdmkit
from mdmkit import Engine, read_prompts
from mdmkit.cli.commands import default_registry
from mdmkit.loop.readiness import reads_of
from mdmkit.model.shadow import SHADOWS

IMAGES = ("halton", "maskgit", "amused", "info_gain@t2i")
TEXTS = [part.name for part in default_registry().of_kind("sampler") if part.name not in IMAGES]


def facts(row):
    return row.tokens, row.order, row.nfe, row.row_tokens, row.stopped


def decoded(sampler, backbone, schedule, slots):
    """Admit prompts at the steps that `schedule` says; the rows, by prompt."""
    engine, rows, step = Engine(sampler, backbone, slots), {}, 0
    coming = sorted(schedule, key=lambda one: one[0])
    while coming or engine.busy:
        while coming and coming[0][0] <= step:
            engine.admit(coming.pop(0)[1])
        for ended in engine.step():
            if ended.error is not None:
                raise ended.error
            rows[ended.row.index] = ended.row
        step += 1
    return rows


def settings(rng, preset, cache):
    overrides = [
        f"cache={cache}",
        "draw.end_penalty=0",
        f"plan.block={rng.choice([4, 8])}",
        f"draw.temperature={rng.choice([0, 0, 0.8])}",
    ]
    if preset in ("dus", "dream") or rng.random() < 0.5:
        overrides.append("plan.early_stop=false")
    if cache in ("prefix", "dual") and rng.random() < 0.4:
        overrides.append("cache.refresh_every=3")
    return overrides


def of_tokens(rng, preset, family, backbone):
    """Settings of presets that name token ids, such that blocks end at delimiters, and rows grow."""
    if preset == "adablock":
        ids = rng.sample(family.ids, min(len(family.ids), 12))
        return [f"select.delimiters={ids}", "select.sure=0", "select.size=3", "select.window=0.5"]
    if preset == "daedal":
        end = [*backbone.ends, family.ids[0]][0]
        small = ["select.size=5", "commit.low=0.9", "commit.more=3", "commit.span=2", "commit.tail=2"]
        return ["plan.block=null", f"plan.room={rng.choice([3, 9])}", f"commit.end={end}", *small]
    return []


@functools.cache
def composed(preset):
    """A preset as it stands: each of the families asks what it is made of."""
    return mdmkit.compose(preset, overrides=["score=confidence"] if preset == "pc" else [])


def fits(family, preset):
    sampler = composed(preset)
    compares, reads = sampler.lookahead is not None or sampler.search is not None, reads_of(sampler)
    offered = (family.shadows or not SHADOWS.keys() & reads) and (family.attention or "attention" not in reads)
    # Rows grow in texts only, under full attention, and if the model can be told of padding.
    grows = preset != "daedal" or not (family.words or family.caches == BLOCK or family == FAMILIES["wrapped_unpadded"])
    return offered and grows and not (family.ties and compares)


@functools.cache
def combinations():
    """Every preset, family and cache that fit, in a random order: each preset with each cache first, then the rest."""
    every = [
        (name, preset, cache)
        for name, family in FAMILIES.items()
        for preset in ((*IMAGES, *TEXTS) if family.words else TEXTS)
        if fits(family, preset)
        for cache in family.caches
    ]
    random.Random(0).shuffle(every)
    first = {(preset, cache): (name, preset, cache) for name, preset, cache in every}
    drawn = set(first.values())
    return [*first.values(), *(one for one in every if one not in drawn)]


def table(backbone, ids, path):
    """A table of token frequencies under the model's own tokenizer, which `pc` needs."""
    from mdmkit_heuristics.frequency import count

    if not path.exists():
        count([[token] * (1 + token * 7 % 30) for token in ids], backbone, "a tiny model", "made up").save(path)
    return path


def text(rng, family, low, high):
    """A prompt of 1 to 11 tokens with so many masks behind it."""
    ids = [rng.choice(family.ids) for _ in range(rng.randrange(1, 12))]
    return {"prompt_ids": ids, "length": rng.randrange(low, high), "seed": rng.randrange(1 << 40)}


def image(rng, family, cells, mask, low, high):
    """A picture to draw from nothing, or one of which so many cells at most are open: it ends sooner."""
    seed = rng.randrange(1 << 40)
    if rng.random() < 0.5:
        return {"prompt": rng.choice(family.words), "seed": seed}
    ids = [rng.choice(family.ids) for _ in range(cells)]
    for cell in rng.sample(range(cells), min(cells, rng.randrange(low, high))):
        ids[cell] = mask
    return {"prompt_ids": ids, "seed": seed}


def check(sampler, backbone, prompts, said, rounding=1e-6):
    """Compare the first prompt's row, decoded alone, with the same in five companies."""
    watched, *others = read_prompts(prompts, 0)
    alone = decoded(sampler, backbone, [(0, watched)], 1)[0]
    companies = {
        "in a ragged batch": ([(0, watched), *[(0, other) for other in others]], 5),
        "behind the others": ([*[(0, other) for other in others], (0, watched)], 5),
        "five steps late": ([*[(0, other) for other in others[1:]], (5, watched)], 4),
        "in a slot that another left": ([(0, others[0]), (0, others[2]), (0, watched)], 1),
        "beside a longer row that joins": ([(0, watched), (2, others[3])], 2),
    }
    for company, (schedule, slots) in companies.items():
        row = decoded(sampler, backbone, schedule, slots)[0]
        assert facts(row) == facts(alone), f"{said}, {company}"
        assert abs(row.uncertainty - alone.uncertainty) <= rounding, f"{said}, {company}"


def case(number, folder, dtype=torch.float64):
    """One combination; its prompts and settings are drawn."""
    rng = random.Random(number)
    name, preset, cache = combinations()[number]
    family, backbone = FAMILIES[name], load(name, folder, dtype)
    overrides = settings(rng, preset, cache)
    overrides += of_tokens(rng, preset, family, backbone)
    if preset == "pc":
        overrides.append(f"score.table={table(backbone, family.ids, Path(folder) / f'{name}.json')}")
    if family.words:
        overrides.append("plan.length=null")  # presets for texts set one
    sampler = mdmkit.compose(preset, overrides=overrides)
    sizes = [(4, 14), (2, 10), (6, 20), (2, 8), (18, 26)]
    if family.words:
        prompts = [image(rng, family, backbone.cells, backbone.mask_id, *size) for size in sizes]
    else:
        prompts = [text(rng, family, *size) for size in sizes]
    rounding = 1e-6 if dtype == torch.float64 else 2e-4
    check(sampler, backbone, prompts, f"{number}: {preset}, {name}, {' '.join(overrides)}", rounding)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("families"))


def test_every_family_that_is_installed_takes_part():
    from mdmkit_text.families import FAMILIES as TEXT_FAMILIES

    installed = {part.name for part in default_registry().of_kind("backbone")} - {"text"}
    expected = installed | {f"text:{family.name}" for family in TEXT_FAMILIES}
    assert {family.stands_for for family in FAMILIES.values()} - {None} == expected


def test_the_families_say_what_they_offer(folder):
    for name, family in FAMILIES.items():
        backbone = load(name, folder)
        assert family.shadows == (backbone.shadows and backbone.mask_id is not None), name
        assert family.attention == ("attention" in backbone.offers), name


def test_each_preset_is_drawn_with_each_cache():
    drawn = {(preset, cache) for _, preset, cache in combinations()[:1050]}
    assert drawn == {(preset, cache) for _, preset, cache in combinations()}
    assert {cache for preset, cache in drawn if preset == "info_gain"} == {"none", "prefix", "dual", "block"}
    assert len(set(combinations())) == len(combinations()) > 1900


@pytest.mark.parametrize("number", range(50))
def test_a_row_is_the_same_in_any_company(number, folder):
    with torch.inference_mode():
        case(number, folder)


# A row that found a fault once: a sequence that reaches beyond the last column, beside a longer one.
BEYOND = [
    (
        "llada",
        ["plan.block=8", "plan.early_stop=false"],
        [
            ([97, 35, 107, 77, 108, 63, 7, 116], 11, 760649368161),
            ([22, 50, 29, 79], 9, 282368393326),
            ([94, 65, 82, 25], 15, 763940339294),
            ([112, 84], 3, 867527030074),
            ([74, 100, 28, 48, 36, 28], 19, 927901457746),
        ],
    ),
    (
        "llada_moe",
        ["plan.block=4"],
        [
            ([41, 43, 29, 90, 29, 38, 117], 8, 753780713886),
            ([93, 102, 73, 43, 27, 112, 70], 8, 825957355927),
            ([119, 59, 19, 79, 83, 75], 7, 397925439211),
            ([110, 52, 91, 95, 66], 4, 1094824685625),
            ([98, 68, 84, 95, 20, 107], 22, 187512563757),
        ],
    ),
]


@pytest.mark.parametrize(("name", "overrides", "rows"), BEYOND, ids=["llada", "llada_moe"])
def test_a_row_that_reaches_beyond_the_last_column_is_the_same_beside_a_longer_one(name, overrides, rows, folder):
    overrides = [*overrides, "cache=prefix", "draw.end_penalty=0", "draw.temperature=0.8"]
    prompts = [{"prompt_ids": ids, "length": length, "seed": seed} for ids, length, seed in rows]
    with torch.inference_mode():
        check(mdmkit.compose("lookum", overrides=overrides), load(name, folder), prompts, name)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("number", range(50, 1050))
def test_a_row_is_the_same_in_any_company_a_thousand_times(number, dtype, folder):
    with torch.inference_mode():
        case(number, folder, dtype)
