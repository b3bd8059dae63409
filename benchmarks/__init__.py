"""What pseudocron costs, measured side by side with what it is compared with."""
