"""Of portalocker only the module that locks is imported, unless the application has imported all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

ENTERED = """
import sys
from pathlib import Path
from pseudocron.lockfile import LockFile, _portalocker

lock = LockFile(Path(sys.argv[1]))
assert lock.enter(60) and not lock.enter(60)
with lock._locked(make=True) as one, lock._locked(make=True) as other:
    assert one is not None and other is None
"""

ALONE = f"""{ENTERED}
print(sorted({{"portalocker", "portalocker.redis", "redis"}} & sys.modules.keys()))
import portalocker
print(portalocker.RedisLock.__module__, portalocker.portalocker is _portalocker())
"""

BESIDE = f"""
import portalocker
{ENTERED}
print(portalocker.portalocker is _portalocker())
"""

MOVED = """
from pseudocron.lockfile import _portalocker

print(_portalocker().__name__)
"""

INSEPARABLE = "if not __name__.startswith('portalocker.'): raise ImportError(__name__)"


def python(code: str, *args: Path, path: Path = ROOT) -> str:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (path, ROOT)))}
    command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=60).stdout


def test_locking_imports_no_redis_and_leaves_portalocker_to_the_application(tmp_path: Path) -> None:
    assert python(ALONE, tmp_path / "lock") == "[]\nportalocker.redis False\n"


def test_what_the_application_has_imported_is_used(tmp_path: Path) -> None:
    assert python(BESIDE, tmp_path / "lock") == "True\n"


def test_a_portalocker_that_can_not_be_imported_in_parts_is_imported_whole(tmp_path: Path) -> None:
    (tmp_path / "portalocker").mkdir()
    (tmp_path / "portalocker" / "__init__.py").touch()
    (tmp_path / "portalocker" / "portalocker.py").write_text(INSEPARABLE)
    assert python(MOVED, path=tmp_path) == "portalocker.portalocker\n"
