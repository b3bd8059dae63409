"""What a process does with due runs: plan, poll, execute, renew leases, record results."""
