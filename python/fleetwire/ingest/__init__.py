"""A batch comes in: who sends it, what it holds, and the receipt it gets."""
