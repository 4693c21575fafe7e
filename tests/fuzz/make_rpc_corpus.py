#!/usr/bin/python3
"""Writes the corpora of the parsers of frames, messages and addresses, and of what follows a primary: tests/fuzz/make_rpc_corpus.py

One small input for each thing that can be said, and one for each way to say it wrongly; what the fuzzers find and is
worth keeping is added to the folders by hand. The same every time.
"""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
REPLY, ERROR, BODY_CRC = 1, 2, 4  # common/wire/frame.h
FORGES, DRAINS, PARKS = 1, 2, 4  # tests/fuzz/fuzz_frame.c
PUSH, GREETING = 5, 1
ROLES, OP, GRANT, SWEEP = 16, 18, 19, 20  # common/wire/methods.h
NO_NUMBER = (1 << 64) - 1  # common/wire/worker_numbers.h
# The order of MST_MSG_MAP in common/wire/messages.h.
MESSAGES = ("error greeting greeting_reply heartbeat heartbeat_reply lease lease_reply map map_reply push push_reply "
            "pull pull_reply fence fence_reply save save_reply stats stats_reply finish finish_reply "
            "evaluate evaluate_reply round round_reply state state_reply chief_state recall recall_reply cut cut_reply roles "
            "roles_reply roles_question op op_reply grant grant_reply sweep sweep_reply").split()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(method=PUSH, flags=0, call=1, meta=b"", body=b"", magic=0x5254534D, version=1, crc=None, meta_bytes=None,
          body_bytes=None):
    """A frame as common/wire/frame.h says, or with the lengths and checksum that are given."""
    if flags & BODY_CRC:
        body += struct.pack("<I", crc32c(body))
    head = struct.pack("<IBBHQIIQ", magic, version, flags, method, call, len(meta) if meta_bytes is None else meta_bytes,
                       0, len(body) if body_bytes is None else body_bytes)
    crc = crc32c(head + meta) if crc is None else crc
    return head[:20] + struct.pack("<I", crc) + head[24:] + meta + body


def frames():
    """(name, input): a byte that says how, then a stream."""
    how = bytes([0])
    two = frame(meta=b"meta", body=b"gradient" * 20) + frame(call=2, flags=REPLY, meta=b"again")
    yield "empty", how
    yield "one", how + frame()
    yield "meta", how + frame(meta=b"meta", method=GREETING)
    yield "two", how + two
    yield "two-bytewise-forged", bytes([FORGES]) + two
    yield "two-cut", bytes([9 << 3 | FORGES]) + two
    yield "drained", bytes([2 << 3 | DRAINS | FORGES]) + two
    yield "parked", bytes([3 << 3 | PARKS | FORGES]) + two
    yield "body-crc", how + frame(flags=BODY_CRC, body=b"x" * 100) + frame(flags=BODY_CRC, body=b"y")
    yield "body-crc-of-nothing", how + frame(flags=BODY_CRC)
    yield "body-crc-forged", bytes([1 << 3 | FORGES]) + frame(flags=BODY_CRC, body=b"z" * 50)
    yield "error", how + frame(flags=REPLY | ERROR, meta=b"\x08\x05\x12\x02no")
    yield "meta-of-9000", bytes([20 << 3]) + frame(meta=b"m" * 9000) + frame(call=3)
    yield "bad-magic", how + frame(magic=0x4D535452)
    yield "bad-version", how + frame(version=2)
    yield "bad-flags", how + frame(flags=0xF0)
    yield "bad-error-without-reply", how + frame(flags=ERROR)
    yield "bad-crc", how + frame(meta=b"meta", crc=0)
    yield "bad-body-crc", how + frame(flags=BODY_CRC, body=b"x" * 20)[:-1] + b"!"
    yield "bad-short-body-crc", how + frame(flags=0, body=b"abc").replace(b"MSTR\x01\x00", b"MSTR\x01\x04")
    yield "bad-meta-4g", how + frame(meta_bytes=0xFFFFFFFF)
    yield "bad-body-2-64", how + frame(body_bytes=0xFFFFFFFFFFFFFFFF)
    yield "large-body-announced", how + frame(body_bytes=1 << 30)
    yield "cut-in-header", how + frame()[:20]
    yield "cut-in-meta", how + frame(meta=b"meta")[:34]
    yield "cut-in-body", how + frame(body=b"b" * 50)[:60]
    yield "web-request", how + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def fixed64(field, value):
    return varint(field << 3 | 1) + struct.pack("<Q", value)


