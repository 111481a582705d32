"""What people write on control wells: which word means which kind of control."""

import re
from collections.abc import Iterable, Mapping

from molphenix_jax.molecules import standardise
from molphenix_jax.tables.missing import NOTHING

# Kinds of negative control. CONTROL is one of no stated kind; VEHICLE a solvent without a name.
CONTROL, VEHICLE, DMSO = "control", "vehicle", "dmso"
UNTREATED, EMPTY = "untreated", "empty"
POSITIVE, TREATED = "positive", "treated"

_WORDS = {
    DMSO: (
        *("dmso", "dimethylsulfoxide", "dimethylsulphoxide", "methylsulfoxide", "dmsocontrol"),
        *("controldmso", "dmsovehicle", "vehicledmso", "negcondmso", "dmsonegcon", "dmsoonly"),
    ),
    VEHICLE: ("vehicle", "solvent", "vehiclecontrol", "solventcontrol", "ctlvehicle", "carrier"),
    UNTREATED: (
        *("untreated", "untreatedcontrol", "notreatment", "nontreated", "mock", "mockcontrol"),
        *("mocktreated", "media", "medium", "mediaonly", "mediumonly", "cellsonly", "ctluntrt"),
        *("nocompound", "nodrug", "unperturbed", "ctluntreated"),
    ),
    EMPTY: ("empty", "emptycontrol", "emptywell", "blank", "nocells", "nocell", "ctlblank"),
    "water": ("water", "ddwater", "milliq"),
    "pbs": ("pbs", "dpbs", "saline"),
    CONTROL: (
        *("negcon", "negcontrol", "negctrl", "negativecontrol", "negativectrl", "negative", "neg"),
        *("control", "controls", "ctrl", "ctl", "controlwell", "ctrlneg", "controlneg", "ctlneg"),
        *("controlnegative",),
    ),
    TREATED: (
        *("trt", "trtcp", "treated", "treatment", "compound", "cpd", "test", "testcompound"),
        *("sample", "drug", "case", "experimental"),
    ),
}
_KIND_OF: Mapping[str, str] = {word: kind for kind, words in _WORDS.items() for word in words}
_POSITIVE = re.compile(r"^(ctl|ctrl|control)?pos(con|ctrl|control|itive|$)")

_TRUE = frozenset(("true", "t", "1", "yes", "y", "x", "wahr", "ja", "vrai", "oui"))
_FALSE = frozenset(("false", "f", "0", "no", "n", "", "falsch", "nein", "faux", "non", "-"))

# Solvents by the first block of their InChIKey: however a SMILES is written, and deuterated too.
_DMSO_SKELETON = "IAZDPXIOMUYVGZ"
_SOLVENTS = {
    _DMSO_SKELETON: DMSO,
    "XLYOFNOQVPJJNP": "water",
    "LFQSCWFLJHTTHZ": "ethanol",
    "OKKJLVBELUTLKV": "methanol",
    "ZMXDDKWLCZADIW": "dmf",
    "CSCPPACGZOOCGX": "acetone",
    "KFZMGEQAYNKOFK": "isopropanol",
    "WEVYAHXRMPXWCK": "acetonitrile",
}
_ATOMS = 6  # heavy atoms of a solvent at most, hydrates with it


def kind_of(text: str) -> str:
    """What a word says of a well: a kind of control, POSITIVE, TREATED, or "" for anything else.

    Case, blanks and doses do not matter: "DMSO 0.5%", "EMPTY_control", "poscon_cp", "negcon 2".
    """
    word = re.sub(r"[^a-z]", "", text.casefold())
    if _POSITIVE.match(word):
        return POSITIVE
    return _KIND_OF.get(word, "")


def is_sure(text: str) -> bool:
    """Whether a word for a control says that it is a negative one.

    "control" alone does not: JUMP's pert_type says it of positive controls too.
    """
    return kind_of(text) != CONTROL or "neg" in text.casefold()


def truth_of(text: str) -> bool | None:
    """A boolean in any spelling; None for other words."""
    word = re.sub(r"\.0+$", "", text.casefold().strip())
    return True if word in _TRUE else False if word in _FALSE | NOTHING else None


def solvents_among(smiles: Iterable[str]) -> dict[str, str]:
    """The SMILES that are solvents, by their InChIKeys, each with the solvent's name."""
    tiny = [text for text in dict.fromkeys(smiles) if len(re.sub("[^CNOS]", "", text)) <= _ATOMS]
    tiny = [text for text in tiny if text and not re.search("[a-z]", text) and len(text) <= 99]
    keys = zip(tiny, standardise(tiny)["inchikey"], strict=True)
    named = {text: _SOLVENTS.get((key or "")[:14], "") for text, key in keys}
    return {text: name for text, name in named.items() if name}


def molecules_among(smiles: Iterable[str]) -> set[str]:
    """The SMILES that can be read."""
    asked = list(dict.fromkeys(smiles))
    errors = standardise(asked)["error"]
    return {text for text, error in zip(asked, errors, strict=True) if error is None}
