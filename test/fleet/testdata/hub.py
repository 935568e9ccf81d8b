# A hub that knows nothing of lanfolk, made from the published page alone. It sends its
# first client the commands of the arguments, each after the answer to the one before,
# and prints what came as a line of JSON each. It says "ready PORT" first.
import base64
import json
import queue
import sys
import threading
from concurrent import futures

import grpc

import reverse_access_pb2 as pb

answered = queue.Queue()


def subscribe(request, context):
    print(json.dumps({"subscribed": request.id}), flush=True)
    for i, line in enumerate(sys.argv[1:]):
        # Ids as somebody else makes them.
        yield pb.CommandReply(command=line, id=str(i))
        answered.get()
    threading.Event().wait()


def send(request, context):
    who = dict(context.invocation_metadata()).get("client-id", "")
    meta = json.loads(request.meta) if request.meta.startswith("{") else {}
    print(json.dumps({"who": who, "type": request.type, "meta": meta, "data": base64.b64encode(request.data).decode()}), flush=True)
    if meta.get("last", True):
        answered.put(None)
    return pb.ResourceReply(status=0)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("reverse_access.Reverser", {
        "SubscribeCommand": grpc.unary_stream_rpc_method_handler(
            subscribe, pb.CommandRequest.FromString, pb.CommandReply.SerializeToString),
        "SendResource": grpc.unary_unary_rpc_method_handler(
            send, pb.ResourceRequest.FromString, pb.ResourceReply.SerializeToString),
    }),
))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("ready", port, flush=True)
server.wait_for_termination()
