"""Any two parts that claim to fit do: every score × select × lookahead × commit × search decodes, or says why not."""

import itertools

import pytest

import mdmkit
from mdmkit import MdmkitError
from mdmkit.config.schema import read
from mdmkit.installed import registry
from mdmkit.testing import ToyBackbone

PARTS = {
    kind: [p.name for p in registry.default().of_kind(kind)]
    for kind in ("score", "select", "lookahead", "commit", "search")
}
PROMPTS = [{"prompt": "ab", "seed": 0}, {"prompt": "c__d_a", "seed": 1}]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    from mdmkit_heuristics.frequency import count

    path = tmp_path_factory.mktemp("corpus") / "toy.json"
    count([[k] * k for k in range(1, 11)], ToyBackbone(), "toy:0", "made up").save(path)
    return str(path)


def node(kind, name, table):
    part = registry.default().find(kind, name)
    takes = {field.name for field in read(part.target).fields} if kind == "score" else set()
    own = {("select", "adablock"): {"delimiters": [3, 4]}, ("commit", "daedal"): {"end": 1}}  # ids of the toy
    return {"name": name, **({"table": table} if "table" in takes else own.get((kind, name), {}))}


def test_the_parts_are_there():
    assert {
        name: len(parts) >= least for (name, parts), least in zip(PARTS.items(), (8, 10, 3, 4, 3), strict=True)
    } == dict.fromkeys(PARTS, True)


LOOKAHEADS, SEARCHES = [None, *PARTS["lookahead"]], [None, *PARTS["search"]]
PAIRS = [*itertools.product(PARTS["score"], LOOKAHEADS)]
PARTNERS = [*itertools.product(PARTS["select"], PARTS["commit"])]


def compose_and_decode(select, commit, pairs, table):
    """Decode with every pair of a score and a lookahead; searches in turn, so that each meets every other part."""
    backbone, done, refused = ToyBackbone(), 0, []
    for n, (score, lookahead) in pairs:
        given = {"score": score, "select": select, "commit": commit}
        nodes = {kind: node(kind, name, table) for kind, name in given.items()} | {"lookahead": lookahead}
        plan, search = {"length": 6, "block": 3}, SEARCHES[n % len(SEARCHES)]
        try:
            sampler = mdmkit.compose(**nodes, search=search, plan=plan, draw={"temperature": 0.7})
            decoded = mdmkit.decode(sampler, backbone, PROMPTS)
        except MdmkitError as error:
            refused.append(str(error))
            continue
        assert not any(backbone.mask_id in tokens for tokens in decoded.tokens), sampler.config
        assert [len(tokens) for tokens in decoded.tokens] == [6, 6]
        done += 1
    assert done
    for reason in refused:
        assert "add lookahead" in reason or "set lookahead to null" in reason


@pytest.mark.parametrize("number", range(len(PARTNERS)))
def test_combinations_decode_or_refuse_with_a_reason(number, table):
    """Some of all: each select and commit with every score and every lookahead once at least over the whole test."""
    select, commit = PARTNERS[number]
    step = len(PAIRS) // 4
    compose_and_decode(select, commit, [(n, PAIRS[n]) for n in range(number % step, len(PAIRS), step)], table)


@pytest.mark.slow
@pytest.mark.parametrize(("select", "commit"), PARTNERS)
def test_every_combination_decodes_or_refuses_with_a_reason(select, commit, table):
    for turn in range(len(SEARCHES)):
        compose_and_decode(select, commit, [(n + turn, pair) for n, pair in enumerate(PAIRS)], table)
