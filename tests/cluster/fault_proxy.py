"""Faulty TCP links between processes of a cluster: all of them carried by one asyncio loop in a thread.

    with Proxies() as proxies:
        link = proxies.add("worker-0", "ps-1", "127.0.0.1:4711")     # link.address stands in worker-0's TF_CONFIG
        link.silence(0.5)                                            # nothing gets through for so long; nobody is told
        link.reset()                                                 # all its connections, and it goes on accepting
        proxies.answers["worker-0"]                                  # when its pushes were answered

A link reads whole frames of our wire (common/wire/frame.h), so that it can send one twice, hold one half sent, or turn a bit
where a checksum must find it. Bytes that are no frame are carried as they are. Within a connection
nothing overtakes anything, as in TCP; a random delay makes connections overtake each other.
"""
import asyncio
import random
import socket
import struct
import threading
import time

HEADER = struct.Struct("<IBBHQIIQ")
MAGIC = 0x5254534D
REPLY, ERROR = 1, 2
GREETING, MAP, PUSH, STATE = 1, 4, 5, 13
READ_BYTES = 65536
WHOLE_BYTES = 1 << 20  # a longer frame is carried piece by piece
CONNECT_S = 5


class Frame:
    """A header with its message, and how many bytes of body follow."""

    def __init__(self, header, meta):
        self.magic, _, self.flags, self.method, self.call, _, _, self.body_bytes = HEADER.unpack(header)
        self.head = bytearray(header + meta)

    def turn_bit(self, chance):
        """One that the checksum must find. In a greeting not those that tell another version or length: whoever speaks so from the
        start is somebody else, and refused for good."""
        places = range(8, 16) if self.method == GREETING else range(len(self.head))
        turn_bit(self.head, chance.choice(places), chance)

    def asks(self, method):
        return self.method == method and not self.flags & REPLY

    @property
    def is_push(self):
        return self.asks(PUSH)

    @property
    def is_answered_push(self):
        return self.method == PUSH and self.flags & REPLY and not self.flags & ERROR and self.body_bytes > 0


def turn_bit(data, place, chance):
    data[place] ^= 1 << chance.randrange(8)


def reset(writer):
    """Linger 0: the peer sees a reset, as when a machine or a firewall drops the connection."""
    one = writer.get_extra_info("socket")
    if one is not None and one.fileno() >= 0:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def bind(port=0):
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


