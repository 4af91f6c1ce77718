"""The client's own encoding, without a server."""

import msgpack
import pytest

from tidewire_stranger import frames as f
from tidewire_stranger.codec import Malformed, decode, decode_all, encode
from tidewire_stranger.records import Record, decode_body, delivered, encode_body

EXAMPLE_BODY = bytes.fromhex("93c0c0c4026869")


def test_the_example_of_the_document() -> None:
    frames = [
        (f.Hello(1, [], None, "example/1"), [1, 1, [], None, "example/1"]),
        (f.Subscribe(1, 7, "news", [0]), [12, 1, 7, "news", [0]]),
        (f.Subscribed(1, 7, 0, 1764000000000, 0), [13, 1, 7, 0, 1764000000000, 0]),
        (f.Publish(2, "news", 1, EXAMPLE_BODY), [10, 2, "news", 1, EXAMPLE_BODY]),
        (f.Puback(2, 1764000000000, 0, 1), [11, 2, 1764000000000, 0, 1]),
    ]
    for frame, elements in frames:
        assert msgpack.unpackb(encode(frame)) == elements
        assert decode(msgpack.packb(elements)) == frame
    assert encode_body([Record(payload=b"hi")]) == EXAMPLE_BODY


def test_missing_trailing_fields_are_nil_and_extra_ones_are_ignored() -> None:
    assert decode(msgpack.packb([7, 3])) == f.Ok(3, None)
    assert decode(msgpack.packb([7, 3, None, "later", 9])) == f.Ok(3, None)
    with pytest.raises(Malformed):
        decode(msgpack.packb([7]))


def test_any_integer_encoding_is_read() -> None:
    for number in ("07", "cc07", "cd0007", "ce00000007", "cf0000000000000007", "d007"):
        assert decode(bytes.fromhex("9203" + number)) == f.Ping(7)


def test_several_frames_in_one_message() -> None:
    assert decode_all(encode(f.Ping(1)) + encode(f.Pong(2))) == [f.Ping(1), f.Pong(2)]


def test_a_later_frame_type_is_kept_apart() -> None:
    assert decode(msgpack.packb([40, 1, "x"])) == f.Unknown(40, [1, "x"])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x92\x03", b"\xc0", b"\x90", b"\x80", b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000]
    + [msgpack.packb(elements) for elements in ([3, 1.5], [3, -1], [3, True], ["3", 1])]
    + [msgpack.packb([7, 1, {"a": msgpack.ExtType(5, b"x")}]), b"\x92\x03\xd5\x05\x00\x00"],
)
def test_what_is_no_frame(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_records_stand_one_after_the_other() -> None:
    records = [Record("k", {"a": "b"}, b"1"), Record(), Record(None, None, b"")]
    assert decode_body(encode_body(records)) == records


def test_offsets_must_fit_the_range() -> None:
    body = encode_body([Record(payload=b"a"), Record(payload=b"b")])
    frame = f.Deliver(1, "t", 5, 10, 20, 0, None, [0, 9], body)
    assert [each.offset for each in delivered(frame)] == [10, 19]
    for offsets in ([0], [0, 10], [3, 3], [4, 2]):
        with pytest.raises(Malformed):
            delivered(f.Deliver(1, "t", 5, 10, 20, 0, None, offsets, body))