def real(field, value):
    return varint(field << 3 | 1) + struct.pack("<d", value)


def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def messages():
    """(name, input): a byte that says which message, then its fields (proto/muster.proto)."""
    sums = number(1, 5) + number(2, 320) + real(3, 1.5) + real(4, 320.0) + text(5, struct.pack("<2d", 1, 2)) + \
        text(6, struct.pack("<2d", 3, 4)) + number(7, 9)
    shard = b"".join(number(field, field) for field in range(1, 9))
    entry = text(1, b"dense/kernel") + number(2, 1) + text(3, varint(784) + varint(300)) + text(4, b"\0\0") + \
        text(5, varint(392) + varint(300)) + number(6, 64) + number(7, 4096) + varint(8 << 3 | 5) + b"\1\2\3\4"
    contents = {
        "error": number(1, 5) + text(2, b"no such thing"),
        "greeting": number(1, 1) + number(2, 1) + text(3, b"mnist") + fixed64(4, 77) + number(5, 2) + number(6, 1) +
        text(7, b"worker-1:2222") + number(8, 1) + fixed64(9, 99) + number(10, 3) + number(11, 4),
        "greeting_reply": number(1, 1) + number(2, 3) + number(5, 2) + number(6, 1) + text(7, b"chief:1") +
        number(9, 1) + text(12, b"waiting"),
        "heartbeat": number(1, 2) + number(5, 17) + text(6, sums) + real(7, 0.5) + text(9, b"training"),
        "heartbeat_reply": number(1, 3) + number(2, 14) + text(3, b"lost") + number(5, 10),
        "lease": number(1, 1) + fixed64(2, 99) + number(4, 7) + text(8, sums),
        "lease_reply": number(1, 4) + number(2, 12) + number(8, 10) + text(9, b"fenced"),
        "map": number(1, 1) + number(2, 2) + fixed64(3, 3) + text(4, shard) + text(4, b"") + text(5, b"ckpt/model-1"),
        "save": number(1, 1) + text(2, b"ckpt") + number(3, 0) + number(4, 2) + number(5, 100),
        "save_reply": text(1, entry) + text(1, text(1, b"iterations")) + number(3, 1) + text(4, b""),
        "fence_reply": number(1, 1) + text(2, b"".join(number(field, field) for field in range(1, 7))),
        "stats_reply": real(1, 1.25) + number(2, 1 << 30) + text(5, number(1, 1) + number(4, 44)),
        "evaluate": number(1, 0) + number(2, 1) + number(3, 4) + text(6, sums) + number(7, 250) + number(8, 252),
        "evaluate_reply": number(1, 1) + number(2, 5) + number(3, 2) + number(4, 375),
        "finish": number(1, 1) + number(2, 0) + text(3, b"done"),
    }
    for kind, name in enumerate(MESSAGES):
        which = bytes([kind])
        yield name + "-empty", which
        yield name, which + contents.get(name, b"".join(number(field, field) for field in range(1, 9)))
    greeting = bytes([MESSAGES.index("greeting")])
    yield "bad-role", greeting + number(5, 99)
    yield "bad-text-beyond", greeting + b"\x1a\xff\xff\xff\xff\x0f" + b"x" * 20
    yield "bad-control-byte", greeting + text(3, b"\x1b[2J")
    yield "bad-varint", greeting + b"\x08" + b"\xff" * 10
    yield "bad-wire-type", greeting + b"\x0f\x01"
    yield "bad-group", greeting + b"\x1b\x08\x01\x1c"
    yield "unknown-fields", greeting + number(100, 1) + text(101, b"xyz") + number(10, 3)
    yield "twice", bytes([MESSAGES.index("lease")]) + text(8, sums) + text(8, number(1, 1))
    yield "bad-nine-metrics", bytes([MESSAGES.index("lease")]) + text(8, text(5, bytes(72)) + text(6, bytes(72)))
    yield "many-empty-shards", bytes([MESSAGES.index("map")]) + b"\x22\x00" * 500
    yield "bad-slice", bytes([MESSAGES.index("save_reply")]) + text(1, text(3, b"\1\2") + text(4, b"\1"))


