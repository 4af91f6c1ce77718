//! Arbitrary frames and their parts. Groups are boxed: a strategy is as large as all its parts,
//! and the stack of a test is small.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use tidewire_protocol::frame::{
    AckLevel, AsOf, CellKind, CounterOp, GroupOp, Position, PresenceOp, SettleOp, Start, TallyOp,
    TopicOp,
};
use tidewire_protocol::group::{ConsumeOptions, GroupOptions, SettleOptions};
use tidewire_protocol::options::{
    Condition, CounterOptions, GetOptions, IdentityInfo, Numbering, PublishOptions, ServerInfo,
    SubscribeOptions, TopicOptions, WatchOptions,
};
use tidewire_protocol::tally::{Choice, Overvote, TallyKind, TallyRules};
use tidewire_protocol::{ClientFrame, Name, Pattern, ServerFrame};

pub(crate) fn name() -> impl Strategy<Value = Name> {
    vec("[a-c$é]{1,3}", 1..5).prop_map(|tokens| Name::parse(&tokens.join(".")).unwrap())
}

pub(crate) fn pattern() -> impl Strategy<Value = Pattern> {
    let token = prop_oneof![3 => "[a-c$é]{1,2}", 2 => Just("*".to_owned())];
    (vec(token, 0..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
        if rest || tokens.is_empty() {
            tokens.push(">".to_owned());
        }
        Pattern::parse(&tokens.join(".")).unwrap()
    })
}

/// Integers near every width that an encoding has, and any other.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    let edge =
        (0..64_u32, -1..=1_i64).prop_map(|(bits, by)| (1_u64 << bits).wrapping_add_signed(by));
    prop_oneof![edge, any::<u64>(), 0..300_u64]
}

fn signed() -> impl Strategy<Value = i64> {
    number().prop_map(u64::cast_signed)
}

fn sub() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0..300_u32]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,40}", any::<String>()]
}

fn blob() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number(), number())
        .prop_map(|(shard, epoch, sequence)| Position(shard, epoch, sequence))
}

/// One encoded value that is not nil.
fn encoded() -> impl Strategy<Value = Bytes> {
    super::values::value().prop_filter_map("nil reads as nothing", |value| {
        if value.is_nil() {
            return None;
        }
        let mut out = Vec::new();
        rmpv::encode::write_value(&mut out, &value).unwrap();
        Some(out.into())
    })
}

pub(crate) fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![connection(), topic(), cell(), tally()]
}

fn connection() -> BoxedStrategy<ClientFrame> {
    prop_oneof![
        (number(), vec(text(), 0..3), of(text()), of(text())).prop_map(
            |(version, capabilities, token, client)| ClientFrame::Hello {
                version,
                capabilities,
                token,
                client
            }
        ),
        number().prop_map(|nonce| ClientFrame::Ping { nonce }),
        number().prop_map(|nonce| ClientFrame::Pong { nonce }),
        (number(), sub()).prop_map(|(req, sub)| ClientFrame::Unsubscribe { req, sub }),
        (sub(), number()).prop_map(|(sub, bytes)| ClientFrame::Credit { sub, bytes }),
        number().prop_map(|req| ClientFrame::Producer { req }),
        (number(), text()).prop_map(|(req, token)| ClientFrame::Auth { req, token }),
        (number(), any::<bool>(), name(), of(number()), of(number())).prop_map(
            |(req, deletes, topic, before_offset, before_time_ms)| {
                let op = if deletes { TopicOp::Delete } else { TopicOp::Truncate };
                let options = TopicOptions { before_offset, before_time_ms };
                ClientFrame::Topic { req, op, topic, options }
            }
        ),
        (number(), name(), vec(text(), 0..4), of(vec(text(), 0..3))).prop_map(
            |(req, tally, voters, hashes)| ClientFrame::Invalidate { req, tally, voters, hashes }
        ),
        group(),
        consume(),
        settle(),
    ]
    .boxed()
}

