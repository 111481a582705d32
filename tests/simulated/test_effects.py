import dataclasses

import numpy as np
import pandas as pd
import pytest

from molphenix_jax.molecules import match_substructures, standardise
from molphenix_jax.simulated.effects import BiologyConfig, draw_biology, effects, hill, stream
from molphenix_jax.simulated.targets import TARGETS

CONFIG = BiologyConfig(n_features=24)

# A drug or two of each class, and the target that the class is known for.
KNOWN = {
    "imatinib": ("Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(-c2cccnc2)n1", "kinase_hinge"),
    "gefitinib": ("COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1", "kinase_hinge"),
    "sorafenib": ("CNC(=O)c1cc(Oc2ccc(NC(=O)Nc3ccc(Cl)c(C(F)(F)F)c3)cc2)ccn1", "kinase_dfg_out"),
    "caffeine": ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", "purine_receptor"),
    "cytarabine": ("Nc1ccn(C2OC(CO)C(O)C2O)c(=O)n1", "nucleoside_antimetabolite"),
    "ciprofloxacin": ("O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O", "topoisomerase"),
    "chlorambucil": ("O=C(O)CCCc1ccc(N(CCCl)CCCl)cc1", "dna_alkylation"),
    "colchicine": ("COc1cc2c(c(OC)c1OC)-c1ccc(OC)c(=O)cc1C(NC(C)=O)CC2", "tubulin"),
    "dexamethasone": (
        "CC1CC2C3CCC4=CC(=O)C=CC4(C)C3(F)C(O)CC2(C)C1(O)C(=O)CO",
        "steroid_receptor",
    ),
    "estradiol": ("CC12CCC3c4ccc(O)cc4CCC3C1CCC2O", "estrogen_receptor"),
    "aripiprazole": ("O=C1CCc2ccc(OCCCCN3CCN(c4cccc(Cl)c4Cl)CC3)cc2N1", "aminergic_receptor"),
    "chlorpromazine": ("CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21", "lysosome"),
    "promazine": ("CN(C)CCCN1c2ccccc2Sc2ccccc21", "aminergic_receptor"),
    "propranolol": ("CC(C)NCC(O)COc1cccc2ccccc12", "catecholamine_receptor"),
    "nifedipine": ("COC(=O)C1=C(C)NC(C)=C(C(=O)OC)C1c1ccccc1[N+](=O)[O-]", "calcium_channel"),
    "diazepam": ("CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21", "gaba_channel"),
    "fluconazole": ("OC(Cn1cncn1)(Cn1cncn1)c1ccc(F)cc1F", "sterol_synthesis"),
    "pravastatin": (
        "CCC(C)C(=O)OC1CC(O)C=C2C=CC(C)C(CCC(O)CC(O)CC(=O)O)C21",
        "sterol_synthesis",
    ),
    "vorinostat": ("O=C(CCCCCCC(=O)Nc1ccccc1)NO", "histone_deacetylase"),
    "acetazolamide": ("CC(=O)Nc1nnc(S(N)(=O)=O)s1", "carbonic_anhydrase"),
    "diclofenac": ("O=C(O)Cc1ccccc1Nc1c(Cl)cccc1Cl", "cyclooxygenase"),
    "doxycycline": (
        "CC1c2cccc(O)c2C(=O)C2=C(O)C3(O)C(=O)C(C(N)=O)=C(O)C(N(C)C)C3C(O)C21",
        "mitochondrial_ribosome",
    ),
    "nitrofurantoin": ("O=C1CN(N=Cc2ccc([N+](=O)[O-])o2)C(=O)N1", "redox_cycling"),
    "amoxicillin": (
        "CC1(C)SC2C(NC(=O)C(N)c3ccc(O)cc3)C(=O)N2C1C(=O)O",
        "serine_hydrolase",
    ),
    "ibrutinib": (
        "C=CC(=O)N1CCCC(n2nc(-c3ccc(Oc4ccccc4)cc3)c3c(N)ncnc32)C1",
        "cysteine_trap",
    ),
}
NO_TARGET = ["CC(C)CC1CCC(C)CC1", "CCCCCCCCCC", "Oc1ccccc1C", "CCOC(=O)c1ccccc1"]


