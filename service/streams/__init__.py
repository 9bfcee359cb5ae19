"""The gRPC service.

detection.py   its two methods
frames.py      what a client sends on a stream
messages.py    between the messages of the wire and the service's own values
call.py        one call and its end: an id, a status, a log line
context.py     what the library has of a call
door.py        who may come in
status.py      errors as gRPC tells them
guests.py      calls that need no key, and their places
health.py      grpc.health.v1
reflection.py  grpc.reflection.v1alpha
server.py      the server that listens
wire/          the proto, and what is generated from it

Nothing is imported here: service.client needs wire/ where nothing of the server is installed.
"""
