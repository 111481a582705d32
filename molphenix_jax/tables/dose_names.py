"""Which columns hold doses or their units, and which units there are: read from names alone.

A name is taken apart into words, so that `Metadata_pert_dose`, `Conc. [nM]`, `treatmentconc` and
`log10(M)` need no list of their own. A name of known words only is a dose; one that mentions a dose
beside other words (`stock_conc`, `dose_level`, `conc_mg_ml`) is in doubt and never guessed.
"""

import dataclasses
import functools
import re
from typing import Literal

import numpy as np
from jaxtyping import Float

_STEMS = frozenset(
    ("concentration", "concentrations", "conc", "concs", "dose", "doses", "dosage")
    + ("konzentration", "concentracion", "concentrazione", "dosis")
)
_PREFIX = {"": 6, "m": 3, "u": 0, "n": -3, "p": -6, "f": -9}  # powers of ten from each to µM
_LONG = {"milli": "m", "micro": "u", "nano": "n", "pico": "p", "femto": "f"}
_SHOWN = {"": "M", "m": "mM", "u": "µM", "n": "nM", "p": "pM", "f": "fM"}
_LOG, _NEGATIVE = frozenset(("log10", "log", "lg")), frozenset(("neg", "negative", "minus", "p"))
# Words beside the stem that leave a dose what it is.
_OF_COMPOUNDS = frozenset(
    ("pert", "perturbation", "perturbagen", "treatment", "treat", "trt", "final", "compound", "cpd")
    + ("cmpd", "drug", "molecule", "agent", "substance", "chemical")
)
_PLAIN = _OF_COMPOUNDS | frozenset(
    ("i", "nominal", "actual", "test", "tested", "assay", "well", "sample", "broad", "target")
    + ("applied", "value", "val", "in", "of", "the", "screening", "working", "exposure")
    + ("experimental",)
)
_PER = frozenset(("per", "l", "liter", "litre", "liters", "litres", "l1"))
_UNIT_WORDS = frozenset(("unit", "units", "uom"))
_DOUBTFUL_STEMS = frozenset(("molarity", "dilution", "amount"))
_POTENCY = re.compile(
    r"^p?(x?[iegalct]c|gi|ld|ed|td|tgi)\d\d(abs|rel)?$|^(cmax|ki|kd|potency|mic)$"
)
# A molar unit of its own in a name that has no word for a dose: c_uM, agonist (nM).
_MOLAR = re.compile(r"(?<![A-Za-z])[munpf]M(?![A-Za-z])")
# µM whose µ an export has lost or mangled: ?M, \ufffdM. Anything but M.
_LOST = re.compile(r"(\?|\ufffd)[^\S\n]*M(?![A-Za-z])|[^\x00-\x7f]M(?![A-Za-z])")
_VOLUME = re.compile(r"(transfer(red)?|dispensed?)_?vol(ume)?(_?(in_)?[nupm]?l)?|vol(ume)?_?[nup]l")
_MASS = re.compile(r"(?:[pnum]g|(?<![a-z])g)(?:/|per|_| )*(?:[um]?l|kg)(?![a-z])")
_PERCENT = re.compile(r"%|(?<![a-z])(percent|pct|v[/_ ]?v|w[/_ ]?v)(?![a-z])")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit of concentrations.

    Attributes:
        name: As notes and screen.json write it.
        power: Power of ten that makes µM of it.
        log: 1 where values are log10 of it, -1 where they are -log10, else 0.
    """

    name: str
    power: int
    log: int = 0

    def micromolar(self, values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Values in this unit as µM."""
        if self.log:
            with np.errstate(over="ignore"):
                return 10.0 ** (self.log * values + self.power)
        return values * 10.0**self.power if self.power >= 0 else values / 10.0**-self.power


MICROMOLAR = Unit("µM", 0)
UNITS = ("µM", "nM", "pM", "mM", "M", "log10(M)", "log10(µM)", "-log10(M)")


