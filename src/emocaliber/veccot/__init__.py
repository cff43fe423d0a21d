"""VEC-CoT, the data factory: a teacher writes five-step reasoning for labelled images, checks and a judge filter it into a ledger."""

from __future__ import annotations
