# A gateway that knows nothing of lanfolk, made from the published page alone:
# listens, and answers "list" with a listing. Arguments: target, id, mode. It
# prints a line for each step.
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
metadata = [("client-id", name)] if mode == "metadata" else None
try:
    for command in subscribe(pb.CommandRequest(id=name)):
        print("command", command.command, command.id, flush=True)
        if command.command == "list":
            data = b"one.txt\ntwo\x00.bin\n"
        elif command.command == "big":
            data = bytes(range(256)) * (6 << 12)  # 6 MiB
        elif command.command == "huge":
            data = bytes(20 << 20)
        else:
            reply = send(pb.ResourceRequest(type=0, meta="what is that?"), metadata=metadata)
            print("reply", reply.status, flush=True)
            continue
        try:
            reply = send(pb.ResourceRequest(type=2, meta="free text", data=data), metadata=metadata)
            print("reply", reply.status, flush=True)
        except grpc.RpcError as e:
            print("failed", e.code().name, e.details(), flush=True)
    print("end", flush=True)
except grpc.RpcError as e:
    print("refused", e.code().name, e.details(), flush=True)