@dataclasses.dataclass(frozen=True)
class DoseName:
    """What a column's name says.

    Attributes:
        kind: a dose; perhaps one (in `doubt`); the unit of one.
        unit: of a dose, None where the name says none.
        log: 1 or -1 for a logarithm whose unit the name does not say.
        stem: the words that a dose and its unit column share; none where no word means a dose.
        doubt: what speaks against it.
    """

    kind: Literal["dose", "doubt", "unit"]
    unit: Unit | None = None
    log: int = 0
    stem: frozenset[str] = frozenset()
    doubt: str = ""


@functools.lru_cache(1 << 16)
def dose_name(name: str) -> DoseName | None:
    """What the name of a column says of doses; None if nothing."""
    bare = re.sub(r"^(image[_ ])?metadata[_ ]", "", _ascii(name).strip(), flags=re.IGNORECASE)
    chunks = re.findall(r"[A-Za-z]+\d*|\d+", bare)
    words = [word for chunk in chunks for word in _words(chunk)]
    if not words:
        return None
    has_stem = not _STEMS.isdisjoint(words)
    lower = bare.lower()
    if not has_stem and _POTENCY.match(words[0]):
        return None
    if "".join(words) == "mmolesperliter":
        return DoseName("dose", MICROMOLAR)  # LINCS's name; its numbers are µM
    shared = frozenset(words) - _UNIT_WORDS - _PER
    if not _UNIT_WORDS.isdisjoint(words) and (has_stem or len(words) == 1):
        return DoseName("unit", stem=shared)
    if has_stem and (_MASS.search(lower) or _PERCENT.search(lower)):
        why = "its unit needs the molar mass of each compound"
        return DoseName("doubt", stem=shared, doubt=why)
    if _LOST.search(bare):
        why = "a letter before its M is lost, and with it the unit"
        return DoseName("doubt", stem=shared, doubt=why)
    prefix, rest = _unit_of(words)
    log = _log_of(bare, rest)
    others = [word for word in rest if word not in _STEMS | _PLAIN | _LOG | _NEGATIVE]
    if others and any(_POTENCY.match(word) for word in others):
        return None
    unit = _unit(prefix, log) if prefix is not None else None
    if has_stem:
        if others or any(word in _NEGATIVE for word in rest) and not log:
            why = f"its name says {' '.join(words)!r}"
            return DoseName("doubt", unit, stem=shared, doubt=why)
        return DoseName("dose", unit, log, frozenset(rest))
    if not _DOUBTFUL_STEMS.isdisjoint(words):
        return DoseName("doubt", unit, doubt=f"its name says {' '.join(words)!r}")
    if _VOLUME.fullmatch(lower):
        return DoseName("doubt", doubt="a volume is no dose without its stock's concentration")
    if others and prefix and _MOLAR.search(bare):
        return DoseName("doubt", unit, doubt=f"its name says {' '.join(words)!r}")
    if prefix is None or others:
        return None
    # Only a unit: µM, compound_uM, log10 M. Without its capital it may be a length.
    capital = bool(re.search(r"(?<![A-Za-z])[munpf]?M\W*$", bare)) or "molar" in lower
    sure = bool(log) or (capital and prefix != "") or lower == "um" or "molar" in lower
    if sure or (prefix != "" and not _OF_COMPOUNDS.isdisjoint(rest)):
        return DoseName("dose", unit, 0, frozenset(rest))
    alone = len(words) == 1 and (capital or prefix != "")
    return DoseName("doubt", unit, doubt=f"its name says only {name!r}") if alone else None


def parse_unit(text: str) -> Unit | None:
    """A unit as people write it: "nM", "µmol/L", "micromolar", "log10(M)"; None if it is none."""
    bare = _ascii(text).strip()
    lower = bare.lower()
    if not bare or _MASS.search(lower) or _PERCENT.search(lower) or _LOST.search(bare):
        return None
    chunks = re.findall(r"[A-Za-z]+\d*", bare)  # the exponent of L-1 is no word
    words = [word for chunk in chunks for word in _words(chunk)]
    prefix, rest = _unit_of(words)
    log = _log_of(bare, rest)
    if prefix is None or set(rest) - _LOG - _NEGATIVE or (rest and not log):
        return None
    if prefix == "" and bare == "m":
        return None  # a metre
    return _unit(prefix, log)


