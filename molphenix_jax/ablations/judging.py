"""From the runs of an ablation to its table: means over seeds, paired differences, verdicts."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from molphenix_jax.ablations import course
from molphenix_jax.ablations.grid import GRADED, Ablation, AblationError, Claim, Tier, why_skipped
from molphenix_jax.ablations.running import Planned
from molphenix_jax.errors import InputError
from molphenix_jax.evaluation import METRICS, Ranks, RankTable, pool
from molphenix_jax.evaluation.contrasts import Contrast, contrasts
from molphenix_jax.evaluation.graded import CHANCE, QUERY
from molphenix_jax.evaluation.kept import QUERY_COLUMNS, PairingError, paired_ranks
from molphenix_jax.evaluation.protocol import FURTHER_GALLERIES, HELDOUT
from molphenix_jax.runtime.config import plain
from molphenix_jax.runtime.workdir.folder import GRADED_FILE, RANKS_FILE

MODEL = "molphenix"  # in tables of ranks
_UNSEEN, _DIRECTION = "unseen_molecules", "profile_to_molecule"


def judge(
    ablation: Ablation,
    planned: Sequence[Planned],
    tier: Tier,
    inputs: Mapping[str, str],
    *,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The table of an ablation from those of its runs that are finished, as JSON types.

    Args:
        ablation: Which.
        planned: Its runs.
        tier: How large.
        inputs: Name → file that the user gave.
        about: Stands first in the table: tier, data, versions.

    Returns:
        `rows` (what each varies; `skipped`, `unfinished` runs, `twin_of`: a row that trained the
        same to the last digit), `results` (a line for each setting, metric and row: `mean` and `sd`
        over `seeds`, `difference` to the reference with the ends of its simultaneous interval, and
        its verdict), `claims` and `curves`. A row with an unfinished run is in no result.

    Raises:
        InputError: The runs were not asked the same.
    """
    by_row = {
        row.name: [p for p in planned if p.cell.row.name == row.name] for row in ablation.rows
    }
    rows, firsts = [], {}
    for row in ablation.rows:
        runs = by_row[row.name]
        unfinished = sum(not p.finished for p in runs)
        line = {
            "name": row.name,
            "label": row.label,
            "fields": {"config": row.config, **plain(dict(row.fields))},
            "skipped": why_skipped(row, tier, inputs),
            "unfinished": unfinished,
            "twin_of": "",
        }
        if runs and not unfinished:
            trained = course.metrics_of(runs[0]).read_bytes()
            line["twin_of"] = firsts.setdefault(trained, row.name)
            line["twin_of"] = "" if line["twin_of"] == row.name else line["twin_of"]
        rows.append(line)
    ready = [line["name"] for line in rows if not line["skipped"] and not line["unfinished"]]
    table = {
        "name": ablation.name,
        "title": ablation.title,
        "paper": ablation.paper,
        **about,
        "reference": ablation.reference,
        "margin": ablation.margin,
        "note": ablation.note,
        "rows": rows,
        "results": [],
        "claims": [_claim(claim, {}, rows) for claim in ablation.claims],
        "curves": [course.curve(name, by_row[name]) for name in ready],
    }
    if not ready:
        return table
    frames, n_seeds = _frames(ablation, by_row, ready), tier.seeds
    try:
        ranks, _ = paired_ranks(frames, model=MODEL)
    except PairingError as error:
        raise InputError(f"ablation {ablation.name}: {error}") from error
    graded = _graded(ablation, by_row, ready)
    found: dict[tuple, dict[tuple[str, str], Contrast]] = {}
    for ranked in _settings(ranks, heldout=ablation.heldout):
        s = ranked.setting
        for metric in METRICS:
            lines, told = _compare(ablation, ranked, metric, n_seeds)
            table["results"] += lines
            found[s.subset, s.psi, s.gallery, metric] = told
        if graded is not None and s.gallery == "full" and s.subset in ("all", "active"):
            size = round(float(ranked.n_gallery.mean()))
            setting = {**dataclasses.asdict(s), "n_gallery": size}
            lines, told = _compare_graded(ablation, graded, setting, n_seeds)
            table["results"] += lines
            found[s.subset, s.psi, s.gallery, GRADED] = told
    table["claims"] = [_claim(claim, found, rows) for claim in ablation.claims]
    return table


def faults(table: Mapping[str, Any]) -> list[str]:
    """What a smoke test must not find: rows that came to nothing, or that trained the same.

    Two rows whose losses are equal in every digit differ in a field that never reached the model.
    """
    told = [
        f"{table['name']}/{row['name']}: trained exactly as {row['twin_of']}: what they differ in "
        "has not reached the model"
        for row in table["rows"]
        if row["twin_of"]
    ]
    told += [
        f"{table['name']}/{row['name']}: {row['unfinished']} runs are not finished"
        for row in table["rows"]
        if row["unfinished"]
    ]
    for line in table["results"]:
        if not np.isfinite([line["mean"], line["difference"] or 0.0, line["chance"]]).all():
            told.append(f"{table['name']}/{line['row']}: a number is not finite: {line}")
    with_results = {line["row"] for line in table["results"]}
    told += [
        f"{table['name']}/{row['name']}: no result"
        for row in table["rows"]
        if not row["skipped"] and row["name"] not in with_results
    ]
    return told


