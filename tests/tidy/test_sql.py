"""SQL is written once for both engines, and no statement can see two tenants by accident."""

import re

from tests.tidy.source import Module, program, strings

STATEMENT = re.compile(r"\s*(?:/\*.*?\*/\s*|--[^\n]*\n\s*)*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.DOTALL)
TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS\s+(\w+)\s*\((.*)\)", re.DOTALL)
TENANT_COLUMN = re.compile(r"(?:^|,)\s*tenant\w*\s+[A-Z]", re.MULTILINE)
CONFINED = re.compile(
    r"\btenant\w*\s*(?:=|IN\b)|(?:=)\s*(?:\w+\.)?tenant\w*\b|\(tenant\w*,[^)]*\)\s*(?:=|IN\b|>|<)"
)

# A statement meant for every tenant says why, in SQL, where it is read: /* every tenant: … */
EVERY_TENANT = "every tenant:"


def _statements(module: Module) -> list[tuple[str, int]]:
    return [(text, line) for text, line in strings(module) if STATEMENT.match(text)]


def test_placeholders_first_occur_in_order() -> None:
    """`$1, $2, …` in that order of first occurrence means the same to SQLite, by position, and to PostgreSQL.

    SQLite numbers parameters it has not seen by their first occurrence, whatever they are called.
    """
    bad = []
    for module in program():
        for text, line in _statements(module):
            if "${…}" in text:
                continue
            seen = list(dict.fromkeys(int(number) for number in re.findall(r"\$(\d+)", text)))
            if seen != list(range(1, len(seen) + 1)):
                bad.append(f"{module.place}:{line} {seen}: {' '.join(text.split())[:80]}")
    assert not bad, "\n".join(bad)


def test_no_other_placeholder_style() -> None:
    """`?` and `%s` each work on one engine only, so they are not portable and not allowed beside `$n`."""
    bad = []
    for module in program():
        for text, line in _statements(module):
            bare = re.sub(r"'[^']*'", "''", text)
            if re.search(r"(?:=|\(|,|<|>|IN|LIKE|LIMIT|OFFSET|VALUES)\s*(?:\?|%s|%\(\w+\)s|:\w+)", bare):
                bad.append(f"{module.place}:{line} {' '.join(text.split())[:80]}")
    assert not bad, "\n".join(bad)


def test_no_value_is_written_into_a_statement() -> None:
    """What is spliced into SQL is a name or a list of placeholders of ours; a value inside quotes is injection."""
    bad = [
        f"{module.place}:{line} {' '.join(text.split())[:80]}"
        for module in program()
        for text, line in _statements(module)
        if re.search(r"'[^']*\{…\}[^']*'", text)
    ]
    assert not bad, "\n".join(bad)


def test_a_statement_on_a_tenants_table_is_confined_to_a_tenant() -> None:
    """Tenants stay apart in the statement itself, not in the good intentions of its callers.

    SELECT, UPDATE and DELETE compare a tenant column (`tenant = $1`, `r.tenant_no IN …`). A statement that is
    meant for all of them carries the comment `/* every tenant: why */`.
    """
    tables = {
        found[1]
        for module in program()
        for text, _ in strings(module)
        if (found := TABLE.search(text)) and TENANT_COLUMN.search(found[2])
    }
    assert "records" in tables, "the check has lost its object"
    bad = []
    for module in program():
        for text, line in _statements(module):
            if re.match(r"\s*INSERT\b", text):
                continue  # A tenant column is NOT NULL, so it cannot be forgotten.
            touched = set(re.findall(r"\b(?:FROM|JOIN|UPDATE)\s+(\w+)", text)) & tables
            if touched and not CONFINED.search(text) and EVERY_TENANT not in text:
                bad.append(f"{module.place}:{line} {sorted(touched)}: {' '.join(text.split())[:80]}")
    assert not bad, "\n".join(bad)
