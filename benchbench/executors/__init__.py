"""Carries out the work of a run in other processes, on this machine or elsewhere.

`carrying` is the host's side, `working` the worker's. They communicate only through the shared folder: by the job file, the
workers' journals, and the claims and records that all processes share. `local` and `slurm` are executors, offered through the
same hook as those of plugins.
"""
