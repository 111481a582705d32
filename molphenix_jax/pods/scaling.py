"""How a training step would scale over chips: floors from the compiled program and public figures.

A floor is what no program can beat on that chip: products at the published peak, memory at the
published rate, messages at the links' rate. A real step takes longer.
"""

from collections.abc import Iterator, Mapping, Sequence

from molphenix_jax.memory import in_words
from molphenix_jax.pods.chips import CHIPS, Chip
from molphenix_jax.pods.program import Program

_ORDER = ("products", "memory", "messages")
_SHARDED = "--config.train.shard_state=True"
# Options of a command that do not change what a pod's program is.
_APART = ("--topology", "--json", "--page", "--after")


def floors(program: Program, chip: Chip) -> dict[str, float]:
    """Seconds that an update takes at least, by what bounds it.

    "messages": a permutation sends its bytes through one link; an all-reduce sends and receives its
    bytes nearly once each way through all links; other kinds receive theirs through all links.
    """
    n = program.chips
    seconds = 0.0
    for each in program.collectives:
        if each.kind == "collective-permute":
            seconds += each.n_bytes / chip.link_rate
        elif each.kind == "all-reduce":
            seconds += 2 * (n - 1) / n * each.n_bytes / chip.interconnect_rate
        else:
            seconds += each.n_bytes / chip.interconnect_rate
    return {
        "products": program.flops / (chip.tflops * 1e12),
        "memory": program.bytes_accessed / chip.memory_rate,
        "messages": seconds,
    }


def page(programs: Sequence[Program]) -> str:
    """The page in Markdown, with a section for all pods of the same settings.

    Args:
        programs: In any order; of one pod compiled twice with the same settings the last counts.
    """
    groups: dict[tuple[str, ...], dict[str, Program]] = {}
    for program in programs:
        # The same options in another order are the same settings.
        settings = tuple(sorted(_settings(program.command).split()))
        groups.setdefault(settings, {})[program.topology] = program
    order = list(CHIPS)
    sections, chips = [], set()
    for of_one in groups.values():
        settings = _settings(next(iter(of_one.values())).command)
        rows = sorted(
            of_one.values(), key=lambda of: (order.index(_chip_name(of)), of.chips, of.topology)
        )
        sections += _section(settings, rows)
        chips |= {*map(_chip_name, rows)}
    lines = [
        "# Scaling: what a training step takes on pods",
        "",
        "**No TPU has run this yet.** Each row is the step that training runs, compiled for that",
        "pod on a machine without one. Memory, messages and operations are the compiled program's;",
        "times are floors by the published peak figures below: a real step takes longer. Floors",
        "of an update, and what they would mean: rows per second of the whole pod if the slowest",
        "floor alone bound it, and the share of the products' floor in it (the highest",
        "utilisation that is possible).",
        "",
        *sections,
        "## The figures behind the floors",
        "",
        "Memory traffic is XLA's own count, which takes each body of a loop once: with a ring it",
        "is too low, and so is its floor.",
        "",
        "| chip | bfloat16 TFLOP/s | HBM | HBM GB/s | links × GB/s | source |",
        "|---|---:|---:|---:|---:|---|",
        *(_figures(CHIPS[name]) for name in order if name in chips),
        "",
    ]
    return "\n".join(lines)


def _settings(command: str) -> str:
    """A command without its pods and files."""

    def kept() -> Iterator[str]:
        drops = False
        for word in command.split():
            name, _, value = word.partition("=")
            drops = name in _APART if word.startswith("--") else drops
            if not drops:
                yield word
            # What follows without a name is a value of the option before.
            drops = drops and not value

    return " ".join(kept())


def _section(settings: str, programs: Sequence[Program]) -> list[str]:
    millions = sorted({round(program.parameters / 1e6, 1) for program in programs})
    sharded = ", spread over the chips" if _SHARDED in settings.split() else ""
    pods = "+".join(program.topology for program in programs)
    return [
        f"## {' and '.join(f'{each:,}' for each in millions)} million parameters{sharded}",
        "",
        "Made by, in one command or one for each pod:",
        "",
        f"    {settings} --topology={pods}",
        "",
        "| pod | chips | rows of a batch | parameters | memory of a chip | of what it has "
        "| TFLOP a chip | messages of a chip |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
        *(_sizes(program) for program in programs),
        "",
        "| pod | products | memory | messages | bound by | rows/s at most | utilisation at most |",
        "|---|---:|---:|---:|---|---:|---:|",
        *(_times(program) for program in programs),
        "",
    ]


def _chip_name(program: Program) -> str:
    return program.topology.partition(":")[0]


def _sizes(program: Program) -> str:
    chip = CHIPS[_chip_name(program)]
    messages = ", ".join(
        f"{each.count:,} {each.kind} {in_words(each.n_bytes)}" for each in program.collectives
    )
    return (
        f"| {program.topology} | {program.chips:,} | {program.rows:,} | {program.parameters:,} "
        f"| {in_words(program.memory_bytes)} | {program.memory_bytes / chip.memory:.1%} "
        f"| {program.flops / 1e12:.3g} | {messages or 'none'} |"
    )


def _times(program: Program) -> str:
    found = floors(program, CHIPS[_chip_name(program)])
    slowest = max(_ORDER, key=found.__getitem__)
    rate = program.rows / found[slowest]
    return (
        f"| {program.topology} | {_ms(found, 'products')} | {_ms(found, 'memory')} "
        f"| {_ms(found, 'messages')} | {slowest} | {rate:,.0f} "
        f"| {found['products'] / found[slowest]:.0%} |"
    )


def _ms(found: Mapping[str, float], name: str) -> str:
    return f"{1e3 * found[name]:.3g} ms"


def _figures(chip: Chip) -> str:
    return (
        f"| {chip.name} | {chip.tflops:,.0f} | {in_words(chip.memory)} "
        f"| {chip.memory_rate / 1e9:,.0f} | {chip.links} × {chip.link_rate / 1e9:,.0f} "
        f"| {chip.source} |"
    )
