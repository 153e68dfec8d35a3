"""What an audit found: `book/claims.json`, read, written and summed up.

For each chapter and each of its claims the file holds the value that every variant found, and what follows from them:
where the claim fell short, how far its values are spread over the seeds, and its margin, the distance from the worst of
all values to the bound in units of that spread.
"""

import json
import math
import statistics
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import notebooks

FILE = notebooks.ROOT / "book" / "claims.json"
OWN = "own"
"""The variant that changes nothing."""

NEEDED = {"always": 1.0, "mostly": 0.5, "here": 0.0}
"""Share of the seeds under which a claim has to hold, by what its words promise: at least, of "mostly" more than."""


@dataclass(frozen=True, kw_only=True)
class Audited:
    """One claim over all variants."""

    words: str
    above: float | None = None
    below: float | None = None
    equals: float | str | None = None
    unit: str = ""
    often: str = "always"
    values: dict[str, float | str | None] = field(default_factory=dict)  # by variant; None: there was none
    short: tuple[str, ...] = ()  # variants in which it fell short, or was not reached
    spread: float | None = None  # standard deviation over the seeds; None: the values are words
    margin: float | None = None  # of the worst value; None: there is no spread, or no bound

    @property
    def name(self) -> tuple[object, ...]:
        """What makes it the same claim in two runs: words and bounds."""
        return (self.words, self.above, self.below, self.equals, self.unit, self.often)

    def held(self, variants: list[str]) -> int:
        """In how many of these variants it held."""
        return sum(variant not in self.short for variant in variants)


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One chapter over all variants."""

    machine: str
    date: str
    variants: list[str]
    failures: dict[str, str]  # by variant: what stopped the chapter's code
    claims: list[Audited]

    @property
    def seeds(self) -> list[str]:
        """The variants that differ by their seeds alone, the chapter's own among them."""
        return [each for each in self.variants if each == OWN or each.startswith("seeds")]

    @property
    def numerics(self) -> list[str]:
        """The variants with the chapter's own seeds."""
        return [each for each in self.variants if not each.startswith("seeds")]

    def broken(self, claim: Audited) -> list[str]:
        """Why a claim does not do what its words promise, in words; empty if it does."""
        short = [each for each in self.numerics if each in claim.short]
        found = [f"falls short under {'; '.join(short)}"] if short else []
        held, seeds = claim.held(self.seeds), len(self.seeds)
        needed = NEEDED[claim.often] * seeds
        if held < needed or (claim.often == "mostly" and held == needed):
            found.append(f"holds with {held} of {seeds} sets of seeds, and promises “{claim.often}”")
        return found


def thinnest(chapters: dict[str, Chapter]) -> list[tuple[float, str, Audited]]:
    """Margin, chapter and claim of all that is said to hold always and has a margin, the thinnest first."""
    found = [(each.margin, name, each) for name, chapter in chapters.items() for each in chapter.claims]
    return sorted(
        ((margin, name, each) for margin, name, each in found if margin is not None and each.often == "always"),
        key=lambda entry: entry[0],
    )


def summary(said: dict[str, str], chapters: dict[str, Chapter], count: int = 10) -> list[str]:
    """What an audit found, line by line: claims that hold per variant, thin margins, what fell short or failed."""
    lines = [f"{chapter.date}, {name}: {chapter.machine}" for name, chapter in chapters.items()]
    for variant in said:
        there = [chapter for chapter in chapters.values() if variant in chapter.variants]
        held = sum(variant not in claim.short for chapter in there for claim in chapter.claims)
        if there:
            lines.append(f"{variant:20} {held} of {sum(len(each.claims) for each in there)} claims hold")
    lines.append("thinnest margins, in spreads over the seeds, of what is said to hold always:")
    lines += [f"{margin:8.3g}  {name}: {claim.words}" for margin, name, claim in thinnest(chapters)[:count]]
    for name, chapter in chapters.items():
        lines += [f"STOPPED  {name} under {variant}: {error}" for variant, error in chapter.failures.items()]
        for claim in chapter.claims:
            lines += [f"SHORT  {name}: {claim.words}: {why}" for why in chapter.broken(claim)]
    return lines


