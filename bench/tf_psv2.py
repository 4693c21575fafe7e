"""TensorFlow's ParameterServerStrategy on the network, optimizer and data of examples/fashion-mnist, all on this machine.

usage: tf_psv2.py WORKERS PS        orders on standard input, a line each: BATCH STEPS_A_CLOSURE SECONDS

Starts WORKERS + PS servers (this program again), coordinates them, and answers with a line of JSON each time: first
{"first_step_seconds": …} when the first step was applied, then for every order {"examples_per_second": …}. It stays up
between orders, because a start takes 7 to 40 s on two CPUs. The end of standard input ends it and its servers.

What favours the peer is done: variables of 256 KiB and more are cut over the servers as Muster's are, every worker holds
its images as float32 and gathers a batch at a time from its own permutation (no per-example elements in the pipeline), a
new kind of closure is traced and warmed up before the clock starts, and the queue of closures is never empty.
"""
import json
import os
import socket
import subprocess
import sys
import threading
import time

STARTED = time.perf_counter()
DATA = "/usr/share/datasets/fashion-mnist"
N_TRAIN = 60000
MIN_SHARD_BYTES = 262144


def free_ports(n):
    """Ports that were free a moment ago; all are held until all are known, so they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def end_with_standard_input():
    """Ends this process when the one that holds the other end of its standard input is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


def serve(role, index, cluster):
    """A worker's or parameter server's process."""
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    import tensorflow as tf
    # As TensorFlow's guide asks on machines with fewer CPUs than workers: else a worker's functions can block each other.
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=4)
    tf.distribute.Server(tf.train.ClusterSpec(cluster), job_name=role, task_index=index, protocol="grpc",
                         config=config).join()


def start_servers(cluster):
    servers = []
    for role in ("ps", "worker"):
        for index in range(len(cluster[role])):
            command = [sys.executable, os.path.abspath(__file__), "--serve", role, str(index), json.dumps(cluster)]
            servers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr))
    return servers


class Trainer:
    """The coordinator's side: a model on the parameter servers, and a closure for each batch size and length."""

    def __init__(self, cluster, n_ps):
        import tensorflow as tf
        import tf_keras
        self.tf = tf
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "chief", "index": 0}})
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cut = tf.distribute.experimental.partitioners.MinSizePartitioner(min_shard_bytes=MIN_SHARD_BYTES, max_shards=n_ps)
        self.strategy = tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=cut)
        self.coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)
        layers = tf_keras.layers
        with self.strategy.scope():
            self.model = tf_keras.Sequential([layers.InputLayer((784,)), layers.Dense(300, "relu"),
                                              layers.Dense(100, "relu"), layers.Dense(10)])
            self.optimizer = tf_keras.optimizers.legacy.SGD(0.1)  # the one whose updates stay on the variables' servers
        self.loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
        self.closures = {}  # (batch, steps) -> [function, iterator, closures a second]

    def batches(self, batch):
        """A worker's endless batches. The files are read and converted once, when the pipeline is made."""
        tf = self.tf

        def read(kind, header):
            packed = tf.io.read_file(f"{DATA}/train-{kind}-ubyte.gz")
            plain = tf.io.decode_compressed(packed, "GZIP")
            return tf.io.decode_raw(tf.strings.substr(plain, header, -1), tf.uint8)

        images = tf.cast(tf.reshape(read("images-idx3", 16), (N_TRAIN, 784)), tf.float32) / 255
        labels = tf.cast(read("labels-idx1", 8), tf.int64)
        n_full = N_TRAIN // batch

        def epoch(_):
            order = tf.random.shuffle(tf.range(N_TRAIN))[:n_full * batch]
            return tf.data.Dataset.from_tensor_slices(tf.reshape(order, (n_full, batch)))

        def gather(chosen):
            return tf.gather(images, chosen), tf.gather(labels, chosen)

        return tf.data.Dataset.range(1 << 40).flat_map(epoch).map(gather).prefetch(8)

    def new_closure(self, batch, steps):
        tf = self.tf

        def train(features, labels):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(self.loss(labels, self.model(features, training=True)))
            variables = self.model.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

        @tf.function
        def closure(iterator):
            for _ in range(steps):  # Python's: steps in a row in the graph run faster than a loop in it
                self.strategy.run(train, args=next(iterator))

        return closure, iter(self.coordinator.create_per_worker_dataset(lambda: self.batches(batch)))

    def run(self, function, iterator, n):
        started = time.perf_counter()
        for _ in range(n):
            self.coordinator.schedule(function, args=(iterator,))
        self.coordinator.join()
        return n / (time.perf_counter() - started)

    def measure(self, batch, steps, seconds):
        """Examples a second over about that many seconds, after what is new has been traced and warmed up."""
        key = (batch, steps)
        if key not in self.closures:
            function, iterator = self.new_closure(batch, steps)
            self.run(function, iterator, 4)  # traces it, on every worker
            self.closures[key] = [function, iterator, self.run(function, iterator, 12)]
        function, iterator, rate = self.closures[key]
        n = max(8, round(rate * seconds))
        rate = self.run(function, iterator, n)
        self.closures[key][2] = rate
        return rate * steps * batch


def answer(out, values):
    out.write(json.dumps(values) + "\n")
    out.flush()


def main():
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
        return
    n_workers, n_ps = int(sys.argv[1]), int(sys.argv[2])
    addresses = [f"127.0.0.1:{port}" for port in free_ports(n_workers + n_ps + 1)]
    cluster = {"chief": addresses[:1], "worker": addresses[1:1 + n_workers], "ps": addresses[1 + n_workers:]}
    servers = start_servers(cluster)
    try:
        trainer = Trainer(cluster, n_ps)
        trainer.run(*trainer.new_closure(64, 1), 1)
        answer(sys.stdout, {"first_step_seconds": time.perf_counter() - STARTED})
        for line in sys.stdin:
            batch, steps, seconds = line.split()
            answer(sys.stdout, {"examples_per_second": trainer.measure(int(batch), int(steps), float(seconds))})
    finally:
        for server in servers:
            server.kill()
    sys.stdout.flush()
    os._exit(0)  # TensorFlow's threads would wait for the servers


main()
