"""Names and layouts people bring, defaults for what is missing, files that cannot be used."""

import sys

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.wells.table import WellsError, read_wells

N = 24


def parse(smiles):
    return ["cannot be parsed" if "?" in s else None for s in smiles]


def table(n_features=4, **columns):
    """N wells with the given columns and random features f_a, f_b, …"""
    rng = np.random.default_rng(0)
    features = {f"f_{'abcdefghijkl'[j]}": rng.normal(size=N) for j in range(n_features)}
    return pd.DataFrame({**columns, **features}, index=range(N))


def read(frame, tmp_path, **options):
    path = tmp_path / "wells.parquet"
    frame.to_parquet(path, index=False)
    return read_wells(path, check_smiles=parse, **options)


def noted(wells, text):
    return any(text in note for note in wells.notes)


def test_smiles_and_features_are_enough(tmp_path):
    wells = read(table(smiles="CCO"), tmp_path)
    assert len(wells.table) == N
    assert (wells.table["concentration_um"] == 10.0).all()
    assert (wells.table["batch"] == "0").all()
    assert (wells.table["plate"] == "unknown").all()
    assert not wells.table["is_control"].any()
    assert wells.group_by == "batch"
    for text in (
        "no concentration column: treated wells are at 10.0 µM",
        "no batch column: batch is '0'",
        "no plate column",
        "no well column",
        "no control column",
        "no control wells",
        "4 features: all numeric columns",
    ):
        assert noted(wells, text), text


@pytest.mark.parametrize(
    ("theirs", "ours", "value"),
    [
        ("Metadata_Plate", "plate", "P1"),
        ("PLATE_ID", "plate", "P1"),
        ("Assay_Plate_Barcode", "plate", "P1"),
        ("Metadata_Well", "well", "A01"),
        ("WELL_POSITION", "well", "A01"),
        ("address", "well", "A01"),
        ("experiment_name", "batch", "compound-001"),
        ("run", "batch", "2"),
        ("Metadata_Batch", "batch", "b"),
        ("SMILES", "smiles", "CCN"),
        ("Metadata_SMILES", "smiles", "CCN"),
        ("canonical_smiles", "smiles", "CCN"),
    ],
)
def test_names_that_people_use(tmp_path, theirs, ours, value):
    frame = table(**{"smiles": "CCO", theirs: value})
    if ours == "smiles":
        frame = frame.drop(columns=[c for c in frame if c == "smiles" and c != theirs])
    wells = read(frame, tmp_path)
    assert (wells.table[ours] == value).all()
    assert len(wells.feature_names) == 4


@pytest.mark.parametrize(
    ("theirs", "value", "want"),
    [
        ("conc_uM", 2.5, 2.5),
        ("Metadata_mmoles_per_liter", 3.33, 3.33),  # LINCS: the values are µM
        ("concentration", 0.01, 0.01),
        ("Dose", 7, 7.0),
        ("dose_µM", 7, 7.0),
        ("conc_nM", 250.0, 0.25),
        ("conc_uM", np.float32(0.37), 0.37),  # not 0.37000000477
    ],
)
def test_concentrations_end_up_in_micromolar(tmp_path, theirs, value, want):
    wells = read(table(**{"smiles": "CCO", theirs: value}), tmp_path)
    assert wells.table["concentration_um"].tolist() == [want] * N
    assert noted(
        wells, f"the numbers in '{theirs}' are taken as {'nM' if 'nM' in theirs else 'µM'}"
    )


def test_any_dose_grid(tmp_path):
    doses = 10.0 ** np.linspace(-4, 3, N)
    wells = read(table(smiles="CCO", concentration_um=doses), tmp_path)
    np.testing.assert_array_equal(wells.table["concentration_um"], doses)


def test_a_mapping_wins_over_names(tmp_path):
    frame = table(smiles="CCO", structure="CCN", plate="wrong", Rack="right")
    wells = read(frame, tmp_path, columns={"smiles": "structure", "plate": "Rack"})
    assert (wells.table["smiles"] == "CCN").all()
    assert (wells.table["plate"] == "right").all()
    with pytest.raises(WellsError, match=r"no column 'Rak' for plate \(nearest: Rack"):
        read(frame, tmp_path, columns={"plate": "Rak"})
    with pytest.raises(WellsError, match="no field 'rack'; fields are plate"):
        read(frame, tmp_path, columns={"rack": "Rack"})


