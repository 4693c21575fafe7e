"""PyTorch's DistributedDataParallel over gloo on the network, optimizer and data of examples/fashion-mnist.

usage: torch_ddp.py PROCESSES BATCH SECONDS BUCKET_MB [BUCKET_MB…]     prints {"BUCKET_MB": examples a second, …}

One process a worker, each with one thread and its share of the images as float32 in memory; gradients are averaged in
buckets of at most BUCKET_MB megabytes (bucket_cap_mb). Each size has a fresh model, warms up for 30 steps, calibrates, and
counts as many steps as fill SECONDS.
"""
import gzip
import json
import os
import socket
import sys
import time

import numpy
import torch
import torch.distributed
import torch.multiprocessing
from torch.nn.parallel import DistributedDataParallel

DATA = "/usr/share/datasets/fashion-mnist"
N_WARM_UP = 30


def load(rank, n):
    with gzip.open(f"{DATA}/train-images-idx3-ubyte.gz") as file:
        images = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 784)[rank::n]
    with gzip.open(f"{DATA}/train-labels-idx1-ubyte.gz") as file:
        labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8)[rank::n]
    return torch.from_numpy(images.astype(numpy.float32) / 255), torch.from_numpy(labels.astype(numpy.int64))


def train(model, optimizer, images, labels, batch, n_steps):
    """Seconds that n_steps took; every epoch draws its own order."""
    n_full = len(images) // batch
    started = time.perf_counter()
    for step in range(n_steps):
        if step % n_full == 0:
            order = torch.randperm(len(images))
        start = step % n_full * batch
        chosen = order[start:start + batch]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return time.perf_counter() - started


def measure(images, labels, n, batch, seconds, bucket_mb):
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(784, 300), torch.nn.ReLU(), torch.nn.Linear(300, 100),
                                  torch.nn.ReLU(), torch.nn.Linear(100, 10))
    model = DistributedDataParallel(network, bucket_cap_mb=bucket_mb, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    # The first steps also regroup the buckets in the order in which gradients arrive.
    train(model, optimizer, images, labels, batch, N_WARM_UP)
    took = torch.tensor(train(model, optimizer, images, labels, batch, N_WARM_UP))
    torch.distributed.broadcast(took, 0)  # all must do the same number of steps
    n_steps = max(N_WARM_UP, round(N_WARM_UP * seconds / took.item()))
    torch.distributed.barrier()
    return n * batch * n_steps / train(model, optimizer, images, labels, batch, n_steps)


def work(rank, n, port, batch, seconds, buckets):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=n)
    images, labels = load(rank, n)
    rates = {bucket: measure(images, labels, n, batch, seconds, float(bucket)) for bucket in buckets}
    if rank == 0:
        print(json.dumps(rates), flush=True)
    # Every process ends by itself once all have come here: gloo's threads do not survive an orderly farewell in which one
    # process is faster than the other.
    torch.distributed.barrier()
    os._exit(0)


def main():
    n, batch, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    buckets = sys.argv[4:]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, args=(n, port, batch, seconds, buckets), nprocs=n)


if __name__ == "__main__":
    main()
