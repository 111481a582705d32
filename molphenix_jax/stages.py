"""A stage: one function over numbered items, one after the other or spread out by Beam.

Items are parts of files, not wells: what a stage reads and writes are files in a work folder that
all workers see (a local disk, or a shared file system), and only numbers travel through Beam. A
shuffle of wells would keep them in memory with the DirectRunner, and send every embedding over the
network several times elsewhere.

Beam is an extra of the installation, and nothing imports it but a stage with pipeline options.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from molphenix_jax import extras


def pipeline_options(options: Sequence[str]) -> Any:
    """Beam's options from their text."""
    return load_beam().options.pipeline_options.PipelineOptions(list(options))


def runner(options: Sequence[str]) -> str:
    """The runner that options name, the DirectRunner without."""
    standard = load_beam().options.pipeline_options.StandardOptions
    return pipeline_options(options).view_as(standard).runner or "DirectRunner"


def run_stage(
    function: Callable[[int], None], n_items: int, *, beam_options: Sequence[str] = ()
) -> None:
    """Calls `function(0)` to `function(n_items - 1)`, in any order, on any machine.

    Args:
        function: Picklable; what it makes are files.
        n_items: How often it is called.
        beam_options: Pipeline options of Beam; none mean this process, without Beam.

    Raises:
        MissingExtraError: Options are given, and Beam is not installed.
    """
    if not beam_options:
        for i in range(n_items):
            function(i)
        return
    beam = load_beam()
    options = pipeline_options(beam_options)
    with beam.Pipeline(runner=runner(beam_options), options=options) as pipeline:
        numbers = pipeline | beam.Create(range(n_items)) | beam.Reshuffle()
        _ = numbers | beam.Map(function)


def load_beam() -> Any:
    """Apache Beam, imported without its warning that BigQuery's client is not installed.

    Raises:
        MissingExtraError: It is not installed.
    """
    logging.disable(logging.WARNING)
    try:
        return extras.load("apache_beam", extra="beam", what="a pipeline over many machines")
    finally:
        logging.disable(logging.NOTSET)
