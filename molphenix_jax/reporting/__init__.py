"""Tables and pictures of a finished run."""

from molphenix_jax.reporting.encoders.properties import property_text, write_property_report
from molphenix_jax.reporting.run.molecules import best_and_worst, molecules_section
from molphenix_jax.reporting.run.report import write_report
from molphenix_jax.reporting.table import full_table, headline_table, to_text

__all__ = [
    "best_and_worst",
    "full_table",
    "headline_table",
    "molecules_section",
    "property_text",
    "to_text",
    "write_property_report",
    "write_report",
]
