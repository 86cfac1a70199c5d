"""Cycles in a directed graph: Tarjan's algorithm, without recursion. For calls and for imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def cycles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components of more than one node, each sorted, the largest first.

    Edges to nodes that are not keys are ignored.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: list[str] = []
    is_open: set[str] = set()
    found: list[list[str]] = []
    for root in edges:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        open_nodes.append(root)
        is_open.add(root)
        path: list[tuple[str, Iterator[str]]] = [(root, iter(edges[root]))]
        while path:
            node, targets = path[-1]
            target = next((t for t in targets if t in edges and (t not in index or t in is_open)), None)
            if target is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    component = open_nodes[open_nodes.index(node) :]
                    del open_nodes[-len(component) :]
                    is_open.difference_update(component)
                    if len(component) > 1:
                        found.append(sorted(component))
            elif target in index:
                low[node] = min(low[node], index[target])
            else:
                index[target] = low[target] = len(index)
                open_nodes.append(target)
                is_open.add(target)
                path.append((target, iter(edges[target])))
    return sorted(found, key=lambda component: (-len(component), component))
