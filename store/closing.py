"""What is closed at the end of a `with` block."""

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Something that holds files, connections or locks until it is closed."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held; nothing else can be done with it afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