def test_two_columns_for_one_name(tmp_path):
    wells = read(table(smiles="CCO", run=1, Metadata_Batch="b1", Batch="b2"), tmp_path)
    assert (wells.table["batch"] == "b1").all()
    assert noted(wells, "batch: took column 'Metadata_Batch'; 'Batch', 'run' could be meant too")


@pytest.mark.parametrize(
    "columns",
    [
        {"Metadata_pert_type": ["control"] * 6 + ["trt"] * 18},
        {
            "Metadata_pert_type": ["control"] * 12 + ["trt"] * 12,
            "Metadata_control_type": ["negcon"] * 6 + ["poscon_cp"] * 6 + [None] * 12,
        },
        {"treatment": ["EMPTY_control"] * 6 + ["drug"] * 18},
        {"Metadata_broad_sample": ["DMSO"] * 6 + ["BRD-1"] * 18},
        {"control": ["1"] * 6 + ["0"] * 18},
        {"is_control": [1.0] * 6 + [np.nan] * 18},
        {"is_control": ["Yes"] * 6 + ["no"] * 18},
    ],
)
def test_controls_are_told_by_what_the_file_has(tmp_path, columns):
    smiles = ["CS(C)=O"] * 3 + [None] * 3 + ["CCO"] * 18
    dose = [0.0, 1.0, np.nan, 0.0, np.nan, np.nan] + [5.0] * 18
    wells = read(table(SMILES=smiles, dose=dose, **columns), tmp_path)
    assert wells.rejected.empty
    assert wells.table["is_control"].tolist() == [True] * 6 + [False] * 18


def test_wells_without_smiles_and_dose_are_not_pooled_with_those_of_dmso(tmp_path):
    smiles = ["CS(C)=O"] * 3 + [None] * 3 + ["CCO"] * 18
    dose = [0.0, 1.0, np.nan, 0.0, np.nan, np.nan] + [5.0] * 18
    wells = read(table(SMILES=smiles, dose=dose), tmp_path)
    assert wells.table["is_control"].tolist() == [True] * 3 + [False] * 18
    assert noted(wells, "3 untreated wells are other kinds of negative control and are left out")
    both = read(table(SMILES=smiles, dose=dose), tmp_path, controls="dmso,untreated")
    assert both.table["is_control"].tolist() == [True] * 6 + [False] * 18
    assert noted(wells, "controls: ")


def test_an_empty_smiles_with_a_dose_is_no_control(tmp_path):
    wells = read(table(smiles=[""] * 2 + ["CCO"] * 22, dose=1.0), tmp_path)
    assert wells.rejected["row"].tolist() == [1, 2]


