# A hub that knows nothing of lanfolk, made from the published page alone: sends
# each client the commands of the arguments, one after the other's answer, and
# prints what comes. It says "ready PORT" first.
import sys
import threading
from concurrent import futures

import grpc

import reverse_access_pb2 as pb

answered = threading.Semaphore(0)


def subscribe(request, context):
    print("subscribed", request.id, flush=True)
    for line in sys.argv[1:]:
        yield pb.CommandReply(command=line, id=request.id)
        answered.acquire()
    threading.Event().wait()


def send(request, context):
    who = dict(context.invocation_metadata()).get("client-id", "")
    print("resource", who, request.type, len(request.data), request.data[:60].decode(), flush=True)
    if b'"last":true' in request.meta.encode():
        answered.release()
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
