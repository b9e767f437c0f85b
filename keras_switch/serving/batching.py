"""Joins questions of many clients; the model runs in one thread.

Questions are joined if the model takes the same signature and lengths for them, so that
each gets the answer that it would get alone.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses

import numpy as np

from keras_switch.serving.errors import Reason, Refused
from keras_switch.serving.tensors import Question


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A question in the queue.

    Args:
        question: `Question`.
        answer: future of its outputs, arrays by name.
        since: time of its arrival, by the clock of the event loop.
    """

    question: Question
    answer: asyncio.Future
    since: float


class Batcher:
    """A queue before a model. To be used in one event loop, as a context.

    Args:
        run: function of a signature's name and inputs, arrays by name, that returns
            the outputs; called in one thread.
        max_rows: inputs of one call of it, at most.
        window: seconds that a question waits for others.
        max_waiting: questions in the queue.
    """

    def __init__(self, run, max_rows, window, max_waiting):
        self.answered = self.batches = self.refused = 0
        self._run = run
        self._max_rows = max_rows
        self._window = window
        self._max_waiting = max_waiting
        self._waiting = {}  # deques by kind of question
        self._arrived = asyncio.Event()
        self._worker = concurrent.futures.ThreadPoolExecutor(1, "model")

    async def __aenter__(self):
        self._task = asyncio.create_task(self._answer_all())
        return self

    async def __aexit__(self, *error):
        """Ends the thread; what is still waiting is refused."""
        self._task.cancel()
        for group in self._waiting.values():
            for one in group:
                _refuse(one, Refused("the server is stopping", Reason.STOPPING))
        self._worker.shutdown(wait=True)

    async def ask(self, question):
        """Returns the outputs of a question that are wanted, arrays by name.

        Raises:
            Refused: if the queue is full, or the model refuses.
        """
        if sum(map(len, self._waiting.values())) >= self._max_waiting:
            self.refused += 1
            message = f"{self._max_waiting} requests are waiting: try again later"
            raise Refused(message, Reason.FULL)
        loop = asyncio.get_running_loop()
        one = Waiting(question, loop.create_future(), loop.time())
        self._waiting.setdefault(question.kind, collections.deque()).append(one)
        self._arrived.set()
        outputs = await one.answer
        self.answered += 1
        return {name: outputs[name] for name in question.outputs}

    async def _answer_all(self):
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            kind = min(self._waiting, key=lambda kind: self._waiting[kind][0].since)
            await self._until_full(self._waiting[kind])
            batch = self._taken(kind)
            if batch:
                await self._answer(batch)

    async def _until_full(self, group):
        """Waits until the window of a group has passed, or a batch is full."""
        loop = asyncio.get_running_loop()
        end = group[0].since + self._window
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                while loop.time() < end and _rows(group) < self._max_rows:
                    self._arrived.clear()
                    await self._arrived.wait()

    def _taken(self, kind):
        """Returns the next batch of a kind, without those whose clients are gone."""
        group, batch, rows = self._waiting[kind], [], 0
        while group and rows + group[0].question.rows <= self._max_rows:
            one = group.popleft()
            if not one.answer.done():
                batch.append(one)
                rows += one.question.rows
        if not group:
            del self._waiting[kind]
        return batch

    async def _answer(self, batch):
        self.batches += 1
        loop = asyncio.get_running_loop()
        questions = [one.question for one in batch]
        found = await loop.run_in_executor(self._worker, self._outputs, questions)
        for one, outputs in zip(batch, found, strict=True):
            if isinstance(outputs, Exception):
                _refuse(one, outputs)
            elif not one.answer.done():
                one.answer.set_result(outputs)

    def _outputs(self, questions):
        """Returns outputs, or an exception, for each question; in the thread."""
        try:
            return _joined(self._run, questions)
        except Exception as error:
            if len(questions) == 1:
                return [error]
        # One of them is at fault: the others get what they would get without it.
        half = len(questions) // 2
        return self._outputs(questions[:half]) + self._outputs(questions[half:])


def _joined(run, questions):
    first = questions[0]
    inputs = {
        name: np.concatenate([question.inputs[name] for question in questions])
        for name in first.inputs
    }
    outputs = run(first.signature, inputs)
    ends = np.cumsum([question.rows for question in questions])[:-1]
    parts = {name: np.split(value, ends) for name, value in outputs.items()}
    return [
        {name: split[i] for name, split in parts.items()} for i in range(len(questions))
    ]


def _rows(group):
    return sum(one.question.rows for one in group)


def _refuse(one, error):
    if not one.answer.done():
        one.answer.set_exception(error)