def table(smiles) -> pd.DataFrame:
    return standardise(list(smiles))


@pytest.fixture(scope="module")
def everything() -> pd.DataFrame:
    return table([*(smiles for smiles, _ in KNOWN.values()), *NO_TARGET])


def test_hill_identities():
    pec50 = np.array([4.0, 6.0, 7.5])
    ec50_um = 10 ** (6.0 - pec50)
    for slope in (0.7, 1.0, 2.5):
        np.testing.assert_allclose(hill(ec50_um, pec50, slope), 0.5)
        np.testing.assert_allclose(
            hill(10 * ec50_um, pec50, slope), 10**slope / (1 + 10**slope), rtol=1e-12
        )
        np.testing.assert_array_equal(hill(0.0, pec50, slope), 0.0)
        np.testing.assert_allclose(hill(1e12, pec50, slope), 1.0, atol=1e-4)
    assert (hill(1e9, np.array([-np.inf]), 1.0) == 0).all()


def test_known_drugs_hit_the_target_of_their_class():
    patterns = {
        f"{name} {i}": smarts
        for name, target in TARGETS.items()
        for i, smarts in enumerate(target.smarts)
    }
    hits = match_substructures([smiles for smiles, _ in KNOWN.values()], patterns)
    names = np.array([name.split()[0] for name in patterns])
    for row, (drug, (_, target)) in enumerate(KNOWN.items()):
        assert target in names[hits[row]], f"{drug} hits {set(names[hits[row]])}"
    assert {target for _, target in KNOWN.values()} == set(TARGETS)


def test_molecules_without_target_do_nothing_below_toxicity():
    config = dataclasses.replace(CONFIG, off_target_rate=0.0)
    biology = draw_biology(table(NO_TARGET), config)
    assert np.isneginf(biology.pec50).all()
    np.testing.assert_array_equal(effects(biology, 0.0), 0.0)
    harmless = dataclasses.replace(biology, toxicity_pec50=np.full(len(NO_TARGET), -np.inf))
    np.testing.assert_array_equal(effects(harmless, 1000.0), 0.0)


def test_no_compound_no_effect_and_full_occupancy_is_the_sum_of_directions(everything):
    config = dataclasses.replace(CONFIG, silent_rate=0.0, off_target_rate=0.0)
    biology = draw_biology(everything, config)
    np.testing.assert_array_equal(effects(biology, 0.0), 0.0)
    harmless = dataclasses.replace(biology, toxicity_pec50=np.full(len(everything), -np.inf))
    binds = np.isfinite(biology.pec50)
    expected = binds @ biology.directions + binds.any(axis=1, keepdims=True) * biology.own
    np.testing.assert_allclose(effects(harmless, 1e15), expected, atol=1e-3)
    np.testing.assert_allclose(
        effects(biology, 1e15), np.broadcast_to(biology.toxicity, expected.shape), atol=1e-3
    )


def test_half_effect_at_ec50_of_a_single_target(everything):
    config = dataclasses.replace(CONFIG, silent_rate=0.0, off_target_rate=0.0)
    biology = draw_biology(everything, config)
    harmless = dataclasses.replace(biology, toxicity_pec50=np.full(len(everything), -np.inf))
    single = np.flatnonzero(np.isfinite(biology.pec50).sum(axis=1) == 1)
    assert len(single) > 5
    for row in single:
        ec50_um = 10 ** (6.0 - biology.pec50[row].max())
        half, full = effects(harmless, ec50_um)[row], effects(harmless, 1e15)[row]
        np.testing.assert_allclose(half, full / 2, atol=1e-3)


