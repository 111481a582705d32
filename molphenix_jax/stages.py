"""A stage: one function over numbered items, spread out by Beam.

Items are parts of files, not wells: what a stage reads and writes are files in a work folder that
all workers see (a local disk, or a shared file system), and only numbers travel through Beam. A
shuffle of wells would keep them in memory with the DirectRunner, and send every embedding over the
network several times elsewhere.
"""

import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

ONE_MACHINE = ("--runner=DirectRunner",)


def options_for(n_items: int, beam_options: Sequence[str]) -> tuple[str, ...]:
    """Beam's options for a stage: those given, else this machine; none where Beam has no use."""
    if beam_options:
        return tuple(beam_options)
    return ONE_MACHINE if n_items > 1 else ()


def pipeline_options(options: Sequence[str]) -> Any:
    """Beam's options from their text."""
    return _beam().options.pipeline_options.PipelineOptions(list(options))


def runner(options: Sequence[str]) -> str:
    """The runner that options name, the DirectRunner without."""
    standard = _beam().options.pipeline_options.StandardOptions
    return pipeline_options(options).view_as(standard).runner or "DirectRunner"


def run_stage(
    function: Callable[[int], None], n_items: int, *, beam_options: Sequence[str] = ()
) -> None:
    """Calls `function(0)` to `function(n_items - 1)`, in any order, on any machine.

    Args:
        function: Picklable; what it makes are files.
        n_items: How often it is called.
        beam_options: Pipeline options of Beam; none mean the DirectRunner, or no Beam for one item.
    """
    options = options_for(n_items, beam_options)
    if not options:
        for i in range(n_items):
            function(i)
        return
    beam = _beam()
    with beam.Pipeline(runner=runner(options), options=pipeline_options(options)) as pipeline:
        numbers = pipeline | beam.Create(range(n_items)) | beam.Reshuffle()
        _ = numbers | beam.Map(function)


def _beam() -> Any:
    """Apache Beam, imported without its warning that BigQuery's client is not installed."""
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module("apache_beam")
    finally:
        logging.disable(logging.NOTSET)
