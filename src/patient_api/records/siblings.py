"""Which versions of a record were written without knowledge of each other, and which has brought them together again.

A version follows the one it replaces and those it merges. Versions that follow the same one are *siblings*; a version
descends from all it follows, and from all that those descend from.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from patient_api.errors import StorageFault
from patient_api.records.items import Item

ORIGIN: Final = "0"  # what a first version follows; sorts ahead of every stamp


@dataclass(frozen=True)
class Link:
    """A version and those it follows: the one it replaces, or ORIGIN, then those it merges."""

    stamp: str
    follows: tuple[str, ...]

    @classmethod
    def of(cls, item: Item) -> "Link":
        """The link in a version item. Raises StorageFault for what no function of ours has written."""
        try:
            replaces = item["replaces"]["S"] if "replaces" in item else ORIGIN
            merged = [entry["S"] for entry in item["merges"]["L"]] if "merges" in item else []
            return cls(item["version"]["S"], (replaces, *merged))
        except (KeyError, TypeError):
            raise StorageFault(operation="Read", code="UnreadableVersion") from None


@dataclass(frozen=True)
class Conflict:
    """A marker as it stands: `resolved` is the version that closed it."""

    members: frozenset[str]
    resolved: str | None = None


def conflict_after(after: str, lineage: Mapping[str, Sequence[str]], known: Conflict | None = None) -> Conflict | None:
    """The conflict among the versions that follow `after`, None when there is none.

    `lineage` gives what each version newer than `after` follows, as far as this region knows; `known` is what the
    marker says by now, perhaps by the other region, which may know more.
    """
    members = frozenset(stamp for stamp, follows in lineage.items() if after in follows)
    if known is not None:
        if members <= known.members and known.resolved is not None:
            return known
        members |= known.members
    resolved = _common_descendant(members, lineage)
    if len(members) < 2 or (known is None and resolved in members):
        return None
    return Conflict(members, resolved)


def _common_descendant(members: frozenset[str], lineage: Mapping[str, Sequence[str]]) -> str | None:
    """The oldest version that has all members behind it or is one itself."""
    behind: dict[str, frozenset[str]] = {}
    # A version is always newer than those it follows.
    for stamp in sorted(lineage):
        behind[stamp] = (members & {stamp}).union(*(behind.get(other, frozenset()) for other in lineage[stamp]))
        if behind[stamp] == members:
            return stamp
    return None


def continues(top: Sequence[Link], arrived: Set[str]) -> bool:
    """Whether what arrived are the newest versions, each of which follows the one before it and nothing else."""
    newest = top[: len(arrived)]
    before = [*(link.stamp for link in top[1:]), ORIGIN]
    chained = all(link.follows == (stamp,) for link, stamp in zip(newest, before, strict=False))
    return chained and {link.stamp for link in newest} == arrived
