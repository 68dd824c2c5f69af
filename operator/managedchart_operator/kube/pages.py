"""How many objects are asked for at once, so that a page stays small in bytes.

The API server bounds a page by its number of objects only. A ManagedChart, or the annotations of a Secret, may have a megabyte
each, and what is decoded takes up to forty times the memory of its text. So the pages follow the size of the one before, and a
page that turns out to be too large is given up while it arrives, and asked for again in parts.
"""

# For objects of some KiB; bounds the memory that a list takes in the API server and here.
PAGE = 500
# The first page of objects whose authors may make them large.
FIRST_PAGE = 32
# Few round trips with ordinary objects, and some 100 MB at the worst while a page of hostile ones is decoded. No other work is
# done meanwhile: 0.02 s for each MiB of Secrets with ten thousands of labels (measured).
PAGE_BYTES = 2 * 1024 * 1024
# The most that is read of a page of several objects: twice as much, so that one large object more changes nothing.
MOST_BYTES = 2 * PAGE_BYTES
_GROWTH = 4
# Pages of one length are as short as the largest object of all needs it, so a larger size saves many round trips.
_SAME_LENGTH_BYTES = 8 * PAGE_BYTES


class TooLargeError(Exception):
    """An answer has more bytes than asked for."""


def next_limit(limit: int, size: int, *, most: int = PAGE) -> int:
    """Return how many objects to ask for after a page of at most `limit` objects that had `size` bytes."""
    fitting = limit * PAGE_BYTES // max(size, 1)
    return max(min(fitting, limit * _GROWTH, most), 1)


def smaller(limit: int) -> int:
    """Return how many objects to ask for instead of `limit`, which was too many."""
    return max(limit // _GROWTH, 1)


def limit_for(largest: int) -> int:
    """Return the size of all pages where the largest object has so many bytes, and sizes cannot follow one another."""
    return max(min(_SAME_LENGTH_BYTES // max(largest, 1), PAGE), 1)
