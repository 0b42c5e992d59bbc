"""The proof of what is delivered: how much of the original is left, and which finds in a finished file are new."""
