"""Diagrams of networks, drawn from the built Keras model, so that they cannot differ from it."""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass, field

import numpy as np

from tutorial_lib.errors import InputError
from tutorial_lib.figures.plotting import PALETTE

# Color and line style of an arrow, by what it stands for.
ARROWS = {
    "convolution": (PALETTE["kernel"], "-"),
    "1×1 convolution": (PALETTE["truth"], "-"),
    "pooling": (PALETTE["accent"], "-"),
    "upsampling": (PALETTE["output"], "-"),
    "layers": (PALETTE["kernel"], "-"),
    "skip connection": ("#5B6670", "--"),
}
# Color of a kernel of 5×5 or more, which has a thicker arrow, too.
LARGE = {"convolution": PALETTE["input"], "upsampling": PALETTE["highlight"]}
# Layers without a box of their own. All but the cropping keep the size of the feature map.
FOLDED = {
    "Activation", "BatchNormalization", "Cropping2D", "Dropout", "L2Normalization", "ReLU",
    "Rescaling", "SpatialDropout2D", "ZeroPadding2D",
}  # fmt: skip
FONT_SIZE = 10
TEXT = {"fontsize": FONT_SIZE, "color": PALETTE["ink"]}


@dataclass(eq=False)
class FeatureMap:
    """One box of a diagram.

    Attributes:
        shape: (height, width, channels).
        edges: (source, what the arrow stands for, its text in the legend).
        level: How often the resolution has been halved.
        column, x: Place from left to right, counted and in the units of the figure.
        copied: Share of the channels that a skip connection concatenates.
        name: Of the layer that computes it.
    """

    shape: tuple[int, int, int]
    edges: list[tuple[FeatureMap, str, str]] = field(default_factory=list)
    level: int = 0
    column: int = 0
    x: float = 0
    copied: float = 0.0
    name: str = ""


def draw_network(ax, model, *, input_size=None, stages: bool = False, named=()) -> None:
    """Draw the feature maps of a Keras network as boxes, and what computes them as arrows.

    Channels are written above a box, the size in pixels below it. Each pooling leads one level
    down, each upsampling one level up. The white part of a box is what a skip connection copies.
    Normalization, ReLU, dropout and cropping have no box. Shown in notebook 04, *The diagram of our
    network*.

    Args:
        ax: Axes from `plotting.figure`, at least 0.32 inches wide per box.
        model: A functional model from one image to one output.
        input_size: Side of the input, or (height, width), for a model that takes any size.
        stages: Draw one box for all layers at the same resolution in a row, up to where a branch
            leaves, and write the sizes horizontally. This suits deep encoders.
        named: Names of layers that are written beside their feature maps, or below those that are
            only added.

    Raises:
        InputError: if the model takes any size and none is given.
    """
    maps = network_graph(model, input_size)
    if stages:
        maps = _merge_stages(maps)
    _place(maps)
    tallest, most = max(m.shape[0] for m in maps), max(m.shape[2] for m in maps)
    levels = max(m.level for m in maps)
    top, bottom = 0.9, -levels - 0.6
    inch = (top - bottom) / (ax.figure.get_figheight() * ax.get_position().height)
    boxes = {}
    for m in maps:
        half = 0.08 + 0.22 * math.log2(m.shape[2] + 1) / math.log2(most + 1)
        height = max(0.06, 0.5 * math.sqrt(m.shape[0] / tallest))
        boxes[m] = m.x - half, -m.level, 2 * half, height
    for m, box in boxes.items():
        _draw_box(ax, m, *box, 0 if stages else 90)
        if m.name.startswith("score_") and m.name in named:
            ax.text(m.x, box[1] - 0.05 - 0.17 * inch, m.name, ha="center", va="top", **TEXT)
        elif m.name in named:
            place = {"ha": "right", "va": "center", "weight": "bold"}
            ax.text(box[0] - 0.06, box[1] + box[3] / 2, m.name, **place, **TEXT)
        for edge in m.edges:
            _draw_arrow(ax, boxes, edge[0], m, edge[1], inch, 1 if stages else len(_size(m)))
            if stages and edge[1] == "upsampling":
                middle = (boxes[edge[0]][1] + box[1]) / 2
                ax.text(m.x + 0.08, middle, edge[2].removeprefix("upsample "), **TEXT)
    _draw_key(ax, maps)
    ax.set(xlim=(-0.6, max(m.x for m in maps) + 0.6), ylim=(bottom, top))
    ax.set_axis_off()


