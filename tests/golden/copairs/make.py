"""Replicate mAP by copairs itself, where copairs 0.5.5 is installed and nothing of this package.

python -m venv /tmp/copairs && /tmp/copairs/bin/pip install copairs==0.5.5
/tmp/copairs/bin/python tests/golden/copairs/make.py
"""

import json
import pathlib

import numpy as np
import pandas as pd
from copairs.map import average_precision, mean_average_precision

if __name__ == "__main__":
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(6), [2, 3, 4, 2, 3, 4])
    effect = rng.normal(size=(6, 5)) * np.array([3, 2, 1, 0.5, 0, 0])[:, None]
    x = np.round(effect[code] + rng.normal(size=(len(code), 5)), 3)
    controls = np.round(rng.normal(size=(25, 5)), 3)
    told = pd.DataFrame(
        {
            "pert": [f"p{c}" for c in code] + ["DMSO"] * 25,
            "control_row": [-1] * len(code) + list(range(100, 125)),
        }
    )
    both = ["pert", "control_row"]
    ap = average_precision(
        told, np.concatenate([x, controls]), both, [], [], both, progress_bar=False
    )
    found = mean_average_precision(
        ap[ap["pert"] != "DMSO"], ["pert"], 5_000, 0.05, 0, progress_bar=False
    ).sort_values("pert")
    golden = {
        "x": x.tolist(),
        "code": code.tolist(),
        "controls": controls.tolist(),
        "map": found["mean_average_precision"].tolist(),
        "p_value": found["p_value"].tolist(),
        "corrected_p_value": found["corrected_p_value"].tolist(),
    }
    path = pathlib.Path(__file__).with_name("replicates.json")
    path.write_text(json.dumps(golden) + "\n")
