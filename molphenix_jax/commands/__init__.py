"""The subcommands of `molphenix`, one module each: `add_parser(commands)` and what it runs.

Modules import what they run inside the function that runs it, so that `--help` is quick and a
command can set up JAX before JAX starts.
"""
