"""What is different between two runs of one notebook."""

from __future__ import annotations

from collections.abc import Iterator

from tutorial_tools.outcomes import failed_checks, metrics_of

# What counts as a change: by that factor, and by that much.
NOTEBOOK_SLOWER = (1.3, 5.0)  # seconds
CELL_SLOWER = (1.5, 2.0)  # seconds
MORE_MEMORY = (1.25, 200)  # 10⁶ bytes


def changes(entry: dict, before: dict) -> list[dict]:
    """List what is different from an earlier record of the same notebook.

    Returns:
        Dicts of kind ("broke", "mended", "picture", "metric", "time", "memory", "code" or "data"),
        text, cell (its position, or 0) and, for pictures, the hashes before and after.
    """
    found = []

    def add(kind: str, text: str, cell: int = 0, **more) -> None:
        found.append({"kind": kind, "text": text, "cell": cell, **more})

    if (before["status"], entry["status"]) == ("passed", "failed"):
        add("broke", "passed last time, now failed")
    if (before["status"], entry["status"]) == ("failed", "passed"):
        add("mended", "failed last time, now passed")
    old = {cell["id"]: cell for cell in before["cells"]}
    shared = [(cell, old[cell["id"]]) for cell in entry["cells"] if cell["id"] in old]
    both = [pair for pair in shared if {cell["status"] for cell in pair} == {"completed"}]
    for cell, was in both:
        for kind, text in check_changes(cell, was):
            add(kind, text, cell["position"])
    for cell, was in both:
        for text, more in picture_changes(cell, was):
            add("picture", text, cell["position"], **more)
    measured, earlier = metrics_of(entry), metrics_of(before)
    for name in measured.keys() & earlier.keys():
        if measured[name] != earlier[name]:
            add("metric", f"{name} was {shown(earlier[name])}, now {shown(measured[name])}")
    if entry["status"] == before["status"] == "passed":
        if word := compared(entry["seconds"], before["seconds"], NOTEBOOK_SLOWER, "slower faster"):
            add("time", f"{word}: {before['seconds']:.0f} s, now {entry['seconds']:.0f} s")
        if word := compared(entry["megabytes"], before["megabytes"], MORE_MEMORY, "more less"):
            add("memory", f"{word} memory: {before['megabytes']} MB, now {entry['megabytes']} MB")
    for cell, was in both:
        if word := compared(cell["seconds"], was["seconds"], CELL_SLOWER, "slower faster"):
            text = f"{word}: {was['seconds']:.1f} s, now {cell['seconds']:.1f} s"
            add("time", text, cell["position"])
    edited = sum(cell["source"] != was["source"] for cell, was in shared)
    new, gone = len(entry["cells"]) - len(shared), len(old) - len(shared)
    if edited or new or gone:
        add("code", f"code cells: {edited} edited, {new} new, {gone} gone")
    for name in sorted(entry["data"].keys() | before["data"].keys()):
        is_now, was = entry["data"].get(name), before["data"].get(name)
        if is_now != was and is_now and entry["status"] == "passed":
            add("data", f"{name} is {'another' if was else 'used for the first time'}")
    return found


def check_changes(cell: dict, was: dict) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each check of a cell that fails only now, or no longer."""
    failing, failed = ({c["text"] for c in failed_checks([one])} for one in (cell, was))
    yield from (("broke", f"now says `{text}`") for text in sorted(failing - failed))
    yield from (("mended", f"no longer says `{text}`") for text in sorted(failed - failing))


def picture_changes(cell: dict, was: dict) -> Iterator[tuple[str, dict]]:
    """Yield text and hashes of each picture of a cell that is not the one it was."""
    if len(cell["pictures"]) != len(was["pictures"]):
        yield f"{len(was['pictures'])} pictures, now {len(cell['pictures'])}", {}
        return
    for new, old in zip(cell["pictures"], was["pictures"], strict=True):
        if new["hash"] != old["hash"]:
            yield "another picture", {"before": old["hash"], "after": new["hash"]}


def compared(value: float, before: float, limits: tuple[float, float], words: str) -> str:
    """Return the first of two words if a value has grown by a lot, the second if it has shrunk."""
    factor, difference = limits
    more, less = words.split()
    if value > before * factor and value - before > difference:
        return more
    return less if before > value * factor and before - value > difference else ""


def shown(value) -> str:
    """Return a metric as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def environment_changes(run: dict, before: dict) -> list[str]:
    """Return one line a difference between two runs' circumstances."""
    pairs = [(name, before.get(name), run[name]) for name in ("commit", "machine", "python")]
    versions = before.get("packages", {})
    pairs += [(name, versions.get(name), now) for name, now in run["packages"].items()]
    return [f"{name} {old} → {new}" for name, old, new in pairs if old != new]
