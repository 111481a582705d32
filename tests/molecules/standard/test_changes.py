from molphenix_jax.molecules import describe_changes, standardise


def described(*smiles: str) -> list[str]:
    return describe_changes(standardise(smiles).assign(given=smiles))


def test_what_was_left_out_is_counted_by_name():
    (note,) = described("CCN.Cl", "CCCN.Cl.O", "CCCCCN", "bad(")
    assert "left out of 2 of 3 structures: chloride (2), water (1)" in note


def test_structures_that_become_one_are_reported_with_examples():
    notes = described("CCCCN.Cl", "CCCCN", "NCCCC", "CC(=O)[O-]", "CC(=O)O", "CCO")
    assert len(notes) == 2
    assert "4 different structures" in notes[1]
    assert "became 2 molecules" in notes[1]
    assert "CCCCN.Cl, NCCCC became CCCCN; CC(=O)[O-], CC(=O)O became CC(=O)O" in notes[1]


def test_one_structure_written_twice_is_no_news():
    assert described("OCC", "CCO", "CCO |c:1|", " CCO") == []
