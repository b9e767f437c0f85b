"""Accelerators as their vendors describe them, and how fast their networks are.

Sizes in bytes, rates in operations or bytes a second. `Torus` and `Nodes` answer one
question: how long a collective takes along one axis of a mesh.

The numbers of a chip are those of its vendor's page: "TPU v3", "TPU v4", "TPU v5e",
"TPU v5p" and "TPU v6e" of Google Cloud's documentation, and NVIDIA's datasheets of the
A100 80GB SXM, H100 SXM and H200 SXM. Google's pages give an interconnect as bytes a
second of all links, both ways; that of v5e has printed 819 GB/s and 800 GiB/s for the
same memory, that of v6e 1,600 and 1,640 GB/s. NVIDIA prints products of matrices with
half of their numbers 0: here they are halved.
"""

import dataclasses
import math

from keras_switch.partitioning.mistakes import nearest

GB, GIB, TERA = 10**9, 2**30, 10**12


@dataclasses.dataclass(frozen=True)
class Axis:
    """Where the devices of one mesh axis stand.

    Args:
        size: devices along the axis.
        stride: devices between two neighbours; the last axis of a mesh has 1.
        devices: devices in the whole mesh.
    """

    size: int
    stride: int
    devices: int


@dataclasses.dataclass(frozen=True)
class Torus:
    """Chips linked to their neighbours in 2 or 3 dimensions, rings all.

    An axis of the mesh gets its share of the dimensions, at least one, by the logarithm
    of its size. An all-to-all also waits for the middle of the rings: on average a
    message makes a quarter of a ring's hops in each dimension (jax-ml's "How To Scale
    Your Model", part 3).

    Args:
        dims: dimensions.
        link: bytes a second of one link, one way.
    """

    dims: int
    link: float

    def bandwidth(self, axis: Axis) -> float:
        """Returns the bytes a second that a chip sends along an axis."""
        return 2 * self.link * self._dims(axis)

    def seconds(self, kind: str, sent: float, axis: Axis) -> float:
        """Returns how long a collective takes in which a chip sends `sent` bytes."""
        seconds = sent / self.bandwidth(axis)
        if kind == "all-to-all":
            ring = axis.size ** (1 / self._dims(axis))
            seconds = max(seconds, sent * ring / 8 / self.link)
        return seconds

    def _dims(self, axis):
        if axis.devices == 1:
            return 1
        share = self.dims * math.log(axis.size) / math.log(axis.devices)
        return max(1, round(share))


@dataclasses.dataclass(frozen=True)
class Nodes:
    """Boxes of GPUs: a switch inside, a network between them.

    Args:
        devices: GPUs in a box.
        inside: bytes a second of one GPU through the switch, one way.
        outside: bytes a second of one GPU's share of the network, one way.
    """

    devices: int
    inside: float
    outside: float

    def bandwidth(self, axis: Axis) -> float:
        """Returns the bytes a second that a GPU sends along an axis."""
        near = axis.stride * axis.size <= self.devices
        return self.inside if near else self.outside

    def seconds(self, kind: str, sent: float, axis: Axis) -> float:
        """Returns how long a collective takes in which a GPU sends `sent` bytes."""
        del kind
        return sent / self.bandwidth(axis)


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator.

    Args:
        name: what `chip` finds it by.
        bfloat16: operations a second in products of bfloat16 matrices, dense.
        float32: the same for float32 matrices, as TensorFlow multiplies them unless
            told otherwise: one bfloat16 pass on a TPU, TensorFloat-32 on a GPU.
        memory: bytes.
        bandwidth: bytes a second between memory and arithmetic.
        network: `Torus` or `Nodes`.
        source: where the numbers come from.
    """

    name: str
    bfloat16: float
    float32: float
    memory: int
    bandwidth: float
    network: Torus | Nodes
    source: str

    def peak(self, dtype: str) -> float:
        """Returns the operations a second in products of this dtype."""
        return self.float32 if dtype == "float32" else self.bfloat16


def _tpu(name, flops, memory, bandwidth, dims, link, source):
    flops, network = flops * TERA, Torus(dims, link * GB)
    return Chip(name, flops, flops, memory, bandwidth * GB, network, source)


def _gpu(name, bfloat16, tf32, memory, bandwidth, nvlink, network, source):
    return Chip(
        name,
        bfloat16 * TERA,
        tf32 * TERA,
        memory * GB,
        bandwidth * GB,
        Nodes(8, nvlink * GB, network * GB),
        source,
    )


_TPUS = "cloud.google.com/tpu/docs/"
_CHIPS = (
    _tpu(
        *("tpu_v3", 123, 32 * GIB, 900, 2, 82),
        _TPUS + "v3; link: 656 Gbit/s (Comm. ACM 63(7):67, table 3); all-reduce of a "
        "pod, 340 TB/s, is 83 GB/s a link",
    ),
    _tpu(
        *("tpu_v4", 275, 32 * GIB, 1200, 3, 45),
        _TPUS + "v4; link: all-reduce of a pod, 1.1 PB/s over 4,096 chips of 6 links "
        "(arXiv:2304.01433 prints 50 GB/s)",
    ),
    _tpu(
        *("tpu_v5e", 197, 16 * GB, 819, 2, 50),
        _TPUS + "v5e: 400 GB/s over 4 links, both ways",
    ),
    _tpu(
        *("tpu_v5p", 459, 95 * GB, 2765, 3, 100),
        _TPUS + "v5p: 1200 GB/s over 6 links, both ways",
    ),
    _tpu(
        *("tpu_v6e", 918, 32 * GB, 1600, 2, 100),
        _TPUS + "v6e: 800 GB/s over 4 links, both ways",
    ),
    _gpu(
        *("a100", 312, 156, 80, 2039, 300, 25),
        "NVIDIA A100 80GB SXM datasheet; DGX A100: one 200 Gbit/s adapter a GPU",
    ),
    _gpu(
        *("h100", 989.4, 494.7, 80, 3350, 450, 50),
        "NVIDIA H100 SXM datasheet (its figures with sparsity, halved); DGX H100: one "
        "400 Gbit/s adapter a GPU",
    ),
    _gpu(
        *("h200", 989.4, 494.7, 141, 4800, 450, 50),
        "NVIDIA H200 SXM datasheet (its figures with sparsity, halved); DGX H200: one "
        "400 Gbit/s adapter a GPU",
    ),
)
CHIPS = {chip.name: chip for chip in _CHIPS}


def chip(name: str) -> Chip:
    """Returns the chip of this name.

    Raises:
        ValueError: if there is none, with the nearest names.
    """
    if name not in CHIPS:
        raise ValueError(
            f"There is no chip {name!r}. Nearest is {nearest(name, CHIPS)}; all are "
            f"{', '.join(CHIPS)}. Another one is a keras_switch.planning.Chip."
        )
    return CHIPS[name]