def numbers(*values):
    """The first fields of a message, in order; what is 0 is left out, as protobuf does."""
    return b"".join(number(field, value) for field, value in enumerate(values, 1) if value)


def op(seq, kind=0, bucket=0, version=0, worker=1, group=0, epoch=(1, 1), body=None, step=None, given=1, **more):
    """An operation as ps-0 sends it (tests/fuzz/fuzz_followers.c); a gradient is its body."""
    meta = numbers(group, 0, *epoch, seq, kind, bucket, version, worker, given, seq if step is None else step, 1, seq)
    body = struct.pack("<24f", *range(24)) if kind == 0 and body is None else body or b""
    return frame(OP, call=seq, meta=meta + real(14, 0.25) + (varint(15 << 3 | 5) + b"sums"), body=body, **more)


def sweep(seq, bucket, is_first=0, rows=(), fenced=b"", body=bytes(288), group=1, epoch=(1, 1), closes=(), **more):
    meta = numbers(group, 0, *epoch, seq, bucket, is_first, 0, 3, 4)
    meta += b"".join(text(11, row) for row in rows) + (text(12, fenced) if fenced else b"")
    meta += b"".join(text(13, one) for one in closes) + (text(14, norm()) + number(15, 1) if len(body) > 288 else b"")
    return frame(SWEEP, call=1000 + bucket, meta=meta, body=body, **more)


def norm(group=0):
    return number(1, group) + fixed64(2, 1) + fixed64(3, 2)


def close(round_, ins=b"\0\1", attempt=1, plan=b""):
    """The close of a round; plan: deals to workers."""
    return numbers(1, round_, attempt) + text(4, ins) + text(5, b"") + text(6, plan) + number(8, 1) + number(11, 3)


def round_op(seq, kind, round_=1, bucket=4, group=2, closes=(), scales=b"", body=b"", **more):
    """An aggregate (4), a close (5) or its application (6) in a group with rounds."""
    meta = numbers(group, 0, 1, 1, seq, kind, bucket) + real(14, 0.25) + varint(16 << 3) + varint(round_) + varint(17 << 3) + \
        varint(1) + b"".join(varint(18 << 3 | 2) + varint(len(one)) + one for one in closes)
    if closes:
        meta += varint(19 << 3 | 2) + varint(len(norm())) + norm()
    if scales:
        meta += varint(20 << 3 | 2) + varint(len(scales)) + scales
    return frame(OP, call=seq, meta=meta, body=body, **more)


def whole_round(seq, round_, **more):
    half = struct.pack("<d", 0.5)
    gradient = struct.pack("<24f", *range(24))
    return round_op(seq, 4, round_, body=gradient, **more) + round_op(seq + 1, 4, round_, bucket=5, body=gradient, **more) + \
        round_op(seq + 2, 5, round_, closes=[close(round_)], **more) + round_op(seq + 3, 6, round_, scales=half, **more)


def grant(group=0, epoch=(1, 1), is_release=0):
    return frame(GRANT, call=2000, meta=numbers(group, 0, *epoch, is_release))


def group_roles(primary=None, backups=b"", joiner=None, is_handed_over=0):
    out = b"" if primary is None else number(1, 1) + number(2, primary)
    out += text(3, backups) if backups else b""
    out += b"" if joiner is None else number(4, 1) + number(5, joiner)
    return text(3, out + number(6, is_handed_over))