def compare(results: dict[str, dict[str, Any]]) -> Chapter:
    """One chapter's results, by variant: each with `machine`, `date`, `claims` and, if its code failed, `failed`."""
    words = list(dict.fromkeys(each["words"] for result in results.values() for each in result["claims"]))
    claims = []
    for one in words:
        runs = {name: [each for each in result["claims"] if each["words"] == one] for name, result in results.items()}
        claims.append(_audited(runs))
    latest = max(results.values(), key=lambda result: result["date"])
    failures = {name: result["failed"]["error"] for name, result in results.items() if result.get("failed")}
    return Chapter(
        machine=latest["machine"], date=latest["date"], variants=list(results), failures=failures, claims=claims
    )


def _audited(runs: dict[str, list[dict[str, Any]]]) -> Audited:
    """One claim, as each variant made it: once, or not at all."""
    said = next(made[0] for made in runs.values() if made)
    values = {name: _short_form(made[0]["value"]) if made else None for name, made in runs.items()}
    seeds = [value for name, value in values.items() if name == OWN or name.startswith("seeds")]
    numbers = [value for value in seeds if isinstance(value, (int, float))]
    spread = statistics.stdev(numbers) if len(numbers) == len(seeds) > 1 else None
    bounds = {key: said[key] for key in ("above", "below", "equals")}
    slack = [_slack(value, **bounds) for value in values.values()]
    worst = None if bounds["equals"] is not None or None in slack else min(each for each in slack if each is not None)
    return Audited(
        words=said["words"],
        **bounds,
        unit=said["unit"],
        often=said["often"],
        values=values,
        short=tuple(name for name, made in runs.items() if not made or not all(each["holds"] for each in made)),
        spread=None if spread is None else float(f"{spread:.3g}"),
        margin=float(f"{worst / spread:.3g}") if worst is not None and spread else None,
    )


def _slack(value: float | str | None, above: float | None, below: float | None, equals: object) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    return min(math.inf if above is None else value - above, math.inf if below is None else below - value)


def _short_form(value: float | str | None) -> float | str | None:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read(file: Path | None = None) -> tuple[dict[str, str], dict[str, Chapter]]:
    """What each variant sets, in words, and the chapters by name; both empty where no audit was made."""
    file = file or FILE
    if not file.exists():
        return {}, {}
    content = json.loads(file.read_text(encoding="utf-8"))
    chapters = {}
    for name, entry in content["chapters"].items():
        claims = []
        for each in entry.pop("claims"):
            values = dict(zip(entry["variants"], each.pop("values"), strict=True))
            claims.append(Audited(**{**each, "short": tuple(each.get("short", ())), "values": values}))
        chapters[name] = Chapter(**entry, claims=claims)
    return content["variants"], chapters


def write(variants: dict[str, str], chapters: dict[str, Chapter], file: Path | None = None) -> None:
    """Write the file, one claim a line, so that a change of one is a change of one line."""
    blocks = []
    for name, chapter in chapters.items():
        head = {key: value for key, value in asdict(chapter).items() if key != "claims"}
        lines = ",\n".join(f"    {json.dumps(_line(each), ensure_ascii=False)}" for each in chapter.claims)
        inside = ",\n".join(f"   {_pair(key, value)}" for key, value in head.items())
        blocks.append(f'  {json.dumps(name)}: {{\n{inside},\n   "claims": [\n{lines}\n   ]}}')
    said = ",\n".join(f"  {_pair(key, value)}" for key, value in variants.items())
    text = f'{{\n "variants": {{\n{said}\n }},\n "chapters": {{\n' + ",\n".join(blocks) + "\n }\n}\n"
    (file or FILE).write_text(text, encoding="utf-8")


def _pair(key: str, value: object) -> str:
    return f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"


def _line(claim: Audited) -> dict[str, object]:
    """What differs from an `Audited` with nothing said, its values in the order of the chapter's variants."""
    plain = {each.name: each.default for each in fields(Audited)}
    kept = {key: value for key, value in asdict(claim).items() if key == "words" or value != plain.get(key)}
    return {**kept, "values": list(claim.values.values())}
