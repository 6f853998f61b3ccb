"""The released benchmarks by name, version and digest: a released version never changes."""

from collections.abc import Mapping
from types import MappingProxyType

from runner.core.benchmark_types import Benchmark

RELEASED: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("moral-ambiguity", "1.0.0"): "sha256:90a34f1c9c352cce836338657380b31f3b5c7e587ae98d2a2890eedb7d339308",
        ("moral-ambiguity", "2.0.0"): "sha256:00a4e6f113c9a85849dd04d639501f4ed9381232a5db926e96a67bba32aba2df",
    }
)


def is_released(benchmark: Benchmark) -> bool:
    """Whether `benchmark` is, digest for digest, a released one."""
    return RELEASED.get((benchmark.name, benchmark.version)) == benchmark.digest


def unreleased(benchmark: Benchmark) -> str:
    """The sentence by which a card says that its benchmark is not a released one."""
    return f"{benchmark.name} {benchmark.version} with this content is not a released benchmark"


def claims_release(benchmark: Benchmark) -> bool:
    """Whether `benchmark` has the name of a released one, so that a reader could take its results for those."""
    return any(name == benchmark.name for name, _ in RELEASED)
