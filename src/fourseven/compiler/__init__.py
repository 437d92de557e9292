"""From the model to a plan: which layer, which plane, which rows."""
