import { read, type GetOptions } from './cells.js';
import { TidewireError } from './error.js';
import { FrameError, type Decoded } from './msgpack-reader.js';
import type { Session } from './session.js';
import type { CellReader } from './watch-slot.js';
import { Watch, type WatchOptions } from './watch.js';

const utf8 = new TextDecoder();

/** An entry of a map or a member of a presence set. */
export class Entry {
  /** @internal */
  constructor(
    readonly version: number,
    readonly bytes: Uint8Array,
  ) {}

  /** The value as UTF-8. */
  text(): string {
    return utf8.decode(this.bytes);
  }

  /** The value as JSON. Throws a SyntaxError if it is none. */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}

/** All entries at one moment, and what has changed since the moment before that was looked at. */
export interface Entries {
  readonly all: ReadonlyMap<string, Entry>;
  /** Keys that were written or are gone. */
  readonly changed: readonly string[];
}

function parse(part: Decoded): [key: string, entry: Entry | undefined][] {
  if (!Array.isArray(part)) throw new FrameError('entries are expected');
  return part.map((entry) => {
    const [key, version, value] = entry as [string, number, Uint8Array | null | undefined];
    if (typeof key !== 'string') throw new FrameError('an entry has a key');
    // Copied, so that one small entry does not keep the whole message alive.
    return [key, value ? new Entry(version, value.slice()) : undefined];
  });
}

/** The entries of a map or presence set in a watch. */
export class EntriesCell implements CellReader<Entries> {
  readonly hasEntries = true;
  readonly #all = new Map<string, Entry>();
  #changed = new Set<string>();

  update(full: boolean, parts: Decoded[]): void {
    const changes = parts.flatMap((part) => (part === null ? [] : parse(part)));
    if (full) {
      const there = new Set(changes.map(([key]) => key));
      for (const key of this.#all.keys()) {
        if (!there.has(key)) this.#write(key, undefined);
      }
    }
    for (const [key, entry] of changes) this.#write(key, entry);
  }

  snapshot(): Entries {
    const changed = [...this.#changed];
    this.#changed = new Set();
    return { all: new Map(this.#all), changed };
  }

  #write(key: string, entry: Entry | undefined): void {
    const before = this.#all.get(key);
    if (entry) this.#all.set(key, entry);
    else this.#all.delete(key);
    if (entry?.version !== before?.version) this.#changed.add(key);
  }
}

/** Every entry, however many: what does not fit one reply is read as the first value of a watch. */
export async function readEntries(session: Session, kind: number, name: string, options: GetOptions): Promise<ReadonlyMap<string, Entry>> {
  try {
    const convert = (value: Decoded) => new Map((value === null ? [] : parse(value)) as [string, Entry][]);
    return (await read(session, kind, name, null, options, convert)).value;
  } catch (error) {
    if ((error as TidewireError).code !== 'limit_exceeded') throw error;
    for await (const { value } of watchEntries(session, kind, name, {})) return value.all;
    throw error;
  }
}

/** Follows the entries. */
export function watchEntries(session: Session, kind: number, name: string, options: WatchOptions): Watch<Entries> {
  return new Watch(session, kind, name, options, new EntriesCell());
}