def needs_mass(text: str) -> bool:
    """Whether a unit can only be converted with a molar mass: mg/ml, %."""
    lower = _ascii(text).lower()
    return bool(_MASS.search(lower) or _PERCENT.search(lower))


def has_lost_letter(text: str) -> bool:
    """Whether a unit was µM or the like, until a program that knew no µ wrote it."""
    return bool(_LOST.search(_ascii(text)))


def _unit(prefix: str, log: int) -> Unit:
    shown = _SHOWN[prefix]
    name = shown if not log else f"{'-' if log < 0 else ''}log10({shown})"
    return Unit(name, _PREFIX[prefix], log)


def _ascii(text: str) -> str:
    for micro in ("Âµ", "Î¼", "µ", "μ"):  # noqa: RUF001 - UTF-8 read as Windows-1252 among them
        text = text.replace(micro, "u")
    return text


# Words that names glue together, longest first: treatmentconc, concum, logM, pConc.
_GLUED = sorted(
    {
        *(_STEMS | _PLAIN | _LOG | _NEGATIVE | _UNIT_WORDS | _DOUBTFUL_STEMS | (_PER - {"l1"})),
        *(f"{p}m" for p in _PREFIX),
        *(f"{p}{mole}" for p in _PREFIX for mole in ("mol", "mols", "mole", "moles")),
        *("molar", *(f"{long}molar" for long in _LONG)),
    },
    key=len,
    reverse=True,
)
_SPLIT = re.compile("|".join(_GLUED))
_WHOLE = re.compile(f"(?:{'|'.join(_GLUED)})+")
_MIXED = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*|\d+")


def _words(chunk: str) -> list[str]:
    """The words of a run of letters, in lower case: concUM as conc, um."""
    lower = chunk.lower()
    if _WHOLE.fullmatch(lower):
        return _segmented(lower) or [lower]
    parts = [part.lower() for part in _MIXED.findall(chunk)]
    return parts if not _STEMS.isdisjoint(parts) else [lower]


@functools.lru_cache(4096)
def _segmented(text: str) -> list[str] | None:
    """The fewest known words that make up a text."""
    if not text:
        return []
    best: list[str] | None = None
    for word in _GLUED:
        if text.startswith(word):
            rest = _segmented(text[len(word) :])
            if rest is not None and (best is None or len(rest) + 1 < len(best)):
                best = [word, *rest]
    return best


def _unit_of(words: list[str]) -> tuple[str | None, list[str]]:
    """The prefix of the molar unit among words, and the other words."""
    for i, word in enumerate(words):
        rest = [*words[:i], *words[i + 1 :]]
        if word.endswith("molar") and (word == "molar" or word[:-5] in _LONG):
            return _LONG.get(word[:-5], ""), rest
        if mole := re.fullmatch(r"([munpf]?)mole?s?", word):
            after = words[i + 1 :]
            while after and after[0] in _PER:
                after = after[1:]
            if len(after) < len(words) - i - 1:
                return mole[1], [*words[:i], *after]
        if re.fullmatch(r"[munpf]?m", word):
            return word[:-1], rest
    return None, list(words)


def _log_of(bare: str, words: list[str]) -> int:
    """1 for a logarithm, -1 for a negative one, 0 for none; pConc is -log10."""
    is_log = not _LOG.isdisjoint(words)
    negative = bare.startswith("-") or not _NEGATIVE.isdisjoint(words)
    if is_log:
        return -1 if negative else 1
    adjacent = any(a == "p" and b in _STEMS for a, b in zip(words, words[1:], strict=False))
    return -1 if adjacent else 0
