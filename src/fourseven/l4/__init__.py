"""Layer 4: planes that forward by addresses alone."""