def grouped(n_plates, n_controls, **columns):
    frame = table(
        smiles="CCO",
        plate=[f"P{i % n_plates}" for i in range(N)],
        is_control=[i // n_plates < n_controls for i in range(N)],
    )
    return frame.assign(**columns)


def test_correction_groups_by_plate_where_plates_have_controls(tmp_path):
    assert read(grouped(2, 8), tmp_path).group_by == "plate"
    assert read(grouped(2, 7), tmp_path).group_by == "batch"
    assert read(grouped(2, 7), tmp_path, group_by="plate").group_by == "plate"
    assert read(grouped(2, 8), tmp_path, group_by="batch").group_by == "batch"


def test_a_batch_without_controls_is_kept(tmp_path):
    frame = grouped(2, 8, batch=["b0", "b1"] * 12)
    frame.loc[frame["batch"] == "b1", "is_control"] = False
    wells = read(frame, tmp_path)
    assert len(wells.table) == N
    assert wells.group_by == "batch"


def test_unknown_labels_cost_a_well_only_where_correction_needs_them(tmp_path):
    frame = grouped(2, 8)
    frame.loc[20, "plate"] = None
    assert read(frame, tmp_path).rejected["reason"].tolist() == [
        "unknown plate, which correction groups by"
    ]
    wells = read(frame, tmp_path, group_by="batch")
    assert wells.rejected.empty
    assert wells.table["plate"][20] == "unknown"
    assert noted(wells, "plate is missing in 1 wells: 'unknown'")

    frame = grouped(2, 7, batch=[None, None, "b", "b"] * 6)  # half of the file would go
    wells = read(frame, tmp_path)
    assert wells.rejected.empty
    assert (wells.table["batch"] == "unknown").sum() == 12
    assert len(read(frame, tmp_path, group_by="batch").rejected) == 12


def test_group_by_needs_its_column(tmp_path):
    with pytest.raises(WellsError, match="group_by is plate, but there is no plate column"):
        read(table(smiles="CCO"), tmp_path, group_by="plate")
    with pytest.raises(ValueError, match="auto, plate or batch, got 'lab'"):
        read(table(smiles="CCO"), tmp_path, group_by="lab")


def test_feature_rules_in_their_order(tmp_path):
    everything = table(
        n_features=2,
        smiles="CCO",
        time_h=48,
        rel_cell_count=np.arange(N) / N,
        Metadata_object_count=np.arange(N),
        Cells_AreaShape_Area=np.arange(N) * 1.0,
        Median_Nuclei_Texture_1=np.arange(N) * 2.0,
        Image_ImageNumber=np.arange(N),
        emb_0=np.arange(N) * 3.0,
        emb_1=np.arange(N) * 4.0,
        embedding=[[float(i), 1.0 / (i + 1), 3.0 * i] for i in range(N)],
    )

    def names(frame, **options):
        return read(frame, tmp_path, **options).feature_names

    assert names(everything, features="^f_") == ("f_a", "f_b")
    assert names(everything) == ("feature_0", "feature_1", "feature_2")
    rest = everything.drop(columns="embedding")
    assert names(rest) == ("Cells_AreaShape_Area", "Median_Nuclei_Texture_1")
    rest = rest.drop(columns=["Cells_AreaShape_Area", "Median_Nuclei_Texture_1"])
    assert names(rest) == ("emb_0", "emb_1")
    rest = rest.drop(columns=["emb_0", "emb_1", "Image_ImageNumber"])
    assert names(rest) == ("f_a", "f_b")
    with pytest.raises(WellsError, match="no feature columns among smiles, time_h"):
        names(rest.drop(columns=["f_a", "f_b"]))
    with pytest.raises(WellsError, match="no column matches features='nothing'"):
        names(rest, features="nothing")
    with pytest.raises(WellsError, match="no regular expression"):
        names(rest, features="(")


def test_metadata_and_embeddings_in_two_files(tmp_path):
    """RxRx3-core: keyed by well_id, plates numbered anew in each experiment, genes beside drugs."""
    n = 12
    metadata = pd.DataFrame(
        {
            "well_id": [f"compound-00{e}_1_A{i:02d}" for e in (1, 2) for i in range(n)],
            "experiment_name": [f"compound-00{e}" for e in (1, 2) for _ in range(n)],
            "plate": 1,
            "address": [f"A{i:02d}" for _ in (1, 2) for i in range(n)],
            "treatment": (["EMPTY_control"] * 4 + ["CRISPR_control"] + ["GENE_1"] + ["drug"] * 6)
            * 2,
            "SMILES": ([None] * 6 + ["CCO"] * 6) * 2,
            "concentration": ([np.nan] * 6 + [0.25, 1.0, 2.5, 10.0, 10.0, 10.0]) * 2,
            "perturbation_type": (["COMPOUND"] * 5 + ["CRISPR"] + ["COMPOUND"] * 6) * 2,
        }
    )
    x = np.random.default_rng(0).normal(size=(2 * n, 16)).astype(np.float32)
    embeddings = pd.DataFrame(x, columns=[f"feature_{j}" for j in range(16)])
    embeddings.insert(0, "well_id", metadata["well_id"])
    embeddings = embeddings.iloc[::-1]
    again = embeddings[embeddings["well_id"] == "compound-001_1_A07"].copy()
    again.iloc[0, 1:] += 2.0
    spare = again.assign(well_id="elsewhere")
    lost = embeddings["well_id"] == "compound-002_1_A08"
    pd.concat([embeddings[~lost], again, spare]).to_parquet(tmp_path / "emb.parquet", index=False)
    metadata.to_csv(tmp_path / "meta.csv", index=False)

    path = f"{tmp_path}/meta.csv,{tmp_path}/emb.parquet"
    wells = read_wells(path, check_smiles=parse)
    kept = [i for i in range(2 * n) if i % n not in (4, 5) and i != n + 8]
    assert (wells.table["row"] - 1).tolist() == kept
    want = x.copy()
    want[7] += 1.0
    np.testing.assert_allclose(wells.embedding, want[kept], rtol=1e-5, atol=1e-6)
    assert wells.table["is_control"].sum() == 8
    assert wells.table["plate"].unique().tolist() == ["compound-001/1", "compound-002/1"]
    assert wells.rejected[["row", "reason"]].values.tolist() == [
        [n + 9, "no embedding for this key: well compound-002_1_A08"]
    ]
    assert noted(wells, "joined meta.csv and emb.parquet on well_id")
    assert noted(wells, "4 rows left out: gene perturbations")
    assert noted(wells, "1 repeated keys in emb.parquet were averaged")
    assert noted(wells, "1 embeddings in emb.parquet have no metadata")

    # The same with lists in place of columns.
    lists = pd.concat([embeddings[~lost], again, spare])
    pd.DataFrame(
        {"well_id": lists["well_id"], "vector": lists.iloc[:, 1:].to_numpy().tolist()}
    ).to_parquet(tmp_path / "emb.parquet", index=False)
    same = read_wells(path, check_smiles=parse)
    np.testing.assert_allclose(same.embedding, wells.embedding, rtol=1e-5, atol=1e-6)


def test_two_files_without_a_key(tmp_path):
    table(smiles="CCO").iloc[:, :1].to_csv(tmp_path / "a.csv", index=False)
    table().to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(WellsError, match="no column in common: a.csv has smiles, b.csv has f_a"):
        read_wells(f"{tmp_path}/a.csv,{tmp_path}/b.csv", check_smiles=parse)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.parquet", b"", "the file is empty"),
        ("a.csv", b"smiles,f_a,f_b\n", "columns but no rows"),
        ("a.parquet", b"smiles,f_a\nCCO,1\n", "not a Parquet file"),
        ("a.parquet", b"PAR1 and then nothing", "damaged Parquet file"),
        ("a.csv", b"PK\x03\x04\x00\x00", "zip archive"),
        ("a.h5", b"\x89HDF\r\n\x1a\n\x00", "HDF5"),
        ("a.csv", b"smiles,f_a\nCCO,1\nCCO,1,2,3\n", "line 3 has 4 fields.*header in line 1 has 2"),
        ("a.csv", b"f_a,f_b\n1,2\n", r"no SMILES column \(columns: f_a, f_b\)"),
        ("a.csv", b"smile,f_a\nCCO,2\n", r"no SMILES column \(nearest: smile\)"),
        ("a.csv", b"smiles,f_a,f_b\n?,1,2\n??,3,4\n", "2 x smiles: cannot be parsed .*row 1, '?"),
        ("a.csv", b"smiles,f_a\n,1\n", "1 x smiles: no SMILES on a treated well"),
        ("a.csv", b"smiles,f_a\nCCO,1\nCCN,1\n", "all 1 features .* are constant"),
        ("a.csv", b"smiles,f_a\nCCO,\nCCN,\n", "2 x f_a: 1 of 1 features are missing, NaN"),
        ("a.csv", b"smiles,f_a\nCCO,inf\nCCN,inf\n", "2 x f_a: 1 of 1 features are missing, NaN"),
        (
            "a.csv",
            b"smiles,conc_um,f_a\nCCO,ten,1\nCCN,-1,3\n",
            "no usable treated well among 2 rows",
        ),
        ("a.csv", b"smiles,control,f_a\nCCO,1,1\nCCN,1,2\n", "every row counts as a control"),
    ],
)
def test_a_file_without_a_usable_row_says_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WellsError, match=message) as caught:
        read_wells(tmp_path / name, check_smiles=parse)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(WellsError, match=r"gone.csv: cannot be read \(No such file"):
        read_wells(tmp_path / "gone.csv", check_smiles=parse)
    with pytest.raises(WellsError, match="cannot be read"):
        read_wells(tmp_path, check_smiles=parse)


def calls_to_read(n, tmp_path) -> int:
    """Functions that are called while n wells are read, Python's and C's."""
    d, calls = 8, 0
    x = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    x[::50, 3] = np.nan  # gaps in 2% of the wells
    frame = pd.DataFrame(x, columns=[f"feature_{j}" for j in range(d)])
    frame["smiles"] = np.char.add("C", (np.arange(n) % 500).astype(str))
    frame["dose"] = 1.0
    frame["plate"] = (np.arange(n) // 384).astype(str)
    frame["well"] = (np.arange(n) % 384).astype(str)

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        wells = read(frame, tmp_path)
    finally:
        sys.setprofile(None)
    assert len(wells.rejected) + len(wells.table) == n
    return calls


@pytest.mark.slow
def test_no_python_function_is_called_for_each_well(tmp_path):
    """What makes a hundred thousand wells a matter of seconds, on any machine."""
    calls_to_read(1000, tmp_path)  # imports call many functions, once
    few, more = (calls_to_read(n, tmp_path) for n in (25_000, 75_000))
    assert few > 1000
    assert more - few < 50_000 / 4