fn topic() -> BoxedStrategy<ClientFrame> {
    let ack = prop::sample::select(vec![
        AckLevel::None,
        AckLevel::Memory,
        AckLevel::Disk,
        AckLevel::Quorum,
        AckLevel::Policy,
    ]);
    let publish_options = (of(number()), of(number()), of(number()), of(number()), of(text()))
        .prop_map(|(ttl_ms, producer, sequence, expected_offset, expected_key)| PublishOptions {
            ttl_ms,
            producer,
            sequence,
            expected_offset,
            expected_key,
        });
    let start = prop_oneof![
        Just(Start::Latest),
        Just(Start::Earliest),
        (number(), number()).prop_map(|(epoch, offset)| Start::Offset { epoch, offset }),
        number().prop_map(Start::Time),
        number().prop_map(Start::Last),
        vec(position(), 0..5).prop_map(Start::Positions),
    ];
    prop_oneof![
        (number(), name(), ack, blob(), publish_options).prop_map(
            |(req, topic, ack, body, options)| ClientFrame::Publish {
                req,
                topic,
                ack,
                body,
                options
            }
        ),
        (number(), sub(), pattern(), start, subscribe_options()).prop_map(
            |(req, sub, pattern, start, options)| ClientFrame::Subscribe {
                req,
                sub,
                pattern,
                start,
                options
            }
        ),
    ]
    .boxed()
}

fn subscribe_options() -> BoxedStrategy<SubscribeOptions> {
    let condition =
        (text(), text(), of(text())).prop_map(|(field, op, value)| Condition(field, op, value));
    let numbers = (of(number()), of(number()), of(number()), of(number()));
    (numbers, of(vec(condition, 0..4)), of(text()))
        .prop_map(|((mode, interval_ms, credit, on_gap), filter, group)| SubscribeOptions {
            mode,
            interval_ms,
            filter,
            credit,
            on_gap,
            group,
        })
        .boxed()
}

fn as_of() -> BoxedStrategy<AsOf> {
    (number(), any::<bool>()).prop_map(|(as_of_ms, is_stale)| AsOf { as_of_ms, is_stale }).boxed()
}

/// One that numbers nothing is none at all.
fn numbering() -> BoxedStrategy<Box<Numbering>> {
    let producer = number().prop_map(Some);
    (producer, of(number()), vec((number(), number()), 0..4))
        .prop_map(|(producer, sequence, tried)| Box::new(Numbering { producer, sequence, tried }))
        .boxed()
}

fn cell() -> BoxedStrategy<ClientFrame> {
    let op = prop::sample::select(vec![CounterOp::Add, CounterOp::Set, CounterOp::Reset]);
    let bounds = (of(signed()), of(signed()), of(any::<bool>()), of(number()), of(text()));
    let counter_options =
        (bounds, of(numbering())).prop_map(|((min, max, strict, ttl_ms, id), numbering)| {
            CounterOptions { min, max, strict, ttl_ms, id, numbering }
        });
    let get_options = (vec((number(), number(), number()), 0..4), of(any::<bool>()))
        .prop_map(|(at_least, linearizable)| GetOptions { at_least, linearizable });
    let watch_options = (of(number()), of(text()), of(number()), of(number())).prop_map(
        |(interval_ms, key, epoch, version)| WatchOptions { interval_ms, key, epoch, version },
    );
    let join = prop::sample::select(vec![PresenceOp::Join, PresenceOp::Leave]);
    prop_oneof![
        (number(), name(), op, signed(), counter_options).prop_map(
            |(req, counter, op, operand, options)| ClientFrame::Incr {
                req,
                counter,
                op,
                operand,
                options
            }
        ),
        (number(), kind(), name(), of(text()), get_options).prop_map(
            |(req, kind, name, key, options)| ClientFrame::Get { req, kind, name, key, options }
        ),
        (number(), sub(), kind(), name(), watch_options).prop_map(
            |(req, sub, kind, name, options)| ClientFrame::Watch { req, sub, kind, name, options }
        ),
        (number(), join, name(), text(), of(blob())).prop_map(|(req, op, name, member, data)| {
            ClientFrame::Presence { req, op, name, member, data }
        }),
    ]
    .boxed()
}

fn kind() -> impl Strategy<Value = CellKind> {
    (1..=6_u64).prop_map(|number| CellKind::from_number(number).unwrap())
}

