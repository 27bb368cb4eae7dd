"""Name and version of the distribution, and how its extras are installed."""

DISTRIBUTION = "benchbench-robustness"  # the package index has another project under the name benchbench
__version__ = "0.1.0"


def install_command(extra: str) -> str:
    """The command that installs what an extra of the distribution adds.

    >>> install_command("report")
    "pip install 'benchbench-robustness[report]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
