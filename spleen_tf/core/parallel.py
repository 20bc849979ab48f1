"""Tasks side by side, each on a share of the cores of its own."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import tqdm

from spleen_tf.core import cores
from spleen_tf.core.process import CommandFailed


@contextlib.contextmanager
def watching_workers() -> Iterator[None]:
    """Raises CommandFailed, which says what to do, where a process of a pool was killed."""
    try:
        yield
    except BrokenProcessPool:
        raise CommandFailed(
            "expected every worker process to finish, found one killed, most likely because memory "
            "ran out; use fewer --workers."
        ) from None


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
