"""What all fuzz tests share: how long they search, texts made of telling parts, and a bound of time for each example."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_HEALTH = (HealthCheck.too_slow, HealthCheck.data_too_large)
settings.register_profile("bounded", deadline=None, max_examples=25, suppress_health_check=_HEALTH)
_LONG = int(os.environ.get("MANAGEDCHART_FUZZ_EXAMPLES", "20000"))
settings.register_profile("long", deadline=None, max_examples=_LONG, suppress_health_check=_HEALTH)

fuzzed = settings.get_profile(os.environ.get("MANAGEDCHART_FUZZ", "bounded"))
"""The decorator of every fuzz test: a few examples in CI, many with `make fuzz`."""

# CPU time, which does not depend on what else the machine does. Inputs that cost more than their length are found by length.
_SECONDS = 1.0


@contextmanager
def bounded_time() -> Iterator[None]:
    """Fail if what is done here takes much longer than its input is long."""
    begin = time.thread_time()
    yield
    spent = time.thread_time() - begin
    assert spent < _SECONDS, f"it took {spent:.1f} s"


def texts(parts: list[str], *, longest: int = 20_000) -> st.SearchStrategy[str]:
    """Return texts that are made of these parts and of any characters, also of one part repeated many times."""
    piece = st.one_of(st.sampled_from(parts), st.text(max_size=12))
    short = st.lists(piece, max_size=40).map("".join)
    repeated = st.tuples(piece, st.integers(1, longest)).map(lambda each: (each[0] * each[1])[:longest])
    return st.one_of(short, st.tuples(short, repeated, short).map("".join))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
"""Any JSON, and numbers that JSON does not have."""
