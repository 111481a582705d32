"""What the chips of a pod can do at most, as Google Cloud's documentation gives it."""

import dataclasses

_GB = 1e9


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak figures of one chip.

    Attributes:
        name: The beginning of its topologies' names.
        tflops: bfloat16 products, 10¹² operations a second.
        memory: Bytes of HBM, of which the compiler lets a program use all but about 2%.
        memory_rate: Bytes a second from HBM.
        links: To neighbours in the torus.
        link_rate: Bytes a second through one link, in one direction.
        source: Where the figures stand.
        config: Name of libtpu's configuration in which a device is a chip, where its default has
            one for each of a chip's two cores.
    """

    name: str
    tflops: float
    memory: float
    memory_rate: float
    links: int
    link_rate: float
    source: str
    config: str = ""

    @property
    def interconnect_rate(self) -> float:
        """Bytes a second that leave a chip through all of its links."""
        return self.links * self.link_rate


def _chip(
    name: str,
    tflops: float,
    memory_gb: float,
    rate_gb: float,
    links: int,
    gbit: float,
    config: str = "",
    source: str = "",
) -> Chip:
    """Of the published figures: interconnect in Gbit/s of all links together."""
    rate = gbit / 8 * _GB / links
    source = f"cloud.google.com/tpu/docs/{name}{source}"
    return Chip(name, tflops, memory_gb * 2**30, rate_gb * _GB, links, rate, source, config)


# Interconnect as first published, in one direction: later pages give both directions together, and
# some of them lower figures (v5e 800, v6e 1,600 GB/s of memory and 3,200 Gbit/s). A floor takes the
# higher.
CHIPS = {
    chip.name: chip
    for chip in (
        _chip("v4", 275, 32, 1200, 6, 2400, "megacore", "; links: arXiv:2304.01433, table 4"),
        _chip("v5e", 197, 16, 819, 4, 1600),
        _chip("v5p", 459, 95, 2765, 6, 4800),
        _chip("v6e", 918, 32, 1640, 4, 3584),
    )
}
