"""Every documented command runs: README, docs, docstrings, --help texts, at their smallest size.

A new command is collected by itself. If this test then fails, make the command run: write the file
that it reads in `files.py` under the name that the text gives it, or give its smallest size in
`run.py`. A new option of `molphenix` gets a place in `EVERY_OPTION`.
"""

import itertools

import pytest

from molphenix_jax import plugins
from tests.documented import collect, files, run

# What no text shows: every option of every command, and of evaluating.
EVERY_OPTION = """
    python -m molphenix_jax.main --config=configs/s2l.py:size=tiny --workdir=runs/tiny
    python -m molphenix_jax.main --mode=evaluate --workdir=runs/tiny --checkpoint=1 --name=again
    molphenix figures runs/tiny --properties=LABELS.parquet
    molphenix compare runs/tiny runs/tiny/evaluations/again --split=unseen_images --out=same.csv
    molphenix prepare my_wells.parquet --out=screens/all --columns=smiles=SMI --seed=1 \\
        --concentration-unit=µM --features=^Cells_ --correction=centerscale --group_by=plate \\
        --conditions=none --controls=role=ctl --clip=5 --molecule_embeddings=molgps=emb.parquet
    molphenix prepare metadata_rxrx3_core.csv --layout=rxrx3_core --out=screens/core \\
        --embeddings OpenPhenom_rxrx3_core_embeddings.parquet
    molphenix prepare openphenom-jpegxl_lossy_mq --layout=jump_lite --pool=mean --dry-run \\
        --join jump_lite_perturbation_metadata.parquet compound.csv.gz
    molphenix embed-images --layout=table --images=FILE.npz --index=FILE_meta.csv --threads=1 \\
        --metadata=platemap.csv --columns=smiles=smiles --concentration-unit=nM --level=field \\
        --encoder=intensity --channels=1 --downsample=2 --part-fields=64 --standardise=none \\
        --max-image-mib=64 \\
        --out=fields.parquet
    molphenix embed-images --layout=gallery --images=plates --metadata=platemap.csv \\
        --encoder=intensity --time-point=1 --plane=1 --out=plane.parquet
    molphenix index library.csv --model=model_told --concentrations=1 --conditions=time_h=24 \\
        --embeddings=mine=mine.parquet --smiles-column=smiles --id-column=name --workers=1 \\
        --shard=1/2 --out=indexes/shards
    molphenix index library.csv --model=model_before --concentrations=1 --export=Flat --out=ix
    molphenix rank my_wells.parquet --index=library_index --model=trained_model --out=every \\
        --top=3 --doses=all --diverse --substructure=C --filter='mw<900' --name=compound \\
        --rank-inactive --no-chance --layout=wells --columns=smiles=SMI \\
        --concentration-unit=µM --group_by=plate --conditions=none --controls=role=ctl
    molphenix rank --wells my_wells.parquet --molecules=molecules.csv --model=trained_model \\
        --smiles-column=smiles --concentrations=1,10 --out=resembling
    molphenix rank --embeddings=x --combine=+a --query=FILE --chances=FILE --join=b --told=x=1 \\
        --fold=0 --pool=mean --help
    molphenix published rxrx3_core --metadata=metadata_rxrx3_core.csv --fold=0 --seeds=9 --help
    molphenix published bray2017 --run=RUN --out=table.csv --help
    molphenix export --compact --push-to=OWNER/NAME --help
    molphenix pretrained minimol state_dict.pth --out=encoders/minimol
    molphenix convert-openphenom model.safetensors --out=encoders/openphenom
    molphenix ablate losses --workdir=runs/ablations --tier=small --seeds=1 --doses=1 --shard=1/2 \\
        --processes=2 --input=wells=my_wells.parquet --rows=s2l,clip --set data.psi=1 \\
        --report=page.md
    molphenix ablate --all --workdir=runs/ablations
    molphenix train --help
    molphenix --version
    molphenix cache --folder=nothing --clear --older-than=1
"""
TEXTS = [*collect.texts(), collect.Text("every option", EVERY_OPTION)]
# Of ml_collections, which loads config files so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def written(cache, tmp_path_factory):
    """The files that commands read, once; prepared screens of them are kept beside."""
    folder = tmp_path_factory.mktemp("documented") / "files"
    files.write(folder, cache)
    return folder


