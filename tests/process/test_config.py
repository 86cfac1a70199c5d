"""`quiesce config` as a command."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.cli import QUIESCE, Running, environment


def test_the_settings_are_shown_with_their_origins(tmp_path: Path) -> None:
    (tmp_path / "quiesce.toml").write_text('grace = "2m"\n', encoding="utf-8")
    env = environment({"QUIESCE_RETRIES": "2", "QUIESCE_RETRYS": "3", "QUIESCE_JOURNAL": "my.db"})
    with Running([*QUIESCE, "config", "--json", "-w", "3"], cwd=tmp_path, env=env) as running:
        done = running.wait()
    assert done.returncode == 0, done
    rows = {row["setting"]: row for row in map(json.loads, done.stdout.splitlines())}
    found = {name: (rows[name]["value"], rows[name]["origin"], rows[name]["place"]) for name in rows}
    assert found["journal"] == ("my.db", "environment", "QUIESCE_JOURNAL")
    assert found["workers"] == (3, "option", "--workers")
    assert found["grace"] == (120, "file", str(tmp_path / "quiesce.toml"))
    assert found["retries"] == (2, "environment", "QUIESCE_RETRIES")
    assert done.stderr == (
        "quiesce: warning: QUIESCE_RETRYS is not a setting and has no effect; did you mean QUIESCE_RETRIES?\n"
    )
    with Running([*QUIESCE, "config"], cwd=tmp_path, env=env) as running:
        lines = running.wait().stdout.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "ORIGIN"]
    assert ["grace", "120", f"{tmp_path}/quiesce.toml"] in [line.split() for line in lines]
