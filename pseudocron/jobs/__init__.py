"""Tasks and jobs: functions that may be deferred, and how a call becomes a record and a call again."""
