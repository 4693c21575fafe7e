"""A TCP link that a test can hold and cut: a small proxy in a thread between two roles."""
import selectors
import socket
import threading

READ_BYTES = 65536


class Link:
    """Listens on a port of its own and carries every connection to the target.

    hold() stops carrying bytes, release() goes on, cut() resets all connections (new ones are accepted again).
    hold_at: holds by itself once so many bytes went through, so that a test stops a role in the middle of its work
    however fast it is. read_bytes: the most that is carried at once; a few stop it within messages, too.
    """

    def __init__(self, target, hold_at=None, read_bytes=READ_BYTES):
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.n_bytes = 0
        self.hold_at = hold_at
        self.read_bytes = read_bytes
        self.held = False
        self.closing = False
        self.cut_asked = False
        self.other_end = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.wake_in, self.wake_out = socket.socketpair()
        self.selector.register(self.wake_out, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()

    def wake(self):
        self.wake_in.send(b"x")

    def hold(self):
        self.held = True
        self.wake()

    def release(self):
        self.held = False
        self.wake()

    def cut(self):
        self.cut_asked = True
        self.wake()

    def close(self):
        self.closing = True
        self.wake()
        self.thread.join(10)

    def carry(self):
        while not self.closing:
            for key, _ in self.selector.select():
                if key.fileobj is self.wake_out:
                    self.wake_out.recv(READ_BYTES)
                    self.on_wake()
                elif key.fileobj is self.listener:
                    self.on_accept()
                elif key.fileobj in self.other_end:
                    self.on_readable(key.fileobj)
        for one in list(self.other_end):
            self.drop(one)
        for one in (self.listener, self.wake_in, self.wake_out):
            one.close()
        self.selector.close()

    def on_wake(self):
        if self.cut_asked:
            self.cut_asked = False
            for one in list(self.other_end):
                self.drop(one)
        # A held link does not read: the kernel's buffers fill and the sender stalls, as with a dead route.
        for one in self.other_end:
            watched = one in self.selector.get_map()
            if self.held and watched:
                self.selector.unregister(one)
            elif not self.held and not watched:
                self.selector.register(one, selectors.EVENT_READ)

    def on_accept(self):
        near, _ = self.listener.accept()
        try:
            far = socket.create_connection(self.target, timeout=10)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.settimeout(10)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.other_end[one] = other
            if not self.held:
                self.selector.register(one, selectors.EVENT_READ)

    def on_readable(self, one):
        try:
            data = one.recv(self.read_bytes)
            if data:
                self.other_end[one].sendall(data)
                self.n_bytes += len(data)
                if self.hold_at is not None and self.n_bytes >= self.hold_at:
                    self.hold_at = None
                    self.held = True
                    self.on_wake()
                return
        except OSError:
            pass
        self.drop(one)

    def drop(self, one):
        for end in (one, self.other_end.get(one)):
            if end is None or end not in self.other_end:
                continue
            del self.other_end[end]
            if end in self.selector.get_map():
                self.selector.unregister(end)
            # Linger 0: the peer sees a reset, as when a machine or a firewall drops the connection.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            end.close()