def network_graph(model, input_size=None) -> list[FeatureMap]:
    """Return the boxes of a network in order, linked by their edges; arguments as above."""
    import keras

    if input_size is not None:
        size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        model = keras.models.clone_model(model, keras.Input((*size, model.input_shape[-1])))
    if None in model.input_shape[1:]:
        raise InputError(f"{model.name} takes images of any size; give input_size")
    model = keras.Model(model.inputs, model.outputs)  # a Sequential hides its graph
    found: dict[int, tuple[FeatureMap, bool]] = {}  # of each tensor, and whether it was cropped
    uses = collections.Counter(id(t) for op in model.operations for t in _inputs(op))
    maps: list[FeatureMap] = []
    for operation in model.operations:
        sources = [found[id(tensor)] for tensor in _inputs(operation)]
        kind, name = _kind(operation), type(operation).__name__
        if name in FOLDED:
            source, cropped = sources[0]
            found[id(operation.output)] = source, cropped or name == "Cropping2D"
            continue
        one = FeatureMap(tuple(operation.output.shape[1:]), name=operation.name)
        if len(sources) == 1:
            source = sources[0][0]
            one.edges = [(source, kind, _legend(operation, kind))]
            one.level, one.x = source.level + _halvings(operation), source.x + 1
        elif sources:
            _merge(one, operation, sources, maps, uses)
        maps.append(one)
        found[id(operation.output)] = one, False
    return maps


def _merge(one: FeatureMap, operation, sources, maps: list[FeatureMap], uses) -> None:
    """Link a sum or concatenation: its box takes the place of its last computed source."""
    main, _ = max(sources, key=lambda source: source[0].x)
    one.level, one.x = main.level, main.x
    tensors = [t for t, (s, _) in zip(_inputs(operation), sources, strict=True) if s is main]
    if uses[id(tensors[0])] == 1 and main in maps:
        maps.remove(main)
        one.edges = list(main.edges)
    else:
        one.edges, one.x = [(main, "layers", "")], main.x + 1
    how = "concatenate" if "oncat" in type(operation).__name__ else "add"
    for source, cropped in sources:
        if source is not main:
            text = f"skip connection: {'crop and ' * cropped}{how}" if how != "add" else how
            one.edges.append((source, "skip connection", text))
            one.copied = source.shape[2] / one.shape[2] if how == "concatenate" else 0.0


def _inputs(operation) -> list:
    if type(operation).__name__ == "InputLayer":
        return []
    return operation.input if isinstance(operation.input, list) else [operation.input]


def _kind(operation) -> str:
    """Return which of `ARROWS` an operation is."""
    name, kernel = type(operation).__name__, getattr(operation, "kernel_size", None)
    if "Pooling" in name:
        return "pooling"
    if _halvings(operation) < 0:
        return "upsampling"
    if kernel:
        return "1×1 convolution" if set(kernel) == {1} else "convolution"
    return "layers"


def _halvings(operation) -> int:
    """Return by how many levels an operation leads down; upsampling leads up."""
    if type(operation).__name__ in ("InputLayer", *FOLDED):
        return 0
    strides = getattr(operation, "strides", None)
    sides = [tensor.shape[1] for tensor in (_inputs(operation)[0], operation.output)]
    if strides and max(sides) >= 2 * min(sides) and np.max(strides) == 1:
        return 1 if sides[0] > sides[1] else -1  # a kernel as large as its input, or its transpose
    if strides:
        down = round(math.log2(max(strides) if isinstance(strides, tuple) else strides))
        return -down if "Transpose" in type(operation).__name__ else down
    return round(math.log2(sides[0] / sides[1]))


