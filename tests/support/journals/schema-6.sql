PRAGMA application_id=1903520101;
PRAGMA user_version=6;
BEGIN;
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
    ready INTEGER NOT NULL DEFAULT 1
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
CREATE TABLE requests(
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    signal TEXT NOT NULL,
    task INTEGER,
    key TEXT
);
CREATE TRIGGER outcomes_are_final BEFORE UPDATE ON outcomes WHEN OLD.status IN ('completed', 'failed')
BEGIN
    SELECT RAISE(ABORT, 'a terminal outcome never changes');
END;
CREATE VIEW outcome_list AS
    SELECT r.run_id, t.key, o.seq, o.status,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'attempts')) AS attempts,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'value')) AS value,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'encoding')) AS encoding,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'projection')) AS projection,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'error')) AS error,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'detail')) AS detail,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'started_at')) AS started_at,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'ended_at')) AS ended_at,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'slot')) AS slot,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'incarnation')) AS incarnation,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'signal')) AS signal
    FROM outcomes o JOIN tasks t ON t.run = o.run AND t.seq = o.seq JOIN runs r ON r.id = o.run;
CREATE VIEW snapshot_list AS
    SELECT r.run_id, t.key, s.seq, s.data, s.encoding, s.projection
    FROM snapshots s JOIN tasks t ON t.run = s.run AND t.seq = s.seq JOIN runs r ON r.id = s.run;
CREATE VIEW event_list AS
    SELECT r.run_id, e.seq,
        json_extract(e.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = e.layout AND name = 'kind')) AS kind,
        json_extract(e.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = e.layout AND name = 'at')) AS at,
        json_extract(e.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = e.layout AND name = 'data')) AS data,
        json_extract(e.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = e.layout AND name = 'address')) AS address,
        json_extract(e.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = e.layout AND name = 'task')) AS task,
        json_extract(e.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = e.layout AND name = 'slot')) AS slot,
        json_extract(e.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = e.layout AND name = 'incarnation')) AS incarnation
    FROM events e JOIN runs r ON r.id = e.run;
