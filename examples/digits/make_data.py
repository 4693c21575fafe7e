import gzip
import random
import struct


def write_idx(path, shape, payload):
    """One byte an element; the header is big-endian: 0, 0, type 8, dimensions, their sizes."""
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + payload)


source = random.Random(1)
kinds = [[source.randrange(17) for _ in range(64)] for _ in range(10)]
for name, n in (("train", 5000), ("test", 1000)):
    labels = bytes(source.randrange(10) for _ in range(n))
    images = b"".join(bytes(min(16, max(0, v + source.randrange(-5, 6))) for v in kinds[k]) for k in labels)
    write_idx(f"{name}-images.gz", (n, 8, 8), images)
    write_idx(f"{name}-labels.gz", (n,), labels)
