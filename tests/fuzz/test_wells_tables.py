"""Seeded mutations of wells tables: each is read as what it says, or refused in one sentence.

Three of five are valid tables written in another way, and an oracle knows what has to be stored.
"""

import gzip

import numpy as np
import pandas as pd

from molphenix_jax.wells.table import read_wells
from tests.fuzz.attempts import damaged, seeds

FEATURES = [f"Cells_f{j}" for j in range(4)]
KEY = ["plate", "well", "smiles", "concentration_um", "is_control"]


def truth(rng: np.random.Generator) -> pd.DataFrame:
    """Two plates of 12 treated wells and 4 controls, none of which is far out by chance."""
    molecules = rng.permutation(["CCO", "C#N", "c1ccccc1", "CC(=O)O", "C[N+](C)C", "CC/C=C/C"])
    control = np.tile(np.arange(16) >= 12, 2)
    frame = pd.DataFrame(
        {
            "plate": np.repeat(["P1", "P2"], 16),
            "well": [f"{'AB'[i // 8]}{i % 8 + 1:02d}" for i in range(16)] * 2,
            "smiles": np.where(control, "", np.resize(molecules, 32)),
            "concentration_um": np.where(control, 0.0, np.resize([0.5, 0.5, 10.0, 10.0], 32)),
            "is_control": control,
        }
    )
    return frame.assign(**{name: np.round(rng.uniform(-1, 1, 32), 4) for name in FEATURES})


def rewritten(frame: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, dict]:
    """The same wells in other words, and how the file is written."""
    names, write = {}, {"sep": ",", "encoding": "utf-8", "above": "", "gzip": False, "decimal": "."}
    for change in rng.permutation(11)[: rng.integers(1, 5)]:
        if change == 0:
            frame = frame.assign(concentration_um=frame["concentration_um"] * 1000)
            names["concentration_um"] = "conc_nM"
        elif change == 1:
            frame = frame[rng.permutation(frame.columns)]
        elif change == 2:
            frame = frame.assign(well=frame["well"].str.replace("0", ""))
        elif change == 3:
            frame = frame.sample(frac=1, random_state=int(rng.integers(1 << 30)))
        elif change == 4:
            write["sep"] = str(rng.choice(["\t", ";", "|"]))
        elif change == 5:
            write["encoding"] = str(rng.choice(["utf-16", "utf-8-sig", "utf-16-le"]))
        elif change == 6:
            write["above"] = "# exported, by hand\n"
        elif change == 7:
            write["gzip"] = True
        elif change == 8:
            names |= {name: f"Metadata_{name}" for name in ("plate", "well", "smiles")}
        elif change == 9:
            frame = frame.reset_index(drop=True).reset_index(names="")
        elif change == 10:
            frame = frame.assign(is_control=np.where(frame["is_control"], "yes", "no"))
    if write["sep"] == ";":
        write["decimal"] = ","
    return frame.rename(columns=names), write


def as_bytes(frame: pd.DataFrame, write: dict) -> bytes:
    text = write["above"] + frame.to_csv(index=False, sep=write["sep"], decimal=write["decimal"])
    content = text.encode(write["encoding"])
    return gzip.compress(content) if write["gzip"] else content


@seeds(100)
def test_a_table_is_read_as_what_it_says_or_refused(tmp_path, seed, attempt):
    rng = np.random.default_rng(seed)
    expected = truth(rng)
    frame, write = rewritten(expected, rng)
    path = tmp_path / "wells.csv"
    content = as_bytes(frame, write)
    if seed % 5 < 2:
        path.write_bytes(damaged(content, rng))
        attempt("damaged", lambda: read_wells(path, check_smiles=None))
        return
    path.write_bytes(content)
    wells = attempt("valid", lambda: read_wells(path, check_smiles=None))
    assert not len(wells.rejected), (write, list(frame))
    assert sorted(wells.feature_names) == FEATURES, (write, list(frame))
    values = pd.DataFrame(np.asarray(wells.embedding), columns=list(wells.feature_names))
    found = pd.concat([wells.table[KEY].reset_index(drop=True), values], axis=1)
    place = found["well"].str.extract(r"([A-Z])0*(\d+)")
    found["well"] = place[0] + place[1].str.zfill(2)
    sort = lambda table: table.sort_values(["plate", "well"], ignore_index=True)  # noqa: E731
    pd.testing.assert_frame_equal(
        sort(found)[KEY + FEATURES], sort(expected), check_dtype=False, rtol=1e-5
    )