def _legend(operation, kind: str) -> str:
    """Return what the key says of an operation, such as `3×3 convolution`."""
    factor = 2 ** abs(_halvings(operation))
    if kind == "upsampling":
        if kernel := getattr(operation, "kernel_size", None):
            return f"{kernel[0]}×{kernel[1]} transposed convolution"
        return f"upsample {factor}×"
    if kind == "pooling":
        name = "average" if "Average" in type(operation).__name__ else "max"
        return f"{operation.pool_size[0]}×{operation.pool_size[1]} {name} pooling"
    if kind == "layers":
        return ""
    return f"{'×'.join(map(str, operation.kernel_size))} convolution"


def _users(maps: list[FeatureMap]) -> dict[FeatureMap, list[tuple[FeatureMap, str]]]:
    users = collections.defaultdict(list)
    for m in maps:
        for source, kind, _ in m.edges:
            users[source].append((m, kind))
    return users


def _merge_stages(maps: list[FeatureMap]) -> list[FeatureMap]:
    """Return one box for each run of feature maps on one level: the last of the run."""
    users = _users(maps)
    for m in maps:  # the 1×1 convolution before a strided one belongs to the stage below
        narrow = m.edges and m.edges[0][1] == "1×1 convolution" and len(users[m]) == 1
        if narrow and users[m][0][1] == "convolution":
            m.level = users[m][0][0].level
    leaving = {"skip connection", "upsampling"}
    scores = {
        m for m in maps
        if m.edges and m.edges[0][1] == "1×1 convolution"
        and users[m] and {kind for _, kind in users[m]} <= leaving
    }  # fmt: skip
    merged: dict[FeatureMap, FeatureMap] = {}
    for m in maps:
        source = next((s for s, kind, _ in m.edges if kind != "skip connection"), None)
        goes_on = source and source.edges and source.level == m.level
        # A score layer begins a branch of its own; the run ends at the feature map that it reads.
        goes_on = goes_on and m not in scores and not any(u in scores for u, _ in users[source])
        if goes_on:
            merged[m] = merged[source]
            merged[m].shape, merged[m].name = m.shape, m.name
        else:
            merged[m] = FeatureMap(m.shape, level=m.level, name=m.name)
        for before, kind, text in m.edges:
            if merged[before] is not merged[m]:
                merged[m].edges.append((merged[before], kind, text))
        if goes_on:
            steps = merged[m].edges
            steps[0] = (steps[0][0], "layers", "several layers")
    return list(dict.fromkeys(merged.values()))


def _place(maps: list[FeatureMap]) -> None:
    """Put each box to the right of its sources, and a side branch next to where it joins."""
    for m in maps:
        m.x = max((source.x + 1 for source, _, _ in m.edges), default=0)
    for m, users in _users(maps).items():
        if m.edges and len(users) == 1 and users[0][1] == "skip connection":
            m.x = users[0][0].x - 1
    widths = collections.Counter()  # four digits need more room than one
    for m in maps:
        widths[m.x] = max(widths[m.x], 1.3 if m.shape[2] >= 1000 else 1)
    centers = {
        column: sum(widths[c] for c in range(column)) + widths[column] / 2 for column in widths
    }
    for m in maps:
        m.column, m.x = m.x, centers[m.x] - 0.5


