"""What is fed to the readers of this project to see whether anything brings them down.

A kind of input is a module with

    DOCUMENTED                      the exceptions that a reader may raise, with one sentence
    seeds()                         {name: content} of valid files
    make(random, valid)             (content, suffix) of one input, from the `valid` files
    attempt(path, folder, random)   give the input in the file `path` to the readers; results go into `folder`
    command(path, folder)           the words of a command line that takes it

`random` is a `random.Random` that the seed and the number of the input decide.
"""

import importlib

KINDS = ("pictures", "videos", "datasets", "weights", "commands")  # each a module here; another is a row more


def kind_of(name):
    """The module of a kind of input."""
    return importlib.import_module(f"fuzzing.{name}")
