"""The hits of docs/results.md, "The next plate": python comas_hits.py CLUSTERS.parquet hits.csv.

A hit of a mechanism is a similarity of at least 80% to its cluster. Which molecules define a
cluster the file does not say, so more than these are left out of it: whatever it calls an agent of
the mechanism by name, at any dose, and what has a similarity of 95% or more at some dose.
"""

import re
import sys

import pandas as pd

# Mechanism: what `known_act` says of its agents.
AGENTS = {
    "akt_pi3k_mtor": r"mtor|pi3k|\bakt",
    "aurora": r"aurora",
    "bet": r"\bbet\b|brd[234]|bromodomain",
    "dna_synth": r"topoisomerase|antimetabolite|pyrimidine analog|dna synth|ribonucleotide|"
    r"dihydrofolate|antifolate|folic acid antagonist|iron chelat|metal chelat|anthracycline|"
    r"nucleoside|antineoplastic",
    "hdac": r"hdac|histone deacetylase",
    "hsp90": r"hsp90",
    "lch": r"lysosom|cholesterol",
    "mitostress": r"mitochondri|electron transport|complex i",
    "na_k-atpase": r"atpase|cardiac glyc",
    "protein_synth": r"protein synthesis|translation inhib",
    "pyrimidine_synth": r"dhodh|dihydroorotate",
    "tubulin": r"tubulin|microtubul|mitosis|antimitotic|centrosom",
    "uncoupler": r"uncoupl",
}

wells = pd.read_parquet(sys.argv[1])
hits = wells[["inchikey", "smiles", "conc_uM"]].copy()
for name, words in AGENTS.items():
    similarity = wells[f"cluster_{name}"]
    agent = wells["known_act"].fillna("").str.contains(words, flags=re.IGNORECASE)
    defines = agent | (similarity.groupby(wells["inchikey"]).transform("max") >= 95)
    hits[name] = similarity.where(~defines)
hits.to_csv(sys.argv[2], index=False)
