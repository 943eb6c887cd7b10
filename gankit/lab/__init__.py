"""The lab: what GANs claim and how they fail, as experiments that run in seconds, each with its numbers and a verdict.

evidence = gankit.lab.run("parallel-lines", steps=500)
evidence.verdict; evidence.numbers; evidence.picture.show(); evidence.write(Path("lab"))

To add an experiment, add a file to `experiments`: its docstring begins with the claim in one sentence and explains it,
SOURCE says who made the claim, SECONDS what the experiment takes on one core, and `experiment(*, ...) -> Evidence` runs
it. The file's name becomes the experiment's, its keyword arguments the flags.
"""

from gankit.lab.claims import Entry, entries, find, run

__all__ = ["Entry", "entries", "find", "run"]
