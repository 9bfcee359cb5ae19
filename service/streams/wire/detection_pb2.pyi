from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Options(_message.Message):
    __slots__ = ("model", "version", "confidence", "iou", "classes", "max_detections", "class_agnostic", "multi_label", "class_confidence")
    class ClassConfidenceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    IOU_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    CLASS_AGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    MULTI_LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASS_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    confidence: float
    iou: float
    classes: _containers.RepeatedScalarFieldContainer[str]
    max_detections: int
    class_agnostic: bool
    multi_label: bool
    class_confidence: _containers.ScalarMap[str, float]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., confidence: _Optional[float] = ..., iou: _Optional[float] = ..., classes: _Optional[_Iterable[str]] = ..., max_detections: _Optional[int] = ..., class_agnostic: _Optional[bool] = ..., multi_label: _Optional[bool] = ..., class_confidence: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("encoded", "raw")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    raw: RawImage
    def __init__(self, encoded: _Optional[bytes] = ..., raw: _Optional[_Union[RawImage, _Mapping]] = ...) -> None: ...

class RawImage(_message.Message):
    __slots__ = ("format", "width", "height", "data")
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[RawImage.Format]
        RGB: _ClassVar[RawImage.Format]
        BGR: _ClassVar[RawImage.Format]
        GREY: _ClassVar[RawImage.Format]
    FORMAT_UNSPECIFIED: RawImage.Format
    RGB: RawImage.Format
    BGR: RawImage.Format
    GREY: RawImage.Format
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    format: RawImage.Format
    width: int
    height: int
    data: bytes
    def __init__(self, format: _Optional[_Union[RawImage.Format, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Detections(_message.Message):
    __slots__ = ("boxes", "scores", "class_ids", "labels")
    BOXES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CLASS_IDS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedScalarFieldContainer[float]
    scores: _containers.RepeatedScalarFieldContainer[float]
    class_ids: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, boxes: _Optional[_Iterable[float]] = ..., scores: _Optional[_Iterable[float]] = ..., class_ids: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Stages(_message.Message):
    __slots__ = ("decode", "preprocess", "cache", "queue", "infer", "postprocess")
    DECODE_FIELD_NUMBER: _ClassVar[int]
    PREPROCESS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INFER_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESS_FIELD_NUMBER: _ClassVar[int]
    decode: float
    preprocess: float
    cache: float
    queue: float
    infer: float
    postprocess: float
    def __init__(self, decode: _Optional[float] = ..., preprocess: _Optional[float] = ..., cache: _Optional[float] = ..., queue: _Optional[float] = ..., infer: _Optional[float] = ..., postprocess: _Optional[float] = ...) -> None: ...

class DetectRequest(_message.Message):
    __slots__ = ("image", "options")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    image: Image
    options: Options
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("detections", "width", "height", "model", "stages", "request_id")
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    detections: Detections
    width: int
    height: int
    model: ModelVersion
    stages: Stages
    request_id: str
    def __init__(self, detections: _Optional[_Union[Detections, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., model: _Optional[_Union[ModelVersion, _Mapping]] = ..., stages: _Optional[_Union[Stages, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("open", "frame")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    open: Open
    frame: Frame
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("options", "name", "latest", "every")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    options: Options
    name: str
    latest: Latest
    every: Every
    def __init__(self, options: _Optional[_Union[Options, _Mapping]] = ..., name: _Optional[str] = ..., latest: _Optional[_Union[Latest, _Mapping]] = ..., every: _Optional[_Union[Every, _Mapping]] = ...) -> None: ...

class Latest(_message.Message):
    __slots__ = ("max_age",)
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    max_age: float
    def __init__(self, max_age: _Optional[float] = ...) -> None: ...

class Every(_message.Message):
    __slots__ = ("credits",)
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    credits: int
    def __init__(self, credits: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("sequence", "captured_at", "image")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    captured_at: float
    image: Image
    def __init__(self, sequence: _Optional[int] = ..., captured_at: _Optional[float] = ..., image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("opened", "result", "dropped", "error", "closing")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    result: Result
    dropped: Dropped
    error: FrameError
    closing: Closing
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., dropped: _Optional[_Union[Dropped, _Mapping]] = ..., error: _Optional[_Union[FrameError, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("model", "class_names", "credits", "max_age")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    model: ModelVersion
    class_names: _containers.RepeatedScalarFieldContainer[str]
    credits: int
    max_age: float
    def __init__(self, model: _Optional[_Union[ModelVersion, _Mapping]] = ..., class_names: _Optional[_Iterable[str]] = ..., credits: _Optional[int] = ..., max_age: _Optional[float] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("sequence", "captured_at", "detections", "width", "height", "age", "stages", "model")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    captured_at: float
    detections: Detections
    width: int
    height: int
    age: float
    stages: Stages
    model: ModelVersion
    def __init__(self, sequence: _Optional[int] = ..., captured_at: _Optional[float] = ..., detections: _Optional[_Union[Detections, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., age: _Optional[float] = ..., stages: _Optional[_Union[Stages, _Mapping]] = ..., model: _Optional[_Union[ModelVersion, _Mapping]] = ...) -> None: ...

class Dropped(_message.Message):
    __slots__ = ("reason", "first", "last", "count")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Dropped.Reason]
        REPLACED: _ClassVar[Dropped.Reason]
        STALE: _ClassVar[Dropped.Reason]
        OVERLOADED: _ClassVar[Dropped.Reason]
        RATE: _ClassVar[Dropped.Reason]
    REASON_UNSPECIFIED: Dropped.Reason
    REPLACED: Dropped.Reason
    STALE: Dropped.Reason
    OVERLOADED: Dropped.Reason
    RATE: Dropped.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    reason: Dropped.Reason
    first: int
    last: int
    count: int
    def __init__(self, reason: _Optional[_Union[Dropped.Reason, str]] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class FrameError(_message.Message):
    __slots__ = ("sequence", "captured_at", "code", "message", "kind")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    captured_at: float
    code: int
    message: str
    kind: str
    def __init__(self, sequence: _Optional[int] = ..., captured_at: _Optional[float] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., kind: _Optional[str] = ...) -> None: ...

class Closing(_message.Message):
    __slots__ = ("retry_after",)
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    retry_after: float
    def __init__(self, retry_after: _Optional[float] = ...) -> None: ...
