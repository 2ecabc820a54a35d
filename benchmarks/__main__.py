"""Every benchmark, in some minutes; each also runs alone.

python -m benchmarks [--quick | --full] [--threads N]

--full adds the case that takes minutes and all test digits, --quick takes the fewest digits.
"""

from __future__ import annotations

import sys

from benchmarks import adaptive, agi, integrated_gradients, kernels, report, sampled, structure


def main() -> int:
    options = report.parser("every benchmark", path=False)
    options.add_argument("--full", action="store_true", help="the longest case and 300 test digits too")
    given = report.parse(options)
    for key, value in report.facts().items():
        print(f"{key}: {value}")
    print("\nIntegrated Gradients, 50 Gauss-Legendre nodes, beside Captum")
    agreed = integrated_gradients.run(quick=not given.full)
    print("\nThe same, with affine prefixes and folded copies")
    agreed = structure.run(quick=not given.full) and agreed
    print("\nSmoothGrad, GradientShap and Expected Gradients, 50 samples, beside Captum and shap")
    agreed = sampled.run(quick=given.quick) and agreed
    print("\nAGI beside Algorithm 1, one image and one class at a time")
    agreed = agi.run(quick=not given.full) and agreed
    print("\nThe native loops beside the memory bandwidth")
    kernels.run(quick=not given.full)
    print('\nIntegrated Gradients, steps="auto", tolerance 1 %')
    adaptive.run(300 if given.full else 24 if given.quick else 75, 10 if given.quick else 50)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
