PRAGMA application_id=1903520101;
PRAGMA user_version=5;
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
CREATE TABLE outcomes(
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    status TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TRIGGER outcomes_are_final BEFORE UPDATE ON outcomes WHEN OLD.status IN ('completed', 'failed')
BEGIN
    SELECT RAISE(ABORT, 'a terminal outcome never changes');
END;
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
    body TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE requests(
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    signal TEXT NOT NULL,
    task INTEGER,
    key TEXT
);
CREATE VIEW outcome_list AS
    SELECT r.run_id, t.key, o.seq, o.status,
        json_extract(o.body, '$[2]') AS attempts,
        json_extract(o.body, '$[3]') AS value,
        json_extract(o.body, '$[4]') AS encoding,
        json_extract(o.body, '$[12]') AS projection,
        json_extract(o.body, '$[5]') AS error,
        json_extract(o.body, '$[6]') AS detail,
        json_extract(o.body, '$[7]') AS started_at,
        json_extract(o.body, '$[8]') AS ended_at,
        json_extract(o.body, '$[9]') AS slot,
        json_extract(o.body, '$[10]') AS incarnation,
        json_extract(o.body, '$[11]') AS signal
    FROM outcomes o JOIN tasks t ON t.run = o.run AND t.seq = o.seq JOIN runs r ON r.id = o.run;
CREATE VIEW snapshot_list AS
    SELECT r.run_id, t.key, s.seq, s.data, s.encoding, s.projection
    FROM snapshots s JOIN tasks t ON t.run = s.run AND t.seq = s.seq JOIN runs r ON r.id = s.run;
CREATE VIEW event_list AS
    SELECT r.run_id, e.seq,
        json_extract(e.body, '$[0]') AS kind,
        json_extract(e.body, '$[1]') AS at,
        json_extract(e.body, '$[2]') AS data,
        json_extract(e.body, '$[3]') AS address,
        json_extract(e.body, '$[4]') AS task,
        json_extract(e.body, '$[5]') AS slot,
        json_extract(e.body, '$[6]') AS incarnation
    FROM events e JOIN runs r ON r.id = e.run;
INSERT INTO runs VALUES(1, 'done', '{"agent":"@FOLDER@/agent.py:work"}', '{"workers":1,"concurrency":1,"grace":2.0,"term_grace":5.0,"kill_patience":2.0,"timeout":null,"deadline":3.0,"retries":0,"max_failures":null,"memory_limit":null,"heartbeat_timeout":60.0,"max_tasks_per_executor":null,"max_memory_per_executor":null,"crash_limit":3,"preempt":false,"keep_children":false}', '@FOLDER@', 'failed', 1795720191.9130564, 1795720191.9419346, 1795720192.023613, 1, NULL, 1, 3687, '@HOST@', 1);
INSERT INTO runs VALUES(2, 'stopped', '{"agent":"@FOLDER@/agent.py:work"}', '{"workers":1,"concurrency":1,"grace":2.0,"term_grace":5.0,"kill_patience":2.0,"timeout":null,"deadline":3.0,"retries":0,"max_failures":null,"memory_limit":null,"heartbeat_timeout":60.0,"max_tasks_per_executor":null,"max_memory_per_executor":null,"crash_limit":3,"preempt":false,"keep_children":false}', '@FOLDER@', 'interrupted', 1795720197.0318263, 1795720197.042137, 1795720198.291796, 1, '{"reason":"timeout","message":"the run''s deadline of 3 s is over","triggered_at":"2026-11-26T19:09:58.259830Z","triggered_by":"deadline","save_checkpoint":true}', 1, 3883, '@HOST@', 1);
INSERT INTO runs VALUES(3, 'odd', '{"name":"m:f"}', 'null', '@FOLDER@', 'interrupted', 1795720198.3277109, 1795720198.3300517, 1795720198.3454623, 0, '{"reason":"timeout","message":"too late","triggered_at":"2026-11-26T19:09:58.327577Z","triggered_by":"task:timeout","save_checkpoint":true}', 1, 3672, '@HOST@', 1);
INSERT INTO supervisors VALUES(3, '7-0ff', 3672, '@HOST@');
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
INSERT INTO outcomes VALUES(1, 1, 'completed', '[1,"completed",1,"{\"n\":1,\"resumed_from\":\"None\"}","json",null,null,1795720191.9519649,1795720191.9520652,0,1,null,null]');
INSERT INTO outcomes VALUES(1, 2, 'completed', '[2,"completed",1,"gAWVCgAAAAAAAABOjANzZXSUhpQugAWVGQAAAAAAAACPlCiMA3R3b5RLAUdACAAAAAAAAE6GlJAu","pickle",null,null,1795720191.9527743,1795720191.9530873,0,1,null,"{\"type\":\"set\",\"value\":[\"two\",1,[3.0,null]]}"]');
INSERT INTO outcomes VALUES(1, 3, 'failed', '[3,"failed",1,null,"json","ValueError: three is refused","Traceback (most recent call last):\n  File \"@FOLDER@/agent.py\", line 8, in work\n    raise ValueError(\"three is refused\")\nValueError: three is refused\n",1795720191.953178,1795720191.9541533,0,1,null,null]');
INSERT INTO outcomes VALUES(2, 1, 'completed', '[1,"completed",1,"{\"n\":1,\"resumed_from\":\"None\"}","json",null,null,1795720197.0583992,1795720197.0585074,0,1,null,null]');
INSERT INTO outcomes VALUES(2, 2, 'completed', '[2,"completed",1,"gAWVCgAAAAAAAABOjANzZXSUhpQugAWVGQAAAAAAAACPlChLAUdACAAAAAAAAE6GlIwDdHdvlJAu","pickle",null,null,1795720197.061378,1795720197.061718,0,1,null,"{\"type\":\"set\",\"value\":[\"two\",1,[3.0,null]]}"]');
INSERT INTO outcomes VALUES(2, 3, 'failed', '[3,"failed",1,null,"json","ValueError: three is refused","Traceback (most recent call last):\n  File \"@FOLDER@/agent.py\", line 8, in work\n    raise ValueError(\"three is refused\")\nValueError: three is refused\n",1795720197.061824,1795720197.0625315,0,1,null,null]');
INSERT INTO outcomes VALUES(2, 4, 'interrupted', '[4,"interrupted",1,null,"json","timeout: the run''s deadline of 3 s is over",null,1795720197.0677028,1795720198.260984,0,1,"{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_at\":\"2026-11-26T19:09:58.259830Z\",\"triggered_by\":\"deadline\",\"save_checkpoint\":true}",null]');
INSERT INTO outcomes VALUES(3, 1, 'completed', '[1,"completed",1,"{\"v\":\"\\u0000\"}","json",null,null,1.5,2.25,0,1,null,null]');
INSERT INTO outcomes VALUES(3, 2, 'completed', '[2,"completed",2,"\"x\"","json",null,null,1.5,2.25,0,1,null,null]');
INSERT INTO outcomes VALUES(3, 10, 'completed', '[10,"completed",1,"gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlREAAAAAAAAAfZSMBGJsb2KUSwFLAoaUcy4=","pickle",null,null,1.5,2.25,0,1,null,"{\"type\":\"dict\",\"value\":{\"blob\":[1,2]}}"]');
INSERT INTO outcomes VALUES(3, 11, 'failed', '[11,"failed",3,null,"json","no file \\udcff\u0000","Traceback:\n  ☃\u0000",null,null,null,null,"{\"reason\":\"timeout\",\"message\":\"too late\",\"triggered_at\":\"2026-11-26T19:09:58.327577Z\",\"triggered_by\":\"task:timeout\",\"save_checkpoint\":true}",null]');
INSERT INTO outcomes VALUES(3, 12, 'interrupted', '[12,"interrupted",0,null,"json","",null,null,null,null,null,"{\"reason\":\"timeout\",\"message\":\"too late\",\"triggered_at\":\"2026-11-26T19:09:58.327577Z\",\"triggered_by\":\"task:timeout\",\"save_checkpoint\":true}",null]');
INSERT INTO snapshots VALUES(2, 4, 'gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlRsAAAAAAAAAfZQojAJhdJRLBIwEc2VlbpSPlChLAUsCkHUu', 'pickle', '{"type":"dict","value":{"at":4,"seen":[1,2]}}');
INSERT INTO snapshots VALUES(3, 13, '{"at": 1}', 'json', NULL);
INSERT INTO snapshots VALUES(3, 14, 'gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlREAAAAAAAAAfZSMBGJsb2KUSwFLAoaUcy4=', 'pickle', '{"type":"dict","value":{"blob":[1,2]}}');
INSERT INTO events VALUES(1, 1, '["guardian.started",1795720191.8433926,"{\"pid\":3789,\"containment\":[\"cgroup\",\"subreaper\",\"limits\",\"sessions\",\"environment\"]}","",0,null,null]');
INSERT INTO events VALUES(1, 2, '["executor.started",1795720191.8607109,"{\"slot\":0,\"incarnation\":1,\"pid\":3830,\"seconds\":0.772}","",0,0,1]');
INSERT INTO events VALUES(1, 3, '["task.completed",1795720191.9520652,"{\"key\":\"1\",\"attempts\":1,\"seconds\":0.0001}","",1,0,1]');
INSERT INTO events VALUES(1, 4, '["task.completed",1795720191.9530873,"{\"key\":\"2\",\"attempts\":1,\"seconds\":0.000313}","",2,0,1]');
INSERT INTO events VALUES(1, 5, '["task.failed",1795720191.9541533,"{\"key\":\"3\",\"attempts\":1,\"seconds\":0.000975,\"error\":\"ValueError: three is refused\"}","",3,0,1]');
INSERT INTO events VALUES(1, 6, '["executor.exited",1795720191.9581075,"{\"slot\":0,\"incarnation\":1,\"pid\":3830,\"exit\":\"exit code 0\",\"code\":0,\"seconds\":0.113,\"max_rss\":35237888,\"executed\":3,\"in_hand\":0}","",0,0,1]');
INSERT INTO events VALUES(1, 7, '["cleanup.verified",1795720192.02232,"{\"found\":0,\"ended\":0,\"remaining\":[]}","",0,null,null]');
INSERT INTO events VALUES(1, 8, '["run.finished",1795720192.02314,"{\"run\":\"done\",\"status\":\"failed\",\"completed\":2,\"failed\":1,\"interrupted\":0,\"pending\":0,\"seconds\":0.963}","",0,null,null]');
INSERT INTO events VALUES(2, 1, '["guardian.started",1795720196.9438622,"{\"pid\":4097,\"containment\":[\"cgroup\",\"subreaper\",\"limits\",\"sessions\",\"environment\"]}","",0,null,null]');
INSERT INTO events VALUES(2, 2, '["executor.started",1795720196.957995,"{\"slot\":0,\"incarnation\":1,\"pid\":4209,\"seconds\":1.7111}","",0,0,1]');
INSERT INTO events VALUES(2, 3, '["task.completed",1795720197.0585074,"{\"key\":\"1\",\"attempts\":1,\"seconds\":0.000108}","",1,0,1]');
INSERT INTO events VALUES(2, 4, '["task.completed",1795720197.061718,"{\"key\":\"2\",\"attempts\":1,\"seconds\":0.00034}","",2,0,1]');
INSERT INTO events VALUES(2, 5, '["task.failed",1795720197.0625315,"{\"key\":\"3\",\"attempts\":1,\"seconds\":0.000707,\"error\":\"ValueError: three is refused\"}","",3,0,1]');
INSERT INTO events VALUES(2, 6, '["interrupt.requested",1795720198.260413,"{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_by\":\"deadline\",\"executors\":1,\"running\":1,\"grace\":2.0,\"term_grace\":5.0}","",0,null,null]');
INSERT INTO events VALUES(2, 7, '["ladder.rung",1795720198.2604647,"{\"rung\":\"FLAG\",\"executors\":[0],\"pids\":[4209],\"seconds\":2.0}","",0,null,null]');
INSERT INTO events VALUES(2, 8, '["interrupt",1795720198.2607841,"{\"signal\":{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_at\":\"2026-11-26T19:09:58.259830Z\",\"triggered_by\":\"deadline\",\"save_checkpoint\":true},\"snapshot_saved\":true,\"cancels\":[]}","",4,0,1]');
INSERT INTO events VALUES(2, 9, '["task.interrupted",1795720198.260984,"{\"key\":\"4\",\"attempts\":1,\"seconds\":1.193281,\"error\":\"timeout: the run''s deadline of 3 s is over\"}","",4,0,1]');
INSERT INTO events VALUES(2, 10, '["executor.exited",1795720198.2663493,"{\"slot\":0,\"incarnation\":1,\"pid\":4209,\"exit\":\"exit code 0\",\"code\":0,\"seconds\":1.301,\"max_rss\":35340288,\"executed\":4,\"in_hand\":0}","",0,0,1]');
INSERT INTO events VALUES(2, 11, '["cleanup.verified",1795720198.289149,"{\"found\":0,\"ended\":0,\"remaining\":[],\"seconds\":0.029}","",0,null,null]');
INSERT INTO events VALUES(2, 12, '["run.finished",1795720198.2914727,"{\"run\":\"stopped\",\"status\":\"interrupted\",\"completed\":2,\"failed\":1,\"interrupted\":1,\"pending\":2,\"seconds\":3.067}","",0,null,null]');
INSERT INTO events VALUES(3, 1, '["run.started",1.0,"{}","",0,null,null]');
INSERT INTO events VALUES(3, 2, '["task.log\u0000",1.5,"{\"message\":\"\\u0000\"}","a::b",2,0,null]');
INSERT INTO events VALUES(3, 3, '["task.ended",2.0,"{}","",10,0,1]');
INSERT INTO events VALUES(3, 4, '["run.finished",3.0,"{}","",0,null,null]');
COMMIT;
