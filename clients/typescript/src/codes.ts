// Numbers of the wire.

// Types of frames.
export const HELLO = 1;
export const WELCOME = 2;
export const PING = 3;
export const PONG = 4;
export const ERROR = 5;
export const GOAWAY = 6;
export const PUBLISH = 10;
export const SUBSCRIBE = 12;
export const SUBSCRIBED = 13;
export const DELIVER = 14;
export const UNSUBSCRIBE = 15;
export const GAP = 16;
export const PROGRESS = 17;
export const CREDIT = 18;
export const INCR = 20;
export const VOTE = 22;
export const GET = 24;
export const WATCH = 26;
export const WATCHING = 27;
export const UPDATE = 28;
export const PRESENCE = 29;
export const TALLY = 30;
export const PRODUCER = 31;
export const GROUP = 32;
export const CONSUME = 33;
export const LEASED = 34;
export const SETTLE = 35;
export const TOPIC = 36;
export const INVALIDATE = 37;
export const AUTH = 38;

// Kinds of cells.
export const COUNTER = 1;
export const TALLY_CELL = 2;
export const MAP = 3;
export const PRESENCE_CELL = 4;
export const TOPIC_CELL = 5;
export const ROUNDS = 6;

// Flags of UPDATE; the rest of the number, in units of AGE_UNIT, is an age in milliseconds.
export const FULL = 1;
export const DELETED = 2;
export const STALE = 4;
export const MORE = 16;
export const BEHIND = 32;
export const AGE_UNIT = 256;

// Operations of INCR.
export const ADD = 0;
export const SET = 1;
export const RESET = 2;

// Operations of PRESENCE.
export const JOIN = 0;
export const LEAVE = 1;

// Operations of SETTLE.
export const ACK = 0;
export const NACK = 1;
export const EXTEND = 2;
export const REJECT = 3;

// The protocol's version and port, and WebSocket's status of a clean close.
export const VERSION = 1;
export const NORMAL_CLOSURE = 1_000;
export const PORT = 7_171;
