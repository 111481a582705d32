"""Two small screens that have a part of their molecules in common."""

import numpy as np
import pandas as pd
import pytest

from tests import tiny


@pytest.fixture(scope="module")
def wells(cache, tmp_path_factory) -> dict[str, str]:
    """Two thirds of the molecules of a screen each; of the second, other features and doses."""
    folder = tmp_path_factory.mktemp("several")
    paths = {}
    for name in ("first", "second"):
        table = tiny.wells(cache)
        known = table["smiles"].dropna().unique()
        gone = known[:20] if name == "first" else known[-20:]
        table = table[~table["smiles"].isin(gone)]
        x = np.stack(table.pop("embedding").to_list())[:, : 32 if name == "first" else 20]
        part = "Cells" if name == "first" else "Nuclei"
        names = [f"{part}_Texture_{i}" for i in range(x.shape[1])]
        table = table.join(pd.DataFrame(x, columns=names, index=table.index))
        if name == "second":
            table["concentration_um"] = table["concentration_um"].replace(1.0, 3.0)
            odd = table["well"].str[1:].astype(int) % 2 == 1
            table["time_h"] = np.where(odd, 24, 48)
        table.to_parquet(folder / f"{name}.parquet")
        paths[name] = str(folder / f"{name}.parquet")
    return paths
