"""Attacks: ways to find out whether a concept is really gone. Each is one file here that declares ATTACK.

attacked = Attacked(task, {"original": before, "unlearned": after})
result = run_to_end(ATTACKS["relearn"].carry_out(attacked))
print(result.sentence)
"""

from vdu.attacks.base import ORIGINAL, RETRAINED, UNLEARNED, Attack, Attacked, Result, Row, Strip
from vdu.registry import collect

__all__ = ["ATTACKS", "ORIGINAL", "RETRAINED", "UNLEARNED", "Attack", "Attacked", "Result", "Row", "Strip", "fitting"]

FIRST = "relearn"  # the one that the most is known of; the others in alphabetical order
ATTACKS: dict[str, Attack] = dict(sorted(collect(__name__, "ATTACK"), key=lambda row: (row[0] != FIRST, row[0])))


def fitting(attacked: Attacked) -> dict[str, Attack]:
    """The attacks that apply, by name."""
    return {name: attack for name, attack in ATTACKS.items() if not attack.misfit(attacked)}
