"""A progress bar over rows, or nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Progress:
    """Told by the model adapters after every chunk; shows a tqdm bar if ``shown``.

    The bar counts model rows. How many there will be is known one pass ahead: an adaptive method adds rows for the
    examples that are not finished.
    """

    def __init__(self, shown: bool, label: str) -> None:
        self._bar: Any = None
        self._shown = shown
        self._label = label
        self.start(0, " rows")

    def start(self, total: int, unit: str) -> Any:
        """A new bar in place of the old: the bar, or None if none is shown."""
        if self._shown:
            from tqdm.auto import tqdm

            if self._bar is not None:
                self._bar.close()
            self._bar = tqdm(desc=self._label, unit=unit, total=total, leave=False)
        return self._bar

    def advance(self, rows: int, remaining: int) -> None:
        """``rows`` of the pass's ``remaining`` rows are done."""
        if self._bar is not None:
            self._bar.total = self._bar.n + remaining
            self._bar.update(rows)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
