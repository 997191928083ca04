"""Write-once enforced by the database itself, whoever speaks SQL to it (STR-04).

Records, disclosures and keys go only after a record that explains their absence; what names or orders them
never changes. PostgreSQL's owner and SQLite's file owner can drop triggers: against them stand the hashes.
"""

from __future__ import annotations

from typing import Final

_EXPLAINED: Final = """EXISTS (SELECT 1 FROM explanations e
        JOIN records r ON r.tenant_no = e.tenant_no AND r.position = e.explained_by
        WHERE e.tenant_no = OLD.tenant_no AND e.target = {target})"""
_RECORD_TARGET: Final = "'record:' || CAST(OLD.position AS TEXT)"
_RECORD_EXPLAINED: Final = _EXPLAINED.format(target=_RECORD_TARGET)
_SUBJECT_EXISTS: Final = """EXISTS (SELECT 1 FROM subject_keys k
        WHERE k.tenant_no = OLD.tenant_no AND k.key_id = OLD.key_id)"""

_NEVER: Final = "1 = 1"
_FIXED: Final = {
    "records": _NEVER,
    "disclosures": _NEVER,
    "explanations": _NEVER,
    "idempotency": _NEVER,
    "dictionaries": _NEVER,
    "subject_keys": "OLD.tenant_no <> NEW.tenant_no OR OLD.key_id <> NEW.key_id OR OLD.ref <> NEW.ref",
    "tenant_keys": """OLD.tenant_no <> NEW.tenant_no OR OLD.purpose <> NEW.purpose
        OR OLD.version <> NEW.version OR OLD.created_us <> NEW.created_us""",
    "streams": """OLD.tenant_no <> NEW.tenant_no OR OLD.stream_no <> NEW.stream_no OR OLD.name <> NEW.name
        OR OLD.created_us <> NEW.created_us OR NEW.state NOT IN ('active', 'sealed', 'archived')
        OR (OLD.state <> 'active' AND NEW.state = 'active') OR (OLD.state = 'archived' AND NEW.state = 'sealed')""",
    "logs": """OLD.tenant_no <> NEW.tenant_no OR OLD.tenant <> NEW.tenant OR OLD.shard <> NEW.shard
        OR OLD.log_id <> NEW.log_id OR OLD.origin <> NEW.origin
        OR NEW.size < OLD.size OR NEW.recorded_us < OLD.recorded_us""",
    "shards": """OLD.shard <> NEW.shard OR NEW.next_sequence < OLD.next_sequence
        OR NEW.next_stream < OLD.next_stream""",
}
"""Which UPDATEs are refused: all of them, or those that change what must stay."""

_REMOVABLE: Final = {
    "records": _RECORD_EXPLAINED,
    "disclosures": f"{_RECORD_EXPLAINED} OR NOT {_SUBJECT_EXISTS}",
    "subject_keys": "{subject_explained}",
}
"""When a row may be deleted; those of every other table never."""

