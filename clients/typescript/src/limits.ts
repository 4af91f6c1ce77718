// Every bound of the client, and every time that it waits.

/** The longest delay of a platform's timers. */
export const TIMER_MS_MAX = 2_147_483_647;
/** A connection that held so long was a good one: the delays start short again. */
export const STEADY_MS = 10_000;
/** A clean close waits so long for replies. */
export const CLOSE_MS = 5_000;
/** How long a server may take to answer when there is reason to doubt the connection. */
export const PROBE_MS = 5_000;
/** Records of a page of history, unless the options say otherwise. */
export const PAGE_RECORDS = 100;
/** Records of a page of history, at most. */
export const PAGE_RECORDS_MAX = 10_000;
/** Bytes that are on their way for one page: few, since a page is soon full. */
export const PAGE_WINDOW_BYTES = 262_144;
/** Bytes that may be on their way or unread, unless the options say otherwise. */
export const WINDOW_BYTES = 4_194_304;
/** Events that may be unread: credit counts bytes of body only. */
export const EVENTS_UNREAD_MAX = 32_768;
/** Longest pause before another node is dialed, so that not all clients of a server come at once. */
export const MOVE_PAUSE_MS_MAX = 1_000;
/** Longest time in which what was asked is answered over the old connection; new requests wait meanwhile. */
export const MOVE_SETTLE_MS_MAX = 7_000;
/** Messages that wait until a new connection takes the place of the old one; a server says little until then. */
export const HELD_MESSAGES_MAX = 256;
/** The heartbeat when the server names none. */
export const HEARTBEAT_MS = 30_000;
/** Levels of arrays and maps that hold something. */
export const DEPTH_MAX = 16;
/** New numbers that a publish gets before its refusal is passed on. */
export const RENUMBERED_MAX = 3;
/** The largest frame when the server names none. */
export const FRAME_BYTES_MAX = 1_048_576;
/** Bytes that may be unwritten before requests wait. */
export const OUTBOX_BYTES_MAX = 4_194_304;
/** A WebSocket does not say when it has written: it is asked after so long. */
export const LOOK_AGAIN_MS = 10;
/** Bytes of bodies that may wait unsent. */
export const QUEUE_BYTES_MAX = 16_777_216;
/** Unanswered requests, whatever the server allows. */
export const IN_FLIGHT_MAX = 65_536;
/** How often it is looked for requests that have waited too long. */
export const SWEEP_MS = 1_000;
/** Who asks for a longer pause is not about to change leaders: the caller is told so. */
export const ASKED_MS_MAX = 2_000;
/** Subscriptions, watches and consumers of one client at most; the server has a limit of its own. */
export const ROUTES_MAX = 65_536;
/** Members that one client declares present, at most. */
export const MEMBERS_MAX = 65_536;
/** URLs that are given, at most. */
export const URLS_GIVEN_MAX = 64;
/** URLs that are remembered of what servers have told, at most. */
export const URLS_LEARNED_MAX = 16;
/** A token is replaced when a fifth of its time is left, but not sooner than so long before its end. */
export const TOKEN_LEAD_MS_MAX = 60_000;
/** Pause before a refresh that failed is tried again. */
export const TOKEN_RETRY_MS = 5_000;
/** Parts of one update that are kept until the last one is here. */
export const PARTS_MAX = 65_536;
