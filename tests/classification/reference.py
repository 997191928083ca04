"""The tables of docs/classification.md, made from the program: readers, field names, default methods.

`python -m tests.classification.reference` writes them into the page between its two marks; a test compares.
A reader's rules, types and confidences are those its table of cases brings out.
"""

from __future__ import annotations

from pathlib import Path

from atp.classification.model import CONFIDENCE_RANK, DEFAULT_PROFILE, LEVEL_OF_TYPE
from atp.classification.rules import readers
from atp.classification.rules.decisions import decider
from atp.classification.rules.field_names import RULES, FieldRule
from tests.classification.cases import CASES

PAGE = Path(__file__).parents[2] / "docs" / "classification.md"
BEGIN, END = "<!-- made from the program: begin -->\n", "<!-- made from the program: end -->\n"


def tables() -> str:
    """Both tables, by value and by field name."""
    lines = [
        "### By value",
        "",
        "| Rule | Type | Level | Confidence: default method | What is looked for |",
        "|---|---|---|---|---|",
    ]
    for name, (_, finds, _) in CASES.items():
        seen: dict[str, set[tuple[str, str]]] = {}
        for text in finds:
            for kind, confidence, rule in getattr(readers, name)(text):
                seen.setdefault(rule, set()).add((kind, confidence))
        about = (getattr(readers, name).__doc__ or DESCRIBED[name]).split("\n\n")[0].replace("|", "\\|")
        for rule, pairs in seen.items():
            kind = next(iter(pairs))[0]
            lines.append(
                f"| `{rule}` | {kind} | {LEVEL_OF_TYPE[kind]} | {methods(kind, {c for _, c in pairs})} | {about} |"
            )
    lines += [
        "",
        "### By field name",
        "",
        "| Rule | Type | Level | Confidence: default method | Names end in |",
        "|---|---|---|---|---|",
    ]
    endings: dict[str, tuple[FieldRule, list[str]]] = {}
    for ending, rule in RULES.items():
        endings.setdefault(rule.rule, (rule, []))[1].append(" ".join(ending))
    for rule, names in endings.values():
        lines.append(
            f"| `{rule.rule}` | {rule.type} | {LEVEL_OF_TYPE[rule.type]} | {methods(rule.type, {rule.confidence})} | {', '.join(names)} |"
        )
        if rule.otherwise is not None and rule.otherwise.rule not in "\n".join(lines):
            other = rule.otherwise
            about = "as above, where the value passes only the weaker test"
            lines.append(
                f"| `{other.rule}` | {other.type} | {LEVEL_OF_TYPE[other.type]} | {methods(other.type, {other.confidence})} | {about} |"
            )
    return "\n".join(lines) + "\n"


# Readers that are made from a pattern and a check, and so have no docstring of their own.
DESCRIBED = {
    "us_ssn": "United States: social security number with dashes, never-issued ranges left out.",
    "brazil_cpf": "Brazil: CPF with points and dash, two check digits.",
    "belgium_nn": "Belgium: national register number with points and dash, modulo 97.",
    "sweden_pnr": "Sweden: personnummer with its sign, date and Luhn.",
    "italy_cf": "Italy: codice fiscale, check letter.",
    "france_nir": "France: NIR, bare or grouped, modulo 97.",
    "india_aadhaar": "India: Aadhaar in groups of four, Verhoeff.",
}


def methods(kind: str, confidences: set[str]) -> str:
    """What the default profile does in open ground, for each confidence."""
    profile = decider(DEFAULT_PROFILE)
    ranked = sorted(confidences, key=CONFIDENCE_RANK.__getitem__, reverse=True)
    return ", ".join(f"{c}: {profile.method('/payload/x', kind, c)}" for c in ranked)  # type: ignore[arg-type]


def renewed(page: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