@pytest.fixture
def folder(written, cache, tmp_path, monkeypatch):
    """A reader's, which is the current one."""
    run.lay_out(tmp_path / "reader", written)
    monkeypatch.chdir(tmp_path / "reader")
    monkeypatch.setenv("MOLPHENIX_CACHE", str(cache / "screens"))
    yield
    plugins.unload()


def test_they_are_found():
    found = {text.name: len(collect.commands(text.body)) for text in TEXTS}
    assert sum(found.values()) > 100
    assert {f"configs/{path.name}" for path in collect.ROOT.glob("configs/*.py")} <= set(found)
    assert found["README.md: Your own wells"] > 10
    assert found["docs/wells.md: Your own wells"] > 15
    assert found["docs/wells.md: Screens of any size"] > 8
    assert found["molphenix prepare --help"] > 3


HEADED = """
| x | `molphenix prepare …` |
|---|---|
| a | `f.csv --out=D` |
| b | `g.csv --out=D` (`--features` chooses) |
| c | `pip install .`, add `--seed=1` |

Then `make test`.
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("So:\n\n    molphenix embed f \\\n      --out=D   # why", ["molphenix embed f --out=D"]),
        ("    make install && make demo", ["make install", "make demo"]),
        ("Do\n```bash\n$ make demo\nls\n```\nand `make test`", ["make demo", "make test"]),
        ("call `molphenix bench\nloss`, or `molphenix …`", ["molphenix bench loss"]),
        ("set `--config.seed=1`, not `--config.data.folds`", ["--config.seed=1"]),
        ("`--config=configs/mae.py` does", [f"{collect.TRAIN} --config=configs/mae.py"]),
        (
            HEADED,
            [f"molphenix prepare {row}" for row in ("f.csv --out=D", "g.csv --out=D")]
            + ["pip install .", "molphenix prepare f.csv --out=D --seed=1", "make test"],
        ),
    ],
)
def test_they_are_read_as_a_reader_would(body, words):
    assert [" ".join(each) for each in collect.commands(body)] == words


TRAIN = f"{collect.TRAIN} --workdir=runs/x"


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("molphenix prepare gone.parquet --out=screens/x", "exit status 1"),
        ("molphenix gone", "exit status 2"),
        ("molphenix embed --gone", "--gone"),
        (f"{TRAIN} --config=configs/s2l.py:wells=gone.parquet", "exit status 1"),
        (f"{TRAIN} --config=configs/gone.py", "SystemExit(2)"),
        (f"{TRAIN} --config=configs/s2l.py --config.gone=1", "SystemExit(2)"),
        ("--config.data.folds=0", "data.folds=0"),
        ("make gone", "CalledProcessError(2"),
        ("pip install gone", "pip install gone"),
        ("launch/gone.sh", "CalledProcessError(127"),
    ],
)
def test_a_command_that_does_not_run_fails(command, end, folder):
    with pytest.raises(AssertionError) as failed:
        run.Reader([command.split()]).type_all()
    assert end in str(failed.value).partition("ended with")[2]


def test_every_option_is_in_a_command():
    missing = {
        " ".join(["molphenix", *name.split(), option])
        for name, parser in collect.subcommands().items()
        for option in parser._option_string_actions
        if option.startswith("--")
    }
    for words in itertools.chain.from_iterable(collect.commands(text.body) for text in TEXTS):
        if words[0] == "molphenix":
            for word in [*words, *run.small_options(words[1:])]:
                option = word.partition("=")[0]
                missing -= {" ".join([*words[:n], option]) for n in (1, 2, 3)}
    assert not {option for option in missing if not option.endswith("--help")}


@pytest.mark.long
@pytest.mark.parametrize("text", TEXTS, ids=[text.name for text in TEXTS])
def test_every_command_runs(text, folder):
    run.Reader(collect.commands(text.body)).type_all()
