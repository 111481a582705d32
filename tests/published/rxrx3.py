"""RxRx3-core's and EFAAR's files in their true layout, small, with targets that can be found."""

import pathlib

import numpy as np
import pandas as pd

DOSES = (0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)
SMILES = ("CCO |r,c:1|", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN(CC)CC")
N_GENES, WIDTH = 40, 12
METADATA = "metadata_rxrx3_core.csv"
EMBEDDINGS = "OpenPhenom_rxrx3_core_embeddings.parquet"
TRUTH = "compound_gene_interactions.csv"


def genes() -> list[str]:
    return [f"GENE{i}" for i in range(N_GENES)]


def write(folder: pathlib.Path) -> pd.DataFrame:
    """Metadata, embeddings, interactions and known pairs; returns the interactions.

    A compound takes on the profile of its first target, the more the higher its dose.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    effect = rng.normal(size=(N_GENES, WIDTH)) * 3
    effect[1::2] = effect[::2] + rng.normal(size=(N_GENES // 2, WIDTH)) * 0.5
    rows, x = [], []

    def add(experiment, treatment, kind, value, *, dose=np.nan, smiles=None):
        number = sum(row["experiment_name"] == experiment for row in rows)
        rows.append(
            {
                "well_id": f"{experiment}_1_A{number:03d}",
                "experiment_name": experiment,
                "plate": 1,
                "address": f"A{number:03d}",
                "gene": treatment.split("_")[0] if kind == "CRISPR" else None,
                "treatment": treatment,
                "SMILES": smiles,
                "concentration": dose,
                "perturbation_type": kind,
                "cell_type": "HUVEC",
            }
        )
        shift = 5.0 * (experiment == "gene-002")
        x.append(10 + shift + value + rng.normal(size=WIDTH) * 0.5)

    for experiment in ("gene-001", "gene-002"):
        for _ in range(30):
            add(experiment, "EMPTY_control", "CRISPR", 0.0)
        for guide in (1, 2):
            for i, gene in enumerate(genes()):
                add(experiment, f"{gene}_guide_{guide}", "CRISPR", effect[i])
    for _ in range(30):
        add("compound-001", "EMPTY_control", "COMPOUND", 0.0)
    add("compound-001", "CRISPR_control", "COMPOUND", 9.0)
    for c, smiles in enumerate(SMILES):
        for dose in (*DOSES, 0.7):  # the last is none of the grid
            strength = min(1.0, dose / 2.5)
            add(
                *("compound-001", f"drug{c}", "COMPOUND", strength * effect[5 * c]),
                **{"dose": dose, "smiles": smiles},
            )
    metadata = pd.DataFrame(rows)
    metadata.to_csv(folder / METADATA, index=False)
    embeddings = pd.DataFrame(np.array(x), columns=[f"feature_{j}" for j in range(WIDTH)])
    embeddings.insert(0, "well_id", metadata["well_id"].str.replace("_1_", "_Plate1_"))
    twice = embeddings.iloc[[200]]  # one well has two rows
    table = pd.concat([embeddings.drop(index=3).iloc[::-1], twice])
    table.to_parquet(folder / EMBEDDINGS, index=False)
    truth = [(f"drug{c}", f"GENE{5 * c}", 10.0) for c in range(4)]
    truth += [(f"drug{c}", f"GENE{5 * c + 1}", 900.0) for c in range(2)]
    truth += [("drug0", "GENE7", 5_000.0), ("drug0", "GENE8", 90_000.0), ("drug0", "GENE5", 5e4)]
    truth += [("drug1", "GENE5", 800.0)]  # there twice, the lower counts
    truth += [(f"other{i}", f"GENE{i}", 10.0) for i in range(N_GENES - 4)]
    table = pd.DataFrame(truth, columns=["treatment", "gene_symbol", "nM_value"])
    table.to_csv(folder / TRUTH, index=False)
    (folder / "benchmark_annotations").mkdir()
    pairs = pd.DataFrame({"entity1": genes()[::2], "entity2": genes()[1::2]})
    pairs = pd.concat(
        [pairs, pairs.iloc[:3].rename(columns={"entity1": "entity2", "entity2": "entity1"})]
    )
    pairs.to_csv(folder / "benchmark_annotations" / "CORUM.txt", index=False)
    pairs.iloc[:5].to_csv(folder / "benchmark_annotations" / "mine.txt", index=False)
    return table
