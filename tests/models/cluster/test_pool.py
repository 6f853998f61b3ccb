"""The steps of a run among replicas that come and go, without any cluster."""

import threading
from collections import deque

import pytest

from runner.core.errors import BackendError
from runner.core.types import Prediction, Prompt
from runner.models.cluster.pool import MOST_LOSSES, StepPool


def prompt(item: str) -> Prompt:
    return Prompt("task", "dev", item, "p", 0, "{text}", {"text": item}, "", "", (("a",), ("b",)), 100, None)


def steps(count: int) -> list[list[Prompt]]:
    return [[prompt(f"{number}-{part}") for part in range(2)] for number in range(count)]


def answers(count: int = 1) -> list[Prediction]:
    return [Prediction(task="task", item_id=str(number), log_scores=(-1.0, -2.0)) for number in range(count)]


def test_a_replica_holds_two_steps_and_of_the_last_none_ahead() -> None:
    pool, held = StepPool(steps(5), replicas=2), deque()
    taking = pool.take(held)
    assert [next(taking) is not None for _ in range(2)] == [True, True]
    pool.finish(held, answers())
    assert next(taking) is not None  # two wait then: no more than there are replicas
    assert next(taking) is None
    assert [step.number for step in held] == [2, 3]


def test_what_a_lost_replica_held_comes_first_and_in_order() -> None:
    pool, lost, other = StepPool(steps(6), replicas=1), deque(), deque()
    taking = pool.take(lost)
    first, second = next(taking), next(taking)
    pool.give_back(lost, "it ended", lambda _: None)
    assert not lost
    again = pool.take(other)
    assert [next(again), next(again)] == [first, second]
    assert [step.losses for step in other] == [1, 0]


def test_a_free_replica_waits_for_what_another_may_lose() -> None:
    pool, lost, other = StepPool(steps(1), replicas=2), deque(), deque()
    next(pool.take(lost))
    taken: list[object] = []

    def work() -> None:
        for step in pool.take(other):
            taken.append(step)
            pool.finish(other, answers())

    thread = threading.Thread(target=work)
    thread.start()
    pool.give_back(lost, "it ended", lambda _: None)
    thread.join(10)
    assert not thread.is_alive()
    assert len(taken) == 1
    assert pool.finished


def test_a_step_that_takes_its_third_worker_ends_the_run_by_name() -> None:
    pool, held, said = StepPool(steps(3), replicas=1), deque(), []
    for _ in range(MOST_LOSSES - 1):
        next(pool.take(held))
        pool.give_back(held, "it ended", said.append)
    next(pool.take(held))
    with pytest.raises(BackendError) as caught:
        pool.give_back(held, "it ended", said.append)
    (fault,) = caught.value.faults
    assert fault.code == "STEP_FATAL"
    assert "step 1 (task/dev, item 0-0 and 1 other prompts)" in fault.message
    assert len(said) == MOST_LOSSES - 1


def test_the_end_of_a_run_wakes_who_waits() -> None:
    pool, held = StepPool(steps(1), replicas=2), deque()
    next(pool.take(held))
    thread = threading.Thread(target=lambda: list(pool.take(deque())))
    thread.start()
    pool.end()
    thread.join(10)
    assert not thread.is_alive()
