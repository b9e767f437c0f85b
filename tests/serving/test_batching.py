"""The queue before a model: who is joined, who waits, who is refused."""

import asyncio
import threading

import numpy as np
import pytest

from keras_switch.serving.batching import Batcher
from keras_switch.serving.errors import Reason, Refused
from keras_switch.serving.tensors import Question


def question(*values, length=2, signature="f"):
    rows = np.array([[value] * length for value in values], "int32")
    return Question(signature, {"ids": rows}, ("double",))


class Doubling:
    """Twice the first id of each row; remembers what it was called with."""

    def __init__(self):
        self.calls = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, signature, inputs):
        assert self.go_on.wait(60)
        self.calls.append((signature, inputs["ids"].shape))
        if (inputs["ids"] == 13).any():
            raise ValueError("13 brings bad luck")
        first = inputs["ids"][:, :1]
        return {"double": 2 * first, "unwanted": first}


def run(scene, **options):
    """Runs an async function of a batcher and its model; returns the model."""
    model = Doubling()
    options = {"max_rows": 4, "window": 0.05, "max_waiting": 100, **options}

    async def play():
        async with asyncio.timeout(60), Batcher(model, **options) as batcher:
            await scene(batcher, model)

    asyncio.run(play())
    return model


def doubled(outputs):
    assert list(outputs) == ["double"]
    return outputs["double"].ravel().tolist()


def test_questions_are_joined_up_to_the_batch_and_each_gets_its_own_answer():
    async def scene(batcher, model):
        asked = [question(1), question(2, 3), question(4, 5), question(6)]
        answers = await asyncio.gather(*map(batcher.ask, asked))
        assert list(map(doubled, answers)) == [[2], [4, 6], [8, 10], [12]]
        assert (batcher.answered, batcher.batches) == (4, 2)

    model = run(scene)
    assert model.calls == [("f", (3, 2)), ("f", (3, 2))]


def test_other_lengths_and_signatures_are_not_joined():
    async def scene(batcher, model):
        asked = [question(1), question(2, length=3), question(3, signature="g")]
        answers = await asyncio.gather(*map(batcher.ask, asked))
        assert list(map(doubled, answers)) == [[2], [4], [6]]

    model = run(scene, window=0.0)
    assert model.calls == [("f", (1, 2)), ("f", (1, 3)), ("g", (1, 2))]


def test_a_full_batch_does_not_wait_for_the_window():
    async def scene(batcher, model):
        first = asyncio.create_task(batcher.ask(question(1, 2)))
        await asyncio.sleep(0.01)
        assert not model.calls
        assert doubled(await batcher.ask(question(3, 4))) == [6, 8]
        assert doubled(await first) == [2, 4]

    run(scene, window=1000.0)


def test_one_that_fails_in_a_batch_disturbs_no_other():
    async def scene(batcher, model):
        asked = [question(1), question(2), question(13), question(3)]
        answers = await asyncio.gather(*map(batcher.ask, asked), return_exceptions=True)
        assert str(answers[2]) == "13 brings bad luck"
        assert [doubled(answers[i]) for i in (0, 1, 3)] == [[2], [4], [6]]

    model = run(scene)
    assert [shape[0] for _, shape in model.calls] == [4, 2, 2, 1, 1]


def test_a_full_queue_refuses_and_takes_again_when_there_is_room():
    async def scene(batcher, model):
        model.go_on.clear()
        running = asyncio.create_task(batcher.ask(question(1)))
        while batcher.batches < 1:
            await asyncio.sleep(0.001)
        waiting = [asyncio.create_task(batcher.ask(question(i))) for i in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="2 requests are waiting") as refused:
            await batcher.ask(question(4))
        assert refused.value.reason is Reason.FULL
        model.go_on.set()
        answers = await asyncio.gather(running, *waiting)
        assert list(map(doubled, answers)) == [[2], [4], [6]]
        assert doubled(await batcher.ask(question(4))) == [8]
        assert (batcher.answered, batcher.refused) == (4, 1)

    run(scene, max_waiting=2, window=0.0)


def test_the_model_is_not_asked_for_clients_that_are_gone():
    async def scene(batcher, model):
        model.go_on.clear()
        running = asyncio.create_task(batcher.ask(question(1)))
        while batcher.batches < 1:
            await asyncio.sleep(0.001)
        gone, stays = (asyncio.create_task(batcher.ask(question(i))) for i in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        running.cancel()
        model.go_on.set()
        assert doubled(await stays) == [6]

    model = run(scene, window=0.0)
    assert [shape for _, shape in model.calls] == [(1, 2), (1, 2)]


def test_what_waits_when_the_server_ends_is_told_so():
    async def scene(batcher, model):
        nonlocal left
        left = asyncio.create_task(batcher.ask(question(1)))
        await asyncio.sleep(0.01)

    async def play():
        async with Batcher(Doubling(), 4, 1000.0, 10) as batcher:
            await scene(batcher, None)
        with pytest.raises(Refused, match="stopping"):
            await left

    left = None
    asyncio.run(play())
