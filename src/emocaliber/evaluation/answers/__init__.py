"""The answers of any system, read from files of many forms as response rows (docs/answers.md)."""
