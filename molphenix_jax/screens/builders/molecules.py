"""The TFDS data set `molecules`: one record for each molecule of a screen, with its features.

    ds = tfds.data_source("molecules", split="screen", data_dir=FOLDER)
    np.unpackbits(ds[0]["block_morgan"], count=2048)

Fingerprints are bit-packed (`numpy.packbits`, last byte padded); descriptors and embeddings are
float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from molphenix_jax.screens.builders.perturbations import Record, Shard


class Molecules(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes the shards that it is given, in their order: record i is molecule i.

    `widths` are the columns of each feature block, `bits` the names of those that are fingerprints.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        description: str,
        widths: Mapping[str, int],
        bits: frozenset[str],
        shards: Sequence[Shard],
        **kwargs: Any,
    ):
        self._description, self._widths, self._bits = description, dict(widths), bits
        self._shards = shards
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        f = tfds.features
        features: dict[str, Any] = {"smiles": f.Text(), "inchikey": f.Text(), "scaffold": f.Text()}
        for name, width in self._widths.items():
            packed = name in self._bits
            features[f"block_{name}"] = f.Tensor(
                shape=(-(-width // 8) if packed else width,),
                dtype=np.uint8 if packed else np.float32,
                encoding=f.Encoding.BYTES,
                doc=f"{width} bits, packed" if packed else None,
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._description,
            features=f.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Sequence[Shard]]:
        del dl_manager  # nothing is downloaded
        return {"screen": self._shards}


def molecule_records(
    molecules: pd.DataFrame, blocks: Mapping[str, np.ndarray], *, first: int
) -> Iterator[Record]:
    """Records of the data set `molecules`, numbered from `first`; bits are packed here."""
    packed = {
        f"block_{name}": np.packbits(block, axis=1) if block.dtype == np.uint8 else block
        for name, block in blocks.items()
    }
    columns = {name: molecules[name].tolist() for name in ("smiles", "inchikey", "scaffold")}
    for i in range(len(molecules)):
        text = {name: values[i] for name, values in columns.items()}
        yield first + i, {**text, **{name: block[i] for name, block in packed.items()}}
