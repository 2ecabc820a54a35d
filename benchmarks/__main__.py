"""Every benchmark, in some minutes; each also runs alone, with more cases and repetitions.

python -m benchmarks [--quick] [--threads N]
"""

from __future__ import annotations

import sys

import torch

from benchmarks import adaptive, integrated_gradients, report


def main() -> int:
    given = report.parser("every benchmark").parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    for key, value in report.facts().items():
        print(f"{key}: {value}")
    print("\nIntegrated Gradients, 50 Gauss-Legendre nodes, beside Captum")
    agreed = integrated_gradients.run(given.quick)
    print('\nIntegrated Gradients, steps="auto", tolerance 1 %')
    adaptive.run(24 if given.quick else 75, 10 if given.quick else 50)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
