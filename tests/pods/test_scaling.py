"""Floors of a step and the page of them, from programs that are made up."""

import json
import pathlib

import pytest

from molphenix_jax import cli
from molphenix_jax.errors import InputError
from molphenix_jax.pods.chips import CHIPS
from molphenix_jax.pods.collectives import Collective
from molphenix_jax.pods.program import Program, read_programs
from molphenix_jax.pods.scaling import floors, page

COMMAND = "molphenix compile --page=SCALING.md"


def program(
    topology="v5e:2x4",
    chips=8,
    flops=1.97e12,
    n_bytes=8.19e9,
    collectives=(),
    command=COMMAND,
) -> Program:
    return Program(
        command=command,
        topology=topology,
        chips=chips,
        rows=256 * chips,
        parameters=1000,
        about="",
        memory={"arguments": 2**30, "temporary": 2**30},
        collectives=list(collectives),
        flops=flops,
        bytes_accessed=n_bytes,
        compile_seconds=1.0,
    )


def test_floors_are_those_of_the_chips_figures():
    """v5e: 197 TFLOP/s, 819 GB/s of memory, 200 GB/s over four links of 50 GB/s."""
    sent = (
        Collective("collective-permute", 3, int(5e8)),  # one link: 10 ms
        Collective("all-reduce", 1, int(4e9)),  # there and back but for its own eighth: 35 ms
        Collective("all-gather", 1, int(2e8)),  # 1 ms
    )
    found = floors(program(collectives=sent), CHIPS["v5e"])
    assert found["products"] == pytest.approx(0.010)
    assert found["memory"] == pytest.approx(0.010)
    assert found["messages"] == pytest.approx(0.010 + 0.035 + 0.001)


def test_the_page_names_what_bounds_each_pod():
    sent = [Collective("all-reduce", 2, int(8e8))]
    text = page(
        [
            program(),
            program("v5e:16x16", 256, collectives=sent * 4),
            program("v5p:4x4x4", 64, n_bytes=1e9),
        ]
    )
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("v5") and len(cells) == 7:
            rows[cells[0]] = cells
    assert rows["v5e:2x4"][4:] == ["products", "204,800", "100%"]
    assert rows["v5e:16x16"][4] == "messages"
    assert rows["v5e:16x16"][6] == "31%"  # 10 ms of 31.9
    assert rows["v5p:4x4x4"][4] == "products"
    assert "2 GiB | 12.5%" in text
    assert "No TPU has run this yet" in text
    assert "    molphenix compile --topology=v5e:2x4+v5e:16x16+v5p:4x4x4\n" in text
    assert text.count("cloud.google.com") == 2  # each chip once


def test_pods_of_the_same_settings_are_one_section_whatever_commands_made_them(tmp_path):
    sent = [Collective("all-gather", 2, int(8e8))]
    spread = "molphenix compile --config=a --config.train.shard_state=True"
    first = program(collectives=sent, command=f"{spread} --topology=v5e:2x4 --json=a.json")
    (tmp_path / "first.json").write_text(json.dumps([first.as_json()]))
    (tmp_path / "one.json").write_text(json.dumps(first.as_json()))
    assert read_programs(tmp_path / "first.json") == read_programs(tmp_path / "one.json") == [first]
    command = "molphenix compile --page P --config=a --after a.json b.json --json=c --wells=3"
    text = page(
        [
            first,
            program("v5p:4x4x4", 64, command=command),
            program("v4:2x2x1", 4, command=f"{spread} --topology v4:2x2x1"),
            program("v5e:16x16", 256, command="molphenix compile --wells=3 --config=a"),
            program("v5p:4x4x4", 64, command=command, flops=7e12),
        ]
    )
    assert text.count("## 0.0 million parameters") == 2
    assert text.count("million parameters, spread over the chips\n") == 1
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert commands == [
        f"{spread} --topology=v4:2x2x1+v5e:2x4",
        "molphenix compile --config=a --wells=3 --topology=v5e:16x16+v5p:4x4x4",
    ]
    assert text.count("| v5p:4x4x4 |") == 2
    assert "| 7 |" in text  # the one that was compiled last


def test_a_page_of_earlier_programs_compiles_nothing(tmp_path):
    files = []
    for of in (program(), program("v6e:2x4")):
        files.append(str(tmp_path / f"{of.topology[:3]}.json"))
        pathlib.Path(files[-1]).write_text(json.dumps(of.as_json()))
    out = tmp_path / "SCALING.md"
    assert cli.main(["compile", f"--page={out}", "--after", *files]) == 0
    assert out.read_text() == page([program(), program("v6e:2x4")])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--after", "a.json"], "--after is for a page: name it by --page=FILE"),
        (["--page=P"], "--config is missing: a file or name"),
        (["--config=s2l", "--topology="], "--topology=: '' is no chip and shape as v5e:4x4"),
        (["--config=s2l", "--topology=v5e:2x2+v5e"], "'v5e' is no chip and shape as v5e:4x4"),
        (["--page=P", "--after", "a.json", "--topology=v5e:2x2"], "--config is missing"),
        (["--page=P", "--after", "a.json", "--config.seed=1"], "--config is missing"),
    ],
)
def test_what_compiles_nothing_is_a_usage_error(flags, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["compile", *flags])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"collectives": []}'])
def test_another_file_is_a_sentence(text, tmp_path):
    path = tmp_path / "other.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_programs(path)
    path.write_text(text)
    with pytest.raises(InputError, match=r"other.json is no file that `molphenix compile --json"):
        read_programs(path)