fn tally() -> BoxedStrategy<ClientFrame> {
    let op =
        prop::sample::select(vec![TallyOp::Create, TallyOp::Open, TallyOp::Close, TallyOp::Delete]);
    let choice = prop_oneof![
        number().prop_map(Choice::Index),
        text().prop_map(Choice::Name),
        Just(Choice::Skipped),
        Just(Choice::Over),
    ];
    prop_oneof![
        (number(), op, name(), of(rules()))
            .prop_map(|(req, op, tally, rules)| ClientFrame::Tally { req, op, tally, rules }),
        (number(), name(), text(), vec(choice, 0..20), of(number())).prop_map(
            |(req, tally, voter, choices, revision)| ClientFrame::Vote {
                req,
                tally,
                voter,
                choices,
                revision
            }
        ),
    ]
    .boxed()
}

fn rules() -> BoxedStrategy<TallyRules> {
    let kind =
        prop::sample::select(vec![TallyKind::Single, TallyKind::Multiple, TallyKind::Ranked]);
    let overvote = prop::sample::select(vec![Overvote::Skip, Overvote::Exhaust]);
    let times = (of(number()), of(number()));
    (kind, vec(text(), 0..20), of(number()), any::<bool>(), times, overvote, number())
        .prop_map(|(kind, options, choices_max, is_final, times, overvote, exhaust_after_skips)| {
            TallyRules {
                kind,
                options,
                choices_max,
                is_final,
                opens_at_ms: times.0,
                closes_at_ms: times.1,
                overvote,
                exhaust_after_skips,
                hidden: exhaust_after_skips % 2 == 1,
                identity: (exhaust_after_skips % 3 == 1).then(|| "local".to_owned()),
            }
        })
        .boxed()
}

pub(crate) fn server_frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![answer(), reply(), delivery()]
}

fn answer() -> BoxedStrategy<ServerFrame> {
    let info = (text(), text(), number(), number(), number(), number(), vec(text(), 0..3))
        .prop_map(|(server, node, shards, max_frame_bytes, heartbeat_ms, time_ms, nodes)| {
            ServerInfo {
                server,
                nodes,
                node,
                shards,
                max_frame_bytes,
                heartbeat_ms,
                in_flight_max: shards,
                subscriptions_max: max_frame_bytes,
                time_ms,
                actor: Some((shards, time_ms)),
                identity: (shards % 2 == 0).then(|| IdentityInfo {
                    issuer: "local".to_owned(),
                    subject: shards.to_string(),
                    expires_at_ms: (time_ms % 2 == 0).then_some(time_ms),
                }),
            }
        });
    prop_oneof![
        (number(), vec(text(), 0..3), text(), info).prop_map(
            |(version, capabilities, session, info)| ServerFrame::Welcome {
                version,
                capabilities,
                session,
                info
            }
        ),
        number().prop_map(|nonce| ServerFrame::Ping { nonce }),
        number().prop_map(|nonce| ServerFrame::Pong { nonce }),
        (number(), number(), text(), of(number()), of(sub()), of(number())).prop_map(
            |(req, code, message, retry_after_ms, sub, actual)| ServerFrame::Error {
                req,
                code,
                message,
                retry_after_ms,
                sub,
                actual
            }
        ),
        (number(), text(), number(), vec(text(), 0..3)).prop_map(
            |(code, message, grace_ms, nodes)| ServerFrame::GoAway {
                code,
                message,
                grace_ms,
                nodes
            }
        ),
        (number(), of(encoded())).prop_map(|(req, result)| ServerFrame::Ok { req, result }),
    ]
    .boxed()
}

fn reply() -> BoxedStrategy<ServerFrame> {
    prop_oneof![
        leased(),
        (number(), number(), of(number()), number(), of(vec(position(), 0..4)), any::<bool>())
            .prop_map(|(req, epoch, offset, level, positions, duplicate)| ServerFrame::PubAck {
                req,
                epoch,
                offset,
                level,
                positions,
                duplicate
            }),
        (
            (number(), sub(), number(), number(), number()),
            of((number(), number())),
            of(vec(position(), 0..4))
        )
            .prop_map(|((req, sub, status, epoch, offset), missing, positions)| {
                ServerFrame::Subscribed { req, sub, status, epoch, offset, missing, positions }
            }),
        (
            (number(), number(), number(), signed(), signed(), any::<bool>()),
            of((number(), number(), number()))
        )
            .prop_map(|((req, epoch, version, value, applied, duplicate), as_of)| {
                ServerFrame::Counted { req, epoch, version, value, applied, duplicate, as_of }
            }),
        (number(), number(), number(), number(), number(), of(number())).prop_map(
            |(req, epoch, version, status, revision, partition)| ServerFrame::Voted {
                req,
                epoch,
                version,
                status,
                revision,
                partition
            }
        ),
        ((number(), number(), number(), number()), of(encoded()), of(as_of())).prop_map(
            |((req, kind, epoch, version), value, as_of)| ServerFrame::Value {
                req,
                kind,
                epoch,
                version,
                value,
                as_of
            }
        ),
        (number(), sub(), number(), number(), of(encoded())).prop_map(
            |(req, sub, epoch, version, info)| ServerFrame::Watching {
                req,
                sub,
                epoch,
                version,
                info
            }
        ),
    ]
    .boxed()
}

