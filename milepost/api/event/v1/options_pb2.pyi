from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCOPE_UNSPECIFIED: _ClassVar[Scope]
    SCOPE_INSTANCE: _ClassVar[Scope]
    SCOPE_DEPLOYMENT: _ClassVar[Scope]

class Category(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CATEGORY_UNSPECIFIED: _ClassVar[Category]
    CATEGORY_LIFECYCLE: _ClassVar[Category]
    CATEGORY_SCHEDULING: _ClassVar[Category]
    CATEGORY_HEALTH: _ClassVar[Category]
    CATEGORY_READINESS: _ClassVar[Category]
    CATEGORY_SNAPSHOT: _ClassVar[Category]
    CATEGORY_EVALUATION: _ClassVar[Category]
    CATEGORY_CONFIGURATION: _ClassVar[Category]
    CATEGORY_ACCESS: _ClassVar[Category]

class Writer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRITER_UNSPECIFIED: _ClassVar[Writer]
    WRITER_RUNTIME_SERVICE: _ClassVar[Writer]
    WRITER_ATTEMPT: _ClassVar[Writer]
    WRITER_BOTH: _ClassVar[Writer]
    WRITER_PLATFORM: _ClassVar[Writer]
    WRITER_RULE_SERVICE: _ClassVar[Writer]
SCOPE_UNSPECIFIED: Scope
SCOPE_INSTANCE: Scope
SCOPE_DEPLOYMENT: Scope
CATEGORY_UNSPECIFIED: Category
CATEGORY_LIFECYCLE: Category
CATEGORY_SCHEDULING: Category
CATEGORY_HEALTH: Category
CATEGORY_READINESS: Category
CATEGORY_SNAPSHOT: Category
CATEGORY_EVALUATION: Category
CATEGORY_CONFIGURATION: Category
CATEGORY_ACCESS: Category
WRITER_UNSPECIFIED: Writer
WRITER_RUNTIME_SERVICE: Writer
WRITER_ATTEMPT: Writer
WRITER_BOTH: Writer
WRITER_PLATFORM: Writer
WRITER_RULE_SERVICE: Writer
SCOPE_FIELD_NUMBER: _ClassVar[int]
scope: _descriptor.FieldDescriptor
CATEGORY_FIELD_NUMBER: _ClassVar[int]
category: _descriptor.FieldDescriptor
WRITER_FIELD_NUMBER: _ClassVar[int]
writer: _descriptor.FieldDescriptor
