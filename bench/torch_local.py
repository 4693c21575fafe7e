"""PyTorch in one process on the network, batch size, optimizer and data of examples/fashion-mnist: the peer of `muster run`.

usage: torch_local.py THREADS BATCH EPOCHS     prints {"examples_per_second": …, "test_accuracy": …}

The images are converted to float32 once, before the clock starts; each epoch draws its own order and gathers its batches
from it. One epoch warms up; the clock runs over the EPOCHS that follow, everything in the loop included.
"""
import gzip
import json
import sys
import time

import numpy
import torch

DATA = "/usr/share/datasets/fashion-mnist"


def load(kind):
    with gzip.open(f"{DATA}/{kind}-images-idx3-ubyte.gz") as file:
        images = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 784)
    with gzip.open(f"{DATA}/{kind}-labels-idx1-ubyte.gz") as file:
        labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8)
    return torch.from_numpy(images.astype(numpy.float32) / 255), torch.from_numpy(labels.astype(numpy.int64))


def train_epoch(model, optimizer, images, labels, batch):
    order = torch.randperm(len(images))
    for start in range(0, len(images), batch):
        chosen = order[start:start + batch]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()


def main():
    threads, batch, epochs = (int(argument) for argument in sys.argv[1:4])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    images, labels = load("train")
    model = torch.nn.Sequential(torch.nn.Linear(784, 300), torch.nn.ReLU(), torch.nn.Linear(300, 100), torch.nn.ReLU(),
                                torch.nn.Linear(100, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train_epoch(model, optimizer, images, labels, batch)
    started = time.perf_counter()
    for _ in range(epochs):
        train_epoch(model, optimizer, images, labels, batch)
    seconds = time.perf_counter() - started
    test_images, test_labels = load("t10k")
    with torch.no_grad():
        accuracy = (model(test_images).argmax(1) == test_labels).float().mean().item()
    print(json.dumps({"examples_per_second": epochs * len(images) / seconds, "test_accuracy": accuracy}))


main()