class Link:
    """One process's way to another; every connection on it shares its faults. Its methods may be called from any thread."""

    def __init__(self, proxies, reader, role, target, seed):
        self.proxies, self.reader, self.role = proxies, reader, role
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self.random = random.Random(seed)
        # Bound, not listening: connects are refused while nobody listens beside it.
        self.bound = bind()
        self.address = "127.0.0.1:%d" % self.bound.getsockname()[1]
        self.server = None
        self.connections = set()
        self.flows = asyncio.Event()
        self.flows.set()
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.resets_new = False
        self.n_corrupt = self.n_corrupt_bodies = self.n_twice = 0
        self.half_sent = None  # threading.Event of who waits for a push to be half sent
        self.goes_on = asyncio.Event()

    # ---- faults ----

    def for_a_while(self, seconds, begin, end):
        def both():
            begin()
            self.proxies.loop.call_later(seconds, end)
        self.proxies.call(both)

    def silence(self, seconds):
        """Nothing is carried, and connections stand: what was sent meanwhile arrives afterwards."""
        self.for_a_while(seconds, self.flows.clear, self.flows.set)

    def delay(self, seconds, by_s):
        """Each frame is late by up to by_s."""
        self.for_a_while(seconds, lambda: setattr(self, "delay_s", by_s), lambda: setattr(self, "delay_s", 0.0))

    def throttle(self, seconds, bytes_per_s):
        self.for_a_while(seconds, lambda: setattr(self, "bytes_per_s", bytes_per_s), lambda: setattr(self, "bytes_per_s", 0))

    def reset(self, seconds=0):
        """All connections; for so long, new ones are accepted and reset, too."""
        def begin():
            self.resets_new = seconds > 0
            self.reset_all()
        self.for_a_while(seconds, begin, lambda: setattr(self, "resets_new", False))

    def half_close(self):
        """The end of what the one who dials sends; the other direction stays open."""
        self.proxies.call(lambda: [far.write_eof() for _, far in self.connections if far.can_write_eof()])

    def corrupt(self, n=1):
        """A bit of the header or message of the next n frames is turned."""
        self.proxies.call(lambda: setattr(self, "n_corrupt", n))

    def corrupt_body(self, n=1):
        """A bit of the next n bodies is turned: found if they carry a checksum (cluster.checksums)."""
        self.proxies.call(lambda: setattr(self, "n_corrupt_bodies", n))

    def send_twice(self, n=1):
        """Each of the next n pushes comes twice."""
        self.proxies.call(lambda: setattr(self, "n_twice", n))

    def stall_in_push(self):
        """Returns an event that is set when a push is half sent; its connection stands still until go_on()."""
        event = threading.Event()

        def begin():
            self.goes_on.clear()
            self.half_sent = event
        self.proxies.call(begin)
        return event

    def go_on(self):
        def end():
            self.half_sent = None
            self.goes_on.set()
        self.proxies.call(end)

    def refuse(self):
        """The process at its end is gone: connections are reset, and new ones refused as the kernel would."""
        self.proxies.call(self.stop_listening)

    def accept(self):
        """It is back."""
        self.proxies.ask(self.listen())

    # ---- on the loop ----

    async def listen(self):
        if self.server is None:
            listener = bind(self.bound.getsockname()[1])
            listener.setblocking(False)
            self.server = await asyncio.start_server(self.on_accept, sock=listener, limit=READ_BYTES)

    def stop_listening(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        self.reset_all()

    def reset_all(self):
        for near, far in list(self.connections):
            reset(near)
            reset(far)

    async def on_accept(self, near_reader, near):
        if self.resets_new:
            reset(near)
            return
        try:
            far_reader, far = await asyncio.wait_for(asyncio.open_connection(*self.target, limit=READ_BYTES), CONNECT_S)
        except (OSError, asyncio.TimeoutError):
            reset(near)
            return
        for one in (near, far):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (near, far)
        self.connections.add(pair)
        both = [asyncio.ensure_future(self.carry(near_reader, far, True)), asyncio.ensure_future(self.carry(far_reader, near, False))]
        done, rest = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not any(one.result() == "reset" for one in done):
            await asyncio.wait(rest, timeout=1)  # the other direction of a connection that was half closed
        for one in rest:
            one.cancel()
        self.connections.discard(pair)
        reset(near)
        reset(far)

    async def carry(self, reader, writer, is_up):
        """One direction of a connection, until it ends; says how."""
        try:
            while True:
                header = await reader.read(1)
                if not header:
                    writer.write_eof()
                    return "end"
                header += await reader.readexactly(HEADER.size - 1)
                frame = Frame(header, b"")
                if frame.magic != MAGIC:
                    writer.write(header)
                    await self.carry_raw(reader, writer)
                    return "end"
                frame = Frame(header, await reader.readexactly(HEADER.unpack(header)[5]))
                await self.carry_frame(frame, reader, writer, is_up)
        except (OSError, asyncio.IncompleteReadError, RuntimeError):
            return "reset"

    async def carry_raw(self, reader, writer):
        while data := await reader.read(READ_BYTES):
            await self.flows.wait()
            writer.write(data)
            await writer.drain()

    async def carry_frame(self, frame, reader, writer, is_up):
        if frame.is_push and self.proxies.pace_s:
            await asyncio.sleep(self.proxies.pace_s)
        if self.delay_s:
            await asyncio.sleep(self.random.uniform(0, self.delay_s))
        if self.n_corrupt:
            self.n_corrupt -= 1
            frame.turn_bit(self.random)
        if frame.body_bytes > WHOLE_BYTES:
            await self.send(writer, frame.head)
            left = frame.body_bytes
            while left:
                data = await reader.readexactly(min(left, READ_BYTES))
                await self.send(writer, self.corrupted(data))
                left -= len(data)
        else:
            body = self.corrupted(await reader.readexactly(frame.body_bytes))
            if not self.proxies.loses(frame, self):
                await self.send_whole(frame, body, writer)
        if not is_up and frame.is_answered_push:
            self.proxies.answers.setdefault(self.reader, []).append(time.monotonic())

    def corrupted(self, body):
        if not body or not self.n_corrupt_bodies:
            return body
        self.n_corrupt_bodies -= 1
        body = bytearray(body)
        turn_bit(body, self.random.randrange(len(body)), self.random)
        return bytes(body)

    async def send_whole(self, frame, body, writer):
        data = bytes(frame.head) + body
        if frame.is_push and self.half_sent is not None:
            event, self.half_sent = self.half_sent, None
            middle = len(frame.head) + len(body) // 2
            await self.send(writer, data[:middle])
            event.set()
            await self.goes_on.wait()
            data = data[middle:]
        elif frame.is_push and self.n_twice:
            self.n_twice -= 1
            data += data
        await self.send(writer, data)

    async def send(self, writer, data):
        await self.flows.wait()
        if self.bytes_per_s:
            await asyncio.sleep(len(data) / self.bytes_per_s)
        writer.write(data)
        await writer.drain()


class Proxies:
    """All links of a cluster and the thread that carries them."""

    def __init__(self, seed=0):
        self.random = random.Random(seed)
        self.links = {}  # {(reader, role): Link}
        self.answers = {}  # {reader: times at which a push of it was answered}
        self.pace_s = 0.0  # each push is late by so much, so that a job lasts as long as a test needs it
        self.loses_state = False
        self.is_watched = None  # of a link: whether what is told there is what lose_state() waits for
        self.watched = set()  # (link, call) of each MAP that was
        self.n_states_lost = 0
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)  # connections that a fault ended under a reader's hands
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, function):
        self.loop.call_soon_threadsafe(function)

    def ask(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def lose_state(self, is_watched=None):
        """What a chief stores does not arrive from now on, all else does; or from when a server answers that was told what to begin
        with over a link of which is_watched(link) was true then."""
        def begin():
            self.loses_state, self.is_watched = is_watched is None, is_watched
        self.call(begin)

    def carry_state(self):
        def end():
            self.loses_state, self.is_watched = False, None
        self.call(end)

    def loses(self, frame, link):
        """On the loop, as it passes."""
        if frame.asks(MAP) and self.is_watched and self.is_watched(link):
            self.watched.add((link, frame.call))
        elif frame.method == MAP and (link, frame.call) in self.watched and not frame.flags & ERROR:
            self.loses_state = self.loses_state or self.is_watched is not None
        is_lost = frame.asks(STATE) and self.loses_state
        self.n_states_lost += is_lost
        return is_lost

    def add(self, reader, role, target):
        async def make():
            link = Link(self, reader, role, target, self.random.random())
            await link.listen()
            return link
        self.links[(reader, role)] = link = self.ask(make())
        return link

    def to(self, role):
        return [link for link in self.links.values() if link.role == role]

    def close(self):
        async def end():
            for link in self.links.values():
                link.stop_listening()
                link.bound.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        if self.loop.is_closed():
            return
        self.ask(end())
        self.call(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
