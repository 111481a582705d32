"""The TFDS data set `perturbations`: one record for each (molecule, concentration, condition).

    ds = tfds.data_source("perturbations", split="screen", data_dir=FOLDER)
    ds[0]["replicates"]  # [r, d] float32

A record is complete without the rest of the screen: it holds SMILES and InChIKey beside the number
of its molecule. The replicates lie in it as bytes, so that reading one costs no parsing of floats.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from molphenix_jax.wells.conditions.values import Conditions

Record = tuple[int, Mapping[str, Any]]
Shard = Callable[[], Iterator[Record]]


@dataclasses.dataclass(frozen=True)
class PerturbationSpec:
    """What the records of one screen look like.

    Attributes:
        description: What the screen was prepared from, in words.
        width: Features of a profile.
        groups: Names of the correction groups, which records hold as numbers.
        conditions: Of the screen; records hold the number of one.
        has_truth: Whether records hold the true profile too (simulated screens).
    """

    description: str
    width: int
    groups: tuple[str, ...]
    conditions: Conditions
    has_truth: bool


class Perturbations(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes the shards that it is given, in their order: record i is perturbation i."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, spec: PerturbationSpec, shards: Sequence[Shard], **kwargs: Any):
        self._spec, self._shards = spec, shards
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        f, spec = tfds.features, self._spec
        profile = {"dtype": np.float32, "encoding": f.Encoding.BYTES}
        features = {
            "replicates": f.Tensor(shape=(None, spec.width), doc="corrected wells", **profile),
            "replicate_group": f.Sequence(f.ClassLabel(names=list(spec.groups))),
            "molecule": f.Scalar(np.int64, doc="record of the data set `molecules`"),
            "smiles": f.Text(),
            "inchikey": f.Text(),
            "concentration_um": f.Scalar(np.float32),
            "condition": f.Scalar(np.int32, doc=f"one of {list(spec.conditions.labels)}"),
            "p_value": f.Scalar(np.float32, doc="replicate consistency; NaN where undefined"),
        }
        if spec.has_truth:
            features["truth"] = f.Tensor(
                shape=(spec.width,), doc="profile without noise", **profile
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=spec.description,
            features=f.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Sequence[Shard]]:
        del dl_manager  # nothing is downloaded
        return {"screen": self._shards}
