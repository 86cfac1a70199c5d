"""All SQL of the SQLite journal. Pure text.

*Theory.* Rows are written and read many at a time through ONE statement and one JSON parameter or result. The reason
is the GIL: `sqlite3` gives it up and takes it back around every `sqlite3_step`, and beside a busy Python thread each
taking back costs up to a switch interval (5 ms). `executemany` steps once a row; scripts/bench_journal.py shows the
cost.

Outcomes and events keep what is never searched for in one JSON array, `record`. The table `layouts` names its members,
and the column `layout` says which of them a row has; so a file explains itself, and the views read members by name.
*Rejected:* a column for each member, because extracting a column from JSON costs as much as inserting it; an object
with names in every row, because it costs the journal thread 16 % more CPU time for each outcome, and makes the file of
150,000 tiny tasks 34 % larger (scripts/bench_journal.py, scripts/bench_million.py).

Parameters are `?` where each is used once, and named otherwise. Numbered ones (`?1`) are neither to `sqlite3`:
CPython 3.12.1 warns when a sequence is bound to them (https://github.com/python/cpython/issues/117995).

Everything is text: a value that is not JSON is stored as base64, and its `encoding` names its form; beside it is its
projection, which is `{"type": …, "value": …}`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

APPLICATION_ID: Final = 0x71756965
"""`quie`: marks an SQLite file as a journal."""

SCHEMA_VERSION: Final = 8
"""In `user_version`. A change of the schema adds one, and a step to migrations.py."""

OUTCOME_LAYOUT: Final = 3
EVENT_LAYOUT: Final = 2
"""The layouts of new rows."""

LAYOUTS: Final = {
    1: (
        *("seq", "status", "attempts", "value", "encoding", "error", "detail", "started_at", "ended_at"),
        *("slot", "incarnation", "signal", "projection"),
    ),
    2: ("kind", "at", "data", "address", "task", "slot", "incarnation"),
    3: (
        *("seq", "status", "attempts", "value", "encoding", "error", "detail", "started_at", "ended_at"),
        *("slot", "incarnation", "signal", "projection", "failure"),
    ),
}
"""The members of a `record`, by number of layout. A layout never changes, because rows have it: a new one is added."""


def select_layouts(*numbers: int) -> str:
    """Return a SELECT of the rows of `layouts` for these layouts."""
    return " UNION ALL ".join(
        f"SELECT {number} AS id, {position} AS position, '{name}' AS name"
        for number in numbers
        for position, name in enumerate(LAYOUTS[number])
    )


def name_layouts(*numbers: int) -> str:
    """Return the statement that stores the names of these layouts."""
    return f"INSERT INTO layouts(id, position, name) {select_layouts(*numbers)}"


TABLES: Final = f"""
CREATE TABLE runs(
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    config TEXT NOT NULL,
    cwd TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    sealed INTEGER NOT NULL DEFAULT 0,
    signal TEXT,
    starts INTEGER NOT NULL DEFAULT 0,
    owner_pid INTEGER,
    owner_host TEXT,
    ready INTEGER NOT NULL DEFAULT 1,
    parent INTEGER REFERENCES runs(id),
    labels TEXT NOT NULL DEFAULT '{{}}'
);
CREATE TABLE supervisors(
    run INTEGER NOT NULL REFERENCES runs(id),
    token TEXT NOT NULL,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    PRIMARY KEY (run, token)
) WITHOUT ROWID;
CREATE TABLE tasks(
    run INTEGER NOT NULL REFERENCES runs(id),
    seq INTEGER NOT NULL,
    key TEXT NOT NULL,
    input TEXT NOT NULL,
    encoding TEXT NOT NULL,
    priority INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_by_key ON tasks(run, key);
CREATE INDEX tasks_urgent ON tasks(run, seq) WHERE priority > 0;
CREATE TABLE agents(
    run INTEGER NOT NULL REFERENCES runs(id),
    number INTEGER NOT NULL,
    identity TEXT NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE TABLE layouts(
    id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id, position)
) WITHOUT ROWID;
CREATE TABLE outcomes(
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    status TEXT NOT NULL,
    record TEXT NOT NULL,
    layout INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE snapshots(
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    data TEXT NOT NULL,
    encoding TEXT NOT NULL,
    projection TEXT,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE events(
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    record TEXT NOT NULL,
    layout INTEGER NOT NULL DEFAULT 2,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE output(
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    task INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    first INTEGER NOT NULL,
    size INTEGER NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE INDEX output_by_task ON output(run, task, number);
CREATE TABLE requests(
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    signal TEXT NOT NULL,
    task INTEGER,
    key TEXT
);
CREATE TABLE progress(
    run INTEGER PRIMARY KEY,
    report TEXT NOT NULL
);
CREATE TABLE undo(
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    task INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL,
    at REAL NOT NULL,
    error TEXT,
    host TEXT NOT NULL,
    command TEXT NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE INDEX undo_outstanding ON undo(run, number) WHERE state IN ('held', 'running');
{name_layouts(*LAYOUTS)};
"""


def _members(row: str, names: str) -> str:
    """Return the columns of a view: members of `record` by their names."""
    return ",\n        ".join(
        f"json_extract({row}.record, (SELECT '$[' || position || ']' FROM layouts"
        f" WHERE id = {row}.layout AND name = '{name}')) AS {name}"
        for name in names.split()
    )


VIEWS: Final = (
    """
CREATE TRIGGER outcomes_are_final BEFORE UPDATE ON outcomes WHEN OLD.status IN ('completed', 'failed')
BEGIN
    SELECT RAISE(ABORT, 'a terminal outcome never changes');
END""",
    """
CREATE VIEW undo_list AS
    SELECT r.run_id, t.key, u.number, u.attempt, u.state, u.tries, u.at, u.error, u.host,
        json_extract(u.command, '$.kind') AS kind, json_extract(u.command, '$.name') AS name,
        json_extract(u.command, '$.argv') AS argv
    FROM undo u JOIN runs r ON r.id = u.run LEFT JOIN tasks t ON t.run = u.run AND t.seq = u.task""",
    f"""
CREATE VIEW outcome_list AS
    SELECT r.run_id, t.key, o.seq, o.status,
        {_members("o", "attempts value encoding projection error detail started_at ended_at slot incarnation signal")},
        {_members("o", "failure")}
    FROM outcomes o JOIN tasks t ON t.run = o.run AND t.seq = o.seq JOIN runs r ON r.id = o.run""",
    """
CREATE VIEW snapshot_list AS
    SELECT r.run_id, t.key, s.seq, s.data, s.encoding, s.projection
    FROM snapshots s JOIN tasks t ON t.run = s.run AND t.seq = s.seq JOIN runs r ON r.id = s.run""",
    """
CREATE VIEW output_list AS
    SELECT r.run_id, t.key, o.number, json_extract(l.value, '$[0]') AS at, json_extract(l.value, '$[1]') AS stream,
        json_extract(l.value, '$[2]') AS text, coalesce(json_extract(l.value, '$[3]'), 'info') AS level,
        json_extract(l.value, '$[4]') AS logger
    FROM output o JOIN runs r ON r.id = o.run LEFT JOIN tasks t ON t.run = o.run AND t.seq = o.task,
        json_each(o.lines) AS l""",
    f"""
CREATE VIEW event_list AS
    SELECT r.run_id, e.seq,
        {_members("e", "kind at data address task slot incarnation")}
    FROM events e JOIN runs r ON r.id = e.run""",
)
"""The trigger and the views. A migration drops them first and makes them anew at its end."""

# -- runs --------------------------------------------------------------------------------------------------

_RUN_COLUMNS: Final = (
    "id, run_id, agent, config, cwd, status, created_at, started_at, ended_at, sealed, signal, starts,"
    " owner_pid, owner_host, ready, parent, labels"
)
ALL_RUNS: Final = f"SELECT {_RUN_COLUMNS} FROM runs WHERE ready ORDER BY id"
RUN_BY_NUMBER: Final = f"SELECT {_RUN_COLUMNS} FROM runs WHERE id = ?"
RUN_BY_ID: Final = f"SELECT {_RUN_COLUMNS} FROM runs WHERE run_id = ?"
RUNS_BY_PREFIX: Final = (
    f"SELECT {_RUN_COLUMNS} FROM runs WHERE substr(run_id, 1, length(:prefix)) = :prefix AND ready ORDER BY id"
)
RETRIES: Final = f"""
WITH RECURSIVE family(number) AS (
    SELECT id FROM runs WHERE parent = ? UNION SELECT id FROM runs JOIN family ON parent = number
)
SELECT {_RUN_COLUMNS} FROM runs WHERE id IN family AND ready ORDER BY id
"""
LATEST_RUN: Final = f"SELECT {_RUN_COLUMNS} FROM runs WHERE ready ORDER BY id DESC LIMIT 1"
RESUMABLE_RUNS: Final = (
    f"SELECT {_RUN_COLUMNS} FROM runs WHERE status NOT IN ('completed', 'failed') AND ready ORDER BY id DESC"
)
CREATE_RUN: Final = (
    "INSERT INTO runs(run_id, agent, config, cwd, status, created_at, parent) VALUES (?, ?, ?, ?, 'awaiting', ?, ?)"
    " ON CONFLICT DO NOTHING"
)
DRAFT_RUN: Final = (
    "INSERT INTO runs(run_id, agent, config, cwd, status, created_at, parent, ready)"
    " VALUES (?, ?, ?, ?, 'awaiting', ?, ?, 0)"
    " ON CONFLICT DO NOTHING"
)
DRAFTS: Final = "SELECT id FROM runs WHERE NOT ready"
OWN_RUN: Final = "UPDATE runs SET owner_pid = :pid, owner_host = :host WHERE id = :run"
PUBLISH_RUN: Final = "UPDATE runs SET ready = 1, owner_pid = NULL, owner_host = NULL WHERE id = ?"
LABEL_RUN: Final = "UPDATE runs SET labels = ? WHERE id = ?"
HIDE_RUN: Final = "UPDATE runs SET ready = 0 WHERE id = ? AND ready"
LEAVE_PARENT: Final = """
UPDATE runs SET parent = (SELECT p.parent FROM runs p WHERE p.id = :run),
    labels = json_insert(labels, '$."quiesce/retries"', (SELECT p.run_id FROM runs p WHERE p.id = :run))
WHERE parent = :run
"""
"""Give the children of a run that is removed to its parent, and keep its id with them."""
DROP_HIDDEN_RUN: Final = "DELETE FROM runs WHERE id = ? AND NOT ready"
TABLES_OF_RUNS: Final = """
SELECT t.name FROM sqlite_schema t
WHERE t.type = 'table' AND EXISTS (SELECT 1 FROM pragma_table_info(t.name) c WHERE c.name = 'run') ORDER BY t.name
"""
COLUMNS_OF_TABLE: Final = "SELECT name FROM pragma_table_info(?)"
USED_SIZE: Final = """
SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size)
    - (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)
"""


def drop_some(table: str, columns: Collection[str]) -> str:
    """Return the statement that deletes some rows of a run from a table, and no row when there is none left."""
    order = next((name for name in ("seq", "number") if name in columns), None)
    if order is None:
        return f"DELETE FROM {table} WHERE run = :run"
    some = f"SELECT {order} FROM {table} WHERE run = :run ORDER BY {order} LIMIT :limit"
    return f"DELETE FROM {table} WHERE run = :run AND {order} IN ({some})"


def size_of_rows(table: str, columns: Collection[str]) -> str:
    """Return the SELECT of the bytes that the rows of a run have in a table, roughly."""
    lengths = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in columns)
    return f"SELECT coalesce(sum({lengths} + 8), 0) FROM {table} WHERE run = :run"


CLAIM_RUN: Final = """
UPDATE runs SET owner_pid = :pid, owner_host = :host, starts = starts + 1,
    started_at = coalesce(started_at, :now),
    status = CASE WHEN status IN ('completed', 'failed') THEN status ELSE 'started' END,
    ended_at = CASE WHEN status IN ('completed', 'failed') THEN ended_at END,
    signal = CASE WHEN status IN ('completed', 'failed') THEN signal END
WHERE id = :run
"""
FINISH_RUN: Final = (
    "UPDATE runs SET status = :status, ended_at = :now, signal = :signal"
    " WHERE id = :run AND status NOT IN ('completed', 'failed')"
)
ADD_SUPERVISOR: Final = "INSERT OR IGNORE INTO supervisors(run, token, pid, host) VALUES (?, ?, ?, ?)"
OTHER_SUPERVISORS: Final = "SELECT token, pid, host FROM supervisors WHERE run = ? AND token <> ?"
REMOVE_SUPERVISOR: Final = "DELETE FROM supervisors WHERE run = ? AND token = ?"
SEAL_RUN: Final = "UPDATE runs SET sealed = 1 WHERE id = ?"
UNSEAL_RUN: Final = "UPDATE runs SET sealed = 0 WHERE id = ? AND status NOT IN ('completed', 'failed')"
COUNTS: Final = """
SELECT coalesce(sum(n), 0) - (SELECT count(*) FROM outcomes WHERE run = :run) AS pending,
    (SELECT count(*) FROM outcomes WHERE run = :run AND status = 'completed') AS completed,
    (SELECT count(*) FROM outcomes WHERE run = :run AND status = 'failed') AS failed,
    (SELECT count(*) FROM outcomes WHERE run = :run AND status = 'interrupted') AS interrupted
FROM (SELECT count(*) AS n FROM tasks WHERE run = :run)
"""

# -- tasks -------------------------------------------------------------------------------------------------

LAST_TASK: Final = "SELECT coalesce(max(seq), 0) FROM tasks WHERE run = ?"
ADD_TASKS: Final = """
INSERT INTO tasks(run, seq, key, input, encoding, priority, agent)
SELECT :run, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
FROM json_each(:rows)
"""
ADD_PLAIN_TASKS: Final = """
INSERT INTO tasks(run, seq, key, input, encoding, priority, agent)
SELECT :run, :first + key, CAST(:first + key AS TEXT), value, 'json', 0, 0 FROM json_each(:rows)
"""
ADD_TASK: Final = (
    "INSERT INTO tasks(run, seq, key, input, encoding, priority, agent)"
    " VALUES (:run, :seq, :key, :input, :encoding, :priority, :agent)"
)
SEQS_OF_KEYS: Final = """
SELECT json_group_object(key, seq) FROM tasks WHERE run = :run AND key IN (SELECT value FROM json_each(:keys))
"""
KEYS_OF_SEQS: Final = """
SELECT json_group_object(seq, key) FROM tasks WHERE run = :run AND seq IN (SELECT value FROM json_each(:seqs))
"""
SEQ_OF_KEY: Final = "SELECT seq FROM tasks WHERE run = ? AND key = ?"
AGENTS: Final = "SELECT number, identity FROM agents WHERE run = ?"
ADD_AGENT: Final = "INSERT INTO agents(run, number, identity) VALUES (?, ?, ?)"
_TASKS: Final = """
SELECT json_group_array(seq), json_group_array(key), json_group_array(input),
    json_group_array(json_object('seq', seq, 'attempts', attempts, 'priority', priority, 'agent', agent,
            'encoding', encoding, 'snapshot', data, 'snapshot_encoding', snapshot_encoding))
        FILTER (WHERE attempts OR priority OR agent OR encoding <> 'json' OR snapshot_encoding IS NOT NULL)
FROM (
    SELECT t.seq, t.key, t.input, t.attempts, t.priority, t.agent, t.encoding,
        s.data, s.encoding AS snapshot_encoding
    FROM tasks t LEFT JOIN snapshots s ON s.run = t.run AND s.seq = t.seq
    WHERE t.run = :run {which} ORDER BY t.seq LIMIT :limit
)
"""
_NOT_ENDED: Final = """AND t.seq > :after AND NOT EXISTS (
        SELECT 1 FROM outcomes o WHERE o.run = t.run AND o.seq = t.seq AND o.status IN ('completed', 'failed'))"""
PENDING: Final = _TASKS.format(which=_NOT_ENDED)
URGENT: Final = _TASKS.format(which=f"AND t.priority > 0 {_NOT_ENDED}")
ALL_TASKS: Final = _TASKS.format(which="AND t.seq > :after")
# `+seq`: so that the index on keys is used
TASKS_OF_KEYS: Final = _TASKS.format(which="AND +t.seq > :after AND t.key IN (SELECT value FROM json_each(:keys))")
TASK_OF_KEY: Final = _TASKS.format(which="AND +t.seq > :after AND t.key = :key")
USE_ATTEMPTS: Final = """
UPDATE tasks SET attempts = j.value FROM json_each(:attempts) AS j
WHERE tasks.run = :run AND tasks.seq = CAST(j.key AS INTEGER)
"""

# -- what happened -----------------------------------------------------------------------------------------

_REPLACE_INTERRUPTED: Final = """
ON CONFLICT(run, seq) DO UPDATE SET status = excluded.status, record = excluded.record, layout = excluded.layout
WHERE outcomes.status = 'interrupted'
"""
PUT_OUTCOMES: Final = f"""
INSERT INTO outcomes(run, seq, status, record, layout)
SELECT :run, CAST(key AS INTEGER), :status, value, {OUTCOME_LAYOUT} FROM json_each(:rows) WHERE true
{_REPLACE_INTERRUPTED}"""
PUT_OUTCOME: Final = f"""
INSERT INTO outcomes(run, seq, status, record, layout) VALUES (:run, :seq, :status, :record, {OUTCOME_LAYOUT})
{_REPLACE_INTERRUPTED}"""
TERMINAL_OF: Final = """
SELECT json_group_array(seq) FROM outcomes
WHERE run = :run AND seq IN (SELECT value FROM json_each(:seqs)) AND status IN ('completed', 'failed')
"""
_OUTCOMES: Final = f"""
SELECT '[' || coalesce(group_concat(record), '') || ']',
    json_group_object(seq, layout) FILTER (WHERE layout <> {OUTCOME_LAYOUT}),
    json_group_array(key), json_group_object(seq, status)
FROM (
    SELECT t.key, o.record, o.layout, o.seq, o.status FROM outcomes o JOIN tasks t ON t.run = o.run AND t.seq = o.seq
    WHERE o.run = :run AND o.seq > :after AND {{which}} ORDER BY o.seq LIMIT :limit
)
"""
RESULTS: Final = _OUTCOMES.format(which="o.status IN (SELECT value FROM json_each(:statuses))")
RESULTS_OF_SEQS: Final = _OUTCOMES.format(
    which="o.seq IN (SELECT value FROM json_each(:seqs)) AND o.status IN ('completed', 'failed')"
)
CHOSEN_RESULTS: Final = _OUTCOMES.format(
    which="o.seq IN (SELECT value FROM json_each(:seqs)) AND o.status IN (SELECT value FROM json_each(:statuses))"
)
ENDED_TASKS: Final = """
SELECT json_group_array(seq) FROM outcomes WHERE run = :run AND seq > :after AND status IN ('completed', 'failed')
"""
PUT_SNAPSHOTS: Final = """
INSERT INTO snapshots(run, seq, data, encoding, projection)
SELECT :run, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]')
FROM json_each(:rows) WHERE true
ON CONFLICT(run, seq) DO UPDATE
SET data = excluded.data, encoding = excluded.encoding, projection = excluded.projection
"""
PUT_SNAPSHOT: Final = """
INSERT INTO snapshots(run, seq, data, encoding, projection) VALUES (:run, :seq, :data, :encoding, :projection)
ON CONFLICT(run, seq) DO UPDATE
SET data = excluded.data, encoding = excluded.encoding, projection = excluded.projection
"""
ANY_SNAPSHOT: Final = "SELECT EXISTS (SELECT 1 FROM snapshots WHERE run = ?)"
DROP_SNAPSHOTS: Final = "DELETE FROM snapshots WHERE run = :run AND seq IN (SELECT value FROM json_each(:seqs))"
LAST_EVENT: Final = "SELECT coalesce(max(seq), 0) FROM events WHERE run = ?"
PUT_EVENTS: Final = f"""
INSERT INTO events(run, seq, record, layout) SELECT :run, :first + key, value, {EVENT_LAYOUT} FROM json_each(:rows)
"""
PUT_EVENT: Final = f"INSERT INTO events(run, seq, record, layout) VALUES (:run, :seq, :record, {EVENT_LAYOUT})"
EVENTS: Final = f"""
SELECT '[' || coalesce(group_concat(record), '') || ']',
    json_group_object(seq, layout) FILTER (WHERE layout <> {EVENT_LAYOUT}), json_group_array(seq)
FROM (SELECT seq, record, layout FROM events WHERE run = :run AND seq > :after ORDER BY seq LIMIT :limit)
"""
LAST_OUTPUT: Final = "SELECT coalesce(max(number), 0) FROM output WHERE run = ?"
PUT_OUTPUT: Final = """
INSERT INTO output(run, number, task, slot, first, size, lines)
SELECT :run, :first + key, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]')
FROM json_each(:rows)
"""
PUT_CHUNK: Final = (
    "INSERT INTO output(run, number, task, slot, first, size, lines)"
    " VALUES (:run, :number, :task, :slot, :first, :size, :lines)"
)
TRIM_OUTPUT: Final = """
DELETE FROM output WHERE run = :run AND number IN (
    SELECT number FROM (
        SELECT number, sum(size) OVER (ORDER BY number DESC) - size AS newer FROM output
        WHERE run = :run AND task = :task AND number < :first
    ) WHERE newer >= :keep
)
"""
_OUTPUT: Final = """
SELECT json_group_array(json_array(number, task, slot, first)), json_group_array(lines) FROM (
    SELECT number, task, slot, first, lines FROM output
    WHERE run = :run AND number > :after {which} ORDER BY number LIMIT :limit
)
"""
OUTPUT: Final = _OUTPUT.format(which="")
OUTPUT_OF_TASK: Final = _OUTPUT.format(which="AND task = :task")
PUT_UNDO: Final = """
INSERT INTO undo(run, number, task, attempt, state, tries, at, error, host, command)
VALUES (:run, :number, :task, :attempt, :state, :tries, :at, :error, :host, :command)
"""
UPDATE_UNDO: Final = """
UPDATE undo SET state = :state, tries = :tries, at = :at, error = :error
WHERE run = :run AND number = :number AND state IN ('held', 'running')
"""
_UNDO: Final = "SELECT number, task, attempt, state, tries, at, error, host, command FROM undo WHERE run = ?"
UNDO: Final = f"{_UNDO} ORDER BY number"
OUTSTANDING_UNDO: Final = f"{_UNDO} AND state IN ('held', 'running') ORDER BY number"
LAST_UNDO: Final = "SELECT coalesce(max(number), 0) FROM undo WHERE run = ?"
STORED_LAYOUTS: Final = "SELECT id, position, name FROM layouts ORDER BY id, position"

# -- from outside ------------------------------------------------------------------------------------------

ADD_REQUEST: Final = "INSERT INTO requests(run, signal, task, key) VALUES (?, ?, ?, ?)"
REQUESTS: Final = "SELECT id, signal, task, key FROM requests WHERE run = ? ORDER BY id"
DROP_REQUESTS: Final = "DELETE FROM requests WHERE run = ? AND id <= ?"
FORGET_REQUESTS: Final = "DELETE FROM requests WHERE run = ?"
REPORT_PROGRESS: Final = "INSERT OR REPLACE INTO progress(run, report) VALUES (?, ?)"
PROGRESS: Final = "SELECT report FROM progress WHERE run = ?"
FORGET_PROGRESS: Final = "DELETE FROM progress WHERE run = ?"
