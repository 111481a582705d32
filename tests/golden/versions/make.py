"""Makes folders as one version of the program leaves them; later versions have to read them.

    PYTHONPATH=. python tests/golden/versions/make.py tests/golden/versions/0.1.0-py311.tar.gz

makes, with the program in the working tree:

    wells.csv    a wells table: 60 molecules at two doses, two plates
    screen/      the prepared screen of it
    run/         a finished run on screen/, checkpoints after 2 and 4 updates
    folds/       a finished run of two folds on screen/
    from_wells/  a finished run on wells.csv, which prepares it by itself
    encoder/     a finished pretraining of a small molecule encoder on labels.csv

All paths in them are relative to the folder. They are never made again: a folder says what was
true of its version. A new version adds a folder of its own.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import pandas as pd

from molphenix_jax.simulated.screen import TINY, simulate_wells

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]

ALIGN = {
    "data.cache": "cache",
    "data.psi": 1.0,
    "data.n_null": 200,
    "data.unseen_images_fraction": 0.5,
    "molecules.blocks": "maccs",
    "model.phenomics.width": 8,
    "model.phenomics.components": 8,
    "model.molecules.width": 8,
    "model.molecules.components": 8,
    "model.dim": 4,
    "train.steps": 4,
    "train.warmup_steps": 1,
    "train.members": 2,
    "train.devices": 1,
    "train.batch_size": 32,
    "train.log_every": 1,
    "train.validate_every": 2,
    "train.checkpoint_every": 2,
    "train.keep_checkpoints": 1,
    "eval.baselines": "knn",
    "eval.n_bootstrap": 20,
}
ENCODER = {
    "data.cache": "cache",
    "model.encoder.depth": 1,
    "model.encoder.out_width": 8,
    "train.steps": 2,
    "train.warmup_steps": 1,
    "train.validate_every": 2,
    "train.checkpoint_every": 2,
    "train.keep_checkpoints": 1,
    "train.devices": 1,
}


def main(archive: pathlib.Path) -> None:
    """Makes all of them and packs them: most bytes of small ArrayRecord files are padding."""
    with tempfile.TemporaryDirectory() as temporary:
        _make(pathlib.Path(temporary))
        with tarfile.open(archive, "x:gz") as packed:
            for path in sorted(pathlib.Path(temporary).iterdir()):
                packed.add(path, path.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _make(folder: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        simulate_wells(dataclasses.replace(TINY, n_features=12), pathlib.Path(temporary))
        wells = pd.read_parquet(pathlib.Path(temporary) / "wells.parquet")
    rows = np.stack(wells.pop("embedding")).round(3)
    names = [f"Cells_Feature{i}" for i in range(rows.shape[1])]
    table = pd.concat([wells.reset_index(drop=True), pd.DataFrame(rows, columns=names)], axis=1)
    table.to_csv(folder / "wells.csv", index=False)
    _python(folder, "molphenix_jax.cli", "prepare", "wells.csv", "--out=screen", "--n_null=200")
    _train(folder, "run", "s2l.py:wells=screen", {**ALIGN, "train.keep_checkpoints": 2})
    _train(folder, "folds", "s2l.py:wells=screen", {**ALIGN, "data.folds": 2})
    _train(folder, "from_wells", "s2l.py:wells=wells.csv", ALIGN)
    smiles = table["smiles"].dropna().drop_duplicates()
    labels = pd.DataFrame({"smiles": smiles, "length": smiles.str.len().astype(float)})
    labels.to_csv(folder / "labels.csv", index=False)
    _train(folder, "encoder", "molgps.py:labels=labels.csv,width=8", ENCODER)
    shutil.rmtree(folder / "cache")


def _train(folder: pathlib.Path, name: str, config: str, fields: dict) -> None:
    given = [f"--config.{field}={value}" for field, value in fields.items()]
    config = f"--config={REPOSITORY / 'configs'}/{config}"
    _python(folder, "molphenix_jax.main", config, f"--workdir={name}", *given)
    shutil.rmtree(folder / name / "report", ignore_errors=True)


def _python(folder: pathlib.Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
