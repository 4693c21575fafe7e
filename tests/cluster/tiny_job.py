"""A job small enough for a test: 8×8 images of four kinds that a tiny network tells apart, as IDX files."""
import gzip
import json
import pathlib
import random
import struct

SIDE = 8
CLASSES = 4
TRAIN_EXAMPLES = 2000
EVAL_EXAMPLES = 400


def idx(shape, payload, element_type=0x08):
    """The bytes of an IDX file: two zeros, element type, number of dimensions, the dimensions, the elements."""
    header = struct.pack(">BBBB", 0, 0, element_type, len(shape))
    return header + b"".join(struct.pack(">I", extent) for extent in shape) + payload


def examples(n, seed):
    """(images, labels) as bytes: a fixed pattern for each class with noise over it, so that they separate well."""
    patterns_random = random.Random(7)
    patterns = [[patterns_random.choice((40, 200)) for _ in range(SIDE * SIDE)] for _ in range(CLASSES)]
    noise = random.Random(seed)
    images, labels = bytearray(), bytearray()
    for _ in range(n):
        label = noise.randrange(CLASSES)
        labels.append(label)
        images += bytes(pixel + noise.randrange(-40, 41) for pixel in patterns[label])
    return bytes(images), bytes(labels)


def write_data(folder):
    """Train data plain, evaluation data gzipped, so that both ways of reading are used by every test."""
    folder = pathlib.Path(folder)
    images, labels = examples(TRAIN_EXAMPLES, 1)
    (folder / "train-images.idx").write_bytes(idx((TRAIN_EXAMPLES, SIDE, SIDE), images))
    (folder / "train-labels.idx").write_bytes(idx((TRAIN_EXAMPLES,), labels))
    images, labels = examples(EVAL_EXAMPLES, 2)
    (folder / "eval-images.idx.gz").write_bytes(gzip.compress(idx((EVAL_EXAMPLES, SIDE, SIDE), images)))
    (folder / "eval-labels.idx.gz").write_bytes(gzip.compress(idx((EVAL_EXAMPLES,), labels)))
    return folder


def layer(class_name, config, input_shape=None):
    described = {"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": None}
    if input_shape is not None:
        described["build_config"] = {"input_shape": input_shape}
    return described


def dense(name, units, activation, n_inputs):
    def initializer(class_name, config):
        return {"module": "keras.initializers", "class_name": class_name, "config": config, "registered_name": None}
    return layer("Dense", {"name": name, "trainable": True, "dtype": "float32", "units": units, "activation": activation,
                           "use_bias": True, "kernel_initializer": initializer("GlorotUniform", {"seed": None}),
                           "bias_initializer": initializer("Zeros", {}), "kernel_regularizer": None,
                           "bias_regularizer": None, "kernel_constraint": None, "bias_constraint": None},
                 [None, n_inputs])


def model():
    """What model.to_json() of Keras 3 prints for this network, parsed."""
    shape = [None, SIDE, SIDE]
    layers = [layer("InputLayer", {"batch_shape": shape, "dtype": "float32", "sparse": False, "name": "input_layer"}),
              layer("Rescaling", {"name": "rescaling", "trainable": True, "dtype": "float32", "scale": 1 / 255, "offset": 0.0},
                    shape),
              layer("Flatten", {"name": "flatten", "trainable": True, "dtype": "float32", "data_format": "channels_last"},
                    shape),
              dense("dense", 32, "relu", SIDE * SIDE), dense("dense_1", CLASSES, "linear", 32)]
    return {"module": "keras", "class_name": "Sequential",
            "config": {"name": "tiny", "trainable": True, "dtype": "float32", "layers": layers,
                       "build_input_shape": shape},
            "registered_name": None, "build_config": {"input_shape": shape}, "compile_config": None}


def job(data, folder):
    """The job as a dictionary; tests change keys before they write it."""
    data, folder = pathlib.Path(data), pathlib.Path(folder)
    return {"name": "tiny", "model": str(folder / "model.json"),
            "compile": {"optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.05}},
                        "loss": {"class_name": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
                        "metrics": ["accuracy"]},
            "data": {"train": {"format": "idx", "features": str(data / "train-images.idx"),
                               "labels": str(data / "train-labels.idx"), "shuffle": True},
                     "eval": {"format": "idx", "features": str(data / "eval-images.idx.gz"),
                              "labels": str(data / "eval-labels.idx.gz")}},
            "batch_size": 16, "epochs": 2, "seed": 1,
            "partitioner": {"class_name": "FixedShardsPartitioner", "config": {"num_shards": 2}},
            "checkpoint": {"dir": str(folder / "ckpt")},
            "output": {"dir": str(folder / "out")}}


def write(described, folder):
    """Writes job.json and model.json into the folder; returns the path of the job."""
    folder = pathlib.Path(folder)
    (folder / "model.json").write_text(json.dumps(model()))
    path = folder / "job.json"
    path.write_text(json.dumps(described, indent=1))
    return path