def test_lengths_are_the_configured_amplitudes(everything):
    biology = draw_biology(everything, CONFIG)
    np.testing.assert_allclose(np.linalg.norm(biology.toxicity), CONFIG.amplitude_toxicity)
    wide = draw_biology(everything, dataclasses.replace(CONFIG, n_features=4000))
    np.testing.assert_allclose(np.linalg.norm(wide.own, axis=1), CONFIG.amplitude_own, rtol=0.06)
    np.testing.assert_allclose(
        np.linalg.norm(wide.directions, axis=1),
        np.hypot(CONFIG.amplitude_pathway, CONFIG.amplitude_target),
        rtol=0.06,
    )


def test_targets_of_one_pathway_look_alike_and_not_the_same():
    biology = draw_biology(table(["C" * 12]), dataclasses.replace(CONFIG, n_features=4000))
    unit = biology.directions / np.linalg.norm(biology.directions, axis=1, keepdims=True)
    cosine = unit @ unit.T
    names = list(TARGETS)
    same = cosine[names.index("kinase_hinge"), names.index("kinase_dfg_out")]
    other = cosine[names.index("kinase_hinge"), names.index("tubulin")]
    assert 0.4 < same < 0.6
    assert abs(other) < 0.1


def test_analogues_have_closer_potency_than_strangers_of_the_same_class():
    """Azoles R-CH2-imidazole: neighbours in a chain series against unlike members."""
    series = [f"{'C' * n}n1ccnc1" for n in (12, 13)]
    strangers = ["c1ccc(-c2ccccc2)cc1Cn1ccnc1", "O=C(NC1CC1)C(C)(F)Cn1ccnc1"]
    names = list(TARGETS)
    column = names.index("sterol_synthesis")
    config = dataclasses.replace(CONFIG, silent_rate=0.0, sd_potency=0.0, off_target_rate=0.0)
    gaps = []
    for seed in range(30):
        seeded = dataclasses.replace(config, biology_seed=seed)
        pec50 = draw_biology(table(series + strangers), seeded).pec50[:, column]
        assert np.isfinite(pec50).all()
        gaps.append((abs(pec50[0] - pec50[1]), abs(pec50[2] - pec50[3])))
    near, far = np.mean(gaps, axis=0)
    assert near < 0.5 * far


def test_lipophilic_molecules_are_more_toxic():
    config = dataclasses.replace(CONFIG, sd_potency=0.0)
    biology = draw_biology(table(["CCO", "C" * 16]), config)
    assert biology.toxicity_pec50[1] > biology.toxicity_pec50[0] + 1


def test_a_molecule_has_its_effect_whatever_else_is_screened(everything):
    biology = draw_biology(everything, CONFIG)
    for rows in (slice(3, 9), [12, 2]):
        alone = draw_biology(everything.iloc[rows], CONFIG)
        np.testing.assert_allclose(alone.pec50, biology.pec50[rows], rtol=1e-12)
        np.testing.assert_allclose(
            effects(alone, 10.0), effects(biology, 10.0)[rows], rtol=1e-9, atol=1e-9
        )


@pytest.mark.slow
def test_rates_of_silent_ligands_and_off_targets(everything):
    def bound(**changes):
        return [
            np.isfinite(
                draw_biology(
                    everything, dataclasses.replace(CONFIG, biology_seed=seed, **changes)
                ).pec50
            )
            for seed in range(8)
        ]

    always = bound(silent_rate=0.0, off_target_rate=0.0)
    assert all((other == always[0]).all() for other in always)
    silenced = bound(silent_rate=0.3, off_target_rate=0.0)
    assert np.mean(silenced) / np.mean(always) == pytest.approx(0.7, abs=0.08)
    hit = bound(silent_rate=0.0, off_target_rate=0.5)
    extra = np.mean([after & ~before for before, after in zip(always, hit, strict=True)])
    assert extra * len(TARGETS) == pytest.approx(0.5, abs=0.08)


def test_streams_are_named():
    assert stream(0, "a", "b").random() == stream(0, "a", "b").random()
    draws = {
        stream(*key).random() for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (0, "ab")]
    }
    assert len(draws) == 5
