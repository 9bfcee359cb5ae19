"""The gRPC part of docs/reference/api.md: services, messages and enums of the .proto, with the comments beside them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc
from markup import anchor, code, plain, table

ROOT = Path(__file__).resolve().parents[2]
PROTO = "service/streams/wire/detection.proto"
# Numbers of the fields of descriptor.proto, of which the places of comments are made.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, NESTED_ENUMS, VALUES, METHODS = 2, 3, 4, 2, 2
Place = tuple[int, ...]


class Proto:
    """A .proto file, compiled, with its comments by place."""

    def __init__(self) -> None:
        self.file = _compile()
        self._comments = {
            tuple(each.path): plain(each.leading_comments) for each in self.file.source_code_info.location
        }

    def text(self) -> str:
        """All of it."""
        parts = [self._service(each, (SERVICES, number)) for number, each in enumerate(self.file.service)]
        parts += [self._message(each, (MESSAGES, number)) for number, each in enumerate(self.file.message_type)]
        parts += [self._enum(each, (ENUMS, number)) for number, each in enumerate(self.file.enum_type)]
        return "".join(parts)

    def _comment(self, place: Place) -> str:
        return self._comments.get(place, "")

    def _service(self, service: ServiceDescriptorProto, place: Place) -> str:
        rows = []
        for number, method in enumerate(service.method):
            taken = ("stream of " if method.client_streaming else "") + self._link(method.input_type)
            given = ("stream of " if method.server_streaming else "") + self._link(method.output_type)
            rows.append((code(method.name), taken, given, self._comment((*place, METHODS, number))))
        heading = f"#### Service {self.file.package}.{service.name}\n\n"
        return heading + self._paragraph(place) + table(("method", "takes", "answers", ""), rows)

    def _message(self, message: DescriptorProto, place: Place, within: str = "") -> str:
        name = within + message.name
        rows = [
            (code(field.name), str(field.number), self._kind(field, message), self._comment((*place, FIELDS, number)))
            for number, field in enumerate(message.field)
        ]
        parts = [f"#### Message {name}\n\n", self._paragraph(place), table(("field", "number", "type", ""), rows)]
        for number, inner in enumerate(message.nested_type):
            if not inner.options.map_entry:
                parts.append(self._message(inner, (*place, NESTED, number), f"{name}."))
        for number, enum in enumerate(message.enum_type):
            parts.append(self._enum(enum, (*place, NESTED_ENUMS, number), f"{name}."))
        return "".join(parts)

    def _enum(self, enum: EnumDescriptorProto, place: Place, within: str = "") -> str:
        rows = [
            (code(value.name), str(value.number), self._comment((*place, VALUES, number)))
            for number, value in enumerate(enum.value)
        ]
        return f"#### Enum {within}{enum.name}\n\n{self._paragraph(place)}{table(('value', 'number', ''), rows)}"

    def _paragraph(self, place: Place) -> str:
        comment = self._comment(place)
        return f"{comment}\n\n" if comment else ""

    def _kind(self, field: FieldDescriptorProto, message: DescriptorProto) -> str:
        entry = next((each for each in message.nested_type if each.name == field.type_name.rsplit(".", 1)[-1]), None)
        if entry is not None and entry.options.map_entry:
            return f"map of {self._kind(entry.field[0], entry)} to {self._kind(entry.field[1], entry)}"
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        return "".join(_words(field, message)) + (self._link(field.type_name) if field.type_name else name)

    def _link(self, type_name: str) -> str:
        name = type_name.removeprefix(f".{self.file.package}.")
        kind = "Enum" if "." in name else "Message"
        return f"[{name}]({anchor(f'{kind} {name}')})"


def _words(field: FieldDescriptorProto, message: DescriptorProto) -> Iterator[str]:
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        yield "repeated "
    if field.proto3_optional:
        yield "optional "
    elif field.HasField("oneof_index"):
        yield f"one of {message.oneof_decl[field.oneof_index].name}: "


def _compile() -> FileDescriptorProto:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "descriptors")
        status = protoc.main(["protoc", f"-I{ROOT}", "--include_source_info", f"--descriptor_set_out={out}", PROTO])
        if status:
            raise SystemExit(f"protoc cannot read {PROTO}")
        return FileDescriptorSet.FromString(out.read_bytes()).file[0]
