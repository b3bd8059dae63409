"""A script as ThinkPHP's crons were: a file that does its work from top to bottom."""

import os

print("calling back for slot", os.environ["PSEUDOCRON_SLOT"])