def roles(epoch, groups, is_committed=1, n_incarnations=4):
    groups = groups + [group_roles(3)] * (4 - len(groups))
    incarnations = b"".join(varint(100 + ps) for ps in range(n_incarnations))
    return frame(ROLES, meta=numbers(*epoch) + b"".join(groups) + text(4, incarnations) + number(5, is_committed))


def followers():
    """(name, input): what a primary and the chief send to a server that is backup in group 0 and joiner in group 1."""
    row = numbers(2, 1, 1, 7, 1, 6)
    beginning = [group_roles(0, b"\1"), group_roles(0, joiner=1), group_roles(2, b"\0")]
    filled = sweep(5, 2, is_first=1, rows=[row]) + sweep(6, 3, fenced=b"\1\0\7")
    yield "empty", b""
    yield "pushes", op(1, version=1) + op(2, bucket=1, version=1) + op(3, version=2)
    yield "all-kinds", op(1, version=1) + op(2, kind=1) + op(3, kind=2, version=1) + op(4, kind=3, worker=2)
    yield "again-and-gap", op(1, version=1) + op(1, version=1) + op(3, version=2)
    yield "body-crc", op(1, version=1, flags=BODY_CRC)
    yield "bad-kind", op(1, kind=9) + op(1, version=1)
    yield "bad-kind-with-body", op(1, kind=200, body=bytes(96)) + op(1, version=1)
    yield "bad-bucket", op(1, bucket=77, version=1)
    yield "bad-group", op(1, group=2, version=1) + op(1, group=0xFFFFFFFF)
    yield "bad-worker", op(1, kind=1, worker=0xFFFFFFFF) + op(1, worker=5000, version=1)
    for kind, name in ((0, "pushed"), (1, "fenced"), (3, "pulled")):
        yield f"bad-number-{name}", b"".join(op(1, kind=kind, given=given, version=1) for given in (NO_NUMBER, 1 << 48, 0))
    yield "bad-fences", sweep(5, 2, is_first=1, fenced=b"\0" + varint(NO_NUMBER)) + sweep(5, 2, is_first=1, rows=[numbers(2, 1, NO_NUMBER)])
    yield "bad-body", op(1, body=bytes(92)) + op(1, body=bytes(100)) + op(1, body=b"")
    yield "body-of-a-fence", op(1, kind=1, body=bytes(96))
    yield "body-announced", op(1, body_bytes=1 << 40)
    yield "other-epoch", op(1, epoch=(1, 0), version=1) + op(1, epoch=(2, 1), version=1)
    yield "last-seq", op(0xFFFFFFFFFFFFFFFF, version=1) + op(0, version=1)
    yield "sweep", filled + op(6, group=1, bucket=2, version=4)
    yield "sweep-between-operations", sweep(5, 2, is_first=1) + op(6, group=1, bucket=2, version=4) + sweep(6, 3)
    yield "without-gradients", sweep(5, 2, is_first=1) + op(6, group=1, bucket=3, version=1, body=b"") + \
        op(7, group=1, bucket=2, version=4, body=b"") + op(1, body=b"") + sweep(6, 3) + op(7, group=1, bucket=3, version=4, body=b"")
    yield "sweep-without-first", sweep(5, 3) + sweep(5, 2)
    yield "sweep-of-a-backup", sweep(1, 0, group=0, is_first=1)
    yield "sweep-bad-body", sweep(5, 2, is_first=1, body=bytes(96)) + sweep(5, 2, is_first=1, body=b"")
    yield "sweep-bad-rows", sweep(5, 2, is_first=1, rows=[numbers(2, 0xFFFFFFFF, 1)])
    yield "sweep-many-rows", sweep(5, 2, is_first=1, rows=[numbers(2, worker, 1, 1) for worker in range(300)])
    yield "sweep-many-fenced", sweep(5, 2, is_first=1, fenced=b"\1" * 3000)
    yield "sweep-cut", sweep(5, 2, is_first=1)[:200]
    yield "grants", grant() + grant(1) + grant(2) + grant(epoch=(9, 9)) + grant(is_release=1)
    yield "promoted", roles((1, 2), [group_roles(1)] + beginning[1:]) + op(1, version=1) + grant(epoch=(1, 2))
    yield "handed-over", op(1, version=1) + roles((1, 2), [group_roles(0, b"\1", is_handed_over=1)] + beginning[1:]) + \
        roles((1, 3), [group_roles(1, b"\0")] + beginning[1:]) + grant(epoch=(1, 3), is_release=1)
    yield "stored-only", roles((1, 2), beginning, is_committed=0) + op(1, epoch=(1, 2), version=1) + \
        roles((1, 2), beginning) + op(1, epoch=(1, 2), version=1)
    yield "swept-then-backup", filled + roles((1, 2), [beginning[0], group_roles(0, b"\1"), beginning[2]]) + \
        op(7, group=1, bucket=2, version=4, epoch=(1, 2))
    yield "lost", roles((1, 2), [group_roles()] * 3) + roles((1, 3), [group_roles(1)] * 3) + op(1, epoch=(1, 3))
    begun = round_op(1, 5, 0, closes=[close(0, ins=b"")]) + round_op(2, 6, 0)
    yield "rounds", begun + whole_round(3, 1) + whole_round(7, 2)
    yield "rounds-without-beginning", whole_round(1, 1)
    yield "rounds-without-aggregate", begun + round_op(3, 5, closes=[close(1)]) + round_op(4, 6)
    yield "rounds-bad-workers", round_op(1, 5, closes=[close(1, ins=b"\0\7")]) + round_op(1, 5, closes=[close(1, ins=b"\1\0")]) + \
        round_op(1, 5, closes=[close(1, plan=text(6, numbers(9, 1, 1)))]) + round_op(1, 5) + round_op(1, 5, closes=[close(1)] * 2)
    yield "rounds-bad-scales", begun + whole_round(3, 1) + round_op(7, 6, 1, scales=bytes(80)) + round_op(7, 6, 1, scales=b"x")
    yield "rounds-fenced-and-checked", begun + op(3, kind=1, group=2, bucket=4) + op(4, kind=2, group=2, bucket=4) + whole_round(5, 1)
    yield "rounds-swept", sweep(5, 6, group=3, is_first=1, closes=[close(4), close(5)], body=bytes(384)) + \
        sweep(5, 7, group=3, body=bytes(384), fenced=b"\1") + round_op(6, 6, 5, group=3, bucket=6)
    yield "rounds-swept-bad", sweep(5, 6, group=3, is_first=1, closes=[close(4)] * 3) + sweep(5, 2, closes=[close(4)]) + \
        sweep(5, 6, group=3, is_first=1, closes=[close(4, ins=b"\x63")]) + sweep(5, 2, body=bytes(384)) + \
        sweep(5, 6, group=3, is_first=1, fenced=b"\1" * 3000)
    yield "rounds-where-there-are-none", round_op(1, 5, group=0, bucket=0, closes=[close(1)]) + \
        round_op(1, 4, group=0, bucket=0, body=bytes(96)) + op(1, version=1)
    yield "bad-roles", roles((1, 2), beginning, n_incarnations=2) + roles((1, 2), [group_roles(0, b"\0")] * 3) + \
        roles((1, 2), [group_roles(9)] * 3) + roles((1, 2), [group_roles(0, b"\1\2\3\4")] * 3)


def addresses():
    for count, address in enumerate((
            b"8080", b"0", b"65535", b"65536", b"127.0.0.1:8080", b"[::1]:80", b"[fe80::1%eth0]:80", b"localhost:2222",
            b"ps-1.job.svc.cluster.local:4711", b"::1:80", b"[::1]", b":80", b"h:", b"h:-1", b"h:99999999999999999999",
            b"[]:1", b"[%]:1", b"x" * 300 + b":1", b"")):
        yield f"{count:02}", address


def write(parser, inputs):
    folder = CORPUS / parser
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in inputs:
        (folder / name).write_bytes(data)


write("frame", frames())
write("messages", messages())
write("address", addresses())
write("followers", followers())
