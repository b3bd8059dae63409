"""Why did it not run?"""
