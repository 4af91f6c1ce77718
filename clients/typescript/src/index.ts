export { Client, type ClientEvents } from './client.js';
export type { GetOptions, ReadValue } from './cells.js';
export type { Clock } from './clock.js';
export { Consumer, Job, type ConsumeOptions } from './consumer.js';
export { Counter, type Counted, type CounterOptions } from './counter.js';
export type { Position, Start } from './cursor.js';
export { Entry, type Entries } from './entries.js';
export { TidewireError, type ClientErrorCode, type ErrorCode, type ServerErrorCode } from './error.js';
export type { FeedEvents } from './feed.js';
export { Group, type GroupRules, type GroupStatus } from './group.js';
export type { HistoryOptions, HistoryPage } from './history.js';
export { Increments } from './increments.js';
export type { Identity, ServerInfo } from './link.js';
export { LiveMap } from './live-map.js';
export type { ClientOptions, TokenSource } from './options.js';
export { Presence } from './presence.js';
export type { Ack, Published, PublishOptions } from './publishing.js';
export { TopicRecord, type Payload, type RecordInput } from './record.js';
export type { Socket, Transport, TransportName } from './socket.js';
export type { ConnectionState, RouteState } from './state.js';
export { Subscription, type SubscriptionEvents } from './subscription.js';
export {
  Delivery, type Condition, type Gap, type GapReason, type Progress, type Started, type SubscribeOptions, type SubscriptionEvent,
} from './subscription-events.js';
export {
  Tally, type Choice, type Round, type Rounds, type Standings, type TallyChanged, type TallyRules, type Voted, type VoteOptions,
} from './tally.js';
export { Topic, type TopicInfo } from './topic.js';
export { Watch, type WatchEvents, type WatchOptions, type WatchUpdate } from './watch.js';
export type { Update } from './watch-slot.js';
