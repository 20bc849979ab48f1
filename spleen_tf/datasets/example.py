"""The protobuf message tf.train.Example, described anew: TensorFlow's own comes with TensorFlow."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory


def _example_class() -> Any:
    """The class of messages that TensorFlow's example.proto and feature.proto describe."""

    def field(name: str, number: int, kind: str, **more: Any) -> dict[str, Any]:
        label = more.pop("label", "LABEL_OPTIONAL")
        return {"name": name, "number": number, "type": kind, "label": label, **more}

    def values(kind: str) -> list[dict[str, Any]]:
        return [field("value", 1, kind, label="LABEL_REPEATED")]

    lists = {
        "BytesList": values("TYPE_BYTES"),
        "FloatList": values("TYPE_FLOAT"),
        "Int64List": values("TYPE_INT64"),
    }
    kinds = [
        field(name, number, "TYPE_MESSAGE", typeName=f".records.{kind}", oneofIndex=0)
        for number, (name, kind) in enumerate(
            zip(("bytes_list", "float_list", "int64_list"), lists, strict=True), start=1
        )
    ]
    entry = {
        "name": "FeatureEntry",
        "field": [
            field("key", 1, "TYPE_STRING"),
            field("value", 2, "TYPE_MESSAGE", typeName=".records.Feature"),
        ],
        "options": {"mapEntry": True},
    }
    feature_map = field(
        *("feature", 1, "TYPE_MESSAGE"),
        label="LABEL_REPEATED",
        typeName=".records.Features.FeatureEntry",
    )
    description = {
        "name": "records.proto",
        "package": "records",
        "syntax": "proto3",
        "messageType": [
            *({"name": name, "field": fields} for name, fields in lists.items()),
            {"name": "Feature", "field": kinds, "oneofDecl": [{"name": "kind"}]},
            {"name": "Features", "field": [feature_map], "nestedType": [entry]},
            {
                "name": "Example",
                "field": [field("features", 1, "TYPE_MESSAGE", typeName=".records.Features")],
            },
        ],
    }
    proto = json_format.ParseDict(description, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("records.Example"))


Example = _example_class()
