"""The control plane: it alone changes anything."""
