"""What a checkpoint holds, by `muster ckpt inspect` and the bytes of its data files."""
import json
import struct


def weights_of(run, folder, prefix):
    """Every float variable of a checkpoint as a flat list, read from the data files at the offsets that inspect says."""
    document = json.loads(run("ckpt", "inspect", prefix, "--json")[1])
    weights = {}
    for tensor in document["tensors"]:
        values = []
        for piece in tensor["slices"]:  # of rows, in order
            path, = folder.glob(f"{prefix}.data-{piece['data_file']:05}-of-*")
            content = path.read_bytes()[piece["offset"]:piece["offset"] + piece["bytes"]]
            values += [value for value, in struct.iter_unpack("<f", content)] if tensor["dtype"] == "float32" else []
        weights[tensor["name"]] = values
    return weights
