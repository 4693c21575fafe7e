"""A bad cable: carries Ethernet frames between two interfaces, each late by so much, and loses some. Many kernels come
without netem, which could do it.

usage: lossy_wire.py ONE OTHER LOSS DELAY_MS SEED
It says ready, ends with its standard input, and then says how many frames it carried and how many it lost.
"""
import collections
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
FRAME_BYTES = 70000  # a frame that the sender's kernel did not cut, 64 KiB, and its headers


def open_end(name):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    # With what the kernel left to the hardware (checksums, cutting to size), and without what this end sent itself.
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    end.bind((name, ETH_P_ALL))
    end.setblocking(False)
    return end


def main(one, other, loss, delay_ms, seed):
    loss, delay_s, chance = float(loss), float(delay_ms) / 1000, random.Random(int(seed))
    ends = [open_end(one), open_end(other)]
    under_way = collections.deque()  # (when, to whom, frame): the delay is the same for all, so they are in order
    n_carried = n_lost = 0
    print("ready", flush=True)
    while True:
        wait_s = max(0, under_way[0][0] - time.monotonic()) if under_way else None
        ready, _, _ = select.select([*ends, sys.stdin], [], [], wait_s)
        if sys.stdin in ready:
            print(n_carried, n_lost)
            return
        for end in ends:
            if end in ready:
                frame = end.recv(FRAME_BYTES)
                if chance.random() < loss:
                    n_lost += 1
                else:
                    under_way.append((time.monotonic() + delay_s, ends[1 - ends.index(end)], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, to, frame = under_way.popleft()
            n_carried += 1
            try:
                to.send(frame)
            except OSError:
                pass  # the other end's queue is full: lost, as on any cable


if __name__ == "__main__":
    main(*sys.argv[1:])
