"""Work side by side: on items in other processes, or tasks that each keep to cores of their own."""

from __future__ import annotations

import collections
import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import tqdm

from spleen_tf.core import children, cores
from spleen_tf.core.process import CommandFailed

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_processes(
    work: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> Iterator[_Result]:
    """The results of work on each item, in order.

    One worker is this process. Several are processes of their own, one item ahead of the caller
    each, so that few results wait. They are spawned, because a fork of a process that runs
    TensorFlow's threads may hang.

    Args:
        work: a function that can be pickled; so can each item and result.
        items: what to work on.
        workers: 1 or more.

    Raises:
        CommandFailed: if a worker was killed.
        Exception: the first that work raised.
    """
    count = min(workers, len(items))
    if count < 2:
        yield from map(work, items)
        return
    earlier = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(count, context, initializer=children.as_worker) as pool:
        waiting = collections.deque(items)
        ahead: collections.deque[futures.Future[_Result]] = collections.deque()
        try:
            while waiting or ahead:
                while waiting and len(ahead) <= count:
                    ahead.append(pool.submit(work, waiting.popleft()))
                yield ahead.popleft().result()
        except BrokenProcessPool:
            raise CommandFailed(
                "expected every worker process to finish, found one killed, most likely because "
                "memory ran out; use fewer --workers."
            ) from None
        except (KeyboardInterrupt, GeneratorExit):  # Nobody waits for what they are working on.
            for worker in set(multiprocessing.active_children()) - earlier:
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def side_by_side(
    tasks: Sequence[Callable[[], None]],
    jobs: int,
    name: str,
    unit: str,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Runs tasks, so many at a time, under a progress bar; after a failure none is begun.

    Each worker keeps to its share of the cores, and so does every process that it starts: two
    trainings that both spread over all cores wait for one another more than they work. Tasks are
    threads of this process; work that is to run on another core belongs into a process that a task
    starts.

    Args:
        tasks: begun in this order.
        jobs: workers, 1 or more.
        name, unit: for the progress bar: what is done, and to how many of what.
        stop: ends the tasks that are running; called where a signal stops this process.

    Raises:
        Exception: the first that a task raised, once those that were running have ended.
    """
    shares: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    for share in _shares_of_cores(jobs):
        shares.put(share)
    with futures.ThreadPoolExecutor(jobs, initializer=lambda: cores.keep_to(shares.get())) as pool:
        running = [pool.submit(task) for task in tasks]
        ended = futures.as_completed(running)
        try:
            for task in tqdm.tqdm(ended, desc=name, unit=unit, total=len(tasks), disable=None):
                task.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                stop()
            raise


def _shares_of_cores(jobs: int) -> list[list[int]]:
    """The cores of each worker; where there are fewer cores than workers, they take turns."""
    numbers = cores.numbers()
    if not numbers:
        return [[]] * jobs
    return [numbers[job::jobs] or [numbers[job % len(numbers)]] for job in range(jobs)]
