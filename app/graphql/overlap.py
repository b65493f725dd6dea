"""How many fields of a document validation has to compare with each other, because an answer would merge them.

Fields of the same name in one selection are compared pairwise, so that some hundred of them, in a document of a few
thousand characters, keep a server busy for seconds. Fragments in one selection are compared pairwise, too.
"""

from collections import defaultdict
from collections.abc import Iterable

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

_STEPS_PER_PAIR = 10
"""Looking may take this many times what it looks for: fragments can make much of little."""


def count_pairs(document: DocumentNode, enough: int) -> int:
    """The pairs to compare, counted until they are more than `enough`. Takes time linear in `enough`.

    Raises RecursionError where fragments nest too deeply, as those do that spread themselves.
    """
    roots = [
        node for node in document.definitions if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    count = _Count((node for node in roots if isinstance(node, FragmentDefinitionNode)), enough)
    for node in roots:
        count.add([node.selection_set])
    return count.pairs


class _Count:
    def __init__(self, fragments: Iterable[FragmentDefinitionNode], enough: int) -> None:
        self._fragments = {fragment.name.value: fragment.selection_set for fragment in fragments}
        self._enough = enough
        self._steps = 0
        self.pairs = 0

    def add(self, merged: list[SelectionSetNode]) -> None:
        """Count what is in these selections, which make one object of the answer, and below."""
        named, spreads = self._collect(merged)
        for several in (spreads, *(len(fields) for fields in named.values())):
            self.pairs += several * (several - 1) // 2
        for fields in named.values():
            if self.pairs > self._enough:
                return
            if below := [field.selection_set for field in fields if field.selection_set]:
                self.add(below)

    def _collect(self, merged: list[SelectionSetNode]) -> tuple[dict[str, list[FieldNode]], int]:
        """The fields by the name they have in the answer, and how many fragments they come from."""
        named: dict[str, list[FieldNode]] = defaultdict(list)
        spread: set[str] = set()
        open_sets = list(merged)
        while open_sets:
            for node in open_sets.pop().selections:
                self._steps += 1
                if isinstance(node, FieldNode):
                    named[(node.alias or node.name).value].append(node)
                elif not isinstance(node, FragmentSpreadNode):
                    open_sets.append(node.selection_set)  # type: ignore[attr-defined]
                elif node.name.value not in spread:
                    spread.add(node.name.value)
                    open_sets += [self._fragments[node.name.value]] if node.name.value in self._fragments else []
        if self._steps > _STEPS_PER_PAIR * self._enough:
            self.pairs += self._enough + 1
        return named, len(spread)