_REPLACED: Final = {
    # A row that is there already, or comes where the log has long gone by. SQLite's REPLACE deletes rows without
    # asking the triggers for DELETE, so it is stopped before the insert.
    "records": """NEW.sequence <= (SELECT max(sequence) FROM records)
          OR EXISTS (SELECT 1 FROM records WHERE tenant_no = NEW.tenant_no AND position = NEW.position)
          OR EXISTS (SELECT 1 FROM records WHERE tenant_no = NEW.tenant_no AND id = NEW.id)
          OR EXISTS (SELECT 1 FROM records
                     WHERE tenant_no = NEW.tenant_no AND stream_no = NEW.stream_no AND version = NEW.version)""",
    "disclosures": "NEW.position < (SELECT size FROM logs WHERE tenant_no = NEW.tenant_no)",
    "idempotency": "NEW.position < (SELECT size FROM logs WHERE tenant_no = NEW.tenant_no)",
    "streams": "EXISTS (SELECT 1 FROM streams WHERE tenant_no = NEW.tenant_no AND name = NEW.name)",
    "logs": """EXISTS (SELECT 1 FROM logs WHERE tenant_no = NEW.tenant_no OR tenant = NEW.tenant
          OR log_id = NEW.log_id OR origin = NEW.origin)""",
    "tenant_keys": """EXISTS (SELECT 1 FROM tenant_keys
          WHERE tenant_no = NEW.tenant_no AND purpose = NEW.purpose AND version = NEW.version)""",
}
_REPEATED: Final = {
    # These are inserted ON CONFLICT DO NOTHING, so a row that is there already is passed over in silence.
    "shards": "EXISTS (SELECT 1 FROM shards WHERE shard = NEW.shard)",
    "dictionaries": "EXISTS (SELECT 1 FROM dictionaries WHERE codec = NEW.codec)",
    "explanations": """EXISTS (SELECT 1 FROM explanations
          WHERE tenant_no = NEW.tenant_no AND target = NEW.target)""",
    "subject_keys": "EXISTS (SELECT 1 FROM subject_keys WHERE tenant_no = NEW.tenant_no AND key_id = NEW.key_id)",
}


def _sqlite_trigger(table: str, name: str, event: str, when: str, action: str) -> str:
    return f"""CREATE TRIGGER IF NOT EXISTS {table}_{name} BEFORE {event} ON {table}
        WHEN {when} BEGIN SELECT RAISE({action}); END"""


def _sqlite() -> list[str]:
    subject = _EXPLAINED.format(target="'subject:' || lower(hex(OLD.ref))")
    triggers = []
    for table, changes in _FIXED.items():
        gone = _REMOVABLE.get(table, "1 = 0").format(subject_explained=subject)
        stays = f"ABORT, '{table}: a row goes only after the record that explains it'"
        triggers += [
            _sqlite_trigger(table, "keep", "UPDATE", changes, f"ABORT, '{table} are write-once'"),
            _sqlite_trigger(table, "stay", "DELETE", f"NOT ({gone})", stays),
        ]
    for table, when in _REPLACED.items():
        refused = f"ABORT, '{table} are appended, never replaced'"
        triggers.append(_sqlite_trigger(table, "append", "INSERT", when, refused))
    for table, when in _REPEATED.items():
        triggers.append(_sqlite_trigger(table, "append", "INSERT", when, "IGNORE"))
    return triggers


_REFUSE: Final = """CREATE OR REPLACE FUNCTION atp_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% are write-once', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END $$"""
_STAY: Final = """CREATE OR REPLACE FUNCTION atp_{table}_explained() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT ({gone}) THEN
            RAISE EXCEPTION '%: a row goes only after the record that explains it', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN OLD;
    END $$"""


def _postgres_trigger(table: str, name: str, event: str, rest: str) -> str:
    return f"CREATE OR REPLACE TRIGGER {table}_{name} BEFORE {event} ON {table} {rest}()"


def _postgres() -> list[str]:
    subject = _EXPLAINED.format(target="'subject:' || encode(OLD.ref, 'hex')")
    triggers = [_REFUSE]
    for table, changes in _FIXED.items():
        keep = f"FOR EACH ROW WHEN ({changes}) EXECUTE FUNCTION atp_refuse"
        refuse = "FOR EACH {each} EXECUTE FUNCTION atp_refuse"
        stay = refuse.format(each="ROW")
        if gone := _REMOVABLE.get(table):
            triggers.append(_STAY.format(table=table, gone=gone.format(subject_explained=subject)))
            stay = f"FOR EACH ROW EXECUTE FUNCTION atp_{table}_explained"
        triggers += [
            _postgres_trigger(table, "keep", "UPDATE", keep),
            _postgres_trigger(table, "stay", "DELETE", stay),
            _postgres_trigger(table, "whole", "TRUNCATE", refuse.format(each="STATEMENT")),
        ]
    return triggers


SQLITE_TRIGGERS: Final = tuple(_sqlite())
POSTGRES_TRIGGERS: Final = tuple(_postgres())
