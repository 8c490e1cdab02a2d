"""One model over several processes: what the first sends, and what the others make of it; `tp` and what it refuses.

Here both are threads with a whole model each. `tests/test_torchrun.py` starts processes that share one.
"""

from __future__ import annotations

import gc
import queue
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import mdmkit
from mdmkit import MdmkitError, Store
from mdmkit_text import peers as module
from mdmkit_text import tensor_parallel
from mdmkit_text.backbone import TextBackbone
from mdmkit_text.families import FAMILIES
from mdmkit_text.peers import Peers, PeerStore, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
PROMPTS = [{"prompt_ids": [5 + (7 * i + 3 * j) % 60 for j in range(9 + 2 * i)], "length": 6 + 5 * i} for i in range(3)]
CPU = torch.device("cpu")


def golden(name: str) -> TextBackbone:
    return TextBackbone.load(str(GOLDEN / name), mask_id=125, **({"block_length": 4} if name == "sdar" else {}))


class Wire:
    """Stands in for torch.distributed between two threads."""

    def __init__(self) -> None:
        self.sent: queue.Queue[Any] = queue.Queue()

    def broadcast_object_list(self, things: list[Any], src: int, device: torch.device) -> None:
        self._pass(things, lambda got: things.__setitem__(slice(None), got))

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        self._pass(tensor.clone(), lambda got: tensor.copy_(got))

    def _pass(self, thing: Any, take: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self.sent.put([*thing] if isinstance(thing, list) else thing)
        else:
            take(self.sent.get(timeout=20))

    def is_initialized(self) -> bool:
        return False

    def destroy_process_group(self) -> None:
        pass


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    found = Wire()
    monkeypatch.setattr(module, "distributed", found)
    monkeypatch.setattr(module.atexit, "register", lambda call: None)
    real, main = signal.signal, threading.main_thread()  # no other thread may call it
    monkeypatch.setattr(module.signal, "signal", lambda *g: real(*g) if threading.current_thread() is main else None)
    return found


class Following(threading.Thread):
    def __init__(self, backbone: TextBackbone):
        super().__init__(daemon=True)
        self.network, self.ended = backbone.network, ""

    def run(self) -> None:
        try:
            module.follow(self.network, CPU)
        except SystemExit as end:
            self.ended = f"exit {end.code}"
        except BaseException as error:
            self.ended = repr(error)
            raise


def counted(network: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what a network's head gets, from now on."""
    shapes: list[tuple[int, ...]] = []
    real = network.head_of
    monkeypatch.setattr(network, "head_of", lambda hidden: (shapes.append(tuple(hidden.shape)), real(hidden))[1])
    return shapes


@pytest.mark.parametrize(("name", "sampler", "cache"), [("llada", "beam", "dual"), ("sdar", "info_gain", "block")])
def test_the_others_make_every_call_of_the_first(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, name: str, sampler: str, cache: str
) -> None:
    composed = mdmkit.compose(sampler, cache=cache, plan={"block": 4, "early_stop": False})
    leading, other = golden(name), golden(name)
    expected = mdmkit.decode(composed, leading, PROMPTS, seed=1)
    heads = [counted(leading.network, monkeypatch), counted(other.network, monkeypatch)]
    known: list[dict[int, Store]] = []
    received = module._receive
    monkeypatch.setattr(module, "_receive", lambda stores, device: (known.append(stores), received(stores, device))[1])
    follower = Following(other)
    follower.start()
    leading.network.peers = peers = Peers()
    first = mdmkit.decode(composed, leading, PROMPTS[:1], seed=1)
    gc.collect()
    made: list[PeerStore] = []
    monkeypatch.setattr(peers, "new_store", lambda: made.append(Peers.new_store(peers)) or made[-1])  # type: ignore[func-returns-value]
    got = mdmkit.decode(composed, leading, PROMPTS, seed=1)
    peers._end()
    follower.join(20)
    assert follower.ended == "exit 0"
    assert (first.tokens, got.tokens) == (expected.tokens[:1], expected.tokens)
    assert [row.uncertainty for row in got.rows] == [row.uncertainty for row in expected.rows]
    assert heads[0] == heads[1] and len(heads[0]) > got.calls
    # The store of the first decode is forgotten; that of the second holds the same columns in the same slots.
    (store,), theirs = made, known[-1]
    assert [*theirs] == [store.number] and [*store] == [*theirs[store.number]] != []
    for layer in store:
        assert all(map(torch.equal, store[layer], theirs[store.number][layer]))


def test_a_message_arrives_as_it_was_sent() -> None:
    store = PeerStore(Peers.__new__(Peers), 7)
    tensors = [
        torch.arange(6).reshape(2, 3).t(),
        torch.tensor([True, False, True]),
        torch.zeros(0, 4),
        torch.tensor(1.5, dtype=torch.float64),
        torch.randn(3, 5).bfloat16()[:, ::2],
        torch.arange(12).reshape(6, 2)[:, 1:][:1],
    ]
    packed, sent = pack(("compute", [*tensors, store, None, slice(2, 5)], [3]))
    known = {7: Store()}
    name, arguments, gone = unpack(packed, sent, known)
    assert (name, gone, arguments[-2:]) == ("compute", [3], [None, slice(2, 5)])
    assert arguments[-3] is known[7]
    for got, want in zip(arguments, tensors, strict=False):
        assert got.dtype == want.dtype and torch.equal(got, want)
    packed, sent = pack(("end", (), []))
    assert sent is None and unpack(packed, None, {}) == ("end", (), [])


def test_after_a_call_that_failed_there_is_no_other(wire: Wire) -> None:
    peers = Peers()

    def fails() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    for call in (fails, lambda: None):
        with pytest.raises(MdmkitError, match=r"CUDA out of memory.*use a smaller --batch.*--resume continues"):
            peers.together("compute", call)
    assert wire.sent.qsize() == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C has its usual meaning, also in a job in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_waits_for_the_end_of_a_call(wire: Wire) -> None:
    peers, ended = Peers(), []

    def call() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # torchrun sends another
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        peers.together("compute", call)
    assert ended == [True]
    assert peers.together("compute", lambda: 5) == 5  # the processes are still in step


def test_the_end_of_the_process_waits_for_a_call_of_another_thread(wire: Wire) -> None:
    peers = Peers()
    ending = threading.Thread(target=peers._end)

    def call() -> bool:
        ending.start()
        ending.join(0.2)
        return ending.is_alive()

    assert peers.together("compute", call)
    ending.join(20)
    with pytest.raises(MdmkitError, match="this process is about to end"):
        peers.together("compute", call)


@pytest.mark.parametrize(
    ("given", "others", "device", "words"),
    [
        (True, {}, "cpu", "tp=True: it must be a whole number"),
        ("two", {}, "cpu", "tp='two': it must be a whole number"),
        (0, {}, "cpu", "tp=0: it must be a whole number"),
        (3, {}, "cpu", "over 3 processes, and here are 2. Start them with torchrun: torchrun --nproc-per-node 3"),
        (2, {"quantization": "int8"}, "cpu", "tp=2 does not go with quantization"),
        (2, {"compile": True, "graphs": False}, "cpu", "tp=2 does not go with compile"),
        (2, {}, "cuda:1", "tp=2 on cuda:1: each process has its own GPU"),
    ],
)
def test_what_tp_does_not_take(
    monkeypatch: pytest.MonkeyPatch, given: Any, others: dict[str, Any], device: str, words: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(MdmkitError) as error:
        tensor_parallel.processes(given, torch.device(device), others)
    assert words in str(error.value)


def test_without_torchrun_tp_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(
        MdmkitError, match=r"and this is one\. Start them with torchrun: torchrun --nproc-per-node 2 -m"
    ):
        TextBackbone.load(str(GOLDEN / "llada"), mask_id=125, tp=2)
    assert TextBackbone.load(str(GOLDEN / "llada"), mask_id=125, tp=1).network.peers is None


def test_families_and_sizes_that_cannot_be_divided_are_named() -> None:
    families = {family.name: family() for family in FAMILIES}
    settings = golden("llada").network.model.config
    with pytest.raises(MdmkitError, match=r"models of family a2d are not divided.*those of dream, .*llada, "):
        tensor_parallel.check_divisible(2, families["a2d"], settings)
    with pytest.raises(MdmkitError, match=r"tp=3: the model's num_attention_heads is \d+, which 3 processes cannot"):
        tensor_parallel.check_divisible(3, families["llada"], settings)
    tensor_parallel.check_divisible(2, families["llada"], settings)


def test_a_divided_model_stays_where_it_is() -> None:
    backbone = golden("llada")
    backbone.network.peers = object()  # type: ignore[assignment]
    with pytest.raises(MdmkitError, match="divided over processes, and each stays on its device"):
        backbone.to("cpu")
