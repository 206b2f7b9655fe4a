"""All readers by name."""

from fuzz import annotations, networks, pictures, requests
from fuzz.reader import Reader

READERS: dict[str, Reader] = annotations.READERS | pictures.READERS | networks.READERS | requests.READERS
