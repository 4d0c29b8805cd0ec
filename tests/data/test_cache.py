"""What a cache keeps."""

from vdu.data.cache import Cache


def test_the_value_used_longest_ago_goes_first():
    cache = Cache(limit=10)
    for key in "abc":
        cache.put(key, key.upper(), 3)
    assert cache.get("a") == "A"  # now "b" is the oldest
    cache.put("d", "D", 3)
    assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert cache.used == 9


def test_a_value_put_again_counts_once_and_one_that_is_too_large_is_not_kept():
    cache = Cache(limit=10)
    for size in (4, 6):
        cache.put("a", size, size)
    cache.put("large", "L", 11)
    assert (cache.get("a"), cache.get("large"), cache.used) == (6, None, 6)
    cache.put("a", "grown", 11)
    assert (cache.get("a"), cache.used) == (None, 0)
    cache.put("b", "B", 10)
    cache.clear()
    assert (cache.get("b"), cache.used) == (None, 0)
