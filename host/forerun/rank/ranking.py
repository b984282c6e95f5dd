"""Which site-energy solution serves best: weighted sum and TOPSIS on four criteria, and how firm each place is.

Every KPI has a fixed scale, so that adding a solution never changes the score of another. What is not known scores
nothing and lowers the confidence; it is never filled in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forerun.errors import WrongUsage
from forerun.rank.bundle import CRITERIA, GRADES, Bundle

WEIGHTS = {"coordination": 0.35, "carbon": 0.30, "climate": 0.15, "data": 0.20}
# KPI: (value that scores 0, value that scores 1); linear between, clipped outside.
SCALES = {
    "readiness_lead_s": (0, 600), "missed_surge_share": (0.2, 0), "dips_per_month": (30, 0),
    "import_violations_per_month": (30, 0), "whole_life_g_per_kwh": (800, 0), "output_at_40c_share": (0.5, 1),
    "availability_share": (0.95, 1), "availability_humid_share": (0.95, 1), "evidenced_field_share": (0, 1),
}  # fmt: skip
GRADE_CAP = dict(zip(GRADES, (1.0, 0.8, 0.6, 0.4, 0.2), strict=True))
TRIES, SEED = 2000, 1
WEIGHT_SPREAD = 0.25  # standard deviation of a weight, relative
# Standard deviation of a score that is known, by the grade of its evidence: what is only stated is less sure.
SCORE_SPREAD = dict(zip(GRADES, (0.02, 0.03, 0.05, 0.08, 0.12), strict=True))
FIRM = 0.95  # of the tries must agree before one is said to be before the other


@dataclass(frozen=True, slots=True)
class Place:
    """One solution: scores 0–1 by criterion (None = nothing known), totals, and how often it held its place."""

    vendor: str
    product: str
    scores: dict[str, float | None]
    weighted_sum: float
    topsis: float
    topsis_place: int
    confidence: float
    firmness: float
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Places, best first by weighted sum; pairs that cannot be told apart; what a reader must know."""

    weights: dict[str, float]
    places: tuple[Place, ...]
    ties: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def rank(bundles: Sequence[Bundle], weights: Mapping[str, float] = WEIGHTS) -> Ranking:
    """The ranking of two or more bundles. Raises WrongUsage for fewer, for one twice, or for weights that are none."""
    names = [f"{item.vendor} {item.product}" for item in bundles]
    if len(bundles) < 2 or len(set(names)) < len(names):
        raise WrongUsage("name at least two different bundles to compare")
    if set(weights) != set(WEIGHTS) or min(weights.values()) < 0 or not sum(weights.values()) > 0:
        raise WrongUsage(f"weights must be given for {', '.join(WEIGHTS)}, none below 0")
    share = np.array([weights[name] for name in WEIGHTS]) / sum(weights.values())
    parts, known = _parts(bundles)
    scores = _criteria(parts, bundles)
    totals, closeness = scores @ share, _topsis(scores, share)
    order = sorted(range(len(bundles)), key=lambda index: (-totals[index], names[index]))
    wins = _tries(parts, known, bundles, share)
    before = [names[index] for index in np.argsort(-closeness, kind="stable")]
    places = []
    for position, index in enumerate(order):
        others = [*(wins[other, index] for other in order[:position]), *(wins[index, o] for o in order[position + 1 :])]
        places.append(Place(
            bundles[index].vendor, bundles[index].product, _shown(scores[index], known[index]),
            float(totals[index]), float(closeness[index]), before.index(names[index]) + 1,
            float(_confidence(known[index], share)), float(min(others)),
            tuple(name for name, value in bundles[index].kpis.items() if value is None)))  # fmt: skip
    ties = [(names[a], names[b]) for place, a in enumerate(order) for b in order[place + 1 :] if wins[a, b] < FIRM]
    return Ranking({name: float(value) for name, value in zip(WEIGHTS, share, strict=True)}, tuple(places),
                   tuple(ties), _notes(places))  # fmt: skip


