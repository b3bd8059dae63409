"""What runs, and when. Edit this file while the server runs: it is read again at the next poll."""

crons = {
    # an async function, on the server's event loop
    "reminders": {"run": "jobs:send_reminders", "schedule": "every 10 seconds"},
    # a sync function, in a thread
    "interest": {"run": "jobs:accrue_interest", "schedule": "every minute"},
    # a script, in a child process: name => [script, interval], as in ThinkPHP
    "callback": ("scripts/call_back.py", 30),
}
