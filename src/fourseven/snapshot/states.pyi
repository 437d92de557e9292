from collections.abc import Hashable

class States:
    def release(self, wanted: set[tuple[Hashable, int]]) -> int: ...
