"""Every task uses every layer (Caruana 1997; MT-DNN; ERNIE 2.0)."""

from collections.abc import Callable, Sequence

from ernie_cmtl.model.sharing import SharedTask, SharingMode, SharingTable


class Hard(SharingMode):
    """One encoder for all; only heads and rows of the task embedding are a task's own."""

    def table(self, tasks: Sequence[SharedTask], layers: Callable[[], int]) -> SharingTable:
        """Return an empty table."""
        return SharingTable()
