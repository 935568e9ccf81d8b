# A gateway that knows nothing of lanfolk, made from the published page alone. It
# listens, and answers what it is told. Arguments: target, id, how it answers: "plain",
# or "json", with the meta that the page describes. It prints a line for each step.
import hashlib
import json
import sys

import grpc

import reverse_access_pb2 as pb

target, name, mode = sys.argv[1:4]
channel = grpc.insecure_channel(target)
subscribe = channel.unary_stream(
    "/reverse_access.Reverser/SubscribeCommand",
    request_serializer=pb.CommandRequest.SerializeToString,
    response_deserializer=pb.CommandReply.FromString,
)
send = channel.unary_unary(
    "/reverse_access.Reverser/SendResource",
    request_serializer=pb.ResourceRequest.SerializeToString,
    response_deserializer=pb.ResourceReply.FromString,
)


def answer(kind, data, command):
    """Sends an answer: in one piece, or in chunks of at most 256 KiB."""
    if mode == "plain":
        yield pb.ResourceRequest(type=kind, meta="free text", data=data)
        return
    size = 256 << 10
    chunks = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
    for i, chunk in enumerate(chunks):
        meta = {"id": command, "seq": i, "last": i == len(chunks) - 1}
        if meta["last"]:
            meta.update(status="ok", exit=0, sha256=hashlib.sha256(data).hexdigest(), total=len(data))
        yield pb.ResourceRequest(type=kind, meta=json.dumps(meta), data=chunk)


try:
    for command in subscribe(pb.CommandRequest(id=name)):
        print("command", command.command, flush=True)
        if command.command == "list":
            kind, data = 2, b"one.txt\ntwo\x00.bin\n"
        elif command.command == "get big":
            kind, data = 3, bytes(range(256)) * (6 << 12)  # 6 MiB
        elif command.command == "hang":
            continue
        else:
            kind, data = 0, b""
        for request in answer(kind, data, command.id):
            print("reply", send(request).status, flush=True)
    print("end", flush=True)
except grpc.RpcError as e:
    print("ended", e.code().name, e.details(), flush=True)
