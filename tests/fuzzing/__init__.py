"""What is fed to the readers of this project to see whether anything brings them down.

A kind of input is a module with

    DOCUMENTED                      the exceptions that a reader may raise, with one sentence
    seeds()                         {name: content} of valid files
    make(random, valid)             (content, suffix) of one input, from the `valid` files
    attempt(path, folder, random)   give the input in the file `path` to the readers; results go into `folder`
    command(path, folder)           the words of a command line that takes it
    whole(folder, source)           raises unless the files in `folder` are whole, `source` holding those of seeds(); a
                                    kind without it leaves no file if it fails

`random` is a `random.Random` that the seed and the number of the input decide.
"""

import importlib

# Each a module here; another is a row more.
KINDS = ("pictures", "videos", "datasets", "weights", "commands", "journals")


def kind_of(name):
    """The module of a kind of input."""
    return importlib.import_module(f"fuzzing.{name}")