def _parts(bundles: Sequence[Bundle]) -> tuple[np.ndarray, np.ndarray]:
    """(score 0–1, whether known) of each KPI: (bundles, KPIs); an unknown one scores 0."""
    scores, known = np.zeros((len(bundles), len(SCALES))), np.zeros((len(bundles), len(SCALES)), dtype=bool)
    for row, item in enumerate(bundles):
        for column, (name, (worst, best)) in enumerate(SCALES.items()):
            value = item.kpis[name]
            if value is not None:
                known[row, column] = True
                scores[row, column] = min(1.0, max(0.0, (float(value) - worst) / (best - worst)))
    return scores, known


def _criteria(parts: np.ndarray, bundles: Sequence[Bundle]) -> np.ndarray:
    """(bundles, criteria): means of the KPIs; the data criterion is capped by the grade of the evidence."""
    columns = {name: index for index, name in enumerate(SCALES)}
    scores = np.stack([parts[:, [columns[name] for name in names]].mean(axis=1) for names in CRITERIA.values()], axis=1)
    caps = np.array([GRADE_CAP[item.grade] for item in bundles])
    place = list(CRITERIA).index("data")
    scores[:, place] = np.minimum(scores[:, place], caps)
    return scores


def _topsis(scores: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Closeness 0–1 to the ideal, which is a score of 1 everywhere and its opposite 0: two rows that stand for them
    keep the method's scaling by least and greatest from moving."""
    from pymcdm.methods import TOPSIS

    anchored = np.vstack([scores, np.zeros(scores.shape[1]), np.ones(scores.shape[1])])
    return TOPSIS()(anchored, share, np.ones(scores.shape[1]), validation=False)[: len(scores)]


def _tries(parts: np.ndarray, known: np.ndarray, bundles: Sequence[Bundle], share: np.ndarray) -> np.ndarray:
    """(bundles, bundles): share of tries in which the row came before the column, by both methods; weights and known
    scores vary a little, an unknown one may be anything."""
    rng, spread = np.random.default_rng(SEED), np.array([[SCORE_SPREAD[item.grade]] for item in bundles])
    wins = np.zeros((len(bundles), len(bundles)))
    for _ in range(TRIES):
        weights = share * np.exp(rng.normal(0, WEIGHT_SPREAD, len(share)))
        weights /= weights.sum()
        drawn = np.clip(parts + rng.normal(0, 1, parts.shape) * spread, 0, 1)
        drawn = np.where(known, drawn, rng.uniform(0, 1, parts.shape))
        scores = _criteria(drawn, bundles)
        for totals in (scores @ weights, _topsis(scores, weights)):
            wins += totals[:, None] > totals[None, :]
    return wins / (2 * TRIES)


def _confidence(known: np.ndarray, share: np.ndarray) -> float:
    """Weight of what is known, 0–1."""
    columns = {name: index for index, name in enumerate(SCALES)}
    each = [known[[columns[name] for name in names]].mean() for names in CRITERIA.values()]
    return float(np.dot(each, share))


def _shown(scores: np.ndarray, known: np.ndarray) -> dict[str, float | None]:
    columns = {name: index for index, name in enumerate(SCALES)}
    return {name: float(score) if known[[columns[kpi] for kpi in kpis]].any() else None
            for score, (name, kpis) in zip(scores, CRITERIA.items(), strict=True)}  # fmt: skip


def _notes(places: Sequence[Place]) -> tuple[str, ...]:
    sure = ", ".join(f"{grade} {100 * spread:g}" for grade, spread in SCORE_SPREAD.items())
    said = [f"{TRIES} tries: each weight varies by {100 * WEIGHT_SPREAD:g} % (standard deviation), each known score by "
            f"so many points of 100 as its grade of evidence says ({sure}); what is not known may be anything"]
    for position, place in enumerate(places, start=1):
        if place.topsis_place != position:
            said.append(f"{place.vendor} is at {position} by weighted sum and at {place.topsis_place} by TOPSIS")
        if place.missing:
            said.append(f"{place.vendor} does not tell {', '.join(place.missing)}: scored as nothing, not guessed")
    return tuple(said)
