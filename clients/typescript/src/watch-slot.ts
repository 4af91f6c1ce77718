import { AGE_UNIT, BEHIND, DELETED, FULL, MORE, STALE, UPDATE, WATCH, WATCHING } from './codes.js';
import type { TidewireError } from './error.js';
import type { FeedOwner } from './feed.js';
import { toWire, type Frame, type ServerFrame } from './frames.js';
import { PARTS_MAX } from './limits.js';
import { FrameError, type Decoded, type DecodedMap } from './msgpack-reader.js';
import type { Route } from './route.js';
import type { WatchOptions, WatchUpdate } from './watch.js';


/** What every version of a cell says, whatever its kind. */
export interface Update {
  /** Every operation that was answered with a version up to this one is in the value. */
  readonly version: number;
  /** The cell does not exist any more. */
  readonly deleted: boolean;
  /** How old the value may get before the next one, because the server is loaded; `undefined`: as asked for. */
  readonly staleMs: number | undefined;
  /** How old the value was, since the node does not reach others that know more; `undefined`: it lacks nothing. */
  readonly behindMs: number | undefined;
}

/** Makes an application's value of what the wire brings. */
export interface CellReader<T> {
  /** Takes a new value, or changes to it. `info`: what does not change in the cell. */
  update(full: boolean, parts: Decoded[], info: DecodedMap | null): void;
  /** The value as it is now; called once per version that somebody looks at. */
  snapshot(): T;
  /** Whether an update may come in parts and as changes. */
  readonly hasEntries: boolean;
}

/** The client's side of a watch. It holds one version, however many have arrived. */
export class WatchSlot<T> implements Route {
  sub = 0;
  hasRun = false;
  readonly #kind: number;
  readonly #name: string;
  readonly #options: WatchOptions;
  readonly #cell: CellReader<T>;
  readonly #owner: FeedOwner<void>;
  #epoch = 0;
  #version = 0;
  #info: DecodedMap | null = null;
  #isBehind = false;
  #parts: Decoded[] = [];
  #partsVersion = 0;
  #newest: Update | undefined;
  #snapshot: WatchUpdate<T> | undefined;

  constructor(kind: number, name: string, options: WatchOptions, cell: CellReader<T>, owner: FeedOwner<void>) {
    this.#kind = kind;
    this.#name = name;
    this.#options = options;
    this.#cell = cell;
    this.#owner = owner;
  }

  open(req: number): Frame {
    this.#parts = [];
    // A value that may be stale is asked for again: whether it still is is not told otherwise.
    if (this.#isBehind) this.#version = 0;
    this.#isBehind = false;
    const held = this.#version > 0 ? { epoch: this.#epoch, version: this.#version } : {};
    return [WATCH, req, this.sub, this.#kind, this.#name, toWire({ ...this.#options, ...held })];
  }

  opened(reply: ServerFrame): void {
    if (reply[0] !== WATCHING) throw new FrameError('WATCHING is expected');
    // Versions of another epoch say nothing about the one that is held.
    if (reply[3] !== this.#epoch) this.#version = 0;
    this.#epoch = reply[3];
    this.#info = reply[5] ?? this.#info;
    this.#owner.opened();
  }

  receive(frame: ServerFrame): void {
    if (frame[0] !== UPDATE) return;
    const [, , version, flags, value] = frame as [number, number, number, number, Decoded];
    const isBehind = (flags & BEHIND) !== 0;
    // The same version again says that it may be stale, or is not.
    if (this.#version !== 0 && (version < this.#version || (version === this.#version && isBehind === this.#isBehind))) return;
    const deleted = (flags & DELETED) !== 0;
    let parts = [value];
    if (this.#cell.hasEntries) {
      if (this.#partsVersion !== version) this.#parts = [];
      this.#partsVersion = version;
      if (this.#parts.push(value) > PARTS_MAX) throw new FrameError('an update has too many parts');
      if ((flags & MORE) !== 0) return;
      parts = this.#parts;
      this.#parts = [];
    }
    this.#cell.update(deleted || (flags & FULL) !== 0, parts, this.#info);
    this.#version = version;
    this.#isBehind = isBehind;
    const ageMs = Math.floor(flags / AGE_UNIT);
    this.#newest = { version, deleted, staleMs: flags & STALE ? ageMs : undefined, behindMs: isBehind ? ageMs : undefined };
    this.#snapshot = undefined;
    this.#owner.arrived();
  }

  end(error: TidewireError): void {
    this.#owner.ended(error);
  }

  get current(): WatchUpdate<T> | undefined {
    if (this.#newest) this.#snapshot ??= { ...this.#newest, value: this.#cell.snapshot() };
    return this.#snapshot;
  }
}