def _frames(
    ablation: Ablation, by_row: Mapping[str, Sequence[Planned]], ready: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Ranks of each row and seed, held-out doses below each other, and of the baselines."""
    frames: dict[str, pd.DataFrame] = {}
    for name in ready:
        for seed in sorted({p.cell.seed for p in by_row[name]}):
            parts = [_asked(ablation, p) for p in by_row[name] if p.cell.seed == seed]
            frame = pd.concat(parts, ignore_index=True)
            others = [c for c in frame.columns if c not in (*QUERY_COLUMNS, MODEL)]
            frames[_key(name, seed)] = frame.drop(columns=others)
            for other in others:
                alone = frame.drop(columns=[MODEL, *(c for c in others if c != other)])
                frames[_key(_apart(ablation, other), -1)] = alone.rename(columns={other: MODEL})
    return frames


def _asked(ablation: Ablation, run: Planned) -> pd.DataFrame:
    """What the ablation is about: unseen molecules, or the dose that was held out."""
    frame = _read(run.folder / RANKS_FILE)
    further = frame["gallery"].isin(FURTHER_GALLERIES)
    return frame.loc[
        (frame["split"] == _split(run)) & (frame["direction"] == _DIRECTION) & ~further
    ]


def _read(file: pathlib.Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # Arrow's own are of the latter kind
        raise AblationError(
            f"{file} cannot be read ({' '.join(str(error).split())}); remove the folder "
            f"{file.parent}, and the same command makes that run anew"
        ) from error


def _split(run: Planned) -> str:
    return _UNSEEN if run.cell.dose is None else f"{HELDOUT}{run.cell.dose:g}"


def _apart(ablation: Ablation, baseline: str) -> str:
    """Name of a baseline: a row may be called as it is (physchem), and is another model."""
    taken = baseline in {row.name for row in ablation.rows}
    return f"{baseline} (baseline)" if taken else baseline


def _key(name: str, seed: int) -> str:
    return f"{name}/{seed}"


def _settings(ranks: Ranks, *, heldout: bool) -> list[RankTable]:
    """The tables to compare in; of several held-out doses the one that pools them."""
    tables = list(pool([ranks]).tables)
    pooled = [table for table in tables if table.setting.split == f"{HELDOUT}pooled"]
    return pooled or tables if heldout else tables


def _compare(
    ablation: Ablation, ranked: RankTable, metric: str, n_seeds: int
) -> tuple[list[dict], dict[tuple[str, str], Contrast]]:
    """A line for each row and baseline of one setting, and all differences that were asked for."""
    spec = METRICS[metric]
    found = {key: spec(rank, ranked.n_gallery) for key, rank in ranked.rank.items()}
    return _contrasted(
        ablation,
        dataclasses.asdict(ranked.setting),
        metric,
        _by_row(found, n_seeds),
        ranked.molecule,
        chance=float(spec.at_random(ranked.n_gallery).mean()),
        n_gallery=round(float(ranked.n_gallery.mean())),
    )


def _by_row(
    found: Mapping[str, Float[np.ndarray, " q"]], n_seeds: int
) -> dict[str, Float[np.ndarray, "s q"]]:
    """Values by `_key`, under each row or baseline those of its seeds; a baseline has none."""
    values: dict[str, list[np.ndarray]] = {}
    for key, value in found.items():
        name, _, seed = key.rpartition("/")
        values.setdefault(name, []).extend([value] * (n_seeds if int(seed) < 0 else 1))
    return {name: np.stack(of) for name, of in values.items()}


def _contrasted(
    ablation: Ablation,
    setting: Mapping[str, Any],
    metric: str,
    values: Mapping[str, Float[np.ndarray, "s q"]],
    molecule: Shaped[np.ndarray, " q"],
    *,
    chance: float,
    n_gallery: int,
) -> tuple[list[dict], dict[tuple[str, str], Contrast]]:
    """As `_compare`, of the values of all queries of one setting."""
    own = {row.name for row in ablation.rows}
    pairs = [(name, ablation.reference) for name in values if name != ablation.reference]
    asked = (pair for claim in ablation.claims for pair in claim.contrasts)
    pairs += [
        pair for pair in dict.fromkeys(asked) if pair not in pairs and pair[::-1] not in pairs
    ]
    pairs = [pair for pair in pairs if {*pair} <= {*values}]
    found = {(c.first, c.second): c for c in contrasts(values, molecule, pairs)}
    lines = []
    for name, value in values.items():
        by_seed = value.mean(axis=1)
        contrast = found.get((name, ablation.reference))
        low, high = (contrast and contrast.interval) or (None, None)
        alone = "reference" if name == ablation.reference else "not compared"
        lines.append(
            {
                **{key: setting[key] for key in ("subset", "psi", "gallery")},
                "metric": metric,
                "row": name,
                "baseline": name not in own,
                "mean": float(by_seed.mean()),
                "sd": float(by_seed.std(ddof=1)) if len(by_seed) > 1 and name in own else None,
                "seeds": by_seed.tolist() if name in own else by_seed[:1].tolist(),
                "chance": chance,
                "n_queries": len(molecule),
                "n_molecules": len(np.unique(molecule)),
                "n_gallery": n_gallery,
                "difference": contrast and contrast.difference,
                "low": low,
                "high": high,
                "verdict": contrast.verdict(ablation.margin) if contrast else alone,
            }
        )
    return lines, found


def _graded(
    ablation: Ablation, by_row: Mapping[str, Sequence[Planned]], ready: Sequence[str]
) -> pd.DataFrame | None:
    """NDCG of each row and seed, and of the baselines, under `_key`, a line for each query.

    None where a run has none: relevance cannot be told, or an earlier version evaluated it.
    """
    columns: dict[str, Any] = {}
    for name in ready:
        for seed in sorted({p.cell.seed for p in by_row[name]}):
            runs = [p for p in by_row[name] if p.cell.seed == seed]
            if not all((p.folder / GRADED_FILE).exists() for p in runs):
                return None
            parts = [(p, _read(p.folder / GRADED_FILE)) for p in runs]
            frame = pd.concat([of.loc[of["split"] == _split(p)] for p, of in parts])
            frame = frame.set_index(list(QUERY))
            columns[_key(name, seed)] = frame[MODEL]
            for other in frame.columns.difference([MODEL, "graded_by"]):
                columns[_key(_apart(ablation, other), -1)] = frame[other]
    return pd.concat(columns, axis=1, join="inner").dropna().reset_index()


def _compare_graded(
    ablation: Ablation, found: pd.DataFrame, setting: Mapping[str, Any], n_seeds: int
) -> tuple[list[dict], dict[tuple[str, str], Contrast]]:
    """As `_compare` by nDCG, of the queries of a setting with a full gallery."""
    psi = setting["psi"]
    part = found if psi is None else found.loc[found["p_value"] <= psi]
    told = {str(key): part[key].to_numpy(np.float64) for key in found.columns.difference(QUERY)}
    chance = told.pop(_key(CHANCE, -1), np.zeros(len(part)))
    rows = [row.name for row in ablation.rows]
    order = sorted(
        told,
        key=lambda key: rows.index(of) if (of := key.rpartition("/")[0]) in rows else len(rows),
    )
    return _contrasted(
        ablation,
        setting,
        GRADED,
        _by_row({key: told[key] for key in order}, n_seeds),
        part["molecule"].to_numpy(str),
        chance=float(chance.mean()),
        n_gallery=setting["n_gallery"],
    )


def _claim(claim: Claim, found: Mapping[tuple, Mapping], rows: Sequence[Mapping]) -> dict[str, Any]:
    """A claim with its differences, in the full gallery.

    The active one of a small screen is so small that its best 1% are fewer candidates than a
    molecule has doses: a row that is told no dose, whose doses tie, could not hit in it.
    """
    keys = [key for key in found if key[0] == claim.subset and key[2:] == ("full", claim.metric)]
    told = found[min(keys, key=lambda key: key[1] or 0)] if keys else {}
    lines, missing = [], []
    for first, second in claim.contrasts:
        contrast = told.get((first, second))
        turned = told.get((second, first))
        if contrast is None and turned is not None:
            ends = turned.interval and (-turned.interval[1], -turned.interval[0])
            contrast = Contrast(first, second, -turned.difference, ends)
        if contrast is None:
            missing += [first, second]
            continue
        low, high = contrast.interval or (None, None)
        lines.append(
            {
                "first": first,
                "second": second,
                "difference": contrast.difference,
                "low": low,
                "high": high,
            }
        )
    skipped = [
        f"{r['label']}: {r['skipped'] or 'not finished'}"
        for r in rows
        if r["name"] in missing and (r["skipped"] or r["unfinished"])
    ]
    said = verdict(lines)
    return {
        "text": claim.text,
        "paper": claim.paper,
        "subset": claim.subset,
        "metric": claim.metric,
        "psi": min(keys, key=lambda key: key[1] or 0)[1] if keys else None,
        "reading": claim.reading,
        "contrasts": lines,
        "missing": skipped,
        # What was not compared may be what a claim fails at.
        "verdict": "weakly" if said == "holds" and missing else said,
    }


def verdict(lines: Sequence[Mapping]) -> str:
    """Of a claim: holds, weakly, fails, or not measured.

    It holds where every interval lies above 0, and fails where one lies below, or where the
    differences are not above 0 in the mean; between the two it holds weakly.
    """
    if not lines:
        return "not measured"
    if all(line["low"] is not None and line["low"] > 0 for line in lines):
        return "holds"
    below = any(line["high"] is not None and line["high"] < 0 for line in lines)
    mean = sum(line["difference"] for line in lines) / len(lines)
    return "fails" if below or mean <= 0 else "weakly"
