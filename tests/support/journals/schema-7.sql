PRAGMA application_id=1903520101;
PRAGMA user_version=7;
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
    ready INTEGER NOT NULL DEFAULT 1,
    parent INTEGER REFERENCES runs(id),
    labels TEXT NOT NULL DEFAULT '{}'
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
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'signal')) AS signal,
        json_extract(o.record, (SELECT '$[' || position || ']' FROM layouts WHERE id = o.layout AND name = 'failure')) AS failure
    FROM outcomes o JOIN tasks t ON t.run = o.run AND t.seq = o.seq JOIN runs r ON r.id = o.run;
CREATE VIEW snapshot_list AS
    SELECT r.run_id, t.key, s.seq, s.data, s.encoding, s.projection
    FROM snapshots s JOIN tasks t ON t.run = s.run AND t.seq = s.seq JOIN runs r ON r.id = s.run;
CREATE VIEW output_list AS
    SELECT r.run_id, t.key, o.number, json_extract(l.value, '$[0]') AS at, json_extract(l.value, '$[1]') AS stream,
        json_extract(l.value, '$[2]') AS text, coalesce(json_extract(l.value, '$[3]'), 'info') AS level,
        json_extract(l.value, '$[4]') AS logger
    FROM output o JOIN runs r ON r.id = o.run LEFT JOIN tasks t ON t.run = o.run AND t.seq = o.task,
        json_each(o.lines) AS l;
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
INSERT INTO runs VALUES(1, 'done', '{"agent":"@FOLDER@/agent.py:work"}', '{"workers":1,"concurrency":1,"timeout":null,"timeout_grace":null,"deadline":3.0,"grace":2.0,"term_grace":5.0,"kill_patience":2.0,"retries":0,"retry_delay":0.2,"retry_max_delay":30.0,"retry_jitter":0.2,"retry_on":null,"no_retry_on":null,"oom_retries":1,"max_failures":null,"memory_limit":null,"output_tail":16384,"heartbeat_timeout":60.0,"max_tasks_per_executor":null,"max_memory_per_executor":null,"crash_limit":3,"preempt":false,"keep_children":false,"slot_env":{}}', '@FOLDER@', 'failed', 1795784095.4432817, 1795784095.4466357, 1795784095.4896455, 1, NULL, 1, 21399, '@HOST@', 1, NULL, '{}');
INSERT INTO runs VALUES(2, 'stopped', '{"agent":"@FOLDER@/agent.py:work"}', '{"workers":1,"concurrency":1,"timeout":null,"timeout_grace":null,"deadline":3.0,"grace":2.0,"term_grace":5.0,"kill_patience":2.0,"retries":0,"retry_delay":0.2,"retry_max_delay":30.0,"retry_jitter":0.2,"retry_on":null,"no_retry_on":null,"oom_retries":1,"max_failures":null,"memory_limit":null,"output_tail":16384,"heartbeat_timeout":60.0,"max_tasks_per_executor":null,"max_memory_per_executor":null,"crash_limit":3,"preempt":false,"keep_children":false,"slot_env":{}}', '@FOLDER@', 'interrupted', 1795784096.2323709, 1795784096.2360775, 1795784098.873823, 1, '{"reason":"timeout","message":"the run''s deadline of 3 s is over","triggered_at":"2026-11-27T12:54:58.834643Z","triggered_by":"deadline","save_checkpoint":true}', 1, 21414, '@HOST@', 1, NULL, '{}');
INSERT INTO runs VALUES(3, 'odd', '{"name":"m:f"}', 'null', '@FOLDER@', 'interrupted', 1795784098.9244657, 1795784098.930243, 1795784098.9457781, 0, '{"reason":"timeout","message":"too late","triggered_at":"2026-11-27T12:54:58.923180Z","triggered_by":"task:timeout","save_checkpoint":true}', 1, 21398, '@HOST@', 1, NULL, '{"team":"night"}');
INSERT INTO supervisors VALUES(3, '7-0ff', 21398, '@HOST@');
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
INSERT INTO layouts VALUES(3, 0, 'seq');
INSERT INTO layouts VALUES(3, 1, 'status');
INSERT INTO layouts VALUES(3, 2, 'attempts');
INSERT INTO layouts VALUES(3, 3, 'value');
INSERT INTO layouts VALUES(3, 4, 'encoding');
INSERT INTO layouts VALUES(3, 5, 'error');
INSERT INTO layouts VALUES(3, 6, 'detail');
INSERT INTO layouts VALUES(3, 7, 'started_at');
INSERT INTO layouts VALUES(3, 8, 'ended_at');
INSERT INTO layouts VALUES(3, 9, 'slot');
INSERT INTO layouts VALUES(3, 10, 'incarnation');
INSERT INTO layouts VALUES(3, 11, 'signal');
INSERT INTO layouts VALUES(3, 12, 'projection');
INSERT INTO layouts VALUES(3, 13, 'failure');
INSERT INTO outcomes VALUES(1, 1, 'completed', '[1,"completed",1,"{\"n\":1,\"resumed_from\":\"None\"}","json",null,null,1795784095.452971,1795784095.4531002,0,1,null,null,null]', 3);
INSERT INTO outcomes VALUES(1, 2, 'completed', '[2,"completed",1,"gAWVCgAAAAAAAABOjANzZXSUhpQugAWVGQAAAAAAAACPlChHQAgAAAAAAABOhpRLAYwDdHdvlJAu","pickle",null,null,1795784095.4571962,1795784095.4643927,0,1,null,"{\"type\":\"set\",\"value\":[\"two\",1,[3.0,null]]}",null]', 3);
INSERT INTO outcomes VALUES(1, 3, 'failed', '[3,"failed",1,null,"json","ValueError: three is refused","Traceback (most recent call last):\n  File \"@FOLDER@/agent.py\", line 8, in work\n    raise ValueError(\"three is refused\")\nValueError: three is refused\n",1795784095.466019,1795784095.466786,0,1,null,null,"{\"type\":\"ValueError\",\"bases\":[\"Exception\",\"BaseException\"],\"frame\":{\"file\":\"@FOLDER@/agent.py\",\"line\":8,\"function\":\"work\"},\"arguments\":\"{\\\"$tuple\\\":[{\\\"$tuple\\\":[\\\"three is refused\\\"]},{},{}]}\"}"]', 3);
INSERT INTO outcomes VALUES(2, 1, 'completed', '[1,"completed",1,"{\"n\":1,\"resumed_from\":\"None\"}","json",null,null,1795784096.243162,1795784096.2432947,0,1,null,null,null]', 3);
INSERT INTO outcomes VALUES(2, 2, 'completed', '[2,"completed",1,"gAWVCgAAAAAAAABOjANzZXSUhpQugAWVGQAAAAAAAACPlChLAYwDdHdvlEdACAAAAAAAAE6GlJAu","pickle",null,null,1795784096.2535367,1795784096.2629774,0,1,null,"{\"type\":\"set\",\"value\":[\"two\",1,[3.0,null]]}",null]', 3);
INSERT INTO outcomes VALUES(2, 3, 'failed', '[3,"failed",1,null,"json","ValueError: three is refused","Traceback (most recent call last):\n  File \"@FOLDER@/agent.py\", line 8, in work\n    raise ValueError(\"three is refused\")\nValueError: three is refused\n",1795784096.2639482,1795784096.264764,0,1,null,null,"{\"type\":\"ValueError\",\"bases\":[\"Exception\",\"BaseException\"],\"frame\":{\"file\":\"@FOLDER@/agent.py\",\"line\":8,\"function\":\"work\"},\"arguments\":\"{\\\"$tuple\\\":[{\\\"$tuple\\\":[\\\"three is refused\\\"]},{},{}]}\"}"]', 3);
INSERT INTO outcomes VALUES(2, 4, 'interrupted', '[4,"interrupted",1,null,"json","timeout: the run''s deadline of 3 s is over",null,1795784096.2670805,1795784098.8365514,0,1,"{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_at\":\"2026-11-27T12:54:58.834643Z\",\"triggered_by\":\"deadline\",\"save_checkpoint\":true}",null,null]', 3);
INSERT INTO outcomes VALUES(3, 1, 'completed', '[1,"completed",1,"{\"v\":\"\\u0000\"}","json",null,null,1.5,2.25,0,1,null,null,null]', 3);
INSERT INTO outcomes VALUES(3, 2, 'completed', '[2,"completed",2,"\"x\"","json",null,null,1.5,2.25,0,1,null,null,null]', 3);
INSERT INTO outcomes VALUES(3, 10, 'completed', '[10,"completed",1,"gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlREAAAAAAAAAfZSMBGJsb2KUSwFLAoaUcy4=","pickle",null,null,1.5,2.25,0,1,null,"{\"type\":\"dict\",\"value\":{\"blob\":[1,2]}}",null]', 3);
INSERT INTO outcomes VALUES(3, 11, 'failed', '[11,"failed",3,null,"json","no file \\udcff\u0000","Traceback:\n  ☃\u0000",null,null,null,null,"{\"reason\":\"timeout\",\"message\":\"too late\",\"triggered_at\":\"2026-11-27T12:54:58.923180Z\",\"triggered_by\":\"task:timeout\",\"save_checkpoint\":true}",null,null]', 3);
INSERT INTO outcomes VALUES(3, 12, 'interrupted', '[12,"interrupted",0,null,"json","",null,null,null,null,null,"{\"reason\":\"timeout\",\"message\":\"too late\",\"triggered_at\":\"2026-11-27T12:54:58.923180Z\",\"triggered_by\":\"task:timeout\",\"save_checkpoint\":true}",null,null]', 3);
INSERT INTO snapshots VALUES(2, 4, 'gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlRsAAAAAAAAAfZQojAJhdJRLBIwEc2VlbpSPlChLAUsCkHUu', 'pickle', '{"type":"dict","value":{"at":4,"seen":[1,2]}}');
INSERT INTO snapshots VALUES(3, 13, '{"at": 1}', 'json', NULL);
INSERT INTO snapshots VALUES(3, 14, 'gAWVCwAAAAAAAABOjARkaWN0lIaULoAFlREAAAAAAAAAfZSMBGJsb2KUSwFLAoaUcy4=', 'pickle', '{"type":"dict","value":{"blob":[1,2]}}');
INSERT INTO events VALUES(1, 1, '["guardian.started",1795784095.3631914,"{\"pid\":21403,\"containment\":[\"cgroup\",\"subreaper\",\"limits\",\"sessions\",\"environment\"]}","",0,null,null]', 2);
INSERT INTO events VALUES(1, 2, '["executor.started",1795784095.3790336,"{\"slot\":0,\"incarnation\":1,\"pid\":21407,\"seconds\":0.248}","",0,0,1]', 2);
INSERT INTO events VALUES(1, 3, '["task.completed",1795784095.4531002,"{\"key\":\"1\",\"attempts\":1,\"seconds\":0.000129}","",1,0,1]', 2);
INSERT INTO events VALUES(1, 4, '["task.completed",1795784095.4643927,"{\"key\":\"2\",\"attempts\":1,\"seconds\":0.007196}","",2,0,1]', 2);
INSERT INTO events VALUES(1, 5, '["task.failed",1795784095.466786,"{\"key\":\"3\",\"attempts\":1,\"seconds\":0.000767,\"error\":\"ValueError: three is refused\"}","",3,0,1]', 2);
INSERT INTO events VALUES(1, 6, '["executor.exited",1795784095.4721196,"{\"slot\":0,\"incarnation\":1,\"pid\":21407,\"exit\":\"exit code 0\",\"code\":0,\"seconds\":0.107,\"max_rss\":34160640,\"executed\":3,\"in_hand\":0}","",0,0,1]', 2);
INSERT INTO events VALUES(1, 7, '["cleanup.verified",1795784095.4873447,"{\"found\":0,\"ended\":0,\"remaining\":[]}","",0,null,null]', 2);
INSERT INTO events VALUES(1, 8, '["run.finished",1795784095.4892387,"{\"run\":\"done\",\"status\":\"failed\",\"completed\":2,\"failed\":1,\"interrupted\":0,\"pending\":0,\"seconds\":0.368}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 1, '["guardian.started",1795784096.196824,"{\"pid\":21419,\"containment\":[\"cgroup\",\"subreaper\",\"limits\",\"sessions\",\"environment\"]}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 2, '["executor.started",1795784096.2052538,"{\"slot\":0,\"incarnation\":1,\"pid\":21429,\"seconds\":0.375}","",0,0,1]', 2);
INSERT INTO events VALUES(2, 3, '["task.completed",1795784096.2432947,"{\"key\":\"1\",\"attempts\":1,\"seconds\":0.000133}","",1,0,1]', 2);
INSERT INTO events VALUES(2, 4, '["task.completed",1795784096.2629774,"{\"key\":\"2\",\"attempts\":1,\"seconds\":0.009441}","",2,0,1]', 2);
INSERT INTO events VALUES(2, 5, '["task.failed",1795784096.264764,"{\"key\":\"3\",\"attempts\":1,\"seconds\":0.000816,\"error\":\"ValueError: three is refused\"}","",3,0,1]', 2);
INSERT INTO events VALUES(2, 6, '["interrupt.requested",1795784098.8354237,"{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_by\":\"deadline\",\"executors\":1,\"running\":1,\"grace\":2.0,\"term_grace\":5.0}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 7, '["ladder.rung",1795784098.8354774,"{\"rung\":\"FLAG\",\"executors\":[0],\"pids\":[21429],\"seconds\":2.0}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 8, '["interrupt",1795784098.8363154,"{\"signal\":{\"reason\":\"timeout\",\"message\":\"the run''s deadline of 3 s is over\",\"triggered_at\":\"2026-11-27T12:54:58.834643Z\",\"triggered_by\":\"deadline\",\"save_checkpoint\":true},\"snapshot_saved\":true,\"cancels\":[]}","",4,0,1]', 2);
INSERT INTO events VALUES(2, 9, '["task.interrupted",1795784098.8365514,"{\"key\":\"4\",\"attempts\":1,\"seconds\":2.569471,\"error\":\"timeout: the run''s deadline of 3 s is over\"}","",4,0,1]', 2);
INSERT INTO events VALUES(2, 10, '["executor.exited",1795784098.8407934,"{\"slot\":0,\"incarnation\":1,\"pid\":21429,\"exit\":\"exit code 0\",\"code\":0,\"seconds\":2.644,\"max_rss\":34209792,\"executed\":4,\"in_hand\":0}","",0,0,1]', 2);
INSERT INTO events VALUES(2, 11, '["cleanup.verified",1795784098.8680913,"{\"found\":0,\"ended\":0,\"remaining\":[],\"seconds\":0.033}","",0,null,null]', 2);
INSERT INTO events VALUES(2, 12, '["run.finished",1795784098.8691728,"{\"run\":\"stopped\",\"status\":\"interrupted\",\"completed\":2,\"failed\":1,\"interrupted\":1,\"pending\":2,\"seconds\":3.054}","",0,null,null]', 2);
INSERT INTO events VALUES(3, 1, '["run.started",1.0,"{}","",0,null,null]', 2);
INSERT INTO events VALUES(3, 2, '["task.log\u0000",1.5,"{\"message\":\"\\u0000\"}","a::b",2,0,null]', 2);
INSERT INTO events VALUES(3, 3, '["task.ended",2.0,"{}","",10,0,1]', 2);
INSERT INTO events VALUES(3, 4, '["run.finished",3.0,"{}","",0,null,null]', 2);
INSERT INTO output VALUES(3, 1, 2, 1, 0, 84, '[[1.25,"stdout","a\u0000b","info",""],[1.5,"stderr","c","info",""]]');
COMMIT;
