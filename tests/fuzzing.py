"""Mutated files: each is read, or refused in one line, soon and in little memory."""

import contextlib
import copy
import dataclasses
import json
import pathlib
import random
import resource
import signal
import warnings
from collections.abc import Callable, Mapping

from spleen_tf.core.files import InputError

# Of computing, and by the clock, since the machine may be busy.
LONGEST_S, LONGEST_WAIT_S = 20, 200
# Beyond what the process has before.
MOST_BYTES = 1 << 30

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 65535, 1 << 20, (1 << 31) - 1, 1 << 31)
_VALUES = (
    *(None, True, -1, 0, 0.5, 1e308, -1e308, 10**30, "", " ", "nan", "a\0b\x1b[2J\r\n", "é" * 300),
    *("../../../etc/passwd", "/dev/zero", "~", [], {}, [[]], {"": {}}, [1, "2", None]),
)


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader, and files that it reads.

    Attributes:
        name: of the target.
        seeds: sound content of the file that is mutated.
        read: reads the file; other files that it needs lie beside it.
        file: its name below a folder.
        mutate: from a sound content and a source of chance to a mutated one.
        beside: the other files, by their paths from its folder.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[pathlib.Path], object]
    file: str
    mutate: Callable[[bytes, random.Random], bytes]
    beside: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    def prepare(self, folder):
        """Writes the other files into a folder; returns the place of the one that is mutated."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, content in self.beside.items():
            other = path.parent / name
            other.parent.mkdir(exist_ok=True)
            other.write_bytes(content)
        return path


def verdict(target, path, content):
    """None where a content is read or refused as it should be, else what happened."""
    path.write_bytes(content)
    try:
        with limits(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(path)
    except InputError as refusal:
        if "\n" in str(refusal).strip() or not str(refusal).strip():
            return f"a message of several lines, or none: {refusal!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


def faults(target, folder, count, seed=0):
    """What went wrong with mutants of a target's seeds, with the content that did it."""
    path = target.prepare(folder)
    found = []
    for number in range(count):
        chance = random.Random(f"{target.name} {seed} {number}")
        content = target.mutate(chance.choice(target.seeds), chance)
        if what := verdict(target, path, content):
            found.append((number, what, content[:4096]))
    return found


@contextlib.contextmanager
def limits():
    """A bound on time and on the memory that is asked for, whether it is used or not."""

    def stop(signum, frame):
        raise TimeoutError(f"more than {LONGEST_S} s of computing, or {LONGEST_WAIT_S} s in all")

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    signal.alarm(LONGEST_WAIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def mutated_bytes(content, chance):
    """One to four changes of some bytes."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        chance.choice(_CHANGES)(content, chance)
    return bytes(content)


def mutated_json(content, chance):
    """A value that is another one, a key that is gone; sometimes other bytes."""
    parsed = json.loads(content)
    for _ in range(chance.randint(1, 3)):
        parsed = _mutated_value(copy.deepcopy(parsed), chance)
    if chance.random() < 0.05:
        depth = chance.choice((100, 10_000, 1_000_000))
        opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
        return (opening * depth + closing * chance.choice((0, depth))).encode()
    changed = json.dumps(parsed).encode()
    return mutated_bytes(changed, chance) if chance.random() < 0.3 else changed


def _mutated_value(value, chance):
    inner = (
        list(value)
        if isinstance(value, dict)
        else list(range(len(value or ())))
        if isinstance(value, list)
        else []
    )
    if not inner or chance.random() < 0.15:
        return chance.choice(_VALUES)
    key = chance.choice(inner)
    what = chance.random()
    if what < 0.1:
        del value[key]
    elif what < 0.2 and isinstance(value, dict):
        value[str(chance.choice(_VALUES))] = value.pop(key)
    elif what < 0.25 and isinstance(value, list):
        value += value
    else:
        value[key] = _mutated_value(value[key], chance)
    return value


def _place(content, chance, room=1):
    return chance.randrange(max(1, len(content) - room + 1))


def _flip(content, chance):
    if content:
        content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _number(content, chance):
    size, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    number = chance.choice((*_NUMBERS, chance.getrandbits(8 * size)))
    number = chance.choice((number, -number)) & ((1 << (8 * size)) - 1)
    at = _place(content, chance, size)
    content[at : at + size] = number.to_bytes(size, order)


def _remove(content, chance):
    at = _place(content, chance)
    del content[at : at + chance.choice((1, 2, 4, 16, 200))]


def _repeat(content, chance):
    at = _place(content, chance)
    piece = content[at : at + chance.choice((1, 4, 16, 100))]
    content[at:at] = piece * chance.choice((1, 2, 50))


def _insert(content, chance):
    content[_place(content, chance) : 0] = chance.randbytes(chance.choice((1, 3, 16)))


def _cut(content, chance):
    del content[_place(content, chance) :]


def _copy(content, chance):
    source, target = _place(content, chance), _place(content, chance)
    size = chance.choice((1, 4, 8, 40))
    content[target : target + size] = content[source : source + size]


_CHANGES = (_flip, _flip, _number, _number, _number, _remove, _repeat, _insert, _cut, _copy)