fn delivery() -> BoxedStrategy<ServerFrame> {
    let range = (number(), number(), number());
    prop_oneof![
        (sub(), name(), range, number(), of(position()), of(vec(number(), 0..20)), blob())
            .prop_map(|(sub, topic, (epoch, from, next), time_ms, position, offsets, body)| {
                ServerFrame::Deliver {
                    sub,
                    topic,
                    epoch,
                    from,
                    next,
                    time_ms,
                    position,
                    offsets,
                    body,
                }
            }),
        (sub(), of(name()), number(), number(), number(), number(), of(position())).prop_map(
            |(sub, topic, epoch, from, next, reason, position)| ServerFrame::Gap {
                sub,
                topic,
                epoch,
                from,
                next,
                reason,
                position
            }
        ),
        (sub(), of(name()), number(), number(), of(position())).prop_map(
            |(sub, topic, epoch, next, position)| ServerFrame::Progress {
                sub,
                topic,
                epoch,
                next,
                position
            }
        ),
        (sub(), number(), number(), of(encoded())).prop_map(|(sub, version, flags, value)| {
            ServerFrame::Update { sub, version, flags, value }
        }),
    ]
    .boxed()
}

fn group() -> BoxedStrategy<ClientFrame> {
    let op = prop::sample::select(vec![
        GroupOp::Create,
        GroupOp::Delete,
        GroupOp::Reset,
        GroupOp::Status,
    ]);
    let times = (of(number()), of(number()), of(number()), of(number()));
    let options = (of(vec(number(), 0..4)), times, of(text()), of(any::<bool>())).prop_map(
        |(start, times, dead_letter, ordered)| GroupOptions {
            start,
            ack_timeout_ms: times.0,
            deliveries_max: times.1,
            backoff_ms: times.2,
            backoff_max_ms: times.3,
            dead_letter,
            ordered,
        },
    );
    (number(), op, name(), name(), options)
        .prop_map(|(req, op, topic, group, options)| ClientFrame::Group {
            req,
            op,
            topic,
            group,
            options,
        })
        .boxed()
}

fn consume() -> BoxedStrategy<ClientFrame> {
    (number(), sub(), name(), name(), of(number()))
        .prop_map(|(req, sub, topic, group, in_flight)| {
            let options = ConsumeOptions { in_flight };
            ClientFrame::Consume { req, sub, topic, group, options }
        })
        .boxed()
}

fn settle() -> BoxedStrategy<ClientFrame> {
    let op = prop::sample::select(vec![
        SettleOp::Ack,
        SettleOp::Nack,
        SettleOp::Extend,
        SettleOp::Reject,
    ]);
    let offsets = vec((number(), number()), 0..5);
    (number(), sub(), op, offsets, (of(number()), of(text()), of(number())))
        .prop_map(|(req, sub, op, offsets, (delay_ms, reason, partition))| {
            let options = SettleOptions { delay_ms, reason, partition };
            ClientFrame::Settle { req, sub, op, offsets, options }
        })
        .boxed()
}

fn leased() -> BoxedStrategy<ServerFrame> {
    let deliveries = vec((number(), number()), 0..5);
    (sub(), name(), number(), number(), of(number()), deliveries, blob())
        .prop_map(|(sub, topic, epoch, time_ms, partition, deliveries, body)| ServerFrame::Leased {
            sub,
            topic,
            epoch,
            time_ms,
            partition,
            deliveries,
            body,
        })
        .boxed()
}
