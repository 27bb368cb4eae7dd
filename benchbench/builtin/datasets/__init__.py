"""Built-in datasets.

`load` raises what `benchbench.contract.Dataset` says; the classes add only what is special. `locate` checks that the files are
there without reading them.
"""
