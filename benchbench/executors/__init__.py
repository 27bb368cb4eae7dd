"""The executors room: the work of a run, carried out by other processes on this machine, on a cluster, or wherever.

`carrying` is the host's side and `working` the worker's; between them there is only the shared folder: the job file, the
journals that workers write, and the claims and records that all processes share anyway. `local` and `slurm` are executors,
offered through the same hook as those of plugins.
"""