def _draw_box(
    ax, m: FeatureMap, left: float, bottom: float, width: float, height: float, rotation: int
) -> None:
    from matplotlib.patches import Rectangle

    style = {"ec": PALETTE["ink"], "lw": 0.8}
    ax.add_patch(Rectangle((left, bottom), width, height, fc="#A9C8F0", **style))
    if m.copied:
        ax.add_patch(Rectangle((left, bottom), m.copied * width, height, fc="white", **style))
    ax.text(m.x, bottom + height + 0.03, str(m.shape[2]), ha="center", va="bottom", **TEXT)
    ax.text(m.x, bottom - 0.05, _size(m), ha="center", va="top", rotation=rotation, **TEXT)


def _size(m: FeatureMap) -> str:
    rows, columns = m.shape[:2]
    return str(rows) if rows == columns else f"{rows}×{columns}"


def _arrow_style(kind: str, text: str) -> dict:
    """Return color, line style and width of an arrow by what it stands for and by its kernel."""
    color, style = ARROWS[kind]
    side = text.partition("×")[0]
    large = kind in LARGE and side.isdigit() and int(side) >= 5
    color, width = (LARGE[kind], 2.4) if large else (color, 1.3)
    return {"color": color, "linestyle": style, "linewidth": width}


def _draw_arrow(
    ax, boxes, source: FeatureMap, m: FeatureMap, kind: str, inch: float, digits: int
) -> None:
    """Draw an arrow: straight along a level, or with a corner to another one.

    The size of `m` is `digits` characters high.
    """
    (left, bottom, width, height), (x, y, _, goal) = boxes[source], boxes[m]
    start, middle = left + width, bottom + height / 2
    if m.level > source.level:  # down, to above the number of channels
        path = [(start, middle), (m.x, middle), (m.x, y + goal + 0.03 + 0.19 * inch)]
    elif m.level < source.level:  # up, to below the size
        path = [(start, middle), (m.x, middle)]
        path += [(m.x, y - 0.05 - (0.07 + 0.09 * digits) * inch)]
    elif kind != "skip connection" and m.column == source.column + 1:
        path = [(start, y + min(height, goal) / 2), (x, y + min(height, goal) / 2)]
    elif any(
        b.level == m.level and source.column < b.column < m.column for b in boxes
    ):  # over the boxes
        lane = y + max(box[3] for b, box in boxes.items() if b.level == m.level) + 0.24 * inch
        path = [(start + 0.07, middle), (start + 0.07, lane), (x - 0.07, lane)]
        path += [(x - 0.07, y + goal / 2), (x, y + goal / 2)]
    else:
        path = [(start, y + 0.8 * min(height, goal)), (x, y + 0.8 * min(height, goal))]
    style = _arrow_style(kind, next(t for s, k, t in m.edges if s is source and k == kind))
    color = style["color"]
    ax.plot(*zip(*path, strict=True), **style)
    arrow = {"arrowstyle": "-|>", "color": color, "lw": 0, "shrinkA": 0, "shrinkB": 0}
    if style["linewidth"] > 2:
        arrow["mutation_scale"] = 16  # a head that is wider than the line
    (x0, y0), (x1, y1) = path[-2:]
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    tail = x1 - 0.01 * (x1 - x0) / length, y1 - 0.01 * (y1 - y0) / length
    ax.annotate("", (x1, y1), tail, arrowprops=arrow)


def _draw_key(ax, maps: list[FeatureMap]) -> None:
    """Explain the arrows that occur, below the diagram."""
    from matplotlib.lines import Line2D

    texts = {(kind, text): None for m in maps for _, kind, text in m.edges if text}
    order = list(ARROWS)
    entries: dict[tuple, list[str]] = {}  # texts by the style of their arrows
    for kind, text in sorted(texts, key=lambda pair: (order.index(pair[0]), pair[1])):
        entries.setdefault(tuple(_arrow_style(kind, text).items()), []).append(text)
    handles = [Line2D([], [], label=", ".join(e), **dict(style)) for style, e in entries.items()]
    inches = ax.figure.get_figwidth() * ax.get_position().width
    style = {"ncols": max(1, min(3, round(inches / 2.8))), "fontsize": FONT_SIZE, "frameon": False}
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), **style)
