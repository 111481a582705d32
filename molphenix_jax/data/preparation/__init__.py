"""From files of any size to a screen: tables, rows on disk, stages that Beam spreads out."""
