"""One question a file: `judge(case)` yields findings, and says what it could not judge. Found by name. Pure."""