INSERT INTO runs VALUES(1, 'done', '{"agent":"@FOLDER@/agent.py:work"}', '{"workers":1,"concurrency":1,"timeout":null,"deadline":3.0,"grace":2.0,"term_grace":5.0,"kill_patience":2.0,"retries":0,"max_failures":null,"memory_limit":null,"heartbeat_timeout":60.0,"max_tasks_per_executor":null,"max_memory_per_executor":null,"crash_limit":3,"preempt":false,"keep_children":false}', '@FOLDER@', 'failed', 1795759135.648124, 1795759135.6626892, 1795759135.7212572, 1, NULL, 1, 13820, '@HOST@', 1);
INSERT INTO runs VALUES(2, 'stopped', '{"agent":"@FOLDER@/agent.py:work"}', '{"workers":1,"concurrency":1,"timeout":null,"deadline":3.0,"grace":2.0,"term_grace":5.0,"kill_patience":2.0,"retries":0,"max_failures":null,"memory_limit":null,"heartbeat_timeout":60.0,"max_tasks_per_executor":null,"max_memory_per_executor":null,"crash_limit":3,"preempt":false,"keep_children":false}', '@FOLDER@', 'interrupted', 1795759137.1695566, 1795759137.1840856, 1795759139.577243, 1, '{"reason":"timeout","message":"the run''s deadline of 3 s is over","triggered_at":"2026-11-27T05:58:59.532055Z","triggered_by":"deadline","save_checkpoint":true}', 1, 14070, '@HOST@', 1);
INSERT INTO runs VALUES(3, 'odd', '{"name":"m:f"}', 'null', '@FOLDER@', 'interrupted', 1795759139.6215384, 1795759139.6233895, 1795759139.6356475, 0, '{"reason":"timeout","message":"too late","triggered_at":"2026-11-27T05:58:59.621337Z","triggered_by":"task:timeout","save_checkpoint":true}', 1, 13739, '@HOST@', 1);
INSERT INTO supervisors VALUES(3, '7-0ff', 13739, '@HOST@');
INSERT INTO tasks VALUES(1, 1, '1', '1', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(1, 2, '2', '2', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(1, 3, '3', '3', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(2, 1, '1', '1', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(2, 2, '2', '2', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(2, 3, '3', '3', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(2, 4, '4', '4', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(2, 5, '5', '5', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(2, 6, '6', '6', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(3, 1, 'plain', '{"a": [1,  2.50, null]}', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(3, 2, CAST(X'6e756c006b6579' AS TEXT), '"\u0000 é"', 'json', 3, 0, 0);
INSERT INTO tasks VALUES(3, 10, 'blob', 'gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlREAAAAAAAAAfZSMBGJsb2KUSwFLAoaUcy4=', 'pickle', 0, 1, 0);
INSERT INTO tasks VALUES(3, 11, 'invalid', '//4=', 'invalid', -1, 0, 0);
INSERT INTO tasks VALUES(3, 12, 'left 0', '0', 'json', 0, 0, 0);
INSERT INTO tasks VALUES(3, 13, 'left 1', '1', 'json', 0, 0, 2);
INSERT INTO tasks VALUES(3, 14, 'left 2', '2', 'json', 0, 0, 0);
INSERT INTO agents VALUES(3, 0, 'm:f');
INSERT INTO agents VALUES(3, 1, 'm:g');
INSERT INTO layouts VALUES(1, 0, 'seq');
INSERT INTO layouts VALUES(1, 1, 'status');
INSERT INTO layouts VALUES(1, 2, 'attempts');
INSERT INTO layouts VALUES(1, 3, 'value');
INSERT INTO layouts VALUES(1, 4, 'encoding');
INSERT INTO layouts VALUES(1, 5, 'error');
INSERT INTO layouts VALUES(1, 6, 'detail');
INSERT INTO layouts VALUES(1, 7, 'started_at');
INSERT INTO layouts VALUES(1, 8, 'ended_at');
INSERT INTO layouts VALUES(1, 9, 'slot');
INSERT INTO layouts VALUES(1, 10, 'incarnation');
INSERT INTO layouts VALUES(1, 11, 'signal');
INSERT INTO layouts VALUES(1, 12, 'projection');
INSERT INTO layouts VALUES(2, 0, 'kind');
INSERT INTO layouts VALUES(2, 1, 'at');
INSERT INTO layouts VALUES(2, 2, 'data');
INSERT INTO layouts VALUES(2, 3, 'address');
INSERT INTO layouts VALUES(2, 4, 'task');
INSERT INTO layouts VALUES(2, 5, 'slot');
INSERT INTO layouts VALUES(2, 6, 'incarnation');
INSERT INTO outcomes VALUES(1, 1, 'completed', '[1,"completed",1,"{\"n\":1,\"resumed_from\":\"None\"}","json",null,null,1795759135.6729105,1795759135.6730237,0,1,null,null]', 1);
INSERT INTO outcomes VALUES(1, 2, 'completed', '[2,"completed",1,"gAWVCgAAAAAAAABOjANzZXSUhpQugAWVGQAAAAAAAACPlChHQAgAAAAAAABOhpRLAYwDdHdvlJAu","pickle",null,null,1795759135.673958,1795759135.6742978,0,1,null,"{\"type\":\"set\",\"value\":[\"two\",1,[3.0,null]]}"]', 1);
INSERT INTO outcomes VALUES(1, 3, 'failed', '[3,"failed",1,null,"json","ValueError: three is refused","Traceback (most recent call last):\n  File \"@FOLDER@/agent.py\", line 8, in work\n    raise ValueError(\"three is refused\")\nValueError: three is refused\n",1795759135.674445,1795759135.6751516,0,1,null,null]', 1);
INSERT INTO outcomes VALUES(2, 1, 'completed', '[1,"completed",1,"{\"n\":1,\"resumed_from\":\"None\"}","json",null,null,1795759137.1907823,1795759137.1908927,0,1,null,null]', 1);
INSERT INTO outcomes VALUES(2, 2, 'completed', '[2,"completed",1,"gAWVCgAAAAAAAABOjANzZXSUhpQugAWVGQAAAAAAAACPlChLAYwDdHdvlEdACAAAAAAAAE6GlJAu","pickle",null,null,1795759137.1917057,1795759137.1920483,0,1,null,"{\"type\":\"set\",\"value\":[\"two\",1,[3.0,null]]}"]', 1);
INSERT INTO outcomes VALUES(2, 3, 'failed', '[3,"failed",1,null,"json","ValueError: three is refused","Traceback (most recent call last):\n  File \"@FOLDER@/agent.py\", line 8, in work\n    raise ValueError(\"three is refused\")\nValueError: three is refused\n",1795759137.1921642,1795759137.1928744,0,1,null,null]', 1);
INSERT INTO outcomes VALUES(2, 4, 'interrupted', '[4,"interrupted",1,null,"json","timeout: the run''s deadline of 3 s is over",null,1795759137.1962945,1795759139.5339975,0,1,"{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_at\":\"2026-11-27T05:58:59.532055Z\",\"triggered_by\":\"deadline\",\"save_checkpoint\":true}",null]', 1);
INSERT INTO outcomes VALUES(3, 1, 'completed', '[1,"completed",1,"{\"v\":\"\\u0000\"}","json",null,null,1.5,2.25,0,1,null,null]', 1);
INSERT INTO outcomes VALUES(3, 2, 'completed', '[2,"completed",2,"\"x\"","json",null,null,1.5,2.25,0,1,null,null]', 1);
INSERT INTO outcomes VALUES(3, 10, 'completed', '[10,"completed",1,"gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlREAAAAAAAAAfZSMBGJsb2KUSwFLAoaUcy4=","pickle",null,null,1.5,2.25,0,1,null,"{\"type\":\"dict\",\"value\":{\"blob\":[1,2]}}"]', 1);
INSERT INTO outcomes VALUES(3, 11, 'failed', '[11,"failed",3,null,"json","no file \\udcff\u0000","Traceback:\n  ☃\u0000",null,null,null,null,"{\"reason\":\"timeout\",\"message\":\"too late\",\"triggered_at\":\"2026-11-27T05:58:59.621337Z\",\"triggered_by\":\"task:timeout\",\"save_checkpoint\":true}",null]', 1);
INSERT INTO outcomes VALUES(3, 12, 'interrupted', '[12,"interrupted",0,null,"json","",null,null,null,null,null,"{\"reason\":\"timeout\",\"message\":\"too late\",\"triggered_at\":\"2026-11-27T05:58:59.621337Z\",\"triggered_by\":\"task:timeout\",\"save_checkpoint\":true}",null]', 1);
INSERT INTO snapshots VALUES(2, 4, 'gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlRsAAAAAAAAAfZQojAJhdJRLBIwEc2VlbpSPlChLAUsCkHUu', 'pickle', '{"type":"dict","value":{"at":4,"seen":[1,2]}}');
INSERT INTO snapshots VALUES(3, 13, '{"at": 1}', 'json', NULL);
INSERT INTO snapshots VALUES(3, 14, 'gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlREAAAAAAAAAfZSMBGJsb2KUSwFLAoaUcy4=', 'pickle', '{"type":"dict","value":{"blob":[1,2]}}');
INSERT INTO events VALUES(1, 1, '["guardian.started",1795759135.6003993,"{\"pid\":13914,\"containment\":[\"cgroup\",\"subreaper\",\"limits\",\"sessions\",\"environment\"]}","",0,null,null]', 2);
INSERT INTO events VALUES(1, 2, '["executor.started",1795759135.6125093,"{\"slot\":0,\"incarnation\":1,\"pid\":14059,\"seconds\":0.8695}","",0,0,1]', 2);
INSERT INTO events VALUES(1, 3, '["task.completed",1795759135.6730237,"{\"key\":\"1\",\"attempts\":1,\"seconds\":0.000113}","",1,0,1]', 2);
INSERT INTO events VALUES(1, 4, '["task.completed",1795759135.6742978,"{\"key\":\"2\",\"attempts\":1,\"seconds\":0.00034}","",2,0,1]', 2);
INSERT INTO events VALUES(1, 5, '["task.failed",1795759135.6751516,"{\"key\":\"3\",\"attempts\":1,\"seconds\":0.000707,\"error\":\"ValueError: three is refused\"}","",3,0,1]', 2);
INSERT INTO events VALUES(1, 6, '["executor.exited",1795759135.680259,"{\"slot\":0,\"incarnation\":1,\"pid\":14059,\"exit\":\"exit code 0\",\"code\":0,\"seconds\":0.078,\"max_rss\":31711232,\"executed\":3,\"in_hand\":0}","",0,0,1]', 2);
INSERT INTO events VALUES(1, 7, '["cleanup.verified",1795759135.7199302,"{\"found\":0,\"ended\":0,\"remaining\":[]}","",0,null,null]', 2);
INSERT INTO events VALUES(1, 8, '["run.finished",1795759135.720876,"{\"run\":\"done\",\"status\":\"failed\",\"completed\":2,\"failed\":1,\"interrupted\":0,\"pending\":0,\"seconds\":1.004}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 1, '["guardian.started",1795759137.120828,"{\"pid\":14104,\"containment\":[\"cgroup\",\"subreaper\",\"limits\",\"sessions\",\"environment\"]}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 2, '["executor.started",1795759137.1442268,"{\"slot\":0,\"incarnation\":1,\"pid\":14161,\"seconds\":0.6129}","",0,0,1]', 2);
INSERT INTO events VALUES(2, 3, '["task.completed",1795759137.1908927,"{\"key\":\"1\",\"attempts\":1,\"seconds\":0.00011}","",1,0,1]', 2);
INSERT INTO events VALUES(2, 4, '["task.completed",1795759137.1920483,"{\"key\":\"2\",\"attempts\":1,\"seconds\":0.000343}","",2,0,1]', 2);
INSERT INTO events VALUES(2, 5, '["task.failed",1795759137.1928744,"{\"key\":\"3\",\"attempts\":1,\"seconds\":0.00071,\"error\":\"ValueError: three is refused\"}","",3,0,1]', 2);
INSERT INTO events VALUES(2, 6, '["interrupt.requested",1795759139.5327148,"{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_by\":\"deadline\",\"executors\":1,\"running\":1,\"grace\":2.0,\"term_grace\":5.0}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 7, '["ladder.rung",1795759139.5327659,"{\"rung\":\"FLAG\",\"executors\":[0],\"pids\":[14161],\"seconds\":2.0}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 8, '["interrupt",1795759139.5337977,"{\"signal\":{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_at\":\"2026-11-27T05:58:59.532055Z\",\"triggered_by\":\"deadline\",\"save_checkpoint\":true},\"snapshot_saved\":true,\"cancels\":[]}","",4,0,1]', 2);
INSERT INTO events VALUES(2, 9, '["task.interrupted",1795759139.5339975,"{\"key\":\"4\",\"attempts\":1,\"seconds\":2.337703,\"error\":\"timeout: the run''s deadline of 3 s is over\"}","",4,0,1]', 2);
INSERT INTO events VALUES(2, 10, '["executor.exited",1795759139.5390863,"{\"slot\":0,\"incarnation\":1,\"pid\":14161,\"exit\":\"exit code 0\",\"code\":0,\"seconds\":2.404,\"max_rss\":31657984,\"executed\":4,\"in_hand\":0}","",0,0,1]', 2);
INSERT INTO events VALUES(2, 11, '["cleanup.verified",1795759139.5725317,"{\"found\":0,\"ended\":0,\"remaining\":[],\"seconds\":0.04}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 12, '["run.finished",1795759139.5767412,"{\"run\":\"stopped\",\"status\":\"interrupted\",\"completed\":2,\"failed\":1,\"interrupted\":1,\"pending\":2,\"seconds\":3.061}","",0,null,null]', 2);
INSERT INTO events VALUES(3, 1, '["run.started",1.0,"{}","",0,null,null]', 2);
INSERT INTO events VALUES(3, 2, '["task.log\u0000",1.5,"{\"message\":\"\\u0000\"}","a::b",2,0,null]', 2);
INSERT INTO events VALUES(3, 3, '["task.ended",2.0,"{}","",10,0,1]', 2);
INSERT INTO events VALUES(3, 4, '["run.finished",3.0,"{}","",0,null,null]', 2);
COMMIT;
