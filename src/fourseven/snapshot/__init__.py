"""What the two halves share: the immutable snapshot and the mutable slots, and how they meet."""
