"""One order and one set of names for the nodes of an ONNX model, so that exports have equal bytes.

tf2onnx sorts nodes and names values by where objects lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx


def settle(model: onnx.ModelProto, kept_names: Collection[str] = ()) -> None:
    """Sorts nodes and constants in place, from the outputs back to the inputs, and names them so.

    Args:
        model: whose nodes hold no graphs of their own; one that has such stays as it is.
        kept_names: of values that keep their names, as inputs and outputs do.
    """
    graph = model.graph
    if any(attribute.g.node for node in graph.node for attribute in node.attribute):
        return
    nodes = _in_order(graph)
    kept = {"", *kept_names, *(value.name for value in (*graph.input, *graph.output))}
    new_name: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if name in kept else new_name.setdefault(name, f"value_{len(new_name)}")

    for number, node in enumerate(nodes):
        node.name = f"node_{number}"
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    constants = [constant for constant in graph.initializer if constant.name in new_name]
    constants.sort(key=lambda constant: int(new_name[constant.name].removeprefix("value_")))
    for constant in constants:
        constant.name = renamed(constant.name)
    kept_constants = [constant for constant in graph.initializer if constant.name in kept]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept_constants, *constants])


def _in_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs need, each behind those whose values it takes."""
    maker_of = {name: node for node in graph.node for name in node.output if name}
    ordered: list[onnx.NodeProto] = []
    done: set[int] = set()
    waiting = [(maker_of[value.name], False) for value in reversed(graph.output)]
    while waiting:
        node, has_inputs = waiting.pop()
        if id(node) in done:
            continue
        if has_inputs:
            done.add(id(node))
            ordered.append(node)
            continue
        waiting.append((node, True))
        makers = (maker_of[name] for name in reversed(node.input) if name in maker_of)
        waiting += [(maker, False) for maker in makers]
    return ordered
