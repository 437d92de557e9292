"""The file a user writes: loaded with positions, checked all at once."""
