from collections.abc import Sequence

def offer(
    fds: Sequence[int], request: bytes, rate: float, seconds: float
) -> tuple[int, int, int, int, list[int]]: ...
