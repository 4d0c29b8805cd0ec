"""A cache with a limit in bytes, for pictures that are asked for again soon: a preview and the run after it."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Values of known size; the ones used longest ago are dropped first. Threads may share it.

    Args:
        limit: bytes of all values at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """The value of a key; None if there is none."""
        with self.lock:
            if key not in self.values:
                return None
            self.values.move_to_end(key)
            return self.values[key][0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keep a value of some bytes, unless it alone exceeds the limit."""
        with self.lock:
            self.used -= self.values.pop(key, (None, 0))[1]
            if size > self.limit:
                return
            self.values[key] = value, size
            self.used += size
            while self.used > self.limit:
                self.used -= self.values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Drop all values."""
        with self.lock:
            self.values.clear()
            self.used = 0
