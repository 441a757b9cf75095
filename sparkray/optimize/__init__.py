"""The stages of an optimisation: screen, search, confirm, attribute. Each is an ordinary study in a dataset of its own.

So each is resumed as a sweep is, by skipping what is done, and whatever reads datasets reads these.
"""
